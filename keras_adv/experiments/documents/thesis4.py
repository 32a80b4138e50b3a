"""The adversary critic (Matyasko, thesis, chapter 4)."""

from __future__ import annotations

from typing import Any

from keras_adv.experiments.base import Claim, Column, Experiment, Net, Row
from keras_adv.experiments.documents.common import honest, recipe, small
from keras_adv.experiments.measures import Error, Norm, Rho
from keras_adv.experiments.plots import Examples, Sizes

MLP, LENET = "mlp(units=(1200, 1200, 1200))", "lenet(form='thesis')"
DEFENSES = {
    "No defense": "standard()",
    "AT": "adversarial_mnist_thesis4()",
    "VAT": "vat(eps=2.0)",
    "Margin": "margin(weight=0.1, threat=l2())",
}
ZOO = {
    "No defense": "standard_lenet_mnist",
    "VAT": "vat_lenet_mnist",
    "Margin": "margin_lenet_mnist",
    "Critic": "critic_lenet_mnist",
}
HIGH = "high_confidence(steps=500, max_step=0.1)"
COLUMNS = (
    Column("error", Error()),
    Column("rho, DeepFool", Rho("critic")),
    Column("rho, C&W", Rho("critic", "carlini_wagner()")),
    Column("rho, high confidence", Rho("critic", HIGH)),
    Column("DDN, l2 norm", Norm("ddn()"), own=True),
    *honest("0.1"),
)
NOTE = (
    "rho is over all test images, 0 for those that are misclassified: of DeepFool, at most 500 steps of "
    "length 0.1 in the box, of C&W, and of the thesis' own attack, whose last try counts where the "
    "confidence is not reached. The thesis has means over ten seeds; the zoo's critic and VAT have other "
    "weights than its own."
)


def _critic(weight: float, model: str) -> str:
    return f"critic_mnist(model={model}, defense=critic_mnist(weight={weight}))"


def _table(
    name: str, title: str, model: str, weight: float, paper: dict[str, tuple[float, ...]], zoo: bool
) -> Experiment:
    def net(label: str) -> Net:
        entry: Any = ZOO.get(label) if zoo else None
        if label == "Critic":
            return Net(_critic(weight, model), entry or small("critic()", model=model))
        quick = DEFENSES[label].replace("threat=l2()", "threat=l2(), candidates=3")
        return Net(recipe(DEFENSES[label], model, "mnist", 100, 100), entry or small(quick, model=model))

    return Experiment(
        f"thesis4.table1_{name}",
        f"thesis, table 4.1, {title}",
        f"The adversary critic and its baselines, MNIST, {title}",
        COLUMNS,
        tuple(Row(label, net(label), of) for label, of in paper.items()),
        claims=(
            Claim(
                "The critic's rho is above the margin's",
                ("Critic", "rho, DeepFool"),
                ("Margin", "rho, DeepFool"),
            ),
            Claim("and so by C&W", ("Critic", "rho, C&W"), ("Margin", "rho, C&W")),
            Claim(
                "and at high confidence",
                ("Critic", "rho, high confidence"),
                ("Margin", "rho, high confidence"),
            ),
            Claim("and above adversarial training's", ("Critic", "rho, DeepFool"), ("AT", "rho, DeepFool")),
            Claim("and so by DDN", ("Critic", "DDN, l2 norm"), ("Margin", "DDN, l2 norm")),
            Claim("It costs accuracy", ("Critic", "error"), ("Margin", "error")),
        ),
        plots=(Examples("carlini_wagner(confidence=3.0)"), Examples(HIGH), Sizes("carlini_wagner()")),
        note=NOTE + " Figs. 4.2 and 4.4 are the pictures.",
    )


EXPERIMENTS = (
    _table(
        "mlp",
        "MLP",
        MLP,
        0.5,
        {
            "No defense": (1.46, 0.131, 0.124, 0.173),
            "AT": (0.90, 0.228, 0.210, 0.299),
            "VAT": (0.84, 0.244, 0.215, 0.355),
            "Margin": (0.84, 0.262, 0.230, 0.453),
            "Critic": (1.18, 0.290, 0.272, 0.575),
        },
        zoo=False,
    ),
    _table(
        "lenet",
        "LeNet",
        LENET,
        0.1,
        {
            "No defense": (0.64, 0.157, 0.148, 0.207),
            "AT": (0.55, 0.215, 0.191, 0.286),
            "VAT": (0.60, 0.225, 0.195, 0.330),
            "Margin": (0.54, 0.248, 0.225, 0.470),
            "Critic": (0.93, 0.288, 0.278, 0.590),
        },
        zoo=True,
    ),
)
