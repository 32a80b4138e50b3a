"""Adversarial weight perturbation."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from keras_adv import registry, validate
from keras_adv.arrays import Tensor, l2_norm
from keras_adv.attacks import PGD
from keras_adv.attacks.objectives import Objective
from keras_adv.backend import device_mean, value_and_grad
from keras_adv.defenses.adversarial import Adversarial
from keras_adv.defenses.base import Batch, CollapseGuard, Defense, Move, Nets, Phase
from keras_adv.defenses.trades import Trades
from keras_adv.optimizers import SGD, Milestones, Optimizer
from keras_adv.registry import option, preset, register, tunable
from keras_adv.threats import L2, Linf

INNER = ("adversarial", "mart", "trades")


@register("defense", "awp")
class AWP(Defense):
    """The gradient of the inner defense's loss L, taken at w + v instead of w, with v the worst in a small
    ball.

        v_l = gamma |w_l| g_l / |g_l|,  g = grad_w L(w),  for every kernel l;  w <- w - rate grad L(w + v)

    Wu et al., NeurIPS 2020 (arXiv:2004.05884), with one step and one round for v, as in its experiments: x'
    comes first, at w, then v from x'; v is a constant for the gradient. Norms are over a whole kernel; biases
    and the scales of normalisation stay. As in the authors' code both passes are in training mode, so batch
    normalisation uses the statistics of the batch; the pass for v (their proxy) leaves the running statistics
    alone, the pass at w + v moves them. Weights of images count in L, not in the search for v.

    The defaults are for small images such as the digits; the presets awp_cifar_adversarial and
    awp_cifar_trades are the paper's.

    Args:
        gamma: size of v relative to w; paper: 0.005 (its code: 0.01 with adversarial training).
        inner: adversarial(...), trades(...) or mart(...); its optimizer is the one used.
        warmup: epochs of the inner defense alone; the authors' code: 9 with TRADES, else 0.

    Cost a step: the inner defense's, with its training passes twice.
    """

    reference = "arXiv:2004.05884"
    reported = MappingProxyType(
        {"CIFAR-10 WRN-34-10, TRADES-AWP, linf 0.031: clean / AutoAttack": "85.36% / 56.17%"}
    )
    gamma: float = tunable(default=0.005, lowest=1e-3, highest=2e-2, log=True)
    inner: Defense = option(default=Adversarial(attack=PGD(threat=Linf(eps=0.1), steps=5)))
    warmup: int = option(default=0, low=0)

    def check(self) -> None:
        validate.one_of("inner", self.inner.name, INNER)

    @property
    def optimizer(self) -> Optimizer:  # type: ignore[override]
        """That of the inner defense."""
        return self.inner.optimizer

    @property
    def statistics_passes(self) -> int:
        return self.inner.statistics_passes

    def objectives(self) -> tuple[Objective, ...]:
        return self.inner.objectives()

    def collapse_guard(self) -> CollapseGuard | None:
        return self.inner.collapse_guard()

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        batch = self.inner.prepare(nets, x, y, seed)
        # no move has begun: dropout's stream still stands where the last step left it
        nets["net"].set_stream_position(seed)
        shifts = self._worst_shifts(nets, {"x": x, "y": y, **batch})
        return {**batch, **{f"shift_{number}": v for number, v in enumerate(shifts)}}

    def _worst_shifts(self, nets: Nets, batch: Batch) -> list[Tensor]:
        """v of every kernel, in the order of the trainable weights."""
        net = nets["net"].untracked
        (move,) = self.inner.moves()

        def loss(values: list[Tensor]) -> tuple[Tensor, None]:
            terms = move.loss({**nets, "net": net.with_values(values)}, batch)
            return sum(terms[name] for name in move.terms), None

        values = net.frozen.values
        _, _, slopes = value_and_grad(loss, values)
        kernels = [place for place, w in enumerate(values) if len(w.shape) > 1]
        means = device_mean([slopes[place] for place in kernels])
        pairs = zip([values[place] for place in kernels], means, strict=True)
        # as a batch of one: the direction of a tiny gradient does not vanish when squared
        return [self.gamma * l2_norm(w[None]) * L2().steepest(g[None])[0] for w, g in pairs]

    def passes(self, classes: int) -> dict[str, int]:
        passes = self.inner.passes(classes)
        return {**passes, "net.weights": 2 * passes["net.weights"]}

    def phases(self, epochs: int) -> tuple[Phase, ...]:
        warm = Phase(min(self.warmup, epochs), self.inner.moves(), self.inner.passes)
        first = (warm,) if self.warmup else ()
        return (*first, Phase(epochs, self.moves())) if epochs > self.warmup else first

    def moves(self) -> tuple[Move, ...]:
        return tuple(move._replace(loss=self._loss) for move in self.inner.moves())

    def _loss(self, nets: Nets, batch: Batch) -> dict[str, Tensor]:
        net, (move,) = nets["net"], self.inner.moves()
        values = list(net.values)
        kernels = [place for place, w in enumerate(values) if len(w.shape) > 1]
        for number, place in enumerate(kernels):
            values[place] = values[place] + batch[f"shift_{number}"]
        return move.loss({**nets, "net": net.with_values(values)}, batch)


_SGD = SGD(
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=5e-3,  # theirs is 5e-4 inside the gradient, which momentum 0.9 sums up to ten times that
    schedule=Milestones(at=(100, 150), factor=0.1),
)
_SETTING: dict[str, Any] = {"data": "cifar10", "epochs": 200, "batch_size": 128, "augment": "crop_flip"}

preset(
    "awp_cifar_adversarial",
    AWP(
        gamma=0.01,
        inner=Adversarial(attack=PGD(threat=Linf(eps=8 / 255), steps=10, step_size=0.25), optimizer=_SGD),
    ),
    "The authors' AT-AWP, from memory of their code, not checked against it; theirs is a PreAct ResNet-18.",
    model="resnet18()",
    **_SETTING,
)
_TRADES: Trades = registry.parse("defense", "trades_cifar")
preset(
    "awp_cifar_trades",
    AWP(
        gamma=0.005,
        inner=_TRADES.replace(
            attack=_TRADES.attack.replace(threat=Linf(eps=8 / 255), step_size=0.25),
            # its script counts epochs from 1
            optimizer=_SGD.replace(schedule=Milestones(at=(99, 149), factor=0.1)),
        ),
        warmup=9,
    ),
    """The authors' TRADES-AWP. Their weight decay sees w + v, here w; their statistics also move by the
    passes of x' and of v.""",
    model="wrn(depth=34, width=10)",
    **_SETTING,
)
