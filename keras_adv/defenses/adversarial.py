"""Adversarial training."""

from __future__ import annotations

from keras_adv.arrays import Tensor
from keras_adv.attacks import FGSM, PGD, Attack
from keras_adv.backend import ACCURACY
from keras_adv.defenses.base import Batch, CollapseGuard, Move, Nets
from keras_adv.defenses.crafting import (
    PairedDefense,
    adversarial_images,
    attack_passes,
    run_both,
)
from keras_adv.defenses.label_smoothing import smooth_cross_entropy
from keras_adv.losses import hits
from keras_adv.optimizers import SGD, Adam, Drop, Milestones, OneCycle, Optimizer
from keras_adv.registry import option, preset, register, tunable
from keras_adv.threats import Linf


@register("defense", "adversarial")
class Adversarial(PairedDefense):
    """mix CE(x') + (1 - mix) CE(x) with x' made by an attack on the current weights.

    mix=1 with PGD is Madry et al. (arXiv:1706.06083, eq. 2.1); mix=0.5 with FGSM is Goodfellow et al.
    (arXiv:1412.6572, sec. 6). The attack sees the network in inference mode.

    Args:
        attack: any attack but one_pixel (SciPy's, outside of the graph) and feature_adversary (it needs
            second images); all its steps are taken, fooled or not.
        mix: weight of the adversarial images.
        statistics: whose statistics batch normalisation uses and keeps: "joint" (both kinds of images are one
            batch), "clean" or "each" (`crafting.STATISTICS`); without effect if mix is 1.
        smoothing: label smoothing, the share of the target that goes to all classes alike (Szegedy et al.,
            arXiv:1512.00567); at most 0.2 helps (arXiv:2010.00467), more hides gradients.
        drop: for an attack of one step, which can collapse: fall of the accuracy under a PGD of 5 steps, from
            its best, that ends the training with the best weights (see `fast`). None: no check.
        optimizer: of the classifier.

    Cost a step: the attack's, and 1 forward-backward pass on x' (another on x if mix < 1).

    >>> Adversarial(attack="fgsm(threat=l2(eps=0.5))", mix=0.5)
    adversarial(attack=fgsm(threat=l2(eps=0.5)), mix=0.5)
    """

    reference = "arXiv:1706.06083"
    attack: Attack = option(default=PGD(threat=Linf(eps=0.1), steps=10))
    mix: float = tunable(default=1.0, lowest=0.3, highest=1.0, above=0.0, high=1.0)
    smoothing: float = option(default=0.0, low=0.0, high=0.9)
    drop: float | None = option(default=0.2, above=0.0, high=1.0)
    optimizer: Optimizer = option(default=Adam())

    def collapse_guard(self) -> CollapseGuard | None:
        found = super().collapse_guard()
        return None if self.drop is None or found is None else found._replace(drop=self.drop)

    @property
    def statistics_passes(self) -> int:
        return 1 if self.mix == 1 else super().statistics_passes

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        return {"adversarial": adversarial_images(self.attack, nets["net"], x, y, seed)}

    def passes(self, classes: int) -> dict[str, int]:
        return {**attack_passes(self.attack, classes), "net.weights": 1 if self.mix == 1 else 2}

    def moves(self) -> tuple[Move, ...]:
        terms = ("adversarial",) if self.mix == 1 else ("adversarial", "cross_entropy")
        return (self.classifier_move(*terms, loss=self._loss),)

    def _fit(self, logits: Tensor, y: Tensor) -> Tensor:
        return smooth_cross_entropy(logits, y, self.smoothing)

    def _loss(self, nets: Nets, batch: Batch) -> dict[str, Tensor]:
        net, y = nets["net"], batch["y"]
        if self.mix == 1:
            logits = net.logits(batch["adversarial"], mode="training")
            return {"adversarial": self._fit(logits, y), ACCURACY: hits(logits, y)}
        clean, moved = run_both(net.logits, batch["x"], batch["adversarial"], self.statistics)
        return {
            "adversarial": self.mix * self._fit(moved, y),
            "cross_entropy": (1 - self.mix) * self._fit(clean, y),
            ACCURACY: hits(clean, y),
        }


preset(
    "adversarial_mnist",
    Adversarial(
        attack=PGD(threat=Linf(eps=0.3), steps=40, step_size=0.01 / 0.3),
        optimizer=Adam(learning_rate=1e-4),
    ),
    "Madry et al., the MNIST challenge: 100,000 steps, 93 epochs of the images that are not held out.",
    model="madry_cnn()",
    data="mnist",
    epochs=93,
    batch_size=50,
)
preset(
    "adversarial_cifar",
    Adversarial(
        attack=PGD(threat=Linf(eps=8 / 255), steps=7, step_size=0.25),
        # theirs is 2e-4 inside the gradient, which momentum 0.9 sums up to ten times that
        optimizer=SGD(
            learning_rate=0.1, weight_decay=2e-3, decays="kernels", schedule=Milestones(at=(114, 171))
        ),
    ),
    """Madry et al., the CIFAR-10 challenge: 80,000 steps, 228 epochs of the images that are not held out; the
    rate falls after 40,000 and 60,000. Their attack sees the net in training mode.""",
    model="wrn(depth=34, width=10, shortcut='pad', slope=0.1, per_image=True)",
    data="cifar10",
    epochs=228,
    batch_size=128,
    augment="crop_flip",
)
preset(
    "adversarial_mnist_thesis3",
    Adversarial(
        attack=FGSM(threat=Linf(eps=0.2, box=False)),
        mix=0.5,
        drop=None,
        optimizer=Adam(schedule=Drop(every=1, factor=0.95)),
    ),
    """The baseline of thesis 3.5, MLP (1000, 1000, 1000) and LeNet, whose FGSM is not clipped. Its loss is
    the sum of both terms, twice this, which Adam does not see.""",
    model="lenet(initializer='glorot_uniform')",
    data="mnist",
    epochs=100,
    batch_size=100,
)
preset(
    "adversarial_mnist_thesis4",
    Adversarial(attack=FGSM(threat=Linf(eps=0.1)), mix=0.5, drop=None),
    "The baseline of thesis 4.5, MLP and LeNet; the rate is not printed, nor whether FGSM is clipped.",
    model="mlp()",
    data="mnist",
    epochs=100,
    batch_size=100,
)
preset(
    "adversarial_mnist_finetune",
    Adversarial(
        attack=FGSM(threat=Linf(eps=0.25, box=False)),
        mix=0.5,
        drop=None,
        optimizer=SGD(learning_rate=5e-4, weight_decay=5e-3, schedule=Milestones(at=(4,), factor=0.5)),
    ),
    """"Adv. Train II" of Deep Defense, fine-tuned like that (give `start`; see deep_defense_mnist). Its
    settings stand in a supplement that was not at hand: eps and mix are Goodfellow et al.'s for MNIST.""",
    model="mlp(units=(500, 150))",
    data="mnist",
    epochs=5,
    batch_size=100,
    normalize="mean_image",
)
preset(
    "adversarial_cifar_finetune",
    Adversarial(
        attack=PGD(threat=Linf(eps=8 / 255), steps=7, step_size=0.25),
        optimizer=SGD(learning_rate=0.05, weight_decay=5e-3, schedule=OneCycle(rise=0.3)),
    ),
    """Fine-tuning of a net that was trained on clean images (give `start` for another): few epochs, at a rate
    that rises slowly and falls fast, as Jeddi et al. (arXiv:2012.13628) propose; rates, attack and epochs are
    this package's.""",
    start="standard_wrn_cifar10",
    model="wrn(depth=10, width=2)",
    data="cifar10",
    epochs=10,
    batch_size=128,
    augment="crop_flip",
)
