"""Two devices train as one: in a process of their own, where the processor is split in two."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_adv import artifact

ROOT = Path(__file__).parents[1]

CHILD = """
import contextlib, json, sys, tempfile
import numpy as np
import keras
import keras_adv
from keras_adv import backend, InvalidInput
from keras_adv.callbacks import Checkpoint

if keras.config.backend() == "tensorflow":
    import tensorflow as tf

    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    KIND, OTHER = "mirrored", "data_parallel"
else:
    KIND, OTHER = "data_parallel", "mirrored"
L = keras.layers
rng = np.random.default_rng(0)
X, Y = rng.random((80, 6, 6, 1)).astype("float32"), np.arange(80) % 4


def net():
    keras.utils.set_random_seed(0)
    layers = [L.Conv2D(4, 3, use_bias=False), L.BatchNormalization(), L.Activation("softplus"), L.Flatten()]
    regular = L.Dense(8, activation="tanh", kernel_regularizer=keras.regularizers.L2(0.01))
    return keras.Sequential([keras.Input((6, 6, 1)), *layers, regular, L.Dense(4)])


def train(spec, scope, **options):
    with scope:
        served = keras_adv.defend(net(), spec, X, Y, epochs=4, batch_size=16, verbose=0, **options)
    return served, served.history.history


def refused(call):
    try:
        call()
    except InvalidInput as error:
        return str(error)


found = {}
for spec, options in json.loads(sys.argv[1]):
    (one, rows), (two, theirs) = (
        train(spec, scope, **options) for scope in (contextlib.nullcontext(), backend.on_devices(KIND))
    )
    weights = zip(one.get_weights(), two.get_weights(), strict=True)
    logs = max(abs(a - b) / (1 + abs(a)) for k in rows for a, b in zip(rows[k], theirs[k], strict=True))
    found[spec] = [max(float(np.abs(a - b).max()) for a, b in weights), logs]
with backend.on_devices(KIND):
    inside = net()
    fifteen = {"epochs": 1, "batch_size": 15}
    found["uneven"] = refused(lambda: keras_adv.defend(inside, "standard()", X, Y, **fifteen))
outside = net()
with backend.on_devices(KIND):
    found["outside"] = refused(lambda: keras_adv.defend(outside, "standard()", X, Y, epochs=1, verbose=0))
leaves = lambda: keras_adv.defend(inside, "standard()", X, Y, epochs=1, batch_size=16, verbose=0)
found["left the scope"] = refused(leaves)
found["synchronized"] = [n.synchronized for n in inside.layers if isinstance(n, L.BatchNormalization)]
found["other"] = refused(lambda: backend.on_devices(OTHER))
if sys.argv[2] == "resumed":
    with tempfile.TemporaryDirectory() as folder:
        kept = []
        for epochs in (2, 4):
            with backend.on_devices(KIND):
                options = {"callbacks": Checkpoint(folder), "batch_size": 16, "verbose": 0}
                kept.append(keras_adv.defend(net(), "standard()", X, Y, epochs=epochs, **options))
    whole = keras_adv.defend(net(), "standard()", X, Y, epochs=4, batch_size=16, verbose=0)
    weights = zip(kept[1].get_weights(), whole.get_weights(), strict=True)
    found["resumed"] = max(float(np.abs(a - b).max()) for a, b in weights)
print(json.dumps(found))
"""
TRADES = "trades(attack=pgd(threat=l2(eps=0.5), steps=2, loss='kl'))"
AVERAGE = {"average": "ema(decay=0.9, start=0.5)"}
CASES = [("adversarial(attack=fgsm())", AVERAGE)]
SLOW = [
    (TRADES, AVERAGE),
    ("awp(gamma=0.01, warmup=0)", {"sample_weight": [0.5, 1.5] * 40}),
    ("nuat(weight=1.0)", {}),
    ("standard()", {}),
    ("critic(width=8, warmup=1, noise=(0.0, 0.0), attack=high_confidence(steps=1))", {}),
    ("afd(attack=fgsm())", {}),
    ("deep_defense(steps=1, preprocess='matconvnet')", {}),
    ("mat(attack=pgd(steps=2, loss='cosine_distance'))", {}),
    ("fast()", {}),
    ("ibp()", {}),
]


def run(cases, *, resumed=False):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    env = {**os.environ, "XLA_FLAGS": flags, "KERAS_BACKEND": keras.config.backend()}
    command = [sys.executable, "-c", CHILD, json.dumps(cases), "resumed" if resumed else ""]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def found():
    return run(CASES)


@pytest.mark.parametrize("spec", [spec for spec, _ in CASES])
def test_twenty_steps_on_two_devices_are_those_of_one(spec, found):
    """Random starts, batch normalisation, regularizers, averages and weights of images included."""
    weights, logs = found[spec]
    assert weights < 1e-5 and logs < 1e-4


@pytest.mark.slow
def test_a_run_on_two_devices_can_be_resumed():
    assert run([], resumed=True)["resumed"] < 1e-5


def test_what_does_not_fit_is_refused(found):
    assert (
        "`batch_size` must be a multiple of the 2 devices that share it. Received: batch_size=15"
        in (found["uneven"])
    )
    assert "`distribute` must be 'none' or" in found["other"]
    assert "`model` must be one made in the distribution scope it is trained in" in found["outside"]


def test_a_model_made_in_a_scope_is_trained_in_it_and_left_as_it_was(found):
    """TensorFlow's models know their scope; JAX has one at a time."""
    assert found["synchronized"] == [False]
    assert bool(found["left the scope"]) == (keras.config.backend() == "jax")


@pytest.mark.slow
@pytest.mark.skipif(keras.config.backend() != "jax", reason="several processes train together on JAX alone")
def test_two_processes_train_as_one(tmp_path):
    """By the script."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    recipe = f"recipe(defense={TRADES}, model=mlp(units=(8,)), epochs=3)"
    command = [
        sys.executable,
        str(ROOT / "scripts" / "train.py"),
        f"--recipe={recipe}",
        "--attack=fgsm()",
        "--n=20",
    ]
    env = {**os.environ, "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"}
    together = [
        "--distribute=data_parallel",
        f"--coordinator=127.0.0.1:{port}",
        "--processes=2",
        f"--out={tmp_path}/two",
    ]
    runs = [
        subprocess.Popen([*command, *together, f"--process={number}"], env=env, stdout=subprocess.DEVNULL)
        for number in (0, 1)
    ]
    runs.append(subprocess.Popen([*command, f"--out={tmp_path}/one"], env=env, stdout=subprocess.DEVNULL))
    assert [run.wait(timeout=600) for run in runs] == [0, 0, 0]
    one, two = (artifact.read(tmp_path / name / "model.keras").get_weights() for name in ("one", "two"))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert len((tmp_path / "two" / "history.csv").read_text().splitlines()) == 4


@pytest.mark.slow
def test_of_other_defenses_too():
    for spec, (weights, logs) in ((k, v) for k, v in run(SLOW).items() if k in dict(SLOW)):
        close = 1e-5 if spec.startswith(("awp", "nuat", "trades")) else 5e-4
        assert weights < close and logs < 1e-3, spec
