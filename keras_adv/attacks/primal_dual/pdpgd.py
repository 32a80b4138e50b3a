"""Primal-dual proximal gradient descent, for norms with a proximal operator."""

from __future__ import annotations

from keras import ops

from keras_adv.arrays import Tensor, expand_like, flatten
from keras_adv.attacks.base import State
from keras_adv.attacks.primal_dual.base import THESIS, PrimalDual
from keras_adv.numerics.adam import adam_moments
from keras_adv.registry import option, preset, register
from keras_adv.threats import L0, Linf, Threat


@register("attack", "pdpgd")
class PDPGD(PrimalDual):
    """Adam on the surrogate of the margin, then the proximal operator of (lam1/lam2) norm (thesis, Alg. 3).

    The prox is taken in Adam's own metric H (arXiv:1910.10094), with mu = lam1/lam2 lr/h_max: for linf by its
    closed form, a cap on |z|; else by a few inner rounds z <- prox_mu(z - H/h_max (z - v)), the box after
    each.

    Args:
        threat: linf, l1, l0 or l2; its eps, if any, is where the robust accuracy is reported.
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
        optimizer: "adam" as above; "sgd": r <- prox_{lr lam1/lam2}(r - lr g); "accelerated": the same from a
            point 0.9 of the last move further on, without that momentum after a move uphill.
        inner: rounds of Adam's prox, as in the author's code; None is the closed form for linf, 5 for l2 and
            2 for the others, where more change nothing.
        l0_prox: of an l0 threat: "l0" the norm's own (thesis, eq. 5.14), "l2/3" the relaxed one of the
            author's experiments; None as the threat says.

    The defaults spend the thesis' 500 gradients as two runs of 250: one run from x often ends at a class that
    is not the nearest. The spec "pdpgd_thesis()" has the settings of the thesis (lr there: the best of 0.01
    to 1).

    Cost: steps + 1 forward-backward passes a restart, of which the last judges the last iterate, and
    finetune + 1 more.
    """

    reference = "Matyasko, thesis, ch. 5, Algorithm 3; arXiv:2106.01538"
    threat: Threat = option(default=Linf())
    lr: float = option(default=4.0, above=0.0)
    final: float = option(default=0.005, above=0.0, high=1.0)
    ratio: float = option(default=0.1, above=0.0)
    optimizer: str = option(default="adam", choices=("adam", "sgd", "accelerated"))
    inner: int | None = option(default=None, low=1)
    l0_prox: str | None = option(default=None, choices=(None, "l0", "l2/3"))

    @property
    def _norm(self) -> Threat:
        """The threat whose proximal operator is taken."""
        relaxed = self.l0_prox is not None and isinstance(self.threat, L0)
        return self.threat.replace(operator=self.l0_prox) if relaxed else self.threat

    def descend(self, x: Tensor, state: State, g: Tensor, lr: Tensor) -> State:
        if self.optimizer != "adam":
            return self._descend_plainly(x, state, g, lr)
        r, lam = state["r"], state["mean"]
        mean, root, m, square = adam_moments(state["m"], state["v"], g, state["k"])
        v = r - expand_like(lr, r) * mean / root
        largest = ops.max(flatten(root), axis=1)
        mu = lam[:, 0] / lam[:, 1] * lr / largest
        return {"r": self._prox(x, v, mu, root / expand_like(largest, r)), "m": m, "v": square}

    def _prox(self, x: Tensor, v: Tensor, mu: Tensor, metric: Tensor) -> Tensor:
        """argmin_z mu norm(z) + |z - v|^2 / 2 in a metric of at most 1; the box after it."""
        if self.inner is None and (z := self._norm.metric_prox(v, mu, metric)) is not None:
            return ops.clip(x + z, 0.0, 1.0) - x
        z = v
        for _ in range(self.inner or self._norm.metric_rounds):
            z = self._norm.prox(z - metric * (z - v), mu)
            z = ops.clip(x + z, 0.0, 1.0) - x
        return z

    def _descend_plainly(self, x: Tensor, state: State, g: Tensor, lr: Tensor) -> State:
        r, lam, before = state["r"], state["mean"], state["m"]
        z = self._norm.prox(r - expand_like(lr, r) * g, lam[:, 0] / lam[:, 1] * lr)
        z = ops.clip(x + z, 0.0, 1.0) - x
        if self.optimizer == "sgd":
            return {"r": z, "m": before, "v": state["v"]}
        # restart by the gradient scheme (O'Donoghue & Candes, arXiv:1204.3982, eq. 13)
        downhill = ops.sum(flatten((r - z) * (z - before)), axis=1) <= 0
        ahead = z + expand_like(0.9 * ops.cast(downhill, "float32"), r) * (z - before)
        return {"r": ops.clip(x + ahead, 0.0, 1.0) - x, "m": z, "v": state["v"]}


preset("pdpgd_thesis", PDPGD(**THESIS, threat=Linf(), optimizer="sgd", l0_prox="l0"))
