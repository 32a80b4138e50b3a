"""Updates of some rows of a batch, left out where no row needs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_adv.arrays import Tensor
from keras_adv.backend import where_rows


def update_rows(chosen: Tensor, make: Callable[[], Any], old: Any) -> Any:
    """`make()` for the `chosen` (B,) images, `old` for the others: a tensor (B, ...) or a nest of them.

    Where no image is chosen, `make` is not run.
    """

    def changed() -> Any:
        return keras.tree.map_structure(lambda new, kept: where_rows(chosen, new, kept), make(), old)

    return ops.cond(ops.any(chosen), changed, lambda: old)
