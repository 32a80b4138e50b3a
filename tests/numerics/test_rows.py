"""Rows that are computed only where somebody needs them."""

import keras
import numpy as np
from keras import ops

from keras_adv.numerics.rows import update_rows


def test_chosen_rows_are_new_and_the_others_stay():
    old = {"a": np.zeros((3, 2), "float32"), "n": np.arange(3, dtype="int32")}
    chosen = ops.convert_to_tensor([True, False, True])
    made = update_rows(
        chosen, lambda: {"a": ops.ones((3, 2)), "n": ops.full((3,), 9, "int32")}, _tensors(old)
    )
    np.testing.assert_array_equal(made["a"], [[1, 1], [0, 0], [1, 1]])
    np.testing.assert_array_equal(made["n"], [9, 1, 9])


def test_one_tensor_is_a_nest_too_and_nan_of_rows_that_are_not_chosen_does_not_get_in():
    old = ops.convert_to_tensor(np.float32([1.0, 2.0]))
    made = update_rows(
        ops.convert_to_tensor([False, True]), lambda: ops.convert_to_tensor([np.nan, 5.0]), old
    )
    np.testing.assert_array_equal(made, [1.0, 5.0])


def test_where_no_row_is_chosen_nothing_is_computed():
    ran, old = [], ops.zeros((2, 3))

    def make():
        ran.append(1)
        return ops.ones((2, 3))

    made = update_rows(ops.convert_to_tensor([False, False]), make, old)
    np.testing.assert_array_equal(made, np.zeros((2, 3)))
    if keras.config.backend() == "tensorflow":  # JAX looks at both ways before it takes one
        assert not ran


def _tensors(nest):
    return keras.tree.map_structure(ops.convert_to_tensor, nest)
