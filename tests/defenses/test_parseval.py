import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import noise
from keras_adv.backend import Game
from keras_adv.defenses.parseval import Parseval
from keras_adv.optimizers import SGD


def matrices(model):
    """Every kernel as outputs x inputs."""
    return [w.reshape(-1, w.shape[-1]).T for w in model.get_weights() if w.ndim > 1]


def after_step(defense, model, step=1):
    defense.after_step({"net": model}, noise.fold(ops.cast(0, "uint32"), step))


@pytest.mark.parametrize("beta", [1e-4, 0.05])
def test_with_all_rows_it_is_the_formula(beta, fresh):
    before = matrices(fresh)
    after_step(Parseval(beta=beta, share=1.0), fresh)
    for w, new in zip(before, matrices(fresh), strict=True):
        w = w.astype("float64")
        np.testing.assert_allclose(new, (1 + beta) * w - beta * w @ w.T @ w, atol=2e-6)


def test_only_the_drawn_rows_move_and_by_their_own_formula(fresh):
    before, biases = matrices(fresh), [w for w in fresh.get_weights() if w.ndim == 1]
    after_step(Parseval(beta=0.05, share=0.3), fresh)
    for w, new in zip(before, matrices(fresh), strict=True):
        drawn = np.abs(new - w).max(1) > 0
        assert drawn.sum() == max(1, round(0.3 * len(w)))
        part = w[drawn].astype("float64")
        np.testing.assert_allclose(new[drawn], 1.05 * part - 0.05 * part @ part.T @ part, atol=2e-6)
    for old, new in zip(biases, [w for w in fresh.get_weights() if w.ndim == 1], strict=True):
        np.testing.assert_array_equal(old, new)


def test_rows_are_drawn_anew_each_step_and_every_row_in_time():
    layers = [keras.layers.Conv2D(10, 3), keras.layers.Flatten(), keras.layers.Dense(20)]
    model, moved = keras.Sequential([keras.Input((4, 4, 2)), *layers]), []
    for step in range(30):
        before = matrices(model)
        after_step(Parseval(beta=0.05), model, step)
        moved.append([np.abs(b - a).max(1) > 0 for a, b in zip(before, matrices(model), strict=True)])
    for rows in zip(*moved, strict=True):
        rows = np.array(rows)
        assert rows.any(0).all() and len({tuple(r) for r in rows}) > 20
        assert rows.mean() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("options", [{}, {"lipschitz": True}])
def test_singular_values_move_to_1_or_a_convolutions_to_1_over_its_side(options):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(5, 3), keras.layers.Flatten(), keras.layers.Dense(4)]
    model = keras.Sequential([keras.Input((4, 4, 2)), *layers])

    def worst():
        goals = (1 / 3, 1.0) if options else (1.0, 1.0)
        found = [np.linalg.svd(w, compute_uv=False) / g for w, g in zip(matrices(model), goals, strict=True)]
        return [np.abs(s - 1).max() for s in found]

    before = worst()
    for step in range(5):
        after_step(Parseval(beta=0.1, share=1.0, **options), model, step)
        after = worst()
        assert all(b < a for a, b in zip(before, after, strict=True))
        before = after
    for step in range(25):
        after_step(Parseval(beta=0.3, share=1.0, **options), model, step)
    assert max(worst()) < 0.05


def test_a_training_step_ends_with_it(smooth):
    """One step of the whole game is the plain step, then the formula."""
    rng = np.random.default_rng(0)
    x, y = rng.random((20, 4, 4, 1)).astype("float32"), rng.integers(0, 3, 20).astype("int32")
    old = smooth.get_weights()
    after = []
    for defense in (
        Parseval(beta=1e-12, share=1.0, optimizer=SGD()),
        Parseval(beta=0.1, share=1.0, optimizer=SGD()),
    ):
        smooth.set_weights(old)
        game = Game(smooth, defense)
        game.compile_moves(defense.moves(), 1, 1)
        game.play(ops.convert_to_tensor(x), ops.convert_to_tensor(y))
        after.append(matrices(smooth))
    smooth.set_weights(old)
    for plain, tight in zip(*after, strict=True):
        np.testing.assert_allclose(tight, 1.1 * plain - 0.1 * plain @ plain.T @ plain, atol=1e-5)


def test_a_tall_and_a_wide_kernel_give_the_same_product():
    from keras_adv.defenses.parseval import _cubed

    w = np.random.default_rng(0).normal(size=(7, 3)).astype("float32")
    tall, wide = (np.asarray(_cubed(ops.convert_to_tensor(v))) for v in (w, w.T.copy()))
    np.testing.assert_allclose(tall, w @ w.T @ w, rtol=1e-4)
    np.testing.assert_allclose(wide, tall.T, rtol=1e-4)


def test_without_rows_to_spare_one_is_drawn():
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    before = matrices(model)[0]
    after_step(Parseval(beta=0.1, share=0.01), model)
    assert (np.abs(matrices(model)[0] - before).max(1) > 0).sum() == 1
