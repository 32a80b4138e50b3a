"""Recipe: everything a run is made of, as one spec."""

from __future__ import annotations

import re

from keras_adv.attacks import Attack
from keras_adv.averaging import EMA
from keras_adv.data import Folder
from keras_adv.data.augmenting import AUGMENTS
from keras_adv.defenses import Critic, Defense
from keras_adv.growth import Grow
from keras_adv.models import NORMALIZE, Architecture, LeNet
from keras_adv.precision import PRECISIONS
from keras_adv.registry import Spec, option, preset, presets, register


@register("recipe", "recipe")
class Recipe(Spec):
    """What to train, on what, how long. Its spec in a card reproduces the run.

    The papers' own experiments are presets: "trades_cifar" is the defense with its settings, its network,
    data, epochs, batch size and augmentation; `registry.presets("recipe")` lists them.

    Args:
        defense: the defense.
        model: the architecture; the defense may adapt it (dropout).
        data: "digits", a TFDS name, FILE.npz, or a folder of images (see `keras_adv.data.load`).
        epochs: passes over the training images.
        batch_size: images a step.
        augment: "none", "crop_flip" (CIFAR), "crop_flip_cutout", "resized_crop_flip" (images on disk),
            "crop2" or "crop2_flip" (MadNet); see `keras_adv.data.augmenting`.
        precision: what the layers compute in while they are trained: "float32", "mixed_bfloat16",
            "mixed_float16", or "auto", bfloat16 where the machine has units for it. What is saved computes in
            float32.
        average: of the weights, that is served instead of the last ones; None: the last ones.
        best: the attack by which the best epoch is chosen on held-out images; None: the last epoch.
        grow: smaller images in the first epochs; None: never.
        normalize: what images go through inside the model, by the training images (on disk: 1,000 of them):
            "none", "standard" (mean and deviation of each channel), "centre" (MadNet), "mean_image" (Deep
            Defense, MNIST), "gcn_zca" (thesis 3, CIFAR) or "matconvnet" (Deep Defense, CIFAR); see
            `keras_adv.models.normalizer`. True and False, in older cards, are "standard" and "none".
        validation: share of the training images that is held out; 0 trains on all.
        seed: of weights, order and random starts.
        start: train on from this model (name in the zoo, run folder or FILE.keras) instead of from fresh
            weights; `model` and `normalize` are then ignored.
    """

    kind = "recipe"
    defense: Defense = option(default=Critic())
    model: Architecture = option(default=LeNet())
    data: str = option(default="digits")
    epochs: int = option(default=36, low=1)
    batch_size: int = option(default=50, low=1)
    augment: str = option(default="none", choices=AUGMENTS)
    precision: str = option(default="float32", choices=PRECISIONS)
    average: EMA | None = option(default=None)
    best: Attack | None = option(default=None)
    grow: Grow | None = option(default=None)
    normalize: str = option(default="none", choices=NORMALIZE)
    validation: float = option(default=0.1, low=0.0, high=0.9)
    seed: int = option(default=0, low=0, high=2**31 - 1)
    start: str | None = option(default=None)

    def __post_init__(self) -> None:
        if isinstance(self.normalize, bool):
            object.__setattr__(self, "normalize", "standard" if self.normalize else "none")
        super().__post_init__()

    @property
    def title(self) -> str:
        """<defense>_<model>_<data>, the name in the zoo; "_" for what a name there cannot hold."""
        folder = Folder.of(self.data)
        named = folder.title if folder else self.data.rsplit("/", 1)[-1].removesuffix(".npz")
        stem = re.sub(r"[^\w.-]", "_", named)
        return f"{self.defense.name}_{self.model.name}_{stem}"


for _name, _preset in presets("defense").items():
    if _preset.recipe:
        preset(_name, Recipe(defense=_preset.made, **_preset.recipe), _preset.note)
