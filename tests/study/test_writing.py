"""The page and its key: whole, alone, and silent about what the images are."""

import base64
import html
import io
import json
import re

import numpy as np
import pytest
from matplotlib import image

from keras_adv import InvalidInput, study
from keras_adv.study import writing

OPTIONS = {"n": 3, "clean": 2, "data": "digits", "question": "Which <digit>?"}
ATTACK = "fgsm(threat=linf(eps=0.2))"


@pytest.fixture(scope="module")
def made(net, digits, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "pages" / "look.html"
    return out, study.make(out, {"secret_net": net}, *digits.test, ATTACK, **OPTIONS)


def shown(out):
    found = re.search(r'<script type="application/json" id="study">(.*?)</script>', out.read_text(), re.S)
    return json.loads(found[1])


def test_the_key_beside_the_page_says_what_each_image_is(made, digits, net):
    out, key = made
    assert study.read_key(out.with_name("look.key.json")) == key
    kinds = [one["model"] for one in key["images"].values()]
    assert kinds.count("secret_net") == 3 and kinds.count(None) == 2
    assert key["models"][0]["shown"] == 3 and key["attack"].startswith("fgsm")
    rows = [one["row"] for one in key["images"].values()]
    assert len(set(rows)) == 5
    for one in shown(out)["images"]:
        entry = key["images"][one["id"]]
        pixels = image.imread(io.BytesIO(base64.b64decode(one["src"].partition(",")[2])))[..., :1]
        assert entry["label"] == digits.test[1][entry["row"]]
        if entry["model"] is None:
            assert np.abs(pixels - digits.test[0][entry["row"]]).max() <= 0.5 / 255 + 1e-6
        else:
            assert net.predict(pixels[None], verbose=0).argmax() == entry["adversarial_label"]


def test_the_page_needs_nothing_and_says_nothing_of_what_its_images_are(made):
    out, key = made
    text = out.read_text()
    assert "http:" not in text and "https:" not in text and "src=" not in text.replace('"src"', "")
    assert "default-src 'none'" in text
    for word in ("secret_net", "fgsm", "adversarial", "digits", "clean"):
        assert word not in text, word
    assert set(shown(out)) == {"id", "title", "question", "classes", "named", "images"}
    assert all(set(one) == {"id", "src"} for one in shown(out)["images"])
    names = [one["id"] for one in shown(out)["images"]]
    assert names == sorted(names) == list(key["images"])  # the order is that of drawn names


def test_what_is_asked_is_text(made):
    out, _ = made
    text = out.read_text()
    assert "<digit>" not in text and html.escape("Which <digit>?") in text
    assert shown(out)["question"] == "Which <digit>?"


def test_the_same_call_makes_the_same_study_and_another_spares_its_key(made, net, digits, tmp_path):
    out, key = made
    before = out.read_text()
    assert study.make(out, {"secret_net": net}, *digits.test, ATTACK, **OPTIONS) == key
    assert out.read_text() == before
    with pytest.raises(InvalidInput, match="key of another study, whose answers are lost without it"):
        study.make(out, {"secret_net": net}, *digits.test, ATTACK, **{**OPTIONS, "seed": 1})
    assert out.read_text() == before and study.read_key(out.with_name("look.key.json")) == key
    foreign = tmp_path / "other.key.json"
    foreign.write_text("mine")
    with pytest.raises(InvalidInput, match="`key` must be"):
        study.make(tmp_path / "other.html", {"secret_net": net}, *digits.test, ATTACK, **OPTIONS)
    assert foreign.read_text() == "mine" and not (tmp_path / "other.html").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 0}, "`n` must be"),
        ({"clean": -1}, "`clean` must be"),
        ({"clean": 400}, "at least 401 images"),
        ({"classes": ["a"] * 10}, "10 different names"),
        ({"classes": ["a", "b"]}, "10 different names"),
        ({"seed": -1}, "`seed` must be"),
        ({"models": {}}, "`models` must be at least one"),
        ({"attack": "fgms()"}, "Did you mean"),
    ],
)
def test_what_makes_no_study_is_refused_before_anything_is_written(options, words, net, digits, tmp_path):
    given = {"models": {"net": net}, "attack": ATTACK, "n": 2, **options}
    with pytest.raises(InvalidInput, match=words):
        study.make(tmp_path / "x.html", given.pop("models"), *digits.test, given.pop("attack"), **given)
    assert not list(tmp_path.iterdir())


def test_names_of_images_differ_and_hang_on_the_seed():
    from keras_adv.study.gathering import Shown

    clean = Shown(np.zeros((50, 2, 2, 1), "uint8"), np.arange(50), np.zeros(50, int))
    first, second = (list(writing._mixed({None: clean}, seed)[0]) for seed in (0, 1))
    assert len(set(first)) == 50 and set(first).isdisjoint(second)
    other = clean._replace(pixels=clean.pixels + 1)  # so nobody without the images has the names of a seed
    assert set(first).isdisjoint(writing._mixed({None: other}, 0)[0])
