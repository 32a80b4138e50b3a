"""What attacks cost over their floor."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_adv import registry
from keras_adv.attacks import Attack, Task
from keras_adv.attacks.base import Passes
from keras_adv.attacks.ensemble import Ensemble
from keras_adv.attacks.host import HostAttack
from keras_adv.attacks.task import Examples
from keras_adv.backend import FrozenNet, compile, jacobian, separate_graph, value_and_grad
from keras_adv.bench.clock import CLASSES, images, network, ratio
from keras_adv.losses import cross_entropy
from keras_adv.models import Architecture

SHORT = {"steps": 20, "searches": 2, "inner": 4, "population": 40}
"""Options that make an attack short enough to be timed."""


def attacks(
    batch: int = 256,
    repeats: int = 3,
    builds: int = 3,
    model: Architecture | str = "lenet()",
    only: Sequence[str] = (),
) -> Iterator[dict[str, Any]]:
    """One row for each registered attack: all its rounds against as many bare passes.

    On 28x28 images, or 32x32 colour images for networks other than LeNet and MLP. Ensembles cost what their
    parts do and have no row.
    """
    design, shape = network(model)
    net = design.build(shape, CLASSES)
    for name, cls in registry.registered("attack").items():
        if issubclass(cls, Ensemble) or (only and name not in only):
            continue
        make: Any = cls
        long = {f.name: f.default for f in dataclasses.fields(make) if isinstance(f.default, int)}
        attack = make(**{key: min(n, long[key]) for key, n in SHORT.items() if key in long})
        work, floor, passes = (
            _on_host(attack, net, batch) if isinstance(attack, HostAttack) else _compiled(attack, net, batch)
        )
        over, seconds = ratio(partial(_both, work, floor), repeats, builds)
        yield {"name": registry.spec(attack), "passes": passes, "ratio": over, "seconds": seconds}


def _both(work: Callable[[], Any], floor: Callable[[], Any]) -> tuple[Any, Any]:
    return work(), floor()


def _examples(attack: Attack, net: keras.Model, batch: int) -> Examples:
    x, y = images(batch, net.input_shape[1:])
    guide = ops.flip(x, axis=0) if attack.guided else None
    return Examples.of_batch(x, y, eps=attack.threat.radii(x), guide=guide)


def _compiled(attack: Attack, net: keras.Model, batch: int) -> tuple[Any, Any, int]:
    """(make the attack, make its floor, passes)."""
    examples = _examples(attack, net, batch)

    def run(examples: Examples) -> Any:
        task = Task(FrozenNet(net), examples)
        return attack.candidate(attack.advance(task, attack.begin(task), attack.rounds, stop=False))

    floor = partial(bare_run, attack, net, examples, attack.rounds)
    passes = attack.rounds * attack.round_cost(CLASSES) + attack.start_cost(CLASSES)
    return lambda: partial(compile(run, net), examples), floor, passes


def _on_host(attack: HostAttack, net: keras.Model, batch: int) -> tuple[Any, Any, int]:
    """The same, for as many rounds as an image of the batch took in the mean."""
    examples = _examples(attack, net, batch).as_arrays()
    examples = examples._replace(y=net.predict(examples.x, verbose=0).argmax(1).astype("int32"))
    search = attack.search(FrozenNet(net), lambda fn: compile(fn, net))
    rounds = round(float(search(examples)[1].mean()))
    passes = rounds * attack.round_cost(CLASSES) + attack.start_cost(CLASSES)
    return lambda: lambda: search(examples)[0], partial(bare_run, attack, net, examples, rounds), passes


def bare_run(attack: Attack, net: keras.Model, examples: Examples, rounds: int) -> Callable[[], Any]:
    """The bare passes of so many rounds of the attack, compiled."""
    bare = _bare_passes(attack.passes_at_start, attack.passes_per_round, FrozenNet(net))
    return partial(compile(bare, net), examples.x, examples.y, np.int32(rounds))


def _bare_passes(at_start: Passes, per_round: Passes, logits: Any) -> Callable[..., Any]:
    def one(kind: str, x: Any, y: Any) -> Any:
        """An image that depends on the pass, so that the next pass waits for it."""
        if kind == "forward":
            return x + 1e-9 * ops.reshape(ops.sum(logits(x), axis=1), (-1, 1, 1, 1))
        if kind == "jacobian":
            return x + 1e-9 * ops.sum(jacobian(logits, x)[1], axis=1)
        return x + 1e-9 * value_and_grad(lambda v: (cross_entropy(logits(v), y), 0), x)[2]

    def all_of(passes: Passes, x: Any, y: Any) -> Any:
        for kind, many in passes.items():
            for _ in range(many):
                x = one(kind, x, y)
        return x

    def run(x: Any, y: Any, rounds: Any) -> Any:
        first = (ops.zeros((), "int32"), all_of(at_start, ops.convert_to_tensor(x), y))
        again = separate_graph(lambda k, v: (k + 1, all_of(per_round, v, y)))
        return ops.while_loop(lambda k, v: k < rounds, again, first)[1]

    return run
