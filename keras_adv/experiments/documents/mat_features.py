"""Manifold-Aware Training (ICLR 2021 submission mOO-LfEVZK): tables 1 and 5, figure 1."""

from __future__ import annotations

from collections.abc import Mapping

from keras_adv.experiments.base import Claim, Column, Experiment, Net
from keras_adv.experiments.documents.common import rows
from keras_adv.experiments.documents.mat_nets import (
    BIBO,
    BOTH,
    CIFAR,
    MNIST,
    NONE,
    PGD_CIFAR,
    PGD_MNIST,
    SO,
    WEIGHTS,
    only,
)
from keras_adv.experiments.geometry import Geometry
from keras_adv.experiments.plots import Features


def _table1(
    name: str, title: str, nets: Mapping[str, Net], pgd: str, paper: dict[str, tuple[float, ...]]
) -> Experiment:
    columns = (
        Column("clean", Geometry("match_rate", pgd, clean=True, percent=True)),
        Column("PGD", Geometry("match_rate", pgd, percent=True)),
        Column("DDN", Geometry("match_rate", "ddn()", percent=True)),
    )
    return Experiment(
        f"mat.table1_{name}",
        f"MAT, table 1, {title}",
        f"How often the class of the nearest cluster is the predicted one, {title}",
        columns,
        rows(only(nets, "Natural", "TRADES"), paper),
        claims=(
            Claim(
                "Attacked images leave their cluster in the natural net",
                ("Natural", "clean"),
                ("Natural", "PGD"),
            ),
            Claim("TRADES' features match more after PGD", ("TRADES", "PGD"), ("Natural", "PGD")),
        ),
        plots=(Features("map", pgd, "Natural"), Features("map", pgd, "TRADES")),
        note="Ward's clusters of the clean features, as many as classes; fig. 1 are their maps.",
        images=1000,
    )


def _table5(
    name: str, title: str, nets: Mapping[str, Net], pgd: str, paper: dict[str, tuple[float, ...]]
) -> Experiment:
    return Experiment(
        f"mat.table5_{name}",
        f"MAT, table 5, {title}",
        f"Cosine to the centre of the predicted class, {title}",
        (
            Column("clean", Geometry("cosine_predicted", pgd, clean=True)),
            Column("PGD", Geometry("cosine_predicted", pgd)),
            Column("norm of the features", Geometry("norm", pgd, clean=True), own=True),
        ),
        rows(only(nets, *WEIGHTS), paper),
        claims=(
            Claim("A lower cosine of clean images goes with BIBO", (NONE, "clean"), (BOTH, "clean")),
            Claim(
                "Not in the paper: SO makes the features longer, the scale that saturates the softmax",
                (SO, "norm of the features"),
                (NONE, "norm of the features"),
            ),
        ),
    )


EXPERIMENTS = (
    _table1(
        "mnist",
        "MNIST",
        MNIST,
        PGD_MNIST,
        {"Natural": (99.61, 46.84, 27.66), "TRADES": (99.67, 98.43, 63.64)},
    ),
    _table1(
        "cifar10",
        "CIFAR-10",
        CIFAR,
        PGD_CIFAR,
        {"Natural": (99.31, 74.44, 51.53), "TRADES": (91.65, 77.42, 56.96)},
    ),
    _table5(
        "mnist",
        "MNIST",
        MNIST,
        PGD_MNIST,
        {NONE: (0.999, 0.843), BIBO: (0.995, 0.727), SO: (0.999, 0.790), BOTH: (0.996, 0.762)},
    ),
    _table5(
        "cifar10",
        "CIFAR-10",
        CIFAR,
        PGD_CIFAR,
        {NONE: (0.993, 0.935), BIBO: (0.879, 0.615), SO: (0.993, 0.996), BOTH: (0.845, 0.569)},
    ),
)
