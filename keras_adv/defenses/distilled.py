"""Distillation: a student of another net's answers."""

from __future__ import annotations

import keras
from keras import ops

from keras_adv.arrays import Tensor
from keras_adv.backend import ACCURACY
from keras_adv.defenses.base import Batch, Defense, Move, Nets
from keras_adv.defenses.teacher import teacher_of
from keras_adv.losses import hits, kl_divergence
from keras_adv.optimizers import SGD, Adam, Milestones, Optimizer
from keras_adv.registry import option, preset, register, tunable


@register("defense", "distilled")
class Distilled(Defense):
    """t^2 KL(softmax(T(x) / t) || softmax(S(x) / t)): the student S learns the teacher's answers T alone, no
    labels.

    Hinton et al., arXiv:1503.02531, with t^2 as there, so that the gradient keeps its size. No defense by
    itself: it makes the net on which an attacker who may only ask T prepares images (Papernot et al., 2017;
    MadNet, sec. 5.4), see `keras_adv.transfer`. T does not learn and is in inference mode. With
    t = 1 the gradient is that of the cross-entropy to T's probabilities.

    Args:
        teacher: name in the zoo, a run folder or FILE.keras, of the same images and classes; None: the net
            that training starts from, as it then is.
        temperature: t; 1: the probabilities that the teacher answers with, all that an attacker sees.
        optimizer: of the student.

    Cost a step: 1 forward-backward pass, and a forward pass of the teacher.
    """

    reference = "arXiv:1503.02531; arXiv:1911.00870, sec. 5.4"
    teacher: str | None = option(default=None)
    temperature: float = tunable(default=1.0, lowest=1.0, highest=20.0, log=True, above=0.0)
    optimizer: Optimizer = option(default=Adam())

    def networks(self, net: keras.Model) -> dict[str, keras.layers.Layer]:
        return {"teacher": teacher_of(self.teacher, net)}

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        return {"soft": ops.stop_gradient(nets["teacher"].logits(x))}

    def passes(self, classes: int) -> dict[str, int]:
        return {"net.weights": 1, "teacher.forward": 1}

    def moves(self) -> tuple[Move, ...]:
        return (self.classifier_move("kl", loss=self._loss),)

    def _loss(self, nets: Nets, batch: Batch) -> dict[str, Tensor]:
        z, t = nets["net"].logits(batch["x"], mode="training"), self.temperature
        return {"kl": t**2 * kl_divergence(batch["soft"] / t, z / t), ACCURACY: hits(z, batch["y"])}


_NOTE = """The student of MadNet's table 4 (give `teacher`). The paper says no more of it than ResNet-32: that
    it is trained as mad is, and on the training images, is inferred."""
for _data, _epochs, _ends, _augment in (
    ("mnist", 64, (20, 39, 58), "crop2"),
    ("cifar", 409, (103, 180, 256, 333), "crop2_flip"),
):
    preset(
        f"distilled_{_data}",
        Distilled(optimizer=SGD(learning_rate=0.1, weight_decay=4e-3, schedule=Milestones(at=_ends))),
        _NOTE,
        model="madnet_resnet(depth=32)",
        data="cifar10" if _data == "cifar" else _data,
        epochs=_epochs,
        batch_size=128,
        augment=_augment,
        normalize="centre",
    )
