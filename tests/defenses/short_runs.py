"""One short training of every defense on digits, for several laws; as a script it prints the losses."""

import functools
import json
import sys
from typing import NamedTuple

import keras
import numpy as np

from keras_adv import data, registry
from keras_adv.backend import Game
from keras_adv.batches import Batches
from keras_adv.losses import cross_entropy
from keras_adv.models import MLP, LeNet
from keras_adv.optimizers import SGD

QUICK = {
    "adversarial": "adversarial(attack=pgd(threat=linf(eps=0.1), steps=3))",
    "critic": "critic(width=64, attack=high_confidence(steps=3))",
    "deep_defense": "deep_defense(steps=2)",
    "distilled": "distilled(teacher='standard_lenet_digits')",
    "trades": "trades(attack=pgd(threat=linf(eps=0.1), steps=2, random_start=False, jitter=0.05, loss='kl'))",
    "ibp": "ibp(threat=linf(eps=0.02), share=ramp(0, 1, epochs=4), optimizer=adam(learning_rate=0.005))",
    "rslad": "rslad(teacher='standard_lenet_digits', attack=pgd(threat=linf(eps=0.1), steps=2, "
    "random_start=False, jitter=0.05))",
    "vat": "vat(xi=0.5)",
    "mat": "mat(attack=pgd(threat=linf(eps=0.1), steps=2, random_start=False, jitter=0.05, "
    "loss='cosine_distance'))",
}
"""Where the defaults would compile for long, or start where the sign of a gradient is rounding."""
CONVOLVED = ("standard",)
"""On LeNet, whose second-order passes XLA compiles for long; the others on a perceptron, unless asked."""
JUMPY = ("margin", "double_backprop", "mad")
"""Adam's first steps are the signs of gradients, and a ReLU net's penalty jumps where they differ."""
FORMS = (
    "adversarial(mix=0.5)",
    "afd(penalty=1.0, attack=fgsm())",
    "afd(symmetric=True, attack=fgsm())",
    "afd(match=True, attack=fgsm())",
    "afd(mixed=True, attack=apgd(threat=linf(eps=0.1), steps=2))",
    "awp(inner=adversarial(mix=0.5))",
    "awp(inner=trades())",
    "deep_defense(inference=False)",
    "deep_defense(inference=False, attack=fgsm())",
    "mad(attack=pgd(threat=linf(eps=0.1), steps=2))",
    "mad(attack=pgd(threat=linf(eps=0.1), steps=2), projections=None, statistics='clean')",
    "mmc(attack=pgd(threat=linf(eps=0.1), steps=2))",
)
"""Forms that make other passes than the default."""
NAMES = list(registry.registered("defense"))
FIRST, STEPS = 20, 140
"""Steps whose losses are kept, and steps in all."""


class ShortRun(NamedTuple):
    """What a training left.

    Attributes:
        rows: the terms of the first steps.
        served: the predictor after all steps.
        before: the clean cross-entropy on the test images before the first step.
        after: the same after the last one.
    """

    rows: list[dict[str, float]]
    served: keras.Model
    before: float
    after: float


def clean_loss(net):
    """Mean cross-entropy on the test images."""
    digits = data.load("digits")
    z = net(digits.test[0], training=False)
    return float(np.mean(np.asarray(cross_entropy(z, digits.test[1]))))


def short_run(name, steps=STEPS, convolved=False):
    """The training of a defense from weights that NumPy drew, so that every backend starts from the same."""
    return _short_run(name, steps, convolved or name in CONVOLVED)


@functools.cache
def _short_run(name, steps, convolved):
    digits, defense = data.load("digits"), registry.parse("defense", QUICK.get(name, name))
    if name in JUMPY:
        defense = defense.replace(optimizer=SGD(learning_rate=0.02))
    design = LeNet() if convolved else MLP(units=(48, 24))
    game = Game(defense.adapt_model(design).build(digits.shape, digits.classes), defense)
    rng = np.random.default_rng(0)
    for v in game.trainable_variables:
        fan = np.prod(v.shape[:-1]) if len(v.shape) > 1 else np.inf
        v.assign(rng.normal(size=v.shape) * np.sqrt(2 / fan))
    for v in game.non_trainable_variables:
        if v.path.endswith("/u"):  # of the power method, drawn by Keras
            v.assign(rng.normal(size=v.shape))
    game.compile_moves(defense.moves(), 20, 1)
    before = clean_loss(game.predictor) if steps > FIRST else 0.0
    batches, rows = Batches(digits.train, 50, seed=0), []
    for step in range(steps):
        game.reset_metrics()
        logs = game.train_on_batch(*batches[step % len(batches)], return_dict=True)
        if step < FIRST:
            rows.append({term: float(value) for term, value in logs.items()})
    after = clean_loss(game.predictor) if steps > FIRST else 0.0
    return ShortRun(rows, game.predictor, before, after)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps([short_run(name, FIRST, convolved).rows for name, convolved in asked]))
