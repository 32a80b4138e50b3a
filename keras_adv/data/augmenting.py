"""Augmentation of training images: what is drawn for an epoch, and what is made of it, on the host or in a
graph of TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np

AUGMENTS = ("none", "crop_flip", "crop_flip_cutout", "resized_crop_flip", "crop2", "crop2_flip")
"""crop_flip: pad by 4, crop anywhere, mirror half of the images. crop_flip_cutout: then a square of half the
side, its middle anywhere in the image, made grey (DeVries & Taylor, arXiv:1708.04552, who take 16 of CIFAR's
32 pixels). resized_crop_flip: of images on disk, a crop of 8% to 100% of the area with sides of 3 : 4 to
4 : 3, scaled to the size asked for, and half of them mirrored (Szegedy et al., arXiv:1409.4842). crop2: pad
by 2 and crop, for digits, which a mirror would change; crop2_flip: and mirror half (MadNet's code mirrors
MNIST too)."""
PAD = 4
"""Pixels of zeros on each side of what crops are cut from."""
GREY = 0.5
"""Of what is cut out: near the mean of natural images, to which the authors set it."""
AREA, LONGEST = (0.08, 1.0), float(np.log(4 / 3))


def draw(augment: str, count: int, seed: tuple[int, ...]) -> dict[str, np.ndarray]:
    """What is drawn for so many images, by name, (count,) each: `top`, `left` (int32) and `flip`; for cutout
    also `cut_row`, `cut_column`, the middle as shares of height and width; for random sizes `flip`, `area`,
    `sides`, and `row`, `column`, the place as shares of what is free."""
    if augment == "none":
        return {}
    rng = np.random.default_rng(seed)
    if augment == "resized_crop_flip":
        area, sides = rng.uniform(*AREA, count), np.exp(rng.uniform(-LONGEST, LONGEST, count))
        row, column = rng.random((2, count))
        drawn = {"area": area, "sides": sides, "row": row, "column": column}
        floats = {name: part.astype("float32") for name, part in drawn.items()}
        return {**floats, "flip": rng.random(count) < 0.5}
    most = 2 if augment.startswith("crop2") else PAD
    top, left = rng.integers(PAD - most, PAD + most + 1, (2, count)).astype("int32")
    flip = (rng.random(count) < 0.5) & (augment != "crop2")
    drawn = {"top": top, "left": left, "flip": flip}
    if augment == "crop_flip_cutout":
        drawn["cut_row"], drawn["cut_column"] = rng.random((2, count), "float32")
    return drawn


def on_host(x: np.ndarray, drawn: dict[str, np.ndarray]) -> np.ndarray:
    """The images (B, H, W, C), augmented by what was drawn for them."""
    if not drawn:
        return x
    _, h, w, _ = x.shape
    wide = np.pad(x, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0)))
    made = np.empty_like(x)
    for row, (i, j) in enumerate(zip(drawn["top"].tolist(), drawn["left"].tolist(), strict=True)):
        made[row] = wide[row, i : i + h, j : j + w]  # whole rows of memory: faster than one fancy index
    made[drawn["flip"]] = made[drawn["flip"], :, ::-1]
    if "cut_row" in drawn:
        rows = _within((drawn["cut_row"] * h).astype("int32"), np.arange(h), h)
        columns = _within((drawn["cut_column"] * w).astype("int32"), np.arange(w), w)
        made[rows[:, :, None] & columns[:, None, :]] = GREY
    return made


def _within(middles: Any, numbers: Any, side: int) -> Any:
    """(B, side): which of the numbers 0 .. side - 1 lie within half a side around each of the middles."""
    first = middles[:, None] - side // 4
    return (numbers >= first) & (numbers < first + side // 2)


def variables(plan: Any, changed: list[Any]) -> Any:
    """The arrays of a plan as variables of TensorFlow; appends to `changed` what sets them to another's."""
    import tensorflow as tf

    with tf.device("CPU:0"):
        held = tf.nest.map_structure(lambda part: tf.Variable(part, trainable=False), plan)

    def renew(new: Any) -> None:
        for variable, part in zip(tf.nest.flatten(held), tf.nest.flatten(new), strict=True):
            variable.assign(part)

    changed.append(renew)
    return held


def in_graph(x: Any, drawn: dict[str, Any]) -> Any:
    """`on_host` in a graph of TensorFlow. Crops of random size are made where images are read
    (`image_files.random_crop`); here they are mirrored only."""
    if not drawn:
        return x
    import tensorflow as tf

    h, w = x.shape[1:3]
    if "top" in drawn:
        x = tf.pad(x, [[0, 0], [PAD, PAD], [PAD, PAD], [0, 0]])
        x = tf.gather(x, drawn["top"][:, None] + tf.range(h), axis=1, batch_dims=1)
    columns = drawn["left"][:, None] + tf.range(w) if "left" in drawn else tf.range(w)[None, :]
    columns = tf.where(drawn["flip"][:, None], columns[:, ::-1], columns)
    x = tf.gather(x, columns, axis=2, batch_dims=1)
    if "cut_row" not in drawn:
        return x
    rows = _within(tf.cast(drawn["cut_row"] * h, "int32"), tf.range(h), h)
    columns = _within(tf.cast(drawn["cut_column"] * w, "int32"), tf.range(w), w)
    return tf.where((rows[:, :, None] & columns[:, None, :])[..., None], GREY, x)
