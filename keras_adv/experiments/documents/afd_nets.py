"""The nets of AFD's tables (ICLR 2021 submission hcCao_UYd6O)."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras_adv.experiments.base import Net
from keras_adv.experiments.documents.common import inner, recipe, resnet_mnist, small_cifar

NT, AT, TRADES, AFD = "NT", "AT", "TRADES", "AFD"
PGD = "pgd(threat=linf(eps=0.3), steps=40, step_size=0.0333)"
PGD_CIFAR = "pgd(threat=linf(eps=8/255), steps=20, step_size=0.25)"
NET = "resnet18(form='afd_mnist')"
GAME = (
    "optimizer=adam(), judge_optimizer=adam(learning_rate=0.0005, beta_1=0.5), "
    "encoder_optimizer=adam(learning_rate=0.0005, beta_1=0.5)"
)


def _others(net: str, data: str) -> dict[str, str]:
    """The paper's own training of what it compares with; TRADES by its authors' code."""
    mnist = data == "mnist"
    epochs, at, preset = (100, (50, 80), "trades_mnist") if mnist else (300, (150, 250), "trades_cifar")
    rate = f"sgd(learning_rate=0.1, weight_decay=0.001, schedule=milestones(at={at}))"
    attack = PGD if mnist else PGD_CIFAR.replace("8/255", "0.031")
    made = {NT: f"standard(optimizer={rate})", AT: f"adversarial(attack={attack}, optimizer={rate})"}
    augment = "none" if mnist else "crop_flip"
    recipes = {label: recipe(defense, net, data, epochs, 128, augment) for label, defense in made.items()}
    return {**recipes, TRADES: f"{preset}(model={net}, data={data!r})"}


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
    **{label: Net(made, _SMALL[label]) for label, made in _others(NET, "mnist").items()},
    AFD: Net("afd_mnist", _SMALL[AFD]),
}
_ZOO = {NT: "standard_wrn_cifar10", AT: "trades_resnet18_cifar10", TRADES: "trades_resnet18_cifar10"}
AFD_CIFAR: dict[str, Any] = {
    "defense": f"afd(attack=pgd(threat=linf(eps=8/255), steps=3, step_size=0.5), {GAME})",
    "epochs": 4,
    "precision": "auto",
    "start": "trades_resnet18_cifar10",
}
CIFAR: dict[str, Net] = {
    **{label: Net(made, _ZOO[label]) for label, made in _others("resnet18()", "cifar10").items()},
    AFD: Net("afd_cifar", AFD_CIFAR),
}
_QUICK = {
    NT: "standard({})",
    AT: "adversarial(attack=pgd(threat=linf(eps=8/255), steps=3, step_size=0.5), {})",
    TRADES: "trades(weight=6.0, attack=pgd(threat=linf(eps=8/255), loss=kl(), steps=3, step_size=0.5), {})",
}
CIFAR100: dict[str, Net] = {
    **{
        label: Net(made, small_cifar(_QUICK[label], data="cifar100"))
        for label, made in _others("resnet18()", "cifar100").items()
    },
    AFD: Net("afd_cifar(data='cifar100')", small_cifar(AFD_CIFAR["defense"], "cifar100")),
}


class Set(NamedTuple):
    """A data set: its name, its nets, and the attack that AFD is trained by."""

    title: str
    nets: dict[str, Net]
    pgd: str
    eps: str


SETS = {
    "mnist": Set("MNIST", MNIST, PGD, "0.3"),
    "cifar10": Set("CIFAR-10", CIFAR, PGD_CIFAR, "8/255"),
    "cifar100": Set("CIFAR-100", CIFAR100, PGD_CIFAR, "8/255"),
}
SMALL = (
    "Small budget: five epochs; on CIFAR-10 the zoo's nets, of which TRADES' stands for AT too and is "
    "what AFD starts from."
)
