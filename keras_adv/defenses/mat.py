"""Manifold-Aware Training."""

from __future__ import annotations

from types import MappingProxyType

import keras
from keras import ops

from keras_adv.arrays import TINY, Tensor
from keras_adv.attacks import PGD
from keras_adv.attacks.objectives import FeatureComparison, Objective
from keras_adv.attacks.task import Task
from keras_adv.backend import ACCURACY
from keras_adv.defenses.base import Batch, Move, Nets
from keras_adv.defenses.crafting import (
    PairedDefense,
    adversarial_images,
    attack_passes,
    check_start,
    run_both,
)
from keras_adv.layers import centres_of, dot_head, replace_head
from keras_adv.losses import hits, pick
from keras_adv.optimizers import SGD, Adam, Milestones, Optimizer
from keras_adv.ramps import Ramp, last, now
from keras_adv.registry import option, preset, register, tunable
from keras_adv.threats import Linf


def safe_norm(v: Tensor) -> Tensor:
    """|v|_2 over the last axis, at least 1e-6; gradient 0 below that."""
    return ops.sqrt(ops.maximum(ops.sum(ops.square(v), axis=-1), TINY))


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """CD(a, b) = 1 - cos(a, b) of the rows: (B,)."""
    return 1.0 - ops.sum(a * b, axis=-1) / (safe_norm(a) * safe_norm(b))


def cosines(phi: Tensor, centres: Tensor) -> Tensor:
    """(B, K) cos(phi, mu_k)."""
    units = centres / ops.expand_dims(safe_norm(centres), 1)
    return ops.matmul(phi, ops.transpose(units)) / ops.expand_dims(safe_norm(phi), 1)


def second_order(phi: Tensor, cos: Tensor) -> Tensor:
    """|grad_phi (1 - cos(phi, mu))|_2^2 = sin^2 / |phi|_2^2 (paper, eq. 6, its square worked out); 0 at phi =
    0."""
    square = ops.square(safe_norm(phi))
    return ops.where(square > TINY, (1.0 - cos) * (1.0 + cos) / square, 0.0)


def _features_and_cosines(task: Task, images: Tensor) -> tuple[Tensor, Tensor]:
    """(phi, cosines to the centres) of images under attack. Raises InvalidInput for a net without a
    head of centres."""
    phi = task.features(images)
    return phi, cosines(phi, centres_of(task.frozen_net().net.model))


@register("objective", "cosine_distance")
class CosineDistance(FeatureComparison):
    """CD(phi(x), phi(x')), the inner maximum of BIBO (eq. 8). Gradient 0 at x: start at random."""

    def value(self, task: Task, images: Tensor, logits: Tensor, reference: Tensor | None) -> Tensor:
        return cosine_distance(reference, task.features(images))


@register("objective", "cosine")
class CosineMargin(Objective):
    """max_{j != y} cos_j - cos_y, or cos_t - max_{j != t} cos_j: the margin without the length of phi, which
    L_SO lets grow. For nets that end in `layers.dot_head`."""

    def value(self, task: Task, images: Tensor, logits: Tensor, reference: Tensor | None) -> Tensor:
        return task.margin(_features_and_cosines(task, images)[1])


@register("objective", "mat_loss")
class MATLoss(FeatureComparison):
    """L_FTC(x') + alpha L_SO(x') + beta CD(phi(x), phi(x')): the loss of MAT with the inner maximum dropped
    (sec. 4.4).

    For nets that end in `layers.dot_head`. Start at random.

    Args:
        alpha: weight of L_SO in the training; 0 where it had none.
        beta: weight of L_BIBO in the training; 0 where it had none.
    """

    alpha: float = option(default=1.0, low=0.0)
    beta: float = option(default=1.0, low=0.0)

    def value(self, task: Task, images: Tensor, logits: Tensor, reference: Tensor | None) -> Tensor:
        phi, cos = _features_and_cosines(task, images)
        own = pick(cos, task.y)
        loss = 1.0 - own
        if self.alpha:
            loss = loss + self.alpha * second_order(phi, own)
        return loss + self.beta * cosine_distance(reference, phi) if self.beta else loss


preset("mat", MATLoss(), "mat_loss(), as cards name it that are older than objectives with options.")
preset("mat_6", MATLoss(beta=6.0), "mat_loss(beta=6.0), as such older cards name it.")

ASCENT = PGD(threat=Linf(eps=0.1), steps=5, random_start=False, jitter=0.001, loss=CosineDistance())


@register("defense", "mat")
class MAT(PairedDefense):
    """L_FTC + alpha L_SO + beta L_BIBO on a head of fixed Max-Mahalanobis centres mu_k (eq. 9):

    L_FTC  = 1 - cos(phi(x), mu_y)                                            (eq. 4)
    L_SO   = |grad_phi L_FTC|_2^2 = sin^2(phi, mu_y) / |phi|_2^2                (eq. 6, in closed form)
    L_BIBO = max_{x' in the ball} 1 - cos(phi(x), phi(x')), without the label  (eq. 8)

    Gradients of L_BIBO flow through both arguments; x' comes from PGD in inference mode. The exported logits
    are phi . mu_k (sec. 3.3). phi is a linear layer that the defense puts before the head
    (`layers.replace_head`): features behind a ReLU are never negative and could reach only the first
    centre, and their cosine with the last could not exceed 0.

    L_SO masks gradients: |phi| can grow without any angle changing, which lowers L_SO by 1 / |phi|^2 and
    raises all logits by |phi|, until the softmax saturates and the gradient of the cross-entropy underflows.
    Hence the paper's 79.9% under PGD and 1.3% under its own adaptive attack. Measure with `adaptive_attack`
    (mat_loss() with these alpha and beta, cosine(), logits rescaled, margins); the mean of |phi| is logged as
    "feature_norm".

    The defaults are for digits. The paper's text gives no value of alpha, beta, C, nor of the inner attack:
    the presets mat_mnist and mat_cifar are inferred from TRADES and Max-Mahalanobis training.

    Args:
        alpha: weight of L_SO; 0 leaves it out.
        beta: weight of L_BIBO; 0 leaves it out, and its attack with it.
        attack: of L_BIBO, from a random start: at x the distance has no slope. Its jitter is TRADES' start.
        dim: width of the linear layer; None puts the head on the net's own features, which must take both
            signs.
        statistics: whose statistics batch normalisation uses and keeps: "joint" (both kinds of images are one
            batch), "clean" or "each" (`crafting.STATISTICS`).
        scale: C, the length of the centres; no loss depends on it, only the exported logits (10 in
            Max-Mahalanobis training).
        optimizer: of the classifier.

    Cost a step: the attack's and 2 forward-backward passes; 1 forward-backward pass with beta=0.
    """

    reference = "Manifold-Aware Training, ICLR 2021 submission mOO-LfEVZK"
    reported = MappingProxyType(
        {
            "CIFAR-10 WRN, linf 0.031: clean / PGD / adaptive PGD": (
                "83.80% / 80.55% / 53.65% (TRADES 84.92% / 56.61% / 56.26%)"
            ),
            "CIFAR-10 WRN, linf 0.031, alone: L_FTC, with BIBO, with SO": (
                "94.93% / 3.45% / 0.45%, 85.04% / 53.58% / 52.27%, 95.21% / 79.92% / 1.27%"
            ),
            "MNIST VGG, linf 0.3: clean / PGD / adaptive PGD": (
                "99.32% / 99.28% / 92.66% (TRADES 99.34% / 94.38% / 93.06%)"
            ),
            "CIFAR-10 / MNIST, mean l2 by C&W": "2.457 / 2.063 (no defense 0.432 / 0.687)",
            "CIFAR-10 / MNIST, mean l2 by DDN": "2.750 / 4.723 (no defense 0.134 / 0.357)",
        }
    )
    alpha: float | Ramp = tunable(default=1.0, lowest=0.1, highest=10.0, log=True)
    beta: float | Ramp = tunable(default=1.0, lowest=0.5, highest=8.0, log=True)
    attack: PGD = option(default=ASCENT)
    dim: int | None = option(default=64, low=2)
    scale: float = option(default=1.0, above=0.0)
    optimizer: Optimizer = option(default=Adam())

    @property
    def statistics_passes(self) -> int:
        return super().statistics_passes if self.beta else 1

    def check(self) -> None:
        check_start(self.attack, "cosine_distance")

    def objectives(self) -> tuple[Objective, ...]:
        """The loss of the training itself, with the terms and weights that it has, and the margin of the
        cosines."""
        return MATLoss(alpha=last(self.alpha), beta=last(self.beta)), CosineMargin()

    def predictor(self, net: keras.Model) -> keras.Model:
        return replace_head(net, dot_head, self.scale, self.dim)

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        if not self.beta:
            return {}
        return {"adversarial": adversarial_images(self.attack, nets["net"], x, y, seed)}

    def passes(self, classes: int) -> dict[str, int]:
        if not self.beta:
            return {"net.weights": 1}
        return {**attack_passes(self.attack, classes), "net.weights": 2}

    def moves(self) -> tuple[Move, ...]:
        weights = {"so": self.alpha, "bibo": self.beta}
        terms = ("ftc", *(name for name, weight in weights.items() if weight))
        return (self.classifier_move(*terms, loss=self._loss, monitors=("feature_norm",)),)

    def _loss(self, nets: Nets, batch: Batch) -> dict[str, Tensor]:
        net = nets["net"]
        if self.beta:
            pair = run_both(net.features_and_logits, batch["x"], batch["adversarial"], self.statistics)
            (phi, _), (other, _) = pair
        else:
            phi, _ = net.features_and_logits(batch["x"], mode="training")
        angles = cosines(phi, centres_of(net.model))
        cos = pick(angles, batch["y"])
        terms = {"ftc": 1.0 - cos}
        if self.alpha:
            terms["so"] = now(self.alpha, net) * second_order(phi, cos)
        if self.beta:
            terms["bibo"] = now(self.beta, net) * cosine_distance(phi, other)
        return {**terms, "feature_norm": safe_norm(phi), ACCURACY: hits(angles, batch["y"])}


preset(
    "mat_mnist",
    MAT(
        attack=ASCENT.replace(threat=Linf(eps=0.3), steps=40, step_size=0.01 / 0.3),
        scale=10.0,
        optimizer=SGD(learning_rate=0.01, schedule=Milestones(at=(54, 74, 89))),
    ),
    "Inferred; the paper's net is a small one like VGG, beta is that of TRADES.",
    model="vgg()",
    data="mnist",
    epochs=100,
    batch_size=128,
)
preset(
    "mat_cifar",
    MAT(
        beta=6.0,
        attack=ASCENT.replace(threat=Linf(eps=0.031), steps=10, step_size=0.007 / 0.031),
        dim=256,
        scale=10.0,
        optimizer=SGD(weight_decay=2e-3, schedule=Milestones(at=(74, 89))),
    ),
    """Inferred; beta is that of TRADES. Its decay 2e-4 is part of the gradient; taken out of the momentum 0.9
    it is ten times that.""",
    model="wrn(depth=34, width=10)",
    data="cifar10",
    epochs=100,
    batch_size=128,
    augment="crop_flip",
)
