"""Fast adversarial training, with a guard against catastrophic overfitting."""

from __future__ import annotations

import warnings
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_adv.attacks import PGD
from keras_adv.backend import Net, View, compile
from keras_adv.defenses.adversarial import Adversarial
from keras_adv.defenses.base import Batch, Defense, Move, Nets, Tensor
from keras_adv.optimizers import SGD, Adam, Optimizer
from keras_adv.registry import option, register, tunable
from keras_adv.threats import Linf, Threat

KEEPER = "keeper"


class Keeper(keras.layers.Layer):
    """The weights of the best epoch so far: a layer, so that a checkpoint of the game holds them too.

    Args:
        net: whose weights to keep.
    """

    def __init__(self, net: keras.Model) -> None:
        super().__init__(name=KEEPER)
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

    def restore(self, net: keras.Model) -> None:
        """Puts the best weights back into `net`."""
        net.set_weights([ops.convert_to_numpy(copy) for copy in self.copies])


class Guard(keras.callbacks.Callback):
    """After each epoch measures the accuracy under an attack, `pgd_accuracy` in the logs; when it has collapsed,
    restores the best epoch and ends the training.

    It comes before the checkpoint: what is saved are the restored weights, with the mark that it was over. A run
    resumed from there takes one step, restores again and ends.

    Args:
        attack: short, of several steps.
        net: the classifier.
        x: images to measure on.
        y: their labels.
        drop: fall below the best accuracy that counts as a collapse.
    """

    def __init__(self, attack: PGD, net: keras.Model, x: Any, y: Any, drop: float) -> None:
        super().__init__()
        view = View(Net(net, frozen=True))
        self.net, self.x, self.y, self.drop = net, x, y, drop
        self._attack = compile(lambda images, labels: attack(view, images, labels).success, net)

    def accuracy(self) -> float:
        """Share of the images that the attack, with the same random start each time, does not fool."""
        return 1.0 - float(np.mean(np.asarray(self._attack(self.x, self.y))))

    def on_train_begin(self, logs: Any = None) -> None:
        if int(self._keeper.collapsed):
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        keeper = self._keeper
        if not int(keeper.collapsed):
            accuracy, best = self.accuracy(), float(keeper.best)
            if logs is not None:
                logs["pgd_accuracy"] = accuracy
            if accuracy >= best:
                keeper.keep(self.net, accuracy, epoch)
            if best - accuracy <= self.drop:
                return
            keeper.collapsed.assign(1)
            warnings.warn(
                f"Catastrophic overfitting in epoch {epoch + 1}: accuracy under PGD on training images fell from "
                f"{best:.1%} to {accuracy:.1%}. The weights of epoch {int(keeper.epoch) + 1} are restored and "
                "training ends here. A smaller `step`, or adversarial(...) with more steps, avoids it.",
                RuntimeWarning,
                stacklevel=2,
            )
        keeper.restore(self.net)
        self.model.stop_training = True

    @property
    def _keeper(self) -> Keeper:
        return self.model.players[KEEPER]


@register("defense", "fast")
class Fast(Defense):
    """CE(x'), x' = P(u + step eps ascent(grad CE(u))) from one step at a random point u of the ball (RS-FGSM).

    Wong, Rice & Kolter, ICLR 2020 (arXiv:2001.03994), alg. 3. Training with one step can collapse within an epoch:
    the net learns to fool FGSM, and its accuracy under PGD goes to 0 ("catastrophic overfitting"). The
    accuracy under a PGD of 5 steps of eps / 4 on some training images is therefore measured after each epoch
    (`pgd_accuracy` in the logs), and a fall ends the training with the weights of the best epoch. The authors' code
    compares with the epoch before; with the best, a slow collapse is seen too.

    Args:
        threat: any norm, with an eps.
        step: length of the step in units of eps; paper: 1.25 (2 collapses).
        drop: fall of the accuracy under PGD, from its best, that ends the training; the authors' code: 0.2.
        images: how many training images, the first ones, it is measured on.
        steps: of that PGD.
        optimizer: of the classifier.

    Cost a step: 1 forward-backward pass for x' and 1 on x'; an epoch: `steps` forward-backward passes on `images`. A
    second copy of the weights is kept.
    """

    reference = "arXiv:2001.03994"
    reported = MappingProxyType(
        {
            "CIFAR-10 PreAct ResNet-18, linf 8/255: clean / PGD-50-10": "83.81% / 46.06% (AutoAttack, "
            "released model: 43.21%)",
            "the same with step=2.0, which collapses": "86.05% / 0.00%",
        }
    )
    threat: Threat = option(default=Linf(eps=0.1))
    step: float = tunable(default=1.25, lowest=0.5, highest=2.0, above=0.0)
    drop: float = option(default=0.2, above=0.0, high=1.0)
    images: int = option(default=128, low=1)
    steps: int = option(default=5, low=1)
    optimizer: Optimizer = option(default=Adam())

    @property
    def _training(self) -> Adversarial:
        attack = PGD(threat=self.threat, steps=1, step_size=self.step)
        return Adversarial(attack=attack, optimizer=self.optimizer)

    def check(self) -> None:
        self.threat.radius()

    def networks(self, net: keras.Model) -> dict[str, keras.layers.Layer]:
        return {KEEPER: Keeper(net)}

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        return self._training.prepare(nets, x, y, seed)

    def passes(self, classes: int) -> dict[str, int]:
        return self._training.passes(classes)

    def moves(self) -> tuple[Move, ...]:
        return self._training.moves()

    def callbacks(self, net: keras.Model, x: Any, y: Any) -> tuple[keras.callbacks.Callback, ...]:
        watch = PGD(threat=self.threat, steps=self.steps, step_size=0.25)
        return (Guard(watch, net, x[: self.images], y[: self.images], self.drop),)


FAST_CIFAR = Fast(
    threat=Linf(eps=8 / 255),
    # theirs is 5e-4 inside the gradient, which momentum 0.9 sums up to ten times that
    optimizer=SGD(learning_rate=0.1, momentum=0.9, weight_decay=5e-3),
)
"""The paper's step on CIFAR-10. It trains 15 epochs, the rate rising to 0.2 and falling to 0, batch 128, "crop_flip"."""
