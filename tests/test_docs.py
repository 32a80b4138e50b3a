"""The pages are as the code is, and the examples of README run as they stand."""

import configparser
import re
from pathlib import Path

import pytest

import keras_adv
from keras_adv import registry
from keras_adv.pages import methods

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.py") if path.name != "docs.py")
README = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def test_readme_examples_run(tmp_path, monkeypatch, capsys):
    load, more, defend, serve = README
    exec(load.replace("pdgd()", "pdgd(steps=20)"), {})
    # the reference attack at these settings: tests/attacks/test_every_attack.py
    quick = more.replace(
        "autoattack(threat=linf(eps=0.1), steps=20, queries=200)", "fgsm(threat=linf(eps=0.1))"
    )
    exec(quick.replace("steps=50", "steps=10"), {})
    printed = capsys.readouterr().out
    assert "robust accuracy" in printed and "transferred" in printed
    exec(defend.replace("epochs=5", "epochs=1"), {})
    keras_adv.export(keras_adv.zoo.load("critic_lenet_digits"), tmp_path / "served" / "1")
    monkeypatch.chdir(tmp_path)
    exec(serve, {})
    assert "label" in serve


@pytest.mark.slow
@pytest.mark.parametrize(("guide", "lines"), [("own_model", 11), ("defend", 5), ("reproduce", 6)])
def test_guides_run(guide, lines, capsys):
    page = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / f"{guide}.md").read_text(), re.S)
    exec("\n".join(page), {})
    assert len(capsys.readouterr().out.splitlines()) == lines


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_named_in_the_readme_exist_and_are_short(name):
    assert f"scripts/{name}" in (ROOT / "README.md").read_text()
    assert len((ROOT / "scripts" / name).read_text().splitlines()) <= 70


def test_the_pages_of_attacks_and_defenses_are_as_the_registry_says():
    for kind, page in (("attack", methods.attacks()), ("defense", methods.defenses())):
        assert page == (ROOT / "docs" / f"{kind}s.md").read_text()
        for name in [
            *registry.registered(kind),
            *registry.presets("recipe" if kind == "defense" else "model"),
        ]:
            assert f"\n| `{name}` |" in page
    for name in registry.registered("objective"):
        assert f"\n| `{name}` |" in methods.attacks()


def test_every_folder_of_the_package_is_installed_and_the_changelog_names_the_version():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    folders = {p.parent for p in (ROOT / "keras_adv").rglob("__init__.py")}
    wanted = {".".join(folder.relative_to(ROOT).parts) for folder in folders} | {"keras_adv.zoo_data"}
    assert set(config["options"]["packages"].split()) == wanted
    assert f"## {keras_adv.__version__} - " in (ROOT / "CHANGELOG.md").read_text()


def test_links_of_the_pages_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        for link in re.findall(r"\]\(([^)#]+)\)", prose):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"
