"""`name(k=v)` strings <-> frozen objects: the flag, the card entry, the repr and the search point.

Parsed with `ast`, never evaluated. One `@register("attack", "pgd")` makes a class known to the
command line, its help, the search, the cards and the conformance tests.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import operator
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from typing_extensions import dataclass_transform

from keras_adv import validate
from keras_adv.validate import InvalidInput

_CLASSES: dict[str, type[Spec]] = {}
_PRESETS: dict[str, Spec] = {}
_T = TypeVar("_T", bound="type[Spec]")


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
    """A field with its allowed range, checked when the object is made, and its search range."""
    rule = {"low": low, "high": high, "above": above}
    return dataclasses.field(default=default, metadata={"rule": rule, "choices": choices, "tune": tune})


def tunable(*, default: Any, lowest: float, highest: float, log: bool = False, **limits: Any) -> Any:
    """A numeric field that searches vary in lowest..highest; the limits of `option`."""
    return option(default=default, tune=Range(lowest, highest, log), **({"low": 0} | limits))


class Spec:
    """Base of everything that has a name and options. Immutable, hashable, prints as its spec."""

    kind: typing.ClassVar[str]
    name: typing.ClassVar[str]
    reference: typing.ClassVar[str] = ""

    def __post_init__(self) -> None:
        hints = _hints(type(self))
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            _check(field, hints[field.name], getattr(self, field.name), self.name)
        self.check()

    def check(self) -> None:
        """Rules between fields; raises InvalidInput."""

    def replace(self: _S, **changes: Any) -> _S:
        """The same object with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def __repr__(self) -> str:
        return spec(self)


_S = TypeVar("_S", bound=Spec)


@dataclass_transform(frozen_default=True, field_specifiers=(option, tunable))
def register(kind: str, name: str) -> Callable[[_T], _T]:
    """Class decorator: makes a frozen dataclass and gives it a name that is unique in the house."""

    def decorate(cls: _T) -> _T:
        if name in _CLASSES:
            raise InvalidInput(f"`{name}` is already registered by {_CLASSES[name].__module__}")
        cls.kind, cls.name = kind, name
        _CLASSES[name] = dataclasses.dataclass(frozen=True, repr=False)(cls)
        return cls

    return decorate


def preset(name: str, made: Spec) -> None:
    """Lets specs start from `made` under a name of its own: "name(option=value)" changes one of its options."""
    if name in _CLASSES or name in _PRESETS:
        raise InvalidInput(f"`{name}` is already registered")
    _PRESETS[name] = made


def registered(kind: str) -> dict[str, type[Spec]]:
    """Every class of a kind ("attack", "defense", "model", "threat", ...), by name."""
    return {n: c for n, c in sorted(_CLASSES.items()) if c.kind == kind}


def parse(kind: str, value: Any) -> Any:
    """The object that a spec string means; an object of the right kind is returned as it is.

    Raises:
        InvalidInput: bad syntax, unknown name or option, a value out of range, another kind.
    """
    if isinstance(value, Spec) and value.kind == kind:
        return value
    if not isinstance(value, str):
        raise validate.fail(kind, f"a spec string or a registered {kind}", value)
    try:
        made = _make(ast.parse(value.strip(), mode="eval").body, kind)
    except InvalidInput:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        form = "of the form name(option=value)"
        raise validate.fail(kind, form, _short(value)) from error
    if not isinstance(made, Spec) or made.kind != kind:
        raise validate.fail(kind, f"one of {list(registered(kind))}", value)
    return made


def spec(obj: Spec, full: bool = False) -> str:
    """The shortest string that parses to `obj`: fields at their default are left out.

    Threats are always written out: no robust accuracy means anything without its norm and eps. With `full` every
    field is: what a card keeps, so that it still means the same when a default has changed.
    """
    parts = []
    for field in dataclasses.fields(obj):  # type: ignore[arg-type]
        value = getattr(obj, field.name)
        threat = isinstance(value, Spec) and value.kind == "threat"
        if full or threat or value != field.default or type(value) is not type(field.default):
            parts.append(f"{field.name}={_text(value, full)}")
    return f"{obj.name}({', '.join(parts)})"


def tunables(obj: Spec, prefix: str = "") -> dict[str, tuple[Any, Range]]:
    """Every field of `obj` and of the specs inside it that carries a search range: dotted path -> (value, range)."""
    found: dict[str, tuple[Any, Range]] = {}
    for field in dataclasses.fields(obj):  # type: ignore[arg-type]
        value, path = getattr(obj, field.name), prefix + field.name
        if isinstance(value, Spec):
            found |= tunables(value, path + ".")
        elif field.metadata.get("tune") is not None and value is not None:
            found[path] = (value, field.metadata["tune"])
    return found


def with_values(obj: _S, values: dict[str, Any]) -> _S:
    """`obj` with fields changed by dotted path, as `tunables` names them."""
    changes: dict[str, Any] = {}
    for path, value in values.items():
        head, _, rest = path.partition(".")
        validate.one_of("path", head, [f.name for f in dataclasses.fields(obj)])  # type: ignore[arg-type]
        inner = changes.get(head, getattr(obj, head))
        changes[head] = with_values(inner, {rest: value}) if rest else value
    return obj.replace(**changes)


def _short(text: str) -> str:
    return text if len(text) < 200 else f"{text[:100]} ... {text[-50:]}"


def _text(value: Any, full: bool = False) -> str:
    if isinstance(value, Spec):
        return spec(value, full)
    if isinstance(value, float):
        whole = round(value * 255)  # 8/255 is how the field writes it
        if whole > 0 and whole / 255 == value and len(float.__repr__(value)) > 8:
            return f"{whole}/255"
    if isinstance(value, tuple):
        return "(" + "".join(f"{_text(v, full)}, " for v in value).rstrip() + ")"
    if isinstance(value, (float, int)) and not isinstance(value, bool):
        return float.__repr__(value) if isinstance(value, float) else int.__repr__(value)
    return repr(value)


_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Div: operator.truediv, ast.Mult: operator.mul, ast.Add: operator.add,
    ast.Sub: operator.sub,
}  # fmt: skip


def _make(node: ast.expr, kind: str = "option") -> Any:
    if isinstance(node, ast.Constant) and not isinstance(node.value, (bytes, complex)):
        return node.value
    if isinstance(node, ast.Tuple):
        return tuple(_make(item) for item in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_numeric(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        left, right = _numeric(node.left), _numeric(node.right)
        if isinstance(node.op, ast.Div) and right == 0:
            raise validate.fail("spec", "free of division by zero", ast.unparse(node))
        return _ARITHMETIC[type(node.op)](left, right)
    if isinstance(node, ast.Name):
        return _build(node.id, kind, {})
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
        arguments = {k.arg: _make(k.value) for k in node.keywords if k.arg is not None}
        if len(arguments) == len(node.keywords):
            return _build(node.func.id, kind, arguments)
    raise validate.fail("spec", "made of name(option=value), numbers and words", ast.unparse(node))


def _numeric(node: ast.expr) -> Any:
    value = _make(node)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise validate.fail("spec", "arithmetic on numbers only", ast.unparse(node))
    return value


def _build(name: str, kind: str, arguments: dict[str, Any]) -> Spec:
    if name not in _CLASSES and name not in _PRESETS:
        known = list(registered(kind)) or sorted(_CLASSES)
        known += sorted(n for n, p in _PRESETS.items() if p.kind == kind)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        if kind == "option":
            hint += f" A word as a value stands in quotes: {name!r}."
        raise InvalidInput(f"`{kind}` must be one of {known}. Received: {name!r}.{hint}")
    start = _PRESETS.get(name)
    cls = type(start) if start is not None else _CLASSES[name]
    fields = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for argument in arguments:
        if argument not in fields:
            validate.one_of(f"option of {name}", argument, fields)
    return cls(**arguments) if start is None else start.replace(**arguments)


def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _check(field: dataclasses.Field[Any], hint: Any, value: Any, owner: str) -> None:
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    where = f"{field.name}"
    if not any(_fits(value, kind) for kind in allowed):
        words = " or ".join(getattr(k, "__name__", str(k)).replace("NoneType", "None") for k in allowed)
        raise validate.fail(where, f"{words} (option of {owner})", value)
    if field.metadata.get("choices") is not None:
        validate.one_of(where, value, field.metadata["choices"])
    for one in value if isinstance(value, tuple) else (value,):
        if isinstance(one, (int, float)) and not isinstance(one, bool):
            validate.number(where, one, **field.metadata.get("rule", {}))


def _fits(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is tuple:  # tuple[int, ...]: at least one
        inner = typing.get_args(kind)[0]
        return isinstance(value, tuple) and len(value) > 0 and all(_fits(v, inner) for v in value)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)
