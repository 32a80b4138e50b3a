"""Specs: `name(option=value)` strings and the frozen objects that they stand for.

`fields` has what a field allows, `names` the registered names and presets, `text` the strings, `base` the
objects and `ranges` what searches vary.
"""

from keras_adv.registry.base import Spec
from keras_adv.registry.fields import Range, option, tunable
from keras_adv.registry.names import Preset, preset, presets, register, registered
from keras_adv.registry.ranges import tunables, with_values
from keras_adv.registry.text import parse, spec

__all__ = [
    "Preset",
    "Range",
    "Spec",
    "option",
    "parse",
    "preset",
    "presets",
    "register",
    "registered",
    "spec",
    "tunable",
    "tunables",
    "with_values",
]
