"""What was compiled for a model, kept as long as the model lives."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import keras

from keras_adv import registry
from keras_adv.attacks import Attack, Task
from keras_adv.attacks.host import HostAttack
from keras_adv.backend import Net, View, compile
from keras_adv.evaluation.slots import Compiled

_cache: weakref.WeakKeyDictionary[keras.Model, dict[str, Any]] = weakref.WeakKeyDictionary()


def _once(model: keras.Model, key: str, make: Callable[[], Any]) -> Any:
    """What `make` made for this model and key the first time."""
    known = _cache.setdefault(model, {})
    if key not in known:
        known[key] = make()
    return known[key]


class _Weak(View):
    """A view that does not keep its model alive: the cache must not keep its own key."""

    def __init__(self, model: keras.Model) -> None:
        self.ref = weakref.ref(model)

    @property
    def net(self) -> Net:  # type: ignore[override]
        model = self.ref()
        if model is None:
            raise ReferenceError("the attacked model is gone")
        return Net(model, frozen=True)


def _neutral(attack: Attack) -> Attack:
    """The attack with eps = 1: eps travels as an argument, so all radii share what is compiled."""
    if attack.threat.eps is None:
        return attack
    return attack.replace(threat=attack.threat.replace(eps=1.0))


def loop(model: keras.Model, attack: Attack) -> Any:
    """The compiled loop of an attack."""
    one, view, compiler = _neutral(attack), _Weak(model), _compiler(model)
    if isinstance(one, HostAttack):
        return _once(model, "host " + registry.spec(one), lambda: one.build(view, compiler))
    return _once(model, registry.spec(one), lambda: Compiled(view, one, compiler))


def judge(model: keras.Model, attack: Attack) -> Callable[..., Any]:
    """The compiled judge: the same for all attacks of a contract in a norm."""
    view, one = _Weak(model), _neutral(attack)
    key = f"judge {one.contract} {registry.spec(one.threat)}"
    return _once(model, key, lambda: compile(lambda f, found: one.judge(Task(view, *f), found), model))


def logits(model: keras.Model) -> Callable[..., Any]:
    """The compiled logits, as attacks see them."""
    view = _Weak(model)
    return _once(model, "logits", lambda: compile(lambda part: view(part), model))


def _compiler(model: keras.Model) -> Callable[..., Any]:
    return lambda fn: compile(fn, model)
