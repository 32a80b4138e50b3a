"""Stops a training that has begun to fool the attack of its own training."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_adv.attacks import Attack
from keras_adv.backend import FrozenNet, compile
from keras_adv.defenses.base import CollapseGuard

BEST_WEIGHTS = "best_weights"
"""Name under which a `Game` holds its `BestWeights`."""


class BestWeights(keras.layers.Layer):
    """The weights of the best epoch so far: a layer, so that a checkpoint of the game holds them too.

    Args:
        net: whose weights to keep.
        name: under which the game holds it.
    """

    def __init__(self, net: keras.Model, name: str = BEST_WEIGHTS) -> None:
        super().__init__(name=name)
        fixed: dict[str, Any] = {"initializer": "zeros", "trainable": False}
        self.best = self.add_weight(shape=(), name="best", **fixed)
        self.epoch = self.add_weight(shape=(), dtype="int32", name="epoch", **fixed)
        self.collapsed = self.add_weight(shape=(), dtype="int32", name="collapsed", **fixed)
        self.copies = [
            self.add_weight(shape=v.shape, dtype=v.dtype, name=f"copy_{number}", **fixed)
            for number, v in enumerate(net.weights)
        ]
        self.built = True

    def keep(self, net: keras.Model, accuracy: float, epoch: int) -> None:
        """Takes the weights of `net` as the best."""
        self.best.assign(accuracy)
        self.epoch.assign(epoch)
        for copy, value in zip(self.copies, net.get_weights(), strict=True):
            copy.assign(value)

    @property
    def accuracy(self) -> float:
        """That of the best epoch."""
        return float(ops.convert_to_numpy(self.best))

    @property
    def is_over(self) -> bool:
        """Whether the training has collapsed."""
        return bool(ops.convert_to_numpy(self.collapsed))

    def restore(self, net: keras.Model) -> None:
        """Puts the best weights back into `net`."""
        net.set_weights([ops.convert_to_numpy(copy) for copy in self.copies])


def robust_accuracy(attack: Attack, net: keras.Model, x: Any, y: Any, batch_size: int) -> Callable[[], float]:
    """What measures the share of the images that an attack, with the same random start each time, does not
    fool, by the weights that the net then has; compiled once.

    Args:
        attack: a bounded attack.
        net: the classifier.
        x: images.
        y: labels.
        batch_size: images at a time, at most.
    """
    frozen = FrozenNet(net)
    run = compile(lambda images, labels: attack(frozen, images, labels).success, net)
    parts = np.array_split(np.arange(len(x)), -(-len(x) // batch_size))
    return lambda: 1.0 - float(np.mean(np.concatenate([np.asarray(run(x[rows], y[rows])) for rows in parts])))


class StopOnCollapse(keras.callbacks.Callback):
    """After each epoch measures the accuracy under an attack, `pgd_accuracy` in the logs; when it has
    collapsed, restores the best epoch and ends the training.

    It comes before the checkpoint: what is saved are the restored weights, with the mark that the training
    was over. A run resumed from there takes one step, restores again and ends. The game must hold a
    `BestWeights` as a player.

    Args:
        guard: what to measure with, and what counts as a collapse.
        net: the classifier.
        x: training images; the first ones are measured on.
        y: their labels.
    """

    def __init__(self, guard: CollapseGuard, net: keras.Model, x: Any, y: Any) -> None:
        super().__init__()
        self.net, self.drop = net, guard.drop
        self.accuracy = robust_accuracy(guard.attack, net, x[: guard.images], y[: guard.images], guard.images)

    def on_train_begin(self, logs: Any = None) -> None:
        if self._best.is_over:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        kept = self._best
        if not kept.is_over:
            accuracy, best = self.accuracy(), kept.accuracy
            if logs is not None:
                logs["pgd_accuracy"] = accuracy
            if accuracy >= best:
                kept.keep(self.net, accuracy, epoch)
            if best - accuracy <= self.drop:
                return
            kept.collapsed.assign(1)
            back = int(ops.convert_to_numpy(kept.epoch)) + 1
            warnings.warn(
                f"Catastrophic overfitting in epoch {epoch + 1}: accuracy under PGD on training images fell "
                f"from {best:.1%} to {accuracy:.1%}. The weights of epoch {back} are restored "
                "and training ends here. An attack of more or of shorter steps avoids it.",
                RuntimeWarning,
                stacklevel=2,
            )
        kept.restore(self.net)
        self.model.stop_training = True

    @property
    def _best(self) -> BestWeights:
        return self.model.players[BEST_WEIGHTS]
