"""The house's binding rules, read from the imports."""

import ast
from pathlib import Path

import pytest

import keras_adv
from keras_adv import registry

ROOT = Path(keras_adv.__file__).parent
LAYERS = [
    {"registry", "validate", "backend", "noise", "_version"},
    {"threats", "losses", "layers", "heads", "models", "data", "optimizers"},
    {"attacks"},
    {"defenses", "evaluation"},
    {"recipes", "callbacks", "artifact", "fit"},
    {"train", "card", "export", "zoo", "pages", "search", "bench"},
    {"cli", "__init__"},
]
FREE = {"backend", "data", "export"}


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (
                f"{node.module}.{a.name}" if node.module == "keras_adv" else node.module for a in node.names
            )


FILES = sorted(ROOT.rglob("*.py"))


def level(name):
    return next(i for i, rooms in enumerate(LAYERS) if name in rooms)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_and_only_some_rooms_know_the_framework(path):
    for name in imports(path):
        top = name.split(".")
        if top[0] in ("tensorflow", "jax", "torch"):
            assert room(path) in FREE, f"{path} imports {name}"
        if top[0] == "keras_adv" and len(top) > 1:
            assert level(top[1]) <= level(room(path)), f"{path} imports {name}, which is above it"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short_and_say_what_they_are(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_eval_exec_or_pickle(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec")
    assert "pickle" not in path.read_text().replace("allow_pickle=False", "")


@pytest.mark.parametrize("kind", ["attack", "defense", "model", "threat"])
def test_every_registered_class_says_what_it_is(kind):
    for name, cls in registry.registered(kind).items():
        assert cls.__doc__ and "Args:" in cls.__doc__, name
        if kind in ("attack", "defense"):
            assert "Cost" in cls.__doc__, name


def test_public_names_are_documented():
    for name in keras_adv.__all__:
        if not name.startswith("__"):
            assert getattr(keras_adv, name).__doc__, name
