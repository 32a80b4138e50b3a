"""Jacobian-based saliency map attack."""

from __future__ import annotations

from keras import ops

from keras_adv.arrays import TINY, Tensor, expand_like, flatten
from keras_adv.attacks.base import Passes, State
from keras_adv.attacks.contracts import MinimalAttack
from keras_adv.attacks.task import Task
from keras_adv.backend import value_and_grad, where_rows
from keras_adv.losses import pick, wrong_classes
from keras_adv.registry import option, register
from keras_adv.threats import L0, Threat
from keras_adv.threats.base import require_norm

TILTS = tuple(2.0**n for n in (-3, -2, -1, 0, 1, 2, 3))


def _tops(u: Tensor, v: Tensor, free: Tensor) -> Tensor:
    """(B, D) at least sqrt((u_p + u_q) (v_p + v_q)) for every free partner q of p; -1 where p is not free.

    sqrt(U V) <= (c U + V / c) / 2 for every c > 0, and the partner adds no more than the largest term of all.
    """
    bound = ops.where(free, 1e30, -1.0)
    for c in TILTS:
        half = ops.where(free, (c * u + v / c) / 2.0, -1e30)
        bound = ops.minimum(bound, half + ops.max(half, axis=1, keepdims=True))
    return bound


def best_pair(u: Tensor, v: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """(mask (B, D) bool of two coordinates, found (B,) bool): the pair with the largest (u_p + u_q) (v_p +
    v_q).

    Both sums positive, both coordinates `free`; exact (branch and bound): each round tries one p with every
    q, the most promising p first, until no bound is above the best score. u, v, free: (B, D).
    """
    u, v = (s / ops.maximum(ops.max(ops.abs(s), axis=1, keepdims=True), TINY**3) for s in (u, v))
    index = ops.expand_dims(ops.arange(u.shape[1], dtype="int32"), 0)
    left = _tops(u, v, free)
    u, v = (ops.where(free, s, -1e30) for s in (u, v))  # with what is not free no sum is positive

    def promising(left: Tensor, bound: Tensor, i: Tensor, best: Tensor, p: Tensor, q: Tensor) -> Tensor:
        return ops.any(ops.square(ops.maximum(bound, 0.0)) > best)

    def extend(
        left: Tensor, bound: Tensor, i: Tensor, best: Tensor, p: Tensor, q: Tensor
    ) -> tuple[Tensor, ...]:
        own = index == i
        a, b = (ops.maximum(s + ops.take_along_axis(s, i, axis=1), 0.0) for s in (u, v))
        top, j = ops.top_k(ops.where(own, 0.0, a * b), 1)
        better, left = top > best, ops.where(own, -1.0, left)
        return (
            left,
            *ops.top_k(left, 1),
            ops.maximum(top, best),
            ops.where(better, i, p),
            ops.where(better, j, q),
        )

    none = ops.zeros_like(u[:, :1])
    nobody = ops.cast(none, "int32")
    found = ops.while_loop(promising, extend, (left, *ops.top_k(left, 1), none, nobody, nobody))
    best, p, q = found[3:]  # (B, 1)
    pair = ops.logical_and(ops.logical_or(index == p, index == q), best > 0)
    return pair, best[:, 0] > 0


@register("attack", "jsma")
class JSMA(MinimalAttack):
    """Sets the two values that raise the target most and the other classes least, again and again (Papernot
    et al.).

    The pair maximises -(a_p + a_q) (b_p + b_q) with a = dz_t/dx, b = sum_{i != t} dz_i/dx, a_p + a_q > 0 >
    b_p + b_q (both reversed to lower values); each value moves once. Without a target the runs go through all
    wrong classes, the likeliest first, and through both signs of theta (thesis 5.4); the smallest change that
    fools is kept. A run ends with any mistake, or when it cannot beat the best any more.

    Args:
        threat: l0; its eps, if any, is where the robust accuracy is reported.
        theta: how far a value moves, up and, in runs of their own, down.
        gamma: largest share of the values that one run moves.
        steps: pairs at most, over all runs of an image.

    Cost: 2 forward-backward passes for each pair, and 1 forward pass for each image.
    """

    reference = "arXiv:1511.07528"
    targetable = True
    threat: Threat = option(default=L0(pixels=False))
    theta: float = option(default=1.0, above=0.0, high=1.0)
    gamma: float = option(default=1.0, above=0.0, high=1.0)
    steps: int = option(default=10000, low=1)

    def check(self) -> None:
        require_norm(self.threat, "l0")

    @property
    def rounds(self) -> int:
        return self.steps

    @property
    def passes_per_round(self) -> Passes:
        return {"gradient": 2}

    @property
    def passes_at_start(self) -> Passes:
        return {"forward": 1}

    def start(self, task: Task) -> State:
        aims = wrong_classes(task.logits(task.x), task.y)
        if task.target is not None:
            aims = ops.cast(task.target, "int32")[:, None]
        return {**self.no_best_yet(task), "x": task.x, "aims": aims, "run": ops.zeros_like(task.y)}

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        x, now, aims, run = task.x, state["x"], state["aims"], state["run"]
        runs = 2 * aims.shape[1]
        aim = pick(aims, ops.minimum(run, runs - 1) // 2)
        sign = expand_like(ops.where(run % 2 == 0, 1.0, -1.0), x)
        z, up, others = self._slopes(task, now, aim)
        hit = task.fooled(z)
        seen = self.update_best(task, state, now, hit)
        free = ops.logical_and(now == x, ops.where(sign > 0, x < 1.0, x > 0.0))
        pair, found = best_pair(flatten(sign * up), flatten(-sign * others), flatten(free))
        move = sign * self.theta * ops.cast(ops.reshape(pair, ops.shape(x)), "float32")
        new = ops.clip(now + move, 0.0, 1.0)
        change = new - x
        spent = ops.mean(ops.cast(flatten(change) != 0, "float32"), axis=1) > self.gamma
        beaten = self.threat.norm(change) >= seen["best_norm"]
        over = ops.logical_or(ops.logical_or(hit, ops.logical_not(found)), ops.logical_or(spent, beaten))
        run = run + ops.cast(over, "int32")
        return {**seen, "x": where_rows(over, x, new), "aims": aims, "run": run}, run >= runs

    def _slopes(self, task: Task, v: Tensor, aim: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(logits, gradient of z_t, gradient of the sum of the other logits)."""

        def chosen(v: Tensor) -> tuple[Tensor, Tensor]:
            z = task.logits(v)
            return pick(z, aim), z

        def rest(v: Tensor) -> tuple[Tensor, tuple[()]]:
            z = task.logits(v)
            return ops.sum(z, axis=1) - pick(z, aim), ()

        _, z, up = value_and_grad(chosen, v)
        return z, up, value_and_grad(rest, v)[2]
