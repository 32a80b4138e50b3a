"""Attacks along a training: on the models that it has kept of its epochs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from keras_adv import artifact, registry, validate
from keras_adv.attacks import Attack
from keras_adv.evaluation.report import evaluate

EPOCHS = "epochs"
"""Folder, in that of a run, of the models that `train(keep=...)` has kept."""
_NAME = re.compile(r"epoch-(\d+)\.keras")


def kept_epochs(run: Path | str) -> dict[int, Path]:
    """Epoch -> the file of the model after it, of those that `train(run, keep=...)` has kept so far, in
    ascending order; `zoo.open` loads one.

    Raises:
        InvalidInput: the folder has none.
    """
    folder = Path(run) / EPOCHS
    named = ((_NAME.fullmatch(file.name), file) for file in folder.glob("epoch-*.keras"))
    found = {int(match[1]): file for match, file in named if match}
    if not found:
        raise validate.unusable("run", "a run folder of a training with `keep`", f"{run} without {EPOCHS}/")
    return dict(sorted(found.items()))


def along_training(
    run: Path | str, x: Any, y: Any, attacks: list[Attack | str] | Attack | str, **how: Any
) -> dict[str, Any]:
    """`evaluate` of every model that a training has kept (AFD, figure A4: robustness over training).

    Args:
        run: folder of a training with `keep`, finished or not.
        x: images (N, H, W, C) in [0, 1].
        y: integer labels (N,).
        attacks: attacks or their specs; one, or several.
        how: further options of `evaluate`; one folder `resume` serves all epochs.

    Returns:
        {"epochs", "clean_accuracy", "robust_accuracy": {spec: one for each epoch}, "results": what `evaluate`
        says of each}, fit for JSON. The robust accuracy of an attack without a radius is None.

    Raises:
        InvalidInput: no model was kept, or as `evaluate`.
    """
    listed = [attacks] if isinstance(attacks, (str, Attack)) else list(attacks)
    chosen = [registry.parse("attack", one) for one in listed]
    files = kept_epochs(run)
    results = [evaluate(artifact.read(file), x, y, chosen, **how) for file in files.values()]
    return {
        "epochs": list(files),
        "clean_accuracy": [one["clean_accuracy"] for one in results],
        "robust_accuracy": {
            row["spec"]: [one["attacks"][number]["robust_accuracy"] for one in results]
            for number, row in enumerate(results[0]["attacks"])
        },
        "results": results,
    }
