"""Checks of arguments, and the form of their error messages: which argument, what is allowed, what came."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

LONGEST = 600
"""Characters of the longest message."""


class InvalidInput(ValueError):
    """An argument, a file, a model or an author's new method cannot be used; raised before training or
    attack. Its message is one line of at most `LONGEST` characters, whatever came in."""

    def __init__(self, message: object) -> None:
        text = " ".join(str(message).split())
        text = "".join(c if c.isprintable() else "?" for c in text)
        if len(text) > LONGEST:
            text = f"{text[: LONGEST - 155]} ... {text[-150:]}"
        super().__init__(text)


def invalid(name: str, allowed: str, value: Any) -> InvalidInput:
    """The error for a value: "`steps` must be a whole number of at least 1. Received: steps=0"."""
    return InvalidInput(f"`{name}` must be {allowed}. Received: {name}={value!r}")


def unusable(name: str, allowed: str, found: str) -> InvalidInput:
    """The error for what cannot be printed as a value: "`x` must be ... Received: rows of different
    shape"."""
    return InvalidInput(f"`{name}` must be {allowed}. Received: {found}")


def one_of(name: str, value: Any, allowed: Iterable[Any]) -> None:
    """Raises InvalidInput unless `value` is in `allowed`; names the nearest allowed word."""
    known = list(allowed)
    if value in known:
        return
    near = difflib.get_close_matches(str(value), [str(k) for k in known], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = str(known)
    if len(listed) > 320:
        nearest = difflib.get_close_matches(str(value), [str(k) for k in known], n=8, cutoff=0.0)
        listed = f"{str(nearest)[:-1]}, ...], {len(known)} in all"
    came = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}..."
    raise InvalidInput(f"`{name}` must be one of {listed}. Received: {name}={came}.{hint}")


def number(
    name: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    whole: bool = False,
) -> None:
    """Raises InvalidInput unless value is a finite number, low <= value <= high and value > above.

    With `whole` it must be an integer.
    """
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise invalid(name, "a whole number" if whole else "a number", value)
    limits = [
        (low is not None and not value >= low, f"at least {low}"),
        (above is not None and not value > above, f"greater than {above}"),
        (high is not None and not value <= high, f"at most {high}"),
    ]
    endless = not abs(value) < float("inf")  # type: ignore[operator]
    if endless or any(broken for broken, _ in limits):
        bounds = [low is not None, above is not None, high is not None]
        words = [text for (_, text), given in zip(limits, bounds, strict=True) if given]
        kind = "a whole number" if whole else "a finite number" if endless else "a number"
        joint = " of " if words and words[0].startswith("at") else " " if words else ""
        raise invalid(name, kind + joint + " and ".join(words), value)


def images(x: Any, name: str = "x", shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Images as float32 (N, H, W, C) in [0, 1].

    Raises:
        InvalidInput: another rank or shape than `shape`, no image, NaN, or values outside [0, 1].
    """
    array = as_array(name, x, "images of shape (N, H, W, C)")
    if array.ndim != 4 or not array.size:
        raise unusable(name, "images of shape (N, H, W, C), all four greater than 0", f"shape {array.shape}")
    if array.dtype.kind not in "iufb":
        raise unusable(name, "images of numbers", f"{array.dtype} values")
    if shape is not None and tuple(array.shape[1:]) != tuple(shape):
        raise unusable(name, f"images of shape (N, {', '.join(map(str, shape))})", f"shape {array.shape}")
    if array.dtype.kind in "iu" and array.max() <= 1:
        raise unusable(
            name,
            "images of floats, or divided by 255: whole numbers of at most 1 may be black and white, or "
            "black and almost black of 0..255",
            f"{array.dtype} values of at most {array.max()}; {name}.astype('float32') says the former",
        )
    array = array.astype("float32")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array).reshape(len(array), -1).all(1)).sum())
        raise InvalidInput(f"`{name}` must be finite. Received: {bad} images with NaN or inf")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        hint = " Divide images of 0..255 by 255." if high > 1 and low >= 0 else ""
        raise InvalidInput(f"`{name}` must lie in [0, 1]. Received: [{low:g}, {high:g}].{hint}")
    return array


def channels_first(shape: tuple[int, ...]) -> bool:
    """Whether images of this shape look like (channels, H, W)."""
    return shape[0] in (1, 3) and min(shape[1:]) > 4


def as_array(name: str, value: Any, allowed: str) -> np.ndarray:
    """`value` as an array. Raises InvalidInput for rows of different shape."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise unusable(name, allowed, "rows of different shape") from error
    if array.dtype == object:
        raise unusable(name, allowed, "rows of different shape")
    return array


def labels(y: Any, count: int, classes: int | None = None, name: str = "y") -> np.ndarray:
    """Class numbers as int32 (N,).

    Raises:
        InvalidInput: one-hot or fractional labels, another length than `count`, or a class
            outside 0..classes-1.
    """
    array = as_array(name, y, f"integer labels of shape ({count},)")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        raise InvalidInput(
            f"`{name}` must be integer labels of shape (N,), not one-hot rows. "
            f"Received: shape {array.shape}. Use {name}.argmax(axis=1)."
        )
    if array.ndim != 1 or len(array) != count:
        raise unusable(name, f"integer labels of shape ({count},)", f"shape {array.shape}")
    if array.dtype.kind not in "iuf":
        raise unusable(name, f"integer labels of shape ({count},)", f"{array.dtype} values")
    whole = array.astype("int32")
    if not np.array_equal(whole, array):
        raise invalid(name, "whole class numbers", array[whole != array][:3].tolist())
    top = "" if classes is None else f"..{classes - 1}"
    if whole.min() < 0 or (classes is not None and whole.max() >= classes):
        raise invalid(name, f"class numbers 0{top}", [int(whole.min()), int(whole.max())])
    return whole


def seed(value: Any, name: str = "seed") -> None:
    """Raises InvalidInput unless `value` is a whole number of 0 to 2^31 - 1."""
    number(name, value, low=0, high=2**31 - 1, whole=True)


def output_folder(value: Any, name: str = "out") -> Path:
    """`value` as the path of a writable folder, which is made where it is missing. Raises InvalidInput."""
    if not isinstance(value, (str, Path)):
        raise invalid(name, "a folder", value)
    make_writable(Path(value), name)
    return Path(value)


def output_file(value: Any, name: str) -> Path:
    """The path of a file to write, whose folder is made. Raises InvalidInput where it cannot be written."""
    if not isinstance(value, (str, Path)) or Path(value).is_dir():
        raise invalid(name, "the name of a file", value)
    make_writable(Path(value).parent, name)
    return Path(value)


def make_writable(path: Path, name: str = "out") -> None:
    """Makes a folder, and checks that it can be written. Raises InvalidInput."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".writable"):  # of each process its own
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise unusable(name, "a writable folder", f"{path} ({reason})") from error
