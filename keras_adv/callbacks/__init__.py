"""Keras callbacks of a run: resume, history, the course of the epochs, and two that stop what has gone
wrong."""

from keras_adv.callbacks.best import BEST_EPOCH, BestEpoch
from keras_adv.callbacks.checkpoint import Checkpoint
from keras_adv.callbacks.collapse import BEST_WEIGHTS, BestWeights, StopOnCollapse
from keras_adv.callbacks.course import EpochOrder, PhaseChange, StopOnNaN
from keras_adv.callbacks.history import History, rows_of, thinned
from keras_adv.callbacks.kept_epochs import KeepEpochs
from keras_adv.callbacks.progress import Progress
from keras_adv.callbacks.stopping import StopAfterStep

__all__ = [
    "BEST_EPOCH", "BEST_WEIGHTS", "BestEpoch", "BestWeights", "Checkpoint", "EpochOrder", "History",
    "KeepEpochs", "PhaseChange", "Progress", "StopAfterStep", "StopOnCollapse", "StopOnNaN", "rows_of",
    "thinned",
]  # fmt: skip
