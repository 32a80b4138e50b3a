"""Schedules of APGD: each image of a batch looks up what is planned for its own step."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_adv.arrays import Tensor


def at_step(values: Any, k: Tensor, dtype: str) -> Tensor:
    """(B,) values[k], each image at its own step k; `values` is a sequence of numbers, one for each step."""
    return ops.take(ops.convert_to_tensor(np.array(values, dtype)), k)
