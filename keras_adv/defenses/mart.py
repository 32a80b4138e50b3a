"""MART."""

from __future__ import annotations

from types import MappingProxyType

from keras import ops

from keras_adv.arrays import Tensor
from keras_adv.attacks import PGD, Attack
from keras_adv.backend import ACCURACY
from keras_adv.defenses.base import Batch, Move, Nets
from keras_adv.defenses.crafting import (
    PairedDefense,
    adversarial_images,
    attack_passes,
    run_both,
)
from keras_adv.losses import hits, kl_divergence, log_odds_against, wrong_classes
from keras_adv.optimizers import SGD, Adam, Milestones, Optimizer
from keras_adv.ramps import Ramp, now
from keras_adv.registry import option, preset, register, tunable
from keras_adv.threats import Linf


def boosted_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """(B,) -log p_y - log(1 - max_{k != y} p_k) (MART).

    Both logarithms are softplus of log odds, so neither overflows nor loses its gradient where a p is 0 or 1
    in float32. (The authors' code adds 1e-4 and 1e-12 inside the logarithms instead, which caps the loss.)
    """
    rival = wrong_classes(logits, y)[:, 0]
    return ops.softplus(log_odds_against(logits, y)) + ops.softplus(-log_odds_against(logits, rival))


@register("defense", "mart")
class Mart(PairedDefense):
    """BCE(p(x'), y) + weight KL(p(x) || p(x')) (1 - p_y(x)), BCE = -log p_y - log(1 - max_{k != y} p_k).

    Wang et al., ICLR 2020, misclassification-aware adversarial training: images that are wrong or unsure
    already when clean count more in the KL. x' is made by an attack on the cross-entropy in inference mode;
    the gradient flows through every p.

    The defaults are for small images such as the digits; the preset mart_cifar has the paper's attack and
    weight.

    Args:
        weight: lambda; paper: 5.
        attack: any attack; all its steps are taken, fooled or not.
        statistics: whose statistics batch normalisation uses and keeps: "joint" (both kinds of images are one
            batch), "clean" or "each" (`crafting.STATISTICS`; authors: "each").
        optimizer: of the classifier.

    Cost a step: the attack's, and 2 forward-backward passes.
    """

    reference = "Wang et al., ICLR 2020 (openreview rklOg6EFwS)"
    reported = MappingProxyType(
        {"CIFAR-10 WRN-28-10 and 500,000 more images, linf 8/255: clean / AutoAttack": "87.50% / 56.29%"}
    )
    weight: float | Ramp = tunable(default=5.0, lowest=0.5, highest=10.0, log=True)
    attack: Attack = option(default=PGD(threat=Linf(eps=0.1), steps=5))
    optimizer: Optimizer = option(default=Adam())

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        return {"adversarial": adversarial_images(self.attack, nets["net"], x, y, seed)}

    def passes(self, classes: int) -> dict[str, int]:
        return {**attack_passes(self.attack, classes), "net.weights": 2}

    def moves(self) -> tuple[Move, ...]:
        return (self.classifier_move("boosted_cross_entropy", "kl", loss=self._loss),)

    def _loss(self, nets: Nets, batch: Batch) -> dict[str, Tensor]:
        y = ops.cast(batch["y"], "int32")
        clean, moved = run_both(nets["net"].logits, batch["x"], batch["adversarial"], self.statistics)
        unsure = ops.sigmoid(log_odds_against(clean, y))  # 1 - p_y, exact also where p_y rounds to 1
        return {
            "boosted_cross_entropy": boosted_cross_entropy(moved, y),
            "kl": now(self.weight, nets["net"]) * kl_divergence(clean, moved) * unsure,
            ACCURACY: hits(clean, y),
        }


preset(
    "mart_cifar",
    Mart(
        weight=5.0,
        attack=PGD(threat=Linf(eps=8 / 255), steps=10, step_size=0.25),
        optimizer=SGD(learning_rate=0.01, weight_decay=3.5e-2, schedule=Milestones(at=(74, 89, 99))),
    ),
    """The paper's weight; optimizer, epochs and batch are the authors' code's, whose attack has eps 0.031, a
    step of 0.007 and the start of TRADES.""",
    model="resnet18()",
    data="cifar10",
    epochs=120,
    batch_size=128,
    augment="crop_flip",
)
