"""What survives: attacks over data sets, robust accuracy, audits, pictures."""

from keras_adv.evaluation.audit import audit
from keras_adv.evaluation.report import evaluate
from keras_adv.evaluation.runner import Result, attack

__all__ = ["Result", "attack", "audit", "evaluate"]
