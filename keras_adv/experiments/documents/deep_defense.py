"""Deep Defense (Yan et al., NeurIPS 2018, arXiv:1803.00404)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_adv.experiments.base import STAGES, Claim, Column, Experiment, Net, Row
from keras_adv.experiments.documents.common import CLEAN, honest, recipe, small
from keras_adv.experiments.measures import Accuracy, Norm, Rho

REFERENCES = {  # MatConvNet's, from which the paper starts: rate, decay, falls of the rate, epochs
    "mlp": (0.001, 0.005, "None", 20),
    "lenet": (0.001, 0.005, "None", 20),
    "convnet": (0.05, 0.001, "milestones(at=(30, 40))", 45),
    "nin": (0.04, 0.005, "milestones(at=(80, 90))", 100),
}
OURS = "deep_defense(c=10.0, steps=3, candidates=3, optimizer=adam(learning_rate=0.001))"
METHODS = ("Reference", "Par. Train", "Adv. Train I", "Deep Defense")
NOTE = (
    "rho_2: DeepFool of at most five steps from the predicted class, without the box, over the norm of "
    "the image less the mean image. FGSM is without the box too, at the paper's own eps_ref, at which its"
    " Deep Defense is at 50% by construction."
)
WHITENED = (
    "The paper's eps_ref and norms are of whitened images, ours of images in [0, 1]: only the order compares."
)


def _columns(eps_ref: str, adaptive: str) -> tuple[Column, ...]:
    at = {
        share: f"fgsm(threat=linf(eps={float(eps_ref) * share:.4g}/255, box=False))"
        for share in (0.2, 0.5, 1.0)
    }
    shares = (Column(f"FGSM, {share} eps_ref", Accuracy(attack)) for share, attack in at.items())
    boxed = Column("rho, in the box", Norm("deepfool()", "ratio"), own=True)
    ddn = Column("DDN, l2 norm", Norm("ddn()"), own=True)
    return (CLEAN, Column("rho_2", Rho("deep_defense")), *shares, boxed, ddn, *honest(adaptive))


def _nets(net: str, data: str, presets: tuple[str, ...], smalls: Mapping[str, Any]) -> list[Net]:
    """A reference net, and the three that are fine-tuned from it."""
    form = "mean_image" if data == "mnist" else "matconvnet"  # the rates are for such pixels
    rate, decay, falls, epochs = REFERENCES[net.partition("(")[0]]
    plain = f"standard(optimizer=sgd(learning_rate={rate}, weight_decay={decay}, schedule={falls}))"
    start = Net(recipe(plain, net, data, epochs, 100, "none", form), smalls["Reference"])
    tuned = zip(METHODS[1:], presets, strict=True)
    wide = ", defense=deep_defense_cifar(c=70.0)" if net == "nin()" else ""  # the paper's exception
    return [
        start,
        *(
            Net(
                f"{preset}(model={net}{wide if preset == 'deep_defense_cifar' else ''})", smalls[label], start
            )
            for label, preset in tuned
        ),
    ]


def _table(
    name: str, title: str, eps_ref: str, nets: list[Net], paper: tuple[tuple[float, ...], ...], adaptive: str
) -> Experiment:
    ours = METHODS[-1]
    above = [
        Claim(f"rho_2 of Deep Defense is above that of {other}", (ours, "rho_2"), (other, "rho_2"))
        for other in METHODS[:-1]
    ]
    ddn = "DDN, l2 norm"
    more = (
        Claim("and so its norms are by DDN", (ours, ddn), ("Reference", ddn)),
        Claim("Deep Defense is more accurate than the reference", (ours, "clean"), ("Reference", "clean")),
        Claim(
            "and withstands FGSM better", (ours, "FGSM, 1.0 eps_ref"), ("Adv. Train I", "FGSM, 1.0 eps_ref")
        ),
    )
    return Experiment(
        name=f"deep_defense.table1_{name}",
        item=f"Deep Defense, table 1, {title}",
        title=f"Deep Defense and its baselines, {title}",
        columns=_columns(eps_ref, adaptive),
        rows=tuple(Row(label, net, of) for label, net, of in zip(METHODS, nets, paper, strict=True)),
        claims=(*above, *more),
        note=NOTE if "MNIST" in title else f"{NOTE} {WHITENED}",
    )


MLP, LENET = "mlp(units=(500, 150))", "lenet(form='matconvnet')"
_MNIST = ("parseval_mnist", "deepfool_training_mnist", "deep_defense_mnist")
_CIFAR = ("parseval_cifar", "deepfool_training_cifar", "deep_defense_cifar")
_SMALL_MLP = {
    "Reference": "standard_mlp_mnist",
    "Par. Train": small("parseval(optimizer=adam(learning_rate=0.001))", model=MLP),
    "Adv. Train I": small("deepfool_training(optimizer=adam(learning_rate=0.0001))", model=MLP),
    "Deep Defense": small(OURS, model=MLP),
}
_SMALL_LENET = {
    "Reference": "standard_lenet_mnist",
    "Par. Train": "parseval_lenet_mnist",
    "Adv. Train I": "deepfool_training_lenet_mnist",
    "Deep Defense": "deep_defense_lenet_mnist",
}


def _small_cifar(net: str) -> dict[str, Any]:
    """Few epochs on a CPU."""
    way = {"model": net, "data": "cifar10", "normalize": "standard", "epochs": 4}
    return {
        "Reference": small("standard()", **{**way, "epochs": 15, "augment": "crop_flip"}),
        "Par. Train": small("parseval(beta=0.0003, optimizer=adam(learning_rate=0.0001))", **way),
        "Adv. Train I": small("deepfool_training(optimizer=adam(learning_rate=0.0001))", **way),
        "Deep Defense": small(OURS.replace("0.001", "0.0001"), **way),
    }


_START = _nets(LENET, "mnist", _MNIST, _SMALL_LENET)[0]


def _variant(change: str, small_change: str, **more: Any) -> Net:
    """Deep Defense on LeNet with other options."""
    paper = f"deep_defense_mnist(model={LENET}, defense=deep_defense_mnist({change}))"
    return Net(paper, small(OURS.replace("c=10.0", small_change), **more), _START)


def _sweep(name: str, item: str, title: str, rows: tuple[Row, ...], **more: Any) -> Experiment:
    columns = (CLEAN, Column("rho_2", Rho("deep_defense")), Column("DDN, l2 norm", Norm("ddn()"), own=True))
    return Experiment(
        f"deep_defense.{name}", f"Deep Defense, {item}", title, columns, rows, note=NOTE, **more
    )


FIG2 = _sweep(
    "fig2",
    "fig. 2",
    "Convergence: accuracy and rho_2 along the training",
    tuple(
        Row(
            f"{stage:.0%}",
            Net(f"deep_defense_mnist(model={LENET})", small(OURS), _START, stage),
        )
        for stage in STAGES
    ),
    claims=(Claim("rho_2 grows with the epochs", ("100%", "rho_2"), ("20%", "rho_2")),),
)
FIG3_C = _sweep(
    "fig3_c",
    "fig. 3",
    "The exponent c",
    tuple(Row(f"c={c}", _variant(f"c={c}", f"c={c}")) for c in (5.0, 15.0, 25.0, 35.0, 45.0)),
    claims=(
        Claim("A small c is robust", ("c=5.0", "rho_2"), ("c=45.0", "rho_2")),
        Claim("and inaccurate", ("c=45.0", "clean"), ("c=5.0", "clean")),
    ),
)
FIG3_WEIGHT = _sweep(
    "fig3_lambda",
    "fig. 3",
    "The weight lambda",
    tuple(Row(f"lambda={w}", _variant(f"weight={w}", f"c=10.0, weight={w}")) for w in (5.0, 15.0, 25.0)),
    claims=(Claim("rho_2 grows with lambda", ("lambda=25.0", "rho_2"), ("lambda=5.0", "rho_2")),),
)
_LAYERS = {"conv1": "('conv2d',)", "conv2": "('conv2d_1',)", "fc1": "('features',)", "fc2": "('logits',)"}
FIG4 = _sweep(
    "fig4",
    "fig. 4",
    "Regularising the layers one by one",
    (
        *(Row(k, _variant(f"regularised={v}", f"c=10.0, regularised={v}")) for k, v in _LAYERS.items()),
        Row("all", _variant("regularised=None", "c=10.0")),
    ),
    claims=tuple(
        Claim(f"Of single layers fc1 is the best: above {other}", ("fc1", "rho_2"), (other, "rho_2"))
        for other in ("conv1", "conv2", "fc2")
    ),
)
_FGSM = "attack=fgsm(threat=linf(eps=0.25, box=False))"
COMBINED = Experiment(
    "deep_defense.with_fgsm",
    "Deep Defense, sec. 4.2",
    "Adversarial training with FGSM, Deep Defense, and both at once",
    (CLEAN, Column("rho_2", Rho("deep_defense")), *honest("0.2")),
    (
        Row(
            "Adv. Train II",
            Net(
                f"adversarial_mnist_finetune(model={LENET})",
                small(f"adversarial({_FGSM}, mix=0.5)"),
                _START,
            ),
        ),
        Row("Deep Defense", Net(f"deep_defense_mnist(model={LENET})", _SMALL_LENET["Deep Defense"], _START)),
        Row(
            "both",
            Net(
                f"deep_defense_mnist_fgsm(model={LENET})",
                small(OURS.replace("c=10.0", f"c=10.0, {_FGSM}")),
                _START,
            ),
        ),
    ),
    claims=(Claim("Both at once raise rho_2", ("both", "rho_2"), ("Adv. Train II", "rho_2")),),
)


def _imagenet() -> tuple[Row, ...]:
    """Reference and Deep Defense, for both nets."""
    sizes = {
        "AlexNet": ("alexnet", "alexnet(form='caffe')", 227),
        "ResNet": ("resnet18", "resnet18(form='imagenet')", 224),
    }
    paper = {"AlexNet": ((56.91, 2.98e-3), (57.11, 4.54e-3)), "ResNet": ((69.64, 1.63e-3), (69.66, 2.43e-3))}
    plain = "standard(optimizer=sgd(weight_decay=0.001, schedule=milestones(at=(30, 60, 80))))"
    made = []
    for label, (name, net, size) in sizes.items():
        folder = f"folder(path='imagenet', size={size})"
        start = Net(recipe(plain, net, folder, 90, 256, "resized_crop_flip"), {"epochs": 1})
        ours = Net(f"deep_defense_imagenet_{name}", {"epochs": 1}, start)
        made += [Row(f"{label}, reference", start, paper[label][0]), Row(label, ours, paper[label][1])]
    return tuple(made)


IMAGENET = Experiment(
    "deep_defense.table1_imagenet",
    "Deep Defense, table 1, ImageNet",
    "Deep Defense on ImageNet",
    (CLEAN, Column("rho_2", Rho("deep_defense"))),
    _imagenet(),
    claims=tuple(
        Claim(f"rho_2 is above the reference's, {net}", (net, "rho_2"), (f"{net}, reference", "rho_2"))
        for net in ("AlexNet", "ResNet")
    ),
    note="ImageNet must be at hand (--data). The paper starts from published nets, and prints no eps_ref.",
    images=50000,
)
EXPERIMENTS = (
    _table(
        "mlp",
        "MNIST, MLP",
        "35.16",
        _nets(MLP, "mnist", _MNIST, _SMALL_MLP),
        (
            (98.31, 0.111, 72.76, 29.08, 3.31),
            (98.32, 0.111, 77.44, 28.95, 2.96),
            (98.49, 0.162, 87.70, 59.69, 22.55),
            (98.65, 0.225, 95.04, 88.93, 50.00),
        ),
        "0.1",
    ),
    _table(
        "lenet",
        "MNIST, LeNet",
        "53.98",
        _nets(LENET, "mnist", _MNIST, _SMALL_LENET),
        (
            (99.02, 0.205, 90.95, 53.88, 19.75),
            (99.10, 0.203, 91.68, 66.48, 19.64),
            (99.18, 0.263, 95.20, 74.82, 41.40),
            (99.34, 0.284, 96.51, 88.93, 50.00),
        ),
        "0.2",
    ),
    _table(
        "convnet",
        "CIFAR-10, ConvNet",
        "2.75",
        _nets("convnet()", "cifar10", _CIFAR, _small_cifar("convnet()")),
        (
            (79.74, 0.0259, 61.62, 37.84, 23.85),
            (80.48, 0.0342, 69.19, 50.43, 22.13),
            (80.65, 0.0305, 65.16, 45.03, 35.53),
            (81.70, 0.0532, 72.15, 59.02, 50.00),
        ),
        "2/255",
    ),
    _table(
        "nin",
        "CIFAR-10, NIN",
        "3.75",
        _nets("nin()", "cifar10", _CIFAR, _small_cifar("nin()")),
        (
            (89.64, 0.0420, 75.61, 49.22, 33.56),
            (88.20, 0.0433, 75.39, 49.75, 17.74),
            (89.87, 0.0525, 78.87, 58.85, 45.90),
            (89.96, 0.0558, 80.70, 70.73, 50.00),
        ),
        "2/255",
    ),
    IMAGENET,
    COMBINED,
    FIG2,
    FIG3_C,
    FIG3_WEIGHT,
    FIG4,
)
