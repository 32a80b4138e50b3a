"""The transcriptions take gradients with TensorFlow's tape, whatever the package would do it with."""

from pathlib import Path

import keras
import pytest

if keras.config.backend() != "tensorflow":
    collect_ignore_glob = ["test_*.py"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of each law here one case is asked every time; the others wait for `-m slow`."""
    asked = set()
    for item in items:
        if Path(__file__).parent not in item.path.parents or item.get_closest_marker("slow"):
            continue
        law = item.nodeid.partition("[")[0]
        if law in asked:
            item.add_marker(pytest.mark.slow)
        asked.add(law)
