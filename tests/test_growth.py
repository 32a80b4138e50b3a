"""Images that are small when a training begins: when, how small, and as the same run when resumed."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import InvalidInput, defend, registry
from keras_adv.backend import Game
from keras_adv.callbacks import Checkpoint
from keras_adv.growth import Grow
from keras_adv.models import LeNet

SHAPE, CLASSES = (12, 9, 1), 3
RNG = np.random.default_rng(0)
X, Y = RNG.random((40, *SHAPE)).astype("float32"), (np.arange(40) % CLASSES).astype("int32")
GROW = "grow(sides=(4, 8), until=(1, 3))"


def net():
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(4, 3, padding="same", use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.1)(x))
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(x))


class Sizes(keras.callbacks.Callback):
    """The size of the images of each epoch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append(self.model.size)


def trained(*callbacks, spec="trades", epochs=4, **options):
    options = {"grow": GROW, "batch_size": 10, "verbose": 0, "validation_data": (X, Y), **options}
    return defend(net(), spec, X, Y, epochs=epochs, callbacks=callbacks, **options)


@pytest.mark.slow
def test_the_size_of_each_epoch():
    assert [Grow(sides=(4, 8), until=(1, 3)).size(epoch, SHAPE) for epoch in range(5)] == [
        (4, 3),
        (8, 6),
        (8, 6),
        None,
        None,
    ]
    seen = Sizes()
    trained(seen)
    assert seen.seen == [(4, 3), (8, 6), (8, 6), None]


def test_a_step_sees_smaller_images():
    """Defense and loss both; an image of one grey keeps it, and so does the mean of any image."""
    game, shapes = Game(net(), registry.parse("defense", "standard")), []
    move = game.defense.moves()[0]
    seen = move._replace(loss=lambda nets, batch: shapes.append(batch["x"]) or move.loss(nets, batch))
    game.compile_moves((seen,), 4, 1)
    for size, want in [((4, 3), (10, 4, 3, 1)), (None, (10, *SHAPE))]:
        game.play_only((seen,), size)
        grey = np.concatenate([np.full((1, *SHAPE), 0.3, "float32"), X[1:10]])
        game.play(ops.convert_to_tensor(grey), ops.convert_to_tensor(Y[:10]))
        assert shapes[-1].shape == want
    small = np.asarray(shapes[0])
    np.testing.assert_allclose(small[0], 0.3, atol=1e-6)
    np.testing.assert_allclose(small.mean((1, 2, 3)), grey.mean((1, 2, 3)), atol=0.05)
    assert small[1:].std() < 0.7 * grey[1:].std()  # antialiased: noise is averaged, not sampled


@pytest.mark.slow
def test_a_resumed_run_grows_on(tmp_path):
    whole, again = trained(), Sizes()
    trained(Checkpoint(tmp_path), epochs=2)
    resumed = trained(Checkpoint(tmp_path), again)
    assert again.seen == [(8, 6), None]
    for ours, theirs in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    with pytest.raises(InvalidInput, match="of another run: grow"):
        trained(Checkpoint(tmp_path), grow="grow(sides=(6,), until=(2,))")


@pytest.mark.parametrize(
    ("grow", "told"),
    [
        ("grow(sides=(4, 8), until=(1,))", "`until` must be one epoch for each of the 2 sides"),
        ("grow(sides=(4, 8), until=(3, 1))", "`until` must be rising epochs"),
        ("grow(sides=(12,), until=(1,))", "`grow` must be sides below the images' 12"),
    ],
)
def test_what_does_not_grow_is_refused(grow, told):
    with pytest.raises(InvalidInput, match=told):
        trained(grow=grow)


def test_statistics_are_gathered_on_whole_images():
    """Also where the training ends before its images are whole; another call of the finished run does so."""
    average = {"average": "ema(decay=0.5, start=0.0)", "grow": "grow(sides=(4,), until=(9,))"}
    served = trained(spec="standard", epochs=2, **average)
    mean = next(v for v in served.non_trainable_variables if "moving_mean" in v.path)
    before = np.asarray(served.layers[1](X))  # zeros around small images weigh more
    np.testing.assert_allclose(mean, before.mean((0, 1, 2)), atol=0.02)


def test_nets_of_one_size_and_defenses_that_keep_images_are_refused():
    with pytest.raises(
        InvalidInput, match=r"`model` must be a model that takes images of any size.*fails on 6x6"
    ):
        x = RNG.random((20, 12, 12, 1)).astype("float32")
        defend(
            LeNet().build((12, 12, 1), 3),
            "standard",
            x,
            Y[:20],
            epochs=1,
            grow="grow(sides=(6,), until=(1,))",
        )
    with pytest.raises(InvalidInput, match="`grow` must be None with pgi"):
        trained(spec="pgi")
    with pytest.raises(InvalidInput, match="`grow` must be None with a defense whose critic is of one size"):
        trained(spec="critic(width=8)")
