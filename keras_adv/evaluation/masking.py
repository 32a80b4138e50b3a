"""Signs of gradient masking: findings that put a robust accuracy in doubt."""

from __future__ import annotations

import itertools

import keras
import numpy as np

from keras_adv.attacks import Attack
from keras_adv.backend import rounds_products
from keras_adv.evaluation import compiled
from keras_adv.evaluation.image_set import ImageSet, classify, logits_of
from keras_adv.evaluation.result import Result

FLAGGED = 100
"""Images whose gradients are looked at for `flags`."""


def flags(model: keras.Model, x: np.ndarray, y: np.ndarray) -> list[str]:
    """AutoAttack's warnings of a model as sentences, its thresholds: answers that differ each time, gradients
    that are exactly 0; and gradients that are not finite, and products that are rounded to TF32.

    Args:
        model: what is attacked.
        x: images (N, H, W, C) in [0, 1]; the first `FLAGGED` say enough.
        y: their labels (N,), integers.
    """
    return flags_of(model, classify(model, x[:FLAGGED], y[:FLAGGED], batch_size=256))


def flags_of(model: keras.Model, images: ImageSet, share: float = 0.0) -> list[str]:
    """`flags` on what is checked and classified already; gradients of 0 are said beyond this share of the
    images."""
    found = []
    if images.random:
        found.append("the model answers differently each time: use autoattack(version='rand') and eot")
    if model.compute_dtype == "float32" and rounds_products():
        found.append(
            "this GPU computes float32 products in TF32, of three digits: answers near a boundary, and with "
            "them the figures, are of this machine; in whole float32 by tf.config.experimental."
            "enable_tensor_float_32_execution(False), or JAX_DEFAULT_MATMUL_PRECISION=highest"
        )
    x, y = images.x[:FLAGGED], images.y[:FLAGGED]
    sizes = np.asarray(compiled.gradient_sizes(model)(x, y))
    if (zero := int((sizes == 0).sum())) > share * len(x):
        found.append(
            f"the cross-entropy gradient is exactly 0 on {zero} of {len(x)} images, where it leads nowhere: "
            "attack the margin too (loss='margin'), and without gradients (square())"
        )
    if broken := int((~np.isfinite(sizes)).sum()):
        found.append(
            f"the gradient is not finite on {broken} of {len(x)} images; attacks go on with 0 for it"
        )
    return found


def outside(result: Result) -> int:
    """Adversarial images with values beyond [0, 1], rounding apart."""
    found = result.images[result.clean & result.success]
    beyond = np.maximum(found - 1.0, -found).reshape(len(found), -1)
    return int((beyond > 1e-6).any(1).sum())


def result_flags(model: keras.Model, attack: Attack, result: Result) -> list[str]:
    """What is said of one attack: images outside the box, a Square that breaks over 0.2% more images than
    gradients did (AutoAttack's threshold), and adversarial images without a finite answer. Cost: a forward
    pass an image found."""
    found, count = [], len(result.clean)
    for (_, before), (spec, after) in itertools.pairwise(result.parts.items()):
        if spec.startswith("square") and before - after > 0.002 * count:
            found.append(
                f"Square, which sees no gradient, broke {before - after} images that gradients did not"
            )
    if not attack.threat.box:
        total = int((result.clean & result.success).sum())
        found.append(
            f"{outside(result)} of {total} adversarial images lie outside [0, 1], where no image is: compare "
            "them with a paper that does so, and with nothing else"
        )
    adversarial = result.images[result.clean & result.success]
    if len(adversarial):
        logits = logits_of(model, adversarial, batch_size=256)
        if broken := int((~np.isfinite(logits).all(1)).sum()):
            found.append(f"the model has no finite answer for {broken} adversarial images, counted as broken")
    return found
