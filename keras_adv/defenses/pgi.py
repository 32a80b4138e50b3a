"""FGSM-PGI: adversarial training of one step that starts where the last epoch's ended."""

from __future__ import annotations

from types import MappingProxyType

import keras
from keras import ops

from keras_adv import noise
from keras_adv.arrays import TINY, Tensor
from keras_adv.attacks.task import Examples, Task
from keras_adv.backend import ACCURACY, FrozenNet, put_rows, take_rows, value_and_grad
from keras_adv.defenses.base import MEMORY, Batch, CollapseGuard, Move, Nets, single_step_guard
from keras_adv.defenses.crafting import PairedDefense, run_both
from keras_adv.defenses.label_smoothing import smooth_cross_entropy
from keras_adv.losses import hits
from keras_adv.optimizers import SGD, Adam, Milestones, Optimizer
from keras_adv.ramps import Ramp, now
from keras_adv.registry import option, preset, register, tunable
from keras_adv.threats import Linf

LARGEST = 6e4
"""Below the largest number of float16."""


class Perturbations(keras.layers.Layer):
    """Of each training image the start of its next step and the momentum that made it, in float16.

    Args:
        count: of the training images.
        shape: of one, (H, W, C).
    """

    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        super().__init__(name=MEMORY)
        held = {"shape": (count, *shape), "dtype": "float16", "initializer": "zeros", "trainable": False}
        self.start = self.add_weight(name="start", autocast=False, **held)
        self.momentum = self.add_weight(name="momentum", autocast=False, **held)
        self.round = self.add_weight(
            name="round", shape=(count,), dtype="int32", initializer="zeros", trainable=False
        )
        self.built = True


@register("defense", "pgi")
class PGI(PairedDefense):
    """CE_s(z(x'), y) + weight mean_k (z_k(x') - z_k(x + h))^2, h the start that is kept for each image.

        x' = P(x + h + step eps sign(g)),  g = grad CE_s(z(x + h), y)
        m <- g / mean |g| + momentum m,    h <- P(h + step eps sign(m))

    Jia et al., ECCV 2022, "Prior-Guided Adversarial Initialization for Fast Adversarial Training"
    (arXiv:2207.08859), FGSM-MEP; momentum=0 is its FGSM-EP. P projects on ball and box, CE_s is the
    cross-entropy of smoothed labels, mean |g| that of the batch. In the first epoch of every `reset`, h is
    step eps times random signs, put into the ball, and m = 0. As in the authors' code h belongs to the pixels
    of what is cropped, not of the image, and the gradient flows through both logits; g is taken in inference
    mode (theirs: in training mode). One step can collapse: see `Defense.collapse_guard`.

    It keeps 4 bytes of memory for each value of the training images (CIFAR-10: 0.6 GB), as large on disk in
    each checkpoint; it takes arrays, and one device.

    Args:
        weight: of the squared difference of the logits; authors: 10.
        threat: linf(eps).
        step: in units of eps; authors: 1.
        momentum: share of m that is kept; authors: 0.3.
        reset: epochs after which all starts are drawn anew; authors: 40 of 110.
        smoothing: label smoothing, the share of the target that goes to all classes alike; authors: 4/9 (of
            ten classes 0.6 for the label, and 0.4 for the other nine alike).
        statistics: whose statistics batch normalisation uses and keeps: "joint" (both kinds of images are one
            batch), "clean" (those of x + h) or "each" (`crafting.STATISTICS`; authors: "each").
        optimizer: of the classifier.

    Cost a step: 1 forward-backward pass for x', then 2.
    """

    reference = "arXiv:2207.08859"
    reported = MappingProxyType(
        {
            "CIFAR-10 ResNet-18, linf 8/255, by arXiv:2604.22853: clean / PGD-50 / AutoAttack": (
                "79.72% / 55.82% / 49.89%"
            )
        }
    )
    weight: float | Ramp = tunable(default=10.0, lowest=1.0, highest=30.0, log=True)
    threat: Linf = option(default=Linf(eps=0.1))
    step: float = option(default=1.0, above=0.0)
    momentum: float = option(default=0.3, low=0.0, high=0.99)
    reset: int = option(default=40, low=1)
    smoothing: float = option(default=0.1, low=0.0, high=0.9)
    optimizer: Optimizer = option(default=Adam())

    def check(self) -> None:
        self.threat.radius()

    @property
    def remembers(self) -> bool:
        return True

    def memory(self, count: int, shape: tuple[int, ...]) -> Perturbations:
        return Perturbations(count, shape)

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        task, rows = Task(FrozenNet(nets["net"]), Examples.of_batch(x, y, seed)), nets["net"].rows
        kept: Perturbations | None = nets[MEMORY].model if rows is not None else None
        start, momentum = self._drawn(task, x), ops.zeros_like(x)
        turn = ops.cast(nets["net"].epoch, "int32") // self.reset + 1
        if kept is not None:
            fresh = ops.reshape(take_rows(kept.round, rows) != turn, (-1, 1, 1, 1))
            start = ops.where(fresh, start, ops.cast(take_rows(kept.start, rows), x.dtype))
            momentum = ops.where(fresh, momentum, ops.cast(take_rows(kept.momentum, rows), x.dtype))

        def loss(images: Tensor) -> tuple[Tensor, None]:
            return smooth_cross_entropy(task.logits(images), y, self.smoothing), None

        slope = value_and_grad(loss, x + start)[2]
        momentum = slope / ops.maximum(ops.mean(ops.abs(slope)), TINY) + self.momentum * momentum
        if kept is not None:
            put_rows(kept.start, rows, self._moved(x, start, momentum) - x)
            put_rows(kept.momentum, rows, ops.clip(momentum, -LARGEST, LARGEST))
            put_rows(kept.round, rows, turn + ops.zeros_like(rows))
        return {"start": x + start, "adversarial": self._moved(x, start, slope)}

    def _drawn(self, task: Task, x: Tensor) -> Tensor:
        """The starts of images that have none: random signs."""
        signs = ops.where(noise.uniform(task.seeds, tuple(x.shape[1:])) < 0.5, -1.0, 1.0)
        return min(self.step, 1.0) * self.threat.radius() * signs

    def _moved(self, x: Tensor, start: Tensor, slope: Tensor) -> Tensor:
        eps = self.threat.radius()
        return self.threat.project(x + start + self.step * eps * ops.sign(slope), x, eps)

    def passes(self, classes: int) -> dict[str, int]:
        del classes
        return {"net.input": 1, "net.weights": 2}

    def collapse_guard(self) -> CollapseGuard:
        return single_step_guard(self.threat)

    def moves(self) -> tuple[Move, ...]:
        return (self.classifier_move("adversarial", "consistency", loss=self._loss),)

    def _loss(self, nets: Nets, batch: Batch) -> dict[str, Tensor]:
        net, y = nets["net"], batch["y"]
        before, after = run_both(net.logits, batch["start"], batch["adversarial"], self.statistics)
        apart = ops.mean(ops.square(after - before), axis=1)
        return {
            "adversarial": smooth_cross_entropy(after, y, self.smoothing),
            "consistency": now(self.weight, net) * apart,
            ACCURACY: hits(after, y),
        }


preset(
    "pgi_cifar",
    PGI(
        threat=Linf(eps=8 / 255),
        smoothing=4 / 9,
        statistics="each",
        # theirs is 5e-4 inside the gradient, which momentum 0.9 sums up to ten times that
        optimizer=SGD(
            learning_rate=0.1, momentum=0.9, weight_decay=5e-3, schedule=Milestones(at=(100, 105), factor=0.1)
        ),
    ),
    """The authors' code, which serves the epoch that withstands PGD best. Their starts of the first epoch are
    drawn for all images at once.""",
    model="resnet18()",
    data="cifar10",
    epochs=110,
    batch_size=128,
    augment="crop_flip",
)
