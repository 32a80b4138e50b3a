"""Adversarial Feature Desensitization (ICLR 2021 submission hcCao_UYd6O): its features."""

from __future__ import annotations

from keras_adv.experiments.base import Claim, Column, Experiment
from keras_adv.experiments.documents.afd_nets import (
    AFD,
    AT,
    MNIST,
    NT,
    PGD,
    SETS,
    SMALL,
    TRADES,
)
from keras_adv.experiments.documents.common import rows
from keras_adv.experiments.geometry import Angle, Bound, Geometry
from keras_adv.experiments.measures import Reached
from keras_adv.experiments.plots import Examples, Features


def _table_a5(name: str, paper: dict[str, tuple[float, ...]]) -> Experiment:
    title, nets, pgd, _ = SETS[name]
    return Experiment(
        f"afd.table_a5_{name}",
        f"AFD, table A5, {title}",
        f"Units that are ever above zero, and dimensions of 99% of the variance, {title}",
        (
            Column("units", Geometry("active_units", pgd, clean=True)),
            Column("dimensions", Geometry("pca_dimensions", pgd, clean=True)),
        ),
        rows(nets, paper),
        claims=(Claim("AFD's features have fewer dimensions", (AT, "dimensions"), (AFD, "dimensions")),),
        note=SMALL,
    )


TABLE_A7 = Experiment(
    "afd.table_a7",
    "AFD, table A7, MNIST",
    "Angles, in radians, between what attacks do to the features and what PGD does",
    tuple(
        Column(name, Angle(PGD, attack))
        for name, attack in (
            ("FGSM", "fgsm(threat=linf(eps=0.3))"),
            ("PGD, l2", "pgd(threat=l2(eps=5), steps=50, step_size=0.025)"),
            ("MIM", "mim(threat=linf(eps=0.3), steps=40)"),
            ("DDN", "ddn(steps=100)"),
            ("DeepFool", "deepfool(threat=linf(), steps=50)"),
            ("C&W", "carlini_wagner(steps=100, lr=0.05)"),
        )
    ),
    rows(MNIST, {}),
    claims=tuple(
        Claim(f"{one} is less aligned with PGD than DDN", (AFD, one), (AFD, "DDN"))
        for one in ("DeepFool", "C&W")
    ),
    note="The paper's figures are not in the text of the document.",
    images=1000,
)
FIG4 = Experiment(
    "afd.fig4",
    "AFD, fig. 4, MNIST",
    "Sensitivity of the features, and the gradient landscape",
    (Column("sensitivity", Geometry("sensitivity", PGD)), Column("bound of 6.4", Bound(PGD), own=True)),
    rows(MNIST, {}),
    claims=tuple(
        Claim(
            f"AFD's features are less sensitive than those of {one}",
            (one, "sensitivity"),
            (AFD, "sensitivity"),
        )
        for one in (NT, AT, TRADES)
    ),
    plots=tuple(Features("stability", PGD, label) for label in (NT, AFD))
    + tuple(Features("map", PGD, label) for label in (NT, AFD)),
    note="The bound of section 6.4 on the robust error says nothing above 1. Figs. A8 to A10 are the maps.",
    images=1000,
)
FIG_A7 = Experiment(
    "afd.fig_a7",
    "AFD, fig. A7, MNIST",
    "What images become on the way to another class: features made visible",
    (Column("reach the class, %", Reached("pgd(threat=l2(eps=10), steps=100)", "random"), own=True),),
    rows({label: MNIST[label] for label in (NT, AT, AFD)}, {}),
    plots=(Examples("pgd(threat=l2(eps=10), steps=100)", targets="random"),),
    note="The paper's other column, towards the class itself, is not drawn.",
    images=100,
)
EXPERIMENTS = (
    _table_a5("mnist", {NT: (64, 24), AT: (64, 43), TRADES: (64, 40), AFD: (18, 6)}),
    _table_a5("cifar10", {NT: (512, 97), AT: (512, 455), TRADES: (512, 349), AFD: (417, 9)}),
    _table_a5("cifar100", {NT: (512, 429), AT: (512, 481), TRADES: (512, 461), AFD: (500, 76)}),
    TABLE_A7,
    FIG4,
    FIG_A7,
)
