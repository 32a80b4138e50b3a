"""The nets of MAT's tables (ICLR 2021 submission mOO-LfEVZK)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_adv.experiments.base import Net
from keras_adv.experiments.documents.common import inner, small, small_cifar, standard

NONE, BIBO, SO, BOTH = "MAT, none", "MAT, BIBO", "MAT, SO", "MAT, SO and BIBO"
WEIGHTS = {NONE: (0.0, 0.0), BIBO: (0.0, 1.0), SO: (1.0, 0.0), BOTH: (1.0, 1.0)}
PGD_MNIST = "pgd(threat=linf(eps=0.3), steps=40, step_size=0.0333, loss=softmax_cross_entropy())"
PGD_CIFAR = "pgd(threat=linf(eps=0.031), steps=20, step_size=0.1, loss=softmax_cross_entropy())"


def _mat(preset: str, beta: float, smalls: Mapping[str, Any]) -> dict[str, Net]:
    """The four ablations."""
    return {
        label: Net(f"{preset}(defense={preset}(alpha={a}, beta={b * beta}))", smalls[label])
        for label, (a, b) in WEIGHTS.items()
    }


def _small(label: str) -> dict[str, Any]:
    """An ablation on LeNet."""
    a, b = WEIGHTS[label]
    attack = inner("0.2", "cosine_distance()", start=False)
    return small(f"mat(alpha={a}, beta={b}, attack={attack}, optimizer=adam(learning_rate=0.001))")


def _small_cifar(label: str) -> dict[str, Any]:
    a, b = WEIGHTS[label]
    attack = "pgd(threat=linf(eps=8/255), loss=cosine_distance(), steps=3, step_size=0.5)"
    return small_cifar(f"mat(alpha={a}, beta={6 * b}, attack={attack}, {{}})")


def _others(preset: str, names: tuple[Any, ...], net: str, data: str, eps: str) -> dict[str, Net]:
    """Natural, adversarial and TRADES training."""
    natural, adversarial, trades = names
    steps = "steps=40, step_size=0.0333" if data == "mnist" else "steps=10, step_size=0.25"
    attack = f"pgd(threat=linf(eps={eps}), {steps})"
    rate = "sgd(learning_rate=0.01, schedule=milestones(at=(54, 74, 89,)))"
    return {
        "Natural": standard(net, data, natural, 100, "none" if data == "mnist" else "crop_flip"),
        "AT": Net(
            f"{preset}(model={net}, defense=adversarial(attack={attack}, optimizer={rate}))", adversarial
        ),
        "TRADES": Net(f"{preset}(model={net})", trades),
    }


_ZOO = ("standard_lenet_mnist", "adversarial_lenet_mnist", "trades_lenet_mnist")
_AT_CIFAR = small_cifar("adversarial(attack=pgd(threat=linf(eps=8/255), steps=3, step_size=0.5), {})")
_ZOO_CIFAR = ("standard_wrn_cifar10", _AT_CIFAR, "trades_wrn_cifar10")
MNIST = {
    **_others("trades_mnist", _ZOO, "vgg()", "mnist", "0.3"),
    **_mat("mat_mnist", 1.0, {**{k: _small(k) for k in WEIGHTS}, BOTH: "mat_lenet_mnist"}),
}
CIFAR = {
    **_others("trades_cifar", _ZOO_CIFAR, "wrn(depth=34, width=10)", "cifar10", "0.031"),
    **_mat("mat_cifar", 6.0, {k: _small_cifar(k) for k in WEIGHTS}),
}


def only(nets: Mapping[str, Net], *labels: str) -> dict[str, Net]:
    """Some of the nets."""
    return {label: nets[label] for label in labels}
