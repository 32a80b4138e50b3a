"""What a result depends on besides the recipe: versions and the processor."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

import keras

from keras_adv._version import __version__


def versions() -> dict[str, str]:
    """Versions of keras_adv, Python, Keras and its backend, and the processor, for cards."""
    backend = keras.config.backend()
    return {
        "keras_adv": __version__,
        "python": platform.python_version(),
        "keras": keras.version(),
        "backend": f"{backend} {metadata.version(backend)}",
        "processor": processor(),
    }


def processor() -> str:
    """The name of the processor, with the vector and matrix units that decide speed and rounding where Linux
    tells them."""
    known = Path("/proc/cpuinfo")
    if not known.is_file():
        return platform.processor() or platform.machine()
    entries = (line.partition(":") for line in known.read_text().splitlines())
    first: dict[str, str] = {}
    for key, _, value in entries:
        first.setdefault(key.strip(), value.strip())
    units = {"avx2", "avx512f", "avx512_bf16", "amx_bf16"} & set(first.get("flags", "").split())
    return " ".join([first.get("model name", platform.machine()), *sorted(units)])
