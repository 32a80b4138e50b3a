"""What attacks and training steps cost over their floor, the bare passes that they need; and how near
minimal attacks come to the best of them.

What is timed is compiled, timed in the same process, alternating; a row is the median of the ratios. On a CPU
keep the machine otherwise idle.
"""

from keras_adv.bench.attack_cost import attacks
from keras_adv.bench.evaluation_cost import memory, refill
from keras_adv.bench.feed_cost import feed
from keras_adv.bench.input_gradient import gradient
from keras_adv.bench.jacobian_forms import jacobians
from keras_adv.bench.minimal_norms import optimality
from keras_adv.bench.normalisation_cost import normalisation
from keras_adv.bench.scaling_cost import scaling
from keras_adv.bench.step_cost import training

__all__ = [
    "attacks",
    "feed",
    "gradient",
    "jacobians",
    "memory",
    "normalisation",
    "optimality",
    "refill",
    "scaling",
    "training",
]
