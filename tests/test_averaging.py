"""Averages of weights: the recurrence, when it begins, and what is served."""

import keras
import numpy as np
import pytest
from keras import ops
from sampled import sampled

from keras_adv import InvalidInput, defend
from keras_adv.averaging import EMA
from keras_adv.callbacks import Checkpoint
from keras_adv.models import MLP

SHAPE, CLASSES = (4, 4, 1), 3
RNG = np.random.default_rng(0)
X, Y = RNG.random((40, *SHAPE)).astype("float32"), (np.arange(40) % CLASSES).astype("int32")


def net_with_statistics():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input(SHAPE)
    x = keras.layers.BatchNormalization(momentum=0.5)(keras.layers.Flatten()(x))
    x = keras.layers.Dropout(0.2, seed=1)(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(x))


class Weights(keras.callbacks.Callback):
    """The weights after each step."""

    def on_train_begin(self, logs=None):
        self.after = []

    def on_train_batch_end(self, batch, logs=None):
        if keras.config.backend() == "jax":
            self.model.jax_state_sync()
        self.after.append([ops.convert_to_numpy(v) for v in self.model.predictor.trainable_variables])


@pytest.mark.parametrize("start", sampled([0.0, 0.5], 0.5))
def test_what_is_served_is_the_average_of_the_last_weights(start):
    seen = Weights()
    net = MLP(units=(5,)).build(SHAPE, CLASSES)
    options = {"epochs": 3, "batch_size": 10, "verbose": 0, "callbacks": [seen]}
    served = defend(net, "standard", X, Y, average=EMA(decay=0.3, start=start), **options)
    average, begin = seen.after[0], int(start * 12)
    for step, weights in enumerate(seen.after, 1):
        n = max(step - begin, 0)
        share = min(0.3, (1 + n) / (10 + n)) if n else 0.0
        average = [share * a + (1 - share) * w for a, w in zip(average, weights, strict=True)]
    assert len(seen.after) == 12
    for got, want, last in zip(served.trainable_variables, average, seen.after[-1], strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)
        assert np.abs(want - last).max() > 1e-6


def test_statistics_are_those_of_the_averaged_net():
    """Of one linear layer behind the normalisation they are the moments of the images, whatever the weights;
    they stay where a net has none."""
    net = net_with_statistics()
    defend(net, "standard", X, Y, epochs=2, batch_size=20, average="ema(decay=0.9, start=0.0)", verbose=0)
    layer = next(n for n in net.layers if isinstance(n, keras.layers.BatchNormalization))
    moments = X.reshape(40, -1).mean(0), X.reshape(40, -1).var(0)
    np.testing.assert_allclose(layer.moving_mean, moments[0], atol=0.1)
    np.testing.assert_allclose(layer.moving_variance, moments[1], atol=0.1 + 0.5**4)


@pytest.mark.slow
def test_a_resumed_run_serves_the_average_of_the_whole_run(tmp_path):
    def run(folder, epochs=4, **options):
        net = net_with_statistics()
        saved = Checkpoint(folder)
        options = {"batch_size": 10, "verbose": 0, "callbacks": [saved, *options.pop("callbacks", ())]}
        return defend(net, "standard", X, Y, epochs=epochs, average="ema(decay=0.8, start=0.3)", **options)

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    whole = run(tmp_path / "whole").get_weights()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", callbacks=[Stop()])
    again = run(tmp_path / "parts").get_weights()
    for a, b in zip(whole, again, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    finished = run(tmp_path / "parts").get_weights()  # nothing is left to train: the same average again
    for a, b in zip(finished[2:], again[2:], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-2)


def test_a_checkpoint_without_the_average_is_refused(tmp_path):
    options = {"epochs": 1, "batch_size": 20, "verbose": 0}
    defend(net_with_statistics(), "standard", X, Y, callbacks=[Checkpoint(tmp_path)], **options)
    with pytest.raises(InvalidInput, match="average"):
        defend(
            net_with_statistics(),
            "standard",
            X,
            Y,
            callbacks=[Checkpoint(tmp_path)],
            average=EMA(),
            **options,
        )
