"""The binding rules of the house, read from the imports and from the names."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import keras_adv
from keras_adv import registry

ROOT = Path(keras_adv.__file__).parent
LAYERS = [
    (
        "arrays",
        "noise",
        "validate",
        "registry",
        "classifier",
        "features",
        "environment",
        "backend",
        "files",
        "fingerprint",
        "foreign",
    ),
    (
        "threats",
        "losses",
        "numerics",
        "layers",
        "adapters",
        "models",
        "data",
        "batches",
        "optimizers",
        "averaging",
        "growth",
        "ramps",
        "intervals",
        "precision",
    ),
    ("artifact", "card", "card_page", "card_reported", "card_schema", "conversion", "zoo", "hub"),
    ("attacks",),
    ("defenses", "evaluation"),
    ("recipes", "callbacks", "feeding", "engine", "fit", "flop"),
    ("run_folder", "runs", "training", "serving", "pages", "tuning", "bench", "experiments"),
    ("study",),
    ("cli",),
    ("commands", "__main__"),
]
FREE = {"backend", "data", "serving"}
FILES = sorted(ROOT.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}


def module(path):
    """The dotted name of a file."""
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def level(name):
    if name in ("__init__", "_version", "_start"):
        return len(LAYERS) if name == "__init__" else 0
    return next(i for i, rooms in enumerate(LAYERS) if name in rooms)


def imports(path):
    """Every module that a file imports, wherever in the file."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = inner in MODULES or node.module == "keras_adv"
                yield inner if is_module else node.module


MODULES = {module(path) for path in FILES}


def test_imports_go_down_and_only_some_rooms_know_the_framework():
    for path in FILES:
        for name in imports(path):
            top = name.split(".")
            if top[0] in ("tensorflow", "jax", "torch"):
                assert room(path) in FREE, f"{path} imports {name}"
            if top[0] == "keras_adv" and len(top) > 1:
                assert level(top[1]) <= level(room(path)), f"{path} imports {name}, which is above it"


def test_no_import_runs_in_a_circle():
    arrows = {module(p): {n for n in imports(p) if n in MODULES and n != "keras_adv"} for p in FILES}
    packages = {name: {m for m in MODULES if m.startswith(f"{name}.")} for name in MODULES}
    finished, path = set(), []

    def visit(name):
        assert name not in path, f"circle: {' -> '.join([*path[path.index(name) :], name])}"
        if name in finished:
            return
        path.append(name)
        for other in sorted(arrows[name] - packages[name]):
            visit(other)
        path.pop()
        finished.add(name)

    for name in sorted(MODULES - {"keras_adv"}):
        visit(name)


def test_files_are_short_and_say_what_they_are_and_evaluate_nothing():
    for path in FILES:
        text = path.read_text()
        assert len(text.splitlines()) <= 300, path
        assert ast.get_docstring(TREES[path]), path
        assert "pickle" not in text.replace("allow_pickle=False", ""), path
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), path


@pytest.mark.parametrize("kind", ["attack", "defense", "model", "threat", "objective"])
def test_every_registered_class_says_what_it_is(kind):
    for name, cls in registry.registered(kind).items():
        has_options = bool(cls.__dataclass_fields__)
        assert cls.__doc__ and ("Args:" in cls.__doc__ or not has_options), name
        for field in cls.__dataclass_fields__:
            assert f"{field}:" in cls.__doc__, f"{name} says nothing of {field}"
        if kind in ("attack", "defense"):
            assert "Cost" in cls.__doc__, name


def test_public_names_are_documented():
    for name in keras_adv.__all__:
        if not name.startswith("__"):
            assert getattr(keras_adv, name).__doc__, name


def test_no_name_hides_a_module():
    """`import keras_adv.x.y` must give the module, not a function of the same name."""
    for found in pkgutil.walk_packages(keras_adv.__path__, "keras_adv."):
        parent, _, name = found.name.rpartition(".")
        holder = importlib.import_module(parent)
        assert inspect.ismodule(getattr(holder, name, importlib.import_module(found.name))), found.name


def test_contributing_draws_the_layers_as_they_are():
    drawn = " < ".join(" ".join(rooms) for rooms in LAYERS)
    page = " ".join((ROOT.parent / "CONTRIBUTING.md").read_text().replace("`", "").split())
    assert drawn in page, drawn
