"""The files that people give back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter
from typing_extensions import TypedDict

from keras_adv.study.key import Count, Id, ImageId, Key, read
from keras_adv.validate import unusable


def _of_a_day(text: str) -> str:
    datetime.fromisoformat(text)  # its ValueError says what is wrong
    return text


_FORMAT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"
Time = Annotated[str, Field(pattern=_FORMAT), AfterValidator(_of_a_day)]


class Answer(TypedDict):
    """What a person said of an image: a class, or None for "cannot tell"; and how sure, 1 to 5 (None:
    not said), when it was shown first and when answered last (UTC)."""

    image: ImageId
    label: Count | None
    confidence: Annotated[int, Field(ge=1, le=5)] | None
    shown: Time
    answered: Time


class Answers(TypedDict):
    """All that a person said."""

    format: Literal["keras_adv study answers"]
    version: Literal[1]
    study: Id
    participant: Id
    started: Time
    saved: Time
    answers: list[Answer]


_FORM = TypeAdapter(Answers)


def read_answers(paths: Sequence[str | Path], key: Key) -> list[Answers]:
    """The answers of several people, a file each.

    Raises:
        InvalidInput: no file, one that is damaged or of another study, two of one person, an image or a class
            that the study does not have, two answers to one image, a confidence without a class.
    """
    if not paths:
        raise unusable("answers", "the files that people gave back", "none")
    found: dict[str, tuple[str | Path, Answers]] = {}
    for path in paths:
        one: Answers = read("answers", "a file that the page of a study saved", Path(path), _FORM)
        _check(one, key, path)
        if (before := found.get(one["participant"])) is not None:
            theirs = f"{before[0]}, saved {before[1]['saved']}, and {path}, saved {one['saved']}"
            raise unusable("answers", "one file of each person, the last", f"{theirs}, of one")
        found[one["participant"]] = path, one
    return [one for _, one in found.values()]


def _check(one: Answers, key: Key, path: str | Path) -> None:
    if one["study"] != key["study"]:
        raise unusable("answers", f"of study {key['study']}, as the key", f"{path}, of {one['study']}")
    seen: set[str] = set()
    for answer in one["answers"]:
        image, label = answer["image"], answer["label"]
        if image not in key["images"]:
            raise unusable("answers", "of the images of the study", f"{path}, image {image}")
        if image in seen:
            raise unusable("answers", "one for each image", f"{path}, several for {image}")
        if label is not None and label >= len(key["classes"]):
            raise unusable("answers", f"classes below {len(key['classes'])}", f"{path}, {label} for {image}")
        if label is None and answer["confidence"] is not None:
            raise unusable("answers", "without confidence where nobody could tell", f"{path}, {image}")
        seen.add(image)
