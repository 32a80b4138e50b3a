"""Training on a fixed set of DeepFool's images."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from keras_adv.attacks import DeepFool, Task
from keras_adv.attacks.task import Examples
from keras_adv.backend import FrozenNet, compile
from keras_adv.defenses.base import Defense, Move
from keras_adv.defenses.standard import cross_entropy_move
from keras_adv.optimizers import SGD, Adam, Milestones, Optimizer
from keras_adv.registry import option, preset, register
from keras_adv.threats import L2

BATCH = 250


@register("defense", "deepfool_training")
class DeepFoolTraining(Defense):
    """Cross-entropy on the training images and on DeepFool's images of the net that training starts from.

    The adversarial images are made once, before the first step, and keep the label of the image they came
    from: "Adv. Train I" of Deep Defense (sec. 4), after the fine-tuning of the DeepFool paper. They fool the
    first net, not the one that is being trained, so this is weaker than `adversarial`. What the first net
    gets wrong stays as it is. An epoch has twice as many steps with `clean`. A resumed run makes the same
    images anew, from the same start.

    Args:
        attack: DeepFool; an image that its steps do not fool stays as it is. In the box, unless its threat is
            l2(box=False), as in the papers.
        clean: keep the clean images; False: only DeepFool's images, as in the DeepFool paper.
        optimizer: of the classifier.

    Cost a step: 1 forward-backward pass. Before the first: DeepFool on every image, at most steps + 1
    Jacobians (LeNet on the digits: 5 steps fool 69% of the training images, 10 steps 99.4%, 20 all).
    """

    reference = "arXiv:1511.04599; Yan, Guo & Zhang, NeurIPS 2018 (arXiv:1803.00404), sec. 4"
    reported = MappingProxyType(
        {
            "rho_2 = mean |Delta|/|x| by DeepFool, all test images": (
                "MNIST MLP 0.162 (reference 0.111), LeNet 0.263 (0.205); CIFAR-10 ConvNet 0.0305 "
                "(0.0259), NIN 0.0525 (0.0420)"
            ),
            "Accuracy": "MNIST MLP 98.49% (reference 98.31%), LeNet 99.18% (99.02%); CIFAR-10 ConvNet 80.65% "
            "(79.74%), NIN 89.87% (89.64%)",
        }
    )
    attack: DeepFool = option(default=DeepFool(steps=20))
    clean: bool = option(default=True)
    optimizer: Optimizer = option(default=Adam())

    def extend_data(self, net: keras.Model, x: Any, y: Any) -> tuple[Any, Any]:
        examples = Examples.of_batch(x, y, eps=self.attack.threat.radii(x)).as_arrays()
        run = compile(lambda batch: self.attack.run(Task(FrozenNet(net), batch)).images, net)
        found = np.empty_like(x)
        for start in range(0, len(x), BATCH):
            # batches of one size, the last filled up with its last image: one compilation
            rows = np.minimum(np.arange(start, start + BATCH), len(x) - 1)
            found[start : start + BATCH] = np.asarray(run(examples.take(rows)))[: len(x) - start]
        return (np.concatenate([x, found]), np.concatenate([y, y])) if self.clean else (found, y)

    def extended_count(self, count: int) -> int:
        return 2 * count if self.clean else count

    def moves(self) -> tuple[Move, ...]:
        return (cross_entropy_move(self),)


_SGD = SGD(learning_rate=5e-4, weight_decay=5e-3, schedule=Milestones(at=(4,), factor=0.5))
_PAPER = DeepFoolTraining(attack=DeepFool(threat=L2(box=False), steps=50), optimizer=_SGD)
preset(
    "deepfool_training_mnist",
    _PAPER,
    """"Adv. Train I" of Deep Defense, fine-tuned like that (give `start`; see deep_defense_mnist); DeepFool
    with its paper's 50 steps, without the box.""",
    model="mlp(units=(500, 150))",
    data="mnist",
    epochs=5,
    batch_size=100,
    normalize="mean_image",
)
preset(
    "deepfool_training_cifar",
    _PAPER.replace(optimizer=_SGD.replace(schedule=Milestones(at=(40,), factor=0.5))),
    """"Adv. Train I" of Deep Defense, fine-tuned like that (give `start`; see deep_defense_cifar).""",
    model="convnet()",
    data="cifar10",
    epochs=50,
    batch_size=100,
    normalize="matconvnet",
)
