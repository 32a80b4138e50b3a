"""The loss surface: the margin over a plane through an image, along its gradient and along a random way."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_adv import noise, registry, validate
from keras_adv.arrays import in_float32
from keras_adv.evaluation import compiled
from keras_adv.evaluation.auditing import checked
from keras_adv.evaluation.auditing.slopes import rivals
from keras_adv.evaluation.image_set import ImageSet, classify, logits_of
from keras_adv.threats import Threat

TOLD, SHOWN = 16, 3
"""Images of which the numbers are, and of which the whole plane is looked at."""
STEPS = np.linspace(-1.0, 1.0, 17)
"""Places along each of the two ways, in units of eps."""
BETTER = 2.0
"""How many times as far as a random way the gradient should move the margin."""
BENT = 0.25
"""Share of what the gradient promises below which the surface bends away from it."""


class Surface(NamedTuple):
    """The margin max_{j != y} z_j - z_y, positive where the image is a mistake, around N images.

    Attributes:
        threat: the spec of the ball: its steepest directions are the ways, its eps the unit.
        margins: (M, P, P) of the first M images at x + eps (STEPS[a] u + STEPS[b] v), put into the box; u is
            steepest along the gradient of the margin at x, v along random numbers. The corners lie outside
            of the ball.
        start: (N,) margins at the images.
        promised: (N,) how far the gradient says that it moves at x + eps u.
        along: (N,) how far it does.
        by_chance: (N,) how far it moves at x + eps v or x - eps v, the higher of the two.
    """

    threat: str
    margins: np.ndarray
    start: np.ndarray
    promised: np.ndarray
    along: np.ndarray
    by_chance: np.ndarray

    @property
    def words(self) -> str:
        """What was seen, in medians over the images, and what it means."""
        start, promised, along, by_chance = (float(np.median(v)) for v in self[2:])
        seen = (
            f"around {len(self.start)} images the margin (positive on mistakes) is {start:.3g}; at "
            f"{self.threat} along its gradient it has moved by {along:+.3g}, where the gradient promised "
            f"{promised:+.3g}, along a random way by {by_chance:+.3g} (medians): "
        )
        if not along > BETTER * max(by_chance, 0.0):
            return seen + (
                "the gradient leads hardly further than chance; what it leaves standing says little: attack "
                "without gradients (square()), by transfer"
            )
        if along < BENT * promised:
            return seen + (
                "the surface bends away from its gradient within the ball; single steps say little: attack "
                "in many short ones, with restarts"
            )
        return seen + "the gradient leads towards mistakes, and lasts as far as the ball reaches"


@in_float32()
def surface(model: keras.Model, x: Any, y: Any, threat: Threat | str = "linf(eps=0.1)") -> Surface:
    """The loss surface around the first 16 images that are classified correctly, over whole planes for 3.

    Args:
        model: as in `attack`.
        x: images (N, H, W, C) in [0, 1], or a `tf.data.Dataset` or `PyDataset` of images and labels.
        y: integer labels (N,); None with a data set.
        threat: linf or l2 with an eps.

    Raises:
        InvalidInput: as `audit`; no image that is classified correctly.

    Cost: a forward-backward and 3 forward passes for each of 16 images, 289 forward passes for each of 3, and
    a forward pass for each image of x.

    >>> import keras_adv
    >>> model = keras_adv.zoo.load("critic_lenet_digits")
    >>> x, y = (part[:50] for part in keras_adv.data.load("digits").test)
    >>> found = keras_adv.evaluation.surface(model, x, y)
    >>> found.margins.shape
    (3, 17, 17)
    >>> print(found.words.split("(medians): ")[1])
    the gradient leads towards mistakes, and lasts as far as the ball reaches
    """
    ball, images = checked(threat), classify(model, x, y, batch_size=256)
    if not images.correct.any():
        raise validate.unusable("model", "one that classifies an image correctly", f"none of {len(images.x)}")
    return around(model, images.take(np.flatnonzero(images.correct)[:TOLD]), ball)


def around(model: keras.Model, images: ImageSet, ball: Threat) -> Surface:
    """The surface around these images, on what is checked and classified already."""
    x, y, eps = images.x, images.y, float(ball.radius())
    seeds = noise.seeds(3, np.arange(len(x), dtype="int32"))
    slope = -np.asarray(compiled.margin_gradient(model)(x, y, rivals(images)))
    slope = np.nan_to_num(slope, posinf=0.0, neginf=0.0)
    ways = [eps * np.asarray(ball.steepest(v)) for v in (slope, noise.normal(seeds, x.shape[1:]))]

    def moved(number: int, a: float, b: float) -> np.ndarray:
        """The first `number` images that far along both ways."""
        u, v = (way[:number] for way in ways)
        return np.clip(x[:number] + a * u + b * v, 0.0, 1.0).astype("float32")

    def margins(points: list[np.ndarray]) -> np.ndarray:
        """(len(points), M) margins of lists of M images."""
        z = logits_of(model, np.concatenate(points), batch_size=256).reshape(len(points), -1, images.classes)
        own = np.arange(images.classes) == y[None, : z.shape[1], None]
        return np.where(own, -np.inf, z).max(2) - np.where(own, z, 0.0).sum(2)

    ends = [moved(len(x), a, b) for a, b in ((0, 0), (1, 0), (0, 1), (0, -1))]
    start, along, one, other = margins(ends)
    promised = (slope.astype("float64") * (ends[1] - x)).sum((1, 2, 3))
    plane = margins([moved(SHOWN, a, b) for a in STEPS for b in STEPS])
    planes = plane.T.reshape(-1, len(STEPS), len(STEPS))
    gained = np.maximum(one, other) - start
    return Surface(registry.spec(ball), planes, start, promised, along - start, gained)
