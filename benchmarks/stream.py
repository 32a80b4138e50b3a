"""Trains on more images than fit into memory: python benchmarks/stream.py --images=20000

Makes JPEGs of 320x256 in a temporary folder, then reads them as a training does, first alone and then into
the forward passes of a ResNet-18. Prints images a second of both, and the most memory that the process took,
beside what the set would take as an array.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tensorflow as tf
from absl import flags

from keras_adv import cli, data
from keras_adv.batches import Batches
from keras_adv.data import image_files
from keras_adv.models import ResNet18

IMAGES = flags.DEFINE_integer("images", 20000, "how many", lower_bound=100)
SIZE = flags.DEFINE_integer("size", 224, "side of what the net sees", lower_bound=32)
BATCH = flags.DEFINE_integer("batch_size", 50, "images at a time", lower_bound=1)
LIMIT = flags.DEFINE_float("limit", 0.0, "GiB of address space that the process may have; 0: any")


def paint(folder: Path, count: int) -> None:
    """Pictures of large soft patches, one folder for each of two classes."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / "train" / name).mkdir(parents=True)
        (folder / "test" / name).mkdir(parents=True)
    for number in range(count + 2):
        patches = tf.image.resize(rng.random((8, 10, 3)), (256, 320), "bicubic")
        pixels = tf.cast(255 * tf.clip_by_value(patches + rng.normal(0, 0.02, (256, 320, 3)), 0, 1), "uint8")
        split = "train" if number < count else "test"
        tf.io.write_file(str(folder / split / "ab"[number % 2] / f"{number}.jpg"), tf.io.encode_jpeg(pixels))


def main() -> None:
    if LIMIT.value:
        resource.setrlimit(resource.RLIMIT_AS, (int(LIMIT.value * 2**30),) * 2)
    with TemporaryDirectory() as folder:
        paint(Path(folder), IMAGES.value)
        loaded = data.load(f"folder(path={folder!r}, size={SIZE.value})", validation=0)
        batches = Batches(loaded.train, BATCH.value, seed=0, augment="crop_flip")
        rates = {"read": rate(batches, lambda x: None)}
        net = ResNet18(form="imagenet").build(loaded.shape, 1000)
        forward = tf.function(lambda x: net(x, training=False))
        forward(next(iter(image_files.in_graph(batches)))[0])
        rates["read and forward"] = rate(batches, forward)
    for name, value in rates.items():
        print(f"{name}: {value:.1f} images a second")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    whole = np.prod(loaded.train[0].shape) * 4 / 2**30
    print(f"{most:.2f} GiB at most; an array would take {whole:.2f} GiB")


def rate(batches: Batches, use) -> float:
    """Images a second of an epoch."""
    batches.set_epoch(1)
    started = time.perf_counter()
    for x, _ in image_files.in_graph(batches):
        use(x)
    return len(batches) * batches.batch / (time.perf_counter() - started)


if __name__ == "__main__":
    cli.run(main)
