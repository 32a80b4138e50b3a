"""What is compiled for a model, kept as long as the model lives."""

from __future__ import annotations

import collections
import functools
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import keras
import numpy as np
from keras import ops

from keras_adv import registry
from keras_adv.arrays import Logits, Tensor, flatten
from keras_adv.attacks import Attack, Task
from keras_adv.attacks.base import State
from keras_adv.attacks.host import HostAttack, Search
from keras_adv.attacks.task import Examples
from keras_adv.backend import FrozenNet, Net, compile, jacobian, value_and_grad
from keras_adv.losses import cross_entropy, pick

_A = TypeVar("_A", bound=Attack)
_known: weakref.WeakKeyDictionary[keras.Model, collections.OrderedDict[str, Any]] = (
    weakref.WeakKeyDictionary()
)
_settings: weakref.WeakKeyDictionary[keras.Model, list[Any]] = weakref.WeakKeyDictionary()

MOST = 48
"""What is compiled for one model is kept for so many keys, those used last."""


def _once(model: keras.Model, key: str, make: Callable[[], Any]) -> Any:
    """What `make` made for this model and key the first time."""
    made = _known.setdefault(model, collections.OrderedDict())
    if key not in made:
        made[key] = make()
        while len(made) > MOST:
            made.popitem(last=False)
    made.move_to_end(key)
    return made[key]


def forget(model: keras.Model) -> None:
    """Drops what is compiled for a model."""
    _known.pop(model, None)


def forget_other_settings(model: keras.Model) -> None:
    """Drops what is compiled for a model whose layers were changed since: one replaced, or an attribute (a
    number, a word, a function such as the activation) set."""
    now = _settings_of(model)
    if _settings.get(model, now) != now:
        forget(model)
    _settings[model] = now


@functools.cache
def _bookkeeping() -> frozenset[str]:
    """The attributes that Keras keeps for itself. Named, so that no layer of a user gets another number."""
    later = ("stop_predicting", "stop_evaluating", "_jax_state", "_jax_state_synced")
    return frozenset([*vars(keras.layers.Layer(name="any")), *vars(keras.Sequential(name="any")), *later])


def _settings_of(model: keras.Model) -> list[Any]:
    own = _bookkeeping()
    found: list[Any] = []
    for layer in model._flatten_layers():
        for name, value in vars(layer).items():
            if name in own or isinstance(value, keras.layers.Layer):
                continue
            if isinstance(value, (bool, int, float, str, np.generic, type(None))):
                found.append((id(layer), name, value))
            elif callable(value):
                found.append((id(layer), name, id(value)))
    return found


class _WeakFrozenNet(FrozenNet):
    """A frozen net that does not keep its model alive. The cache holds it as a value of its
    model; a value that held the model strongly would keep both forever."""

    def __init__(self, model: keras.Model) -> None:
        self._model = weakref.ref(model)

    @property
    def net(self) -> Net:
        model = self._model()
        if model is None:
            raise ReferenceError("the attacked model is gone")
        return Net(model, frozen=True)


class CompiledAttack:
    """The two halves of an attack's loop on one model, compiled; weights, examples and radii stay free to
    change.

    Args:
        model: the model as attacks see it.
        attack: the attack.
        compile: makes a compiled function of a function, for that model.
        draws: of a random net how many draws judge a point (`Task.draws`).
    """

    def __init__(self, model: Logits, attack: Attack, compile: Callable[..., Any], draws: int = 1) -> None:
        def begin(examples: Examples, used: Tensor, old: State, source: Tensor) -> State:
            state = attack.begin(Task(model, examples, draws))
            state["done"] = ops.logical_or(state["done"], ops.logical_not(used))
            both = {n: ops.concatenate([old[n], v]) if old else v for n, v in state.items()}
            return {n: ops.take(v, source, axis=0) for n, v in both.items()}

        def advance(examples: Examples, state: State, rounds: Tensor) -> tuple[State, Tensor]:
            state = attack.advance(Task(model, examples, draws), state, rounds)
            return state, attack.candidate(state)

        self.begin = compile(begin)
        """(examples, (B,) which of them count, the old state or {}, (B',) rows) -> those rows of old and new
        state."""
        self.advance = compile(advance)
        """(examples, state, rounds) -> (the state after at most so many rounds, the images to offer)."""
        self.sizes: dict[int, float] = {}
        """Batch size -> seconds that compiling for it took."""


def attack_loop(model: keras.Model, attack: Attack, draws: int = 1) -> CompiledAttack:
    """The compiled loop of an attack, for a net of which so many draws judge a point; all radii share it."""
    one = _with_unit_radius(attack)
    key = f"{draws} draws {registry.spec(one)}"
    return _once(model, key, lambda: CompiledAttack(_WeakFrozenNet(model), one, _compiler(model), draws))


def host_search(model: keras.Model, attack: HostAttack) -> Search:
    """The search of an attack that runs on the host; all radii share it."""
    one = _with_unit_radius(attack)
    return _once(model, registry.spec(one), lambda: one.search(_WeakFrozenNet(model), _compiler(model)))


def verification(model: keras.Model, attack: Attack) -> Callable[..., Any]:
    """Compiled `Attack.verify`: (images to offer, examples) -> (images, success, distance). All attacks of a
    contract in a norm share it."""
    net, one = _WeakFrozenNet(model), _with_unit_radius(attack)
    key = f"verify {one.contract} {registry.spec(one.threat)}"
    return _once(model, key, lambda: compile(lambda found, e: one.verify(Task(net, e), found), model))


def verdicts(model: keras.Model) -> Callable[..., Any]:
    """Compiled, for a random net: (images, examples, draw) -> (B,) bool, whether that draw reaches the
    goal."""
    net = _WeakFrozenNet(model)

    def judge(images: Tensor, examples: Examples, draw: Tensor) -> Tensor:
        task = Task(net, examples)
        return task.fooled(task.logits(images, draw))

    return _once(model, "verdicts", lambda: compile(judge, model))


def logits(model: keras.Model) -> Callable[..., Any]:
    """The compiled logits, as attacks see them: images -> (B, K)."""
    net = _WeakFrozenNet(model)
    return _once(model, "logits", lambda: compile(lambda images: net(images), model))


def features_and_logits(model: keras.Model) -> Callable[..., Any]:
    """Compiled: images -> ((B, F) features, (B, K) logits)."""
    net = _WeakFrozenNet(model)
    return _once(model, "features", lambda: compile(lambda images: net.features_and_logits(images), model))


def perturbed(model: keras.Model, attack: Attack) -> Callable[..., Any]:
    """Compiled `Attack.perturb`, which takes all steps: (images, labels, seeds) -> images."""
    net = _WeakFrozenNet(model)
    key = f"perturb {registry.spec(attack)}"
    return _once(model, key, lambda: compile(lambda x, y, seeds: attack.perturb(net, x, y, seeds), model))


def likelihood_slopes(model: keras.Model) -> Callable[..., Any]:
    """Compiled: images -> (B, K) Euclidean norm of the gradient of each class' softmax by each image."""
    net = _WeakFrozenNet(model)

    def norms(images: Tensor) -> Tensor:
        rows = jacobian(lambda v: ops.softmax(net(v)), images)[1]
        return ops.sqrt(ops.sum(ops.square(rows), axis=tuple(range(2, len(rows.shape)))))

    return _once(model, "likelihood slopes", lambda: compile(norms, model))


def drawn_logits(model: keras.Model) -> Callable[..., Any]:
    """The compiled logits of a numbered draw: (images, draw) -> (B, K)."""
    net = _WeakFrozenNet(model)
    return _once(model, "drawn logits", lambda: compile(lambda images, draw: net(images, draw), model))


def gradient_sizes(model: keras.Model) -> Callable[..., Any]:
    """Compiled: (images, labels) -> (B,) largest value of the cross-entropy's gradient by each image; NaN
    where some of it is."""
    net = _WeakFrozenNet(model)

    def sizes(images: Tensor, labels: Tensor) -> Tensor:
        grad = value_and_grad(lambda v: (cross_entropy(net(v), labels), None), images)[2]
        return ops.max(ops.abs(flatten(grad)), axis=1)

    return _once(model, "gradient sizes", lambda: compile(sizes, model))


def margin_gradient(model: keras.Model) -> Callable[..., Any]:
    """Compiled: (images, labels, rivals) -> gradient of z_y - z_rival by the images."""
    net = _WeakFrozenNet(model)

    def run(images: Tensor, labels: Tensor, rivals: Tensor) -> Tensor:
        def margin(v: Tensor) -> tuple[Tensor, None]:
            logits = net(v)
            return pick(logits, labels) - pick(logits, rivals), None

        return value_and_grad(margin, images)[2]

    return _once(model, "margin gradient", lambda: compile(run, model))


def _with_unit_radius(attack: _A) -> _A:
    """The attack with eps = 1: eps travels with the examples, so that all radii share what is compiled."""
    if attack.threat.eps is None:
        return attack
    return attack.replace(threat=attack.threat.replace(eps=1.0))


def _compiler(model: keras.Model) -> Callable[..., Any]:
    return lambda fn: compile(fn, model)
