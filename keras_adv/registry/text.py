"""`name(option=value)` strings <-> specs: the flag, the card entry, the `repr` and the search point are one
string.

Strings are parsed with `ast`, never evaluated.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from keras_adv import validate
from keras_adv.registry.fields import hints, kinds_of
from keras_adv.registry.names import find, presets, registered
from keras_adv.validate import InvalidInput

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Div: operator.truediv, ast.Mult: operator.mul, ast.Add: operator.add, ast.Sub: operator.sub,
}  # fmt: skip


RADII = ("eps", "epsilon", "epsilons", "radius")
"""What other libraries call an option that is the threat's here."""


def parse(kind: str, value: Any) -> Any:
    """The object that a spec string stands for; an object of the right kind is returned as it is.

    >>> import keras_adv
    >>> keras_adv.registry.parse("attack", "pgd(threat=linf(eps=8/255), steps=20)").steps
    20

    Args:
        kind: "attack", "average", "defense", "growth", "images", "model", "objective", "optimizer", "ramp",
            "recipe", "schedule" or "threat".
        value: a spec string, or an object of that kind.

    Raises:
        InvalidInput: bad syntax, unknown name or option, a value out of range, another kind, an object of a
            class that is not registered.
    """
    if not isinstance(value, (str, type)) and getattr(value, "kind", None) == kind:
        if "__dataclass_fields__" not in vars(type(value)):  # its base may have them
            found = f"a {type(value).__name__}, which is not"
            raise validate.unusable(kind, f"of a class with @register({kind!r}, ...)", found)
        return value
    if not isinstance(value, str):
        raise validate.invalid(kind, f"a spec string or a registered {kind}", value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's about a text that is not Python
            tree = ast.parse(value.strip(), mode="eval")
        made = _value(tree.body, (kind,))
    except InvalidInput:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise validate.invalid(kind, "of the form name(option=value)", _short(value)) from error
    if not _is_spec(made) or made.kind != kind:
        raise validate.invalid(kind, f"one of {list(registered(kind))}", value)
    return made


def spec(obj: Any, full: bool = False) -> str:
    """The shortest string that parses to `obj`: fields at their default are left out.

    Threats are always written out: no robust accuracy means anything without its norm and eps. With `full`
    every field is: what a card keeps, so that it still means the same when a default has changed.
    """
    parts = []
    for field in dataclasses.fields(obj):
        value = getattr(obj, field.name)
        threat = _is_spec(value) and value.kind == "threat"
        if full or threat or value != field.default or type(value) is not type(field.default):
            parts.append(f"{field.name}={_text(value, full)}")
    return f"{obj.name}({', '.join(parts)})"


def _text(value: Any, full: bool = False) -> str:
    if _is_spec(value):
        return spec(value, full)
    if isinstance(value, float) and abs(value) < 1e9:
        whole = round(value * 255)  # 8/255 is how the field writes it
        if whole > 0 and whole / 255 == value and len(float.__repr__(value)) > 8:
            return f"{whole}/255"
    if isinstance(value, tuple):
        return "(" + "".join(f"{_text(v, full)}, " for v in value).rstrip() + ")"
    return repr(value)


def _is_spec(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type) and hasattr(value, "kind")


def _short(text: str) -> str:
    return text if len(text) < 200 else f"{text[:100]} ... {text[-50:]}"


def _value(node: ast.expr, kinds: tuple[str, ...] = ()) -> Any:
    """What an expression stands for, in a place that takes specs of `kinds`."""
    if isinstance(node, ast.Constant) and not isinstance(node.value, (bytes, complex)):
        return node.value
    if isinstance(node, ast.Tuple):
        return tuple(_value(item, kinds) for item in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_numeric(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        left, right = _numeric(node.left), _numeric(node.right)
        if isinstance(node.op, ast.Div) and right == 0:
            raise validate.invalid("spec", "free of division by zero", ast.unparse(node))
        return _ARITHMETIC[type(node.op)](left, right)
    if isinstance(node, ast.Name):
        return _build(node.id, kinds, {})
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and _has_plain_options(node):
        return _build(node.func.id, kinds, {str(k.arg): k.value for k in node.keywords}, node.args)
    raise validate.invalid("spec", "made of name(option=value), numbers and words", ast.unparse(node))


def _has_plain_options(node: ast.Call) -> bool:
    """Whether a call has nothing but values and then name=value, each name once."""
    names = [keyword.arg for keyword in node.keywords]
    starred = any(isinstance(argument, ast.Starred) for argument in node.args)
    return not starred and None not in names and len(set(names)) == len(names)


def _numeric(node: ast.expr) -> Any:
    value = _value(node)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise validate.invalid("spec", "arithmetic on numbers only", ast.unparse(node))
    return value


def _build(
    name: str, kinds: tuple[str, ...], options: dict[str, ast.expr], unnamed: Sequence[ast.expr] = ()
) -> Any:
    start = next((found for kind in kinds if (found := find(kind, name)) is not None), None)
    if start is None:
        raise _unknown(name, kinds)
    cls = start if isinstance(start, type) else type(start)
    known, arguments = hints(cls), {}
    fields = [f.name for f in dataclasses.fields(cls)]
    first = getattr(cls, "ends", ())[: len(unnamed)]
    if len(first) < len(unnamed) or not options.keys().isdisjoint(first):
        found = f"{name}({', '.join(map(ast.unparse, unnamed))}, ...)"
        raise validate.invalid("spec", "made of name(option=value), numbers and words", found)
    for option, node in {**dict(zip(first, unnamed, strict=True)), **options}.items():
        if option in RADII and "threat" in fields and option not in fields:
            usual = next(field.default for field in dataclasses.fields(cls) if field.name == "threat")
            raise InvalidInput(
                f"`option of {name}` must be one of {fields}: the radius is the threat's. "
                f"Received: {option}={ast.unparse(node)}. Write threat={usual.name}(eps={ast.unparse(node)})."
            )
        if option not in fields:
            validate.one_of(f"option of {name}", option, fields)
        arguments[option] = _value(node, kinds_of(known[option]))
    return cls(**arguments) if start is cls else start.replace(**arguments)


def _unknown(name: str, kinds: tuple[str, ...]) -> InvalidInput:
    """The complaint about a name that no spec of these kinds has."""
    if not kinds:
        return InvalidInput(
            f"`option` must be a number or a word in quotes. Received: {name}. Write {name!r}."
        )
    known = [n for kind in kinds for n in (*registered(kind), *presets(kind))]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InvalidInput(f"`{kinds[0]}` must be one of {known}. Received: {name!r}.{hint}")
