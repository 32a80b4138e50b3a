"""FGSM-PGI against a second writing of its authors' code (pgi.py), on a net with batch normalisation."""

import numpy as np
import pytest
from keras import ops

from keras_adv import noise
from keras_adv.backend import Net
from keras_adv.defenses import PGI
from keras_adv.defenses.base import MEMORY
from keras_adv.threats import Linf
from tests.transcriptions import pgi
from tests.transcriptions.mat import value_and_gradients
from tests.transcriptions.twins import (
    CLASSES,
    SHAPE,
    check,
    double,
    images,
    net,
    of_the_package,
    same_statistics,
    wide,
)

SEED, EPS, FACTOR = 7, 0.2, 0.6
SMOOTHING = (1 - FACTOR) * CLASSES / (CLASSES - 1)


def prepared(defense, model, memory, x, y, rows, epoch):
    nets = {"net": Net(model), MEMORY: Net(memory)}
    nets["net"].rows, nets["net"].epoch = ops.convert_to_tensor(rows), ops.convert_to_tensor(epoch)
    batch = defense.prepare(nets, ops.convert_to_tensor(x), ops.convert_to_tensor(y), SEED)
    return {name: np.asarray(value) for name, value in batch.items()}


@pytest.mark.parametrize(("step", "decay"), [(1.0, 0.3), (0.6, 0.3), (1.5, 0.0)])
def test_each_image_starts_where_its_last_epoch_ended(step, decay):
    """Over three epochs in which the images come in other orders, and two of them not in every epoch; then
    all starts are drawn anew. What is kept is in float16."""
    model, (x, y, _) = net(rate=0.5), images(8)
    defense = PGI(threat=Linf(eps=EPS), step=step, momentum=decay, smoothing=SMOOTHING, reset=3)
    memory, twin, target = defense.memory(8, SHAPE), double(net()), pgi.smoothed(y, CLASSES, FACTOR)
    delta, momentum = np.zeros((8, *SHAPE)), np.zeros((8, *SHAPE))
    begun, rng = set(), np.random.default_rng(0)
    for epoch in range(4):
        rows = rng.permutation(8)[:6].astype("int32")
        seeds = noise.seeds(SEED, ops.arange(6))
        signs = np.where(np.asarray(noise.uniform(seeds, SHAPE)) < 0.5, -1.0, 1.0)
        if epoch == 3:
            begun = set()
        for place, row in enumerate(rows):
            if row not in begun:
                delta[row], momentum[row] = np.clip(step * EPS * signs[place], -EPS, EPS), 0
                begun.add(row)
        found = prepared(defense, model, memory, x[rows], y[rows], rows, epoch + 0.5)
        np.testing.assert_allclose(found["start"], wide(x[rows]) + delta[rows], atol=2e-4)
        want, delta[rows], momentum[rows] = pgi.step(
            twin, wide(x[rows]), target[rows], delta[rows], momentum[rows], EPS, step * EPS, decay
        )
        np.testing.assert_allclose(found["adversarial"], want, atol=2e-4)


def test_the_loss_and_its_gradients():
    model, (x, y, moved) = net(), images()
    twin, target = double(model), pgi.smoothed(y, CLASSES, FACTOR)
    defense = PGI(weight=10.0, smoothing=SMOOTHING, statistics="each")
    batch = {"x": x, "y": y, "start": x, "adversarial": moved}
    found = of_the_package(defense.moves()[0], {"net": Net(model)}, batch)
    assert list(found) == ["adversarial", "consistency"]

    def terms():
        entropy, apart = pgi.losses(twin, wide(x), wide(moved), target, 10.0)
        return {"adversarial": [*entropy], "consistency": [*apart]}

    want = value_and_gradients(terms, [v.value for v in twin.trainable_variables])
    for name in found:
        check(found[name], want[name])
    same_statistics(model, twin)
