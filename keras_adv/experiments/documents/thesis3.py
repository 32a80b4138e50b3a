"""Margin maximisation (Matyasko, thesis, chapter 3)."""

from __future__ import annotations

from typing import Any

from keras_adv.experiments.base import Claim, Column, Experiment, Net, Row
from keras_adv.experiments.documents.common import honest, recipe, small
from keras_adv.experiments.measures import Error, Mistakes, Norm, Rho
from keras_adv.experiments.plots import Examples, Sizes

MLP = "mlp(units=(1000, 1000, 1000), initializer='glorot_uniform')"
LENET = "lenet(form='thesis', initializer='glorot_uniform')"
RATE = "optimizer=adam(learning_rate=0.001, schedule=drop(every=1, factor=0.95))"
DEFENSES = {
    "baseline": f"standard({RATE})",
    "Dropout": f"dropout({RATE})",
    "AT": "adversarial_mnist_thesis3()",
    "VAT": f"vat(eps=2.0, {RATE})",
    "l1 margin": f"margin(weight=0.01, threat=linf(), {RATE})",
    "l2 margin": f"margin(weight=0.1, threat=l2(), {RATE})",
}
ZOO = {
    "baseline": "standard_lenet_mnist",
    "Dropout": "dropout_lenet_mnist",
    "VAT": "vat_lenet_mnist",
    "l2 margin": "margin_lenet_mnist",
}
FGSM = "fgsm(threat=linf(eps={}, box=False))"
COLUMNS = (
    Column("error", Error()),
    Column("error under FGSM", Mistakes(FGSM.format(0.2))),
    Column("rho", Rho("margin")),
    Column("DDN, l2 norm", Norm("ddn()"), own=True),
    *honest("0.1"),
)
NOTE = (
    "rho: DeepFool of at most fifty steps of length 0.5, without the box, over the correctly classified "
    "images. FGSM at 0.2 is without the box too. The thesis has means over ten seeds."
)


def _net(label: str, model: str, zoo: bool) -> Net:
    """The thesis' hundred epochs, or a few."""
    quick = (
        DEFENSES[label].replace("threat=", "candidates=3, threat=") if "margin" in label else DEFENSES[label]
    )
    entry: Any = ZOO.get(label) if zoo else None
    return Net(recipe(DEFENSES[label], model, "mnist", 100, 100), entry or small(quick, model=model))


def _table(name: str, title: str, model: str, paper: dict[str, tuple[float, ...]], zoo: bool) -> Experiment:
    return Experiment(
        f"thesis3.table1_{name}",
        f"thesis, table 3.1, {title}",
        f"Margin maximisation and its baselines, MNIST, {title}",
        COLUMNS,
        tuple(Row(label, _net(label, model, zoo), of) for label, of in paper.items()),
        claims=(
            Claim("The l2 margin raises rho", ("l2 margin", "rho"), ("baseline", "rho")),
            Claim("and so by DDN", ("l2 margin", "DDN, l2 norm"), ("baseline", "DDN, l2 norm")),
            Claim(
                "The margin is more accurate than no defense", ("baseline", "error"), ("l2 margin", "error")
            ),
            Claim("AT is best under FGSM", ("l2 margin", "error under FGSM"), ("AT", "error under FGSM")),
            Claim("and less robust than the l2 margin", ("l2 margin", "rho"), ("AT", "rho")),
            Claim(
                "The l1 margin is better than the l2 margin under FGSM",
                ("l2 margin", "error under FGSM"),
                ("l1 margin", "error under FGSM"),
            ),
        ),
        plots=(Sizes("deepfool(threat=l2())"), Examples("deepfool(threat=l2())")),
        note=NOTE + " Figs. 3.6 and 3.7 are the pictures, ours in the box.",
    )


_CIFAR_RATE = "optimizer=sgd(weight_decay=0.005, schedule=milestones(at=(80, 120, 160), factor=0.2))"
_NIN = {
    "NIN, plain": ("none", f"standard({_CIFAR_RATE})", (11.30, 68.85, 0.0512)),
    "C=.01": ("none", "margin_cifar(weight=0.01)", (11.13, 55.88, 0.0683)),
    "C=.001": ("none", "margin_cifar(weight=0.001)", (10.42, 61.53, 0.0645)),
    "NIN, augmented": ("crop_flip", f"standard({_CIFAR_RATE})", (9.10, 65.98, 0.0541)),
    "C=.005, augmented": ("crop_flip", "margin_cifar(weight=0.005)", (10.02, 52.80, 0.0777)),
}


def _small_nin(defense: str, augment: str) -> dict[str, Any]:
    way = {"model": "nin()", "data": "cifar10", "epochs": 5, "normalize": "gcn_zca", "augment": augment}
    return small(defense.replace("margin_cifar(", "margin_cifar(candidates=3, "), **way)


TABLE2 = Experiment(
    "thesis3.table2",
    "thesis, table 3.2",
    "Margin maximisation on CIFAR-10, NIN",
    (
        Column("error", Error()),
        Column("error under FGSM", Mistakes(FGSM.format(0.05))),
        Column("rho", Rho("margin")),
        *honest("2/255"),
    ),
    tuple(
        Row(
            label,
            Net(
                recipe(defense, "nin()", "cifar10", 200, 128, augment, "gcn_zca"),
                _small_nin(defense, augment),
            ),
            paper,
        )
        for label, (augment, defense, paper) in _NIN.items()
    ),
    claims=(
        Claim("The margin raises rho", ("C=.005, augmented", "rho"), ("NIN, augmented", "rho")),
        Claim(
            "and lowers the error under FGSM",
            ("NIN, augmented", "error under FGSM"),
            ("C=.005, augmented", "error under FGSM"),
        ),
        Claim("Without augmentation it lowers the error", ("NIN, plain", "error"), ("C=.001", "error")),
    ),
    note="The nets whiten their images (GCN, ZCA), as the thesis' do; its eps and rho are of whitened "
    "images, ours of images in [0, 1].",
)
_WEIGHTS = (1.0, 0.1, 0.01, 0.001, 0.0001, 0.00001, 0.000001)


def _sweep(name: str, title: str, model: str) -> Experiment:
    defense = "margin(weight={}, threat=l2(), {}" + RATE + ")"
    return Experiment(
        f"thesis3.{name}",
        f"thesis, fig. {'3.4' if name == 'fig4' else '3.5'}",
        f"Error and rho over the weight C, {title}",
        (*COLUMNS[:1], *COLUMNS[2:]),
        tuple(
            Row(
                f"C={c:g}",
                Net(
                    recipe(defense.format(c, ""), model, "mnist", 100, 100),
                    small(defense.format(c, "candidates=3, "), model=model),
                ),
            )
            for c in _WEIGHTS
        ),
        claims=(
            (Claim("rho grows with C", ("C=0.1", "rho"), ("C=1e-06", "rho")),)
            if name == "fig4"
            else (
                Claim("Small C has a high rho, by masking", ("C=0.001", "rho"), ("C=0.1", "rho")),
                Claim("which DDN does not see", ("C=0.1", "DDN, l2 norm"), ("C=0.001", "DDN, l2 norm")),
            )
        ),
        note=NOTE,
    )


EXPERIMENTS = (
    _table(
        "mlp",
        "MLP",
        MLP,
        {
            "baseline": (1.42, 95.8, 0.114),
            "Dropout": (1.34, 93.4, 0.120),
            "AT": (1.19, 10.17, 0.160),
            "VAT": (0.87, 24.33, 0.269),
            "l1 margin": (0.84, 32.43, 0.273),
            "l2 margin": (0.86, 42.56, 0.259),
        },
        zoo=False,
    ),
    _table(
        "lenet",
        "LeNet",
        LENET,
        {
            "baseline": (0.72, 72.14, 0.154),
            "Dropout": (0.58, 61.66, 0.170),
            "AT": (0.73, 4.95, 0.200),
            "l1 margin": (0.64, 20.47, 0.222),
            "l2 margin": (0.62, 28.26, 0.217),
        },
        zoo=True,
    ),
    TABLE2,
    _sweep("fig4", "LeNet", LENET),
    _sweep("fig5", "MLP", MLP),
)
