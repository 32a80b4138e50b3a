"""Studies that are made by hand, and the files that people would give back."""

import json

import numpy as np
import pytest

from keras_adv.pages import figures
from keras_adv.study import writing

STUDY, PEOPLE = "5" * 12, [f"{n:012x}" for n in range(1, 9)]
TIMES = {"shown": "2026-01-01T10:00:00.000Z", "answered": "2026-01-01T10:00:02.500Z"}


def image_id(n):
    return f"{n:010x}"


@pytest.fixture
def key():
    """Four images of "net", labels 0 to 3 seen as the next class, and two clean ones, labels 0 and 1."""
    images = {
        image_id(n): {"model": "net", "row": n, "label": n, "adversarial_label": n + 1, "norm": 1.0}
        for n in range(4)
    }
    images |= {image_id(4 + n): {"model": None, "row": 4 + n, "label": n} for n in range(2)}
    counts = {"looked": 5, "misclassified": 1, "not_fooled": 0, "lost_in_rounding": 0, "shown": 4}
    return {
        "format": "keras_adv study key",
        "version": 1,
        "study": STUDY,
        "question": "Which class do you see?",
        "classes": [str(n) for n in range(5)],
        "attack": "fgsm()",
        "data": "digits",
        "split": "test",
        "seed": 0,
        "models": [{"model": "net", **counts}],
        "images": images,
    }


@pytest.fixture
def page(key, tmp_path):
    """(classes or None) -> (the HTML file of such a study with random pixels, its key)."""

    def write(classes=None):
        made = {**key, "classes": classes or [str(n) for n in range(10)]}
        rng = np.random.default_rng(0)
        pictures = {
            name: figures.picture(rng.integers(0, 256, (8, 8, 1), "uint8")) for name in made["images"]
        }
        writing._write(tmp_path / "study.html", made, "What <b>now</b>?", pictures, named=classes is not None)
        return tmp_path / "study.html", made

    return write


@pytest.fixture
def person():
    """(number, image -> class or (class, confidence), what is otherwise) -> the content of a file."""

    def say(number, answers, **otherwise):
        rows = []
        for n, given in answers.items():
            label, confidence = given if isinstance(given, tuple) else (given, None if given is None else 3)
            rows.append({"image": image_id(n), "label": label, "confidence": confidence, **TIMES})
        head = {"format": "keras_adv study answers", "version": 1, "study": STUDY}
        head |= {"participant": PEOPLE[number], "started": TIMES["shown"], "saved": TIMES["answered"]}
        return {**head, "answers": rows, **otherwise}

    return say


@pytest.fixture
def files(tmp_path):
    """Contents -> files that hold them."""

    def write(*contents):
        paths = []
        for content in contents:
            paths.append(tmp_path / f"answers{len(list(tmp_path.iterdir()))}.json")
            text = content if isinstance(content, str) else json.dumps(content)
            paths[-1].write_text(text)
        return paths

    return write
