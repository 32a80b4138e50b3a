"""Distillation from a robust teacher."""

from __future__ import annotations

import keras
from keras import ops

from keras_adv.arrays import Tensor
from keras_adv.attacks import PGD
from keras_adv.attacks.objectives import Objective
from keras_adv.attacks.task import Task
from keras_adv.backend import ACCURACY
from keras_adv.defenses.base import Batch, Move, Nets
from keras_adv.defenses.crafting import PairedDefense, adversarial_images, attack_passes, run_both
from keras_adv.defenses.teacher import teacher_of
from keras_adv.losses import hits, kl_divergence
from keras_adv.optimizers import SGD, Adam, Milestones, Optimizer
from keras_adv.registry import option, preset, register, tunable
from keras_adv.threats import Linf


class _FromTeacher(Objective):
    """KL(T(x) || S(x')) with the teacher's logits of the batch; part of a training step, no spec."""

    name = "from_teacher"

    def __init__(self, logits: Tensor) -> None:
        object.__setattr__(self, "logits", logits)

    def value(self, task: Task, images: Tensor, logits: Tensor, reference: Tensor | None) -> Tensor:
        return kl_divergence(vars(self)["logits"], logits)


@register("defense", "rslad")
class RSLAD(PairedDefense):
    """(1 - weight) KL(T(x) || S(x)) + weight KL(T(x) || S(x')), with x' the worst of KL(T(x) || S(x')) in the
    ball.

    Zi et al., ICCV 2021 (arXiv:2108.07969), eq. 5: the student S sees the teacher's answers for clean images
    as its only labels, in the loss and in the attack. T does not learn; it and the attack are in inference
    mode.

    Args:
        teacher: a robust net, a name in the zoo, a run folder or FILE.keras, of the same images and classes;
            None: the net that training starts from, as it then is.
        weight: share of the adversarial images; the authors' code: 5/6.
        attack: its threat, steps and start; the objective is the divergence, whatever its `loss`. The
            authors' code starts at x + 0.001 N(0, 1).
        statistics: whose statistics batch normalisation uses and keeps: "joint" (both kinds of images are one
            batch), "clean" or "each" (`crafting.STATISTICS`; authors: "each").
        optimizer: of the student.

    Cost a step: the attack's, 2 forward-backward passes, and a forward pass of the teacher.
    """

    reference = "arXiv:2108.07969"
    teacher: str | None = option(default=None)
    weight: float = tunable(default=5 / 6, lowest=0.5, highest=1.0, above=0.0, high=1.0)
    attack: PGD = option(default=PGD(threat=Linf(eps=0.1), steps=5, random_start=False, jitter=0.001))
    optimizer: Optimizer = option(default=Adam())

    def networks(self, net: keras.Model) -> dict[str, keras.layers.Layer]:
        return {"teacher": teacher_of(self.teacher, net)}

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        soft = ops.stop_gradient(nets["teacher"].logits(x))
        attack = self.attack.replace(loss=_FromTeacher(soft))
        return {"soft": soft, "adversarial": adversarial_images(attack, nets["net"], x, y, seed)}

    def passes(self, classes: int) -> dict[str, int]:
        return {**attack_passes(self.attack, classes), "net.weights": 2, "teacher.forward": 1}

    def moves(self) -> tuple[Move, ...]:
        return (self.classifier_move("clean_kl", "adversarial_kl", loss=self._loss),)

    def _loss(self, nets: Nets, batch: Batch) -> dict[str, Tensor]:
        clean, moved = run_both(nets["net"].logits, batch["x"], batch["adversarial"], self.statistics)
        return {
            "clean_kl": (1.0 - self.weight) * kl_divergence(batch["soft"], clean),
            "adversarial_kl": self.weight * kl_divergence(batch["soft"], moved),
            ACCURACY: hits(clean, batch["y"]),
        }


preset(
    "rslad_cifar",
    RSLAD(
        attack=PGD(threat=Linf(eps=8 / 255), steps=10, step_size=0.25, random_start=False, jitter=0.001),
        # theirs is 2e-4 inside the gradient, which momentum 0.9 sums up to ten times that
        optimizer=SGD(weight_decay=2e-3, schedule=Milestones(at=(215, 260, 285))),
    ),
    "The authors' code, whose teacher is a WRN-34-10 (give `teacher`).",
    model="resnet18()",
    data="cifar10",
    epochs=300,
    batch_size=128,
    augment="crop_flip",
)
