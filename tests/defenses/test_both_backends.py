"""The same recipe under TensorFlow and JAX: the losses of the first 20 steps agree."""

import json
import os
import subprocess
import sys

import keras
import pytest
import short_runs
from short_runs import NAMES, short_run

CASES = [(name, False) for name in ("standard", "adversarial", "afd", "mad", "margin")]
"""One of each kind of step: the others' are slow."""
OTHERS = [(name, False) for name in NAMES if (name, False) not in CASES and name != "dropout"]
"""Without dropout, whose streams are Keras' own and differ between backends."""
ON_CONVOLUTIONS = [("adversarial", True), ("critic", True), ("margin", True)]


def on_both(cases):
    """(defense, whether on LeNet) -> terms of every step, on TensorFlow and on JAX."""
    if keras.config.backend() != "tensorflow":
        pytest.skip("the run on TensorFlow compares with JAX")
    pytest.importorskip("jax")
    env = {**os.environ, "KERAS_BACKEND": "jax"}
    command = [sys.executable, short_runs.__file__, json.dumps(cases)]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as other:
        # while the other runs
        ours = [short_run(name, convolved=convolved).rows for name, convolved in cases]
        printed = other.communicate()[0]
    assert other.returncode == 0
    theirs = json.loads(printed.splitlines()[-1])
    return dict(zip(cases, zip(ours, theirs, strict=True), strict=True))


def agree(ours, theirs):
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert set(a) == set(b)
        for term, value in a.items():
            assert value == pytest.approx(b[term], rel=2e-3 * (1 + step / 2), abs=1e-5), (step, term)


@pytest.fixture(scope="module")
def both():
    return on_both(CASES)


@pytest.mark.parametrize("case", CASES, ids=[name for name, _ in CASES])
def test_both_backends_see_the_same_losses(case, both):
    agree(*both[case])


@pytest.mark.slow
@pytest.mark.parametrize("cases", [OTHERS, ON_CONVOLUTIONS], ids=["other defenses", "convolutions"])
def test_both_backends_see_the_same_losses_of_others_and_through_convolutions(cases):
    for ours, theirs in on_both(cases).values():
        agree(ours, theirs)
