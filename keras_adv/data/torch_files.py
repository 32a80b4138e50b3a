"""Checkpoints of PyTorch as NumPy arrays, and npz files of the same arrays, which need no PyTorch."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_adv import foreign
from keras_adv.validate import InvalidInput, unusable

SUFFIXES = (".pt", ".pth", ".tar", ".ckpt", ".bin")
"""Ends of the names of files that `torch.save` wrote."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds under names: arrays, and dictionaries of such; all else is left out.

    Args:
        path: of a file that `torch.save` wrote, opened with `weights_only=True`, so it can run no code; or of
            an npz file with the arrays of a state_dict under their names.

    Returns:
        The names in the order of the file. Floats of any precision are float32.

    Raises:
        InvalidInput: no such file, damaged, with objects that are no tensors, with more than it holds, or
            PyTorch is not installed.
    """
    if not path.is_file():
        raise unusable("file", "an existing checkpoint", repr(str(path)))
    if path.suffix == ".npz":
        with foreign.reading("file", "a complete npz file of arrays", path):
            foreign.check_npz(path)
            with np.load(path, allow_pickle=False) as kept:
                arrays = {name: kept[name] for name in kept.files}
                return {name: _plain(array) for name, array in arrays.items() if array.dtype.kind in "biuf"}
    if path.suffix not in SUFFIXES:
        raise unusable("file", f"one of {', '.join(SUFFIXES)} or .npz", repr(str(path)))
    if importlib.util.find_spec("torch") is None:
        hint = f"{path.name} without it. pip install 'keras_adv[torch]', or save the arrays as an npz file"
        raise unusable("file", "opened by PyTorch", hint)
    with foreign.reading("file", "a complete checkpoint of PyTorch", path):
        return _opened(path)


def _opened(path: Path) -> dict[str, Any]:
    import torch

    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if "weights only" not in str(error).lower():
            raise
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"{path.name} with {found[1] if found else 'another form'}"
        allowed = "a checkpoint of tensors and plain values, which can run no code"
        raise unusable("file", allowed, f"{what}; where you trust it, save its state_dict alone") from error
    if not isinstance(held, Mapping):
        raise InvalidInput(f"`file` must hold a dictionary of tensors. Received: a {type(held).__name__}")
    # a view may declare any number of values of one that is stored
    foreign.check_size(path, "tensors", sum(t.numel() * t.element_size() for t in _tensors(held, torch)))
    return _as_arrays(held, torch)


def _tensors(held: Mapping[Any, Any], torch: Any) -> Iterator[Any]:
    for value in held.values():
        if isinstance(value, Mapping):
            yield from _tensors(value, torch)
        elif isinstance(value, torch.Tensor):
            yield value


def _as_arrays(held: Mapping[Any, Any], torch: Any) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in held.items():
        if not isinstance(name, str):
            continue
        if isinstance(value, Mapping):
            made[name] = _as_arrays(value, torch)
        elif isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized:
            floats = value.is_floating_point()
            made[name] = (value.detach().float() if floats else value.detach()).numpy()
    return made


def _plain(array: np.ndarray) -> np.ndarray:
    return array.astype("float32") if array.dtype.kind == "f" else array
