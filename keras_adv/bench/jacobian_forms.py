"""What cheaper forms of the Jacobian penalties cost, and how well their gradients agree with the full
forms'."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_adv import registry
from keras_adv.backend import Game
from keras_adv.bench.clock import CLASSES, SHAPE, images, seconds
from keras_adv.defenses import MAD, Margin
from keras_adv.defenses.base import Batch, Defense, Nets
from keras_adv.losses import cross_entropy
from keras_adv.models import LeNet
from keras_adv.numerics.linearise import logit_differences

PLAIN = registry.parse("optimizer", "sgd(learning_rate=1.0, momentum=0.0)")
"""One step of it moves the weights by minus the gradient."""
DRAWS = 64


class _FullMargin(Margin):
    """The margin's sensitivity with the whole Jacobian differentiated again."""

    def _loss(self, nets: Nets, batch: Batch) -> dict[str, Any]:
        y, net = ops.cast(batch["y"], "int32"), nets["net"]
        _, _, slopes = logit_differences(net.logits, batch["x"], y)
        sizes = ops.sum(ops.square(slopes), axis=(2, 3, 4))  # that of y itself is 0
        fit = cross_entropy(net.logits(batch["x"], mode="training"), y)
        return {"cross_entropy": fit, "sensitivity": self.weight * ops.max(sizes, axis=1)}


def jacobians(batch: int = 100, repeats: int = 5) -> Iterator[dict[str, Any]]:
    """One row a form: time of a training step over that of the full second-order Jacobian's, LeNet 28x28, and
    the cosine between the gradients (of one step, and of the mean over `DRAWS` steps for a random form)."""
    x, y = (np.asarray(part) for part in images(batch))
    margin = {"loss": "cross_entropy", "optimizer": PLAIN}
    net = LeNet().build(SHAPE, CLASSES)
    start = net.get_weights()
    full = _Step(_FullMargin(**margin), net, x, y)
    forms: list[tuple[Defense, _Step]] = [
        (Margin(**margin), full),
        (Margin(**margin, candidates=3), full),
    ]
    whole = _Step(MAD(projections=None, optimizer=PLAIN), net, x, y)
    forms.append((MAD(projections=1, optimizer=PLAIN), whole))
    for defense, reference in forms:
        net.set_weights(start)
        step = _Step(defense, net, x, y)
        seconds(step), seconds(reference)
        pairs = [(seconds(step), seconds(reference)) for _ in range(repeats)]
        want = reference.gradient(start, 1)
        alike = ", ".join(f"{_cosine(step.gradient(start, n), want):.3f}" for n in _draws(defense))
        yield {
            "name": registry.spec(defense.replace(optimizer=type(defense)().optimizer)),
            "passes": f"cosine {alike}",
            "ratio": statistics.median(a / b for a, b in pairs),
            "seconds": statistics.median(a for a, _ in pairs),
        }


def _draws(defense: Defense) -> tuple[int, ...]:
    return (1, DRAWS) if isinstance(defense, MAD) else (1,)


class _Step:
    """One training step of a defense on fixed images."""

    def __init__(self, defense: Defense, net: keras.Model, x: Any, y: Any) -> None:
        self.game, self.x, self.y = Game(net, defense), x, y
        self.game.compile_moves(defense.moves(), 100, 1)

    def __call__(self) -> Any:
        return next(iter(self.game.train_on_batch(self.x, self.y, return_dict=True).values()))

    def gradient(self, weights: list[np.ndarray], draws: int) -> np.ndarray:
        """Mean gradient at these weights over as many random streams."""
        total = 0.0
        for _ in range(draws):
            self.game.predictor.set_weights(weights)
            self()
            total = total + _flat(weights) - _flat(self.game.predictor.get_weights())
        return np.asarray(total / draws)


def _flat(weights: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([w.ravel().astype("float64") for w in weights])


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
