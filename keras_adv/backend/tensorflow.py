"""TensorFlow: nested gradient tapes, `tf.function`, and `train_step`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_adv.arrays import Tensor
from keras_adv.backend.game import IMAGES, ROWS, BaseGame
from keras_adv.backend.net import Net

_ZERO = tf.UnconnectedGradients.ZERO
DYNAMIC_BATCH_SIZE = not tf.config.list_physical_devices("GPU")
"""Whether what is compiled takes batches of any size, so that a smaller batch costs no compilation."""

UNROLLED = 20
"""A Jacobian of at most so many outputs is written out in the graph; of more it is a loop, for the graph
would take long to compile."""


def value_and_grad(fn: Callable[[Any], tuple[Tensor, Any]], x: Any) -> tuple[Tensor, Any, Any]:
    """(values, aux, gradient) of `fn(x) -> (values (B,), aux)`; the gradient of the sum of values, shaped as
    x, a tensor or a list of them.

    One forward and one backward pass. Can be nested in an outer tape (second order).
    """
    x = tf.nest.map_structure(tf.convert_to_tensor, x)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        values, aux = fn(x)
    return values, aux, tape.gradient(values, x, unconnected_gradients=_ZERO)


def jacobian(fn: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """(outputs (B, K), Jacobian (B, K, ...)) of `fn(x) -> (B, K)`: one forward and K backward passes."""
    outputs, _, rows, _ = _differentiated(lambda v: (fn(v), None), x)
    return outputs, rows


def chosen_grad(
    fn: Callable[[Tensor], tuple[Tensor, Any]], choose: Callable[[Tensor, Any, Tensor], Tensor], x: Tensor
) -> tuple[Tensor, Any, Tensor]:
    """(mixed (B,), aux, gradient of mixed) for mixed = sum_k c_k outputs_k of `fn(x) -> (outputs (B, K),
    aux)`.

    `choose(outputs, aux, slopes (B, K, ...)) -> c (B, K)` looks at the gradients of all K outputs; c is a
    constant. One forward and K + 1 backward passes, of which only the last has a second order: so it costs
    far less to differentiate again than a Jacobian does.
    """
    outputs, aux, rows, pull = _differentiated(fn, x)
    mix = tf.stop_gradient(choose(outputs, aux, rows))
    return tf.reduce_sum(mix * outputs, axis=1), aux, pull(outputs, mix)


def _differentiated(
    fn: Callable[[Tensor], tuple[Tensor, Any]], x: Tensor
) -> tuple[Tensor, Any, Tensor, Callable[..., Tensor]]:
    """(outputs, aux, Jacobian, what gives the gradient of outputs with given weights)."""
    x = tf.convert_to_tensor(x)
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(x)
        outputs, aux = fn(x)
        columns = tf.unstack(outputs, axis=1) if outputs.shape[1] <= UNROLLED else None

    def pull(of: Tensor, weights: Tensor | None = None) -> Tensor:
        return tape.gradient(of, x, output_gradients=weights, unconnected_gradients=_ZERO)

    if columns is not None:
        return outputs, aux, tf.stack([pull(c) for c in columns], axis=1), pull

    def row(k: Tensor) -> Tensor:
        return pull(outputs, tf.one_hot(tf.fill(tf.shape(outputs)[:1], k), outputs.shape[1]))

    rows = tf.map_fn(
        row, tf.range(outputs.shape[1]), parallel_iterations=1, fn_output_signature=outputs.dtype
    )
    return outputs, aux, tf.einsum("kb...->bk...", rows), pull


def where_rows(chosen: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """yes[i] where chosen[i], else no[i]; chosen is (B,) bool, yes and no are (B, ...) of one shape.

    Whole rows are copied, which takes half the time of a `where` that broadcasts its condition.
    """
    return tf.raw_ops.Select(condition=chosen, x=yes, y=no)


def take_rows(variable: keras.Variable, rows: Tensor) -> Tensor:
    """variable[rows], without a copy of the others."""
    return tf.gather(variable.value, rows)


def put_rows(variable: keras.Variable, rows: Tensor, values: Tensor) -> None:
    """variable[rows] = values, in place."""
    variable.value.scatter_update(tf.IndexedSlices(tf.cast(values, variable.dtype), rows))


def compile(fn: Callable[..., Any], model: keras.layers.Layer | None = None) -> Callable[..., Any]:
    """`fn` of (nested) tensors and None as one graph, for any batch size; with XLA only where there is a GPU,
    one graph a shape (on a CPU XLA is three times slower)."""
    del model  # a tf.function sees the current weights by itself
    if not DYNAMIC_BATCH_SIZE:
        return tf.function(functools.partial(fn), jit_compile=True, autograph=False)
    made: dict[str, Callable[..., Any]] = {}

    def run(*args: Any) -> Any:
        args = tf.nest.map_structure(lambda v: None if v is None else tf.convert_to_tensor(v), args)
        specs = tf.nest.map_structure(_of_any_size, args)
        if (key := repr(_in_order(specs))) not in made:
            given = [spec for spec in tf.nest.flatten(specs) if spec is not None]
            packed = tf.function(functools.partial(_packed, fn, specs), given, autograph=False)
            made[key] = packed.get_concrete_function()  # without the checks of each call of a tf.function
        return made[key](*(v for v in tf.nest.flatten(args) if v is not None))

    return run


def _in_order(value: Any) -> Any:
    """A structure with its dictionaries in the order of their keys: in any other they are the same graph."""
    if isinstance(value, dict):
        return [(key, _in_order(value[key])) for key in sorted(value)]
    return [_in_order(v) for v in value] if isinstance(value, (list, tuple)) else value


def _of_any_size(value: Any) -> Any:
    if value is None:
        return None
    return tf.TensorSpec([None, *value.shape[1:]] if value.shape.rank else [], value.dtype)


def _packed(fn: Callable[..., Any], specs: Any, *tensors: Any) -> Any:
    """`fn` on the tensors, put where the structure has no None."""
    left = iter(tensors)
    flat = [None if spec is None else next(left) for spec in tf.nest.flatten(specs)]
    return fn(*tf.nest.pack_sequence_as(specs, flat))


def separate_graph(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn`, the body of a loop, as a graph of its own inside the loop's graph.

    TensorFlow's layout pass walks a graph along its edges; from inside a loop it can meet the gradient of a
    pooling before the pooling, and then leaves the gradient on a kernel six times slower.
    """
    return tf.function(fn, autograph=False, experimental_attributes={"_noinline": True})


def in_graph(batches: Any, images: Any) -> tf.data.Dataset:
    """The batches of a `Batches` as a tf.data.Dataset, made in the graph: in their order, augmented.

    Keras would draw them from a generator. TensorFlow's op for generators has the allocator give freed memory
    back at once (M_TRIM_THRESHOLD), for the rest of the process: page faults then took 40% of the time of a
    small net's training.

    Args:
        batches: whose `plan`, `labels`, `weights` and `numbered` count.
        images: those of the batches, in float32, or as uint8 of 0..255.
    """
    with tf.device("CPU:0"):
        parts = [tf.constant(part) for part in (images, batches.labels, batches.weights) if part is not None]
    plan = batches.variables()

    def batch(index: Tensor) -> tuple[Tensor, ...]:
        rows, drawn = tf.nest.map_structure(lambda part: tf.gather(part, index), plan)
        x, *rest = (tf.gather(part, rows) for part in parts)
        x = tf.cast(x, "float32") / 255.0 if x.dtype == "uint8" else x
        x = batches.augmented(x, drawn)
        return ({IMAGES: x, ROWS: rows} if batches.numbered else x, *rest)

    made = tf.data.Dataset.range(batches.steps).map(batch, num_parallel_calls=2, deterministic=True)
    return made.prefetch(2)


class Game(BaseGame):
    """`BaseGame` with TensorFlow's `train_step`."""

    def make_train_function(self, force: bool = False) -> None:
        super().make_train_function(force)
        run = self.train_function
        # of a run that goes on within an epoch
        self.train_function = lambda batches: self.logs_before if self._has_passed(batches) else run(batches)

    def train_step(self, data: Any) -> dict[str, Any]:
        return self.play(*keras.utils.unpack_x_y_sample_weight(data))

    def statistics_step(self) -> Callable[[Any, Any], None]:
        @tf.function(autograph=False)
        def step(x: Tensor, y: Tensor) -> None:
            self._step(x, y, self.terms_of)

        return lambda x, y: step(tf.convert_to_tensor(x), tf.convert_to_tensor(y))

    def make_move(self, move: Any, nets: dict[str, Net], batch: dict[str, Tensor]) -> Any:
        variables, optimizer = self.variables_of(move), self.optimizers[move.name]
        with tf.GradientTape() as tape:
            total, terms = self.total_loss(
                move, nets, batch, tf.distribute.get_strategy().num_replicas_in_sync
            )
            loss = optimizer.scale_loss(total)
        # 0 for weights that a move holds fixed: Keras warns of None, and its weight decay skips them
        slopes = tape.gradient(loss, [v.value for v in variables], unconnected_gradients=_ZERO)
        optimizer.apply(slopes, variables)
        return terms
