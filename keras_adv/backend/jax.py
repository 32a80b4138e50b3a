"""JAX: transformations of pure functions, `jax.jit`, and the stateless `train_step`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import keras
from jax import numpy as jnp

from keras_adv.arrays import Tensor
from keras_adv.backend.game import BaseGame
from keras_adv.backend.jax_devices import process
from keras_adv.backend.net import Net

DYNAMIC_BATCH_SIZE = False
"""What is compiled is compiled for one shape."""


def value_and_grad(fn: Callable[[Any], tuple[Tensor, Any]], x: Any) -> tuple[Tensor, Any, Any]:
    """(values, aux, gradient) of `fn(x) -> (values (B,), aux)`; the gradient of the sum of values, shaped as
    x, a tensor or a list of them.

    One forward and one backward pass. Can be differentiated again.
    """

    def summed(v: Tensor) -> tuple[Tensor, Any]:
        values, aux = fn(v)
        return jnp.sum(values), (values, aux)

    (_, (values, aux)), grad = jax.value_and_grad(summed, has_aux=True)(jax.tree.map(jnp.asarray, x))
    return values, aux, grad


def jacobian(fn: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """(outputs (B, K), Jacobian (B, K, ...)) of `fn(x) -> (B, K)`: one forward and K backward passes."""
    outputs, pull = jax.vjp(fn, jnp.asarray(x))
    return outputs, _rows(outputs, pull)


def chosen_grad(
    fn: Callable[[Tensor], tuple[Tensor, Any]], choose: Callable[[Tensor, Any, Tensor], Tensor], x: Tensor
) -> tuple[Tensor, Any, Tensor]:
    """(mixed (B,), aux, gradient of mixed) for mixed = sum_k c_k outputs_k of `fn(x) -> (outputs (B, K),
    aux)`.

    `choose(outputs, aux, slopes (B, K, ...)) -> c (B, K)` looks at the gradients of all K outputs; c is a
    constant. One forward and K + 1 backward passes, of which only the last has a second order: so it costs
    far less to differentiate again than a Jacobian does.
    """
    outputs, pull, aux = jax.vjp(fn, jnp.asarray(x), has_aux=True)
    mix = jax.lax.stop_gradient(choose(outputs, aux, _rows(outputs, pull)))
    return jnp.sum(mix * outputs, axis=1), aux, pull(mix)[0]


def _rows(outputs: Tensor, pull: Callable[[Tensor], tuple[Tensor]]) -> Tensor:
    """The Jacobian by the vector-Jacobian product of each output."""
    classes = jnp.eye(outputs.shape[1], dtype=outputs.dtype)
    columns = jnp.broadcast_to(classes[:, None], (len(classes), *outputs.shape))
    return jnp.moveaxis(jax.vmap(pull)(columns)[0], 0, 1)


def where_rows(chosen: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """yes[i] where chosen[i], else no[i]; chosen is (B,) bool, yes and no are (B, ...) of one shape."""
    return jnp.where(jnp.reshape(chosen, (-1,) + (1,) * (jnp.ndim(yes) - 1)), yes, no)


def take_rows(variable: keras.Variable, rows: Tensor) -> Tensor:
    """variable[rows]."""
    return jnp.take(variable.value, rows, axis=0)


def put_rows(variable: keras.Variable, rows: Tensor, values: Tensor) -> None:
    """variable[rows] = values; in a compiled step in place."""
    variable.assign(variable.value.at[rows].set(values.astype(variable.dtype)))


def compile(fn: Callable[..., Any], model: keras.layers.Layer | None = None) -> Callable[..., Any]:
    """`fn` jitted; the model's weights travel as arguments, so new weights are seen without retracing."""
    variables = [] if model is None else model.variables

    @jax.jit
    def pure(values: list[Tensor], *args: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return fn(*args)

    return lambda *args: pure([v.value for v in variables], *args)


def separate_graph(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `fn`: only TensorFlow needs the body of a loop as a graph of its own."""
    return fn


def in_graph(batches: Any, images: Any) -> Any:
    """The batches, of which each process gives its share: Keras' trainer takes them as they are, and only
    TensorFlow has a graph for them."""
    del images
    return batches if process()[1] == 1 else _Share(batches)


class _Share(keras.utils.PyDataset):
    """Of each batch the rows that this process has to give."""

    def __init__(self, batches: keras.utils.PyDataset) -> None:
        super().__init__()
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        number, count = process()
        whole: Any = self.batches[index]
        own = len(whole[0]) // count
        return tuple(part[number * own : (number + 1) * own] for part in whole)


class Game(BaseGame):
    """`BaseGame` with JAX's `train_step`."""

    @property
    def non_trainable_variables(self) -> list[Any]:
        # Keras' JAX trainer carries the state of one optimizer; the others travel with the model's
        others = [o for o in self.__dict__.get("optimizers", {}).values() if o is not self.optimizer]
        return [*super().non_trainable_variables, *(v for o in others for v in o.variables)]

    def save_state(self, filepath: Any) -> None:
        self.jax_state_sync()  # within an epoch the state is not in the variables
        # Keras makes variables while it saves, which in a distribution all processes would have to make
        shared = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            super().save_state(filepath)
        finally:
            keras.distribution.set_distribution(shared)

    def make_train_function(self, force: bool = False) -> None:
        super().make_train_function(force)
        run = self.train_function

        def unless_passed(state: Any, batches: Any) -> Any:
            return (self.logs_before, state) if self._has_passed(batches) else run(state, batches)

        self.train_function = unless_passed

    def train_step(self, state: Any, data: Any) -> Any:
        groups = [
            self.trainable_variables,
            self.non_trainable_variables,
            self.optimizer.variables,
            self.metrics_variables,
        ]
        pairs = [p for g, s in zip(groups, state, strict=True) for p in zip(g, s, strict=True)]
        with keras.StatelessScope(state_mapping=pairs) as scope:
            logs = self.play(*keras.utils.unpack_x_y_sample_weight(data))
        return logs, tuple([scope.get_current_value(v) for v in group] for group in groups)

    def statistics_step(self) -> Callable[[Any, Any], None]:
        variables = [*self.variables, *self.metrics_variables]

        @jax.jit
        def step(values: list[Tensor], x: Tensor, y: Tensor) -> list[Tensor]:
            mapping = zip(variables, values, strict=True)
            with keras.StatelessScope(state_mapping=list(mapping)) as scope:
                self._step(x, y, self.terms_of)
                return [scope.get_current_value(v) for v in variables]

        def run(x: Any, y: Any) -> None:
            for variable, value in zip(variables, step([v.value for v in variables], x, y), strict=True):
                variable.assign(value)

        return run

    def make_move(self, move: Any, nets: dict[str, Net], batch: dict[str, Tensor]) -> Any:
        learned, optimizer = self.variables_of(move), self.optimizers[move.name]
        state = [v for p in self.players.values() for v in p.non_trainable_variables]
        rest = [v for v in self.trainable_variables if not any(v is w for w in learned)] + state
        # scopes do not chain: read the outer one first
        outer, scale = [(v, v.value) for v in rest], optimizer.scale_loss(1.0)

        def loss(values: list[Tensor]) -> tuple[Tensor, Any]:
            mapping = [*zip(learned, values, strict=True), *outer]
            with keras.StatelessScope(state_mapping=mapping) as scope:
                total, terms = self.total_loss(move, nets, batch)
            return total * scale, (terms, [scope.get_current_value(v) for v in state])

        values = [v.value for v in learned]
        (_, (terms, updates)), grads = jax.value_and_grad(loss, has_aux=True)(values)
        new, slots = optimizer.stateless_apply([v.value for v in optimizer.variables], grads, values)
        targets = [*state, *learned, *optimizer.variables]
        for variable, value in zip(targets, [*updates, *new, *slots], strict=True):
            variable.assign(value)
        return terms
