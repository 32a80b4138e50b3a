"""One-pixel attack: differential evolution over the places and colours of a few pixels, from scores alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from keras import ops
from scipy.optimize import differential_evolution

from keras_adv import validate
from keras_adv.arrays import Logits
from keras_adv.attacks.base import Passes
from keras_adv.attacks.contracts import BoundedAttack
from keras_adv.attacks.host import HostAttack, Search
from keras_adv.attacks.task import Examples, Task
from keras_adv.registry import option, register
from keras_adv.threats import L0, Threat
from keras_adv.threats.base import require_norm

Score = Callable[[np.ndarray], np.ndarray]


class _Solved(Exception):
    """Carries a fooling image out of SciPy's loop."""


@register("attack", "one_pixel")
class OnePixel(HostAttack, BoundedAttack):
    """One-pixel attack (Su et al., arXiv:1710.08864): differential evolution (SciPy's) of eps pixels.

    An individual is eps times (row, column, colour); a child is a + F (b - c), with no crossover, a the best
    individual and b, c random ones, and takes its parent's place where its margin is larger. The first image
    that fools the model ends the search. Margins of logits in place of p_y: 1 - p_y is 0 in float32 for a
    confident net.

    Args:
        threat: l0 of whole pixels; its eps is how many may change.
        steps: generations after the first, random one.
        population: individuals.
        strategy: SciPy's name of how a child is made: "best1bin" as above; with "rand1bin" (the paper) a is
            random, which takes more generations.
        factor: F.

    Cost: (steps + 1) x population forward passes, fewer for images that are fooled on the way.
    """

    reference = "arXiv:1710.08864"
    knowledge = "scores"
    targetable = True
    threat: Threat = option(default=L0(eps=1.0))
    steps: int = option(default=100, low=1)
    population: int = option(default=400, low=5)
    strategy: str = option(default="best1bin", choices=("best1bin", "rand1bin"))
    factor: float = option(default=0.5, above=0.0, high=2.0)

    def check(self) -> None:
        super().check()
        require_norm(self.threat, "l0")
        if not getattr(self.threat, "pixels", False):
            raise validate.invalid("threat", "l0(pixels=True): whole pixels change", self.threat)

    @property
    def rounds(self) -> int:
        return self.steps + 1

    @property
    def passes_per_round(self) -> Passes:
        return {"forward": self.population}

    def search(self, model: Logits, compile: Callable[..., Any]) -> Search:
        def margins(images: Any, y: Any, target: Any) -> Any:
            task = Task(model, Examples.of_batch(images, y, target=target))
            return task.margin(ops.cast(model(images), "float32"))

        compiled = compile(margins)

        def run(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
            radii: Any = examples.eps
            images, rounds = np.array(examples.x, "float32"), np.zeros(len(examples.x), "int32")
            for i in range(len(images)):
                goal = [
                    None if v is None else np.full(self.population, v[i], "int32")
                    for v in (examples.y, examples.target)
                ]
                score = partial(lambda goal, made: np.asarray(compiled(made, *goal)), goal)
                pixels, seed = int(radii[i]), int(examples.seeds[i])
                images[i], rounds[i] = self._evolve(images[i], score, seed, pixels)
            return images, rounds

        return run

    def _evolve(self, x: np.ndarray, score: Score, seed: int, pixels: int) -> tuple[np.ndarray, int]:
        """(image, generations used) of one image."""
        if pixels < 1:
            return x, 0
        rng, generations = np.random.default_rng(seed), 0

        def energy(columns: np.ndarray) -> np.ndarray:
            nonlocal generations
            generations += 1
            made = paint(x, columns.T)
            margin = score(made)
            if margin.max() > 0:
                raise _Solved(made[margin.argmax()])
            return -margin

        try:
            best = differential_evolution(
                energy,
                self._bounds(x, pixels),
                strategy=self.strategy,
                maxiter=self.steps,
                mutation=self.factor,
                recombination=1.0,
                init=self._first(x, pixels, rng),
                tol=0.0,
                atol=-1.0,
                seed=rng,
                polish=False,
                vectorized=True,
                updating="deferred",
            ).x
        except _Solved as solved:
            return solved.args[0], generations
        return paint(x, best[None])[0], generations

    def _bounds(self, x: np.ndarray, pixels: int) -> list[tuple[float, float]]:
        height, width, channels = x.shape
        return [(0.0, float(height)), (0.0, float(width)), *[(0.0, 1.0)] * channels] * pixels

    def _first(self, x: np.ndarray, pixels: int, rng: np.random.Generator) -> np.ndarray:
        """Uniform places and normal colours (the paper: mean 128, deviation 127)."""
        lot = (self.population, pixels)
        places = rng.uniform(size=(*lot, 2)) * x.shape[:2]
        colours = np.clip(rng.normal(0.5, 0.5, size=(*lot, x.shape[2])), 0.0, 1.0)
        return np.concatenate([places, colours], axis=2).reshape(self.population, -1)


def paint(x: np.ndarray, individuals: np.ndarray) -> np.ndarray:
    """(N, H, W, C): x with the pixels of each individual, eps times (row, column, colour), set."""
    height, width, channels = x.shape
    genes = individuals.reshape(len(individuals), -1, 2 + channels)
    made = np.repeat(x[None], len(genes), axis=0)
    down, right = (np.clip(genes[:, :, n].astype(int), 0, size - 1) for n, size in ((0, height), (1, width)))
    for pixel in range(genes.shape[1]):
        made[np.arange(len(genes)), down[:, pixel], right[:, pixel]] = genes[:, pixel, 2:]
    return made
