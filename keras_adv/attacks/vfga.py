"""VFGA: one value after the other, each by a vote among random changes."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor, zeros_per_image
from keras_adv.attacks.base import Passes, State
from keras_adv.attacks.contracts import NOTHING, MinimalAttack
from keras_adv.attacks.task import Task, broken
from keras_adv.backend import value_and_grad, where_rows
from keras_adv.losses import log_odds_against
from keras_adv.registry import option, register
from keras_adv.threats import L0, Threat
from keras_adv.threats.base import require_norm


class Candidate(NamedTuple):
    """A move (B, H, W, C) of one value or pixel to the end of the box, and whether there is one (B,)."""

    move: Tensor
    able: Tensor


class Vote(NamedTuple):
    """The best of the images tried so far, (B, ...), whether it fools (B,), and its odds (B,)."""

    image: Tensor
    hit: Tensor
    odds: Tensor


@register("attack", "vfga")
class VFGA(MinimalAttack):
    """Changes the value with the largest expected effect, by the best of random changes, until the class
    changes (Cesaire et al.: Voting Folded Gaussian Attack).

    g is the gradient of 1 - p_y (with a target of p_t), up to a factor: that of the log odds, which float32
    still holds where p_y rounds to 1. Of the values that are as in x, two are candidates: the one with the
    largest g_i (1 - x_i), to be raised, and that with the largest -g_i x_i, to be lowered. Each is moved by
    `samples` folded Gaussians |N(0, 1)| (1 - x_i), or -|N(0, 1)| x_i, clipped to the box. Of these images one
    that fools the model is kept before one that does not, then that with the least p_y (the largest p_t).

    Args:
        threat: l0; its eps, if any, is where the robust accuracy is reported. With pixels=True and several
            channels (not in the paper) there is one candidate, the pixel with the largest sum of |g_i| times
            the way that g_i points to; each of its channels moves that way, by a Gaussian of its own.
        steps: values (pixels) changed at most.
        samples: random changes of each candidate.

    Cost: for each changed value 1 forward-backward and 2 x samples forward passes.

    >>> VFGA(samples=5)
    vfga(threat=l0(pixels=False), samples=5)
    """

    reference = "arXiv:2011.12423"
    targetable = True
    threat: Threat = option(default=L0(pixels=False))
    steps: int = option(default=1000, low=1)
    samples: int = option(default=10, low=1)

    def check(self) -> None:
        require_norm(self.threat, "l0")

    @property
    def rounds(self) -> int:
        return self.steps

    @property
    def passes_per_round(self) -> Passes:
        return {"gradient": 1, "forward": 2 * self.samples}

    def start(self, task: Task) -> State:
        return {**self.no_best_yet(task), "x": task.x}

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        now = state["x"]

        def objective(images: Tensor) -> tuple[Tensor, tuple[()]]:
            return self._odds(task, task.logits(images)), ()

        _, _, g = value_and_grad(objective, now)
        rivals = [self._candidate(task.x, now, g, end) for end in (1.0, 0.0)]
        won = self._vote(task, now, rivals, noise.fold(task.seeds, state["k"]))
        seen = self.update_best(task, state, won.image, won.hit)
        over = ops.logical_not(ops.logical_or(rivals[0].able, rivals[1].able))
        return {**seen, "x": won.image}, ops.logical_or(over, seen["best_norm"] < NOTHING)

    def _odds(self, task: Task, logits: Tensor) -> Tensor:
        """(B,) log odds against y, or of the target."""
        if task.target is None:
            return log_odds_against(logits, task.y)
        return -log_odds_against(logits, task.target)

    def _candidate(self, x: Tensor, now: Tensor, g: Tensor, end: float) -> Candidate:
        """The value that is to go towards this end of the box, or the pixel that is to go along g."""
        norm: Any = self.threat  # an L0: `check`
        way = end - now
        if norm.groups(x).shape[2] > 1:
            way = ops.where(g > 0.0, 1.0 - now, -now)
        as_in_x = ops.max(ops.abs(norm.groups(now - x)), axis=2) == 0.0
        free = ops.logical_and(as_in_x, ops.max(ops.abs(norm.groups(way)), axis=2) > 0.0)
        gain = ops.where(free, ops.sum(norm.groups(g * way), axis=2), -1e30)
        first = ops.one_hot(ops.argmax(gain, axis=1), gain.shape[1], dtype="bool")
        chosen = ops.expand_dims(ops.logical_and(first, free), 2)
        move = ops.reshape(ops.where(chosen, norm.groups(way), 0.0), ops.shape(x))
        return Candidate(move, ops.any(free, axis=1))

    def _vote(self, task: Task, now: Tensor, rivals: list[Candidate], seeds: Tensor) -> Vote:
        """The best of 2 x samples random changes, of the two candidates in turn."""
        size = now.shape[-1] if getattr(self.threat, "pixels", False) else 1

        def more(n: Tensor, *best: Tensor) -> Tensor:
            return n < 2 * self.samples

        def another(n: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
            best, turn = Vote(*before), n % 2 == 0
            move, able = (ops.where(turn, a, b) for a, b in zip(*rivals, strict=True))
            far = ops.abs(noise.normal(noise.fold(seeds, n), (1, 1, size)))
            image = ops.clip(now + far * move, 0.0, 1.0)
            z = task.logits(image)
            hit = ops.logical_and(able, task.fooled(z))
            odds = ops.where(ops.logical_and(able, ops.logical_not(broken(z))), self._odds(task, z), -1e30)
            larger = ops.logical_and(hit == best.hit, odds > best.odds)
            better = ops.logical_or(ops.logical_and(hit, ops.logical_not(best.hit)), larger)
            return (
                n + 1,
                where_rows(better, image, best.image),
                ops.where(better, hit, best.hit),
                ops.where(better, odds, best.odds),
            )

        nobody = zeros_per_image(now)
        first = Vote(now, nobody > 0, nobody - 2e30)
        return Vote(*ops.while_loop(more, another, (0, *first))[1:])
