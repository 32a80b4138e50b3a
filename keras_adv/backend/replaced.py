"""Layers that compute otherwise for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any


@contextlib.contextmanager
def replaced(layers: Sequence[Any], name: str, made: Callable[[Any], Callable[..., Any]]) -> Iterator[None]:
    """While the context is open, each layer has `made(layer)` in place of its method of this name."""
    for layer in layers:
        setattr(layer, name, made(layer))
    try:
        yield
    finally:
        for layer in layers:
            vars(layer).pop(name, None)  # another thread may have been here
