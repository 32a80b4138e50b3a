"""What tricks of fast clean training give adversarial training: benchmarks/tricks.py --data=cifar10.npz

airbench (Jordan, arXiv:2404.00498) reaches 94% on CIFAR-10 in seconds by a handful of tricks. Those that
this package has no other form of (it averages weights, and its rate rises and falls) are tried one by one in
a single-step adversarial training of a small net: mirroring each image in every other epoch in place of by
chance, a frozen first layer that whitens patches of 3x3, and identity kernels at the start. For each trick
and seed: clean accuracy and PGD-20 on test images, with the same epochs.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from absl import flags

import keras_adv
from keras_adv import batches, cli, data
from keras_adv.arrays import Tensor
from keras_adv.models import WRN
from keras_adv.models.base import Architecture, conv
from keras_adv.recipes import Recipe
from keras_adv.registry import option, parse, register
from keras_adv.runs import trained

DATA = flags.DEFINE_string("data", "cifar10", "a TFDS name or FILE.npz")
EPOCHS = flags.DEFINE_integer("epochs", 8, "passes over the training images", lower_bound=1)
SEEDS = flags.DEFINE_integer("seeds", 2, "nets for each trick", lower_bound=1)
IMAGES = flags.DEFINE_integer("n", 2000, "test images", lower_bound=1)
OUT = flags.DEFINE_string("out", "runs/tricks", "folder for the nets")
TRICKS = ("none", "alternating flips", "whitening", "identity kernels")
RECIPE = (
    "recipe(defense=fast(threat=linf(eps=8/255), step=1.0, noise=2.0, project=False, "
    "optimizer=sgd(learning_rate=0.2, nesterov=True, weight_decay=0.005, schedule=one_cycle(rise=0.3))), "
    "model=wrn(depth=10, width=1), augment='crop_flip', precision='auto', average=ema(start=0.6), "
    "normalize=True, batch_size=128, validation=0.02)"
)
PGD = "pgd(threat=linf(eps=8/255), steps=20, step_size=0.1)"


@register("model", "whitened_wrn")
class Whitened(Architecture):
    """A WRN behind a frozen convolution to the principal components of patches, in both signs."""

    inner: Architecture = option(default=WRN(depth=10, width=1))

    def body(self, x: Tensor) -> Tensor:
        kernel = components(DATA.value)
        frozen = conv(
            2 * kernel.shape[-1],
            3,
            use_bias=False,
            kernel_initializer=keras.initializers.Constant(np.concatenate([kernel, -kernel], -1)),
            trainable=False,
        )
        return self.inner.body(frozen(x))


@functools.cache
def components(source: str) -> np.ndarray:
    """(3, 3, C, 9 C): filters whose answers to patches of normalised training images have variance 1."""
    loaded = data.load(source)
    images = loaded.sample()[:2000]
    images = (images - images.mean((0, 1, 2))) / images.std((0, 1, 2))
    patches = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))[:, ::2, ::2]
    rows = patches.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 9 * images.shape[-1])
    values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False))
    return (vectors / np.sqrt(values + 5e-4)).reshape(3, 3, images.shape[-1], -1).astype("float32")


@contextlib.contextmanager
def alternating() -> Iterator[None]:
    """Batches mirror an image in every other epoch; which begin is drawn once."""
    usual = batches.Batches.set_epoch

    def set_epoch(self: batches.Batches, epoch: int) -> None:
        changed, self.changed = self.changed, []
        usual(self, epoch)
        self.changed = changed
        first = np.random.default_rng(self.seed).random(len(self.images)) < 0.5
        self.plan.drawn["flip"][:] = first[self.plan.rows] ^ bool(epoch % 2)
        for tell in self.changed:
            tell(self.plan)

    batches.Batches.set_epoch = set_epoch
    try:
        yield
    finally:
        batches.Batches.set_epoch = usual


@contextlib.contextmanager
def identity() -> Iterator[None]:
    """Kernels of 3x3 let as many maps through as come in, and are drawn for the others (airbench's dirac)."""
    usual = keras.initializers.HeNormal.__call__

    def call(self: keras.initializers.HeNormal, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        drawn = keras.ops.convert_to_numpy(usual(self, shape, dtype)).copy()
        if len(shape) == 4 and shape[:2] == (3, 3):
            both = min(shape[2:])
            drawn[..., :both] = 0.0
            drawn[1, 1, np.arange(both), np.arange(both)] = 1.0
        return keras.ops.convert_to_tensor(drawn)

    keras.initializers.HeNormal.__call__ = call
    try:
        yield
    finally:
        keras.initializers.HeNormal.__call__ = usual


def measure(trick: str, seed: int) -> tuple[float, float]:
    """(clean, PGD): shares of the test images that are classified correctly."""
    recipe: Recipe = parse("recipe", RECIPE).replace(data=DATA.value, epochs=EPOCHS.value, seed=seed)
    if trick == "whitening":
        recipe = recipe.replace(model=Whitened())
    with {"alternating flips": alternating, "identity kernels": identity}.get(
        trick, contextlib.nullcontext
    )():
        file = trained(recipe, Path(OUT.value) / f"{trick.replace(' ', '_')}_{seed}")
    x, y = (np.asarray(part[: IMAGES.value]) for part in data.load(DATA.value).test)
    results = keras_adv.evaluate(keras_adv.zoo.open(file), x, y, PGD)
    return results["clean_accuracy"], results["attacks"][0]["robust_accuracy"]


def main() -> None:
    for trick in TRICKS:
        found = np.array([measure(trick, seed) for seed in range(SEEDS.value)])
        clean, robust = 100 * found.mean(0)
        each = ", ".join(f"{100 * value:.1f}" for value in found[:, 1])
        print(f"{trick}: clean {clean:.1f}%, PGD-20 {robust:.1f}% ({each})", flush=True)


if __name__ == "__main__":
    cli.run(main)
