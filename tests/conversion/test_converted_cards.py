"""What a conversion writes: a card that claims no measurement until one is made."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy_nets import SPEC, drawn, images, wrn, wrn_shapes

from keras_adv import InvalidInput, cli, zoo
from keras_adv.card import ModelCard
from keras_adv.threats import Linf


@pytest.fixture(scope="module")
def written(state, tmp_path_factory):
    out = tmp_path_factory.mktemp("converted")
    np.savez(out / "net.npz", **state)
    more = {"source": "https://example.org", "licence": "MIT", "claims": "clean 84.92%, AutoAttack 53.08%"}
    zoo.convert(out / "net.npz", SPEC, out / "theirs", shape=(8, 8, 3), data="theirs", **more)
    return out / "theirs"


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "theirs")


def test_the_card_claims_no_measurement(folder, state):
    card = zoo.verify(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "card.json", "model.keras"]
    assert (
        card == ModelCard.read(folder) and card.results == {} and card.recipe == "" and card.name == "theirs"
    )
    assert card.origin["architecture"] == SPEC and card.licence == "MIT"
    page = (folder / "README.md").read_text()
    assert page == card.markdown() and "Not measured." in page and "masked gradients" not in page
    claimed = page.split("## Claimed by the source (not measured here)")[1]
    assert "84.92%" in claimed and "https://example.org" in page and "Trained by" not in page
    np.testing.assert_allclose(zoo.open(folder)(images(8)), wrn(state, images(8), (1, 1)), atol=1e-4)


def test_an_unmeasured_net_is_listed_and_not_published(folder, tmp_path, monkeypatch):
    with pytest.raises(InvalidInput, match="`run` must be measured first"):
        zoo.publish(folder)
    monkeypatch.setenv("KERAS_ADV_ZOO", str(tmp_path))
    assert "theirs" in zoo.list() and "theirs" not in zoo.list(threat="linf")
    assert zoo.load("theirs").output_shape == (None, 10) and cli.data_of("theirs") == "theirs"
    with pytest.raises(InvalidInput, match="`adaptive` must be none"):
        cli.adaptive_attacks("theirs", ["linf(eps=0.1)"])


def test_its_first_measurement_goes_into_the_card(folder):
    card = ModelCard.read(folder)
    rows = zoo.card("standard_lenet_digits").results
    with pytest.raises(InvalidInput, match="`data` must be the card's 'theirs'"):
        card.check_images("digits", "test", 5)
    card.check_images("theirs", "validation", 5)
    first = card.first_measured({**rows, "command": "evaluate"}, "validation")
    grown = first.with_audit(["a finding"], Linf(eps=0.1), 5)
    grown.save(folder)
    again = zoo.verify(folder)
    assert again == grown and again.results == rows and again.data["split"] == "validation"
    page = (folder / "README.md").read_text()
    assert "Not measured." not in page and "- a finding" in page and "Not trained here" in page
    with pytest.raises(InvalidInput, match="`data, split, n` must be"):
        again.check_images("theirs", "test", 5)


@pytest.mark.slow
def test_scripts_convert_a_file_and_measure_what_it_became(tmp_path):
    np.savez(tmp_path / "net.npz", **drawn(wrn_shapes(channels=1)))
    convert = [
        "convert.py",
        "--file=net.npz",
        f"--architecture={SPEC}",
        "--shape=8,8,1",
        "--data=digits",
        "--out=a",
    ]
    evaluate = ["evaluate.py", "--model=a", "--n=20", "--attack=fgsm(threat=linf(eps=0.1))", "--card"]
    for name, *flags in (convert, evaluate):
        script = Path(__file__).parents[2] / "scripts" / name
        subprocess.run([sys.executable, str(script), *flags], cwd=tmp_path, check=True, timeout=600)
    card = zoo.verify(tmp_path / "a")
    assert card.results["n"] == 20 and len(card.results["attacks"]) == 1 and card.origin["file"] == "net.npz"
    subprocess.run([sys.executable, str(script), *flags], cwd=tmp_path, check=True, timeout=600)  # once more
    assert zoo.verify(tmp_path / "a").results["attacks"][0]["spec"] == "fgsm(threat=linf(eps=0.1))"
