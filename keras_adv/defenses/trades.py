"""TRADES."""

from __future__ import annotations

from types import MappingProxyType

from keras_adv.arrays import Tensor
from keras_adv.attacks import PGD
from keras_adv.attacks.objectives import KL, CrossEntropy, LogitComparison, Objective
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
from keras_adv.losses import cross_entropy, hits, kl_divergence
from keras_adv.optimizers import SGD, Adam, Milestones, Optimizer
from keras_adv.ramps import Ramp, last, now
from keras_adv.registry import option, preset, register, tunable
from keras_adv.threats import Linf

ASCENT = PGD(threat=Linf(eps=0.1), steps=5, random_start=False, jitter=0.001, loss=KL())


@register("objective", "trades_loss")
class TradesLoss(LogitComparison):
    """CE(x') + weight KL(p(x) || p(x')), TRADES' loss at x' (arXiv:1901.08573, eq. 5). Start at random.

    Args:
        weight: beta of TRADES, 1 / lambda; the larger, the more the ascent looks at the divergence.
    """

    weight: float = option(default=1.0, above=0.0)

    def value(self, task: Task, images: Tensor, logits: Tensor, reference: Tensor | None) -> Tensor:
        divergence = kl_divergence(reference, logits)
        return CrossEntropy().value(task, images, logits, None) + self.weight * divergence


@register("defense", "trades")
class Trades(PairedDefense):
    """CE(z(x), y) + weight KL(p(x) || p(x')), where x' ascends the same KL in the ball around x.

    Zhang et al., ICML 2019 (arXiv:1901.08573), eq. 5 with the divergence of its experiments. The gradient by
    the weights flows through p(x) and p(x'); x' is made in inference mode, both passes of the loss are in
    training mode. At x the KL has no slope, so the ascent starts beside it, in ball and box.

    The defaults are for small images such as the digits; the presets trades_mnist and trades_cifar are the
    paper's.

    Args:
        weight: beta, or 1 / lambda; authors' code: 1 on MNIST, 6 on CIFAR-10.
        attack: of the KL; paper: starts at x + 0.001 N(0, 1), `jitter` of pgd. Any norm: in l2 the paper
            takes steps of 2 eps / steps along the normalised gradient.
        statistics: whose statistics batch normalisation uses and keeps: "joint" (both kinds of images are one
            batch), "clean" or "each" (`crafting.STATISTICS`; authors: "each").
        optimizer: of the classifier.

    Cost a step, n attack steps: 1 forward and n forward-backward passes for x', then 2 forward-backward
    passes.
    """

    reference = "arXiv:1901.08573"
    reported = MappingProxyType(
        {
            "CIFAR-10 WRN-34-10, linf 0.031: clean / FGSM / PGD-20": (
                "84.92% / 61.06% / 56.61% (AutoAttack: 53.08%)"
            ),
            "MNIST SmallCNN, linf 0.3: clean / PGD-40": "99.48% / 96.07% (AutoAttack: 92.81%)",
        }
    )
    weight: float | Ramp = tunable(default=3.0, lowest=0.5, highest=10.0, log=True)
    attack: PGD = option(default=ASCENT)
    optimizer: Optimizer = option(default=Adam())

    def check(self) -> None:
        check_start(self.attack, "kl")

    def objectives(self) -> tuple[Objective, ...]:
        return KL(), TradesLoss(weight=last(self.weight))

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        return {"adversarial": adversarial_images(self.attack, nets["net"], x, y, seed)}

    def passes(self, classes: int) -> dict[str, int]:
        return {**attack_passes(self.attack, classes), "net.weights": 2}

    def moves(self) -> tuple[Move, ...]:
        return (self.classifier_move("cross_entropy", "kl", loss=self._loss),)

    def _loss(self, nets: Nets, batch: Batch) -> dict[str, Tensor]:
        clean, moved = run_both(nets["net"].logits, batch["x"], batch["adversarial"], self.statistics)
        return {
            "cross_entropy": cross_entropy(clean, batch["y"]),
            "kl": now(self.weight, nets["net"]) * kl_divergence(clean, moved),
            ACCURACY: hits(clean, batch["y"]),
        }


preset(
    "trades_mnist",
    Trades(
        weight=1.0,
        attack=ASCENT.replace(threat=Linf(eps=0.3), steps=40, step_size=0.01 / 0.3),
        optimizer=SGD(learning_rate=0.01, momentum=0.9, schedule=Milestones(at=(54, 74, 89), factor=0.1)),
    ),
    "The authors' code. Its epochs count from 1: the rate falls after 54 of them.",
    model="small_cnn()",
    data="mnist",
    epochs=100,
    batch_size=128,
)
preset(
    "trades_cifar",
    Trades(
        weight=6.0,
        attack=ASCENT.replace(threat=Linf(eps=0.031), steps=10, step_size=0.007 / 0.031),
        optimizer=SGD(
            learning_rate=0.1,
            momentum=0.9,
            # theirs is 2e-4 inside the gradient, which momentum 0.9 sums up to ten times that
            weight_decay=2e-3,
            schedule=Milestones(at=(74, 89, 99), factor=0.1),
        ),
    ),
    "The authors' code; eps is 0.031, not 8/255.",
    model="wrn(depth=34, width=10)",
    data="cifar10",
    epochs=76,
    batch_size=128,
    augment="crop_flip",
)
