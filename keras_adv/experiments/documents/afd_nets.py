"""The nets of AFD's tables (ICLR 2021 submission hcCao_UYd6O)."""

from __future__ import annotations

from keras_adv.experiments.base import Net
from keras_adv.experiments.documents.common import inner, recipe, resnet_mnist

NT, AT, TRADES, AFD = "NT", "AT", "TRADES", "AFD"
PGD = "pgd(threat=linf(eps=0.3), steps=40, step_size=0.0333)"
PGD_CIFAR = "pgd(threat=linf(eps=8/255), steps=20, step_size=0.25)"
NET = "resnet18(form='afd_mnist')"
_RATE = "sgd(learning_rate=0.1, weight_decay=0.001, schedule=milestones(at=(50, 80,)))"
GAME = (
    "optimizer=adam(), judge_optimizer=adam(learning_rate=0.0005, beta_1=0.5), "
    "encoder_optimizer=adam(learning_rate=0.0005, beta_1=0.5)"
)


def _others(net: str, data: str, eps: str, epochs: int) -> dict[str, str]:
    """The paper's own training of what it compares with."""
    augment = "none" if data == "mnist" else "crop_flip"
    attack = f"pgd(threat=linf(eps={eps}), steps=40, step_size=0.0333)"
    ascent = (
        f"pgd(threat=linf(eps={eps}), loss=kl(), steps=10, step_size=0.25, random_start=False, jitter=0.001)"
    )
    made = {
        NT: f"standard(optimizer={_RATE})",
        AT: f"adversarial(attack={attack}, optimizer={_RATE})",
        TRADES: f"trades(optimizer={_RATE}, attack={ascent})",
    }
    return {label: recipe(defense, net, data, epochs, 128, augment) for label, defense in made.items()}


def afd(options: str) -> str:
    """AFD of the small budget, with options."""
    return f"afd(attack={inner('0.3')}, {options}{GAME})"


_SMALL = {
    NT: resnet_mnist("standard()", epochs=3),
    AT: resnet_mnist(f"adversarial(attack={inner('0.3')})"),
    TRADES: resnet_mnist(f"trades(weight=1.0, attack={inner('0.3', 'kl()', start=False)})"),
    AFD: resnet_mnist(afd("")),
}
MNIST: dict[str, Net] = {
    **{label: Net(made, _SMALL[label]) for label, made in _others(NET, "mnist", "0.3", 100).items()},
    AFD: Net("afd_mnist", _SMALL[AFD]),
}
_ZOO = {NT: "standard_wrn_cifar10", AT: "trades_resnet18_cifar10", TRADES: "trades_resnet18_cifar10"}
AFD_CIFAR = {
    "defense": f"afd(attack=pgd(threat=linf(eps=8/255), steps=3, step_size=0.5), {GAME})",
    "epochs": 4,
    "precision": "auto",
    "start": "trades_resnet18_cifar10",
}
CIFAR: dict[str, Net] = {
    **{
        label: Net(made, _ZOO[label])
        for label, made in _others("resnet18()", "cifar10", "0.031", 300).items()
    },
    AFD: Net("afd_cifar", AFD_CIFAR),
}
