"""Fast adversarial training, with a guard against catastrophic overfitting."""

from __future__ import annotations

from types import MappingProxyType

from keras_adv.arrays import Tensor
from keras_adv.attacks import PGD
from keras_adv.defenses.adversarial import Adversarial
from keras_adv.defenses.base import Batch, CollapseGuard, Defense, Move, Nets
from keras_adv.optimizers import SGD, Adam, Optimizer
from keras_adv.registry import option, preset, register, tunable
from keras_adv.threats import Linf, Threat


@register("defense", "fast")
class Fast(Defense):
    """CE(x'), x' = P(u + step eps ascent(grad CE(u))) from one step at a random point u of the ball
    (RS-FGSM).

    Wong, Rice & Kolter, ICLR 2020 (arXiv:2001.03994), alg. 3. Training with one step can collapse within an
    epoch: the net learns to fool FGSM, and its accuracy under PGD goes to 0 ("catastrophic overfitting"). The
    accuracy under a PGD of 5 steps of eps / 4 on some training images is therefore measured after each epoch
    (`pgd_accuracy` in the logs), and a fall ends the training with the weights of the best epoch. The
    authors' code compares with the epoch before; with the best, a slow collapse is seen too. x' is made in
    inference mode (theirs in training mode).

    Args:
        threat: any norm, with an eps.
        step: length of the step in units of eps; paper: 1.25 (2 collapses).
        drop: fall of the accuracy under PGD, from its best, that ends the training; the authors' code: 0.2.
        images: how many training images, the first ones, it is measured on.
        steps: of that PGD.
        optimizer: of the classifier.

    Cost a step: 1 forward-backward pass for x' and 1 on x'; an epoch: `steps` forward-backward passes on
    `images`. A second copy of the weights is kept.
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

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        return self._training.prepare(nets, x, y, seed)

    def passes(self, classes: int) -> dict[str, int]:
        return self._training.passes(classes)

    def moves(self) -> tuple[Move, ...]:
        return self._training.moves()

    def collapse_guard(self) -> CollapseGuard:
        watch = PGD(threat=self.threat, steps=self.steps, step_size=0.25)
        return CollapseGuard(watch, self.drop, self.images)


preset(
    "fast_cifar",
    Fast(
        threat=Linf(eps=8 / 255),
        # theirs is 5e-4 inside the gradient, which momentum 0.9 sums up to ten times that
        optimizer=SGD(learning_rate=0.1, momentum=0.9, weight_decay=5e-3),
    ),
    "The paper's step. Its rate rises to 0.2 and falls to 0, and its net is a PreAct ResNet-18.",
    model="resnet18()",
    data="cifar10",
    epochs=15,
    batch_size=128,
    augment="crop_flip",
)
