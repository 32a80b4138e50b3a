"""The examples in the docstrings where a user starts run as they stand."""

import doctest
import importlib

import pytest

STARTS = {
    "keras_adv": "an attack in three lines",
    "keras_adv.attacks.pgd": "an attack",
    "keras_adv.defenses.adversarial": "a defense",
    "keras_adv.evaluation.auditing.surface": "a loss surface",
    "keras_adv.evaluation.report": "evaluate",
    "keras_adv.evaluation.runner": "attack",
    "keras_adv.fit": "defend",
    "keras_adv.registry.text": "a spec",
    "keras_adv.zoo": "zoo.load",
}


@pytest.mark.parametrize("name", STARTS)
def test_examples_of_docstrings_run(name):
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0 and found.failed == 0
