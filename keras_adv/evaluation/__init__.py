"""What survives: attacks over data sets, robust accuracy, transfer, audits, pictures."""

from keras_adv.evaluation.audit import audit, flags
from keras_adv.evaluation.report import evaluate
from keras_adv.evaluation.runner import Result, attack
from keras_adv.evaluation.transfer import transfer

__all__ = ["Result", "attack", "audit", "evaluate", "flags", "transfer"]
