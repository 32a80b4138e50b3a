"""Adversarial images in training: made on the weights before the step, in inference mode, with every step
taken."""

from __future__ import annotations

from keras import ops

from keras_adv import noise, validate
from keras_adv.arrays import Tensor
from keras_adv.attacks import PGD, Attack
from keras_adv.backend import FrozenNet, Net


def adversarial_images(
    attack: Attack, net: Net, x: Tensor, y: Tensor, seed: Tensor, target: Tensor | None = None
) -> Tensor:
    """(B, H, W, C) images that an attack makes of x on the net as it stands. No gradient flows through them.

    Args:
        attack: what makes them; all its steps are taken, fooled or not.
        net: the classifier.
        x: images (B, H, W, C).
        y: (B,) labels.
        seed: () uint32; image i of the batch draws from (seed, i).
        target: (B,) int32 classes to reach, or None.
    """
    seeds = noise.seeds(seed, ops.arange(ops.shape(x)[0]))
    return attack.perturb(FrozenNet(net), x, ops.cast(y, "int32"), seeds, target)


def attack_passes(attack: Attack, classes: int) -> dict[str, int]:
    """What `adversarial_images` costs, for `Defense.passes`."""
    return {"net.input": attack.rounds * attack.round_cost(classes) + attack.start_cost(classes)}


def check_start(attack: PGD, objective: str) -> None:
    """For `Defense.check`. Raises InvalidInput unless the attack ascends the objective of this name and
    starts away from x, where that objective has no gradient."""
    validate.one_of("attack.loss", attack.loss.name, (objective,))
    if not attack.jitter and not attack.random_start:
        raise validate.invalid(
            "attack.jitter", "greater than 0 for an attack that starts at x", attack.jitter
        )
