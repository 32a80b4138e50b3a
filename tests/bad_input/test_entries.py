"""Damaged, incomplete and foreign artifacts and cards are refused, and nothing is written."""

import json
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_adv
from keras_adv import ModelCard, artifact, zoo
from keras_adv.fingerprint import sha256
from tests.bad_input.tools import K, classifier, complaint, in_the_middle, tree


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo") / "entry"
    folder.mkdir()
    keras.utils.set_random_seed(0)
    plain = classifier()
    plain.save(folder / "model.keras")
    card = ModelCard(
        name="standard_plain_digits",
        recipe="recipe(defense=standard())",
        data={"name": "digits", "split": "test", "shape": [8, 8, 1], "classes": 10},
        results={"n": 12, "clean_accuracy": 0.5, "clean_interval": [0.2, 0.8], "attacks": []},
        audit=[],
        sha256=sha256(folder / "model.keras"),
        parameters=plain.count_params(),
        bytes=(folder / "model.keras").stat().st_size,
        probe=artifact.probe(plain),
        versions={"keras": keras.version()},
        seconds=1.0,
        reported={},
        reference="",
    )
    card.save(folder)
    return folder


@pytest.fixture
def entry(original, tmp_path, monkeypatch):
    """A folder with a model and its card, alone in a zoo of its own."""
    monkeypatch.setenv("KERAS_ADV_ZOO", str(tmp_path / "zoo"))
    return Path(shutil.copytree(original, tmp_path / "zoo" / "entry"))


def edit(entry, **changes):
    """The entry with fields of its card changed (None: left out)."""
    values = {**json.loads((entry / "card.json").read_text()), **changes}
    kept = {k: v for k, v in values.items() if v is not None or k not in changes}
    (entry / "card.json").write_text(json.dumps(kept))
    return entry


def test_an_entry_left_alone_verifies_loads_and_is_listed(entry, plain, images):
    assert zoo.verify(entry).name == "standard_plain_digits" and zoo.verify("entry") == ModelCard.read(entry)
    assert "entry" in zoo.list() and zoo.path("entry") == entry
    np.testing.assert_array_equal(
        zoo.load("entry").predict(images[0], verbose=0), plain.predict(images[0], verbose=0)
    )


@pytest.mark.parametrize("name", ["entri", "", "..", ".", "../zoo/entry", "/", None])
def test_unknown_entry_is_answered_with_the_entries_nearest_to_it(name, entry):
    text = complaint(zoo.load, name)
    assert text.startswith("`name` must be one of") and f"{len(zoo.list())} in all" in text


def test_unknown_entry_is_answered_with_the_nearest(entry):
    assert complaint(zoo.load, "entri").endswith("Did you mean 'entry'?")


@pytest.mark.parametrize("left", [0, 1, 0.5, 0.99, -1])
def test_truncated_model_is_refused(left, entry):
    raw = (entry / "model.keras").read_bytes()
    short = raw[: left if left in (0, 1, -1) else int(len(raw) * left)]
    (entry / "model.keras").write_bytes(short)
    text = complaint(artifact.read, entry / "model.keras")
    assert text.startswith("`model` must be a complete .keras file") and "model.keras" in text
    assert "damaged or was replaced" in complaint(zoo.load, "entry")  # the card's sha256 is another
    edit(entry, sha256=sha256(entry / "model.keras"))
    assert "complete .keras file" in complaint(zoo.load, "entry")
    assert "complete .keras file" in complaint(zoo.verify, entry)


def test_export_refuses_a_truncated_model_and_writes_nothing(entry, tmp_path):
    (entry / "model.keras").write_bytes((entry / "model.keras").read_bytes()[:2000])
    text = complaint(keras_adv.export, entry / "model.keras", tmp_path / "served" / "1")
    assert "complete .keras file" in text and not (tmp_path / "served" / "1").exists()


@pytest.mark.parametrize("out", ["file", "file/x", "file/x/y"])
def test_export_refuses_an_unwritable_folder(out, plain, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "`out`" in complaint(keras_adv.export, plain, tmp_path / out)


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_archive_with_a_part_missing_is_refused(name, entry):
    whole = zipfile.ZipFile(entry / "model.keras")
    with zipfile.ZipFile(entry / "part.keras", "w") as archive:
        for other in set(whole.namelist()) - {name}:
            archive.writestr(other, whole.read(other))
    assert "complete .keras file" in complaint(artifact.read, entry / "part.keras")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b"{}"),
        ("model.weights.h5", b""),
        ("model.weights.h5", b"no weights"),
        ("model.weights.h5", None),
    ],
)
def test_archive_with_a_bad_part_is_refused(name, content, entry):
    whole = zipfile.ZipFile(entry / "model.keras")
    if content is None:  # the weights of a net with fewer classes
        classifier(K.Dense(7)).save(entry / "other.keras")
        content = zipfile.ZipFile(entry / "other.keras").read(name)
    with zipfile.ZipFile(entry / "bad.keras", "w") as archive:
        for other in whole.namelist():
            archive.writestr(other, content if other == name else whole.read(other))
    assert "complete .keras file" in complaint(artifact.read, entry / "bad.keras")


def test_model_with_a_flipped_byte_is_refused(entry):
    raw = (entry / "model.keras").read_bytes()
    (entry / "model.keras").write_bytes(in_the_middle(raw, 1))
    assert "damaged" in complaint(artifact.read, entry / "model.keras")


def test_model_that_would_run_code_is_refused(entry):
    classifier(lambda flat: K.Lambda(lambda v: v[:, :10])(flat)).save(entry / "model.keras")
    assert "ambda" in complaint(artifact.read, entry / "model.keras")
    edit(entry, sha256=sha256(entry / "model.keras"))
    assert "ambda" in complaint(zoo.load, "entry")


@pytest.mark.parametrize("name", ["none.keras", "entry", "no/such/model.keras"])
def test_model_that_is_no_file_is_refused(name, entry):
    assert "existing .keras file" in complaint(artifact.read, entry.parent / name)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"# A card",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'{"name": "standard_plain_digits"}',
        b"[" * 100_000,
    ],
    ids=lambda text: repr(text[:8]),
)
@pytest.mark.parametrize("use", [ModelCard.read, zoo.verify, zoo.publish], ids=lambda use: use.__name__)
def test_card_that_is_no_card_is_refused(use, text, entry):
    (entry / "card.json").write_bytes(text)
    message = complaint(use, entry)
    assert message.startswith("`card` must ") and str(entry / "card.json") in message


@pytest.mark.parametrize(
    "changes", [{"schema": 4}, {"schema": "1"}, {"more": 1}, {"sha256": None}, {"schema": None}], ids=str
)
def test_card_of_another_schema_is_refused(changes, entry):
    edit(entry, **changes)
    for use in (lambda: zoo.card("entry"), lambda: zoo.load("entry"), lambda: zoo.verify(entry)):
        assert "`card` must follow schema 3" in complaint(use)


def test_model_whose_sha256_is_not_the_cards_is_refused(entry):
    found = ModelCard.read(entry).sha256
    edit(entry, sha256="0" * 64)
    for use in (lambda: zoo.load("entry"), lambda: zoo.verify(entry), lambda: zoo.publish(entry)):
        text = complaint(use)
        assert "`model` must have the sha256 of its card, " + "0" * 16 in text and found[:16] in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": {"name": "digits", "split": "test", "shape": [9, 9, 1], "classes": 10}}, "(8, 8, 1)"),
        ({"data": {"name": "digits", "split": "test", "shape": [8, 8, 1], "classes": 11}}, "10 classes"),
        ({"probe": [[0.0] * 10] * 2}, "logits of the card's probe"),
        ({"data": {}}, "`card`"),
        ({"data": []}, "`card`"),
        ({"sha256": 3}, "`card`"),
        ({"probe": []}, "probe"),
        ({"probe": [[0.0] * 9] * 2}, "probe"),
        ({"name": 3}, "`card`"),
    ],
    ids=str,
)
def test_card_that_describes_another_model_is_refused(changes, words, entry):
    assert words in complaint(zoo.verify, edit(entry, **changes))


@pytest.mark.parametrize("name", ["card.json", "model.keras", "README.md"])
@pytest.mark.parametrize("use", [zoo.publish], ids=["publish"])
def test_run_with_a_part_missing_is_not_published(use, name, entry):
    run = Path(shutil.copytree(entry, entry.parent.parent / "run"))
    (run / name).unlink()
    before = tree(entry.parent)
    complaint(use, run)
    assert tree(entry.parent) == before


@pytest.mark.parametrize("name", ["", "../elsewhere", "a/b"])
def test_card_whose_name_leads_elsewhere_is_not_published(name, entry):
    run = edit(Path(shutil.copytree(entry, entry.parent.parent / "run")), name=name)
    before = tree(entry.parent)
    complaint(zoo.publish, run)
    assert tree(entry.parent) == before


def test_half_published_entry_is_not_listed(entry):
    shutil.copytree(entry, entry.parent / ".other.part")
    assert ".other.part" not in zoo.list()


def test_weights_that_are_not_finite_are_not_handed_out(entry):
    model = keras.saving.load_model(entry / "model.keras")
    model.set_weights([w * np.nan for w in model.get_weights()])
    model.save(entry / "model.keras")
    file = entry / "model.keras"
    edit(entry, sha256=sha256(file), bytes=file.stat().st_size)
    for use in (zoo.load, zoo.verify, zoo.open):
        assert "finite weights" in complaint(use, "entry")


@pytest.mark.parametrize("where", ["x" * 300, None, b"entry", 7])
def test_what_is_no_name_is_refused(where):
    for use in (zoo.load, zoo.open):
        complaint(use, where)
