import keras
import numpy as np
import pytest

import keras_adv
from keras_adv import InvalidInput
from keras_adv.backend import Game
from keras_adv.batches import Batches
from keras_adv.callbacks import Checkpoint
from keras_adv.defenses import PGI
from keras_adv.defenses.base import MEMORY
from keras_adv.feeding import Given
from keras_adv.models import MLP

RNG = np.random.default_rng(0)
X, Y = RNG.random((60, 4, 4, 1)).astype("float32"), (np.arange(60) % 3).astype("int32")


class Keep(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        memory = self.model.observers[MEMORY]
        self.start, self.round = np.asarray(memory.start), np.asarray(memory.round)


def trained(*callbacks, epochs=2, **options):
    net = MLP(units=(12,)).build((4, 4, 1), 3)
    options = {"batch_size": 16, "verbose": 0, "callbacks": callbacks, "epochs": epochs, **options}
    return keras_adv.defend(net, "pgi(reset=2)", X, Y, **options)


def test_every_image_that_was_trained_on_has_a_start_within_the_ball():
    keep = Keep()
    trained(keep, epochs=1, augment="crop_flip")
    assert (keep.round == 1).sum() == 48  # of 60 images three batches of 16
    moved = np.abs(keep.start).max((1, 2, 3))
    assert (
        (moved[keep.round == 1] > 0.0).all() and moved.max() <= 0.1001 and (moved[keep.round == 0] == 0).all()
    )


@pytest.mark.slow
def test_starts_survive_a_resumed_run(tmp_path):
    whole, kept, again = Keep(), Keep(), Keep()
    weights = trained(whole, epochs=3).get_weights()
    trained(Checkpoint(tmp_path), kept, epochs=1)
    for ours, theirs in zip(
        trained(Checkpoint(tmp_path), again, epochs=3).get_weights(), weights, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_array_equal(again.round, whole.round)
    assert np.abs(again.start - whole.start).max() < 1e-3 and np.abs(again.start - kept.start).max() > 0.05
    assert set(again.round) == {1, 2}  # the third epoch began with new ones, for the images that it saw


def test_numbers_of_images_travel_with_them():
    batches = Batches((X, Y), 16, seed=3, augment="crop_flip", numbered=True)
    feed = Given(X, Y, None, None, 16, None).checked(PGI(), MLP().build((4, 4, 1), 3), (4, 4, 1), 3, "none")
    for x, y in [batches[1], next(iter(feed.source()))]:
        assert set(x) == {"images", "rows"}
        np.testing.assert_array_equal(np.asarray(y), Y[np.asarray(x["rows"])])
    np.testing.assert_array_equal(np.asarray(x["images"]), X[np.asarray(x["rows"])])
    assert all(images.shape == (16, 4, 4, 1) for images, _ in feed.some(2))


def test_large_momentum_and_uneven_numbers_of_steps():
    """A gradient in few pixels is many times its mean, beyond float16; of 41 steps a 41st is no whole number
    in float32."""
    x = np.zeros((82, 16, 16, 3), "float32")
    x[:, 0, 0] = np.random.default_rng(0).random((82, 3))
    y = (np.arange(82) % 3).astype("int32")
    inputs = keras.Input(x.shape[1:])
    seen = keras.layers.Cropping2D(((0, 15), (0, 15)))(inputs)
    keep = Keep()
    net = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(seen)))
    options = {"batch_size": 2, "verbose": 0, "callbacks": keep, "epochs": 3}
    keras_adv.defend(net, "pgi(momentum=0, smoothing=0, reset=1)", x, y, **options)
    assert np.isfinite(keep.start).all() and set(keep.round) == {3}


def test_without_numbers_each_step_starts_anew():
    """As where batch normalisation gathers its statistics."""
    game = Game(MLP(units=(12,)).build((4, 4, 1), 3), PGI())
    game.compile_moves(PGI().moves(), 3, 1)
    game.play(X[:16], Y[:16])
    assert MEMORY not in game.players


def test_what_does_not_say_which_image_is_which_is_refused():
    with pytest.raises(InvalidInput, match="`x` must be arrays for pgi"):
        keras_adv.defend(MLP().build((4, 4, 1), 3), "pgi", Batches((X, Y), 16, seed=0), epochs=1)
