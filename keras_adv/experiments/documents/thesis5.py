"""Primal-dual attacks (Matyasko, thesis, chapter 5): how small the perturbations are that attacks find."""

from __future__ import annotations

from collections.abc import Mapping

from keras_adv.experiments.base import Claim, Column, Experiment, Net, Row
from keras_adv.experiments.documents.common import recipe, small, standard
from keras_adv.experiments.measures import At, Norm
from keras_adv.experiments.plots import Examples

PLAIN, LINF, L2 = "plain", "linf-AT", "l2-AT"
NOTE = (
    "The thesis' nets are Madry's CNN and FAB's nets for CIFAR, trained at linf 0.3 and l2 2 (MNIST). "
    "Means over correctly classified images for which the attack found one. The text of the thesis has "
    "lost some cells, which stay empty. l0 counts pixels."
)


def _adversarial(threat: str, rate: str) -> str:
    return f"adversarial(attack=pgd(threat={threat}, steps=40, step_size=0.0333), optimizer={rate})"


_RATE = "adam(learning_rate=0.0001)"
MNIST = {
    PLAIN: standard("madry_cnn()", "mnist", "standard_lenet_mnist", 100, "none"),
    LINF: Net(
        recipe(_adversarial("linf(eps=0.3)", _RATE), "madry_cnn()", "mnist", 84, 50),
        "adversarial_lenet_mnist",
    ),
    L2: Net(
        recipe(_adversarial("l2(eps=2.0)", _RATE), "madry_cnn()", "mnist", 84, 50),
        small("adversarial(attack=pgd(threat=l2(eps=2.0), steps=5, step_size=0.25))"),
    ),
}
_SGD = "sgd(learning_rate=0.1, weight_decay=0.005, schedule=milestones(at=(50, 75)))"
_FAB = "convnet(form='fab', bias=False)"
_QUICK = {"model": "wrn(depth=10, width=2)", "data": "cifar10", "augment": "crop_flip", "epochs": 6}
CIFAR = {
    PLAIN: standard("convnet(form='fab')", "cifar10", "standard_wrn_cifar10", 100, "crop_flip"),
    LINF: Net(
        recipe(_adversarial("linf(eps=8/255)", _SGD), _FAB, "cifar10", 100, 128, "crop_flip"),
        "trades_resnet18_cifar10",
    ),
    L2: Net(
        recipe(_adversarial("l2(eps=0.5)", _SGD), _FAB, "cifar10", 100, 128, "crop_flip"),
        small("adversarial(attack=pgd(threat=l2(eps=0.5), steps=3, step_size=0.5))", **_QUICK),
    ),
}
ATTACKS: dict[str, dict[str, str]] = {
    "linf": {
        "DF": "deepfool(threat=linf())",
        "B&B": "brendel_bethge(threat=linf())",
        "FAB": "fab(threat=linf())",
        "PDPGD": "pdpgd_grid_thesis(threat=linf())",
    },
    "l2": {
        "DF": "deepfool(threat=l2())",
        "C&W": "carlini_wagner()",
        "DDN": "ddn(steps=1000)",
        "B&B": "brendel_bethge(threat=l2())",
        "FAB": "fab(threat=l2())",
        "PDGD": "pdgd_grid_thesis()",
    },
    "l1": {
        "SparseFool": "sparsefool(threat=l1())",
        "EAD": "ead()",
        "B&B": "brendel_bethge(threat=l1())",
        "FAB": "fab(threat=l1())",
        "PDPGD": "pdpgd_grid_thesis(threat=l1())",
    },
    "l0": {
        "JSMA": "jsma(threat=l0())",
        "B&B": "brendel_bethge(threat=l0())",
        "PDPGD": "pdpgd_grid_thesis(threat=l0())",
    },
}
BEST = {"linf": "PDPGD", "l2": "PDGD", "l1": "PDPGD", "l0": "PDPGD"}
NORMS: dict[str, dict[str, dict[str, tuple[float | None, ...]]]] = {
    "mnist": {
        "linf": {
            PLAIN: (0.082, 0.068, 0.066, 0.063),
            LINF: (0.528, 0.331, 0.326, 0.315),
            L2: (0.259, 0.180, 0.170, 0.166),
        },
        "l2": {
            PLAIN: (1.13, 1.01, 1.00, 1.03, None, None),
            LINF: (4.84, 2.08, 1.84, 1.47, None, None),
            L2: (3.08, 2.35, 2.31, 2.42, None, None),
        },
        "l1": {
            PLAIN: (8.70, 6.36, 7.19, None, None),
            LINF: (200.56, 7.85, 13.96, 3.45, 2.31),
            L2: (16.46, 12.19, 15.22, None, None),
        },
        "l0": {PLAIN: (None, None, 8.36), LINF: (None, None, 4.07), L2: (None, None, 13.59)},
    },
    "cifar10": {
        "linf": {
            PLAIN: (0.0075, 0.0058, 0.0057, 0.0054),
            LINF: (0.0298, 0.0259, 0.0237, 0.0232),
            L2: (0.0242, 0.0210, 0.0194, 0.0189),
        },
        "l2": {
            PLAIN: (0.266, 0.213, 0.212, None, None, None),
            LINF: (0.908, 0.728, 0.766, None, None, None),
            L2: (0.896, 0.712, 0.749, None, None, None),
        },
        "l1": {
            PLAIN: (6.72, 3.00, 3.79, None, None),
            LINF: (10.54, 5.75, 7.38, None, None),
            L2: (13.76, 7.96, 10.05, None, None),
        },
        "l0": {PLAIN: (18.37, 9.80, 3.37), LINF: (25.03, 11.02, 4.73), L2: (26.14, 11.58, 5.64)},
    },
}


def _norms(data: str, table: str, norm: str, nets: Mapping[str, Net]) -> Experiment:
    attacks, best = ATTACKS[norm], BEST[norm]
    return Experiment(
        f"thesis5.table{table[-1]}_{norm}",
        f"thesis, table {table}, {norm}",
        f"Mean {norm} norms that attacks find, {'MNIST' if data == 'mnist' else 'CIFAR-10'}",
        tuple(Column(name, Norm(attack)) for name, attack in attacks.items()),
        tuple(Row(label, net, NORMS[data][norm][label]) for label, net in nets.items()),
        claims=tuple(
            Claim(f"{best} finds smaller ones than {other}, {label}", (label, other), (label, best))
            for label in nets
            for other in attacks
            if other != best
        ),
        plots=(Examples(attacks[best]),) if norm == "l2" else (),
        note=NOTE,
        images=1000,
    )


EPS: dict[str, dict[str, dict[str, tuple[float, ...]]]] = {
    "mnist": {
        PLAIN: {
            "linf": (0.03, 0.05, 0.07, 0.09, 0.11),
            "l2": (0.5, 1, 1.5, 2, 2.5),
            "l1": (2, 4, 6, 8, 10),
            "l0": (1, 3, 5, 8, 12),
        },
        LINF: {
            "linf": (0.2, 0.25, 0.3, 0.325, 0.35),
            "l2": (1, 1.5, 2, 2.5, 3),
            "l1": (2.5, 5, 7.5, 10, 12.5),
            "l0": (1, 3, 5, 8, 12),
        },
        L2: {
            "linf": (0.05, 0.1, 0.15, 0.2, 0.25),
            "l2": (1, 1.5, 2, 2.5, 3),
            "l1": (5, 8.75, 12.5, 16.25, 20),
            "l0": (5, 10, 15, 20, 25),
        },
    },
    "cifar10": {
        PLAIN: {
            "linf": (0.004, 0.006, 0.008, 0.010, 0.012),
            "l2": (0.1, 0.15, 0.2, 0.3, 0.4),
            "l1": (2, 4, 6, 8, 10),
            "l0": (1, 3, 5, 8, 12),
        },
        LINF: {
            "linf": (0.008, 0.016, 0.024, 0.031, 0.039),
            "l2": (0.25, 0.5, 0.75, 1, 1.25),
            "l1": (5, 8.75, 12.5, 16.25, 20),
            "l0": (1, 3, 5, 8, 12),
        },
        L2: {
            "linf": (0.008, 0.016, 0.024, 0.031, 0.039),
            "l2": (0.25, 0.5, 0.75, 1, 1.25),
            "l1": (3, 6, 9, 12, 15),
            "l0": (1, 3, 5, 10, 15),
        },
    },
}
BOUNDED = {
    "DAA-1": "daa_grid_thesis(threat={}(eps={}))",
    "DAA-50": "daa_50_thesis(threat={}(eps={}))",
    "PGD": "pgd_grid_thesis(threat={}(eps={}))",
}


def _at(norm: str, eps: tuple[float, ...]) -> tuple[Column, ...]:
    """Every attack of a norm at every radius, the radius first."""
    used = {"linf": tuple(BOUNDED), "l0": ()}.get(norm, ("PGD",))
    bounded = {name: BOUNDED[name].format(norm, eps[-1]) for name in used}
    return tuple(
        Column(f"{norm} {one:g}, {name}", At(attack, eps, one))
        for one in eps
        for name, attack in {**ATTACKS[norm], **bounded}.items()
    )


KNOWN = {  # table 5.3, of which only what the text says without a gap
    "linf 0.3, DF": 93.9,
    "linf 0.3, B&B": 91.2,
    "linf 0.3, DAA-1": 88.8,
    "linf 0.3, DAA-50": 87.3,
    "linf 0.3, PGD": 91.6,
    "linf 0.3, FAB": 91.4,
    "linf 0.325, DAA-50": 60.5,
    "l2 2, C&W": 53.9,
    "l2 2, DDN": 41.9,
    "l2 2, B&B": 16.1,
    "l2 2, PGD": 78.9,
    "l2 2, FAB": 14.4,
    "l1 2.5, PDPGD": 65.7,
    "l1 5, PDPGD": 17.0,
    "l1 10, PDPGD": 1.0,
    "l1 5, EAD": 72.3,
}


def _radii(data: str, table: str, label: str, nets: Mapping[str, Net]) -> Experiment:
    radii = EPS[data][label]
    columns = tuple(column for norm in radii for column in _at(norm, tuple(float(e) for e in radii[norm])))
    known = KNOWN if table == "5.3" else {}
    return Experiment(
        f"thesis5.table{table[-1]}",
        f"thesis, table {table}",
        f"Percent correct at five radii a norm, {'MNIST' if data == 'mnist' else 'CIFAR-10'}, {label}",
        columns,
        (Row(label, nets[label], tuple(known.get(column.head) for column in columns)),),
        claims=tuple(
            Claim(
                f"{BEST[norm]} leaves fewer than {other} at the middle radius, {norm}",
                (label, f"{norm} {middle:g}, {other}"),
                (label, f"{norm} {middle:g}, {BEST[norm]}"),
            )
            for norm in radii
            for middle in radii[norm][2:3]
            for other in ATTACKS[norm]
            if other != BEST[norm]
        ),
        note="PGD and DAA-1: the best of seven step sizes for each image. Restarts are one, as in the "
        f"thesis' columns of -1. {NOTE}",
        images=1000,
    )


_ANIMALS = "folder(path='imagenet', size=224, classes='restricted_imagenet')"
_RESTRICTED = Net(
    recipe(
        f"adversarial(attack=pgd(threat=linf(eps=0.005), steps=7, step_size=0.25), optimizer={_SGD})",
        "resnet18(form='imagenet')",
        _ANIMALS,
        35,
        256,
        "resized_crop_flip",
    ),
    {"epochs": 1},
)
RESTRICTED = Experiment(
    "thesis5.restricted_imagenet",
    "thesis, sec. 5.4, Restricted ImageNet",
    "Mean norms on nine kinds of animals of ImageNet",
    tuple(Column(f"{BEST[norm]}, {norm}", Norm(ATTACKS[norm][BEST[norm]]), own=True) for norm in ATTACKS),
    (Row(LINF, _RESTRICTED),),
    note="ImageNet must be at hand (--data). The thesis leaves the figures to a longer version.",
    images=1000,
)
EXPERIMENTS = (
    RESTRICTED,
    *(_norms("mnist", "5.1", norm, MNIST) for norm in ATTACKS),
    *(_radii("mnist", table, label, MNIST) for table, label in (("5.2", PLAIN), ("5.3", LINF), ("5.4", L2))),
    *(_norms("cifar10", "5.5", norm, CIFAR) for norm in ATTACKS),
    *(
        _radii("cifar10", table, label, CIFAR)
        for table, label in (("5.6", PLAIN), ("5.7", LINF), ("5.8", L2))
    ),
)
