"""Primal-dual gradient descent, for differentiable norms."""

from __future__ import annotations

from keras import ops

from keras_adv.arrays import TINY, Tensor, expand_like, l2_norm
from keras_adv.attacks.base import State
from keras_adv.attacks.primal_dual.base import THESIS, PrimalDual
from keras_adv.numerics.adam import adam_moments
from keras_adv.registry import preset, register
from keras_adv.threats.base import require_norm


@register("attack", "pdgd")
class PDGD(PrimalDual):
    """Adam on lam1 |r|_2 + lam2 surrogate(margin), duals by multiplicative ascent (thesis, Alg. 2).

    Args:
        threat: l2; its eps, if any, is where the robust accuracy is reported.
        steps: gradient steps of one restart.
        lr: of Adam, for the perturbation.
        final: share of lr that is left at the end of a run.
        dual_lr: of the duals in the log domain.
        dual_final: share of dual_lr that is left at the end of a run, to which it falls linearly (thesis: 1).
        ratio: lam1 / lam2 at the start.
        surrogate: "softplus" (journal version) or "hinge" (thesis) of the margin.
        restarts: runs; all but the first from a random start around x.
        random_start: the first run too.
        spread: half width s of the random starts U(-s, s) (thesis: 0.5 on MNIST, 0.25 on CIFAR-10).
        decay: of lr, "exponential" (journal version) or "linear" (thesis).
        finetune: steps of a last run from the best point, with its duals and a tenth of the last rates.

    The defaults spend the thesis' 500 gradients as two runs of 250: one run from x often ends at a class that
    is not the nearest. The spec "pdgd_thesis()" has the settings of the thesis (lr there: the best of 0.01 to
    1).

    Cost: steps + 1 forward-backward passes a restart, of which the last judges the last iterate, and
    finetune + 1 more.
    """

    reference = "Matyasko, thesis, ch. 5, Algorithm 2; arXiv:2106.01538"

    def check(self) -> None:
        require_norm(self.threat, "l2")

    def descend(self, x: Tensor, state: State, g: Tensor, lr: Tensor) -> State:
        r, lam = state["r"], state["mean"]
        pull = r / expand_like(ops.maximum(l2_norm(r), TINY), r)
        slope = expand_like(lam[:, 0], r) * pull + expand_like(lam[:, 1], r) * g
        mean, root, m, v = adam_moments(state["m"], state["v"], slope, state["k"])
        return {"r": ops.clip(x + r - expand_like(lr, r) * mean / root, 0.0, 1.0) - x, "m": m, "v": v}


preset("pdgd_thesis", PDGD(**THESIS))
