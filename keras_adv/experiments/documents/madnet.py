"""MadNet (Dolev et al., arXiv:1911.00870)."""

from __future__ import annotations

from typing import Any

from keras_adv.experiments.base import Claim, Column, Experiment, Net, Row
from keras_adv.experiments.documents.common import CLEAN, honest, inner, recipe, small
from keras_adv.experiments.geometry import Geometry
from keras_adv.experiments.measures import Accuracy, Student
from keras_adv.experiments.plots import Features

CE, MAD, MAD_AT = "CE", "MadNet", "MadNet, adversarial"
NET = "madnet_resnet(depth=56)"
NOTE = (
    "All but the first column are over images that the net classifies correctly, 1,000 in the paper. Its "
    "C&W has one c, 1,000 steps, and pixel changes of at most 0.3 (MNIST) or 0.03; lengths of the steps "
    "of BIM and PGD, and the adversarial training's eps, are not printed. The baseline of Mustafa et al. "
    "is not built. Small budget: LeNet and five epochs (MNIST), ResNet-20 and ten (CIFAR; CE on CIFAR-10 "
    "is the zoo's WRN)."
)


def _attacks(data: str, table: dict[str, tuple[float, ...]], cap: float) -> tuple[Column, ...]:
    """The table's attacks, each at its radii or constants."""
    made = {
        "C&W": f"carlini_wagner(searches=1, steps=1000, abort_early=False, c={{}}, cap={cap})",
        "FGSM": "fgsm(threat=linf(eps={}))",
        "BIM": "bim(threat=linf(eps={}), steps=10, step_size=0.1)",
        "PGD": "pgd(threat=linf(eps={}), steps=10)",
    }
    return tuple(
        Column(f"{name} {value}", Accuracy(made[name].format(value), correct=True))
        for name, values in table.items()
        for value in values
    )


def _table(
    name: str,
    title: str,
    nets: tuple[Net, ...],
    columns: tuple[Column, ...],
    paper: tuple[tuple[float, ...], ...],
    eps: str,
) -> Experiment:
    last = columns[-1].head
    claims = (
        Claim("MadNet is as accurate as the plain net", (MAD, "clean"), (CE, "clean"), by=-1.5),
        Claim("MadNet withstands PGD better than the plain net", (MAD, last), (CE, last)),
        Claim(
            "and so it does the attack that knows it",
            (MAD, f"adaptive, linf {eps}"),
            (CE, f"adaptive, linf {eps}"),
        ),
        Claim("Adversarial training adds to it", (MAD_AT, last), (MAD, last)),
    )
    return Experiment(
        name=f"madnet.{name}",
        item=f"MadNet, {title}",
        title=f"White-box attacks, {title.partition(', ')[2]}",
        columns=(CLEAN, *columns, *honest(eps, correct=True)),
        rows=tuple(
            Row(label, net, of) for label, net, of in zip((CE, MAD, MAD_AT), nets, paper, strict=True)
        ),
        claims=claims,
        note=NOTE,
        images=1000,
    )


def _ce(data: str, small_net: str | dict[str, Any]) -> Net:
    """The same net and rates as MadNet's, with the cross-entropy alone."""
    mnist = data == "mnist"
    at, epochs = ((20, 39, 58), 64) if mnist else ((103, 180, 256, 333), 409)
    defense = f"standard(optimizer=sgd(weight_decay=0.004, schedule=milestones(at={at})))"
    crops = "crop2" if mnist else "crop2_flip"
    return Net(recipe(defense, NET, data, epochs, 128, crops, "centre"), small_net)


MNIST = (
    _ce("mnist", "standard_lenet_mnist"),
    Net("mad_mnist", "mad_lenet_mnist"),
    Net("mad_mnist_adversarial", small(f"mad(variance=0.1, projections=1, attack={inner('0.2')})")),
)


def _cifar(data: str, preset: str, plain: str | dict[str, Any]) -> tuple[Net, ...]:
    way = {"model": "madnet_resnet(depth=20)", "data": data, "augment": "crop2_flip", "epochs": 10}
    attacked = small(f"mad(projections=1, attack={inner('8/255')})", **way)
    return (
        _ce(data, plain or small("standard()", **way)),
        Net(preset, small("mad(projections=1)", **way)),
        Net(f"{preset}_adversarial", attacked),
    )


CIFAR10 = _cifar("cifar10", "mad_cifar", "standard_wrn_cifar10")
CIFAR100 = _cifar("cifar100", "mad_cifar100", {})
_OFF = {
    "CE": "siamese=0.0, variance=0.0, jacobian=0.0, alpha=1.0",
    "CE, label smoothing": "siamese=0.0, variance=0.0, jacobian=0.0",
    "without Siamese": "siamese=0.0",
    "MadNet": "",
}


def _ablation(off: str) -> Net:
    parts = ", ".join(part for part in (off, "" if "variance" in off else "variance=0.1") if part)
    quick = small(f"mad({parts}, projections=1, optimizer=adam(learning_rate=0.001))")
    return Net(f"mad_cifar(defense=mad_cifar({off}))", quick)


_BLACK = {
    "FGSM": "fgsm(threat=linf(eps={eps}))",
    "BIM": "bim(threat=linf(eps={eps}), steps=10, step_size=0.1)",
    "PGD": "pgd(threat=linf(eps={eps}), steps=10)",
    "C&W": "carlini_wagner(searches=1, steps=1000, abort_early=False, c={c}, cap={cap})",
}


def _table4(
    name: str, title: str, nets: tuple[Net, ...], way: dict[str, float], paper: tuple[tuple[float, ...], ...]
) -> Experiment:
    attacks = {label: attack.format(**way) for label, attack in _BLACK.items()}
    student = "distilled_mnist" if name == "mnist" else "distilled_cifar"
    white, own = "PGD, white box", f"adaptive, linf {way['eps']}"
    return Experiment(
        f"madnet.table4_{name}",
        f"MadNet, table 4, {title}",
        f"Black box: images made on a ResNet-32 that was distilled from the net's answers, {title}",
        (
            *(Column(label, Student(attack, student)) for label, attack in attacks.items()),
            Column(white, Accuracy(attacks["PGD"]), own=True),
            *honest(str(way["eps"])),
        ),
        tuple(Row(label, net, of) for label, net, of in zip((CE, MAD), nets[:2], paper, strict=True)),
        claims=(
            Claim("MadNet withstands its student's PGD better", (MAD, "PGD"), (CE, "PGD")),
            Claim("Its own PGD is stronger than its student's: no masking", (MAD, "PGD"), (MAD, white)),
            Claim("and the attack that knows it is stronger still", (MAD, white), (MAD, own)),
        ),
        note="Over all images. The student sees probabilities alone; small budget: five epochs of Adam.",
        images=1000,
    )


_CW = "carlini_wagner(searches=1, steps=1000, abort_early=False, c=0.1, cap=0.03)"
FIG1 = Experiment(
    "madnet.fig1",
    "MadNet, fig. 1",
    "Distances of class means beside what attacked images are taken for",
    (CLEAN, Column("mistakes at the nearest class, %", Geometry("nearest_share", _CW, percent=True))),
    (Row(CE, CIFAR10[0]),),
    plots=(Features("classes", _CW, CE),),
    note="The paper prints no c of this C&W; it is the largest of table 2. Chance: 11% of nine classes.",
    images=1000,
)
_NEAR = "pgd(threat=linf(eps=0.02), steps=10)"
FIG2 = Experiment(
    "madnet.fig2",
    "MadNet, fig. 2",
    "How compact the features of four ablations are",
    (
        CLEAN,
        Column("Davies-Bouldin index", Geometry("davies_bouldin", _NEAR, clean=True)),
        Column("PGD 0.02", Accuracy(_NEAR, correct=True), own=True),
        *honest("0.02", correct=True),
    ),
    tuple(Row(label, _ablation(off)) for label, off in _OFF.items()),
    claims=tuple(
        Claim(
            f"MadNet's classes are more compact than those of {other}",
            (other, "Davies-Bouldin index"),
            ("MadNet", "Davies-Bouldin index"),
        )
        for other in list(_OFF)[:3]
    ),
    plots=tuple(Features("map", _NEAR, label) for label in ("CE", "MadNet")),
    note="A smaller Davies-Bouldin index is more compact. Small budget: LeNets of MNIST, not CIFAR-10.",
    images=1000,
)
_FREE = "carlini_wagner(searches=1, steps=1000, abort_early=False, c={})"
NO_CAP = Experiment(
    "madnet.no_cap",
    "MadNet, sec. 5.3",
    "C&W without the cap of pixel changes, MNIST",
    (Column("C&W 10, no cap", Accuracy(_FREE.format(10.0), correct=True)), *honest("0.1", correct=True)),
    (Row(MAD, MNIST[1], (67.2,)), Row(MAD_AT, MNIST[2], (71.6,))),
    note=NOTE,
    images=1000,
)
NO_CAP_CIFAR = Experiment(
    "madnet.no_cap_cifar10",
    "MadNet, sec. 5.3, CIFAR-10",
    "C&W without the cap of pixel changes, CIFAR-10",
    (Column("C&W 0.1, no cap", Accuracy(_FREE.format(0.1), correct=True)), *honest("0.02", correct=True)),
    (Row(MAD_AT, CIFAR10[2], (61.5,)),),
    note=NOTE,
    images=1000,
)
EXPERIMENTS = (
    _table(
        "table1",
        "table 1, MNIST",
        MNIST,
        _attacks(
            "mnist",
            {"C&W": (0.1, 1.0, 10.0), "FGSM": (0.1, 0.2), "BIM": (0.1, 0.15), "PGD": (0.1, 0.15)},
            0.3,
        ),
        (
            (99.22, 31.6, 0.0, 0.0, 74.0, 23.0, 17.4, 3.4, 10.6, 0.6),
            (99.3, 98.3, 93.1, 92.5, 95.3, 73.5, 92.2, 87.0, 92.4, 83.4),
            (99.3, 99.4, 98.1, 97.9, 98.3, 95.8, 98.6, 95.2, 98.8, 98.4),
        ),
        "0.1",
    ),
    _table(
        "table2",
        "table 2, CIFAR-10",
        CIFAR10,
        _attacks(
            "cifar10",
            {"C&W": (0.001, 0.01, 0.1), "FGSM": (0.02, 0.04), "BIM": (0.01, 0.02), "PGD": (0.01, 0.02)},
            0.03,
        ),
        (
            (93.0, 30.5, 0.0, 0.0, 23.5, 16.3, 0.0, 0.0, 0.0, 0.0),
            (94.2, 79.3, 68.5, 63.7, 70.6, 63.3, 68.4, 53.4, 68.8, 55.2),
            (92.1, 93.4, 92.4, 81.2, 76.1, 70.3, 77.2, 54.8, 85.0, 60.2),
        ),
        "0.02",
    ),
    _table(
        "table3",
        "table 3, CIFAR-100",
        CIFAR100,
        _attacks("cifar100", {"BIM": (0.005, 0.01), "PGD": (0.005, 0.01)}, 0.03),
        ((72.3, 4.0, 1.0, 8.0, 1.0), (71.1, 46.8, 31.2, 53.4, 33.5), (66.7, 78.1, 62.8, 76.0, 63.1)),
        "0.01",
    ),
    _table4(
        "mnist",
        "MNIST",
        MNIST,
        {"eps": 0.1, "c": 0.1, "cap": 0.3},
        ((74.2, 81.7, 78.3, 94.3), (98.1, 98.0, 97.6, 100.0)),
    ),
    _table4(
        "cifar10",
        "CIFAR-10",
        CIFAR10,
        {"eps": 0.02, "c": 0.001, "cap": 0.03},
        ((51.3, 49.1, 57.8, 92.3), (85.1, 96.3, 95.7, 100.0)),
    ),
    _table4(
        "cifar100",
        "CIFAR-100",
        CIFAR100,
        {"eps": 0.01, "c": 0.001, "cap": 0.03},
        ((61.5, 44.3, 47.2, 95.2), (80.8, 79.8, 78.3, 98.0)),
    ),
    NO_CAP,
    NO_CAP_CIFAR,
    FIG1,
    FIG2,
)
