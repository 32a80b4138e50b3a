"""SparseFool."""

from __future__ import annotations

from keras import ops

from keras_adv.arrays import TINY, Tensor, expand_like, flatten, l2_norm
from keras_adv.attacks.base import Passes, State
from keras_adv.attacks.contracts import MinimalAttack
from keras_adv.attacks.task import Task
from keras_adv.backend import where_rows
from keras_adv.losses import pick, predicted_class
from keras_adv.numerics.linearise import logit_differences, nearest_class
from keras_adv.registry import option, register
from keras_adv.threats import L1, L2, Threat
from keras_adv.threats.base import require_norm

BEYOND = 1e-3
"""How far beyond the hyperplane the crossing aims, in l2."""


@register("attack", "sparsefool")
class SparseFool(MinimalAttack):
    """Crosses DeepFool's boundary in few coordinates, until the class changes (Modas et al., Algorithm 2).

    DeepFool (l2) leads from x_i over the boundary by r; w is the normal there. x_{i+1} is the point of the
    box nearest to x_i on <w, . - x_i - lam r> = 0: coordinates in the order of |w|, each as far as it goes.
    The model is asked at x + (1 + overshoot) (x_i - x), clipped to the box; DeepFool starts again from there.

    Args:
        threat: l1, or l0, which then also gives the order of the coordinates; its eps, if any, is where the
            robust accuracy is reported.
        steps: crossings at most.
        overshoot: how far beyond the crossing each image is looked at.
        lam: how far along DeepFool's way the hyperplane is put; more is surer and less sparse (the authors'
            code: 3).
        inner: Jacobians of one DeepFool at most; an image that finds no boundary so is given up.

    Cost: K backward passes a round; 3 to 5 rounds a crossing. Most images need 1 to 5 crossings.
    """

    reference = "arXiv:1811.02248"
    threat: Threat = option(default=L1())
    steps: int = option(default=20, low=1)
    overshoot: float = option(default=0.02, low=0.0)
    lam: float = option(default=1.0, low=1.0)
    inner: int = option(default=50, low=1)

    def check(self) -> None:
        require_norm(self.threat, "l1", "l0")

    @property
    def rounds(self) -> int:
        return self.steps * (self.inner + 1) + 1  # one more round to look at the last crossing

    @property
    def passes_per_round(self) -> Passes:
        return {"jacobian": 1}

    def start(self, task: Task) -> State:
        none = ops.zeros_like(task.y)
        return {
            **self.no_best_yet(task),
            "point": task.x,
            "r": ops.zeros_like(task.x),
            "inner": none,
            "crossed": none,
        }

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        point, r, inner, crossed = (state[n] for n in ("point", "r", "inner", "crossed"))
        base = self._seen(task.x, point)
        now = base + (1.0 + DEEPFOOL) * r
        z, gaps, slopes = logit_differences(task.logits, now, task.y)
        fooled = task.fooled(z)
        fresh = inner == 0  # a crossing is looked at, else DeepFool is on its way
        k = ops.where(fooled, predicted_class(z), nearest_class(L2(), task.y, gaps, slopes))
        gap, w = pick(gaps, k), pick(slopes, k)
        across = ops.logical_and(fooled, ops.logical_not(fresh))
        length = ops.abs(gap) / ops.maximum(l2_norm(w), TINY) + 1e-4
        onward = r + expand_like(length, r) * L2().steepest(w)
        new = {
            "point": where_rows(across, self._cross(point, base + self.lam * r, w), point),
            "r": where_rows(across, ops.zeros_like(r), onward),
            "inner": ops.where(across, 0, inner + 1),
            "crossed": crossed + ops.cast(across, "int32"),
        }
        done = ops.logical_and(fresh, ops.logical_or(fooled, crossed >= self.steps))
        done = ops.logical_or(done, ops.logical_and(inner >= self.inner, ops.logical_not(fooled)))
        return {**new, **self.update_best(task, state, now, ops.logical_and(fooled, fresh))}, done

    def _seen(self, x: Tensor, point: Tensor) -> Tensor:
        return ops.clip(x + (1.0 + self.overshoot) * (point - x), 0.0, 1.0)

    def _cross(self, point: Tensor, boundary: Tensor, w: Tensor) -> Tensor:
        """The point of the box nearest to `point` on the plane through `boundary` with normal w, or just
        ahead."""
        w = L2().steepest(w)
        ahead = ops.maximum(ops.sum(flatten(w * (boundary - point)), axis=1), 0.0) + BEYOND
        return self.threat.project_to_plane(point, w, ops.sum(flatten(w * point), axis=1) + ahead)


DEEPFOOL = 0.02
"""DeepFool's own overshoot."""
