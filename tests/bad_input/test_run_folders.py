"""A run goes only where it may; what is there already stays."""

from pathlib import Path

import pytest

import keras_adv
from keras_adv import runs
from tests.bad_input.tools import TINY, complaint, tree


@pytest.fixture
def out(tmp_path, monkeypatch):
    """A path for a run that must not come to training."""
    monkeypatch.setattr(runs, "defend", lambda *_, **__: pytest.fail("training started"))
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


@pytest.mark.parametrize("operation", ["mkdir", "write_bytes"])
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
