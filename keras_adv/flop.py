"""FLOP of a training, counted from layers and passes; nothing is timed."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_adv.backend import Net
from keras_adv.features import calls, leaves
from keras_adv.recipes import Recipe

_TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
COUNTED = (
    keras.layers.Dense,
    *(keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, *_TRANSPOSED),
    *(keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D),
    *(keras.layers.SeparableConv1D, keras.layers.SeparableConv2D),
)
"""The layers that count: the others take a few operations a value."""
PASSES = {"forward": 1, "input": 2, "weights": 3, "second": 6}
"""What a pass of each kind (`Defense.passes`) costs, in forward passes. Each layer has one product forward,
one for the gradient by what it was given, one for that by its weights. A training pass through an input
gradient has the two of that gradient, and takes back both of them, each with two products. A Jacobian is a
forward pass and one backward pass for each class."""


def forward_flop(model: keras.layers.Layer, shape: tuple[int, ...] | None = None) -> int:
    """FLOP of a forward pass of one image: twice the multiply-adds of the layers that are `COUNTED`. A
    convolution counts its whole kernel at the border too. Biases, activations, normalisation, pooling and
    what is computed without a layer do not count.

    Args:
        model: of any kind, with layers at any depth.
        shape: (H, W, C) of the image; None: the model's own.

    Cost: a forward pass.
    """
    shape = model.input_shape[1:] if shape is None else shape
    counted = [layer for layer in leaves(model) if isinstance(layer, COUNTED)]
    seen, _ = calls(counted, lambda: Net(model)(ops.zeros((1, *shape))))
    return 2 * sum(_multiply_adds(*call) for call in seen)


def _multiply_adds(given: Any, returned: Any, layer: Any) -> int:
    """Each weight of a kernel is used once at each position: of a transposed convolution one of what it is
    given, else one of what it returns."""
    shape = (given if isinstance(layer, _TRANSPOSED) else returned).shape[1:]
    first = getattr(layer, "data_format", None) == "channels_first"
    positions = math.prod(shape[1:] if first else shape[:-1])
    return positions * sum(math.prod(w.shape) for w in layer.trainable_weights if len(w.shape) > 1)


def step_flop(passes: Mapping[str, int], forward: Mapping[str, int], classes: int) -> int:
    """FLOP that a step takes for each of its images.

    Args:
        passes: "player.kind" -> how many (`Defense.passes`).
        forward: player -> FLOP of its forward pass.
        classes: rows of a Jacobian.
    """
    costs = {**PASSES, "jacobian": 1 + classes}
    pairs = ((key.split("."), count) for key, count in passes.items())
    return sum(count * costs[kind] * forward[player] for (player, kind), count in pairs)


def training_flop(recipe: Recipe, net: keras.Model, labels: np.ndarray, epochs: int) -> int:
    """FLOP of the training steps of a run: images x passes x FLOP of a pass, epoch by epoch, with the smaller
    images of a net that grows and the passes of a warm-up. Of a net that is trained on, of this run alone.
    What is done between steps does not count: validation, the choice of the best epoch, images that are made
    before the first step; nor do optimizers and augmentation.

    Args:
        recipe: of the run.
        net: the model that is served, or one as it.
        labels: (N,) of the training images.
        epochs: that were played; fewer than the recipe's where the training was stopped.

    Cost: a forward pass of one image for each network and size of images.
    """
    defense, shape, classes = recipe.defense, net.input_shape[1:], int(net.output_shape[-1])
    phases = defense.phases(recipe.epochs)
    own: dict[str, Any] = {"net": net}

    @functools.cache
    def forward(player: str, size: tuple[int, int] | None) -> int:
        if player not in own:
            own.update(defense.networks(net))
        return forward_flop(own[player], shape if size is None else (*size, shape[2]))

    total, images = 0, images_an_epoch(recipe, labels)
    for epoch in range(epochs):
        phase = next(phase for phase in phases if epoch < phase.until)
        passes = (phase.passes or defense.passes)(classes)
        size = recipe.grow.size(epoch, shape) if recipe.grow else None
        players = {key.split(".")[0] for key in passes}
        total += images * step_flop(passes, {name: forward(name, size) for name in players}, classes)
    return total


def images_an_epoch(recipe: Recipe, labels: np.ndarray) -> int:
    """Images that the steps of an epoch see: those of its whole batches, with partners, and with what a
    defense adds to the training set."""
    count = recipe.defense.extended_count(len(labels))
    rows = np.arange(batch := min(recipe.batch_size, count))
    partners = recipe.defense.batch_rows(labels)
    if partners is not None:
        rows = partners(rows % len(labels), np.random.default_rng(0))
    return count // batch * len(rows)
