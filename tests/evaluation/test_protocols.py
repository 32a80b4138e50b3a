"""rho as the papers define it, on linear models, where every perturbation is known."""

import keras
import numpy as np
import pytest

from keras_adv import InvalidInput
from keras_adv.evaluation import rho

OVERSHOOT = 1.02


@pytest.fixture(scope="module")
def two():
    """Linear, of two classes, z_1 - z_0 = w x + b: net, images, labels, distances from the boundary."""
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=16).astype("float32"), np.float32(0.3)
    inputs = keras.Input((4, 4, 1))
    net = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    net.layers[-1].set_weights([np.stack([0 * w, w], 1), np.array([0, b], "float32")])
    x = rng.random((40, 4, 4, 1)).astype("float32")
    gap = x.reshape(40, -1) @ w + b
    labels = (gap > 0).astype("int32")
    labels[:7] = 1 - labels[:7]  # misclassified
    return net, x, labels, np.abs(gap) / np.linalg.norm(w)


def test_deep_defense_takes_all_images_from_the_predicted_class_over_centred_norms(two):
    net, x, y, distance = two
    norms = np.linalg.norm((x - x.mean(0)).reshape(40, -1), axis=1)
    wanted = (OVERSHOOT * (distance + 1e-4) / norms).mean()
    assert rho(net, x, y, "deep_defense") == pytest.approx(wanted, rel=2e-3)
    halved = rho(net, x, y, "deep_defense", mean=0.0)
    wanted = (OVERSHOOT * (distance + 1e-4) / np.linalg.norm(x.reshape(40, -1), axis=1)).mean()
    assert halved == pytest.approx(wanted, rel=2e-3)


def test_margin_takes_the_correct_ones_and_steps_of_one_half(two):
    net, x, y, distance = two
    norms = np.linalg.norm(x.reshape(40, -1), axis=1)

    def walked(left):
        """Steps of at most 0.5, overshoot included."""
        done = 0.0
        while done < left:
            done += min(OVERSHOOT * (left - done + 1e-4), 0.5)
        return done

    wanted = np.array([walked(d) for d in distance]) / norms
    assert rho(net, x, y, "margin") == pytest.approx(wanted[7:].mean(), rel=1e-3)


def test_critic_counts_the_misclassified_as_nothing_and_stays_in_the_box(two):
    net, x, y, distance = two
    ratios = OVERSHOOT * distance / np.linalg.norm(x.reshape(40, -1), axis=1)
    ratios[:7] = 0.0
    assert ratios.mean() * 0.99 < rho(net, x, y, "critic") < ratios.mean() * 1.3  # the box makes some longer


def test_what_is_no_definition_or_no_mean_is_refused(two):
    net, x, y, _ = two
    with pytest.raises(InvalidInput, match="`definition` must be one of"):
        rho(net, x, y, "thesis")
    with pytest.raises(InvalidInput, match="`mean` must be of shape"):
        rho(net, x, y, "deep_defense", mean=np.zeros((3, 3, 1)))
