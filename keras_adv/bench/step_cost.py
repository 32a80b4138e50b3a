"""What training steps cost over their floor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_adv import registry
from keras_adv.arrays import square_norm
from keras_adv.backend import Game, Net, compile, jacobian, value_and_grad
from keras_adv.bench.clock import CLASSES, images, network, ratio
from keras_adv.defenses.base import Batch, Defense, Move, Nets
from keras_adv.losses import cross_entropy
from keras_adv.models import Architecture
from keras_adv.optimizers import Adam
from keras_adv.validate import InvalidInput


class _Pass(Defense):
    """One bare training pass of a player: first order by the weights, or second order (through an input
    gradient)."""

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
            return {"bare": cross_entropy(net.logits(batch["x"], mode="training"), y)}
        g = value_and_grad(lambda v: (cross_entropy(net.logits(v), y), 0), batch["x"])[2]
        return {"bare": square_norm(g)}


def training(
    batch: int = 100, repeats: int = 5, model: Architecture | str = "lenet()", only: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """One row for each registered defense: a step against the passes of `Defense.passes`.

    On 28x28 images, or 32x32 colour images for networks other than LeNet and MLP.
    """
    asked, shape = network(model)
    x, y = images(batch, shape)
    for name, cls in registry.registered("defense").items():
        if only and name not in only:
            continue
        defense: Any = cls()
        try:
            design = defense.adapt_model(asked)
        except InvalidInput:  # dropout on a network that has none
            continue
        net = defense.predictor(design.build(shape, CLASSES))
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
    game.compile_moves(game.defense.moves(), 100, 1)
    xs, ys = np.asarray(x), np.asarray(y)
    return lambda: next(iter(game.train_on_batch(xs, ys, return_dict=True).values()))


def _part(defense: Defense, net: keras.Model, key: str, x: Any, y: Any) -> Callable[[], Any]:
    player, order = key.split(".")
    if order in ("weights", "second"):
        return _step(Game(net, _Pass(defense, player, order == "second")), x, y)
    model = net if player == "net" else defense.networks(net)[player]
    logits = Net(model, frozen=True).logits
    if order == "forward":
        run = compile(lambda v: ops.sum(logits(v)), model)
    elif order == "jacobian":
        run = compile(lambda v: ops.sum(jacobian(logits, v)[1]), model)
    else:
        run = compile(lambda v: value_and_grad(lambda u: (cross_entropy(logits(u), y), 0), v)[2], model)
    return lambda: run(x)
