"""Manifold-Aware Training."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import keras
from keras import ops

from keras_adv.attacks import PGD
from keras_adv.attacks.objectives import Value, objective
from keras_adv.attacks.task import Task
from keras_adv.defenses.base import Batch, Defense, Move, Nets, Tensor, check_beside, crafted, spent
from keras_adv.heads import MaxMahalanobisHead, crown
from keras_adv.losses import pick
from keras_adv.optimizers import SGD, Adam, Milestones, Optimizer
from keras_adv.registry import option, register, tunable
from keras_adv.threats import Linf
from keras_adv.threats.base import TINY
from keras_adv.validate import fail


def size(v: Tensor) -> Tensor:
    """|v|_2 over the last axis, at least 1e-6; gradient 0 below that."""
    return ops.sqrt(ops.maximum(ops.sum(ops.square(v), axis=-1), TINY))


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """CD(a, b) = 1 - cos(a, b) of the rows: (B,)."""
    return 1.0 - ops.sum(a * b, axis=-1) / (size(a) * size(b))


def cosines(phi: Tensor, centres: Tensor) -> Tensor:
    """(B, K) cos(phi, mu_k)."""
    units = centres / ops.expand_dims(size(centres), 1)
    return ops.matmul(phi, ops.transpose(units)) / ops.expand_dims(size(phi), 1)


def second_order(phi: Tensor, cos: Tensor) -> Tensor:
    """|grad_phi (1 - cos(phi, mu))|_2^2 = sin^2 / |phi|_2^2 (paper, eq. 6, its square worked out); 0 at phi = 0."""
    square = ops.square(size(phi))
    return ops.where(square > TINY, (1.0 - cos) * (1.0 + cos) / square, 0.0)


def head_of(model: Any) -> MaxMahalanobisHead:
    """The head of a net that this defense trained. Raises InvalidInput where a net has none."""
    last = model.layers[-1]
    if not isinstance(last, MaxMahalanobisHead):
        raise fail("model", "a model that ends in a MaxMahalanobisHead", type(last).__name__)
    return last


def _look(task: Task, images: Tensor) -> tuple[Tensor, Tensor]:
    """(phi, cosines to the centres) of the images of an attack."""
    phi: Any = task.features(images)  # also says where the model is a bare function
    view: Any = task.logits
    return phi, cosines(phi, ops.convert_to_tensor(head_of(view.net.model).centres))


def _clean(task: Task) -> Tensor:
    return task.features(task.x)


@objective("cosine_distance", reference=_clean, targetable=False)
def moved(task: Task, images: Tensor, z: Tensor, reference: Tensor) -> Tensor:
    """CD(phi(x), phi(x')), the inner maximum of BIBO (eq. 8). Gradient 0 at x: start at random."""
    return cosine_distance(reference, task.features(images))


@objective("cosine")
def cosine_margin(task: Task, images: Tensor, z: Tensor, reference: Tensor) -> Tensor:
    """max_{j != y} cos_j - cos_y, or cos_t - max_{j != t} cos_j: the margin without the length of phi, which L_SO lets
    grow. For nets with a MaxMahalanobisHead."""
    return task.margin(_look(task, images)[1])


def total(alpha: float, beta: float) -> Value:
    """The loss of MAT at x' with the inner maximum dropped, as an objective (sec. 4.4):
    L_FTC(x') + alpha L_SO(x') + beta CD(phi(x), phi(x'))."""

    def value(task: Task, images: Tensor, z: Tensor, reference: Tensor) -> Tensor:
        phi, cos = _look(task, images)
        own = pick(cos, task.y)
        return 1.0 - own + alpha * second_order(phi, own) + beta * cosine_distance(reference, phi)

    return value


objective("mat", reference=_clean, targetable=False)(total(1.0, 1.0))
objective("mat_6", reference=_clean, targetable=False)(total(1.0, 6.0))


CLIMB = PGD(threat=Linf(eps=0.1), steps=5, random_start=False, jitter=0.001, loss="cosine_distance")


@register("defense", "mat")
class MAT(Defense):
    """L_FTC + alpha L_SO + beta L_BIBO on a head of fixed Max-Mahalanobis centres mu_k (eq. 9):

    L_FTC  = 1 - cos(phi(x), mu_y)                                            (eq. 4)
    L_SO   = |grad_phi L_FTC|_2^2 = sin^2(phi, mu_y) / |phi|_2^2                (eq. 6, in closed form)
    L_BIBO = max_{x' in the ball} 1 - cos(phi(x), phi(x')), without the label  (eq. 8)

    Gradients of L_BIBO flow through both arguments; x' comes from PGD in inference mode. The exported logits are
    phi . mu_k (sec. 3.3). phi is a linear layer that the defense puts before the head (`heads.crown`): behind a ReLU
    only the first centre could be reached, and no cosine with the last were above 0.

    L_SO masks gradients: |phi| can grow without any angle changing, which lowers L_SO by 1 / |phi|^2 and raises all
    logits by |phi|, until the softmax saturates and the gradient of the cross-entropy underflows. Hence the paper's
    79.9% under PGD and 1.3% under its own adaptive attack. Measure with `adaptive_attack` (objectives "mat" and
    "cosine", logits rescaled, margins); the mean of |phi| is logged as "feature_norm". The objective "mat" has
    alpha = beta = 1, "mat_6" beta = 6, whichever is nearer; register `total(alpha, beta)` for others.

    The defaults are for digits. The paper's text gives no value of alpha, beta, C, nor of the inner attack: `MAT_MNIST`
    and `MAT_CIFAR` below are inferred from TRADES and Max-Mahalanobis training.

    Args:
        alpha: weight of L_SO; 0 leaves it out.
        beta: weight of L_BIBO; 0 leaves it out, and its attack with it.
        attack: of L_BIBO, from a random start: at x the distance has no slope. Its jitter is TRADES' start.
        dim: width of the linear layer; None puts the head on the net's own features, which must take both signs.
        scale: C, the length of the centres; no loss depends on it, only the exported logits (10 in Max-Mahalanobis
            training).
        optimizer: of the classifier.

    Cost a step: the attack's and 2 forward-backward passes; 1 forward-backward pass with beta=0.
    """

    reference = "Manifold-Aware Training, ICLR 2021 submission mOO-LfEVZK"
    reported = MappingProxyType(
        {
            "CIFAR-10 WRN, clean / PGD / adaptive PGD": "83.80% / 80.55% / 53.65% (TRADES 84.92% / 56.61% / 56.26%)",
            "CIFAR-10 WRN, alone: L_FTC, with BIBO, with SO": "94.93% / 3.45% / 0.45%, 85.04% / 53.58% / 52.27%, "
            "95.21% / 79.92% / 1.27%",
            "MNIST VGG, clean / PGD / adaptive PGD": "99.32% / 99.28% / 92.66% (TRADES 99.34% / 94.38% / 93.06%)",
            "CIFAR-10 / MNIST, mean l2 by C&W": "2.457 / 2.063 (no defense 0.432 / 0.687)",
            "CIFAR-10 / MNIST, mean l2 by DDN": "2.750 / 4.723 (no defense 0.134 / 0.357)",
        }
    )
    alpha: float = tunable(default=1.0, lowest=0.1, highest=10.0, log=True)
    beta: float = tunable(default=1.0, lowest=0.5, highest=8.0, log=True)
    attack: PGD = option(default=CLIMB)
    dim: int | None = option(default=64, low=2)
    scale: float = option(default=1.0, above=0.0)
    optimizer: Optimizer = option(default=Adam())

    def check(self) -> None:
        check_beside(self.attack, "cosine_distance")

    @property
    def attacked(self) -> tuple[str, ...]:  # type: ignore[override]
        """The training loss itself, and the margin of the cosines."""
        return ("mat" if self.beta < 3.0 else "mat_6", "cosine")

    def predictor(self, net: keras.Model) -> keras.Model:
        return crown(net, MaxMahalanobisHead(net.output_shape[-1], self.scale, name="logits"), self.dim)

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        if not self.beta:
            return {}
        return {"adversarial": crafted(self.attack, nets["net"], x, y, seed)}

    def passes(self, classes: int) -> dict[str, int]:
        if not self.beta:
            return {"net.weights": 1}
        return {**spent(self.attack, classes), "net.weights": 2}

    def moves(self) -> tuple[Move, ...]:
        weights = {"so": self.alpha, "bibo": self.beta}
        terms = ("ftc", *(name for name, weight in weights.items() if weight))
        return (self.classify(*terms, loss=self._loss, monitors=("feature_norm",)),)

    def _loss(self, nets: Nets, batch: Batch) -> dict[str, Tensor]:
        net = nets["net"]
        phi, _ = net.featured(batch["x"], training=True, update=True)
        cos = pick(cosines(phi, ops.convert_to_tensor(head_of(net.model).centres)), batch["y"])
        terms = {"ftc": 1.0 - cos}
        if self.alpha:
            terms["so"] = self.alpha * second_order(phi, cos)
        if self.beta:
            other, _ = net.featured(batch["adversarial"], training=True)
            terms["bibo"] = self.beta * cosine_distance(phi, other)
        return {**terms, "feature_norm": size(phi)}


MAT_MNIST = MAT(
    attack=CLIMB.replace(threat=Linf(eps=0.3), steps=40, step_size=0.01 / 0.3),
    scale=10.0,
    optimizer=SGD(learning_rate=0.01, schedule=Milestones(at=(54, 74, 89))),
)
"""Inferred for MNIST, a small VGG-like net, 100 epochs, batch 128; beta of TRADES."""

MAT_CIFAR = MAT(
    beta=6.0,
    attack=CLIMB.replace(threat=Linf(eps=0.031), steps=10, step_size=0.007 / 0.031),
    dim=256,
    scale=10.0,
    optimizer=SGD(weight_decay=2e-3, schedule=Milestones(at=(74, 89))),
)
"""Inferred for CIFAR-10, WRN-34-10 with crops and flips, 100 epochs, batch 128; beta of TRADES. Its decay 2e-4 is part
of the gradient; taken out of the momentum 0.9 it is ten times that."""
