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
from keras_adv.models import MLP, LeNet
from keras_adv.optimizers import SGD

QUICK = {
    "adversarial": "adversarial(attack=pgd(threat=linf(eps=0.1), steps=3))",
    "critic": "critic(width=64)",
    "deep_defense": "deep_defense(steps=2)",
    "trades": "trades(attack=pgd(threat=linf(eps=0.1), steps=2, random_start=False, jitter=0.05, loss='kl'))",
    "vat": "vat(xi=0.5)",
    "mat": "mat(attack=pgd(threat=linf(eps=0.1), steps=2, random_start=False, jitter=0.05, loss='cosine_distance'))",
}
"""Where the defaults would compile for long, or start where the sign of a gradient is rounding."""
OWN_STREAMS = ("dropout",)
"""Keras' dropout draws from streams that differ between backends."""
CONVOLVED = ("standard()", "margin()", QUICK["adversarial"], QUICK["critic"])
"""On LeNet, whose second-order passes XLA compiles for long; the others on a perceptron."""
JUMPY = ("margin()", "double_backprop()", "mad()")
"""Adam's first steps are the signs of gradients, and a ReLU net's penalty jumps where they differ."""
SPECS = [QUICK.get(name, f"{name}()") for name in registry.registered("defense") if name not in OWN_STREAMS]


def losses():
    """Every term of 20 steps of every defense, from weights drawn by NumPy."""
    digits, out = data.load("digits"), {}
    for spec in SPECS:
        defense = registry.parse("defense", spec)
        if spec in JUMPY:
            defense = defense.replace(optimizer=SGD(learning_rate=0.02))
        design = LeNet() if spec in CONVOLVED else MLP(units=(48, 24))
        net = defense.adapt_model(design).build(digits.shape, digits.classes)
        game = Game(net, defense)
        rng = np.random.default_rng(0)
        for v in game.trainable_variables:
            fan = np.prod(v.shape[:-1]) if len(v.shape) > 1 else np.inf
            v.assign(rng.normal(size=v.shape) * np.sqrt(2 / fan))
        for v in game.non_trainable_variables:
            if v.path.endswith("/u"):  # of the power method, drawn by Keras
                v.assign(rng.normal(size=v.shape))
        game.compile_moves(defense.moves(), 20, 1)
        batches = data.Batches(digits.train, 50, seed=0)
        rows = []
        for step in range(20):
            game.reset_metrics()
            rows.append(game.train_on_batch(*batches[step], return_dict=True))
        out[spec] = [{k: float(v) for k, v in row.items()} for row in rows]
    return out


@pytest.fixture(scope="module")
def both():
    """spec -> terms of every step, on TensorFlow and on JAX."""
    if keras.config.backend() != "tensorflow":
        pytest.skip("the run on TensorFlow compares with JAX")
    pytest.importorskip("jax")
    env = {**os.environ, "KERAS_BACKEND": "jax"}
    command = [sys.executable, __file__]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as run:
        ours = losses()  # while the other runs
        printed = run.communicate()[0]
    assert run.returncode == 0
    return ours, json.loads(printed.splitlines()[-1])


@pytest.mark.parametrize("spec", SPECS)
def test_both_backends_see_the_same_losses(spec, both):
    ours, theirs = (part[spec] for part in both)
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert set(a) == set(b)
        for term, value in a.items():
            assert value == pytest.approx(b[term], rel=2e-3 * (1 + step / 2), abs=1e-5), (step, term)


if __name__ == "__main__":
    print(json.dumps(losses()))
