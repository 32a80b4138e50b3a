"""MadNet (Dolev et al., arXiv:1911.00870). The baseline of Mustafa et al. is not built."""

from __future__ import annotations

from keras_adv.experiments.base import Claim, Column, Experiment, Net, Row
from keras_adv.experiments.documents.common import CLEAN, honest, inner, recipe, small, standard
from keras_adv.experiments.geometry import Geometry
from keras_adv.experiments.measures import Accuracy, Parameters, Student
from keras_adv.experiments.plots import Classes, Map

CE, MAD, MAD_AT = "CE", "MadNet", "MadNet, adversarial"
NET = "madnet_resnet(depth=56)"
NOTE = (
    "All but the first column are over images that the net classifies correctly, 1,000 in the paper. Its "
    "C&W has one c, 1,000 steps, and pixel changes of at most 0.3 (MNIST) or 0.03. The small budget has "
    "LeNet and five epochs in place of ResNet-56 and sixty-four."
)


def _attacks(data: str, table: dict[str, tuple[float, ...]], cap: float) -> tuple[Column, ...]:
    """The table's attacks, each at its radii or constants."""
    made = {
        "C&W": f"carlini_wagner(searches=1, steps=1000, abort_early=False, c={{}}, cap={cap})",
        "FGSM": "fgsm(threat=linf(eps={}))",
        "BIM": "bim(threat=linf(eps={}), steps=10)",
        "PGD": "pgd(threat=linf(eps={}), steps=10, random_start=False)",
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
        columns=(CLEAN, *columns, *honest(eps)),
        rows=tuple(
            Row(label, net, of) for label, net, of in zip((CE, MAD, MAD_AT), nets, paper, strict=True)
        ),
        claims=claims,
        note=NOTE,
        images=1000,
    )


MNIST = (
    standard(NET, "mnist", "standard_lenet_mnist", 64, "crop2", "centre"),
    Net("mad_mnist", "mad_lenet_mnist"),
    Net(
        "mad_mnist(defense=mad_mnist(attack=pgd(threat=linf(eps=0.3), steps=10)))",
        small(f"mad(variance=0.1, projections=1, attack={inner('0.2')})"),
    ),
)
_CIFAR_SMALL = {"model": "madnet_resnet(depth=20)", "data": "cifar10", "augment": "crop_flip", "epochs": 10}
CIFAR10 = (
    standard(NET, "cifar10", "standard_wrn_cifar10", 400, "crop2_flip", "centre"),
    Net("mad_cifar", small("mad(projections=1)", **_CIFAR_SMALL)),
    Net("mad_cifar_adversarial", small(f"mad(projections=1, attack={inner('8/255')})", **_CIFAR_SMALL)),
)
_CIFAR100_SMALL = {**_CIFAR_SMALL, "data": "cifar100"}
CIFAR100 = (
    standard(NET, "cifar100", small("standard()", **_CIFAR100_SMALL), 400, "crop2_flip", "centre"),
    Net(
        "mad_cifar(data='cifar100', defense=mad_cifar(projections=1))",
        small("mad(projections=1)", **_CIFAR100_SMALL),
    ),
    Net(
        "mad_cifar_adversarial(data='cifar100', defense=mad_cifar_adversarial(projections=1))",
        small(f"mad(projections=1, attack={inner('8/255')})", **_CIFAR100_SMALL),
    ),
)
_PGD = "pgd(threat=linf(eps={}), steps=10, random_start=False)"
_ABLATED = {
    "CE": "mad(siamese=0.0, variance=0.0, jacobian=0.0, alpha=1.0{})",
    "CE, label smoothing": "mad(siamese=0.0, variance=0.0, jacobian=0.0{})",
    "without Siamese": "mad(siamese=0.0, variance=0.1, projections=1{})",
    "MadNet": "mad(variance=0.1, projections=1{})",
}


def _ablation(defense: str) -> Net:
    rate = ", optimizer=sgd(weight_decay=0.004, schedule=milestones(at=(20, 39, 58,)))"
    return Net(
        recipe(defense.format(rate), NET, "mnist", 64, 128, "crop2", "centre"),
        small(defense.format(", optimizer=adam(learning_rate=0.001)")),
    )


_BLACK = {
    "FGSM": "fgsm(threat=linf(eps=0.1))",
    "BIM": "bim(threat=linf(eps=0.1), steps=10)",
    "PGD": _PGD.format(0.1),
    "C&W": "carlini_wagner(searches=1, steps=1000, abort_early=False, c=0.1, cap=0.3)",
}
TABLE4 = Experiment(
    "madnet.table4",
    "MadNet, table 4, MNIST",
    "Black box: images made on a ResNet-32 that was distilled from the net's answers",
    (
        *(Column(name, Student(attack, "resnet(depth=32)", epochs=5)) for name, attack in _BLACK.items()),
        Column("PGD, white box", Accuracy(_BLACK["PGD"]), own=True),
        *honest("0.1"),
    ),
    (Row(CE, MNIST[0], (74.2, 81.7, 78.3, 94.3)), Row(MAD, MNIST[1], (98.1, 98.0, 97.6, 100.0))),
    claims=(
        Claim("MadNet withstands its student's PGD better", (MAD, "PGD"), (CE, "PGD")),
        Claim(
            "Its white box is not stronger than the student: no masking",
            (MAD, "PGD"),
            (MAD, "PGD, white box"),
        ),
        Claim("and the attack that knows it is the strongest", (MAD, "PGD"), (MAD, "adaptive, linf 0.1")),
    ),
    note="Over all images. eps 0.1, c 0.1, as in the paper.",
    images=1000,
)
FIG1 = Experiment(
    "madnet.fig1",
    "MadNet, fig. 1",
    "Distances of class means beside what attacked images are taken for",
    (
        CLEAN,
        Column("mistakes at the nearest class, %", Geometry("nearest_share", _PGD.format(0.1), percent=True)),
    ),
    (Row(CE, MNIST[0]), Row(MAD, MNIST[1])),
    plots=(Classes(_PGD.format(0.1), CE),),
    images=1000,
)
FIG2 = Experiment(
    "madnet.fig2",
    "MadNet, fig. 2",
    "How compact the features of four ablations are",
    (
        CLEAN,
        Column("Davies-Bouldin index", Geometry("davies_bouldin", _PGD.format(0.1), clean=True)),
        Column("PGD 0.1", Accuracy(_PGD.format(0.1), correct=True), own=True),
        *honest("0.1"),
    ),
    tuple(Row(label, _ablation(defense)) for label, defense in _ABLATED.items()),
    claims=(
        Claim(
            "MadNet's classes are the most compact",
            ("CE", "Davies-Bouldin index"),
            ("MadNet", "Davies-Bouldin index"),
        ),
    ),
    plots=tuple(Map(_PGD.format(0.1), label) for label in ("CE", "MadNet")),
    note="A smaller Davies-Bouldin index is more compact.",
    images=1000,
)
TABLE5 = Experiment(
    "madnet.table5",
    "MadNet, table 5",
    "Parameters, and C&W without the cap of pixel changes",
    (
        Column("parameters, millions", Parameters(), own=True),
        Column(
            "C&W 10, no cap",
            Accuracy("carlini_wagner(searches=1, steps=1000, abort_early=False, c=10.0)", correct=True),
        ),
    ),
    (Row(MAD, MNIST[1], (67.2,)), Row(MAD_AT, MNIST[2], (71.6,))),
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
    TABLE4,
    TABLE5,
    FIG1,
    FIG2,
)
