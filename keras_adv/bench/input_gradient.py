"""What the faster convolutions of grey images save."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from keras_adv import registry
from keras_adv.backend import FrozenNet, compile, value_and_grad
from keras_adv.bench.clock import CLASSES, images, network, ratio
from keras_adv.losses import cross_entropy
from keras_adv.models import Architecture


def gradient(
    batch: int = 256, repeats: int = 3, model: Architecture | str = "lenet()"
) -> Iterator[dict[str, Any]]:
    """One row: the input gradient as attacks take it, against that of the Keras model itself."""
    design, shape = network(model)
    net = design.build(shape, CLASSES)
    x, y = images(batch, shape)

    def made(logits: Callable[[Any], Any]) -> Callable[[], Any]:
        slope = compile(lambda v: value_and_grad(lambda u: (cross_entropy(logits(u), y), 0), v)[2], net)
        return lambda: slope(x)

    ours, plain = FrozenNet(net), lambda v: net(v, training=False)
    over, seconds = ratio(lambda: (made(ours), made(plain)), repeats, builds=3)
    yield {"name": registry.spec(design), "passes": 1, "ratio": over, "seconds": seconds}
