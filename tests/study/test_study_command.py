"""`keras-adv study`, from a net to the table."""

import json
import subprocess
import sys

import pytest

TIMES = {"shown": "2026-01-01T10:00:00.000Z", "answered": "2026-01-01T10:00:02.500Z"}


def run(folder, *words):
    command = [sys.executable, "-m", "keras_adv", "study", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_from_a_net_to_the_table(tmp_path):
    attack = "--attack=fgsm(threat=linf(eps=0.3))"
    made = run(tmp_path, "make", "--model=standard_lenet_digits", "--n=3", attack)
    assert made.returncode == 0, made.stderr
    assert "standard_lenet_digits: 3 shown of " in made.stdout and "study.key.json (keep it" in made.stdout
    key = json.loads((tmp_path / "study.key.json").read_text())
    assert len(key["images"]) == 6 and (tmp_path / "study.html").is_file()
    answers = [
        {"image": name, "label": image.get("adversarial_label", image["label"]), "confidence": 4, **TIMES}
        for name, image in key["images"].items()
    ]
    head = {"format": "keras_adv study answers", "version": 1, "study": key["study"], "participant": "a" * 12}
    content = {**head, "started": TIMES["shown"], "saved": TIMES["answered"], "answers": answers}
    (tmp_path / "answers.json").write_text(json.dumps(content))
    scored = run(tmp_path, "score", "answers.json", "--out=results.json")
    assert scored.returncode == 0, scored.stderr
    assert "100.0% (43.9 to 100.0)" in scored.stdout and "right on clean" in scored.stdout
    results = json.loads((tmp_path / "results.json").read_text())
    assert [row["flipped"] for row in results["rows"]] == [1.0, 0.0]
    twice = run(tmp_path, "score", "answers.json", "answers.json")
    assert twice.returncode == 2 and twice.stderr.startswith(
        "error: `answers` must be one file of each person"
    )
    assert len(twice.stderr.splitlines()) == 1
