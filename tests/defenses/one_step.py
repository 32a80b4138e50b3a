"""One step of every phase of a defense on a small net with batch normalisation, watched move by move."""

import functools
from typing import NamedTuple

import keras
import numpy as np
from keras import ops
from short_runs import QUICK

from keras_adv import backend, registry
from keras_adv.backend import Game

CLASSES, IMAGES, EPS = 3, 24, 0.1
MOMENTUM, OLD_MEAN = 0.9, -0.3
RNG = np.random.default_rng(0)
X = RNG.random((IMAGES, 4, 4, 1)).astype("float32")
Y = (np.arange(IMAGES) % CLASSES).astype("int32")


def quick(fn, game):
    """`fn` as it is; on JAX, which would compile every operation by itself, jitted."""
    return backend.compile(fn, game) if keras.config.backend() == "jax" else fn


def snapshot(variable):
    """Its value now, whatever is assigned to it later."""
    return variable.value + 0


def normed():
    """A small net with batch normalisation directly on the images, whose running mean shows what passed."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 1))
    seen = keras.layers.BatchNormalization(momentum=MOMENTUM, name="seen")(inputs)
    hidden = keras.layers.Dense(12, activation="relu", name="features")(keras.layers.Flatten()(seen))
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(hidden))


class Seen(NamedTuple):
    """One move of a step: what its loss returned, and which variables were other ones afterwards."""

    move: object
    terms: dict
    changed: set


class Step(NamedTuple):
    """One step of every phase of a defense on `normed`, and the running mean after each of them."""

    game: Game
    seen: list
    means: list


class Watched(Game):
    """A game that keeps the terms of each move and the values that it leaves."""

    def make_move(self, move, nets, batch):
        terms = super().make_move(move, nets, batch)
        shown = {name: value for name, value in terms.items() if name not in ("loss", "accuracy")}
        learnable = [v for player in self.players.values() for v in player.trainable_variables]
        self.story.append((shown, [snapshot(v) for v in {id(v): v for v in learnable}.values()]))
        return terms


FEW = "attack=pgd(threat=linf(eps=0.1), steps=2"
SHORT = {
    **{name: QUICK[name] for name in ("critic", "deep_defense", "mat", "trades")},
    "adversarial": f"adversarial({FEW}))",
    "afd": f"afd({FEW}))",
    "awp": f"awp(inner=adversarial({FEW})))",
    "mart": f"mart({FEW}))",
    "rslad": f"rslad({FEW}, random_start=False, jitter=0.05))",
}
"""One step of an attack is as the other, and takes long in eager mode."""


@functools.cache
def one_step(spec):
    defense = registry.parse("defense", SHORT.get(spec, spec))
    game, seen, means = Watched(normed(), defense), [], []
    mean = next(v for v in game.predictor.non_trainable_variables if v.path.endswith("seen/moving_mean"))
    variables = list({id(v): v for p in game.players.values() for v in p.trainable_variables}.values())
    for phase in defense.phases(3):
        game.compile_moves(phase.moves, 10, 1)
        mean.assign([OLD_MEAN])
        before = [np.asarray(snapshot(v)) for v in variables]

        def step(x, y):
            game.__dict__["story"] = []
            game.play(x, y)
            return game.story, snapshot(mean)

        story, moved = quick(step, game)(ops.convert_to_tensor(X), ops.convert_to_tensor(Y))
        means.append(float(np.asarray(moved)[0]))
        for move, (terms, after) in zip(phase.moves, story, strict=True):
            after = [np.asarray(value) for value in after]
            changed = {id(v) for v, a, b in zip(variables, before, after, strict=True) if (a != b).any()}
            seen.append(Seen(move, {k: np.asarray(v) for k, v in terms.items()}, changed))
            before = after
    return Step(game, seen, means)
