"""Entries of the zoo that others keep on Hugging Face."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from keras_adv import zoo
from keras_adv.card import ModelCard
from keras_adv.card_schema import LARGEST as LARGEST_CARD
from keras_adv.fingerprint import sha256 as digest_of
from keras_adv.validate import InvalidInput, invalid, make_writable, unusable

LARGEST = 2**32
"""Bytes of the largest model that is downloaded."""


def fetch(repository: str, *, revision: str, sha256: str | None = None, out: str | Path | None = None) -> str:
    """Downloads an entry, a card and the model that it describes, and returns its name for `zoo.load`.

    The model is downloaded to the size that its card gives, compared with the card's sha256 before it is
    opened, then verified as any entry is (`zoo.verify`): loaded with safe_mode on, it can run no code. Its
    README.md is written from the card. An entry that is there already is left as it is, measurements that
    were added to it included. Needs the extra "hub" (huggingface_hub), whose settings for proxies and tokens
    hold. No other call downloads a model.

    Args:
        repository: "owner/name", with card.json and model.keras: a run folder, uploaded as it is.
        revision: the whole hash of a commit, 40 hex digits: a branch may change under its name.
        sha256: of model.keras, where you know it from elsewhere; None: the card's counts.
        out: folder of entries to put it into; None: keras_adv/ in $KERAS_HOME, by default ~/.keras. Another
            folder is found by `zoo.load` where the environment variable KERAS_ADV_ZOO names it.

    Raises:
        InvalidInput: an argument is none of these, the extra or the repository is missing or out of reach, an
            entry of that name is another model, or what was downloaded does not verify; nothing is kept then.
    """
    for name, value, form, allowed in (
        ("repository", repository, r"[\w.-]+/[\w.-]+", "owner/name"),
        ("revision", revision, r"[0-9a-f]{40}", "the whole hash of a commit, 40 hex digits"),
        ("sha256", sha256 or 64 * "0", r"[0-9a-f]{64}", "64 hex digits, or None"),
    ):
        if not isinstance(value, str) or not re.fullmatch(form, value):
            raise invalid(name, allowed, value)
    root = zoo.fetched() if out is None else Path(out)
    if root is None:
        raise invalid("out", "given, where there is no home folder", out)
    with TemporaryDirectory() as place:
        folder = Path(place)
        _download(repository, revision, "card.json", folder)
        card = ModelCard.read(folder)
        if _is_there(card, sha256, root):
            return card.name
        _download(repository, revision, "model.keras", folder, card.bytes)
        if digest_of(folder / "model.keras") != card.sha256:
            raise unusable("repository", "one whose model has the sha256 of its card", repository)
        zoo.verify(folder)
        _put(card, folder / "model.keras", root)
    return card.name


def _is_there(card: ModelCard, sha256: str | None, root: Path) -> bool:
    """Whether the model of a card is an entry here.

    Raises:
        InvalidInput: it is another than asked for, larger than any, or the name of something else here.
    """
    if sha256 is not None and card.sha256 != sha256:
        raise invalid("sha256", f"the card's {card.sha256}", sha256)
    if card.bytes > LARGEST:
        raise invalid("repository", f"one whose model has at most {LARGEST} bytes", card.bytes)
    places = [root / card.name, *([zoo.path(card.name)] if card.name in zoo.list() else [])]
    there = [place for place in places if place.exists()]
    for place in there:
        known = ModelCard.read(place).sha256 if (place / "card.json").is_file() else None
        if known != card.sha256:
            allowed = "one whose entry has a name of its own"
            raise unusable("repository", allowed, f"{card.name}, which {place} has for something else")
    return bool(there)


def _put(card: ModelCard, model: Path, root: Path) -> None:
    """Makes the entry, whole or not at all."""
    make_writable(root, "out")
    with TemporaryDirectory(dir=root, prefix=".fetched") as place:
        made = Path(place) / card.name
        try:
            made.mkdir()
            shutil.copyfile(model, made / "model.keras")
            card.save(made)
            os.rename(made, root / card.name)
        except OSError as error:
            found = f"{root / card.name} ({error.strerror})"
            raise unusable("out", "a folder with room, that no other process fills", found) from error


def _download(repository: str, revision: str, name: str, folder: Path, size: int | None = None) -> None:
    """Puts one file of a commit into a folder; of `size` bytes, where given."""
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise InvalidInput("`fetch` needs the extra: pip install 'keras_adv[hub]'") from error
    try:
        url = hub.hf_hub_url(repository, name, revision=revision)
        told: Any = hub.get_hf_file_metadata(url)
        limit = LARGEST_CARD if size is None else size
        if told.size is None or told.size > limit or (size is not None and told.size != size):
            allowed = f"one whose {name} has {'at most ' if size is None else ''}{limit} bytes"
            raise unusable("repository", allowed, f"{told.size} in {repository}")
        hub.hf_hub_download(repository, name, revision=revision, local_dir=folder)
    except InvalidInput:
        raise
    except Exception as error:  # of its own kinds, of the network and of the disk, in its own words
        found = f"{repository} at {revision[:8]}, {name}: {type(error).__name__}: {str(error)[:200]}"
        raise unusable("repository", "a repository on Hugging Face within reach", found) from error
