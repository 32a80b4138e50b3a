"""Adversarial Feature Desensitization (ICLR 2021 submission hcCao_UYd6O): robustness."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from keras_adv.experiments.base import STAGES, Claim, Column, Experiment, Net, Row
from keras_adv.experiments.documents.afd_nets import (
    AFD,
    AFD_CIFAR,
    AT,
    CIFAR,
    GAME,
    MNIST,
    NT,
    PGD,
    PGD_CIFAR,
    TRADES,
    afd,
)
from keras_adv.experiments.documents.common import CLEAN, honest, resnet_mnist, rows
from keras_adv.experiments.measures import Accuracy, Area, Logged, Measure, Transferred
from keras_adv.experiments.plots import OverEps

EPS = (0.1, 0.3, 0.35, 0.4, 0.45, 0.5)


def _table1(
    name: str, title: str, nets: Mapping[str, Net], pgd: str, eps: str, paper: dict[str, tuple[float, ...]]
) -> Experiment:
    fgsm = f"fgsm(threat=linf(eps={eps}))"
    own = f"adaptive, linf {eps}"
    return Experiment(
        f"afd.table1_{name}",
        f"AFD, table 1, {title}",
        f"AFD, adversarial training and TRADES, {title}",
        (
            CLEAN,
            Column("PGD", Accuracy(pgd)),
            Column("FGSM", Accuracy(fgsm)),
            Column("PGD made on NT", Transferred(pgd, NT)),
            Column("FGSM made on NT", Transferred(fgsm, NT)),
            *honest(eps),
        ),
        rows(nets, paper),
        claims=(
            Claim("AFD withstands PGD better than adversarial training", (AFD, "PGD"), (AT, "PGD")),
            Claim("and the attack that knows it", (AFD, own), (AT, own)),
            Claim(
                "Images made on another net are weaker than its own: no masking",
                (AFD, "PGD made on NT"),
                (AFD, "PGD"),
            ),
        ),
        note="The paper's deviations over three seeds are .4 (MNIST) and 10.8 (CIFAR-10) for AFD under PGD.",
    )


_CURVES: dict[str, tuple[str, tuple[float, ...]]] = {
    "PGD, linf": (PGD, EPS),
    "PGD, l2": ("pgd(threat=l2(eps=10), steps=50, step_size=0.025)", (2.0, 5.0, 10.0)),
    "PGD, l1": ("pgd(threat=l1(eps=200, dense=True), steps=50, step_size=0.025)", (10.0, 50.0, 100.0, 200.0)),
    "FGSM": ("fgsm(threat=linf(eps=0.5))", EPS),
    "MIM": ("mim(threat=linf(eps=1.0), steps=40)", (0.1, 0.3, 0.5, 0.8, 1.0)),
    "DDN": ("ddn(threat=l2(eps=5), steps=100)", (1.0, 2.0, 5.0)),
    "DeepFool": ("deepfool(threat=linf(eps=0.5), steps=50)", EPS),
    "C&W": ("carlini_wagner(threat=l2(eps=2), searches=5, steps=100, lr=0.05)", (0.5, 1.0, 1.5, 2.0)),
}
TABLE2 = Experiment(
    "afd.table2_mnist",
    "AFD, table 2, MNIST",
    "Area under accuracy over eps",
    tuple(Column(name, Area(attack, eps)) for name, (attack, eps) in _CURVES.items()),
    rows(
        MNIST,
        {
            NT: (0.16, 0.12, 0.14, 0.29, 0.16, 0.18, 0.23, 0.75),
            AT: (0.67, 0.50, 0.44, 0.76, 0.84, 0.72, 0.74, 0.96),
            TRADES: (0.62, 0.47, 0.41, 0.72, 0.80, 0.77, 0.73, 0.96),
            AFD: (0.83, 0.84, 0.70, 0.84, 0.84, 0.85, 0.83, 0.96),
        },
    ),
    claims=(
        Claim("AFD's area under PGD is the largest", (AFD, "PGD, linf"), (AT, "PGD, linf")),
        Claim("and so under DDN, which follows the boundary", (AFD, "DDN"), (AT, "DDN")),
    ),
    plots=(OverEps(PGD, EPS), OverEps(*_CURVES["PGD, l2"])),
    note="Figs. 2, A1 are the curves. l1 PGD is Foolbox's dense step, weaker than the sparse one.",
)
_ONE: dict[str, Measure] = {
    "AutoAttack": Accuracy("autoattack(threat=linf(eps=0.3))"),
    "Boundary": Accuracy("boundary(threat=l2(eps=2), steps=5000)"),
    "B&B": Accuracy("brendel_bethge(threat=linf(eps=0.3))"),
}
TABLE_A3 = Experiment(
    "afd.table_a3",
    "AFD, table A3, MNIST",
    "AutoAttack, Boundary and Brendel-Bethge on 100 random images",
    tuple(Column(name, measure) for name, measure in _ONE.items()),
    rows(MNIST, {NT: (0, 25, 3), AT: (88, 63, 92), TRADES: (2, 48, 17), AFD: (92, 78, 96)}),
    claims=(
        Claim(
            "AFD withstands AutoAttack better than adversarial training",
            (AFD, "AutoAttack"),
            (AT, "AutoAttack"),
        ),
    ),
    note="eps 0.3 in linf and 2 in l2; a minimal attack counts where its norm is within.",
    images=100,
    sample=0,
)
TABLE_A4 = Experiment(
    "afd.table_a4",
    "AFD, table A4, MNIST",
    "Images made on the nets of adversarial training and of TRADES",
    (Column("made on AT", Transferred(PGD, AT)), Column("made on TRADES", Transferred(PGD, TRADES))),
    rows(MNIST, {NT: (73.46, 62.09), AT: (97.11, 97.23), TRADES: (93.58, None), AFD: (97.48, 97.63)}),
    claims=(Claim("AFD withstands the images of AT", (AFD, "made on AT"), (NT, "made on AT")),),
)
_FORMS = {"FC1-PD": "form='fc1_pd', ", "FC3": "form='fc3', ", "FC3-PD": ""}
TABLE_A6 = Experiment(
    "afd.table_a6",
    "AFD, table A6, MNIST",
    "Forms of the discriminator",
    (Column("PGD", Accuracy(PGD)), *honest("0.3")),
    tuple(
        Row(
            label,
            Net(f"afd_mnist(defense=afd_mnist({form.rstrip(', ')}))", resnet_mnist(afd(form))),
            (paper,),
        )
        for (label, form), paper in zip(_FORMS.items(), (85.96, 90.73, 97.03), strict=True)
    ),
    claims=(Claim("Deeper and with labels is better", ("FC3-PD", "PGD"), ("FC1-PD", "PGD")),),
)
FIG_A3 = Experiment(
    "afd.fig_a3",
    "AFD, fig. A3, MNIST",
    "Desensitization beside matching the features",
    (CLEAN, Column("PGD", Accuracy(PGD)), *honest("0.3")),
    (
        Row(AFD, MNIST[AFD]),
        Row(
            "matching",
            Net(
                "afd_mnist(defense=afd_mnist(match=True, squared=False, joint=True))",
                resnet_mnist(afd("match=True, squared=False, joint=True, ")),
            ),
        ),
    ),
    claims=(Claim("AFD is better than matching", (AFD, "PGD"), ("matching", "PGD")),),
    plots=(OverEps(PGD, EPS),),
)
FIG_A4 = Experiment(
    "afd.fig_a4",
    "AFD, fig. A4, MNIST",
    "Robustness along the training",
    (
        CLEAN,
        Column("PGD", Accuracy(PGD)),
        Column("FGSM", Accuracy("fgsm(threat=linf(eps=0.3))")),
        *honest("0.3"),
    ),
    tuple(Row(f"{stage:.0%}", dataclasses.replace(MNIST[AFD], after=stage)) for stage in STAGES),
    claims=(Claim("Robustness grows along the training", ("100%", "PGD"), ("20%", "PGD")),),
    note="The paper's figure is of CIFAR.",
)
FIG_A5 = Experiment(
    "afd.fig_a5",
    "AFD, fig. A5, MNIST",
    "The discriminator at the end of training",
    (Column("judge's accuracy, %", Logged("judge_accuracy", percent=True)), CLEAN),
    (Row(AFD, MNIST[AFD]),),
)
ATTACK = "pgd(threat=linf(eps={eps}), steps={steps}, step_size=0.25)"
_STRENGTHS = {
    "4/255, 5 steps": ("4/255", 5),
    "8/255, 5 steps": ("8/255", 5),
    "8/255, 20 steps": ("8/255", 20),
}
FIG_A6 = Experiment(
    "afd.fig_a6",
    "AFD, fig. A6, CIFAR-10",
    "Strength of the attack in training",
    (CLEAN, Column("PGD", Accuracy(PGD_CIFAR)), *honest("8/255")),
    tuple(
        Row(
            label,
            Net(
                f"afd_cifar(defense=afd_cifar(attack={ATTACK.format(eps=eps, steps=steps)}))",
                {
                    **AFD_CIFAR,
                    "defense": f"afd(attack=pgd(threat=linf(eps={eps}), steps=3, step_size=0.5), {GAME})",
                },
            ),
        )
        for label, (eps, steps) in _STRENGTHS.items()
    ),
)
EXPERIMENTS = (
    _table1(
        "mnist",
        "MNIST",
        MNIST,
        PGD,
        "0.3",
        {
            NT: (98.80, 0.0, 2.90, 11.25, 20.48),
            AT: (99.13, 95.16, 97.33, 98.41, 98.17),
            TRADES: (98.84, 80.69, 91.75, 97.11, 86.4),
            AFD: (99.15, 96.13, 97.70, 98.31, 97.92),
        },
    ),
    _table1(
        "cifar10",
        "CIFAR-10",
        CIFAR,
        PGD_CIFAR,
        "8/255",
        {
            NT: (95.40, 0.12, 47.79, 12.00, 54.65),
            AT: (83.58, 41.05, 50.12, 83.20, 82.88),
            TRADES: (82.22, 52.30, 58.16, 80.36, 79.69),
            AFD: (89.38, 77.72, 85.34, 86.33, 84.70),
        },
    ),
    TABLE2,
    TABLE_A3,
    TABLE_A4,
    TABLE_A6,
    FIG_A3,
    FIG_A4,
    FIG_A5,
    FIG_A6,
)
