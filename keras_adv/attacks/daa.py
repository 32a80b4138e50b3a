"""Distributionally adversarial attack: ascent of several particles that keep away from each other."""

from __future__ import annotations

import math

from keras import ops

from keras_adv import noise
from keras_adv.arrays import TINY, Tensor, expand_like, flatten
from keras_adv.attacks.ascent import ObjectiveAscent
from keras_adv.attacks.base import State
from keras_adv.attacks.task import Task
from keras_adv.numerics.rows import update_rows
from keras_adv.registry import option, preset, register


@register("attack", "daa")
class DAA(ObjectiveAscent):
    """Distributionally adversarial attack, Lagrangian BLOB (Zheng et al., arXiv:1808.05537).

    P particles maximise E[loss] + c entropy of their distribution inside the ball, by a gradient flow:
    x_i <- P(x_i + step eps ascent(g_i / mean|g_i| + c b_i / mean|b_i|)), g_i the gradient of the loss,
    b_i = sum_j K_ij (x_i - x_j) (1 / sum_k K_ik + 1 / sum_k K_jk) the blob form of -grad log density, which
    drives particles apart, and K_ij = exp(-|x_i - x_j|^2 log P / mean |x_i - x_j|^2).

    The particles are random starts of one image. In the paper they are the images of the batch, so that an
    image's result depends on the images beside it; and g and b are not scaled there: a confident net's
    gradient would be lost beside b. One particle has none to keep away from: it is PGD.

    DAA-n of the thesis is n restarts of 200 steps. At that cost there are here `daa_1_thesis`, one particle
    without repulsion, and `daa_50_thesis`, 5 restarts of 10 particles; what repulsion between different
    images gains or loses neither of them shows.

    Args:
        threat: any norm, with an eps.
        steps: gradient steps of each particle.
        step_size: length of a step in units of eps; None is 2.5 / steps (the thesis takes the best of 1 to
            1/100).
        particles: random starts that go on together, P; at 1 there is no repulsion.
        restarts: of all particles, from fresh starts; an image counts as robust if it survives all.
        c: mean size of the repulsion beside that of the gradient; 0 gives independent runs of PGD.
        loss: the objective that is ascended, as in `pgd`.

    Cost: restarts x particles x steps forward-backward passes, fewer for images that are fooled on the way.
    """

    reference = "arXiv:1808.05537"
    steps: int = option(default=200, low=1)
    step_size: float | None = option(default=None, above=0.0)
    particles: int = option(default=4, low=1)
    restarts: int = option(default=1, low=1)
    c: float = option(default=0.1, low=0.0)

    @property
    def _run_length(self) -> int:
        # the last iterate of each particle gets a round of its own to be looked at
        return self.particles * (self.steps + 1)

    @property
    def rounds(self) -> int:
        return self.restarts * self._run_length - 1

    def start(self, task: Task) -> State:
        return {**self._first(task, task.seeds), **self.reference_state(task)}

    def _first(self, task: Task, seeds: Tensor) -> State:
        """The particles at the start of a run. They take turns: "x" is the one whose turn it is, the others
        those after it."""
        numbers = range(self.particles)
        return {
            name: self.threat.sample(task.x, noise.fold(seeds, n), task.eps)
            for n, name in zip(numbers, self._line(), strict=True)
        }

    def _line(self) -> list[str]:
        return ["x", *(f"other{n}" for n in range(1, self.particles))]

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        now, *others = (state[name] for name in self._line())
        _, z, g = self.objective_and_gradient(task, state)
        way = _unit(g)
        if others:
            way = way + self.c * _unit(repulsion([v - now for v in others]))
        length = 2.5 / self.steps if self.step_size is None else self.step_size
        moved = now + length * expand_like(task.eps, now) * self.threat.ascent(way, now)
        line = [*others, self.threat.project(moved, task.x, task.eps)]
        new = dict(zip(self._line(), line, strict=True))
        if self.restarts > 1:
            ended = (state["k"] + 1) % self._run_length == 0
            seeds = noise.fold(task.seeds, state["k"])
            new = update_rows(ended, lambda: self._first(task, seeds), new)
        return {**state, **new}, task.fooled(z)


def _unit(v: Tensor) -> Tensor:
    size = ops.mean(ops.abs(flatten(v)), axis=1)
    return v / expand_like(ops.maximum(size, 1e-30), v)


def repulsion(others: list[Tensor]) -> Tensor:
    """b (B, ...) of a particle, up to a factor, from where the P - 1 others are as seen from it, (B, ...)
    each.

    From the gradient of the blob energy sum_i log sum_k K_ik (Carrillo, Craig & Patacchini,
    arXiv:1709.09195), whose descent spreads the particles.
    """
    points, count = ops.stack([flatten(v) for v in others], axis=1), len(others) + 1
    gram = ops.matmul(points, ops.transpose(points, (0, 2, 1)))
    gram = ops.pad(gram, [[0, 0], [1, 0], [1, 0]])  # the particle itself, at 0
    square = ops.diagonal(gram, axis1=1, axis2=2)
    distance = ops.maximum(square[:, :, None] + square[:, None, :] - 2.0 * gram, 0.0)
    mean = ops.sum(distance, axis=(1, 2), keepdims=True) / (count * (count - 1))
    kernel = ops.exp(-distance * math.log(count) / ops.maximum(mean, TINY))
    inverse = 1.0 / ops.sum(kernel, axis=2)
    weight = kernel[:, 0] * (inverse[:, :1] + inverse)
    return -ops.reshape(ops.matmul(weight[:, None, 1:], points), ops.shape(others[0]))


preset(
    "daa_1_thesis",
    DAA(particles=1),
    note="DAA-1 of Matyasko's thesis, tables 5.2 to 5.7, at its cost: one run of 200 steps for each image.",
)
preset(
    "daa_50_thesis",
    DAA(particles=10, restarts=5),
    note="DAA-50 of these tables at its cost: 50 runs of 200 steps, of which ten repel each other at a time.",
)
