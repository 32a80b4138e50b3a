"""The fields of a spec: their limits, where searches may look, and what values they take."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import Any

from keras_adv import validate


@dataclasses.dataclass(frozen=True)
class Range:
    """Where a search may look for a field: low..high (log-spaced if `log`), or `choices`."""

    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: tuple[Any, ...] | None = None


def option(
    *,
    default: Any,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[Any, ...] | None = None,
    tune: Range | None = None,
) -> Any:
    """A field of a spec.

    Args:
        default: its value where none is given.
        low: least number that is allowed.
        high: largest number that is allowed.
        above: number that the value must exceed.
        choices: the values that are allowed.
        tune: where searches may look.
    """
    rule = {"low": low, "high": high, "above": above}
    return dataclasses.field(default=default, metadata={"rule": rule, "choices": choices, "tune": tune})


def tunable(*, default: Any, lowest: float, highest: float, log: bool = False, **limits: Any) -> Any:
    """A numeric field that searches vary in lowest..highest (log-spaced if `log`); `limits` as in
    `option`."""
    return option(default=default, tune=Range(lowest, highest, log), **({"low": 0} | limits))


@functools.cache
def hints(cls: Any) -> dict[str, Any]:
    """The types of a spec's fields; worked out once, for that takes longer than the rest of making a spec."""
    return typing.get_type_hints(cls)


def kinds_of(hint: Any) -> tuple[str, ...]:
    """The kinds of spec that a field of this type holds: ("attack",) for `Attack | None` or `tuple[Attack,
    ...]`."""
    found = [kind for part in typing.get_args(hint) for kind in kinds_of(part)]
    if isinstance(hint, type) and isinstance(getattr(hint, "kind", None), str):
        found.append(hint.kind)  # type: ignore[attr-defined]
    return tuple(dict.fromkeys(found))


def check_field(field: dataclasses.Field[Any], hint: Any, value: Any, owner: str) -> None:
    """Raises InvalidInput where a field of `owner` does not take `value`."""
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if not any(_fits(value, kind) for kind in allowed):
        words = " or ".join(getattr(k, "__name__", str(k)).replace("NoneType", "None") for k in allowed)
        raise validate.invalid(field.name, f"{words} (option of {owner})", value)
    if field.metadata.get("choices") is not None:
        validate.one_of(field.name, value, field.metadata["choices"])
    ends = tuple(getattr(value, name) for name in getattr(value, "ends", ()))
    for one in ends or (value if isinstance(value, tuple) else (value,)):
        if isinstance(one, (int, float)) and not isinstance(one, bool):
            validate.number(field.name, one, **field.metadata.get("rule", {}))


def _fits(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is tuple:  # tuple[int, ...]: at least one
        inner = typing.get_args(kind)[0]
        return isinstance(value, tuple) and len(value) > 0 and all(_fits(v, inner) for v in value)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)
