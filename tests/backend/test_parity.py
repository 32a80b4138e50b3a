"""The same recipe under TensorFlow and JAX: the losses of the first 20 steps agree."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_adv import data, registry
from keras_adv.backend import Game
from keras_adv.models import LeNet

QUICK = {
    "adversarial": "adversarial(attack=pgd(threat=linf(eps=0.1), steps=3))",
    "critic": "critic(width=64)",
}
"""Where the defaults would compile for long."""
OWN_STREAMS = ("dropout",)
"""Keras' dropout draws from streams that differ between backends."""
SPECS = [QUICK.get(name, f"{name}()") for name in registry.registered("defense") if name not in OWN_STREAMS]


def losses():
    """Every term of 20 steps of every defense, from weights drawn by NumPy."""
    digits, out = data.load("digits"), {}
    for spec in SPECS:
        defense = registry.parse("defense", spec)
        net = defense.design(LeNet()).build(digits.shape, digits.classes)
        game = Game(net, defense)
        rng = np.random.default_rng(0)
        for v in game.trainable_variables:
            fan = np.prod(v.shape[:-1]) if len(v.shape) > 1 else np.inf
            v.assign(rng.normal(size=v.shape) * np.sqrt(2 / fan))
        game.start(defense.moves(), 20, 1)
        batches = data.Batches(digits.train, 50, seed=0)
        rows = []
        for step in range(20):
            game.reset_metrics()
            rows.append(game.train_on_batch(*batches[step], return_dict=True))
        out[spec] = [{k: float(v) for k, v in row.items()} for row in rows]
    return out


def test_both_backends_see_the_same_losses():
    other = "jax" if keras.config.backend() == "tensorflow" else "tensorflow"
    if other == "jax":
        pytest.importorskip("jax")
    env = {**os.environ, "KERAS_BACKEND": other}
    done = subprocess.run([sys.executable, __file__], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = json.loads(done.stdout.splitlines()[-1])
    for spec, ours in losses().items():
        for step, (a, b) in enumerate(zip(ours, theirs[spec], strict=True)):
            assert set(a) == set(b)
            for term, value in a.items():
                assert value == pytest.approx(b[term], rel=1e-3, abs=1e-5), (spec, step, term)


if __name__ == "__main__":
    print(json.dumps(losses()))
