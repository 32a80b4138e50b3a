"""Which recipe a run folder belongs to."""

from __future__ import annotations

from pathlib import Path

from keras_adv import registry, validate
from keras_adv.files import LOCK, write_text


def claim_folder(out: Path, spec: str, extend: bool = False) -> None:
    """Makes `out` the folder of the recipe with this spec.

    Args:
        out: the folder.
        spec: of the recipe.
        extend: whether it may be claimed by the same recipe with fewer epochs.

    Raises:
        InvalidInput: it is neither new, nor empty, nor claimed by the same recipe, or it cannot be written.
    """
    file = out / "recipe.txt"
    try:
        holds = file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else ""
        if extend and holds not in ("", spec) and _is_shorter(holds, spec):
            holds = ""
        elif holds not in ("", spec):
            raise validate.unusable("out", "new or of the same recipe", f"{out} with {holds}")
        leftovers = {".writable", LOCK, file.name, f"{file.name}.part"}  # of a claim that was killed
        empty = not file.is_file() or not file.stat().st_size
        if empty and out.is_dir() and not {p.name for p in out.iterdir()} <= leftovers:
            raise validate.unusable("out", "empty or a run folder", str(out))
        validate.make_writable(out)
        if not holds:
            write_text(file, spec + "\n")
    except OSError as error:
        raise validate.unusable("out", "a writable folder", f"{out} ({error.strerror})") from error


def _is_shorter(spec: str, than: str) -> bool:
    """Whether two recipes differ in their epochs alone, and the first has fewer."""
    try:
        one, other = (registry.parse("recipe", text) for text in (spec, than))
    except validate.InvalidInput:
        return False
    return bool(one.epochs < other.epochs and one.replace(epochs=other.epochs) == other)
