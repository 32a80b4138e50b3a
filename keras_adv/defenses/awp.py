"""Adversarial weight perturbation."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from keras_adv import validate
from keras_adv.attacks import PGD, Attack
from keras_adv.backend import Net, value_and_grad
from keras_adv.defenses.adversarial import Adversarial
from keras_adv.defenses.base import Batch, Defense, Move, Nets, Phase, Tensor
from keras_adv.defenses.trades import TRADES_CIFAR
from keras_adv.optimizers import SGD, Milestones, Optimizer
from keras_adv.registry import option, register, tunable
from keras_adv.threats import L2, Linf, Threat
from keras_adv.threats.base import l2_norm

INNER = ("adversarial", "mart", "trades")


class Proxy(Net):
    """A net whose passes leave no trace: batch statistics normalise a batch, but are not kept."""

    def __call__(self, *inputs: Tensor, update: bool = False, **kwargs: Any) -> Tensor:
        return super().__call__(*inputs, update=False, **kwargs)


@register("defense", "awp")
class AWP(Defense):
    """The gradient of the inner defense's loss L, taken at w + v instead of w, with v the worst in a small ball.

        v_l = gamma |w_l| g_l / |g_l|,  g = grad_w L(w),  for every kernel l;  w <- w - rate grad L(w + v)

    Wu et al., NeurIPS 2020 (arXiv:2004.05884), with one step and one round for v, as in its experiments: x' comes
    first, at w, then v from x'; v is a constant for the gradient. Norms are over a whole kernel; biases and the scales
    of normalisation stay. As in the authors' code both passes are in training mode, so batch normalisation uses the
    statistics of the batch; the pass for v (their proxy) leaves the running statistics alone, the pass at w + v
    moves them.

    The defaults are for small images such as the digits; `AT_AWP_CIFAR` and `TRADES_AWP_CIFAR` are the paper's.

    Args:
        gamma: size of v relative to w; paper: 0.005 (its code: 0.01 with adversarial training).
        inner: adversarial(...), trades(...) or mart(...); its optimizer is the one used.
        warmup: epochs of the inner defense alone; the authors' code: 10 with TRADES, else 0.

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

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        batch = self.inner.prepare(nets, x, y, seed)
        # no move has begun: dropout's stream still stands where the last step left it
        nets["net"].set_clock(seed)
        shifts = self._worst(nets, {"x": x, "y": y, **batch})
        return {**batch, **{f"shift_{number}": v for number, v in enumerate(shifts)}}

    def _worst(self, nets: Nets, batch: Batch) -> list[Tensor]:
        """v of every kernel, in the order of the trainable weights."""
        net = nets["net"].frozen
        (move,) = self.inner.moves()

        def total(values: list[Tensor]) -> tuple[Tensor, None]:
            terms = move.loss({**nets, "net": Proxy(net.model, given=values)}, batch)
            return sum(terms[name] for name in move.terms), None

        values = net.values
        _, _, slopes = value_and_grad(total, values)
        pairs = [(w, g) for w, g in zip(values, slopes, strict=True) if len(w.shape) > 1]
        # as a batch of one: the direction of a tiny gradient does not vanish when squared
        return [self.gamma * l2_norm(w[None]) * L2().steepest(g[None])[0] for w, g in pairs]

    def passes(self, classes: int) -> dict[str, int]:
        passes = self.inner.passes(classes)
        return {**passes, "net.weights": 2 * passes["net.weights"]}

    def phases(self, epochs: int) -> tuple[Phase, ...]:
        first = (Phase(min(self.warmup, epochs), self.inner.moves()),) if self.warmup else ()
        return (*first, Phase(epochs, self.moves())) if epochs > self.warmup else first

    def moves(self) -> tuple[Move, ...]:
        return tuple(move._replace(loss=self._loss) for move in self.inner.moves())

    def _loss(self, nets: Nets, batch: Batch) -> dict[str, Tensor]:
        net, (move,) = nets["net"], self.inner.moves()
        values = list(net.values)
        kernels = [place for place, w in enumerate(values) if len(w.shape) > 1]
        for number, place in enumerate(kernels):
            values[place] = values[place] + batch[f"shift_{number}"]
        return move.loss({**nets, "net": net.at(values)}, batch)

    def adaptive_attack(self, threat: Threat | str, eot: int = 1) -> Attack:
        return self.inner.adaptive_attack(threat, eot)


AT_AWP_CIFAR = AWP(
    gamma=0.01,
    inner=Adversarial(
        attack=PGD(threat=Linf(eps=8 / 255), steps=10, step_size=0.25),
        optimizer=SGD(
            learning_rate=0.1,
            momentum=0.9,
            weight_decay=5e-3,  # theirs is 5e-4 inside the gradient, which momentum 0.9 sums up to ten times that
            schedule=Milestones(at=(100, 150), factor=0.1),
        ),
    ),
)
"""The authors' setting of AT-AWP on CIFAR-10: PreAct ResNet-18, 200 epochs, batch 128, augment="crop_flip"."""

TRADES_AWP_CIFAR = AWP(
    gamma=0.005,
    inner=TRADES_CIFAR.replace(
        attack=TRADES_CIFAR.attack.replace(threat=Linf(eps=8 / 255), step_size=0.25),
        optimizer=AT_AWP_CIFAR.optimizer,
    ),
    warmup=10,
)
"""The same of TRADES-AWP: WRN-34-10, 200 epochs. Both from memory of the authors' code, not checked against it."""
