"""Carlini & Wagner's attack, and the binary search on a penalty's weight that it shares with EAD."""

from __future__ import annotations

from dataclasses import dataclass

from keras import ops

from keras_adv.attacks.base import MinimalAttack, State
from keras_adv.attacks.primal_dual import adam
from keras_adv.attacks.task import Task
from keras_adv.backend import select, value_and_grad
from keras_adv.registry import option, register
from keras_adv.threats import L2, Threat
from keras_adv.threats.base import Tensor, flat, only, rows

LARGEST = 1e10  # of c; an upper end there says that no c has worked yet


@dataclass(frozen=True, repr=False)
class PenaltySearch(MinimalAttack):
    """min size(r) + c max(kappa - margin(x + r), 0) for the smallest c that works; a subclass descends.

    An image has a search and a step count of its own: one that stalls goes on to its next c while others descend.
    """

    targetable = True
    threat: Threat
    searches: int = option(default=9, low=1)
    steps: int = option(default=1000, low=1)
    lr: float = option(default=0.01, above=0.0)
    initial: float = option(default=1e-3, above=0.0)
    confidence: float = option(default=0.0, low=0.0)
    abort_early: bool = option(default=True)

    @property
    def weights(self) -> int:
        """Values of c that an image is tried with at most."""
        return self.searches

    @property
    def first(self) -> float:
        """The first c."""
        return self.initial

    @property
    def total(self) -> int:
        return self.weights * self.steps

    def origin(self, task: Task) -> State:
        """The entries of the state that `descend` changes, where each search starts."""
        raise NotImplementedError

    def image(self, task: Task, state: State) -> Tensor:
        """The image where the model is asked."""
        raise NotImplementedError

    def size(self, r: Tensor) -> Tensor:
        """(B,) what is minimised besides the hinge."""
        raise NotImplementedError

    def descend(self, task: Task, state: State, image: Tensor, g: Tensor) -> State:
        """The next entries; g is the gradient of c times the hinge at `image`, state["t"] the step of the search."""
        raise NotImplementedError

    def start(self, task: Task) -> State:
        zero, none = ops.zeros_like(task.x[:, 0, 0, 0]), ops.zeros_like(task.y)
        book = {
            "c": zero + self.first,
            "low": zero,
            "high": zero + LARGEST,
            "hit": none > 0,
            "t": none,
            "search": none,
        }
        return {
            **self.nothing_yet(task),
            **self.origin(task),
            **book,
            "least": zero + 1e30,
            "before": zero + 1e30,
        }

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        image = self.image(task, state)
        hinge, m, g = value_and_grad(lambda v: self._hinge(task, v), image)
        hit = m > self.confidence
        seen = self.record(task, state, image, hit)
        loss = self.size(image - task.x) + state["c"] * hinge
        book = {"hit": ops.logical_or(state["hit"], hit), "least": ops.minimum(state["least"], loss)}
        moved = self.descend(task, state, image, rows(state["c"], g) * g)
        new = self._turn(task, {**state, **seen, **book}, moved)
        return new, new["search"] >= self.weights

    def _hinge(self, task: Task, v: Tensor) -> tuple[Tensor, Tensor]:
        m = task.margin(task.see(v))
        return ops.relu(self.confidence - m), m

    def _turn(self, task: Task, state: State, moved: State) -> State:
        """Goes on with `moved`, or, where a search is over, to the next c from the origin."""
        t, c, hit, zero = state["t"], state["c"], state["hit"], ops.zeros_like(state["t"])
        over, before = t + 1 >= self.steps, state["before"]
        if self.abort_early:
            check = t % -(-self.steps // 10) == 0
            gained = ops.logical_or(hit, state["least"] <= 0.9999 * before)  # neither where the loss is NaN
            over = ops.logical_or(over, ops.logical_and(check, ops.logical_not(gained)))
            before = ops.where(check, state["least"], before)
        low = ops.where(ops.logical_and(over, ops.logical_not(hit)), c, state["low"])
        high = ops.where(ops.logical_and(over, hit), c, state["high"])
        other = ops.where(high >= LARGEST, ops.minimum(10.0 * c, LARGEST), (low + high) / 2)
        origin = self.origin(task)
        return {
            **state,
            **{n: select(over, origin[n], v) for n, v in moved.items()},
            "c": ops.where(over, other, c), "low": low, "high": high,
            "hit": ops.logical_and(hit, ops.logical_not(over)),
            "t": ops.where(over, zero, t + 1),
            "search": ops.where(over, state["search"] + 1, state["search"]),
            "least": ops.where(over, 1e30, state["least"]),
            "before": ops.where(over, 1e30, before),
        }  # fmt: skip


@register("attack", "carlini_wagner")
class CarliniWagner(PenaltySearch):
    """min |r|_2^2 + c max(kappa - margin(x + r), 0) by Adam, with x + r = (tanh(w) + 1) / 2 always in the box.

    The smallest c that works is searched for each image: x 10 until one works, then bisection.

    Args:
        threat: l2; its eps, if any, is where the robust accuracy is reported.
        searches: values of c.
        steps: of Adam, for each c (the authors' code: 10000).
        lr: of Adam.
        initial: the first c (as the authors' code; thesis 5.4: 0.01).
        confidence: kappa, the margin that counts as a success.
        abort_early: an image goes on to its next c after a tenth of the steps without a gain of 0.01%.
        c: a c in place of the search (arXiv:2011.01755, with a cap).
        cap: largest change of a pixel value; each step of w is clipped to it.

    The authors' last run at the smallest c that worked is left out: Adam would take the same steps again.

    Cost: searches x steps forward-backward passes at most; images that stall take fewer.
    """

    reference = "arXiv:1608.04644"
    threat: Threat = option(default=L2())
    c: float | None = option(default=None, above=0.0)
    cap: float | None = option(default=None, above=0.0, high=1.0)

    def check(self) -> None:
        only(self.threat, "l2")

    @property
    def weights(self) -> int:
        return self.searches if self.c is None else 1

    @property
    def first(self) -> float:
        return self.initial if self.c is None else self.c

    def origin(self, task: Task) -> State:
        zero = ops.zeros_like(task.x)
        return {"w": _to_w(task.x), "m": zero, "v": zero}

    def image(self, task: Task, state: State) -> Tensor:
        return ops.sigmoid(2.0 * state["w"])  # (tanh(w) + 1) / 2, exact near 0

    def size(self, r: Tensor) -> Tensor:
        return ops.sum(ops.square(flat(r)), axis=1)

    def descend(self, task: Task, state: State, image: Tensor, g: Tensor) -> State:
        slope = 2.0 * image * (1.0 - image)  # of the image in w
        step, root, moments = adam({**state, "k": state["t"]}, (2.0 * (image - task.x) + g) * slope)
        w = state["w"] - self.lr * step / root
        if self.cap is not None:
            w = ops.clip(
                w, _to_w(ops.maximum(task.x - self.cap, 0.0)), _to_w(ops.minimum(task.x + self.cap, 1.0))
            )
        return {"w": w, **moments}


def _to_w(x: Tensor) -> Tensor:
    return ops.arctanh((2.0 * x - 1.0) * 0.999999)
