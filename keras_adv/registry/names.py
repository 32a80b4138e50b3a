"""The names of specs and of presets, each unique in its kind."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, dataclass_transform

from keras_adv.registry.fields import option, tunable
from keras_adv.validate import InvalidInput

_CLASSES: dict[tuple[str, str], Any] = {}
_PRESETS: dict[tuple[str, str], Preset] = {}
_T = TypeVar("_T", bound=type)


class Preset(NamedTuple):
    """Settings under a name of their own.

    Attributes:
        made: the object with these settings.
        recipe: what else the source fixes of a training, by the names of a recipe's fields: epochs,
            batch_size, ...
        note: where the settings are from, and what is inferred.
    """

    made: Any
    recipe: Mapping[str, Any]
    note: str


@dataclass_transform(frozen_default=True, field_specifiers=(option, tunable))
def register(kind: str, name: str) -> Callable[[_T], _T]:
    """Class decorator: makes a frozen dataclass of the class and gives it a name that is unique in its kind.

    The same class may be registered again (a notebook's cell that is run twice): the later one counts.

    Raises:
        InvalidInput: another class or a preset has the name.
    """

    def decorate(cls: Any) -> Any:
        known = _CLASSES.get((kind, name))
        same = known is not None and _place(known) == _place(cls)
        if (known is not None and not same) or (kind, name) in _PRESETS:
            owner = known.__module__ if known is not None else "a preset"
            raise InvalidInput(f"`name` must be new among {kind}s. Received: {name!r}, registered by {owner}")
        cls.kind, cls.name = kind, name
        _CLASSES[kind, name] = dataclasses.dataclass(frozen=True, repr=False)(cls)
        return cls

    return decorate


def _place(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


def preset(name: str, made: Any, note: str = "", **recipe: Any) -> None:
    """Gives `made` a name that specs may start from: "name(option=value)" changes one of its options.

    Args:
        name: <method>_<data>, with a variant behind it where there are several; new among specs of this kind.
        made: the settings.
        note: where they are from, and what is inferred.
        recipe: for a defense, the fields of the recipe that its source fixes too (epochs=100, batch_size=128,
            model="wrn(depth=34)", data="cifar10", augment="crop_flip"): "name" is then a recipe as well.

    Raises:
        InvalidInput: the name is taken.
    """
    if (made.kind, name) in _CLASSES or (made.kind, name) in _PRESETS:
        raise InvalidInput(f"`name` must be new among {made.kind}s. Received: {name!r}, which is registered")
    _PRESETS[made.kind, name] = Preset(made, types.MappingProxyType(dict(recipe)), " ".join(note.split()))


def find(kind: str, name: str) -> Any:
    """The class or the preset's object of this name, or None."""
    start = _PRESETS.get((kind, name))
    return _CLASSES.get((kind, name)) if start is None else start.made


def registered(kind: str) -> dict[str, Any]:
    """Every class of a kind ("attack", "defense", "model", "objective", "threat", ...), by name."""
    return {name: cls for (of, name), cls in sorted(_CLASSES.items()) if of == kind}


def presets(kind: str) -> dict[str, Preset]:
    """Every preset of a kind, by name."""
    return {name: made for (of, name), made in sorted(_PRESETS.items()) if of == kind}
