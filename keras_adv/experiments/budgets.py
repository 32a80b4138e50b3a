"""What an experiment may cost: the same tables, at three sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_adv import registry, zoo
from keras_adv.attacks import Attack
from keras_adv.data.image_files import Folder
from keras_adv.experiments.base import Experiment, Net
from keras_adv.optimizers import Adam
from keras_adv.recipes import Recipe
from keras_adv.registry import Spec

BUDGETS = {
    "smoke": "digits of 8x8 pixels, a small LeNet, one epoch, 40 images, three steps an attack: does it run",
    "small": "the zoo's nets, or a few epochs on a CPU, and at most 1,000 images: hours",
    "paper": "the authors' setting: nets, epochs, images. A GPU, for days",
}
IMAGES = {"smoke": 40, "small": 1000}
STEPS = 3
"""Most steps that anything takes in budget "smoke"."""
LIMITS = {
    **{"steps": STEPS, "restarts": 1, "binary_steps": 1, "queries": 30, "particles": 2, "power": 1},
    "learning_rate": 0.001,  # a small net takes no more, where pixels are 0..255 or whitened
}
"""Options of attacks and defenses that cost, and what budget "smoke" allows of them; and its rates."""
SMOKE: Mapping[str, Any] = {
    "model": "lenet()",
    "data": "digits",
    "epochs": 1,
    "batch_size": 64,
    "augment": "none",
    "precision": "float32",
    "average": None,
    "best": None,
    "grow": None,
    "start": None,
    "validation": 0.1,
}


def images(experiment: Experiment, budget: str) -> int:
    """How many test images are measured."""
    return min(experiment.images, IMAGES.get(budget, experiment.images))


def recipe_of(net: Net, budget: str, sources: Mapping[str, str]) -> Recipe:
    """What is trained, or what an entry of the zoo was trained by.

    Args:
        net: the net.
        budget: one of `BUDGETS`.
        sources: name of a data set -> where it is.
    """
    if (name := entry(net, budget)) is not None:
        stored: Recipe = registry.parse("recipe", zoo.card(name).recipe)
        return stored
    recipe: Recipe = registry.parse("recipe", net.recipe)
    if budget == "small":
        recipe = recipe.replace(**net.small)  # type: ignore[arg-type]
    if budget == "smoke":
        recipe = lighter(recipe).replace(**SMOKE)
    return recipe.replace(data=placed(recipe.data, sources))


def of_student(recipe: Recipe, budget: str) -> Recipe:
    """What distils a student: the paper's recipe, or fewer epochs of Adam."""
    if budget == "smoke":
        return lighter(recipe).replace(**SMOKE)
    short = {"epochs": 5, "batch_size": 100, "defense": recipe.defense.replace(optimizer=Adam())}
    return recipe.replace(**short) if budget == "small" else recipe


def placed(name: str, sources: Mapping[str, str]) -> str:
    """Where a data set is: what `sources` has for its name, and of a folder of images for its path."""
    if name.startswith("folder("):
        folder = Folder.of(name)
        return registry.spec(folder.replace(path=sources.get(folder.path, folder.path))) if folder else name
    return sources.get(name, name)


def data_sets(net: Net) -> set[str]:
    """What `sources` may name for a net, at any budget."""
    small = entry(net, "small")
    names = {"digits", recipe_of(net, "paper", {}).data}
    names.add(str(zoo.card(small).data["name"]) if small else recipe_of(net, "small", {}).data)
    folders = [Folder.of(name) for name in names if name.startswith("folder(")]
    return {name for name in names if not name.startswith("folder(")} | {one.path for one in folders if one}


def entry(net: Net, budget: str) -> str | None:
    """The entry of the zoo that stands for a net; None: it is trained."""
    return net.small if budget == "small" and isinstance(net.small, str) else None


def adjusted(attack: Attack, budget: str) -> Attack:
    """The attack of a protocol, with fewer steps in budget "smoke"."""
    return lighter(attack) if budget == "smoke" else attack


def lighter(spec: Any) -> Any:
    """The same object with no more than `LIMITS` of what costs, inside too."""
    if isinstance(spec, tuple):
        return tuple(lighter(part) for part in spec)
    if not isinstance(spec, Spec):
        return spec
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(spec):  # type: ignore[arg-type]
        value = getattr(spec, field.name)
        most = LIMITS.get(field.name)
        new = min(value, most) if most is not None and isinstance(value, (int, float)) else lighter(value)
        if new is not value and new != value:
            changes[field.name] = new
    return spec.replace(**changes) if changes else spec


@dataclass(frozen=True)
class Setting:
    """What a run is asked for.

    Attributes:
        budget: one of `BUDGETS`.
        seeds: how many nets are trained for each row.
        sources: name of a data set -> where it is; others are what `keras_adv.data.load` knows.
    """

    budget: str = "smoke"
    seeds: int = 1
    sources: tuple[tuple[str, str], ...] = ()
