"""Nets that others trained in PyTorch, as folders like those of the zoo."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_adv import artifact, environment, registry, validate
from keras_adv.card import ModelCard
from keras_adv.conversion.checkpoint import State, check_finite, normalisation, sources, weights_of
from keras_adv.conversion.matching import carry_over, match, targets
from keras_adv.data.torch_files import read_checkpoint
from keras_adv.fingerprint import sha256
from keras_adv.models import Architecture

Normalize = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of each channel."""
USUAL: dict[tuple[tuple[int, ...], int], str] = {
    ((32, 32, 3), 10): "cifar10",
    ((32, 32, 3), 100): "cifar100",
    ((28, 28, 1), 10): "mnist",
}
"""The data of RobustBench's small nets: (shape, classes) -> name."""


def convert(
    file: str | Path,
    architecture: Architecture | str,
    out: str | Path,
    *,
    shape: Sequence[int] = (32, 32, 3),
    normalize: Normalize | None = None,
    part: str | None = None,
    data: str | None = None,
    source: str = "",
    licence: str = "not stated",
    claims: str = "",
) -> ModelCard:
    """Writes a net that was trained in PyTorch as a Keras model, with a card that claims no measurement.

    `out` gets model.keras (images (B, H, W, C) in [0, 1] -> logits), card.json and README.md: what
    `zoo.open`, `evaluate` and `defend` take. `scripts/evaluate.py --model=OUT --card` measures it and adds
    the results to the card.

    Tensors go to the layers of their kind and shape in the order of the file; their names do not matter, but
    that "shortcut", "downsample" and the like tell the branches that are added. What a checkpoint does not
    say must be in `architecture`: activation, padding, which shortcut. A clean accuracy far below the
    author's shows that one of them is another.

    Args:
        file: what `torch.save` wrote: a state_dict, or a dictionary that holds one; opened with
            `weights_only=True`, so it can run no code. Or an npz file of the same arrays under their names.
        architecture: a network or its spec. RobustBench's are "wrn(depth=34, width=10, padding='both')"
            (TRADES and all that use its code),
            "wrn(depth=28, width=10, activation='silu')" (DeepMind: Gowal et al., Rebuffi et al.; Wang et
            al.), "resnet18(...)" with its `block`, "resnet50()", and of MNIST "madry_cnn()", "small_cnn()".
        out: a new or empty folder; its name is that of the model.
        shape: (H, W, C) of the images.
        normalize: (mean, std) of images in [0, 1], a value a channel; goes into the model. None: that of the
            checkpoint (mean and std, mu and sigma), or none where it has none.
        part: which weights of a checkpoint that has several, the average beside the last, say: "ema".
        data: what it was trained on, for the card; None: CIFAR-10 or -100 for 32x32x3 and 10 or 100 classes,
            MNIST for 28x28x1 and 10.
        source: where the file is from, for the card: an address, a paper.
        licence: of the weights.
        claims: what the source says of it: "clean 84.92%, AutoAttack 53.08% at linf 8/255".

    Returns:
        The card that was written.

    Raises:
        InvalidInput: the file cannot be read, its tensors do not fit the architecture (the message names what
            is left over and what is missing), or `out` cannot be written; nothing is written then.

    Cost: memory for three copies of the weights.
    """
    design: Architecture = registry.parse("model", architecture)
    file, out = Path(file), _new_folder(out)
    held = weights_of(read_checkpoint(file), part)
    net = converted(held, design, shape, normalize)
    name = _data_name(data, tuple(shape), int(net.output_shape[1]))
    origin = {"file": file.name, "sha256": sha256(file), "part": part, "architecture": registry.spec(design)}
    scratch = out.with_name(f".{out.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    validate.make_writable(scratch)
    try:
        artifact.write(net, scratch / "model.keras")
        card = _card(out.name, scratch / "model.keras", name, {**origin, "source": source}, licence, claims)
        card.save(scratch)
        if out.is_dir():
            out.rmdir()
        os.replace(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return card


def converted(
    state: State, design: Architecture, shape: Sequence[int], normalize: Normalize | None = None
) -> keras.Model:
    """The net of an architecture with the weights of a checkpoint, name -> array in the order of the file.

    Raises:
        InvalidInput: as `convert`.
    """
    size = _checked_shape(shape)
    check_finite(state)
    given = sources(state)
    linear = [one for one in given if one.kind == "dense"]
    if not linear:
        names = [one.name for one in given]
        raise validate.unusable(
            "file", "a classifier, with a linear layer at its end", f"one with {names[:6]}"
        )
    mean, std = _checked(normalize, size[2]) or normalisation(state, size[2]) or (None, None)
    net = design.build(size, linear[-1].shape[0], mean, std)
    carry_over(match(targets(net), given))
    return net


def _card(
    name: str, file: Path, data: str, origin: dict[str, str | None], licence: str, claims: str
) -> ModelCard:
    """The card of the model as it is read back from the file."""
    model = artifact.read(file)
    return ModelCard(
        name=name,
        recipe="",
        data={
            "name": data,
            "split": "test",
            "shape": [*model.input_shape[1:]],
            "classes": int(model.output_shape[1]),
        },
        results={},
        audit=[],
        sha256=sha256(file),
        parameters=model.count_params(),
        bytes=file.stat().st_size,
        probe=artifact.probe(model),
        versions=environment.versions(),
        seconds=0.0,
        reported={"claims": claims} if claims else {},
        reference="",
        licence=licence,
        origin=origin,
    )


def _new_folder(out: str | Path) -> Path:
    if not isinstance(out, (str, Path)) or not re.fullmatch(r"\w[\w.-]*", Path(out).name):
        raise validate.invalid("out", "a folder whose name has letters, digits, '_', '-' and '.' alone", out)
    place = Path(out)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise validate.unusable("out", "a new or empty folder", str(out))
    validate.make_writable(place.parent)
    return place


def _data_name(data: str | None, shape: tuple[int, ...], classes: int) -> str:
    if data is None and (shape, classes) not in USUAL:
        raise validate.invalid("data", f"given, for images {shape} of {classes} classes", data)
    return USUAL[shape, classes] if data is None else data


def _checked_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    if not isinstance(shape, Sequence) or len(shape) != 3:
        raise validate.invalid("shape", "(H, W, C) of the images", shape)
    for one in shape:
        validate.number("shape", one, low=1, whole=True)
    height, width, channels = (int(one) for one in shape)
    return height, width, channels


def _checked(normalize: Normalize | None, channels: int) -> Normalize | None:
    if normalize is None:
        return None
    allowed = f"(mean, std), each of {channels} numbers, std above 0"
    found = validate.as_array("normalize", normalize, allowed)
    if found.shape != (2, channels) or found.dtype.kind not in "iuf" or not np.isfinite(found).all():
        raise validate.invalid("normalize", allowed, normalize)
    if not (found[1] > 0).all():
        raise validate.invalid("normalize", allowed, normalize)
    return found[0].tolist(), found[1].tolist()
