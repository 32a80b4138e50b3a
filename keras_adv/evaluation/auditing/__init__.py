"""The audit of a model: attacks and measurements that tell masked gradients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import keras

from keras_adv import registry, validate
from keras_adv.arrays import in_float32
from keras_adv.attacks import Attack
from keras_adv.evaluation.auditing.attacks import of_attacks
from keras_adv.evaluation.auditing.planted import of_planted
from keras_adv.evaluation.auditing.slopes import of_gradients
from keras_adv.evaluation.image_set import classify, gathered
from keras_adv.evaluation.masking import flags_of
from keras_adv.threats import Linf, Threat

AUDITED = ("linf", "l2")
"""Threats that an audit takes."""


def audited_threat(attacks: Iterable[Attack | str], trained: Threat | None = None) -> Threat:
    """The threat that a net is audited at, of those that an audit takes: the one that it was trained to
    withstand; else that of most of these attacks, of several alike the first."""
    if trained is not None and _is_audited(trained):
        return trained
    threats: list[Threat] = [registry.parse("attack", one).threat for one in attacks]
    found = Counter(one for one in threats if _is_audited(one)).most_common(1)
    return found[0][0] if found else Linf(eps=0.1)


def _is_audited(threat: Threat) -> bool:
    return threat.name in AUDITED and bool(threat.eps) and threat.box


def checked(threat: Threat | str) -> Threat:
    """The threat. Raises InvalidInput unless it is linf or l2, with an eps above 0 and the box."""
    ball: Threat = registry.parse("threat", threat)
    validate.one_of("threat", ball.name, AUDITED)
    if not _is_audited(ball):
        raise validate.invalid("threat", "one with an eps above 0, and with the box", ball)
    return ball


@in_float32()
def audit(
    model: keras.Model,
    x: Any,
    y: Any,
    n: int = 100,
    threat: Threat | str = "linf(eps=0.1)",
    queries: int = 200,
) -> list[str]:
    """What looks like masked gradients, in sentences: what was seen, what it means, what to do. An empty list
    where nothing does.

    Checks on the first `n` images: `flags`; a gradient that is not the slope of the margin (off by half on
    over a tenth of the images, of a net in float32), or that has little in common with the one 0.1 eps away;
    a PGD that does not find adversarial images which were planted (Zimmermann et al., arXiv:2206.13991); a
    PGD in the whole box (linf, eps = 1) that does not break everything; at `threat`, one step that does
    better than forty, and forty on the margin that break over 10 points more images than forty on the
    cross-entropy. On what they leave: 100 steps from two starts (over 10 points more), 50 random points,
    gradients straight through the layers whose own gradient is not their slope, and Square, which sees no
    gradient (over 2 points each).

    Args:
        model: as in `attack`.
        x: images (N, H, W, C) in [0, 1], or a `tf.data.Dataset` or `PyDataset` of images and labels.
        y: integer labels (N,); None with a data set.
        n: how many images.
        threat: linf or l2 with an eps.
        queries: of Square, on the images that are left.

    Raises:
        InvalidInput: as `attack`; a threat of another norm, without an eps above 0 or without the box.

    Cost: about 140 forward-backward and 20 forward passes an image, and 200 and `queries` + 50 for each that
    stands; as many again as the first 200 where layers mislead.
    """
    ball = checked(threat)
    validate.number("queries", queries, low=1, whole=True)
    x, y = gathered(x, y, n)
    images = classify(model, x[:n], y[:n], batch_size=256)
    if not images.correct.any():
        return [f"no image of {len(images.x)} is classified correctly, so that no attack says anything"]
    found = flags_of(model, images, share=0.02)
    if not images.random:
        found += of_gradients(model, images, ball) + of_planted(model, images, ball)
    return found + of_attacks(model, images, ball, queries)
