"""Auto-PGD: projected gradient ascent that chooses its own step size."""

from __future__ import annotations

from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor, zeros_per_image
from keras_adv.attacks.apgd.momentum import MomentumSteps
from keras_adv.attacks.apgd.sparse import SparseSteps
from keras_adv.attacks.ascent import ObjectiveAscent
from keras_adv.attacks.base import Passes, State
from keras_adv.attacks.objectives import DLR
from keras_adv.attacks.task import Task
from keras_adv.backend import where_rows
from keras_adv.losses import wrong_classes
from keras_adv.numerics.linearise import near_classes
from keras_adv.numerics.rows import update_rows
from keras_adv.registry import option, preset, register
from keras_adv.threats.base import require_norm
from keras_adv.validate import invalid

STEPS_BY_NORM: dict[str, type[MomentumSteps] | type[SparseSteps]] = {
    "linf": MomentumSteps,
    "l2": MomentumSteps,
    "l1": SparseSteps,
}

CANDIDATES = 100
"""The likeliest wrong classes, which ranking="malt" puts in order."""


@register("attack", "apgd")
class APGD(ObjectiveAscent):
    """Ascent with momentum, a step that is halved when progress stalls, and returns to the best point.

    z = P(x_k + a ascent(g_k)), x_{k+1} = P(x_k + 3/4 (z - x_k) + 1/4 (x_k - x_{k-1})), a = 2 eps at first
    (Croce & Hein, arXiv:2003.01690, Algorithm 1). For l1: sparse steps whose sparsity follows that of the
    best point, and radii 3 eps, 2 eps, eps in turn (arXiv:2103.01208, Algorithm 1).

    Args:
        threat: linf, l2 or l1, with an eps.
        steps: gradient steps of one run.
        restarts: runs from random starts; an image counts as robust if it survives all.
        loss: the objective that is ascended, as in `pgd`; dlr() is scale-free.
        targets: 0, or that many wrong classes, each reached for in runs of its own (with fewer classes it
            goes around again); an image is broken by any mistake.
        ranking: which targets come first: "logits", the most likely; "malt", of the 100 most likely those
            with the nearest boundary if the net were linear, by |z_j - z_y| / dual norm of its gradient
            (MALT, arXiv:2407.02240; the preset `malt` is its attack).
        rho: the step is halved when less than this share of a stretch's steps raised the loss.
        eot: draws of a random net that each gradient is the mean of.

    Cost: (steps + 1) x eot forward-backward passes a run, restarts x max(targets, 1) runs; fewer for images
    that are fooled on the way. "malt" takes a Jacobian of at most 101 classes besides.
    """

    reference = "arXiv:2003.01690, arXiv:2103.01208, arXiv:2407.02240"
    steps: int = option(default=100, low=1)
    restarts: int = option(default=1, low=1)
    targets: int = option(default=0, low=0)
    ranking: str = option(default="logits", choices=("logits", "malt"))
    rho: float = option(default=0.75, low=0.0, high=1.0)
    eot: int = option(default=1, low=1)

    def check(self) -> None:
        super().check()
        require_norm(self.threat, *STEPS_BY_NORM)
        if self.targets and not self.loss.targetable:
            raise invalid("loss", "one with a targeted form when there are targets", self.loss)
        if self._by_slopes and not self.targets:
            raise invalid("ranking", "'logits' where there are no `targets`", self.ranking)

    @property
    def _by_slopes(self) -> bool:
        return self.ranking == "malt"

    @property
    def rounds(self) -> int:
        return (self.steps + 1) * self.restarts * max(1, self.targets)

    @property
    def min_classes(self) -> int:
        least = super().min_classes
        return least + (least > 2 and self.targets > 0)

    @property
    def passes_at_start(self) -> Passes:
        forward = super().passes_at_start["forward"] + (self.targets > 0)
        return {"forward": forward, **({"jacobian": 1} if self._by_slopes else {})}

    def start_cost(self, classes: int) -> int:
        return super().start_cost(min(classes, CANDIDATES + 1))

    def start(self, task: Task) -> State:
        walk, state = STEPS_BY_NORM[self.threat.name], self.reference_state(task)
        if self.targets and task.target is None:
            state["order"] = self._ranked(task)
        state["x"] = walk.first_point(self, task, task.seeds)
        zero = zeros_per_image(task.x)
        memory = {"best": task.x, "best_g": ops.zeros_like(task.x), "best_f": zero, "last": zero}
        return {**state, **memory, **walk.memory(task)}

    def _ranked(self, task: Task) -> Tensor:
        """(B, R) wrong classes, the first target first."""
        if self._by_slopes:
            return near_classes(self.threat, task.logits, task.x, task.y, CANDIDATES)
        return wrong_classes(task.logits(task.x), task.y)

    def _aim(self, task: Task, state: State) -> Task:
        """The task with the class that this run reaches for."""
        if "order" not in state:
            return task
        run = state["k"] // ((self.steps + 1) * self.restarts)
        at = ops.expand_dims(run % state["order"].shape[1], 1)
        return task.with_goal(target=ops.take_along_axis(state["order"], at, axis=1)[:, 0])

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        walk = STEPS_BY_NORM[self.threat.name]
        f, z, g = self.objective_and_gradient(self._aim(task, state), state)
        k = state["k"] % (self.steps + 1)
        first = ops.logical_or(k == 0, walk.starts_stage(self, k))
        higher = ops.logical_or(first, f > state["best_f"])
        seen = {**state, "rose": ops.logical_and(ops.logical_not(first), f > state["last"])}
        for name, value in (("best", state["x"]), ("best_g", g), ("best_f", f)):
            seen[name] = where_rows(higher, value, state[name])
        new = walk.step(self, task, {**seen, "k": k, "last": f, "g": g, "first": first})
        if self.restarts * max(1, self.targets) > 1:
            seeds = noise.fold(task.seeds, state["k"])
            new["x"] = update_rows(k == self.steps, lambda: walk.first_point(self, task, seeds), new["x"])
        inside = walk.in_last_stage(self, k)
        kept = {**state, **{n: seen[n] for n in ("best", "best_g", "best_f")}, "last": f}
        return {**kept, **new}, ops.logical_and(inside, task.fooled(z))


preset(
    "malt",
    APGD(loss=DLR(), targets=9, ranking="malt"),
    "Melamed et al., arXiv:2407.02240: targeted APGD alone, at most 9 x 101 passes and a Jacobian; give it "
    "your threat",
)
