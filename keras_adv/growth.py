"""Images that are small when a training begins, and grow."""

from __future__ import annotations

import keras
from keras import ops

from keras_adv import validate
from keras_adv.backend import Net
from keras_adv.registry import Spec, option, register


@register("growth", "grow")
class Grow(Spec):
    """Trains on images that are made smaller, up to the given epochs: a step at half the side costs about a
    quarter. The net is the same, with the same weights, so it must take images of any size: convolutions and
    a pooling over what is left of them, as `resnet18` and `wrn` have, not a Flatten.

    Images are made smaller as a whole (bilinear, antialiased), after augmentation; eps stays. Validation, the
    best epoch and what is served see them in full. Progressive resizing, as in Howard's DAWNBench entry of
    2018 and EfficientNetV2 (arXiv:2104.00298); here nothing else grows with it.

    Args:
        sides: height of the images in each stretch; the width keeps its proportion.
        until: the epoch at which each stretch ends, in order; from the last one on images are whole.

    >>> Grow(sides=(16, 24), until=(4, 8))
    grow(sides=(16, 24,), until=(4, 8,))
    """

    kind = "growth"
    sides: tuple[int, ...] = option(default=(16, 24), low=4)
    until: tuple[int, ...] = option(default=(4, 8), low=1)

    def check(self) -> None:
        if len(self.sides) != len(self.until):
            raise validate.invalid("until", f"one epoch for each of the {len(self.sides)} sides", self.until)
        if list(self.until) != sorted(set(self.until)):
            raise validate.invalid("until", "rising epochs", self.until)

    def size(self, epoch: int, shape: tuple[int, ...]) -> tuple[int, int] | None:
        """(height, width) in an epoch, from 0, of images (H, W, C); None: whole."""
        side = next((side for side, end in zip(self.sides, self.until, strict=True) if epoch < end), None)
        return None if side is None else _size(side, shape)

    def check_model(self, model: keras.layers.Layer, shape: tuple[int, ...], name: str = "net") -> None:
        """Raises InvalidInput unless the images become smaller, and the model, of that name in a game, takes
        them."""
        if max(self.sides) >= shape[0]:
            raise validate.invalid("grow", f"sides below the images' {shape[0]}", self.sides)
        for side in self.sides:
            size = _size(side, shape)
            try:
                Net(model)(ops.zeros((1, *size, shape[2])))
            except Exception as error:  # of whatever layer, in its own words
                allowed = "a model that takes images of any size, to grow them (no Flatten, say)"
                fails = f"{model.name}, which fails on {size[0]}x{size[1]}"
                if name != "net":
                    raise validate.unusable(
                        "grow", f"None with a defense whose {name} is of one size", fails
                    ) from error
                raise validate.unusable("model", allowed, fails) from error


def _size(side: int, shape: tuple[int, ...]) -> tuple[int, int]:
    return side, max(1, round(side * shape[1] / shape[0]))
