"""A Keras model as a pure function of its input and of the current weights."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any, Literal

import keras
from keras import ops

from keras_adv.arrays import Tensor, flatten
from keras_adv.backend.convolution import faster_input_gradients
from keras_adv.backend.normalisation import fused_normalisations
from keras_adv.features import with_features

Mode = Literal["inference", "training", "untracked", "stored"]
"""How a pass runs. "inference": as the model is served. "training": as in Keras' `fit`, moving running
statistics and random streams. "untracked": in training mode, but nothing that the model stores moves.
"stored": so too, and batch normalisation takes the statistics that are stored."""


class Net:
    """Pure view of a Keras layer or model.

    A call reads the weights that are current (those of the enclosing stateless scope first) and runs
    `stateless_call`. What the model stores (batch-norm statistics, random streams) moves only in a pass of
    mode "training", so an inner gradient can never leak a tracer on JAX nor move statistics on TensorFlow.

    Args:
        model: a built Keras layer or model.
        frozen: stop gradients at the weights: what attacks look at.
        given: tensors in place of the current trainable weights, in their order.

    Attributes:
        passes: the mode of every pass so far, of this net and of those derived from it.
        tracks: whether mode "training" moves what the model stores; where not, it is mode "untracked".
        step: () int32, the number of the step that the net is trained in, from 1; 0 outside of a training.
        rows: (B,) int32, the numbers that the images of the step have in the training set, where the defense
            keeps something of each; else None.
        epoch: () float32, the passes over the data before that step, with their fraction.
    """

    def __init__(
        self, model: keras.layers.Layer, frozen: bool = False, given: list[Tensor] | None = None
    ) -> None:
        self.model, self.is_frozen, self.given = model, frozen, given
        self.passes: list[Mode] = []
        self.tracks = True
        self.step: Tensor | int = 0
        self.epoch: Tensor | float = 0.0
        self.rows: Tensor | None = None

    def _derived(self, frozen: bool, given: list[Tensor] | None, tracks: bool = True) -> Net:
        other = Net(self.model, frozen, given)
        other.passes, other.tracks = self.passes, self.tracks and tracks
        other.step, other.epoch, other.rows = self.step, self.epoch, self.rows
        return other

    @property
    def untracked(self) -> Net:
        """The same net, whose passes move nothing that the model stores."""
        return self._derived(self.is_frozen, self.given, tracks=False)

    @property
    def frozen(self) -> Net:
        """The same net with its weights held fixed."""
        return self._derived(True, self.given)

    @property
    def unchanged_by_training(self) -> bool:
        """Whether mode "training" is known to give the logits of mode "inference", with nothing to move.

        True where the model stores only what is learned (no statistics, no random streams, no frozen layer)
        and no layer from outside Keras takes a `training` argument.
        """
        takes_mode = any("training" in inspect.signature(n.call).parameters for n in self._foreign_layers)
        return not (self.model.non_trainable_variables or takes_mode)

    @property
    def values(self) -> list[Tensor]:
        """The trainable weights that a call uses, in the order of `model.trainable_variables`."""
        used = self.given or [v.value for v in self.model.trainable_variables]
        return [ops.stop_gradient(v) for v in used] if self.is_frozen else used

    def with_values(self, values: list[Tensor]) -> Net:
        """The net with these trainable weights in place of its own."""
        return self._derived(self.is_frozen, values)

    def training_only(self, learns: Callable[[keras.Variable], bool]) -> Net:
        """The net with every trainable weight held fixed for which `learns(variable)` is false."""
        pairs = zip(self.model.trainable_variables, self.values, strict=True)
        return self.with_values([value if learns(v) else ops.stop_gradient(value) for v, value in pairs])

    def __call__(self, *inputs: Tensor, mode: Mode = "inference") -> Tensor:
        """The model's output. Mode "training" is for passes outside of input gradients."""
        return self._run(inputs, mode)

    def logits(self, x: Tensor, mode: Mode = "inference") -> Tensor:
        """The output in float32, whatever the model computes in: (B, classes)."""
        return ops.cast(self(x, mode=mode), "float32")

    def features(self, x: Tensor) -> Tensor:
        """(B, F) in float32, in mode "inference" (`keras_adv.features`). Raises InvalidInput for a model
        without any."""
        return self.features_and_logits(x)[0]

    def features_and_logits(self, x: Tensor, mode: Mode = "inference") -> tuple[Tensor, Tensor]:
        """((B, F), (B, K)) in float32, in one pass: the features (`keras_adv.features`) and the output.

        Raises:
            InvalidInput: the model has no features.
        """
        features, logits = with_features(self.model, lambda: self._run((x,), mode))
        return flatten(ops.cast(features, "float32")), ops.cast(logits, "float32")

    def logits_of_draw(self, x: Tensor, draw: Any) -> Tensor:
        """(B, K) in float32, with the random streams of a net that is random in inference put at `draw`."""
        state = [
            ops.stack([v.value[0], ops.cast(draw, v.dtype)]) if _is_stream(v) else v.value
            for v in self.model.non_trainable_variables
        ]
        return ops.cast(self._run((x,), "inference", state), "float32")

    def _run(self, inputs: Any, mode: Mode, state: list[Tensor] | None = None) -> Tensor:
        """One pass; `state` replaces what the model stores."""
        if mode == "training" and not self.tracks:
            mode = "untracked"
        self.passes.append(mode)
        stored = self.model.non_trainable_variables
        state = [v.value for v in stored] if state is None else state
        options = {"training": mode != "inference"} if _takes_training(self.model) else {}
        held = self._held_normalisations() if mode == "stored" else contextlib.nullcontext()
        fused = fused_normalisations(self.normalisations)
        with held, fused, faster_input_gradients(self.model):
            outputs, moved = self.model.stateless_call(self.values, state, *inputs, **options)
        if mode == "training":
            for variable, value in zip(stored, moved, strict=True):
                # no path to the weights: on JAX a later read in the same gradient would find one
                variable.assign(ops.stop_gradient(value))
        return outputs

    @property
    def normalisations(self) -> list[keras.layers.BatchNormalization]:
        """The layers of batch normalisation, those too that another layer holds as an attribute."""
        return [n for n in self.model._flatten_layers() if isinstance(n, keras.layers.BatchNormalization)]

    @contextlib.contextmanager
    def _held_normalisations(self) -> Iterator[None]:
        """Keras normalises by stored statistics in a layer that is not trainable. Its setter would also drop
        the weights from the lists of what is learned; the flag alone does not."""
        held = [n for n in self.normalisations if n.trainable]
        for layer in held:
            layer._trainable = False
        try:
            yield
        finally:
            for layer in held:
                layer._trainable = True

    def kernels(self, last: bool = True) -> list[Tensor]:
        """Current matrices and filters, in float32; without the last layer's unless `last`."""
        found = [v for v in self.model.trainable_variables if len(v.shape) > 1]
        return [ops.cast(v.value, "float32") for v in (found if last else found[:-1])]

    def penalties(self) -> list[Tensor]:
        """Of each learned weight that has a regularizer, what that says of its current value."""
        learned = [v for v in self.model.trainable_variables if v.regularizer is not None]
        return [v.regularizer(v.value) for v in learned]

    @property
    def _foreign_layers(self) -> list[keras.layers.Layer]:
        """The layers of whose `call` nothing is known: those from outside Keras."""
        return [n for n in self.model._flatten_layers() if not type(n).__module__.startswith("keras.")]

    def added_losses(self, x: Tensor) -> list[Tensor]:
        """What Keras' `fit` adds to the loss for these images: `penalties`, and whatever layers add in a call
        of training mode. Moves nothing.

        Cost: a pass, where a layer regularizes its activity or is not Keras' own nor this package's.
        """
        others = [n for n in self._foreign_layers if not type(n).__module__.startswith("keras_adv.")]
        if not others and not any(n.activity_regularizer for n in self.model._flatten_layers()):
            return self.penalties()
        state = [v.value for v in self.model.non_trainable_variables]
        options = {"training": True} if _takes_training(self.model) else {}
        return list(self.model.stateless_call(self.values, state, x, return_losses=True, **options)[2])

    @property
    def statistics(self) -> list[keras.Variable]:
        """What the model stores besides weights and random streams: the statistics of batch normalisation,
        say."""
        return [v for v in self.model.non_trainable_variables if not _is_stream(v)]

    def set_stream_position(self, count: Tensor) -> None:
        """Puts the random streams of the model at `count`, so that a resumed run draws what the first would
        have."""
        for v in self.model.non_trainable_variables:
            if _is_stream(v):
                v.assign(ops.stack([v.value[0], ops.cast(count, v.dtype)]))


def _is_stream(variable: Any) -> bool:
    return str(variable.path).endswith("seed_generator_state")


def _takes_training(model: keras.layers.Layer) -> bool:
    return isinstance(model, keras.Model) or "training" in inspect.signature(model.call).parameters


class FrozenNet:
    """A classifier as attacks see it: mode "inference", fixed weights. Called with images, it returns logits.

    Args:
        model: a Keras model, or a `Net` that stands for one.
    """

    def __init__(self, model: keras.Model | Net) -> None:
        self._net = model.frozen if isinstance(model, Net) else Net(model, frozen=True)

    @property
    def net(self) -> Net:
        """The pure function behind it."""
        return self._net

    def __call__(self, x: Tensor, draw: Any = None) -> Tensor:
        """(B, classes) in float32. A net that is random in inference draws anew for each number `draw` (None:
        its stored stream)."""
        return self.net.logits(x) if draw is None or not self.draws else self.net.logits_of_draw(x, draw)

    @property
    def draws(self) -> bool:
        """Whether the model has random streams of its own."""
        return any(map(_is_stream, self.net.model.non_trainable_variables))

    def features(self, x: Tensor) -> Tensor:
        """(B, F) (`keras_adv.features`).

        Raises:
            InvalidInput: the model has none.
        """
        return self.net.features(x)

    def features_and_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both in one pass. A net that is random in inference does not draw anew."""
        return self.net.features_and_logits(x)
