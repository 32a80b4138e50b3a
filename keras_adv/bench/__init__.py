"""What attacks and training steps cost over their floor: the bare passes that they need.

Both are compiled, timed in the same process, alternating; a row is the median of the ratios. On a CPU keep the
machine otherwise idle.
"""

from keras_adv.bench.attacks import attacks
from keras_adv.bench.evaluation import memory, refill
from keras_adv.bench.gradient import gradient
from keras_adv.bench.jacobians import jacobians
from keras_adv.bench.training import training

__all__ = ["attacks", "gradient", "jacobians", "memory", "refill", "training"]
