"""What a network computes in while it is trained."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_adv import environment
from keras_adv.features import last_layer, leaves

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16", "auto")


def fitting(precision: str) -> str:
    """The policy that "auto" stands for on this machine: "mixed_bfloat16" on a GPU or TPU and on a processor
    with units for it (avx512_bf16 or amx_bf16), else "float32". Others stand for themselves."""
    if precision != "auto":
        return precision
    devices = keras.distribution.list_devices()
    units = {"avx512_bf16", "amx_bf16"} & set(environment.processor().split())
    has_them = bool(units) or any(not str(device).startswith("cpu") for device in devices)
    return "mixed_bfloat16" if has_them else "float32"


@contextlib.contextmanager
def computing_in(model: keras.Model, policy: str) -> Iterator[Callable[[], Any]]:
    """While the context is open, the layers of `model` compute by `policy`, but for the last one, whose
    logits are in float32; weights and what is stored stay in float32. Afterwards it computes as before.
    Gives what makes a context in which it does so meanwhile.

    Args:
        model: a built model.
        policy: what `fitting` returns; "float32" changes nothing.
    """
    if policy == "float32":
        yield contextlib.nullcontext
        return
    layers = list(model._flatten_layers(include_self=False))
    last = last_layer(model, leaves(model))
    layers = [n for n in layers if n is not last]
    before = [n.dtype_policy for n in layers]

    @contextlib.contextmanager
    def policies(new: list[Any], after: list[Any]) -> Iterator[None]:
        for layer, one in zip(layers, new, strict=True):
            layer.dtype_policy = one
        try:
            yield
        finally:
            for layer, one in zip(layers, after, strict=True):
                layer.dtype_policy = one

    try:
        meanwhile: list[Any] = [policy] * len(layers)
        with policies(meanwhile, before):
            yield lambda: policies(before, meanwhile)
    finally:
        model.train_function = model.test_function = model.predict_function = None  # compiled in the other
