import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import InvalidInput, defend, registry
from keras_adv.attacks import PGD
from keras_adv.backend import Game, Net
from keras_adv.defenses import MAT, NuAT, Trades
from keras_adv.ramps import Ramp, last, now

X = np.random.default_rng(0).random((40, 4, 4, 1)).astype("float32")
Y = np.arange(40) % 3


def net():
    return keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])


def test_it_is_a_straight_line_between_two_constants():
    ramp = Ramp(1.0, 5.0, epochs=4, after=2)
    epochs = [0.0, 2.0, 3.0, 4.5, 6.0, 100.0]
    np.testing.assert_allclose([ramp.at(e) for e in epochs], [1.0, 1.0, 2.0, 3.5, 5.0, 5.0], rtol=1e-6)


def test_a_spec_may_leave_out_the_names_of_its_ends():
    short = registry.parse("defense", "mat(beta=ramp(0, 6, epochs=8))")
    assert short == MAT(beta=Ramp(start=0, end=6, epochs=8)) == MAT(beta="ramp(start=0, end=6, epochs=8)")
    assert registry.parse("defense", repr(short)) == short
    assert registry.parse("ramp", "ramp(end=3)") == Ramp(end=3)


@pytest.mark.parametrize(
    "text", ["ramp(0, 6, 8)", "ramp(0, start=1)", "ramp(*(0, 6))", "ramp(0, 6, lenght=8)"]
)
def test_what_it_does_not_take_is_refused(text):
    with pytest.raises(InvalidInput):
        registry.parse("ramp", text)


def test_only_a_ramp_goes_without_names():
    with pytest.raises(InvalidInput, match="name\\(option=value\\)"):
        registry.parse("defense", "trades(6)")


@pytest.mark.parametrize("ends", [(-1, 6), (0, -6)])
def test_both_ends_keep_the_limits_of_the_weight(ends):
    with pytest.raises(InvalidInput, match="`weight` must be"):
        Trades(weight=Ramp(*ends))


def test_an_attack_that_knows_the_defense_takes_the_last_value():
    ramp = Ramp(0, 6, epochs=8)
    assert (last(ramp), last(2.0)) == (6, 2.0)
    assert [o.weight for o in Trades(weight=ramp).objectives() if hasattr(o, "weight")] == [6]
    assert MAT(alpha=2.0, beta=ramp).objectives()[0] == MAT(alpha=2.0, beta=6).objectives()[0]


def test_the_net_knows_its_epoch_in_a_training_and_none_outside():
    model = net()
    assert now(Ramp(2.0, 3.0), Net(model)) == 2.0 and now(0.5, Net(model)) == 0.5
    seen = []
    game = Game(model, Trades(weight=Ramp(0, 1)))
    game.compile_moves(game.defense.moves(), 4, 3)
    for _ in range(3):
        nets = game._step(ops.convert_to_tensor(X[:8]), ops.convert_to_tensor(Y[:8]), lambda *a: {})[1]
        seen.append((int(nets["net"].step), float(nets["net"].frozen.epoch)))
    assert seen == [(1, 0.0), (2, 0.25), (3, 0.5)]


def test_training_sees_the_ramp_step_by_step():
    """A weight that stands at 0 for the first epoch trains as 0 does, and then no longer."""
    logs = {}
    for name, weight in (("zero", 0.0), ("late", Ramp(0.0, 50.0, epochs=1, after=1)), ("all", 50.0)):
        keras.utils.set_random_seed(0)
        defense = Trades(weight=weight, attack=PGD("linf(eps=0.1)", steps=2, jitter=0.001, loss="kl"))
        logs[name] = defend(net(), defense, X, Y, epochs=3, batch_size=8, verbose=0).history.history
    assert logs["late"]["cross_entropy"][0] == logs["zero"]["cross_entropy"][0]
    assert logs["zero"]["kl"] == [0.0] * 3 and logs["late"]["kl"][0] == 0.0
    assert 0 < logs["late"]["kl"][1] < logs["all"]["kl"][0]


def test_a_defense_may_ramp_by_default():
    assert isinstance(NuAT().weight, Ramp)
