"""Adversarial Feature Desensitization (ICLR 2021 submission hcCao_UYd6O): robustness."""

from __future__ import annotations

import dataclasses

from keras_adv.experiments.base import STAGES, Claim, Column, Experiment, Net, Row
from keras_adv.experiments.documents.afd_nets import (
    AFD,
    AFD_CIFAR,
    AT,
    GAME,
    MNIST,
    NT,
    PGD,
    PGD_CIFAR,
    SETS,
    SMALL,
    TRADES,
    afd,
)
from keras_adv.experiments.documents.common import CLEAN, honest, resnet_mnist, rows
from keras_adv.experiments.measures import Accuracy, Logged, Measure, Transferred
from keras_adv.experiments.plots import OverEps

PAPER = ("PGD", "FGSM", "PGD made on NT", "FGSM made on NT")


def _table1(name: str, paper: dict[str, tuple[float, ...]]) -> Experiment:
    title, nets, pgd, eps = SETS[name]
    attacks: tuple[Measure, ...] = (Accuracy(pgd), Accuracy(f"fgsm(threat=linf(eps={eps}))"))
    moved: tuple[Measure, ...] = (Transferred(pgd, NT), Transferred(f"fgsm(threat=linf(eps={eps}))", NT))
    own = f"adaptive, linf {eps}"
    return Experiment(
        f"afd.table1_{name}",
        f"AFD, table 1, {title}",
        f"AFD, adversarial training and TRADES, {title}",
        (
            CLEAN,
            *(Column(one, how) for one, how in zip(PAPER, (*attacks, *moved), strict=True)),
            *honest(eps),
        ),
        rows(nets, paper),
        claims=(
            *(
                Claim(f"AFD withstands PGD better than {one}", (AFD, "PGD"), (one, "PGD"))
                for one in (AT, TRADES)
            ),
            *(
                Claim(f"and so the attack that knows it: {one}", (AFD, own), (one, own))
                for one in (AT, TRADES)
            ),
            Claim("FGSM is weaker than PGD", (AFD, "FGSM"), (AFD, "PGD")),
            Claim("Images of another net are weaker: no masking", (AFD, "PGD made on NT"), (AFD, "PGD")),
        ),
        note=f"The paper's deviations over three seeds are .4 (MNIST) and 10.8 (CIFAR-10) for AFD. {SMALL}",
    )


def _table_a3(name: str, paper: dict[str, tuple[float | None, ...]]) -> Experiment:
    title, nets, _, eps = SETS[name]
    attacks: dict[str, Measure] = {
        "AutoAttack": Accuracy(f"autoattack(threat=linf(eps={eps}))"),
        "Boundary": Accuracy("boundary(threat=l2(eps=2), steps=5000)"),
        "B&B": Accuracy(f"brendel_bethge(threat=linf(eps={eps}))"),
    }
    return Experiment(
        f"afd.table_a3_{name}",
        f"AFD, table A3, {title}",
        f"AutoAttack, Boundary and Brendel-Bethge on 100 random images, {title}",
        tuple(map(Column, attacks, attacks.values())),
        rows(nets, paper),
        claims=tuple(
            Claim(f"AFD withstands AutoAttack better than {one}", (AFD, "AutoAttack"), (one, "AutoAttack"))
            for one in (AT, TRADES)
        ),
        note=f"A minimal attack counts where its norm is within eps, {eps} in linf and 2 in l2. {SMALL}",
        images=100,
        sample=0,
    )


def _table_a4(name: str, paper: dict[str, tuple[float | None, ...]]) -> Experiment:
    title, nets, pgd, eps = SETS[name]
    heads = {one: f"made on {one}" for one in (AT, TRADES)}
    return Experiment(
        f"afd.table_a4_{name}",
        f"AFD, table A4, {title}",
        f"Images made on the nets of adversarial training and of TRADES, {title}",
        (*(Column(head, Transferred(pgd, one)) for one, head in heads.items()), *honest(eps)),
        rows(nets, paper),
        claims=(
            Claim("AFD withstands AT's images better than TRADES", (AFD, heads[AT]), (TRADES, heads[AT])),
            Claim("and TRADES' images better than AT", (AFD, heads[TRADES]), (AT, heads[TRADES])),
        ),
        note=SMALL,
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
    claims=(
        Claim("Deeper is better", ("FC3-PD", "PGD"), ("FC1-PD", "PGD")),
        Claim("and with labels", ("FC3-PD", "PGD"), ("FC3", "PGD")),
    ),
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
    plots=(OverEps(PGD, (0.1, 0.3, 0.35, 0.4, 0.45, 0.5)),),
)
_FREE = {
    "DeepFool": "deepfool(threat=linf(eps={}))",
    "C&W": "carlini_wagner(threat=l2(eps=1), steps=100, lr=0.05)",
}


def _free(eps: str) -> tuple[Column, ...]:
    return tuple(Column(label, Accuracy(attack.format(eps))) for label, attack in _FREE.items())


FIG_A4 = Experiment(
    "afd.fig_a4",
    "AFD, fig. A4, MNIST",
    "Robustness along the training",
    (CLEAN, Column("PGD", Accuracy(PGD)), *_free("0.3"), *honest("0.3")),
    tuple(Row(f"{stage:.0%}", dataclasses.replace(MNIST[AFD], after=stage)) for stage in STAGES),
    claims=(
        Claim("Under PGD it grows", ("100%", "PGD"), ("20%", "PGD")),
        Claim("under C&W it falls late", ("40%", "C&W"), ("100%", "C&W")),
    ),
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
    (CLEAN, Column("PGD", Accuracy(PGD_CIFAR)), *_free("8/255"), *honest("8/255")),
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
        {
            NT: (98.80, 0.0, 2.90, 11.25, 20.48),
            AT: (99.13, 95.16, 97.33, 98.41, 98.17),
            TRADES: (98.84, 80.69, 91.75, 97.11, 86.4),
            AFD: (99.15, 96.13, 97.70, 98.31, 97.92),
        },
    ),
    _table1(
        "cifar10",
        {
            NT: (95.40, 0.12, 47.79, 12.00, 54.65),
            AT: (83.58, 41.05, 50.12, 83.20, 82.88),
            TRADES: (82.22, 52.30, 58.16, 80.36, 79.69),
            AFD: (89.38, 77.72, 85.34, 86.33, 84.70),
        },
    ),
    _table1(
        "cifar100",
        {
            NT: (76.12, 0.01, 9.67, 1.55, 15.43),
            AT: (55.78, 20.39, 25.09, 53.83, 53.25),
            TRADES: (55.48, 27.36, 30.46, 54.13, 53.16),
            AFD: (62.35, 44.88, 49.52, 63.63, 54.90),
        },
    ),
    _table_a3("mnist", {NT: (0, 25, 3), AT: (88, 63, 92), TRADES: (2, 48, 17), AFD: (92, 78, 96)}),
    _table_a3("cifar10", {NT: (0, None, None), AT: (34, 51, 36), TRADES: (49, 58, 54), AFD: (25, 68, 41)}),
    _table_a3("cifar100", {NT: (0, 2, None), AT: (24, 32, 27), TRADES: (30, 35, 30), AFD: (15, 32, 10)}),
    _table_a4("mnist", {NT: (73.46, 62.09), AT: (97.11, 97.23), TRADES: (93.58, None), AFD: (97.48, 97.63)}),
    _table_a4(
        "cifar10", {NT: (94.11, 76.09), AT: (82.32, 62.54), TRADES: (80.78, None), AFD: (88.56, 65.13)}
    ),
    _table_a4("cifar100", {NT: (56.84, 51.95), AT: (None, 36.6), TRADES: (40.1, None), AFD: (42.72, 40.29)}),
    TABLE_A6,
    FIG_A3,
    FIG_A4,
    FIG_A5,
    FIG_A6,
)
