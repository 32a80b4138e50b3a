"""Writes the page of a study, and its key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_adv import registry, validate
from keras_adv.attacks import Attack
from keras_adv.files import write_text
from keras_adv.fingerprint import fingerprint
from keras_adv.pages import figures
from keras_adv.pages.reports import PAGES
from keras_adv.study.gathering import Shown, as_shown, attacked, shares
from keras_adv.study.key import Attacked, Image, Key, read_key


def make(
    path: str | Path,
    models: Mapping[str, keras.Model],
    x: Any,
    y: Any,
    attack: Attack | str = "high_confidence()",
    *,
    n: int = 25,
    clean: int | None = None,
    classes: Sequence[str] | None = None,
    question: str = "Which class do you see?",
    title: str = "What do you see?",
    data: str = "images",
    split: str = "test",
    seed: int = 0,
    batch_size: int = 256,
) -> Key:
    """Writes a page that asks people what they see in clean and adversarial images, and beside it its key,
    NAME.key.json, which `score` needs and which nobody who answers may see.

    Of each model n images that it classifies correctly, made adversarial (thesis 4.5: by the attack of its
    chapter, towards the class across the nearest boundary, up to the confidence that the model had), in the
    256 levels of a screen and still misclassified there; and `clean` images as they are. No image is in the
    study twice. The page needs nothing beside itself and sends nothing; it says neither which images are
    adversarial nor any label.

    Args:
        path: the HTML file.
        models: name -> model, images (B, H, W, C) in [0, 1] -> logits.
        x: images (N, H, W, C) in [0, 1].
        y: integer labels (N,).
        attack: an attack or its spec.
        n: adversarial images of each model; fewer, where there are no more.
        clean: images as they are; None: n.
        classes: names of the classes; None: their numbers.
        question: what is asked of each image.
        title: of the page.
        data: the name of the images, for the key.
        split: theirs, for the key.
        seed: of the images, of their order in the file and of random starts.
        batch_size: images at a time.

    Raises:
        InvalidInput: as `keras_adv.attack`; too few images; fewer names than classes; the key of another
            study is there, whose answers could not be read without it.

    Cost: the attack on somewhat more than n images of each model.
    """
    out = validate.output_file(path, "out")
    before = read_key(key_of(out))["study"] if key_of(out).exists() else None
    clean = n if clean is None else clean
    validate.number("n", n, low=1, whole=True)
    validate.number("clean", clean, low=0, whole=True)
    validate.seed(seed)
    if not models:
        raise validate.unusable("models", "at least one", "none")
    chosen: Attack = registry.parse("attack", attack)
    y = validate.labels(y, len(x))
    if len(y) < clean + len(models):
        raise validate.unusable("x", f"at least {clean + len(models)} images", f"{len(y)}")
    names = _names(classes, y, models)
    rows, *several = shares(len(y), clean, len(models), seed)
    kinds: dict[str | None, Shown] = {}
    if clean:
        kinds[None] = Shown(as_shown(np.asarray(x[rows])), rows, y[rows])
    found: list[Attacked] = []
    for (name, model), own in zip(models.items(), several, strict=True):
        kinds[name], counts = attacked(model, x, y, own, chosen, n, seed, batch_size)
        found.append({"model": name, **counts, "shown": len(kinds[name].rows)})
    pictures, images = _mixed(kinds, seed)
    key: Key = {
        "format": "keras_adv study key",
        "version": 1,
        "study": "",
        "question": question,
        "classes": names,
        "attack": registry.spec(chosen),
        "data": data,
        "split": split,
        "seed": seed,
        "models": found,
        "images": images,
    }
    key["study"] = fingerprint(json.dumps(key), title, *pictures.values())[:12]
    _write(out, key, title, pictures, classes is not None, before)
    return key


def key_of(page: Path) -> Path:
    """Where the key of a page is."""
    return page.with_name(f"{page.stem}.key.json")


def _names(classes: Sequence[str] | None, y: np.ndarray, models: Mapping[str, keras.Model]) -> list[str]:
    count = max([int(y.max()) + 1, *(int(model.output_shape[-1]) for model in models.values())])
    names = [str(k) for k in range(count)] if classes is None else [str(name) for name in classes]
    if len(names) < count or len(set(names)) < len(names):
        raise validate.unusable("classes", f"{count} different names", f"{len(names)}: {names}")
    return names


def _mixed(kinds: Mapping[str | None, Shown], seed: int) -> tuple[dict[str, str], dict[str, Image]]:
    """(id -> picture, id -> what it is), in the order of ids that are drawn: neither says anything of what
    an image is."""
    total = sum(len(kind.rows) for kind in kinds.values())
    # of the pixels too, which nobody without the models has: a seed alone would tell the ids of each kind
    drawn = fingerprint(*(kind.pixels for kind in kinds.values()))
    rng = np.random.default_rng((seed, int(drawn, 16)))
    ids: list[str] = []
    while len(ids) < total:
        ids = list(dict.fromkeys([*ids, rng.bytes(5).hex()]))
    every = [(name, kind, k) for name, kind in kinds.items() for k in range(len(kind.rows))]
    of = dict(sorted(zip(ids, every, strict=True), key=lambda pair: pair[0]))
    pictures = {name: figures.picture(kind.pixels[k]) for name, (_, kind, k) in of.items()}
    return pictures, {name: _image(*one) for name, one in of.items()}


def _image(model: str | None, kind: Shown, k: int) -> Image:
    image: Image = {"model": model, "row": int(kind.rows[k]), "label": int(kind.labels[k])}
    if kind.adversarial is not None:
        image["adversarial_label"] = int(kind.adversarial[k])
        image["confidence"] = round(float(kind.confidence[k]), 6)
        image["norm"] = round(float(kind.norm[k]), 6)
    return image


def _write(
    out: Path, key: Key, title: str, pictures: Mapping[str, str], named: bool, before: str | None = None
) -> None:
    """Writes both files, unless the key `before` these is another study's."""
    place = key_of(out)
    if before not in (None, key["study"]):
        kept = f"{place}, the key of another study, whose answers are lost without it"
        raise validate.unusable("out", "the name of a new study", kept)
    study = {
        "id": key["study"],
        "title": title,
        "question": key["question"],
        "classes": key["classes"],
        "named": named,
        "images": [{"id": name, "src": picture} for name, picture in pictures.items()],
    }
    write_text(place, json.dumps(key, indent=1) + "\n")
    write_text(out, PAGES.get_template("study.html").render(study=study))
