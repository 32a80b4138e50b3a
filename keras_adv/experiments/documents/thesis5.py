"""Primal-dual attacks (Matyasko, thesis, chapter 5): how small the perturbations are that attacks find."""

from __future__ import annotations

from collections.abc import Mapping

from keras_adv.experiments.base import Claim, Column, Experiment, Net, Row
from keras_adv.experiments.documents.common import recipe, small, standard
from keras_adv.experiments.documents.thesis5_figures import EPS, KNOWN, L2, LINF, NORMS, PLAIN, UNSAID
from keras_adv.experiments.measures import At, Norm
from keras_adv.experiments.plots import Examples

NOTE = (
    "The thesis' nets are downloaded: Madry's CNN at linf 0.3 and l2 2, FAB's nets for CIFAR-10; these "
    "are trained. Means over correctly classified images for which the attack found one. The text of the "
    "thesis has lost some cells, which stay empty. l0 counts pixels. Ours differ: DeepFool stays in the "
    "box, B&B's rate is in other units. Small budget: linf-AT is trained at 0.2 (MNIST) or TRADES' net "
    "(CIFAR-10)."
)


def _adversarial(threat: str, rate: str) -> str:
    return f"adversarial(attack=pgd(threat={threat}, steps=40, step_size=0.0333), optimizer={rate})"


_RATE = "adam(learning_rate=0.0001)"
MNIST = {
    PLAIN: Net(
        recipe(f"standard(optimizer={_RATE})", "madry_cnn()", "mnist", 93, 50), "standard_lenet_mnist"
    ),
    LINF: Net("adversarial_mnist", "adversarial_lenet_mnist"),
    L2: Net(
        recipe(_adversarial("l2(eps=2.0)", _RATE), "madry_cnn()", "mnist", 93, 50, "none", "centre"),
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
        "C&W": "carlini_wagner(steps=10000, initial=0.01, abort_early=False)",
        "DDN": "ddn(steps=1000)",
        "B&B": "brendel_bethge(threat=l2())",
        "FAB": "fab(threat=l2())",
        "PDGD": "pdgd_grid_thesis()",
    },
    "l1": {
        "SparseFool": "sparsefool(threat=l1())",
        "EAD": "ead(beta=0.05, initial=0.01, abort_early=False)",
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
            if other != best and (table, label, other, norm) not in UNSAID
        ),
        plots=(Examples(attacks[best]),) if data == "mnist" else (),
        note=NOTE,
        images=1000,
    )


SHARES = (1.0, 0.5, 0.2, 0.1, 0.04, 0.02, 0.01)
BOUNDED = {
    "PGD": "pgd_grid_thesis(threat={}(eps={}))",
    "DAA-1": "daa_grid_thesis(threat={}(eps={}))",
    "DAA-50": "grid(threat={}(eps={}), attack=daa(particles=10, restarts=5), field='step_size', "
    f"values={SHARES})",
    "Pixel": "one_pixel(threat={}(eps={}))",
}
OF_NORM = {"linf": ("PGD", "DAA-1", "DAA-50"), "l2": ("PGD",), "l1": ("PGD",), "l0": ("Pixel",)}


def _shown(norm: str, eps: float, data: str) -> str:
    """A radius as the thesis prints it."""
    return f"{norm} {eps * 255:g}/255" if norm == "linf" and data == "cifar10" else f"{norm} {eps:g}"


def _at(norm: str, eps: tuple[float, ...], data: str) -> tuple[Column, ...]:
    """Every attack of a norm at every radius, the radius first."""
    bounded = {name: BOUNDED[name].format(norm, eps[-1]) for name in OF_NORM[norm]}
    return tuple(
        Column(f"{_shown(norm, one, data)}, {name}", At(attack, eps, one))
        for one in eps
        for name, attack in {**ATTACKS[norm], **bounded}.items()
    )


def _radii(data: str, table: str, label: str, nets: Mapping[str, Net]) -> Experiment:
    radii = EPS[data][label]
    columns = tuple(
        column for norm in radii for column in _at(norm, tuple(float(e) for e in radii[norm]), data)
    )
    known = KNOWN.get(table, {})
    return Experiment(
        f"thesis5.table{table[-1]}",
        f"thesis, table {table}",
        f"Percent correct at five radii a norm, {'MNIST' if data == 'mnist' else 'CIFAR-10'}, {label}",
        columns,
        (Row(label, nets[label], tuple(known.get(column.head) for column in columns)),),
        claims=tuple(
            Claim(
                f"{BEST[norm]} leaves fewer than {other} at the middle radius, {norm}",
                (label, f"{_shown(norm, middle, data)}, {other}"),
                (label, f"{_shown(norm, middle, data)}, {BEST[norm]}"),
            )
            for norm in radii
            for middle in radii[norm][2:3]
            for other in ATTACKS[norm]
            if other != BEST[norm] and (table, label, other, norm) not in UNSAID
        ),
        note="PGD and DAA: the best of seven step sizes for each image. Restarts are one, as in the "
        f"thesis' columns of -1. {NOTE}",
        images=1000,
    )


_ANIMALS = "folder(path='imagenet', size=224, classes='restricted_imagenet')"
_RESTRICTED = Net(
    recipe(
        "adversarial(attack=pgd(threat=linf(eps=0.005), steps=7, step_size=0.25), "
        "optimizer=sgd(schedule=milestones(at=(15, 25))))",
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
