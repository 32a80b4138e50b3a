"""Deep Defense: DeepFool, unrolled into a regulariser."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import keras
from keras import ops

from keras_adv.arrays import TINY, Tensor, expand_like, l2_norm, square_norm
from keras_adv.attacks import FGSM, Attack
from keras_adv.backend import ACCURACY, Mode, Net, batch_sum, chosen_grad
from keras_adv.defenses.base import Batch, Defense, Move, Nets
from keras_adv.defenses.crafting import adversarial_images, attack_passes, in_all, run_both
from keras_adv.losses import cross_entropy, hits, predicted_class
from keras_adv.numerics.linearise import differences_to_rivals, nearest_class
from keras_adv.optimizers import SGD, Adam, Milestones, Optimizer
from keras_adv.ramps import Ramp, now
from keras_adv.registry import option, preset, register, tunable
from keras_adv.threats import L2, Linf
from keras_adv.validate import invalid

CAP = 20.0
"""Largest exponent d rho: exp overflows float32 beyond 88."""
FLAT = 1e-12
"""Largest |w|^2 that counts as 0: the gradient of a step has 1 / |w|^4. Such an image is not moved; its rho
is logged as 0 even where it is classified correctly."""


class MeanImage(keras.layers.Layer):
    """Mean of all images that it was called with, the present ones included: (B, H, W, C) -> (H, W, C)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(name="mean_image")
        fixed: dict[str, Any] = {"initializer": "zeros", "aggregation": "only_first_replica"}
        self.mean = self.add_weight(shape=shape, trainable=False, **fixed)
        self.count = self.add_weight(shape=(), trainable=False, **fixed)
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        old, more = ops.convert_to_tensor(self.mean), batch_sum(ops.ones_like(x[:, 0, 0, 0]))
        count = ops.convert_to_tensor(self.count) + more
        new = old + (batch_sum(x) / more - old) * (more / count)
        self.count.assign(count)
        self.mean.assign(new)
        return new


@register("defense", "deep_defense")
class DeepDefense(Defense):
    """CE(x) + weight R, R = exp(-c rho) where x is classified correctly, exp(+d rho) where not; rho =
    |Delta|/|x|.

    Delta is l2 DeepFool's perturbation, `steps` unrolled steps of
        r <- r + |f| / |w|^2 w,   f = z_t - z_s and w = grad f at x + r,   Delta = (1 + overshoot) r,
    from s = y to the class t nearest by |f| / |w| where x is classified correctly, from the class it is taken
    for to t = y where not. It stops where x + Delta has arrived, and is not projected on the box. (Eq. 2
    forgets the square in |w|^2; the authors' code takes s of the step before for f, and the new one for w.)
    Gradients flow through all steps; chosen classes and stops are constants. So only the chosen f is
    differentiated twice: one second-order pass in place of K, with the same value and gradient.

    The paper fine-tunes a net that is trained already (`start` of a recipe); its settings are the presets
    below, the defaults were chosen on the digits. It regularises one attack's own estimate: other attacks
    decide what it is worth.

    Args:
        weight: lambda; 15 (paper, MNIST and CIFAR-10), 5 (ImageNet).
        c: 25 (paper), 70 (NIN), 500 (ImageNet). The larger, the more it is only the fragile images that
            count.
        d: 5 (paper).
        steps: DeepFool's; 5 (the authors' code).
        overshoot: share that each step goes beyond the linearised boundary.
        candidates: look for t among this many wrong classes, the likeliest; None: among all.
        regularised: names of layers, whole; R reaches these only (paper 4.2). None: all layers.
        preprocess: "matconvnet": |x| is the length of x - mean image of the training images seen so far.
            MNIST is given to the paper's nets as pixels less the mean image, so this is its rho (0..255
            instead of 0..1 cancels). Its CIFAR-10 is whitened besides, and so are Delta and x in its rho;
            here they are images in [0, 1], also with normalize="matconvnet" in the recipe. "none": |x|.
        freeze_norm: hold scale and shift of batch normalisation, also from decay, as the authors do.
        inference: batch normalisation of the cross-entropy's pass by the statistics that are stored, as the
            authors do, for R measures the net with them; units are dropped all the same. False, to train from
            scratch, normalises by the batch.
        attack: None, or an attack whose images are trained on beside the clean ones, in the cross-entropy:
            (1 - mix) CE(x) + mix CE(x'), as Goodfellow et al. (arXiv:1412.6572, sec. 6) with FGSM. This is
            the paper's "combined method" (sec. 4), whose settings stand in a supplement that was not at hand;
            R stays one of clean images.
        mix: weight of the attacked images.
        optimizer: of the classifier.

    Cost a step, K classes: `steps` times K - 1 (or `candidates`) backward passes and a second-order pass,
    steps - 1 forward passes and 1 forward-backward pass; with an attack its steps and 1 more of the last.
    """

    reference = "Yan, Guo & Zhang, NeurIPS 2018 (arXiv:1803.00404), eq. 6"
    reported = MappingProxyType(
        {
            "rho_2 = mean |Delta|/|x| by DeepFool, all test images": (
                "MNIST MLP 0.225 (reference 0.111), LeNet 0.284 (0.205); CIFAR-10 ConvNet 0.0532 "
                "(0.0259), NIN 0.0558 (0.0420)"
            ),
            "Accuracy": "MNIST MLP 98.65% (reference 98.31%), LeNet 99.34% (99.02%); CIFAR-10 ConvNet 81.70% "
            "(79.74%), NIN 89.96% (89.64%)",
            "Accuracy under FGSM, eps where it is 50% with this defense, references": (
                "MNIST MLP 3.31%, LeNet 19.75%; CIFAR-10 ConvNet 23.85%, NIN 33.56%"
            ),
        }
    )
    weight: float | Ramp = tunable(default=15.0, lowest=1.0, highest=50.0, log=True)
    c: float = tunable(default=10.0, lowest=5.0, highest=500.0, log=True)
    d: float = tunable(default=5.0, lowest=1.0, highest=20.0, log=True)
    steps: int = option(default=3, low=1)
    overshoot: float = option(default=0.02, low=0.0)
    candidates: int | None = option(default=None, low=1)
    regularised: tuple[str, ...] | None = option(default=None)
    preprocess: str = option(default="none", choices=("none", "matconvnet"))
    freeze_norm: bool = option(default=True)
    inference: bool = option(default=True)
    attack: Attack | None = option(default=None)
    mix: float = option(default=0.5, above=0.0, high=1.0)
    optimizer: Optimizer = option(default=Adam())

    @property
    def statistics_passes(self) -> int:
        return 0 if self.inference else 1

    def networks(self, net: keras.Model) -> dict[str, keras.layers.Layer]:
        if not any(self._reaches(v) for v in net.trainable_variables):
            names = [layer.name for layer in net.layers if layer.trainable_variables]
            raise invalid("regularised", f"names of layers, of {names}", self.regularised)
        return {} if self.preprocess == "none" else {"mean": MeanImage(net.input_shape[1:])}

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        size = l2_norm(x if self.preprocess == "none" else x - nets["mean"](x, mode="training"))
        if self.attack is None:
            return {"size": size}
        return {"size": size, "adversarial": adversarial_images(self.attack, nets["net"], x, y, seed)}

    def passes(self, classes: int) -> dict[str, int]:
        first = {"net.jacobian": self.steps}
        if self.candidates and self.candidates < classes - 1:
            first = {"net.input": self.steps * self.candidates}
        needs = {**first, "net.forward": self.steps - 1, "net.second": self.steps, "net.weights": 1}
        if self.attack is None:
            return needs
        return in_all(needs, attack_passes(self.attack, classes), {"net.weights": 1})

    def moves(self) -> tuple[Move, ...]:
        fit = ("cross_entropy",) if self.attack is None else ("cross_entropy", "adversarial")
        return (self.classifier_move(*fit, "fragility", loss=self._loss, monitors=("rho",)),)

    def _fit(self, net: Net, batch: Batch) -> dict[str, Tensor]:
        """The cross-entropy of clean and of attacked images, by their shares."""
        y = batch["y"]

        def run(images: Tensor, mode: Mode) -> Tensor:
            return net.logits(images, mode="stored" if self.inference else mode)

        if self.attack is None:
            z = run(batch["x"], "training")
            return {"cross_entropy": cross_entropy(z, y), ACCURACY: hits(z, y)}
        z, seen = run_both(run, batch["x"], batch["adversarial"], "joint")
        return {
            "cross_entropy": (1.0 - self.mix) * cross_entropy(z, y),
            "adversarial": self.mix * cross_entropy(seen, y),
            ACCURACY: hits(z, y),
        }

    def _loss(self, nets: Nets, batch: Batch) -> dict[str, Tensor]:
        net, x, y = self._learning(nets["net"]), batch["x"], ops.cast(batch["y"], "int32")
        fit = self._fit(net, batch)
        delta, correct = self.perturbation(net.training_only(self._reaches), x, y)
        known = batch["size"] > TINY  # a black image, or the first of all, which is the mean, has no rho
        rho = ops.where(known, l2_norm(delta) / ops.where(known, batch["size"], 1.0), 0.0)
        cost = ops.where(correct, ops.exp(-self.c * rho), ops.exp(ops.minimum(self.d * rho, CAP)))
        return {**fit, "fragility": now(self.weight, net) * cost, "rho": rho}

    def perturbation(self, net: Net, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(Delta, shaped as x, differentiable by the weights of `net`; (B,) bool: is x classified as y?)."""
        beyond = 1.0 + self.overshoot
        length, w, correct = self._to_boundary(net, x, y, None)
        r = expand_like(length, x) * w
        for _ in range(self.steps - 1):
            arrived = (predicted_class(net.logits(x + beyond * ops.stop_gradient(r))) == y) != correct
            length, w, _ = self._to_boundary(net, x + r, y, correct)
            r = r + expand_like(ops.where(arrived, 0.0, length), x) * w
        return beyond * r, correct

    def _to_boundary(
        self, net: Net, x: Tensor, y: Tensor, correct: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(|f| / |w|^2 (B,), 0 where f is flat; w; (B,) bool: is x classified as y?). f leads from y to the
        nearest class, or from the likeliest wrong class to y where the image was not `correct` (None: where x
        is not)."""

        def source_to_target(gaps: Tensor, seen: Any, slopes: Tensor) -> Tensor:
            away = (predicted_class(seen[0]) == y) if correct is None else correct
            nowhere = ops.full_like(y, -1)  # y is not among the rivals
            near = ops.one_hot(nearest_class(L2(), nowhere, gaps, slopes), gaps.shape[1])
            return ops.where(away[:, None], near, -ops.one_hot(predicted_class(gaps), gaps.shape[1]))

        f, (z, _), w = chosen_grad(differences_to_rivals(net.logits, y, self.candidates), source_to_target, x)
        square = square_norm(w)
        steep = square > FLAT
        return ops.where(steep, ops.abs(f) / ops.where(steep, square, 1.0), 0.0), w, predicted_class(z) == y

    def _learning(self, net: Net) -> Net:
        """The net as it is fine-tuned."""
        held = {id(v) for n in net.normalisations for v in n.variables} if self.freeze_norm else set()
        return net.training_only(lambda v: id(v) not in held)

    def undecayed(self, net: Net) -> list[keras.Variable]:
        return [v for n in net.normalisations for v in n.trainable_variables] if self.freeze_norm else []

    def _reaches(self, variable: keras.Variable) -> bool:
        layers = str(variable.path).split("/")[:-1]
        return self.regularised is None or any(name in layers for name in self.regularised)


_SGD = SGD(learning_rate=5e-4, weight_decay=5e-3, schedule=Milestones(at=(4,), factor=0.5))
_PAPER = DeepDefense(c=25.0, steps=5, preprocess="matconvnet", optimizer=_SGD)
preset(
    "deep_defense_mnist",
    _PAPER,
    """The paper's fine-tuning of a trained net (give `start`), the MLP or LeNet of form "matconvnet". Its
    decay of 5e-4 enters the momentum 0.9: Keras' decoupled one is ten times that. The rate is for a net of
    pixels 0..255 less the mean image, so the one to start from should have normalize='mean_image' too.""",
    model="mlp(units=(500, 150))",
    data="mnist",
    epochs=5,
    normalize="mean_image",
    batch_size=100,
)
preset(
    "deep_defense_mnist_fgsm",
    _PAPER.replace(attack=FGSM(threat=Linf(eps=0.25, box=False))),
    """Both at once, deep_defense_mnist and adversarial_mnist_finetune, as the paper has it in its supplement;
    eps and mix are Goodfellow et al.'s for MNIST.""",
    model="mlp(units=(500, 150))",
    data="mnist",
    epochs=5,
    batch_size=100,
    normalize="mean_image",
)
preset(
    "deep_defense_cifar",
    _PAPER.replace(optimizer=_SGD.replace(schedule=Milestones(at=(40,), factor=0.5))),
    """The paper's fine-tuning of ConvNet (give `start`); NIN: deep_defense_cifar(c=70.0). Epochs and rate are
    inferred from the authors' code. The net to start from should have normalize='matconvnet' too; rho is of
    images in [0, 1], not of whitened ones (see `preprocess`).""",
    model="convnet()",
    data="cifar10",
    epochs=50,
    normalize="matconvnet",
    batch_size=100,
)
_IMAGENET = """The paper's fine-tuning of a published net (give `start`, and as `data` ImageNet's folder), its
    three weights and epochs. The rate is that of MNIST, for the paper gives none; that the 3 likeliest other
    classes are looked at is this package's."""
preset(
    "deep_defense_imagenet_alexnet",
    _PAPER.replace(weight=5.0, c=500.0, optimizer=_SGD.replace(schedule=Milestones(at=(8,), factor=0.5))),
    _IMAGENET,
    model="alexnet(form='caffe')",
    data="folder(path='imagenet', size=227)",
    epochs=10,
    batch_size=100,
)
preset(
    "deep_defense_imagenet_resnet18",
    _PAPER.replace(weight=5.0, c=500.0, optimizer=_SGD.replace(schedule=None)),
    _IMAGENET,
    model="resnet18(form='imagenet')",
    data="folder(path='imagenet', size=224)",
    epochs=1,
    batch_size=100,
)
