"""What --help prints: kept in flags.json, so that it needs no import, and as wide as the terminal."""

from __future__ import annotations

import json
import shutil
import textwrap
from pathlib import Path
from typing import Any

KEPT = Path(__file__).with_name("flags.json")
"""Command -> what `describe` says of it; `scripts/docs.py` writes it."""
REPEATED = "repeat this option to specify a list of values"
NARROWEST, WIDEST = 20, 110


def describe(about: str, flags: list[Any]) -> dict[str, Any]:
    """What is kept of a command: its docstring, and name, help and default of its absl flags."""
    return {
        "about": about.strip(),
        "flags": [
            {
                "name": f"[no]{flag.name}" if flag.boolean else flag.name,
                "help": " ".join(flag.help.split()).replace(REPEATED, "may be repeated"),
                "default": _words(flag.default),
            }
            for flag in sorted(flags, key=lambda flag: flag.name)
        ],
    }


def _words(default: Any) -> str | None:
    """A default for people; None where it is nothing, or no."""
    if default is None or default is False or default in ("", []):
        return None
    return ", ".join(map(str, default)) if isinstance(default, list) else str(default)


def text(command: str, program: str, width: int | None = None) -> str:
    """The help of a command that is started as `program`, wrapped to a width; None: that of the terminal."""
    width = shutil.get_terminal_size().columns if width is None else width
    width = min(max(width, NARROWEST), WIDEST)
    kept = json.loads(KEPT.read_text(encoding="utf-8"))[command]
    parts = [textwrap.fill(" ".join(part.split()), width) for part in kept["about"].split("\n\n")]
    lines = ["\n\n".join(parts), "", f"usage: {program} --flag=value ...", ""]
    for flag in kept["flags"]:
        default = f" (default: {flag['default']})" if flag["default"] else ""
        said = f"--{flag['name']}: {flag['help']}{default}"
        lines.append(textwrap.fill(said, width, initial_indent="  ", subsequent_indent="      "))
    return "\n".join(lines)
