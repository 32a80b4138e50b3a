"""Adversarial training."""

from __future__ import annotations

from keras_adv.attacks import PGD, Attack
from keras_adv.attacks.host import HostAttack
from keras_adv.defenses.base import Batch, Defense, Move, Nets, Tensor, crafted, spent
from keras_adv.defenses.standard import clean_loss
from keras_adv.losses import cross_entropy
from keras_adv.optimizers import Adam, Optimizer
from keras_adv.registry import option, register, tunable
from keras_adv.threats import Linf
from keras_adv.validate import fail


@register("defense", "adversarial")
class Adversarial(Defense):
    """mix CE(x') + (1 - mix) CE(x) with x' made by an attack on the current weights.

    mix=1 with PGD is Madry et al. (arXiv:1706.06083, eq. 2.1); mix=0.5 with FGSM is Goodfellow et al.
    (arXiv:1412.6572, sec. 6). The attack sees the network in inference mode.

    Args:
        attack: any attack but one_pixel (SciPy's, outside of the graph) and feature_adversary (it needs second
            images); all its steps are taken, fooled or not.
        mix: weight of the adversarial images.
        optimizer: of the classifier.

    Cost a step: the attack's, and 1 forward-backward pass on x' (another on x if mix < 1).
    """

    reference = "arXiv:1706.06083"
    attack: Attack = option(default=PGD(threat=Linf(eps=0.1), steps=10))
    mix: float = tunable(default=1.0, lowest=0.3, highest=1.0, above=0.0, high=1.0)
    optimizer: Optimizer = option(default=Adam())

    def check(self) -> None:
        if self.attack.guided or isinstance(self.attack, HostAttack):
            raise fail("attack", "one that a training step can run: not SciPy's, no guide", self.attack.name)

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        return {"adversarial": crafted(self.attack, nets["net"], x, y, seed)}

    def passes(self, classes: int) -> dict[str, int]:
        return {**spent(self.attack, classes), "net.weights": 1 if self.mix == 1 else 2}

    def moves(self) -> tuple[Move, ...]:
        terms = ("adversarial",) if self.mix == 1 else ("adversarial", "cross_entropy")
        return (self.classify(*terms, loss=self._loss),)

    def _loss(self, nets: Nets, batch: Batch) -> dict[str, Tensor]:
        logits = nets["net"].logits(batch["adversarial"], training=True, update=True)
        terms = {"adversarial": self.mix * cross_entropy(logits, batch["y"])}
        if self.mix < 1:
            terms["cross_entropy"] = (1 - self.mix) * clean_loss(nets, batch)["cross_entropy"]
        return terms
