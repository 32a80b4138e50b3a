"""Fast adversarial training, with a guard against catastrophic overfitting."""

from __future__ import annotations

from types import MappingProxyType

from keras import ops

from keras_adv.arrays import Tensor
from keras_adv.attacks import PGD, Task
from keras_adv.attacks.objectives import CrossEntropy
from keras_adv.attacks.task import Examples
from keras_adv.backend import FrozenNet, value_and_grad
from keras_adv.defenses.adversarial import Adversarial
from keras_adv.defenses.base import Batch, CollapseGuard, Defense, Move, Nets, single_step_guard
from keras_adv.optimizers import SGD, Adam, OneCycle, Optimizer
from keras_adv.registry import option, preset, register, tunable
from keras_adv.threats import Linf, Threat


@register("defense", "fast")
class Fast(Defense):
    """CE(x'), x' from one step at a random point u: P(u + step eps ascent(grad CE(u))).

    project=True is RS-FGSM (Wong, Rice & Kolter, ICLR 2020, arXiv:2001.03994, alg. 3), u in the ball and P
    the projection on ball and box. noise=2, step=1, project=False is N-FGSM (de Jorge et al., NeurIPS 2022,
    arXiv:2202.01181, alg. 1): u may lie beyond the ball, x' is cut at the box alone, and at eps = 8/255 they
    saw no collapse.

    Training with one step can collapse within an epoch: the net learns to fool FGSM, and its accuracy under
    PGD goes to 0 ("catastrophic overfitting"). The accuracy under a PGD of 5 steps of eps / 4 on some
    training images is therefore measured after each epoch (`pgd_accuracy` in the logs), and a fall ends the
    training with the weights of the best epoch. The authors' code compares with the epoch before; with the
    best, a slow collapse is seen too. x' is made in inference mode (theirs in training mode).

    Args:
        threat: any norm, with an eps.
        step: length of the step in units of eps; RS-FGSM: 1.25 (2 collapses), N-FGSM: 1.
        noise: radius of the ball that u is drawn from, in units of eps; N-FGSM: 2.
        project: whether x' is put back into the ball; N-FGSM: False.
        smoothing: label smoothing, the share of the target that goes to all classes alike.
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
    noise: float = option(default=1.0, above=0.0)
    project: bool = option(default=True)
    smoothing: float = option(default=0.0, low=0.0, high=0.9)
    drop: float = option(default=0.2, above=0.0, high=1.0)
    images: int = option(default=128, low=1)
    steps: int = option(default=5, low=1)
    optimizer: Optimizer = option(default=Adam())

    @property
    def _training(self) -> Adversarial:
        attack = PGD(threat=self.threat, steps=1, step_size=self.step)
        return Adversarial(attack=attack, smoothing=self.smoothing, optimizer=self.optimizer)

    def check(self) -> None:
        self.threat.radius()

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        eps = self.threat.radius()
        task = Task(FrozenNet(nets["net"]), Examples.of_batch(x, y, seed))
        start = self.threat.sample(x, task.seeds, self.noise * eps)

        def loss(images: Tensor) -> tuple[Tensor, None]:
            return CrossEntropy().value(task, images, task.logits(images), None), None

        direction = self.threat.ascent(value_and_grad(loss, start)[2], start)
        moved = start + self.step * eps * direction
        return {"adversarial": self.threat.project(moved, x, eps) if self.project else ops.clip(moved, 0, 1)}

    def passes(self, classes: int) -> dict[str, int]:
        return self._training.passes(classes)

    def moves(self) -> tuple[Move, ...]:
        return self._training.moves()

    def collapse_guard(self) -> CollapseGuard:
        return single_step_guard(self.threat, self.drop, self.images, self.steps)


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
preset(
    "fast_cifar_nfgsm",
    Fast(
        threat=Linf(eps=8 / 255),
        step=1.0,
        noise=2.0,
        project=False,
        optimizer=SGD(learning_rate=0.2, momentum=0.9, weight_decay=5e-3, schedule=OneCycle(rise=0.5)),
    ),
    "The paper's N-FGSM. Its rate rises from 0 in 15 epochs, and its net is a PreAct ResNet-18.",
    model="resnet18()",
    data="cifar10",
    epochs=30,
    batch_size=128,
    augment="crop_flip",
)
