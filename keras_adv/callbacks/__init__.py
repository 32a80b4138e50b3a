"""Keras callbacks of a run: resume, history, the course of the epochs, and two that stop what has gone
wrong."""

from keras_adv.callbacks.checkpoint import Checkpoint, History
from keras_adv.callbacks.collapse import BEST_WEIGHTS, BestWeights, StopOnCollapse
from keras_adv.callbacks.course import EpochOrder, PhaseChange, StopOnNaN

__all__ = [
    "BEST_WEIGHTS", "BestWeights", "Checkpoint", "EpochOrder", "History", "PhaseChange",
    "StopOnCollapse", "StopOnNaN",
]  # fmt: skip
