"""What batch normalisation in one kernel and half precision save of a training step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_adv import registry
from keras_adv.backend import Game
from keras_adv.backend import normalisation as kernel
from keras_adv.bench.clock import CLASSES, images, medians, network
from keras_adv.models import Architecture
from keras_adv.precision import computing_in
from keras_adv.validate import unusable


def normalisation(
    batch: int = 128,
    repeats: int = 7,
    model: Architecture | str = "wrn(depth=16, width=2)",
    only: list[str] | None = None,
) -> Iterator[dict[str, Any]]:
    """Four rows for each defense: a step with Keras' batch normalisation and with the one kernel, in float32
    and in bfloat16, over Keras' own in float32 and over Keras' own in the same precision.

    Args:
        batch: images a step.
        repeats: timings of each, in turn.
        model: a network with batch normalisation.
        only: names of defenses; default "standard".

    Raises:
        InvalidInput: this backend or device has no such kernel.
    """
    if not kernel.POSSIBLE:
        where = f"{keras.config.backend()} on this machine"
        raise unusable("what", "another than 'normalisation' but with TensorFlow on a CPU", where)
    for defense in only or ("standard",):
        made = {
            (precision, fused): _step(defense, model, batch, precision, fused)
            for precision in ("float32", "mixed_bfloat16")
            for fused in (False, True)
        }
        times = medians(made, repeats)
        for (precision, fused), seconds in times.items():
            own = seconds / times[precision, False]
            yield {
                "name": f"{defense}, {precision}, {'one kernel' if fused else 'Keras'}",
                "passes": f"{own:.2f} of Keras' in {precision}",
                "ratio": seconds / times["float32", False],
                "seconds": seconds,
            }


def _step(
    defense: str, model: Architecture | str, batch: int, precision: str, fused: bool
) -> Callable[[], Any]:
    """A compiled training step of a fresh net."""
    design, shape = network(model)
    x, y = (np.asarray(part) for part in images(batch, shape))
    net, made = design.build(shape, CLASSES), registry.parse("defense", defense)
    with _kernel(fused), computing_in(net, precision):
        game = Game(net, made)
        game.compile_moves(made.moves(), 100, 1)
        game.train_on_batch(x, y)  # traces it, while all is as asked
    return lambda: game.train_on_batch(x, y)


@contextlib.contextmanager
def _kernel(fused: bool) -> Iterator[None]:
    """Has nets use it, or not, whatever would be chosen for this processor."""
    before, kernel.AVAILABLE = kernel.AVAILABLE, fused
    try:
        yield
    finally:
        kernel.AVAILABLE = before
