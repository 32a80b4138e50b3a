"""Constraint relaxation: PGD on a few targets in a ball that is widened and narrowed in turn."""

from __future__ import annotations

from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor, expand_like
from keras_adv.attacks.base import State
from keras_adv.attacks.contracts import BoundedAttack
from keras_adv.attacks.task import Task
from keras_adv.backend import value_and_grad, where_rows
from keras_adv.losses import cross_entropy, pick, wrong_classes
from keras_adv.registry import option, register
from keras_adv.threats import Linf, Threat
from keras_adv.threats.base import require_norm

CYCLE = 30
"""Steps of a cycle: a third in the wide ball, a third in the ball, a third from inside a narrow one."""
CYCLES = 5
NEAR = 0.05
"""A target is tried again where its logit came so near to that of the label."""


@register("attack", "constraint_relaxation")
class ConstraintRelaxation(BoundedAttack):
    """Signed steps on z_target - z_y, of length s eps, in cycles of 30 (CR, Chen et al., AAAI 2025).

    First PGD on the cross-entropy ranks the wrong classes. Then, for each of the first few, five cycles with
    s = 1/2, 1/4, ..., 0.05: ten steps in the ball of radius (1 + s) eps, ten in that of eps; then the change
    is cut to (1 - s) eps, noise of s eps is added, and ten more steps follow. A target is given up after
    twenty steps of a cycle where its logit is more than s below the label's. Targets that came within 0.05
    are tried again from other starts. Nets that mask their gradients fool it as they fool PGD: it stands
    before a search without gradients, never instead of it.

    Args:
        threat: linf, with an eps.
        targets: wrong classes to try, the most likely first; all, where there are fewer.
        restarts: tries of a target, the first included.
        warmup: steps, each of eps / 2, of the PGD that ranks the classes.

    Cost: warmup + 1 forward-backward passes, and at most targets x restarts x 150 more; most images take some
    hundred. The authors also judge the projection of each point of the wide ball, by a forward pass; here an
    image is judged where it is inside.
    """

    gives_up = True
    reference = "https://ojs.aaai.org/index.php/AAAI/article/view/32670"
    threat: Threat = option(default=Linf(eps=0.1))
    targets: int = option(default=3, low=1)
    restarts: int = option(default=5, low=1)
    warmup: int = option(default=10, low=1)

    def check(self) -> None:
        super().check()
        require_norm(self.threat, "linf")

    @property
    def rounds(self) -> int:
        return self.warmup + 1 + self.targets * self.restarts * CYCLE * CYCLES

    def start(self, task: Task) -> State:
        zero = ops.zeros_like(task.y)
        flags = ops.stack([zero] * self.targets, axis=1)
        first = self.threat.sample(task.x, task.seeds, task.eps)
        # "step" counts from -warmup - 1: those below 0 rank the classes
        return {
            "x": first,
            "at": first,
            "step": zero - self.warmup - 1,
            "target": zero,
            "restart": zero,
            "classes": flags,
            "open": flags + 1,
            "near": flags,
        }

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        step, ranking = state["step"], state["step"] < 0
        place, at = step % CYCLE, state["at"]
        s = ops.maximum(ops.power(0.5, ops.cast(step // CYCLE + 1, "float32")), 0.05)
        aim = ops.take_along_axis(state["classes"], state["target"][:, None], axis=1)[:, 0]

        def objective(images: Tensor) -> tuple[Tensor, Tensor]:
            z = task.logits(images)
            return ops.where(ranking, cross_entropy(z, task.y), pick(z, aim) - pick(z, task.y)), z

        ahead, logits, g = value_and_grad(objective, at)
        wide = ops.logical_and(place < CYCLE // 3, ops.logical_not(ranking))
        inside = ops.logical_or(ranking, ops.logical_or(place == 0, place > CYCLE // 3))
        hit = ops.logical_and(task.fooled(logits), inside)
        radius = task.eps * ops.where(wide, 1.0 + s, 1.0)
        move = expand_like(task.eps * ops.where(ranking, 0.5, s), at) * ops.sign(g)
        moved = self.threat.project(at + move, task.x, radius)
        close = ops.logical_and(ahead > -NEAR, ops.logical_and(inside, step >= 0))
        hopeless = ops.logical_and(place == 2 * CYCLE // 3 - 1, ahead < -s)
        plan = self._planned(state, close, ops.logical_and(hopeless, step >= 0))
        plan |= self._ranked(state, plan["open"], logits, task.y)
        drawn = self.threat.sample(task.x, noise.fold(task.seeds, state["k"] + 1), task.eps)
        last = ops.logical_and(place == 2 * CYCLE // 3 - 1, step >= 0)
        moved = where_rows(last, self._narrowed(task, moved, state["k"], s), moved)
        moved = where_rows(plan["step"] == 0, drawn, moved)
        offered = self.threat.project(moved, task.x, task.eps)
        ended = plan["restart"] >= self.restarts
        return {**state, **plan, "x": offered, "at": moved}, ops.logical_or(hit, ended)

    def _ranked(self, state: State, still: Tensor, logits: Tensor, y: Tensor) -> State:
        """The targets, after the last step of the PGD; what a net of few classes lacks is not open. `still`
        is what is open otherwise."""
        count = min(self.targets, logits.shape[1] - 1)
        ranked = ops.pad(wrong_classes(logits, y)[:, :count], [(0, 0), (0, self.targets - count)])
        number = ops.zeros_like(ranked) + ops.arange(self.targets, dtype="int32")[None, :]
        now = state["step"] == -1
        there = ops.cast(number < count, "int32")
        return {
            "classes": where_rows(now, ranked, state["classes"]),
            "open": where_rows(now, there, still),
        }

    def _narrowed(self, task: Task, images: Tensor, k: Tensor, s: Tensor) -> Tensor:
        """The change cut to (1 - s) eps, and noise of s eps added."""
        inner = self.threat.project(images, task.x, (1.0 - s) * task.eps)
        drawn = 2.0 * noise.uniform(noise.fold(task.seeds, k + 1), tuple(task.x.shape[1:])) - 1.0
        return ops.clip(inner + expand_like(s * task.eps, inner) * drawn, 0.0, 1.0)

    def _planned(self, state: State, close: Tensor, hopeless: Tensor) -> State:
        """What is tried next: the next step, the next target that is open, or those that came near again."""
        target, number = state["target"], ops.arange(self.targets, dtype="int32")[None, :]
        own = ops.cast(number == target[:, None], "int32")
        near = ops.maximum(state["near"], own * ops.cast(close, "int32")[:, None])
        later = state["open"] * ops.cast(number > target[:, None], "int32")
        ended = ops.logical_or(hopeless, state["step"] == CYCLE * CYCLES - 1)
        go_on = ops.max(later, axis=1) > 0
        over = ops.logical_and(ended, ops.logical_not(go_on))
        following = ops.cast(ops.argmax(where_rows(go_on, later, near), axis=1), "int32")
        again = ops.where(ops.max(near, axis=1) > 0, state["restart"] + 1, self.restarts)
        return {
            "step": ops.where(ended, 0, state["step"] + 1),
            "target": ops.where(ended, following, target),
            "restart": ops.where(over, again, state["restart"]),
            "open": where_rows(over, near, state["open"]),
            "near": where_rows(over, ops.zeros_like(near), near),
        }
