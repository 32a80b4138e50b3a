"""What cannot work is refused before anything happens; what was cut short goes on as if it had not been."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_adv
from keras_adv import InvalidInput, ModelCard, artifact, data, models, registry, zoo
from keras_adv.callbacks import Checkpoint, History
from keras_adv.card import sha256

K = keras.layers
EXACT = keras.config.backend() == "tensorflow"
HINT = "Divide images of 0..255 by 255."
TINY = "recipe(defense=standard(), model=mlp(units=(16,)), epochs=2)"
TRAIN = sys.modules["keras_adv.train"]  # the module; the package's `train` is the function

# -- tools -----------------------------------------------------------------------------------------


def complaint(call, *args, **kwargs):
    with pytest.raises(InvalidInput) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def classifier(top=None, shape=(8, 8, 1)):
    """A small net; `top` makes its output of the flat images."""
    inputs = keras.Input(shape)
    flat = K.Flatten()(inputs)
    return keras.Model(inputs, K.Dense(10)(flat) if top is None else top(flat))


def tree(folder):
    """Every file below `folder` with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.fixture
def plain():
    keras.utils.set_random_seed(0)
    return classifier()


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return rng.random((12, 8, 8, 1)).astype("float32"), np.arange(12) % 10


USES = {
    "attack": lambda model, x, y: keras_adv.attack(model, x, y, "fgsm()"),
    "evaluate": lambda model, x, y: keras_adv.evaluate(model, x, y, ["fgsm()"]),
    "clean accuracy": lambda model, x, y: keras_adv.evaluate(model, x, y, []),
    "defend": lambda model, x, y: keras_adv.defend(model, "standard()", x, y, epochs=1, verbose=0),
}


# -- images and labels -----------------------------------------------------------------------------


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda x: x * 255, ("`x`", "[0, 1]", HINT)),
        (lambda x: (x * 255).astype("uint8"), ("`x`", HINT)),
        (lambda x: 2 * x - 1, ("`x`", "[0, 1]")),
        (lambda x: np.where(x == x[3], np.nan, x), ("`x`", "1 images with NaN")),
        (lambda x: x[:, :7], ("`x`", "(N, 8, 8, 1)", "(12, 7, 8, 1)")),
        (lambda x: np.repeat(x, 3, axis=3), ("`x`", "(N, 8, 8, 1)", "(12, 8, 8, 3)")),
        (lambda x: x.reshape(12, 64), ("`x`", "(N, H, W, C)", "(12, 64)")),
        (lambda x: x[:0], ("`x`", "N > 0")),
    ],
    ids=["0..255", "bytes", "-1..1", "NaN", "height", "colours", "flat", "none"],
)
def test_bad_images_are_refused_wherever_they_enter(use, spoil, words, plain, images):
    x, y = images
    text = complaint(USES[use], plain, spoil(x), y)
    assert all(word in text for word in words)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda y: np.eye(10)[y], ("`y`", "not one-hot rows", "y.argmax(axis=1)")),
        (lambda y: y + 0.5, ("`y`", "whole class numbers", "0.5")),
        (lambda y: y + 1, ("`y`", "0..9", "[1, 10]")),
        (lambda y: y - 1, ("`y`", "0..9", "[-1, 8]")),
        (lambda y: y[:5], ("`y`", "shape (12,)", "(5,)")),
    ],
    ids=["one-hot", "fractions", "beyond", "negative", "too few"],
)
def test_bad_labels_are_refused_wherever_they_enter(use, spoil, words, plain, images):
    x, y = images
    text = complaint(USES[use], plain, x, spoil(y))
    assert all(word in text for word in words)


def test_a_refused_training_leaves_the_weights_alone(plain, images):
    x, y = images
    before = [np.array(w) for w in plain.get_weights()]
    for bad in ((x * 255, y), (x, y + 1)):
        complaint(USES["defend"], plain, *bad)
    for old, new in zip(before, plain.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_refused_evaluation_leaves_the_model_usable(plain, images):
    x, y = images
    complaint(keras_adv.evaluate, plain, x[:, :7], y, [])
    assert np.isfinite(plain.predict(x, verbose=0)).all()


# -- models ----------------------------------------------------------------------------------------


def two_outputs(flat):
    return [K.Dense(10)(flat), K.Dense(10)(flat)]


def two_inputs():
    left, right = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    return keras.Model([left, right], K.Dense(10)(K.Flatten()(left)))


def nan_weights():
    model = classifier()
    model.layers[-1].bias.assign(np.full(10, np.nan))
    return model


MODELS = {
    "probabilities": (lambda: classifier(K.Dense(10, "softmax")), ("logits", "probabilities", "softmax")),
    "NaN": (nan_weights, ("finite logits", "NaN or inf for 12 of 12")),
    "two outputs": (lambda: classifier(two_outputs), ("one output (batch, classes)",)),
    "named outputs": (
        lambda: classifier(lambda flat: dict(zip("ab", two_outputs(flat), strict=True))),
        ("one output (batch, classes)",),
    ),
    "rank 3": (
        lambda: classifier(lambda flat: K.Reshape((2, 5))(K.Dense(10)(flat))),
        ("one output", "(None, 2, 5)"),
    ),
    "one logit": (lambda: classifier(K.Dense(1)), ("one output", "(None, 1)")),
    "two inputs": (two_inputs, ("one input (batch, H, W, C)",)),
    "flat input": (lambda: keras.Sequential([keras.Input((64,)), K.Dense(10)]), ("one input", "(None, 64)")),
    "any size": (
        lambda: keras.Sequential([keras.Input((None, None, 1)), K.GlobalAveragePooling2D(), K.Dense(10)]),
        ("one input", "(None, None, None, 1)"),
    ),
    "not built": (lambda: keras.Sequential([K.Flatten(), K.Dense(10)]), ("built",)),
    "a layer": (lambda: K.Dense(10), ("a keras.Model", "'Dense'")),
    "a path": (lambda: "model.keras", ("a keras.Model", "'str'")),
    "nothing": (lambda: None, ("a keras.Model", "'NoneType'")),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", MODELS)
def test_models_that_are_no_classifiers_with_logits_are_refused(use, kind, images):
    make, words = MODELS[kind]
    text = complaint(USES[use], make(), *images)
    assert text.startswith("`model` must ") and "Received: " in text
    assert all(word in text for word in words)


def test_labels_beyond_the_models_classes_are_refused(images):
    text = complaint(USES["attack"], classifier(K.Dense(4)), *images)
    assert "0..3" in text and "[0, 9]" in text


def test_one_image_with_nan_logits_among_good_ones_is_counted(images):
    spoiled = classifier(
        lambda flat: K.Dense(10)(flat / (flat[:, :1] > 0))
    )  # 0 / 0 where the first pixel is 0
    x, y = images[0].copy(), images[1]
    x[5] = 0.0
    assert "NaN or inf for 1 of 12" in complaint(USES["attack"], spoiled, x, y)


@pytest.mark.parametrize(
    "arguments",
    [
        {"epochs": 0},
        {"epochs": float("nan")},
        {"batch_size": 0},
        {"defense": "standrad()"},
        {"defense": "pgd()"},
        {"epochs": "3"},
        {"epochs": 2.5},
        {"batch_size": 1.5},
        {"seed": -1},
        {"augment": "crop_flop"},
        {"validation": 255},
    ],
    ids=str,
)
def test_bad_arguments_of_defend_are_refused(arguments, images):
    x, y = images
    given = {"defense": "standard()", "epochs": 1, "verbose": 0, **arguments}
    if "validation" in given:
        given["validation_data"] = (x * given.pop("validation"), y)
    text = complaint(keras_adv.defend, classifier(), x=x, y=y, **given)
    assert next(iter(arguments)) in text


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"attack": "pgdd"}, "'pgd'"),
        ({"attack": "linf(eps=0.1)"}, "`attack`"),
        ({"attack": "pgd(threat=linf)"}, "eps"),
        ({"attack": None}, "`attack`"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"seed": 2**32}, "seed"),
        ({"seed": -1}, "seed"),
    ],
    ids=str,
)
def test_bad_arguments_of_attack_are_refused(arguments, word, plain, images):
    given = {"attack": "pgd(steps=1)", **arguments}
    assert word in complaint(keras_adv.attack, plain, *images, **given)


def test_every_attack_is_parsed_before_the_first_one_runs(plain, images, monkeypatch):
    monkeypatch.setattr("keras_adv.evaluation.report.attack", lambda *a, **k: pytest.fail("an attack ran"))
    assert "Did you mean" in complaint(keras_adv.evaluate, plain, *images, ["fgsm()", "deepfol()"])


# -- image sets ------------------------------------------------------------------------------------

PIXELS = np.random.default_rng(0).random((12, 4, 4, 1)).astype("float32")
DIGITS = np.arange(12) % 3


def saved(path, **changes):
    """An npz of 12 training and 12 test images, some arrays changed (None: left out)."""
    arrays = {"x_train": PIXELS, "y_train": DIGITS, "x_test": PIXELS, "y_test": DIGITS, **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return str(path)


def test_a_good_npz_is_read(tmp_path):
    made = data.load(saved(tmp_path / "good.npz"))
    assert made.name == "good" and made.shape == (4, 4, 1) and made.classes == 3
    assert [len(made.split(name)[0]) for name in ("train", "validation", "test")] == [11, 1, 12]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_test": None}, ("`data`", "'x_train', 'y_train'", "without ['y_test']")),
        ({"x_train": None, "y_train": None}, ("`data`", "without ['x_train', 'y_train']")),
        ({"x_train": PIXELS.astype(object)}, ("`data`", "readable npz")),
        ({"x_train": PIXELS * 255}, ("`x_train`", HINT)),
        ({"x_train": (PIXELS * 255).astype("int64")}, ("`x_train`", HINT)),
        ({"x_train": PIXELS * np.nan}, ("`x_train`", "12 images with NaN")),
        ({"x_train": PIXELS.reshape(12, 16)}, ("`x_train`", "(N, H, W, C)", "(12, 16)")),
        ({"x_train": PIXELS[:0]}, ("`x_train`", "N > 0")),
        ({"x_test": PIXELS[:, :3]}, ("`x_test`", "(N, 4, 4, 1)", "(12, 3, 4, 1)")),
        ({"x_test": PIXELS[:5]}, ("`y_test`", "shape (5,)")),
        ({"y_train": np.eye(3)[DIGITS]}, ("`y_train`", "one-hot", "y_train.argmax(axis=1)")),
        ({"y_train": DIGITS + 0.25}, ("`y_train`", "whole class numbers")),
        ({"y_test": DIGITS + 1}, ("`y_test`", "0..2", "[1, 3]")),
        ({"x_train": PIXELS[:1], "y_train": DIGITS[:1] + 2}, ("`data`", "more than one training image")),
        ({"y_train": np.array(["cat", "dog", "cow"])[DIGITS]}, ("`y_train`",)),
        ({"y_train": DIGITS * 0, "y_test": DIGITS * 0}, ("classes",)),
    ],
)  # fmt: skip
def test_npz_with_bad_arrays_is_refused(changes, words, tmp_path):
    text = complaint(data.load, saved(tmp_path / "bad.npz", **changes))
    assert all(word in text for word in words)


def in_the_middle(raw, change):
    """`raw` with 8 bytes in its middle changed."""
    half = len(raw) // 2
    return raw[:half] + bytes(b ^ change for b in raw[half : half + 8]) + raw[half + 8 :]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda raw: b"", id="empty"),
        pytest.param(lambda raw: b"no archive at all", id="text"),
        pytest.param(lambda raw: raw[: len(raw) // 2], id="half"),
        pytest.param(lambda raw: raw[:-1], id="last byte gone"),
        pytest.param(lambda raw: in_the_middle(raw, 255), id="bytes flipped"),
    ],
)
def test_damaged_npz_is_refused(spoil, tmp_path):
    path = Path(saved(tmp_path / "images.npz"))
    path.write_bytes(spoil(path.read_bytes()))
    text = complaint(data.load, str(path))
    assert text.startswith("`data` must be a readable npz file") and str(path) in text


def test_damaged_compressed_npz_is_refused(tmp_path):
    arrays = {"x_train": PIXELS, "y_train": DIGITS, "x_test": PIXELS, "y_test": DIGITS}
    np.savez_compressed(tmp_path / "small.npz", **arrays)
    raw = (tmp_path / "small.npz").read_bytes()
    (tmp_path / "small.npz").write_bytes(raw[:120] + bytes(b ^ 255 for b in raw[120:124]) + raw[124:])
    assert "readable npz" in complaint(data.load, str(tmp_path / "small.npz"))


def test_a_bare_array_under_the_name_of_an_npz_is_refused(tmp_path):
    with (tmp_path / "images.npz").open("wb") as file:
        np.save(file, PIXELS)
    assert "npz" in complaint(data.load, str(tmp_path / "images.npz"))


@pytest.mark.parametrize("name", ["no.npz", "no/such/folder", "folder.npz"])
def test_npz_that_is_no_file_is_refused(name, tmp_path):
    (tmp_path / "folder.npz").mkdir()
    text = complaint(data.load, str(tmp_path / name))
    assert "existing file" in text and str(tmp_path / name) in text


@pytest.mark.parametrize("validation", [0, -0.1, 1, float("nan"), "0.1", None])
def test_validation_share_outside_its_range_is_refused(validation):
    assert "`validation`" in complaint(data.load, "digits", validation)


@pytest.mark.parametrize("source", ["", None, 3, b"digits"])
def test_what_names_no_image_set_is_refused(source):
    assert "'digits', a TFDS name or FILE.npz" in complaint(data.load, source)


def test_unknown_split_is_answered_with_all_splits(digits):
    text = complaint(digits.split, "tset")
    assert "['train', 'validation', 'test']" in text and "Did you mean 'test'?" in text


@pytest.mark.parametrize(
    ("source", "near"), [("mnst", "'mnist'"), ("cifar_10", "'cifar10'"), ("digit", "'digits'")]
)
def test_unknown_image_set_is_answered_with_the_known_and_the_nearest(source, near, monkeypatch):
    monkeypatch.setattr("tensorflow_datasets.list_builders", lambda **_: ["mnist", "cifar10"])
    text = complaint(data.load, source)
    assert str(["digits", *data.TFDS_NAMES]) in text and text.endswith(f"Did you mean {near}?")


@pytest.mark.parametrize(
    "error",
    [ConnectionError("no route\nto host"), OSError(), RuntimeError("Failed to fetch"), KeyError("train")],
)
@pytest.mark.parametrize("source", ["mnist", "svhn_cropped"])
def test_image_set_that_cannot_be_fetched_says_what_to_do_offline(source, error, monkeypatch):
    def unreachable(*_, **__):
        raise error

    monkeypatch.setattr("tensorflow_datasets.list_builders", lambda **_: ["mnist", "svhn_cropped"])
    monkeypatch.setattr("tensorflow_datasets.load", unreachable)
    text = complaint(data.load, source)
    for word in (repr(source), type(error).__name__, "Without a network", "$TFDS_DATA_DIR", "--data=digits"):
        assert word in text
    assert "--data=FILE.npz with x_train, y_train, x_test, y_test" in text and "\n" not in text


def test_tfds_has_what_it_needs_to_look_up_a_builder():
    import tensorflow_datasets

    assert tensorflow_datasets.builder_cls("mnist").code_path


# -- artifacts and cards ---------------------------------------------------------------------------


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
    (entry / "card.json").write_text(json.dumps({k: v for k, v in values.items() if v is not None}))
    return entry


def test_an_entry_left_alone_verifies_loads_and_is_listed(entry, plain, images):
    assert zoo.verify(entry).name == "standard_plain_digits" and zoo.verify("entry") == ModelCard.read(entry)
    assert "entry" in zoo.list() and zoo.path("entry") == entry
    np.testing.assert_array_equal(
        zoo.load("entry").predict(images[0], verbose=0), plain.predict(images[0], verbose=0)
    )


@pytest.mark.parametrize("name", ["entri", "", "..", ".", "../zoo/entry", "/", None])
def test_unknown_entry_is_answered_with_all_entries(name, entry):
    text = complaint(zoo.load, name)
    assert text.startswith("`name` must be one of") and "'entry'" in text


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
    "changes", [{"schema": 2}, {"schema": "1"}, {"more": 1}, {"sha256": None}, {"schema": None}], ids=str
)
def test_card_of_another_schema_is_refused(changes, entry):
    edit(entry, **changes)
    for use in (lambda: zoo.card("entry"), lambda: zoo.load("entry"), lambda: zoo.verify(entry)):
        assert "`card` must follow schema 1" in complaint(use)


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


# -- run folders -----------------------------------------------------------------------------------


@pytest.fixture
def out(tmp_path, monkeypatch):
    """A path for a run that must not come to training."""
    monkeypatch.setattr(TRAIN, "defend", lambda *_, **__: pytest.fail("training started"))
    return tmp_path / "run"


def test_folder_with_foreign_files_is_refused_and_left_alone(out):
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    text = complaint(keras_adv.train, TINY, out)
    assert "`out` must be" in text and "a run folder" in text and str(out) in text
    assert tree(out) == {"thesis.tex": b"mine"}


def test_folder_of_another_recipe_is_refused_and_left_alone(out):
    out.mkdir()
    (out / "recipe.txt").write_text(TINY.replace("epochs=2", "epochs=3") + "\n")
    before = tree(out)
    text = complaint(keras_adv.train, TINY, out)
    assert "`out` must be" in text and "the same recipe" in text and "epochs=3" in text
    assert tree(out) == before


@pytest.mark.parametrize("below", ["", "x", "x/y"])
def test_folder_where_a_file_is_in_the_way_is_refused(below, out):
    out.write_text("mine")
    text = complaint(keras_adv.train, TINY, out / below)
    assert "`out` must be a writable folder" in text and str(out / below) in text
    assert out.read_text() == "mine"


@pytest.mark.parametrize("operation", ["mkdir", "write_text"])
def test_folder_without_permission_is_refused(operation, out, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, operation, denied)
    text = complaint(keras_adv.train, TINY, out)
    assert "`out` must be a writable folder" in text and "(Permission denied)" in text


@pytest.mark.parametrize("text", [b"{", b"[]"])
def test_run_folder_with_a_bad_card_is_refused_not_trained_over(text, out):
    out.mkdir()
    (out / "recipe.txt").write_text(TINY)
    (out / "card.json").write_bytes(text)
    assert "`card`" in complaint(keras_adv.train, TINY, out)
    assert (out / "card.json").read_bytes() == text


@pytest.mark.parametrize(
    ("recipe", "arguments", "word"),
    [
        ("recipe(defense=critik())", {}, "Did you mean 'critic'?"),
        (TINY, {"attacks": ["fgsm()", "pdg()"]}, "`attack`"),
        (TINY, {"attacks": ["pgd(threat=linf(eps=-1))"]}, "`eps`"),
        (f"{TINY[:-1]}, data='digitz')", {}, "`data`"),
        (f"{TINY[:-1]}, data='no/such.npz')", {}, "`data`"),
        (TINY, {"split": "tset"}, "`split`"),
        (TINY, {"n": 0}, "`n`"),
        (TINY, {"n": -1}, "`n`"),
        ("recipe(model=lenet(form='thesis'))", {}, "`form`"),
        ("recipe(defense=dropout(), model=resnet())", {}, "`model`"),
    ],
)
def test_a_bad_run_is_refused_before_anything_is_written(recipe, arguments, word, out, monkeypatch):
    monkeypatch.setattr("tensorflow_datasets.list_builders", lambda **_: [])
    assert word in complaint(keras_adv.train, recipe, out, **arguments)
    assert not out.exists()


def test_search_refuses_an_unwritable_folder(out):
    out.write_text("mine")
    assert "`out`" in complaint(keras_adv.search, TINY, out / "x")


# -- runs cut short --------------------------------------------------------------------------------

RUN = """
import os, signal, sys
import keras
import keras_adv

recipe, out, kill = sys.argv[1:]

class Watch(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        print("epoch", epoch, flush=True)

    def on_train_batch_begin(self, batch, logs=None):
        if kill == "kill" and (self.epoch, batch) == (3, 5):
            os.kill(os.getpid(), signal.SIGKILL)

train = sys.modules["keras_adv.train"]
train.export, train.audit = lambda *_: None, lambda *_: []  # slow, and not what is looked at here
fit = keras.Model.fit
keras.Model.fit = lambda self, *a, callbacks=(), **k: fit(self, *a, callbacks=[*callbacks, Watch()], **k)
train.train(recipe, out, attacks=["fgsm()"], n=8, verbose=0)
"""
CUT = (
    "recipe(defense=dropout(optimizer=adam(schedule=drop(every=2))), model=mlp(units=(16,)), "
    "epochs=6, augment='crop_flip', normalize=True, seed=3)"
)


def trained(out, kill):
    """(exit code, epochs begun) of a process that trains CUT."""
    env = {**os.environ, "KERAS_BACKEND": keras.config.backend(), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", RUN, CUT, str(out), kill]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    begun = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("epoch ")]
    return done.returncode, begun, done.stderr


def rows(path):
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def enough(*_):
    raise StopIteration


def same_weights(ours, theirs):
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        if EXACT:
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been_killed(tmp_path, monkeypatch):
    out, whole = tmp_path / "killed", tmp_path / "whole"
    code, begun, _ = trained(out, "kill")
    assert code == -signal.SIGKILL and begun == [0, 1, 2, 3]
    assert {p.name for p in (out / "backup").iterdir()} == {"epoch-0003.weights.h5"}
    assert [row["epoch"] for row in rows(out / "history.csv")] == [0, 1, 2]
    assert not (out / "model.keras").exists() and not (out / "card.json").exists()

    # what a kill at other moments would have left
    (out / "backup" / "part.weights.h5").write_bytes(b"half a checkpoint")
    (out / "backup" / "epoch-0002.weights.h5").write_bytes(b"not yet deleted")
    (out / "part.keras").write_bytes(b"half a model")
    (out / "history.part").write_text("epoch,cross_en")
    with (out / "history.csv").open("a") as file:
        file.write(",".join(["3"] + ["9.5"] * (len(rows(out / "history.csv")[0]) - 1)) + "\r\n")

    code, begun, errors = trained(out, "")
    assert code == 0, errors
    assert begun == [3, 4, 5]
    assert {p.name for p in out.iterdir()} >= {"model.keras", "card.json", "README.md", "curves.png"}
    assert not (out / "backup").exists() and not list(out.glob("*part*"))
    assert registry.spec(registry.parse("recipe", zoo.verify(out).recipe)) == CUT

    monkeypatch.setattr(TRAIN, "export", enough)  # comes after model.keras
    with pytest.raises(StopIteration):
        keras_adv.train(CUT, whole, verbose=0)
    same_weights(artifact.read(out / "model.keras"), artifact.read(whole / "model.keras"))
    ours, theirs = rows(out / "history.csv"), rows(whole / "history.csv")
    assert [row["epoch"] for row in ours] == [0, 1, 2, 3, 4, 5]
    for one, other in zip(ours, theirs, strict=True):
        assert one == (other if EXACT else pytest.approx(other, abs=1e-5))


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C as an epoch begins."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def game(digits):
    """Trains a small net against the critic, whose warm-up ends after the first of three epochs."""
    x, y = (part[:150] for part in digits.train)

    def run(*callbacks):
        net = models.MLP(units=(16,)).build(digits.shape, digits.classes, seed=1)
        defense = "critic(width=16, attack=high_confidence(steps=1, max_step=None))"
        return keras_adv.defend(net, defense, x, y, epochs=3, batch_size=50, callbacks=callbacks, verbose=0)

    return run, run()


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_game_of_two_phases_goes_on_from_the_border_and_from_within(epoch, game, tmp_path):
    run, whole = game
    with pytest.raises(KeyboardInterrupt):
        run(Checkpoint(tmp_path), Interrupt(epoch))
    assert Checkpoint(tmp_path).latest()[0] == epoch
    same_weights(run(Checkpoint(tmp_path)), whole)


def test_the_latest_complete_checkpoint_counts(tmp_path):
    assert Checkpoint(tmp_path / "none").latest() == (0, None)
    for name in ("epoch-0009.weights.h5", "epoch-0010.weights.h5", "part.weights.h5", "epoch-0011.part"):
        (tmp_path / name).write_text("")
    assert Checkpoint(tmp_path).latest() == (10, tmp_path / "epoch-0010.weights.h5")


class Spoil(keras.callbacks.Callback):
    """NaN into the weights as the second epoch begins."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            net = self.model.predictor
            net.set_weights([np.full_like(w, np.nan) for w in net.get_weights()])


def test_a_run_that_diverges_stops_and_keeps_the_last_finite_epoch(images, tmp_path):
    history = History(tmp_path / "history.csv")
    callbacks = [Spoil(), history, Checkpoint(tmp_path / "backup")]
    with pytest.raises(FloatingPointError, match=r"diverged in epoch 2: cross_entropy.*learning rate"):
        keras_adv.defend(classifier(), "standard()", *images, epochs=3, callbacks=callbacks, verbose=0)
    assert Checkpoint(tmp_path / "backup").latest()[0] == 1
    assert [row["epoch"] for row in rows(tmp_path / "history.csv")] == [0]
