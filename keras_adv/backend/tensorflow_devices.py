"""TensorFlow: several devices that share the batches of a training, by `tf.distribute`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_adv import validate
from keras_adv.arrays import Tensor


def device_count(model: keras.Model) -> int:
    """How many devices share the batches of a training of this model.

    Raises:
        InvalidInput: it was made outside of the scope that it is to be trained in.
    """
    theirs = model._distribute_strategy
    if tf.distribute.has_strategy() and theirs is not tf.distribute.get_strategy():
        raise validate.unusable("model", "one made in the distribution scope it is trained in", model.name)
    return 1 if theirs is None else int(theirs.num_replicas_in_sync)


def on_devices(kind: str) -> contextlib.AbstractContextManager[Any]:
    """The context in which a model is made that several devices train. Raises InvalidInput where there is
    one."""
    if kind != "mirrored":
        raise validate.invalid("distribute", "'none' or 'mirrored' on TensorFlow", kind)
    graphics = [device.name for device in tf.config.list_logical_devices("GPU")]
    processors = [device.name for device in tf.config.list_logical_devices("CPU")]
    # between processors TensorFlow's own choice mistakes one sum for another
    sums = None if graphics else tf.distribute.ReductionToOneDevice()
    strategy = tf.distribute.MirroredStrategy(graphics or processors, cross_device_ops=sums)
    if strategy.num_replicas_in_sync < 2:
        raise validate.invalid("distribute", "'none' on a machine with one device", kind)
    return strategy.scope()


def process() -> tuple[int, int]:
    """(0, 1): several processes train together on JAX alone."""
    return 0, 1


def join(coordinator: str, processes: int, number: int) -> None:
    """Raises InvalidInput: several processes train together on JAX alone."""
    del processes, number
    raise validate.invalid("coordinator", "none on TensorFlow (KERAS_BACKEND=jax has them)", coordinator)


@contextlib.contextmanager
def sharing(model: keras.Model) -> Iterator[None]:
    """While the context is open, what is made belongs to the strategy that the model was made in, and its
    batch normalisation takes the statistics of the whole batch, not those of each device's share."""
    theirs, inside = model._distribute_strategy, tf.distribute.has_strategy()
    layers = [n for n in model._flatten_layers() if isinstance(n, keras.layers.BatchNormalization)]
    layers = [n for n in layers if theirs is not None and not n.synchronized]
    for layer in layers:
        layer.synchronized = True
    try:
        with contextlib.nullcontext() if theirs is None or inside else theirs.scope():
            yield
    finally:
        for layer in layers:
            layer.synchronized = False


def batch_numbers(x: Tensor) -> Tensor:
    """(B,) int32, the places of these images in the batch of a step; on several devices in the whole batch,
    of which each has its share."""
    count, here = tf.shape(x)[0], tf.distribute.get_replica_context()
    if here is None or here.num_replicas_in_sync == 1:
        return tf.range(count)
    return tf.range(count) + count * here.replica_id_in_sync_group


def batch_sum(x: Tensor) -> Tensor:
    """The sum over the images of a step (B, ...) -> (...); on several devices over the whole batch. No
    gradient."""
    own, here = tf.reduce_sum(tf.stop_gradient(x), axis=0), tf.distribute.get_replica_context()
    if here is None or here.num_replicas_in_sync == 1:
        return own
    return here.all_reduce(tf.distribute.ReduceOp.SUM, own)


def device_mean(tensors: list[Tensor]) -> list[Tensor]:
    """The means over the devices that share a batch of what each has. No gradient."""
    own, here = [tf.stop_gradient(x) for x in tensors], tf.distribute.get_replica_context()
    if here is None or here.num_replicas_in_sync == 1:
        return own
    return list(here.all_reduce(tf.distribute.ReduceOp.MEAN, own))


def whole_batch(x: Tensor) -> Tensor:
    """The rows (B, ...) of all devices that share a batch, in the order of `batch_numbers`. No gradient."""
    here = tf.distribute.get_replica_context()
    if here is None or here.num_replicas_in_sync == 1:
        return tf.stop_gradient(x)
    return here.all_gather(tf.stop_gradient(x), axis=0)


def rounds_products() -> bool:
    """Whether float32 products are computed in TF32, with 10 bits after the point: TensorFlow's default on
    GPUs that have it (compute capability 8 and up)."""
    if not tf.config.experimental.tensor_float_32_execution_enabled():
        return False
    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return any(one.get("compute_capability", (0, 0)) >= (8, 0) for one in details)
