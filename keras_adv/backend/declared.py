"""Whether a defense does as it declares; said while a step is compiled."""

from __future__ import annotations

from typing import Any

from keras_adv.arrays import Tensor
from keras_adv.backend.net import Net
from keras_adv.validate import InvalidInput


def mistake(defense: Any, found: str, expected: Any) -> InvalidInput:
    """The complaint about a defense."""
    return InvalidInput(
        f"`defense` must do as it declares. Received: {defense.name}, where {found}; expected {expected}"
    )


def check_terms(
    defense: Any, move: Any, terms: dict[str, Tensor], images: int | None, reserved: set[str], extra: str
) -> None:
    """Raises InvalidInput unless the loss of a move returns what it declares, one value for each image.

    Args:
        defense: whose move it is.
        move: the move.
        terms: what its loss returned.
        images: how many there are, where that is known.
        reserved: names that no term may have.
        extra: a name that may be among the terms without being declared.
    """
    declared = {*move.terms, *move.monitors}
    if set(terms) - {extra} != declared or reserved & declared:
        found = f"the loss of its move {move.name!r} returns {sorted(terms)}"
        raise mistake(defense, found, sorted(declared))
    for name, value in terms.items():
        shape = tuple(getattr(value, "shape", ()))
        if len(shape) != 1 or (None not in (shape[0], images) and shape[0] != images):
            raise mistake(defense, f"its term {name!r} has shape {shape}", "(B,), one value for each image")


def check_statistics(defense: Any, net: Net) -> None:
    """Raises InvalidInput unless a step has as many passes of mode "training" as the defense declares.

    With none, the served model would normalise by the statistics that it started with.
    """
    moving, declared = net.passes.count("training"), defense.statistics_passes
    if net.statistics and moving != declared:
        raise mistake(
            defense,
            f"{moving} passes of one step have mode='training', which moves batch-norm statistics",
            f"{declared}, as its `statistics_passes` declares",
        )
