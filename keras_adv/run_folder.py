"""Which recipe a run folder belongs to."""

from __future__ import annotations

from pathlib import Path

from keras_adv import registry, validate
from keras_adv.files import LOCK, write_text


def claim_folder(out: Path, spec: str) -> None:
    """Makes `out` the folder of the recipe with this spec.

    Raises:
        InvalidInput: it is neither new, nor empty, nor claimed by the same recipe, or it cannot be written.
    """
    file = out / "recipe.txt"
    try:
        holds = _claimed(out)
        if holds not in ("", spec):
            raise validate.unusable("out", "new or of the same recipe", f"{out} with {holds}")
        leftovers = {LOCK, file.name, f"{file.name}.part"}  # of a claim that was killed
        found = {p.name for p in out.iterdir()} if out.is_dir() else set()
        if not holds and not {name for name in found if not name.startswith(".writable")} <= leftovers:
            raise validate.unusable("out", "empty or a run folder", str(out))
        validate.make_writable(out)
        if not holds:
            write_text(file, spec + "\n")
    except OSError as error:
        raise validate.unusable("out", "a writable folder", f"{out} ({error.strerror})") from error


def reclaim_folder(out: Path, spec: str) -> None:
    """Makes the folder of a recipe, which `out` is, that of another with more epochs."""
    write_text(out / "recipe.txt", spec + "\n")


def _claimed(out: Path) -> str:
    file = out / "recipe.txt"
    return file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else ""


def is_of_fewer_epochs(out: Path, spec: str) -> bool:
    """Whether `out` is claimed by a recipe that differs from that of `spec` in its epochs alone, and has
    fewer."""
    return bool(holds := _claimed(out)) and is_shorter(holds, spec)


def is_shorter(spec: str, than: str) -> bool:
    """Whether two recipes differ in their epochs alone, and the first has fewer."""
    try:
        one, other = (registry.parse("recipe", text) for text in (spec, than))
    except validate.InvalidInput:
        return False
    return bool(one.epochs < other.epochs and one.replace(epochs=other.epochs) == other)
