"""Evaluation: attacks over data sets, robust accuracy, transfer, audits, pictures."""

from keras_adv.evaluation.along import along_training, kept_epochs
from keras_adv.evaluation.auditing import audit
from keras_adv.evaluation.auditing.surface import Surface, surface
from keras_adv.evaluation.black_box import TransferMatrix, transfer, transfer_matrix
from keras_adv.evaluation.embedding import embed
from keras_adv.evaluation.masking import flags
from keras_adv.evaluation.protocols import reference_eps, rho
from keras_adv.evaluation.report import evaluate
from keras_adv.evaluation.result import Result
from keras_adv.evaluation.runner import attack
from keras_adv.evaluation.selection import select

__all__ = [
    "Result", "Surface", "TransferMatrix", "along_training", "attack", "audit", "embed", "evaluate", "flags",
    "kept_epochs", "reference_eps", "rho", "select", "surface", "transfer", "transfer_matrix",
]  # fmt: skip
