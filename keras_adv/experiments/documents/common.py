"""What the experiments of several documents share: small nets, and measures beside a paper's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_adv.experiments.base import Column, Net, Row
from keras_adv.experiments.measures import Accuracy, Adaptive


def inner(eps: str, loss: str = "", start: bool = True) -> str:
    """The attack inside of small adversarial trainings: five steps."""
    more = f", loss={loss}" if loss else ""
    random = "" if start else ", random_start=False, jitter=0.001"
    return f"pgd(threat=linf(eps={eps}), steps=5, step_size=0.25{more}{random})"


def small(defense: str, **more: Any) -> dict[str, Any]:
    """Five epochs of Adam on a LeNet of MNIST, as the zoo's nets are trained."""
    plain = {"augment": "none", "precision": "float32", "average": None, "best": None, "grow": None}
    net = {"model": "lenet()", "data": "mnist", "epochs": 5, "batch_size": 100, "normalize": "none"}
    return {**plain, **net, "defense": defense, **more}


def recipe(
    defense: str,
    model: str,
    data: str,
    epochs: int,
    batch_size: int = 128,
    augment: str = "none",
    normalize: str = "none",
) -> str:
    """A recipe that has no preset."""
    return (
        f"recipe(defense={defense}, model={model}, data={data!r}, epochs={epochs}, batch_size={batch_size}, "
        f"augment={augment!r}, normalize={normalize!r})"
    )


def small_cifar(defense: str, data: str = "cifar10") -> dict[str, Any]:
    """Six epochs of a small WRN on CIFAR; the optimizer goes into the braces of the defense."""
    rate = "optimizer=sgd(learning_rate=0.05, nesterov=True, weight_decay=0.005, schedule=one_cycle())"
    way = {"model": "wrn(depth=10, width=2)", "data": data, "augment": "crop_flip", "epochs": 6}
    return small(defense.format(rate), **way)


def resnet_mnist(defense: str, **more: Any) -> dict[str, Any]:
    """As `small`, on AFD's net for MNIST."""
    return small(defense, **{"model": "resnet18(form='afd_mnist')", **more})


def honest(eps: str, correct: bool = False) -> tuple[Column, ...]:
    """Beside PGD of a paper: the attack that knows the defense."""
    return (Column(f"adaptive, linf {eps}", Adaptive(f"linf(eps={eps})", correct), own=True),)


def rows(nets: Mapping[str, Net], paper: Mapping[str, tuple[float | None, ...]]) -> tuple[Row, ...]:
    """A row for each net, with what the paper has of it."""
    return tuple(Row(label, net, paper.get(label, ())) for label, net in nets.items())


CLEAN = Column("clean", Accuracy())


def standard(
    model: str, data: str, small_net: str | dict[str, Any], epochs: int, augment: str, normalize: str = "none"
) -> Net:
    """A net without defense, by SGD whose rate falls twice."""
    at = (epochs // 2, 3 * epochs // 4)
    defense = f"standard(optimizer=sgd(learning_rate=0.1, weight_decay=0.002, schedule=milestones(at={at})))"
    return Net(recipe(defense, model, data, epochs, 128, augment, normalize), small_net)
