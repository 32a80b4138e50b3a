"""TensorFlow: nested gradient tapes, `tf.function`, and `train_step`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_adv.backend.game import BaseGame
from keras_adv.backend.pure import Net, Tensor

_ZERO = tf.UnconnectedGradients.ZERO


def value_and_grad(fn: Callable[[Tensor], tuple[Tensor, Any]], x: Tensor) -> tuple[Tensor, Any, Tensor]:
    """(values, aux, gradient) of `fn(x) -> (values (B,), aux)`; the gradient of the sum of values, shaped as x.

    One forward and one backward pass. Can be nested in an outer tape (second order).
    """
    x = tf.convert_to_tensor(x)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        values, aux = fn(x)
    return values, aux, tape.gradient(values, x, unconnected_gradients=_ZERO)


def jacobian(fn: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """(outputs (B, K), Jacobian (B, K, ...)) of `fn(x) -> (B, K)`: one forward and K backward passes."""
    x = tf.convert_to_tensor(x)
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(x)
        outputs = fn(x)
        columns = tf.unstack(outputs, axis=1)
    rows = [tape.gradient(c, x, unconnected_gradients=_ZERO) for c in columns]
    return outputs, tf.stack(rows, axis=1)


def compile(fn: Callable[..., Any], model: keras.layers.Layer | None = None) -> Callable[..., Any]:
    """`fn` as one graph; with XLA only where there is a GPU (on a CPU it is three times slower)."""
    del model  # a tf.function sees the current weights by itself
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    # a partial of its own: TensorFlow counts retracing by code object, over all models and attacks
    return tf.function(functools.partial(fn), jit_compile=on_gpu, autograph=False)


class Game(BaseGame):
    """`BaseGame` with TensorFlow's `train_step`."""

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.play(x, y)

    def make_move(self, move: Any, nets: dict[str, Net], batch: dict[str, Tensor]) -> Any:
        variables, optimizer = self.learned(move), self.optimizers[move.player]
        with tf.GradientTape() as tape:
            terms = move.loss(nets, batch)
            loss = optimizer.scale_loss(self.total(terms))
        optimizer.apply(tape.gradient(loss, variables), variables)
        return terms
