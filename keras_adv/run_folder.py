"""Which recipe a run folder belongs to."""

from __future__ import annotations

from pathlib import Path

from keras_adv import validate
from keras_adv.files import LOCK, write_text


def claim_folder(out: Path, spec: str) -> None:
    """Makes `out` the folder of the recipe with this spec.

    Raises:
        InvalidInput: it is neither new, nor empty, nor claimed by the same recipe, or it cannot be written.
    """
    file = out / "recipe.txt"
    try:
        holds = file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else ""
        if holds not in ("", spec):
            raise validate.unusable("out", "new or of the same recipe", f"{out} with {holds}")
        leftovers = {".writable", LOCK, file.name, f"{file.name}.part"}  # of a claim that was killed
        if not holds and out.is_dir() and not {p.name for p in out.iterdir()} <= leftovers:
            raise validate.unusable("out", "empty or a run folder", str(out))
        validate.make_writable(out)
        if not holds:
            write_text(file, spec + "\n")
    except OSError as error:
        raise validate.unusable("out", "a writable folder", f"{out} ({error.strerror})") from error
