"""What a card.json must hold, checked whole before any of it is believed.

The form has a version, the card's "schema". 1: trained and measured nets. 2 (2026-11-28): also nets that were
converted, with an "origin", and cards without a measurement, whose "results" are empty. 3 (2026-11-28): what
the training took and its curve, "training", and what the audit was made at, "audited"; null where they are
not known. A card of an older form is read as one of the newest; what is written is of the newest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

import pydantic_core
from pydantic import AfterValidator, Discriminator, Field, Tag, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from keras_adv.validate import InvalidInput

SCHEMA = 3
LARGEST = 10 * 2**20
"""Bytes of the largest card that is read."""

Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Spec = Annotated[str, Field(min_length=1, max_length=10_000)]
Interval = Annotated[list[Share], Field(min_length=2, max_length=2)]


def _one_width(rows: list[list[float]]) -> list[list[float]]:
    if len({len(row) for row in rows}) > 1:
        raise ValueError("its rows must be of one length")
    return rows


class _OverDraws(TypedDict):
    draws: Count
    mean: Share
    interval: Interval


class _Curve(TypedDict):
    eps: list[Amount]
    robust_accuracy: list[Share]
    auc: Share
    passes: Amount


class _Row(TypedDict):
    spec: Spec
    full_spec: Spec
    robust_accuracy: Share | None
    robust_accuracy_of_correct: NotRequired[Share | None]
    interval: Interval | None
    success_rate: Share
    mean_norm: Amount | None
    median_norm: Amount | None
    mean_ratio: NotRequired[Amount | None]
    gradients_per_image: Amount
    seconds: Amount
    not_found: NotRequired[Count]
    still_correct: NotRequired[Share]
    outside: NotRequired[Count]
    over_draws: NotRequired[_OverDraws]
    parts: NotRequired[dict[str, Count]]
    curve: NotRequired[_Curve]
    flags: NotRequired[list[str]]


class _Certified(TypedDict):
    threat: Spec
    accuracy: Share
    interval: Interval


class _Worst(TypedDict):
    threat: Spec
    attacks: list[Spec]
    robust_accuracy: Share
    interval: Interval


class _Results(TypedDict):
    n: Annotated[int, Field(ge=1)]
    clean_accuracy: Share
    clean_interval: Interval
    attacks: list[_Row]
    worst: NotRequired[list[_Worst]]
    certified: NotRequired[_Certified]
    flags: NotRequired[list[str]]
    model: NotRequired[str]
    data: NotRequired[str]
    targets: NotRequired[str | None]


class _Data(TypedDict):
    name: Annotated[str, Field(min_length=1, max_length=1000)]
    split: Literal["train", "validation", "test"]
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=3, max_length=3)]
    classes: Annotated[int, Field(ge=2)]


class _Nothing(TypedDict):
    """Of a net that is not measured."""


class _Origin(TypedDict):
    file: Annotated[str, Field(min_length=1, max_length=1000)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    part: str | None
    architecture: Spec
    source: Annotated[str, Field(max_length=10_000)]


class _Epoch(TypedDict):
    epoch: Annotated[int, Field(ge=1)]
    seconds: Amount
    loss: NotRequired[Finite]
    accuracy: NotRequired[Share]
    val_accuracy: NotRequired[Share]
    val_robust_accuracy: NotRequired[Share]


class _Training(TypedDict):
    flop: Count
    forward_flop: Count
    epochs: Count
    curve: list[_Epoch]


class _Audited(TypedDict):
    threat: Spec
    n: Annotated[int, Field(ge=1)]


class _Common(TypedDict):
    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$", max_length=255)]
    data: _Data
    audit: list[str]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    parameters: Count
    bytes: Count
    probe: Annotated[list[list[Finite]], AfterValidator(_one_width)]
    versions: dict[str, str]
    seconds: Amount
    reported: dict[str, str]
    reference: str
    licence: str


class _Card1(_Common):
    recipe: Spec
    results: _Results
    schema: Literal[1]


class _Trained2(_Common):
    recipe: Spec
    results: _Results
    origin: None
    schema: Literal[2]


class _Converted2(_Common):
    recipe: Literal[""]
    results: _Results | _Nothing
    origin: _Origin
    schema: Literal[2]


class _Trained(_Common):
    recipe: Spec
    results: _Results
    origin: None
    training: _Training | None
    audited: _Audited | None
    schema: Literal[3]


class _Converted(_Common):
    recipe: Literal[""]
    results: _Results | _Nothing
    origin: _Origin
    training: None
    audited: _Audited | None
    schema: Literal[3]


def _kind(values: Any) -> str:
    """Which of the forms of a schema a card has: so that a message is of that form alone."""
    return "converted" if isinstance(values, dict) and values.get("origin") is not None else "trained"


def _either(trained: Any, converted: Any) -> TypeAdapter[Any]:
    forms: Any = Annotated[trained, Tag("trained")] | Annotated[converted, Tag("converted")]
    return TypeAdapter(Annotated[forms, Discriminator(_kind)])


_FORMS: dict[Any, TypeAdapter[Any]] = {
    1: TypeAdapter(_Card1),
    2: _either(_Trained2, _Converted2),
    3: _either(_Trained, _Converted),
}
CURVE = tuple(name for name in _Epoch.__annotations__ if name not in ("epoch", "seconds"))
"""What a card tells of an epoch, where it was logged."""
MEASURED = tuple(name for name in _Results.__annotations__ if name not in ("model", "data", "targets"))
"""What a card takes of an evaluation's results; which model and data they are of, it says itself."""


def read_values(path: Path) -> dict[str, Any]:
    """The fields of a card.json.

    Raises:
        InvalidInput: the file is missing, larger than `LARGEST`, no JSON, or a field is missing, unknown, of
            another type, not finite or out of its range; the first such field is named.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise InvalidInput(f"`card` must be of at most {LARGEST} bytes. Received: {path}")
        return checked(path.read_bytes(), path)
    except OSError as error:
        raise InvalidInput(f"`card` must be a readable file: {error.strerror}. Received: {path}") from error


def checked(content: bytes, path: Path) -> dict[str, Any]:
    """The fields that the content of a card.json has, in the newest form. Raises InvalidInput as
    `read_values`."""
    try:
        form = _FORMS.get(_version(content), _FORMS[SCHEMA])
        return _renewed(dict(form.validate_json(content, strict=True, extra="forbid")))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        inner = [part for part in first["loc"] if part not in ("trained", "converted")]
        place = ".".join(map(str, inner)) or "the whole"
        text = f"{place}: {first['msg']}"
        raise InvalidInput(f"`card` must follow schema {SCHEMA}. Received: {path}, {text}") from error


def _version(content: bytes) -> Any:
    """The schema that a card says, where it is a card."""
    try:
        values = pydantic_core.from_json(content)
    except ValueError:
        return None
    said = values.get("schema") if isinstance(values, dict) else None
    return said if type(said) is int else None


def _renewed(card: dict[str, Any]) -> dict[str, Any]:
    """A card of an older form as one of the newest."""
    if card["schema"] == 1:
        card = {**card, "origin": None, "schema": 2}
    if card["schema"] == 2:
        card = {**card, "training": None, "audited": None, "schema": 3}
    return card
