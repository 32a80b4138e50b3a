"""The fields of a spec that searches vary."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from keras_adv import validate
from keras_adv.registry.base import Spec
from keras_adv.registry.fields import Range

_S = TypeVar("_S", bound=Spec)


def tunables(obj: Spec, prefix: str = "") -> dict[str, tuple[Any, Range]]:
    """Every field of `obj` and of the specs inside it that carries a search range: dotted path -> (value,
    range)."""
    found: dict[str, tuple[Any, Range]] = {}
    for field in dataclasses.fields(obj):  # type: ignore[arg-type]
        value, path = getattr(obj, field.name), prefix + field.name
        if isinstance(value, Spec):
            found |= tunables(value, path + ".")
            if field.metadata.get("tune") is not None and value.ends:
                found[f"{path}.{value.ends[-1]}"] = (getattr(value, value.ends[-1]), field.metadata["tune"])
        elif field.metadata.get("tune") is not None and value is not None:
            found[path] = (value, field.metadata["tune"])
    return found


def with_values(obj: _S, values: dict[str, Any]) -> _S:
    """`obj` with fields changed by dotted path, as `tunables` names them.

    Raises:
        InvalidInput: a path that leads to no field, or a value that the field does not allow.
    """
    changes: dict[str, Any] = {}
    for path, value in values.items():
        head, _, rest = path.partition(".")
        validate.one_of("path", head, [f.name for f in dataclasses.fields(obj)])  # type: ignore[arg-type]
        inner = changes.get(head, getattr(obj, head))
        changes[head] = with_values(inner, {rest: value}) if rest else value
    return obj.replace(**changes)
