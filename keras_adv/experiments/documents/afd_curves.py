"""Adversarial Feature Desensitization (ICLR 2021 submission hcCao_UYd6O): accuracy over eps, table 2."""

from __future__ import annotations

from keras_adv.experiments.base import Claim, Column, Experiment
from keras_adv.experiments.documents.afd_nets import AFD, AT, NT, SETS, SMALL, TRADES
from keras_adv.experiments.documents.common import honest, rows
from keras_adv.experiments.measures import Area
from keras_adv.experiments.plots import OverEps

EPS = (0.1, 0.3, 0.35, 0.4, 0.45, 0.5)
TO_32, TO_64 = (tuple(round(2**k / 255, 6) for k in range(1, last + 1)) for last in (5, 6))


def _curves(name: str) -> dict[str, Area]:
    """The attacks of table A2 and their radii."""
    mnist = name == "mnist"
    linf, wide = (EPS, EPS) if mnist else (TO_32, TO_64)
    steps, step = (40, None) if mnist else (20, 2 / 255)
    pgd = f"pgd(threat=linf(eps={linf[-1]}), steps={steps}, step_size=0.0333)"
    mim = (0.1, 0.3, 0.5, 0.8, 1.0) if mnist else TO_32
    ddn = (1.0, 2.0, 5.0) if mnist else (2.0, 5.0, 10.0, 15.0)
    return {
        "PGD, linf": Area(pgd, linf, step),
        "PGD, l2": Area("pgd(threat=l2(eps=10), steps=50, step_size=0.025)", (2.0, 5.0, 10.0)),
        "PGD, l1": Area(
            "pgd(threat=l1(eps=200, dense=True), steps=50, step_size=0.025)", (10.0, 50.0, 100.0, 200.0)
        ),
        "FGSM": Area("fgsm(threat=linf(eps=0.5))", wide),
        "MIM": Area("mim(threat=linf(eps=1.0), steps=40)", mim),
        "DDN": Area(f"ddn(threat=l2(eps={ddn[-1]}), steps=100)", ddn),
        "DeepFool": Area("deepfool(threat=linf(eps=0.5), steps=50)", wide),
        "C&W": Area("carlini_wagner(threat=l2(eps=2), steps=100, lr=0.05)", (0.5, 1.0, 1.5, 2.0)),
    }


def _table2(name: str, paper: dict[str, tuple[float, ...]]) -> Experiment:
    title, nets, _, eps = SETS[name]
    curves = _curves(name)
    under = [Claim(f"In {one} TRADES is above AFD", (TRADES, one), (AFD, one)) for one in ("DeepFool", "C&W")]
    return Experiment(
        f"afd.table2_{name}",
        f"AFD, table 2, {title}",
        f"Area under accuracy over eps, {title}",
        (*(Column(label, area) for label, area in curves.items()), *honest(eps)),
        rows(nets, paper),
        claims=(
            *(
                Claim(f"AFD's area under PGD is above that of {one}", (AFD, "PGD, linf"), (one, "PGD, linf"))
                for one in (AT, TRADES)
            ),
            Claim("and so under DDN, which follows the boundary", (AFD, "DDN"), (AT, "DDN")),
            *(under if name != "mnist" else ()),
        ),
        plots=tuple(
            OverEps(curves[label].attack, curves[label].eps, curves[label].step)
            for label in ("PGD, linf", "PGD, l2", "FGSM")
        ),
        note="Each radius is attacked by itself. Of figs. 2, 3, A1 and A2 three curves are drawn. l1 PGD is "
        f"Foolbox's dense step, weaker than the sparse one; MIM's step is not printed. {SMALL}",
    )


EXPERIMENTS = (
    _table2(
        "mnist",
        {
            NT: (0.16, 0.12, 0.14, 0.29, 0.16, 0.18, 0.23, 0.75),
            AT: (0.67, 0.50, 0.44, 0.76, 0.84, 0.72, 0.74, 0.96),
            TRADES: (0.62, 0.47, 0.41, 0.72, 0.80, 0.77, 0.73, 0.96),
            AFD: (0.83, 0.84, 0.70, 0.84, 0.84, 0.85, 0.83, 0.96),
        },
    ),
    _table2(
        "cifar10",
        {
            NT: (0.04, 0.02, 0.06, 0.35, 0.04, 0.06, 0.08, 0.13),
            AT: (0.27, 0.05, 0.14, 0.39, 0.28, 0.06, 0.33, 0.41),
            TRADES: (0.34, 0.06, 0.16, 0.46, 0.36, 0.06, 0.41, 0.47),
            AFD: (0.73, 0.43, 0.82, 0.85, 0.84, 0.38, 0.33, 0.37),
        },
    ),
    _table2(
        "cifar100",
        {
            NT: (0.03, 0.02, 0.03, 0.09, 0.02, 0.05, 0.03, 0.10),
            AT: (0.15, 0.03, 0.08, 0.19, 0.15, 0.04, 0.16, 0.23),
            TRADES: (0.19, 0.04, 0.09, 0.23, 0.20, 0.04, 0.19, 0.26),
            AFD: (0.43, 0.19, 0.47, 0.50, 0.49, 0.15, 0.13, 0.19),
        },
    ),
)
