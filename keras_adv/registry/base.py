"""Frozen objects with a name and options: what a spec string stands for."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, ClassVar, TypeVar

import numpy as np

from keras_adv.registry.fields import check_field, hints, kinds_of
from keras_adv.registry.text import parse, spec


class Spec:
    """Base of everything that has a name and options. Immutable, hashable, prints as its spec string.

    A field that holds another spec also takes its string: `PGD(threat="linf(eps=0.1)", loss="margin")`. NumPy
    numbers become Python's.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    reference: ClassVar[str] = ""
    ends: ClassVar[tuple[str, ...]] = ()
    """Of what stands in place of a number: the options that are such numbers, last the one it comes to. The
    limits of the field hold for each, a search varies the last, and a string may leave out their names."""

    def __post_init__(self) -> None:
        own: Any = type(self)
        known = hints(own)
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            hint, value = known[field.name], getattr(self, field.name)
            if (plain := _plain(hint, value)) is not value:
                object.__setattr__(self, field.name, plain)
            check_field(field, hint, plain, self.name)
        self.check()

    def check(self) -> None:
        """Rules between fields. Raises InvalidInput where one is broken."""

    def replace(self: _S, **changes: Any) -> _S:
        """The same object with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def __repr__(self) -> str:
        return spec(self)


_S = TypeVar("_S", bound=Spec)


def _plain(hint: Any, value: Any) -> Any:
    """`value` with NumPy numbers as Python's, and the string of a spec as what it stands for."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple) and any(isinstance(v, np.generic) for v in value):
        return tuple(_plain(hint, v) for v in value)
    if isinstance(value, str) and (kinds := kinds_of(hint)) and str not in typing.get_args(hint):
        return parse(kinds[0], value)
    return value
