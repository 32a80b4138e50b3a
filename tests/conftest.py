"""What many tests share: small nets whose geometry is known, and real 8x8 digits."""

import contextlib
import functools
import gc
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:
    # there are as many workers as cores: threads of one would wait for those of another
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
# XLA, for all that JAX compiles and what Keras lets it compile on TensorFlow, would take longer over these
# programs than they run (at level 0 convolutions run for longer still); processes that a test starts inherit
# it
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)

import numpy as np
import pytest

# Frameworks are imported where they are needed: the process that only hands out the tests needs none.

HERE = Path(__file__).parent

SAME_ON_EVERY_BACKEND = [
    *(
        "bench",
        "card",
        "commands",
        "contributing",
        "data",
        "docs",
        "doctests",
        "flop",
        "registry",
        "reports",
        "run_folder",
    ),
    *("scripts", "structure"),
    *("training", "tuning", "validate", "zoo"),
]

ASKED_OF_JAX = {
    "attacks": (
        *("every_attack", "contract", "goals", "loop", "task", "linear_optimum", "objectives", "ensemble"),
        *("pgd", "apgd", "primal_dual", "one_pixel"),
    ),
    "defenses": ("every_defense",),
    "evaluation": (
        *("answers", "compiled", "curves", "image_set", "journal", "random_nets", "runner", "slots"),
        *("unusual_nets", "auditing", "embedding", "along"),
    ),
    "experiments": ("running",),
}
"""The laws of all methods, the loop, and the methods that lean most on the backend."""


def pytest_configure(config):
    """With several processes files are handed out in the order in which they are collected: by the number of
    their tests the few that take longest would come last, when there is nothing left for the other."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """First the files of this folder, some of which are a single long test; last those of the folders."""
    items.sort(key=lambda item: item.path.parent != HERE)


def pytest_collection_finish():
    """What was imported is no garbage, and tracing makes many objects that are none either."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@functools.cache
def not_asked_of_this_backend():
    """The files and folders that are left out: on JAX what does not depend on the backend is not asked twice,
    nor are formulas that run eagerly, for which it compiles every operation."""
    import keras

    if keras.config.backend() != "jax" or os.environ.get("KERAS_ADV_ALL_TESTS"):
        return frozenset()
    left = {HERE / f"test_{name}.py" for name in SAME_ON_EVERY_BACKEND}
    left |= {HERE / folder for folder in ("bad_input", "conversion", "models", "serving", "study")}
    for folder, asked in ASKED_OF_JAX.items():
        here = (HERE / folder).glob("test_*.py")
        left |= {path for path in here if path.stem.removeprefix("test_") not in asked}
    return frozenset(left)


def pytest_ignore_collect(collection_path):
    return True if collection_path in not_asked_of_this_backend() else None


SHAPE = (8, 8, 1)


@pytest.fixture(scope="module", autouse=True)
def _compiled_for_one_file():
    """JAX keeps what it compiled; a process that had compiled for half of the suite once died of it."""
    yield
    import keras

    if keras.config.backend() == "jax":
        import jax

        jax.clear_caches()


@pytest.fixture(scope="session")
def digits():
    from keras_adv import data

    return data.load("digits")


@pytest.fixture
def scaled():
    """(net, factor) -> a context in which its logits are times `factor`. What was compiled stays valid."""

    @contextlib.contextmanager
    def scale(net, factor):
        head = net.layers[-1]
        kept = head.get_weights()
        head.set_weights([factor * w for w in kept])
        try:
            yield net
        finally:
            head.set_weights(kept)

    return scale


@pytest.fixture
def own_names(monkeypatch):
    """Names that are registered in a test are gone after it."""
    from keras_adv import registry

    monkeypatch.setattr(registry.names, "_CLASSES", dict(registry.names._CLASSES))
    monkeypatch.setattr(registry.names, "_PRESETS", dict(registry.names._PRESETS))


@pytest.fixture(scope="session")
def net():
    """The zoo's undefended LeNet of the digits. Nobody trains it."""
    from keras_adv import zoo

    return zoo.load("standard_lenet_digits")


@pytest.fixture
def fresh(digits):
    """An untrained LeNet."""
    from keras_adv import models

    return models.LeNet().build(digits.shape, digits.classes)


@pytest.fixture(scope="session")
def linear():
    """A linear classifier whose boundary cuts the box near grey images: Keras model, W (D, K), b (K,)."""
    import keras

    rng = np.random.default_rng(3)
    w = rng.normal(size=(64, 5)).astype("float32")
    b = (-0.5 * w.sum(0)).astype("float32")
    inputs = keras.Input(SHAPE)
    outputs = keras.layers.Dense(5)(keras.layers.Flatten(name="features")(inputs))
    model = keras.Model(inputs, outputs)
    model.layers[-1].set_weights([w, b])
    return model, w, b


@pytest.fixture(scope="session")
def grey(linear):
    """Images in the middle of the box, so that the box never binds, with the linear model's labels."""
    model, _, _ = linear
    x = 0.5 + 0.2 * np.random.default_rng(4).normal(size=(24, *SHAPE)).astype("float32")
    x = np.clip(x, 0.25, 0.75)
    return x, model.predict(x, verbose=0).argmax(1).astype("int32")


@pytest.fixture(scope="session")
def smooth():
    """A smooth net (softplus, no pooling): finite differences hold."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Dense(12, activation="softplus", name="features")(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, keras.layers.Dense(3)(x))
