"""What a PyTorch checkpoint holds: which of its dictionaries are the weights, and which tensors make a
layer."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from keras_adv.validate import InvalidInput, invalid, unusable

PARTS = ("weight", "bias", "running_mean", "running_var")
"""Names of the tensors of a convolution, a linear layer or a batch normalisation."""
COUNTER = "num_batches_tracked"
UNUSED = re.compile(r"(^|\.)sub_block\d*\.")
"""Layers that TRADES' WideResNet has and does not use."""
SHORTCUT = re.compile(r"short|down_?sample|skip", re.IGNORECASE)
"""In the names of the layers of a shortcut."""
SCALES = (("mean", "std"), ("mu", "sigma"))
"""Names under which wrappers keep the normalisation of the images."""

State = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Source:
    """The tensors of one layer.

    Attributes:
        name: of the layer in the checkpoint, "" where the tensors have none before them.
        parts: those of `PARTS` that there are.
    """

    name: str
    parts: dict[str, np.ndarray]

    @property
    def kind(self) -> str:
        """ "conv", "dense", "norm", or "other"."""
        if "running_mean" in self.parts:
            return "norm"
        ranks = {4: "conv", 2: "dense", 1: "norm"}
        return ranks.get(np.ndim(self.parts.get("weight", 0.0)), "other")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its weight, or without one of its first tensor."""
        return tuple(self.parts.get("weight", next(iter(self.parts.values()))).shape)

    @property
    def on_shortcut(self) -> bool:
        """Whether its name says that it belongs to a shortcut."""
        return bool(SHORTCUT.search(self.name))


def weights_of(held: Mapping[str, Any], part: str | None = None) -> State:
    """The one dictionary of weights in a checkpoint, name -> array.

    Args:
        held: what the file holds: the weights themselves, or dictionaries of them and of other things under
            names ("state_dict", "ema", ...), at any depth.
        part: where there are several, the name of the one that counts, "ema" or "nets.student".

    Raises:
        InvalidInput: there is none, not that one, or several and no `part`.
    """
    found = dict(_dictionaries(held))
    if part is not None and part not in found:
        raise invalid("part", f"one of the checkpoint's weights, {[*found]}", part)
    if part is None and len(found) > 1:
        raise invalid("part", f"given, for the checkpoint has weights of {[*found]}", part)
    if not found:
        raise unusable("file", "a checkpoint with weights", f"one that holds {[*held][:8]}")
    return found[part] if part is not None else next(iter(found.values()))


def _dictionaries(held: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    own = {name: value for name, value in held.items() if isinstance(value, np.ndarray)}
    if any(name.rpartition(".")[2] in PARTS for name in own):
        yield at, own
    for name, value in held.items():
        if isinstance(value, Mapping):
            yield from _dictionaries(value, f"{at}.{name}" if at else name)


def sources(state: State) -> list[Source]:
    """The layers of a checkpoint, in its order, without what no net computes with: counters of batches, the
    normalisation of the images, layers that are known to be unused."""
    left_out = {name for pair in _scales(state) for name in pair}
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, value in state.items():
        layer, _, leaf = name.rpartition(".")
        if leaf != COUNTER and name not in left_out and not UNUSED.search(name):
            known = leaf in PARTS
            layers.setdefault(layer if known else name, {})[leaf if known else "other"] = value
    return [Source(name, parts) for name, parts in layers.items()]


def normalisation(state: State, channels: int) -> tuple[list[float], list[float]] | None:
    """(mean, std) of each channel that the checkpoint keeps for its images, or None.

    Raises:
        InvalidInput: those of images in another range than [0, 1], of other channels, or two different pairs.
    """
    pairs = [tuple(np.ravel(state[name]).astype(float).tolist() for name in pair) for pair in _scales(state)]
    if not pairs:
        return None
    mean, std = pairs[0]
    if any(pair != pairs[0] for pair in pairs) or not len(mean) == len(std) == channels:
        raise invalid(
            "normalize", f"given, where the checkpoint has not one of {channels} channels", pairs[:3]
        )
    if not all(0 <= m <= 1 for m in mean) or not all(0 < s <= 1 for s in std):
        raise invalid("normalize", "given, where the checkpoint's is not of images in [0, 1]", pairs[0])
    return mean, std


def _scales(state: State) -> list[tuple[str, str]]:
    """The names of each (mean, std) of the images."""
    found = []
    for name in state:
        before, dot, leaf = name.rpartition(".")
        for mean, std in SCALES:
            other = f"{before}{dot}{std}"
            if leaf == mean and other in state and np.size(state[name]) <= 4:
                found.append((name, other))
    return found


def check_finite(state: State) -> None:
    """Raises InvalidInput where a tensor has NaN or inf, or a variance is negative."""
    for name, value in state.items():
        if not np.isfinite(value).all():
            raise InvalidInput(f"`file` must have finite weights. Received: NaN or inf in {name}")
        if name.endswith("running_var") and (value < 0).any():
            raise InvalidInput(f"`file` must have no negative variance. Received: one in {name}")
