"""Embedding geometry: where the features of clean and of attacked images lie.

The figures of MadNet (arXiv:1911.00870), MAT (ICLR 2021 submission mOO-LfEVZK) and AFD (ICLR 2021 submission
hcCao_UYd6O) that look at features: `embed` has them all for a model, the functions each one for arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from keras_adv import registry, validate
from keras_adv.arrays import in_float32
from keras_adv.attacks import Attack
from keras_adv.evaluation import compiled, goals
from keras_adv.evaluation.embedding.clusters import (
    Clusters,
    centroid_distances,
    confusion,
    davies_bouldin,
    match_rate,
    nearest_share,
    ward,
)
from keras_adv.evaluation.embedding.divergence import DivergenceBound, divergence_bound
from keras_adv.evaluation.embedding.points import Points
from keras_adv.evaluation.embedding.result import Embedding
from keras_adv.evaluation.embedding.vectors import (
    active_units,
    angles,
    centroids,
    cosine_to_centres,
    gradient_landscape,
    pca_dimensions,
    sensitivity,
)
from keras_adv.evaluation.every_step import every_step
from keras_adv.evaluation.image_set import ImageSet, classify
from keras_adv.evaluation.runner import attack_examples
from keras_adv.evaluation.slots import in_batches
from keras_adv.features import check_features
from keras_adv.layers import centres_of, has_centres
from keras_adv.losses import predicted_class

__all__ = [
    "Clusters", "DivergenceBound", "Embedding", "Points", "active_units", "angles", "centroid_distances",
    "centroids", "confusion", "cosine_to_centres", "davies_bouldin", "divergence_bound", "embed",
    "gradient_landscape", "match_rate", "nearest_share", "pca_dimensions", "sensitivity", "ward",
]  # fmt: skip


@in_float32()
def embed(
    model: keras.Model,
    x: Any,
    y: Any,
    attacks: Iterable[Attack | str] | Attack | str,
    *,
    batch_size: int = 256,
    seed: int = 0,
) -> Embedding:
    """The features (`keras_adv.features`) of images, and of what attacks make of them.

    A bounded attack takes all its steps on every image, as in the papers: an evaluation stops at the first
    mistake, just beyond the boundary, where features have moved less. Its last point need not be a mistake,
    so accuracies here are no robust accuracies. Of a minimal attack, or one that stops by itself (several in
    a row, a guided one, one of SciPy), only images count that were classified correctly, and for which it
    found a mistake if it is minimal.

    Args:
        model: Keras model, images (B, H, W, C) in [0, 1] -> logits (B, K), with features.
        x: images (N, H, W, C) in [0, 1], or a `tf.data.Dataset` or `PyDataset` of images and labels.
        y: integer labels (N,); None with a data set.
        attacks: attacks or their specs; the angles of the others are to the first.
        batch_size: images at a time.
        seed: of random starts; image i of the set draws from (seed, i).

    Raises:
        InvalidInput: as `keras_adv.attack`; a model without features, whose features are not finite, or which
            answers differently each time; no attack.

    Cost: of the attacks; two forward and K backward passes an image, and a forward pass an attack.

    >>> import keras_adv
    >>> from keras_adv.evaluation import embed
    >>> model = keras_adv.zoo.load("critic_lenet_digits")
    >>> x, y = (part[:50] for part in keras_adv.data.load("digits").test)
    >>> found = embed(model, x, y, "pgd(threat=linf(eps=0.1), steps=5)").summary()
    >>> found["clean"]["match_rate"] >= found["attacks"][0]["match_rate"]
    True
    """
    if not isinstance(attacks, (Iterable, Attack)):
        raise validate.invalid("attacks", "attacks or their specs", attacks)
    listed = [attacks] if isinstance(attacks, (str, Attack)) else list(attacks)
    chosen: list[Attack] = [registry.parse("attack", one) for one in listed]
    if not chosen:
        raise validate.invalid("attacks", "one attack at least", chosen)
    images = classify(model, x, y, batch_size, seed)
    _check(model, images, chosen)
    everything = np.arange(len(images.x))
    clean = _points(model, "clean", images.x, everything, batch_size)
    attacked = tuple(_attacked(model, images, one, batch_size, seed) for one in chosen)
    own = np.asarray(centres_of(model)) if has_centres(model) else None
    few = max(1, batch_size * 8 // images.classes)  # a Jacobian holds K images for each
    slopes = in_batches(lambda part: (compiled.likelihood_slopes(model)(part),), few, images.x)[0]
    return Embedding(images.y, clean, attacked, slopes, own)


def _check(model: keras.Model, images: ImageSet, attacks: list[Attack]) -> None:
    check_features(model)
    if images.random:
        raise validate.invalid("model", "one that answers the same each time", model.name)
    for one in attacks:
        goals.check_goal(one, images, None)
    if len(images.x) < 2:
        raise validate.unusable("x", "two images at least", "one")


def _attacked(model: keras.Model, images: ImageSet, attack: Attack, batch_size: int, seed: int) -> Points:
    """The features of what an attack makes of the images."""
    spec = registry.spec(attack)
    if (made := every_step(model, images, attack, batch_size, seed)) is not None:
        return _points(model, spec, made, np.arange(len(made)), batch_size)
    examples = goals.make_examples(attack, images, seed, None, None)
    result = attack_examples(model, images, examples, attack, batch_size)
    rows = np.flatnonzero(result.clean & (result.success | (attack.contract == "bounded")))
    if not len(rows):
        raise validate.unusable(
            "attacks", "attacks that find an adversarial image", f"{spec}, which has none"
        )
    return _points(model, spec, result.images[rows], rows, batch_size)


def _points(model: keras.Model, spec: str, x: np.ndarray, rows: np.ndarray, batch_size: int) -> Points:
    features, logits = in_batches(compiled.features_and_logits(model), batch_size, x)
    bad = int((~np.isfinite(features).all(1)).sum())
    if bad:
        raise validate.unusable("model", "one of finite features", f"NaN or inf for {bad} images ({spec})")
    return Points(spec, rows, features, np.asarray(predicted_class(logits)))
