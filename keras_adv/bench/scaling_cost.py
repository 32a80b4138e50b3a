"""How the cost of an evaluation grows with images, classes and the size of the net."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_adv import evaluation, registry
from keras_adv.attacks.task import Examples
from keras_adv.bench.attack_cost import bare_run
from keras_adv.bench.clock import network, ratio
from keras_adv.bench.evaluation_cost import GIB, held

CASES = [
    *(("lenet()", n, 10, "pgd(threat=linf(eps=0.0001), steps=10)") for n in (100, 1000, 10_000)),
    *(("lenet()", 256, k, "deepfool(threat=l2(), steps=1)") for k in (10, 30, 100)),
    *(
        (net, 16, 10, "pgd(threat=linf(eps=0.0001), steps=10)")
        for net in ("lenet()", "wrn(depth=10, width=2)", "resnet18()", "wrn(depth=28, width=10)")
    ),
]
"""Network, images, classes, attack. In so small a ball nothing is broken, so that all images take all
rounds."""
BATCH = 256


def scaling(repeats: int = 3) -> Iterator[dict[str, Any]]:
    """Seconds of an evaluation over those of its bare passes in the same batches, and the GiB that it holds
    above the model, each case in a process of its own."""
    for case in CASES:
        code = f"from keras_adv.bench.scaling_cost import measure; measure(*{case!r}, {repeats})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seen = json.loads(done.stdout.strip().splitlines()[-1])
        net, n, classes, spec = case
        yield {
            "name": f"{net}, {n} images, {classes} classes, {spec.split('(')[0]}",
            "passes": f"{seen['gib']:.2f} GiB",
            "ratio": seen["ratio"],
            "seconds": seen["seconds"],
        }


def measure(net: str, count: int, classes: int, spec: str, repeats: int) -> None:
    """Prints one case."""
    design, shape = network(net)
    model, attack = design.build(shape, classes), registry.parse("attack", spec)
    size = min(BATCH, count)
    x = np.random.default_rng(0).random((count, *shape), "float32")
    y = model.predict(x, batch_size=size, verbose=0).argmax(1).astype("int32")
    before = held()
    examples = Examples.of_batch(x[:size], y[:size], eps=attack.threat.radii(x[:size]))
    bare = bare_run(attack, model, examples, attack.rounds)

    def work() -> Any:
        return evaluation.attack(model, x, y, attack, batch_size=size).images

    def passes() -> Any:
        return [np.asarray(bare()) for _ in range(-(-count // size))][-1]

    found, seconds = ratio(lambda: (work, passes), repeats, builds=1)
    print(json.dumps({"ratio": found, "seconds": seconds, "gib": (held() - before) / GIB}))
