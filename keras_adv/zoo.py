"""The zoo: trained models by name, verified before they are loaded."""

from __future__ import annotations

import builtins
import fnmatch
import os
import re
import shutil
from pathlib import Path

import keras
import numpy as np

from keras_adv import artifact, features, registry
from keras_adv.card import ModelCard
from keras_adv.classifier import check_model
from keras_adv.conversion import convert as convert
from keras_adv.fingerprint import sha256
from keras_adv.validate import InvalidInput, invalid, make_writable, number, one_of

LONGEST_NAME = 255
"""Characters of a file's name that file systems take."""


def roots() -> builtins.list[Path]:
    """Where entries are looked for, first hit wins: $KERAS_ADV_ZOO, the checkout, the installed data. After
    them comes what was `fetched`."""
    here = Path(__file__).resolve().parent
    given = os.environ.get("KERAS_ADV_ZOO")
    return [*([Path(given)] if given else []), here.parent / "zoo", here / "zoo_data"]


def fetched() -> Path | None:
    """Where `hub.fetch` puts entries: keras_adv/ in $KERAS_HOME, by default ~/.keras; None without a home."""
    try:
        return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras_adv"
    except RuntimeError:
        return None


def _places() -> builtins.list[Path]:
    own = fetched()
    return [*roots(), *([own] if own else [])]


def list(
    pattern: str = "*", *, defense: str | None = None, threat: str | None = None, own: bool = False
) -> builtins.list[str]:
    """Names of the entries, in alphabetical order.

    Args:
        pattern: of the names, as in a shell: "*cifar10*".
        defense: only those that were trained by this one: "trades".
        threat: only those whose training attacks images in this norm: "linf".
        own: without those that were fetched from others.

    Raises:
        InvalidInput: no such defense or threat.

    >>> import keras_adv
    >>> keras_adv.zoo.list("*cifar10*", defense="trades", threat="linf")
    ['trades_resnet18_cifar10', 'trades_wrn_cifar10']
    """
    places = roots() if own else _places()
    found = sorted({p.parent.name for root in places for p in root.glob("[!.]*/card.json")})
    if not isinstance(pattern, str):
        raise invalid("pattern", "a pattern of names, such as '*cifar10*'", pattern)
    found = fnmatch.filter(found, pattern)
    for kind, name in (("defense", defense), ("threat", threat)):
        if name is not None:
            one_of(kind, name, builtins.list(registry.registered(kind)))
    return [name for name in found if _trained_by(name, defense, threat)]


def _trained_by(name: str, defense: str | None, threat: str | None) -> bool:
    if defense is None and threat is None:
        return True
    if not (recipe := card(name).recipe):
        return False  # trained elsewhere
    spec = registry.spec(registry.parse("recipe", recipe).defense, full=True)
    of_threat = threat is None or re.search(rf"\b{threat}\(", spec)
    return (defense is None or spec.startswith(f"{defense}(")) and bool(of_threat)


def path(name: str) -> Path:
    """The folder of an entry. Raises InvalidInput with the nearest name when there is none."""
    one_of("name", name, list())
    return next(root / name for root in _places() if (root / name / "card.json").is_file())


def card(name: str) -> ModelCard:
    """The card of an entry: what was measured, how it was trained."""
    return ModelCard.read(path(name))


def open(where: str | Path) -> keras.Model:
    """The model of a zoo name, a run folder, or a .keras file."""
    if not isinstance(where, (str, Path)):
        raise invalid("model", "a zoo name, a run folder or FILE.keras", where)
    place = Path(where)
    if len(place.name) > LONGEST_NAME:
        raise invalid("model", f"a name of at most {LONGEST_NAME} characters", place.name)
    file = place / "model.keras" if place.is_dir() else place
    return artifact.read(file) if file.suffix == ".keras" else load(str(where))


def load(name: str, *, weights: bool = True, classes: int | None = None) -> keras.Model:
    """A trained model: images (B, H, W, C) in [0, 1] -> logits (B, K). Nothing is downloaded.

    The file's sha256 must be the card's; it is loaded with safe_mode on, so it can run no code.

    Args:
        name: of an entry.
        weights: False: the same net with fresh weights. What is fixed in training stays: the normalisation of
            the images, the centres of `mat` and `mmc`.
        classes: another number of classes, for fine-tuning on another set: all layers up to the features, and
            behind them a fresh Dense layer. None: the entry's own.

    Raises:
        InvalidInput: unknown name, damaged file, a file that the card does not describe, or fewer than 2
            classes.

    >>> import keras_adv
    >>> keras_adv.zoo.load("critic_lenet_digits").input_shape
    (None, 8, 8, 1)
    >>> keras_adv.zoo.load("critic_lenet_digits", classes=3).output_shape
    (None, 3)
    """
    if classes is not None:
        number("classes", classes, low=2, whole=True)
    if not isinstance(weights, bool):
        raise invalid("weights", "True or False", weights)
    model = _load(path(name))
    if classes is not None:
        model = features.with_classes(model, classes)
    return model if weights else features.with_fresh_weights(model)


def verify(where: str | Path) -> ModelCard:
    """Checks a run folder or an entry: card, sha256, loading, shapes, and the logits of the card's probe.

    Raises:
        InvalidInput: at the first that fails.
    """
    folder = Path(where) if Path(where).is_dir() else path(str(where))
    found = ModelCard.read(folder)
    found.check_specs()
    model = _load(folder)
    if found.bytes != (size := (folder / "model.keras").stat().st_size):
        raise InvalidInput(
            f"`model` must have the {found.bytes} bytes of its card. Received: {size} in {folder}"
        )
    shape, classes = check_model(model)
    if builtins.list(shape) != found.data["shape"] or classes != found.data["classes"]:
        raise InvalidInput(
            f"`card` must describe the model: {shape}, {classes} classes. Received: {found.data}"
        )
    try:
        probe = np.asarray(artifact.probe(model))
    except FloatingPointError as error:
        raise InvalidInput(f"`model` must return finite logits. Received: others, in {folder}") from error
    same = np.shape(found.probe) == probe.shape and np.allclose(probe, found.probe, atol=1e-3)
    if not same:
        raise InvalidInput(f"`model` must give the logits of the card's probe. Received: others, in {folder}")
    return found


def publish(run: str | Path) -> Path:
    """Verifies a finished run and copies its card, README and model into the zoo.

    Raises:
        InvalidInput: the run is not finished or not measured, or does not verify.
    """
    run = Path(run)
    found = verify(run)
    if not (run / "README.md").is_file():
        raise invalid("run", "a finished run with a README.md", str(run))
    if not found.results:
        raise invalid("run", "measured first, by scripts/evaluate.py --card", str(run))
    target = roots()[0] / found.name
    part = target.with_name(f".{found.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    make_writable(part, "zoo")
    for name in ("card.json", "README.md", "model.keras"):
        shutil.copyfile(run / name, part / name)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(part, target)
    return target


def _load(folder: Path) -> keras.Model:
    file, found = folder / "model.keras", ModelCard.read(folder)
    if not file.is_file():
        raise InvalidInput(f"`model` must be an existing .keras file. Received: {str(file)!r}")
    if sha256(file) != found.sha256:
        raise InvalidInput(
            f"`model` must have the sha256 of its card, {found.sha256[:16]}... Received: "
            f"{sha256(file)[:16]}... in {file}: the file is damaged or was replaced"
        )
    return artifact.read(file)
