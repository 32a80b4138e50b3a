"""What an evaluation saves by refilling slots, and how much memory it holds."""

from __future__ import annotations

import dataclasses
import json
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_adv import data, evaluation, registry, zoo
from keras_adv.attacks import Task
from keras_adv.attacks.task import Examples
from keras_adv.backend import FrozenNet, compile
from keras_adv.bench.clock import ratio
from keras_adv.evaluation.slots import in_batches
from keras_adv.models import LeNet

GIB = 2.0**30


def refill(
    repeats: int = 3,
    batch: int = 256,
    model: str = "standard_lenet_digits",
    images: str = "digits",
    count: int = 2000,
) -> Iterator[dict[str, Any]]:
    """PGD-40 at the eps that breaks 95% of an undefended model: with refilled slots, against fixed batches of
    which every image waits for the last one. Both keep an image that is fooled as it is, so they find the
    same.

    Args:
        repeats: timings of each, alternating.
        batch: slots.
        model: what `zoo.open` takes.
        images: data, test and training images in turn.
        count: images at most.
    """
    net, loaded = zoo.open(model), data.load(images)
    x, y = (np.concatenate(pair)[:count] for pair in zip(loaded.test, loaded.train, strict=True))
    spec = "pgd(threat=linf(eps={}), steps=40)"
    for eps in np.arange(0.1, 1.0, 0.02):
        attack = registry.parse("attack", spec.format(round(float(eps), 2)))
        if evaluation.attack(net, x, y, attack).success.mean() >= 0.95:
            break

    examples = Examples.of_batch(x, y, eps=attack.threat.radii(x)).as_arrays()
    fixed = compile(lambda batch: attack.run(Task(FrozenNet(net), batch)), net)

    def refilled() -> Any:
        return evaluation.attack(net, x, y, attack, batch_size=batch)

    def waiting() -> Any:
        return in_batches(fixed, batch, examples)[1]

    over, seconds = ratio(lambda: (refilled, waiting), repeats, builds=1)
    result = refilled()
    both = [f"{1 - np.mean(found):.4f}" for found in (result.success, waiting())]
    least = result.passes[result.clean].mean() / attack.steps
    yield {
        "name": registry.spec(attack),
        "passes": f"robust {both[0]} and {both[1]}; {least:.2f} of the passes",
        "ratio": over,
        "seconds": seconds,
    }


def memory(count: int = 10000, attacked: int = 256, only: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """GiB that each attack holds above the model, on `count` images of CIFAR size; each in a process of its
    own.

    Only `attacked` of them are classified as their labels say, so that it ends; all have their place in
    memory.
    """
    for name, cls in registry.registered("attack").items():
        if only and name not in only:
            continue
        fields = {field.name for field in dataclasses.fields(cls)}
        short = ", ".join(f"{key}={value}" for key, value in SHORT.items() if key in fields)
        code = (
            f"from keras_adv.bench.evaluation_cost import peak; peak('{name}({short})', {count}, {attacked})"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seen = json.loads(done.stdout.strip().splitlines()[-1])
        yield {
            "name": f"{name}({short})",
            "passes": f"{count} images",
            "ratio": seen["gib"],
            "seconds": seen["seconds"],
        }


SHORT = {"steps": 5, "searches": 1, "restarts": 1, "queries": 5}
"""Options that make an attack short; memory does not depend on them."""


def peak(spec: str, count: int, attacked: int) -> None:
    """Prints what one evaluation adds to the peak memory of this process."""
    model = LeNet().build((32, 32, 3), 10)
    model.predict(np.zeros((256, 32, 32, 3), "float32"), verbose=0)
    before = held()
    x = np.random.default_rng(0).random((count, 32, 32, 3), "float32")
    right = model.predict(x, batch_size=256, verbose=0).argmax(1)
    y = np.where(np.arange(count) < attacked, right, (right + 1) % 10)
    result = evaluation.attack(model, x, y, spec)
    print(json.dumps({"gib": (held() - before) / GIB, "seconds": result.seconds}))


def held() -> float:
    """Largest resident size so far, in bytes."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size * (1.0 if sys.platform == "darwin" else 1024.0)
