"""JAX: several devices, or processes, that share the batches of a training, by `keras.distribution`."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from typing import Any

import jax
import keras
from jax import numpy as jnp

from keras_adv import validate
from keras_adv.arrays import Tensor


def device_count(model: keras.Model) -> int:
    """How many devices share the batches of a training of this model.

    Raises:
        InvalidInput: it was made outside of the scope that it is to be trained in.
    """
    shared = keras.distribution.distribution()
    if shared is None and jax.process_count() > 1:
        raise validate.unusable(
            "model", "one made in the scope of a distribution over all processes", model.name
        )
    count = 1 if shared is None else int(math.prod(shared.device_mesh.shape))
    if any(len(v.value.sharding.device_set) != count for v in model.variables):
        raise validate.unusable("model", "one made in the distribution scope it is trained in", model.name)
    return count


def on_devices(kind: str) -> contextlib.AbstractContextManager[Any]:
    """The context in which a model is made that several devices train. Raises InvalidInput where there is
    one."""
    if kind != "data_parallel":
        raise validate.invalid("distribute", "'none' or 'data_parallel' on JAX", kind)
    if len(jax.devices()) < 2:
        raise validate.invalid("distribute", "'none' on a machine with one device", kind)
    devices = keras.distribution.list_devices()
    return keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False).scope()


def process() -> tuple[int, int]:
    """(the number of this process, how many train together)."""
    return jax.process_index(), jax.process_count()


def join(coordinator: str, processes: int, number: int) -> None:
    """Makes this process one of several that train together, before anything else of JAX is asked for.

    Args:
        coordinator: "host:port" of the first.
        processes: how many.
        number: of this one, from 0.
    """
    keras.distribution.initialize(coordinator, processes, number)


@contextlib.contextmanager
def sharing(model: keras.Model) -> Iterator[None]:
    """Nothing to do: JAX computes what one device would, whatever the shares."""
    del model
    yield


def batch_sum(x: Tensor) -> Tensor:
    """The sum over the images of a step (B, ...) -> (...). No gradient."""
    return jnp.sum(jax.lax.stop_gradient(x), axis=0)


def batch_numbers(x: Tensor) -> Tensor:
    """(B,) int32, the places of these images in the batch of a step."""
    return jnp.arange(x.shape[0], dtype="int32")


def device_mean(tensors: list[Tensor]) -> list[Tensor]:
    """The tensors: what JAX computes is of the whole batch. No gradient."""
    return [jax.lax.stop_gradient(x) for x in tensors]


def whole_batch(x: Tensor) -> Tensor:
    """`x`, which has the rows of all devices. No gradient."""
    return jax.lax.stop_gradient(x)


def rounds_products() -> bool:
    """Whether float32 products are computed in TF32, with 10 bits after the point: JAX's default on GPUs that
    have it (compute capability 8 and up)."""
    if getattr(jax.config, "jax_default_matmul_precision", None) in (
        "float32",
        "highest",
        "F32_F32_F32",
        "F64_F64_F64",
    ):
        return False
    graphics = [device for device in jax.devices() if device.platform == "gpu"]
    capabilities = [str(getattr(device, "compute_capability", "")) for device in graphics]
    return any(re.fullmatch(r"\d+\.\d+", one) and float(one) >= 8 for one in capabilities)
