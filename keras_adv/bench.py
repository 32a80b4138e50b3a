"""What attacks and training steps cost over their floor: the bare passes that they need.

Both are compiled, timed in the same process, alternating; a row is the median of the ratios. On a CPU keep the
machine otherwise idle.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_adv import noise, registry
from keras_adv.attacks import Attack
from keras_adv.backend import Game, Net, compile, jacobian, value_and_grad
from keras_adv.defenses.base import Batch, Defense, Move, Nets
from keras_adv.losses import cross_entropy
from keras_adv.models import LeNet
from keras_adv.optimizers import Adam

SHAPE, CLASSES = (28, 28, 1), 10


def _images(batch: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = ops.convert_to_tensor(rng.random((batch, *SHAPE), "float32"))
    return x, ops.convert_to_tensor(rng.integers(0, CLASSES, batch).astype("int32"))


def _seconds(fn: Callable[[], Any]) -> float:
    start = time.perf_counter()
    for leaf in keras.tree.flatten(fn()):
        np.asarray(leaf)  # waits for asynchronous devices
    return time.perf_counter() - start


def ratio(
    make: Callable[[], tuple[Callable[[], Any], Callable[[], Any]]], repeats: int, builds: int
) -> tuple[float, float]:
    """(median of time(work) / time(floor), median time of work), alternating, after one warm-up of each.

    `make` compiles both anew, `builds` times: on a CPU two compilations of one function can differ by a third.
    """
    pairs = []
    for _ in range(builds):
        work, floor = make()
        _seconds(work)
        _seconds(floor)
        pairs += [(_seconds(work), _seconds(floor)) for _ in range(repeats)]
    return statistics.median(a / b for a, b in pairs), statistics.median(a for a, _ in pairs)


def attacks(batch: int = 256, steps: int = 20, repeats: int = 3) -> Iterator[dict[str, Any]]:
    """One row for each registered attack on LeNet, 28x28: all its steps against as many bare gradients."""
    net = LeNet().build(SHAPE, CLASSES)
    x, y = _images(batch)
    logits = Net(net, frozen=True).logits
    seeds = noise.seeds(0, ops.arange(batch))
    for cls in registry.registered("attack").values():
        make: Any = cls
        long = "steps" in {field.name for field in dataclasses.fields(make)}
        attack = make(steps=steps) if long else make()

        def make_both(attack: Attack = attack) -> Any:
            work = compile(_all_steps(attack, logits), net)
            return partial(work, x, y, seeds), partial(compile(_bare(attack, logits), net), x, y)

        over, seconds = ratio(make_both, repeats, builds=3)
        yield {
            "name": registry.spec(attack),
            "passes": attack.total * attack.gradients(CLASSES) + attack.opening(CLASSES),
            "ratio": over,
            "seconds": seconds,
        }


def _all_steps(attack: Attack, logits: Any) -> Callable[..., Any]:
    def run(x: Any, y: Any, seeds: Any) -> Any:
        state = attack.begin(logits, x, y, seeds)
        return attack.candidate(attack.advance(logits, x, y, state, attack.total, stop=False))

    return run


def _bare(attack: Attack, logits: Any) -> Callable[..., Any]:
    def gradient(x: Any, y: Any) -> Any:
        return value_and_grad(lambda v: (cross_entropy(logits(v), y), 0), x)[2]

    def run(x: Any, y: Any) -> Any:
        def body(k: Any, v: Any) -> tuple[Any, Any]:
            many = attack.gradients(CLASSES) > 1
            g = ops.sum(jacobian(logits, v)[1], axis=1) if many else gradient(v, y)
            return k + 1, v - 1e-6 * g  # the next pass depends on this one

        if attack.opening(CLASSES):
            x = x - 1e-6 * ops.sum(jacobian(logits, x)[1], axis=1)
        return ops.while_loop(lambda k, v: k < attack.total, body, (ops.zeros((), "int32"), x))[1]

    return run


class _Pass(Defense):
    """One bare training pass of a player: first order by the weights, or second order (through an input gradient)."""

    name, kind, optimizer = "pass", "defense", Adam()

    def __init__(self, base: Defense, player: str, second: bool) -> None:
        self.base, self.player, self.second = base, player, second

    def networks(self, net: keras.Model) -> dict[str, keras.layers.Layer]:
        return self.base.networks(net)

    def moves(self) -> tuple[Move, ...]:
        return (Move(self.player, (self.player,), self.optimizer, ("bare",), self._loss),)

    def _loss(self, nets: Nets, batch: Batch) -> dict[str, Any]:
        net, y = nets[self.player], batch["y"]
        if not self.second:
            return {"bare": cross_entropy(net.logits(batch["x"], training=True, update=True), y)}
        g = value_and_grad(lambda v: (cross_entropy(net.logits(v), y), 0), batch["x"])[2]
        return {"bare": ops.sum(ops.square(g), axis=tuple(range(1, len(g.shape))))}


def training(batch: int = 100, repeats: int = 5) -> Iterator[dict[str, Any]]:
    """One row for each registered defense on LeNet, 28x28: a step against the passes of `Defense.passes`."""
    x, y = _images(batch)
    for cls in registry.registered("defense").values():
        defense: Any = cls()
        net = defense.design(LeNet()).build(SHAPE, CLASSES)
        work = _step(Game(net, defense), x, y)
        parts = [(n, _part(defense, net, key, x, y)) for key, n in defense.passes(CLASSES).items()]
        floor = _chain(parts)
        over, seconds = ratio(partial(_both, work, floor), repeats, builds=1)
        passes = ", ".join(f"{n} {key}" for key, n in defense.passes(CLASSES).items())
        yield {"name": registry.spec(defense), "passes": passes, "ratio": over, "seconds": seconds}


def _both(work: Callable[[], Any], floor: Callable[[], Any]) -> Any:
    return work, floor


def _chain(parts: list[tuple[int, Callable[[], Any]]]) -> Callable[[], Any]:
    return lambda: [np.asarray(part()) for count, part in parts for _ in range(count)]


def _step(game: Game, x: Any, y: Any) -> Callable[[], Any]:
    game.start(game.defense.moves(), 100, 1)
    xs, ys = np.asarray(x), np.asarray(y)
    return lambda: next(iter(game.train_on_batch(xs, ys, return_dict=True).values()))


def _part(defense: Defense, net: keras.Model, key: str, x: Any, y: Any) -> Callable[[], Any]:
    player, order = key.split(".")
    if order in ("weights", "second"):
        return _step(Game(net, _Pass(defense, player, order == "second")), x, y)
    model = net if player == "net" else defense.networks(net)[player]
    logits = Net(model, frozen=True).logits
    if order == "jacobian":
        run = compile(lambda v: ops.sum(jacobian(logits, v)[1]), model)
    else:
        run = compile(lambda v: value_and_grad(lambda u: (cross_entropy(logits(u), y), 0), v)[2], model)
    return lambda: run(x)
