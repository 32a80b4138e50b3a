"""What each image is attacked with: its radius, its target, its guide."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_adv import noise, validate
from keras_adv.attacks import Attack
from keras_adv.attacks.task import Examples
from keras_adv.evaluation.image_set import ImageSet

WORDS = ("next", "random", "least_likely", "runner_up")


def make_examples(attack: Attack, images: ImageSet, seed: int, eps: Any, targets: Any) -> Examples:
    """The examples of a whole set, NumPy arrays: image i draws from (seed, i).

    Args:
        attack: what they are for.
        images: the set.
        seed: of random starts, targets and guides.
        eps: a radius, one for each image, or None for the threat's own.
        targets: classes, a word of `WORDS`, or None.

    Raises:
        InvalidInput: radii or targets that do not fit the images, or an attack that cannot do what is asked.
    """
    x, y, logits = images.x, images.y, images.logits
    check_goal(attack, images, targets)
    numbers = np.arange(len(x), dtype="int32")
    seeds = np.asarray(noise.seeds(seed, numbers))
    target = None if targets is None else choose_targets(targets, y, seeds, logits)
    guide = x[guides(y, seeds, target)] if attack.guided else None
    return Examples(x, y, numbers, seeds, radii(attack, eps, x), target, guide)


def check_goal(attack: Attack, images: ImageSet, targets: Any) -> None:
    """Raises InvalidInput where there are fewer classes than the attack, or its targeted form, needs, or no
    such form; or where it counts pixels and the images are (channels, H, W)."""
    classes, targeted = images.classes, targets is not None
    if getattr(attack.threat, "pixels", False) and validate.channels_first(images.x.shape[1:]):
        raise validate.unusable(
            "x",
            f"images of shape (N, H, W, C), for {attack.name} counts pixels",
            f"shape {images.x.shape}, which looks like (N, C, H, W)",
        )
    if targeted and not attack.targetable:
        raise validate.invalid("targets", f"None: {attack.name} has no targeted form", targets)
    least = attack.min_classes + (targeted and attack.min_classes > 2)
    if classes < least:
        form = "a targeted " if targeted else ""
        raise validate.unusable(
            "model", f"one of at least {least} classes for {form}{attack}", f"{classes} classes"
        )


def radii(attack: Attack, eps: Any, x: np.ndarray) -> np.ndarray | None:
    """(N,) radii: `eps`, or the threat's own; None where there is neither. At most the number of values of an
    image, beyond which no norm's ball grows inside the box."""
    count, most = len(x), x[0].size
    if eps is None:
        own = attack.threat.eps
        return None if own is None else np.full(count, min(own, most), "float32")
    given = validate.as_array("eps", eps, f"a number or one for each of the {count} images")
    if given.dtype.kind not in "iuf" or given.shape not in ((), (count,)):
        raise validate.unusable(
            "eps", f"a number or one for each of the {count} images", f"shape {given.shape}"
        )
    if not np.isfinite(given).all() or given.min() < 0:
        raise validate.invalid("eps", "finite and at least 0", float(given.min()))
    attack.threat.replace(eps=float(given.max()))  # the norm's own limit
    return np.broadcast_to(np.minimum(given, most), (count,)).astype("float32")


def choose_targets(targets: Any, y: np.ndarray, seeds: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """(N,) classes to reach."""
    classes = logits.shape[1]
    if not isinstance(targets, str):
        chosen = validate.labels(targets, len(y), classes, "targets")
        if (chosen == y).any():
            raise validate.unusable(
                "targets", "classes other than y", f"{int((chosen == y).sum())} equal to y"
            )
        return chosen
    validate.one_of("targets", targets, WORDS)
    others = np.where(np.arange(classes) == y[:, None], np.nan, logits)
    return {
        "next": (y + 1) % classes,
        "random": (y + 1 + (seeds >> 4) % (classes - 1)) % classes,
        "least_likely": np.nanargmin(others, axis=1),
        "runner_up": np.nanargmax(others, axis=1),
    }[targets].astype("int32")


def guides(y: np.ndarray, seeds: np.ndarray, target: np.ndarray | None) -> np.ndarray:
    """(N,) numbers of images of another class, or of the target class: drawn by each image's own seed.

    Raises:
        InvalidInput: no image of the set is of such a class.
    """
    pools = [
        np.flatnonzero(y != label) if target is None else np.flatnonzero(y == label)
        for label in range(y.max() + 1)
    ]
    wanted = y if target is None else target
    drawn = []
    for own, seed in zip(wanted, seeds, strict=True):
        pool = pools[own] if own < len(pools) else []
        if not len(pool):
            what = f"of another class than {own}" if target is None else f"of the target class {own}"
            raise validate.unusable("x", "a set with a guide for every image", f"none {what}")
        drawn.append(pool[int(seed) % len(pool)])
    return np.array(drawn)
