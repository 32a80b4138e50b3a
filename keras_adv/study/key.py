"""The key of a study: what each image is. Whoever answers must not see it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from keras_adv.validate import unusable

LARGEST = 100 * 2**20
"""Bytes of the largest file that is read."""
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
ImageId = Annotated[str, Field(pattern=r"^[0-9a-f]{10}$")]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class Image(TypedDict):
    """An image: that of `row` in the split, made adversarial on `model`, or clean where this is None.

    The label is its class. Of an adversarial one: the class that the model sees in the image as shown, its
    confidence in it, and the l2 norm of the change, of images in [0, 1].
    """

    model: str | None
    row: Count
    label: Count
    adversarial_label: NotRequired[Count]
    confidence: NotRequired[Amount]
    norm: NotRequired[Amount]


class Attacked(TypedDict):
    """A model, and how its images were found."""

    model: str
    looked: Count
    misclassified: Count
    not_fooled: Count
    lost_in_rounding: Count
    shown: Count


class Key(TypedDict):
    """The whole key."""

    format: Literal["keras_adv study key"]
    version: Literal[1]
    study: Id
    question: str
    classes: Annotated[list[str], Field(min_length=2)]
    attack: str
    data: str
    split: str
    seed: Count
    models: list[Attacked]
    images: Annotated[dict[ImageId, Image], Field(min_length=1)]


_FORM = TypeAdapter(Key)


def read_key(path: str | Path) -> Key:
    """The key that `make` wrote beside a page. Raises InvalidInput where the file is none, or damaged."""
    key: Key = read("key", "the key of a study", Path(path), _FORM)
    classes, models = len(key["classes"]), {None, *(one["model"] for one in key["models"])}
    for name, image in key["images"].items():
        adversarial = image.get("adversarial_label")
        if image["model"] not in models:
            raise unusable("key", f"of images of {sorted(map(str, models))}", f"{path}, image {name}")
        if image["label"] >= classes or (adversarial is not None and adversarial >= classes):
            raise unusable("key", f"of labels below {classes}", f"{path}, image {name}")
        if (image["model"] is None) != (adversarial is None) or adversarial == image["label"]:
            raise unusable("key", "one whose attacked images alone have another label", f"{path}, {name}")
    return key


def read(name: str, allowed: str, path: Path, form: TypeAdapter[Any]) -> Any:
    """The JSON content of a file, checked whole. Raises InvalidInput with the file and the first mistake."""
    try:
        if path.stat().st_size > LARGEST:
            raise unusable(name, f"of at most {LARGEST} bytes", str(path))
        content = path.read_bytes()
    except OSError as error:
        raise unusable(name, f"{allowed}, a readable file", f"{path} ({error.strerror})") from error
    try:
        return form.validate_json(content, strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise unusable(name, allowed, f"{path}, {place}: {first['msg']}") from error
