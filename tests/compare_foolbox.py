"""Time and strength against Foolbox on one Keras model: python tests/compare_foolbox.py --data=mnist.npz

Not collected by pytest: it measures time, so run it on an idle machine. TensorFlow backend. Each pair is timed
alternating in this process, compiled and warm; the ratio is the median.
"""

import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import foolbox as fb
import numpy as np
import tensorflow as tf
from absl import flags
from rich.table import Table

import keras_adv
from keras_adv import cli
from keras_adv.models import LeNet

DATA = flags.DEFINE_string("data", "digits", "what the LeNet is trained on for two epochs, and attacked")
N = flags.DEFINE_integer("n", 256, "correctly classified test images, one batch")
REPEATS = flags.DEFINE_integer("repeats", 3, "timings of each")
EPS = flags.DEFINE_float("eps", 0.1, "of the linf attacks")


def pairs(eps):
    """(ours, theirs, eps of theirs, order of the norm)."""
    a = fb.attacks
    pgd = f"pgd(threat=linf(eps={eps}), steps=40, step_size=1/30, random_start=False)"
    return [
        (pgd, a.LinfPGD(steps=40, random_start=False), eps, np.inf),
        (f"bim(threat=linf(eps={eps}), steps=10)", a.LinfBasicIterativeAttack(steps=10), eps, np.inf),
        (f"fgsm(threat=linf(eps={eps}))", a.FGSM(), eps, np.inf),
        ("deepfool()", a.L2DeepFoolAttack(candidates=10), None, 2),
        ("deepfool(threat=linf())", a.LinfDeepFoolAttack(candidates=10), None, np.inf),
        ("pdgd()", a.DDNAttack(steps=500), None, 2),
    ]


def clock(fn):
    start = time.perf_counter()
    out = fn()
    return time.perf_counter() - start, out


def main():
    data = keras_adv.data.load(DATA.value)
    net = LeNet().build(data.shape, data.classes)
    keras_adv.defend(net, "standard", *data.train, epochs=2, verbose=0)
    x, y = data.test
    kept = np.flatnonzero(net.predict(x, verbose=0).argmax(1) == y)[: N.value]
    x, y = x[kept], y[kept]
    model, tx, ty = fb.TensorFlowModel(net, bounds=(0, 1)), tf.constant(x), tf.constant(y, "int64")
    table = Table(
        title=f"LeNet {data.shape} on {data.name}, {len(x)} images: ours / Foolbox {fb.__version__}"
    )
    for column in ("ours", "theirs", "time ratio", "robust acc", "theirs", "mean norm", "theirs"):
        table.add_column(column, overflow="fold")
    for spec, attack, eps, order in pairs(EPS.value):
        ours = lambda spec=spec: keras_adv.attack(net, x, y, spec)
        theirs = lambda attack=attack, eps=eps: attack(model, tx, ty, epsilons=eps)
        ours(), theirs()
        timed = [(clock(ours), clock(theirs)) for _ in range(REPEATS.value)]
        ratio = statistics.median(a[0] / b[0] for a, b in timed)
        mine, (_, found, hit) = timed[0][0][1], timed[0][1][1]
        norm = np.linalg.norm(np.asarray(found - tx).reshape(len(x), -1), order, axis=1)[
            np.asarray(hit)
        ].mean()
        robust = (1 - mine.success.mean(), 1 - np.asarray(hit).mean())
        cells = [f"{ratio:.2f}", *(f"{v:.4f}" for v in (*robust, mine.distance[mine.success].mean(), norm))]
        table.add_row(spec, type(attack).__name__, *cells)
    cli.show(table)


if __name__ == "__main__":
    cli.run(main)
