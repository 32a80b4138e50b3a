"""Adversarial images in training: made on the weights before the step, in inference mode, with every step
taken; and the training passes of clean images and of those made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_adv import noise, validate
from keras_adv.arrays import Tensor
from keras_adv.attacks import PGD, Attack
from keras_adv.backend import FrozenNet, Mode, Net, batch_numbers, where_rows
from keras_adv.defenses.base import Defense
from keras_adv.losses import predicted_class
from keras_adv.registry import option

STATISTICS = ("joint", "clean", "each")
"""Whose batch-norm statistics a step of clean images and of images made of them uses and keeps.

"joint": both are one batch, so the net that is trained is the one whose running statistics are served, and
that attacks in training see. "clean": two passes, each with the statistics of its own images, of which those
of the clean ones are kept. "each": so too, and both are kept.
"""


@dataclass(frozen=True, repr=False)
class PairedDefense(Defense):
    """A defense whose step passes clean images and images made of them through the classifier; the option
    `statistics` is one of `STATISTICS`."""

    statistics: str = option(default="joint", choices=STATISTICS)

    @property
    def statistics_passes(self) -> int:
        return 2 if self.statistics == "each" else 1


def run_both(
    run: Callable[[Tensor, Mode], Any], clean: Tensor, moved: Tensor, statistics: str
) -> tuple[Any, Any]:
    """(what `run` gives for the clean images, what it gives for the others), in training mode.

    Args:
        run: (images, mode) -> tensors with a row for each image, `Net.logits` say.
        clean: images (B, H, W, C).
        moved: images (B, H, W, C).
        statistics: one of `STATISTICS`.
    """
    if statistics != "joint":
        return run(clean, "training"), run(moved, "training" if statistics == "each" else "untracked")
    both = run(ops.concatenate([clean, moved]), "training")
    return _halves(both)


def run_beside(
    net: Net, run: Callable[[Tensor, Mode], Any], wanted: Tensor, others: Tensor, statistics: str, mode: Mode
) -> Any:
    """What `run` gives for the images `wanted`; if "joint", and where `net` stores statistics, with `others`
    in the batch.

    Args:
        net: whose pass it is.
        run: (images, mode) -> tensors with a row for each image.
        wanted: images (B, H, W, C).
        others: images (B, H, W, C).
        statistics: one of `STATISTICS`.
        mode: of the pass.
    """
    if statistics != "joint" or not net.statistics:
        return run(wanted, mode)
    return _halves(run(ops.concatenate([wanted, others]), mode))[0]


def _halves(both: Any) -> tuple[Any, Any]:
    first, second = (keras.tree.map_structure(lambda v, k=k: ops.split(v, 2)[k], both) for k in (0, 1))
    return first, second


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
    seeds = noise.seeds(seed, batch_numbers(x))
    return attack.perturb(FrozenNet(net), x, ops.cast(y, "int32"), seeds, target)


def only_mistakes(net: Net, x: Tensor, attacked: Tensor, y: Tensor) -> Tensor:
    """`attacked` (B, H, W, C) where the net takes x (B, H, W, C) for y (B,) and `attacked` not; else x.

    Cost: 2 forward passes.
    """
    frozen = FrozenNet(net)
    clean, moved = (predicted_class(frozen(images)) == y for images in (x, attacked))
    return where_rows(ops.logical_and(clean, ops.logical_not(moved)), attacked, x)


def attack_passes(attack: Attack, classes: int) -> dict[str, int]:
    """What `adversarial_images` costs, for `Defense.passes`; a Jacobian counts an "input" for each class."""
    kinds = {"gradient": ("input", 1), "forward": ("forward", 1), "jacobian": ("input", classes)}
    needs = Counter[str]()
    for rounds, passes in ((attack.rounds, attack.passes_per_round), (1, attack.passes_at_start)):
        for name, many in passes.items():
            kind, each = kinds[name]
            needs[f"net.{kind}"] += rounds * many * each
    return {key: count for key, count in needs.items() if count}


def in_all(*needs: Mapping[str, int]) -> dict[str, int]:
    """The passes of several parts of a step together, kind by kind, for `Defense.passes`."""
    total = Counter[str]()
    for one in needs:
        total.update(one)
    return dict(total)


def check_start(attack: PGD, objective: str) -> None:
    """For `Defense.check`. Raises InvalidInput unless the attack ascends the objective of this name and
    starts away from x, where that objective has no gradient."""
    validate.one_of("attack.loss", attack.loss.name, (objective,))
    if not attack.jitter and not attack.random_start:
        raise validate.invalid(
            "attack.jitter", "greater than 0 for an attack that starts at x", attack.jitter
        )
