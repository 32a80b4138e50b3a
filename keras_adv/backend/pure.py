"""A Keras model as a pure function of its input and of the current weights."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_adv import validate
from keras_adv.backend.convolution import quick_slopes

Tensor = Any


class Net:
    """Pure view of a Keras layer or model.

    A call reads the weights that are current (those of the enclosing stateless scope first), runs
    `stateless_call`, and drops every state update (batch-norm statistics, random streams) unless `update`
    is set. So an inner gradient can never leak a tracer on JAX nor move batch-norm statistics on TensorFlow.

    Args:
        model: a built Keras layer or model.
        frozen: stop gradients at the weights: what attacks look at.
        given: tensors in place of the current trainable weights, in their order.
    """

    def __init__(
        self, model: keras.layers.Layer, frozen: bool = False, given: list[Tensor] | None = None
    ) -> None:
        self.model, self.is_frozen, self.given = model, frozen, given

    @property
    def frozen(self) -> Net:
        """The same net with its weights held fixed."""
        return Net(self.model, True, self.given)

    @property
    def steady(self) -> bool:
        """Is training mode known to give the logits of inference mode, with nothing to update?

        True where nothing is there but what is learnt (no statistics, no random streams, no frozen layer) and no layer
        from outside Keras asks for the mode.
        """
        own = [n for n in self.model._flatten_layers() if not type(n).__module__.startswith("keras.")]
        asks = any("training" in inspect.signature(n.call).parameters for n in own)
        return not (self.model.non_trainable_variables or asks)

    @property
    def values(self) -> list[Tensor]:
        """The trainable weights that a call uses, in the order of `model.trainable_variables`."""
        used = self.given or [v.value for v in self.model.trainable_variables]
        return [ops.stop_gradient(v) for v in used] if self.is_frozen else used

    def at(self, values: list[Tensor]) -> Net:
        """The net with these trainable weights in place of its own."""
        return Net(self.model, self.is_frozen, values)

    def only(self, learns: Callable[[keras.Variable], bool]) -> Net:
        """The net with every trainable weight held fixed for which `learns(variable)` is false."""
        pairs = zip(self.model.trainable_variables, self.values, strict=True)
        return self.at([value if learns(v) else ops.stop_gradient(value) for v, value in pairs])

    def __call__(self, *inputs: Tensor, update: bool = False, **kwargs: Any) -> Tensor:
        """The model's output; `update=True` keeps the state updates (outside inner gradients only)."""
        return self._run(
            self.model, inputs, [v.value for v in self.model.non_trainable_variables], update, kwargs
        )

    def _run(
        self,
        model: keras.layers.Layer,
        inputs: Any,
        state: list[Tensor],
        update: bool,
        kwargs: dict[str, Any],
    ) -> Tensor:
        """`model`, which has this net's weights in any order."""
        known = {id(v): w for v, w in zip(self.model.trainable_variables, self.values, strict=True)}
        if isinstance(model, keras.Model):
            kwargs.setdefault("training", False)
        trainable = [known[id(v)] for v in model.trainable_variables]
        with quick_slopes(model):
            outputs, new = model.stateless_call(trainable, state, *inputs, **kwargs)
        if update:
            for variable, value in zip(model.non_trainable_variables, new, strict=True):
                # no path to the weights: on JAX a later read in the same gradient would find one
                variable.assign(ops.stop_gradient(value))
        return outputs

    def drawn(self, x: Tensor, draw: Any) -> Tensor:
        """The output with the random streams of a net that is random in inference put at `draw`."""
        state = [
            ops.stack([v.value[0], ops.cast(draw, v.dtype)]) if _is_stream(v) else v.value
            for v in self.model.non_trainable_variables
        ]
        return self._run(self.model, (x,), state, False, {})

    def featured(self, x: Tensor, update: bool = False, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """(features (B, F), logits (B, K)) in float32: the layer named "features" and the output, in one pass.

        Raises:
            InvalidInput: the model has no such layer.
        """
        model = self.model
        both = keras.Model(model.inputs, [feature_layer(model).output, model.output])
        state = [v.value for v in both.non_trainable_variables]
        features, logits = self._run(both, (x,), state, update, kwargs)
        return _flat(features), ops.cast(logits, "float32")

    def features(self, x: Tensor) -> Tensor:
        """(B, F) in float32 of the layer named "features", in inference mode. Raises InvalidInput as `featured`."""
        inner = keras.Model(self.model.inputs, feature_layer(self.model).output)
        return _flat(self._run(inner, (x,), [v.value for v in inner.non_trainable_variables], False, {}))

    def logits(self, x: Tensor, **kwargs: Any) -> Tensor:
        """The output in float32, whatever the model computes in: (B, classes)."""
        return ops.cast(self(x, **kwargs), "float32")

    def weights(self, last: bool = True) -> list[Tensor]:
        """Current kernels (matrices and filters); without the last layer's unless `last`."""
        kernels = [v for v in self.model.trainable_variables if len(v.shape) > 1]
        return [v.value for v in (kernels if last else kernels[:-1])]

    def set_clock(self, count: Tensor) -> None:
        """Puts the random streams of the model at `count`, so that a resumed run draws what the first would have."""
        for v in self.model.non_trainable_variables:
            if _is_stream(v):
                v.assign(ops.stack([v.value[0], ops.cast(count, v.dtype)]))


def _is_stream(variable: Any) -> bool:
    return str(variable.path).endswith("seed_generator_state")


class View:
    """What an attack sees of a classifier: `view(x)` are its logits in float32, `view.features(x)` its features.

    Args:
        net: the classifier, frozen.
    """

    def __init__(self, net: Net) -> None:
        self.net = net

    def __call__(self, x: Tensor, draw: Any = None) -> Tensor:
        """(B, classes). A net that is random in inference draws anew for each number `draw` (None: as it stands)."""
        if draw is None or not any(map(_is_stream, self.net.model.non_trainable_variables)):
            return self.net.logits(x)
        return ops.cast(self.net.drawn(x, draw), "float32")

    def features(self, x: Tensor) -> Tensor:
        """(B, F) of the layer named "features".

        Raises:
            InvalidInput: the model has none.
        """
        return self.net.features(x)

    def featured(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(`features`, logits) in one pass; a net that is random in inference stands still."""
        return self.net.featured(x)


def _flat(features: Tensor) -> Tensor:
    """(B, F) in float32, F known also where B is not."""
    return ops.reshape(ops.cast(features, "float32"), (-1, math.prod(features.shape[1:])))


def feature_layer(model: keras.Model) -> keras.layers.Layer:
    """The layer named "features". Raises InvalidInput where a model has none."""
    names = [layer.name for layer in model.layers]
    if "features" not in names:
        raise validate.fail("model", "a model with a layer named 'features'", names)
    return model.get_layer("features")
