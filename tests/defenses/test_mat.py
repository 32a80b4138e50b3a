import keras
import numpy as np
import pytest
from keras import ops
from mat_scene import SMALL, terms_of, trained_net

from keras_adv import InvalidInput, fit, registry
from keras_adv.attacks.objectives import KL
from keras_adv.backend import Game, Net, value_and_grad
from keras_adv.defenses import mat
from keras_adv.defenses.mat import (
    ASCENT,
    MAT,
    cosine_distance,
    cosines,
    second_order,
)
from keras_adv.layers import centres_of
from keras_adv.losses import pick
from keras_adv.models import MLP, LeNet
from keras_adv.numerics.simplex import simplex


@pytest.fixture(scope="module")
def trained():
    return trained_net()


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    phi = rng.normal(size=(20, 7)).astype("float32")
    return phi, simplex(4, 7, 10.0).astype("float32"), rng.integers(0, 4, 20)


def test_second_order_term_is_the_squared_gradient_of_the_first(points):
    phi, mu, y = points

    def to_centre(v):
        return 1.0 - pick(cosines(v, ops.convert_to_tensor(mu)), y), None

    value, _, g = value_and_grad(to_centre, ops.convert_to_tensor(phi))
    np.testing.assert_allclose(
        second_order(phi, 1.0 - np.asarray(value)), (np.asarray(g) ** 2).sum(1), rtol=1e-3
    )


def test_angles_do_not_see_lengths_but_second_order_shrinks_with_their_square(points):
    phi, mu, y = points
    cos = cosines(phi, mu)
    np.testing.assert_allclose(cosines(7 * phi, mu), cos, atol=1e-6)
    np.testing.assert_allclose(cosines(phi, 0.1 * mu), cos, atol=1e-6)
    own = np.asarray(cos)[np.arange(20), y]
    np.testing.assert_allclose(second_order(7 * phi, own), np.asarray(second_order(phi, own)) / 49, rtol=1e-5)
    want = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(phi, mu[y], strict=True)]
    np.testing.assert_allclose(own, want, atol=1e-6)
    np.testing.assert_allclose(cosine_distance(phi, 3 * mu[y]), 1 - np.array(want), atol=1e-6)


def test_features_of_length_0_give_finite_values_and_gradients(points):
    _, mu, _ = points
    zero = ops.zeros((2, 7))

    def all_terms(v):
        cos = cosines(v, ops.convert_to_tensor(mu))[:, 0]
        return cos + second_order(v, cos) + cosine_distance(v, v), None

    value, _, g = value_and_grad(all_terms, zero)
    assert np.isfinite(np.asarray(value)).all() and np.isfinite(np.asarray(g)).all()


def test_the_largest_logit_is_the_largest_cosine(trained, digits):
    x = ops.convert_to_tensor(digits.test[0])
    phi, z = Net(trained).features_and_logits(x)
    cos = cosines(phi, centres_of(trained))
    np.testing.assert_array_equal(np.argmax(z, axis=1), np.argmax(cos, axis=1))
    np.testing.assert_allclose(z, cos * mat.safe_norm(phi)[:, None], rtol=1e-3, atol=1e-4)
    assert (np.argmax(z, axis=1) == digits.test[1]).mean() > 0.9


def test_terms_do_not_depend_on_the_length_of_the_centres(digits):
    x, y = (part[:24] for part in digits.train)
    found = []
    for scale in (1.0, 10.0):
        net = LeNet().build(digits.shape, digits.classes)
        found.append(terms_of(MAT(attack=SMALL, scale=scale), net, x, y)[0])
    for name, values in found[0].items():
        np.testing.assert_allclose(found[1][name], values, rtol=1e-4, atol=1e-6)


def test_terms_by_hand(trained, digits):
    x, y = (part[:24] for part in digits.train)
    defense = MAT(attack=SMALL, alpha=0.7, beta=2.5)
    terms, batch = terms_of(defense, trained, x, y)
    assert tuple(terms) == ("ftc", "so", "bibo", "feature_norm", "accuracy")
    phi, other = (
        np.asarray(Net(trained).features_and_logits(v)[0], "float64")
        for v in (batch["x"], batch["adversarial"])
    )
    mu = simplex(10, 64)
    length = np.linalg.norm(phi, axis=1)
    cos = (phi * mu[y]).sum(1) / length
    apart = (phi * other).sum(1) / length / np.linalg.norm(other, axis=1)
    want = {
        "ftc": 1 - cos,
        "so": 0.7 * (1 - cos**2) / length**2,
        "bibo": 2.5 * (1 - apart),
        "feature_norm": length,
    }
    for name, values in want.items():
        np.testing.assert_allclose(terms[name], values, rtol=1e-3, atol=2e-6)


def test_the_inner_attack_stays_in_the_ball_raises_the_distance_and_needs_no_label(trained, digits):
    x, y = (part[:24] for part in digits.train)
    defense = MAT(attack=ASCENT.replace(steps=8))
    terms, batch = terms_of(defense, trained, x, y)
    delta = np.asarray(batch["adversarial"]) - x
    assert 0.09 < np.abs(delta).max() <= 0.1 + 1e-6
    near = ops.clip(x + 0.1 * np.sign(np.random.default_rng(0).normal(size=x.shape)).astype("float32"), 0, 1)
    random, _ = terms_of(defense, trained, x, y, adversarial=near)
    assert terms["bibo"].mean() > 1.5 * random["bibo"].mean()
    _, other = terms_of(defense, trained, x, (y + 1) % 10)
    np.testing.assert_array_equal(other["adversarial"], batch["adversarial"])


def test_both_arguments_of_bibo_learn(trained, digits):
    """d CD(phi(x), phi(x')) / d weights is the sum of what flows through each argument, neither of them 0."""
    x, y = (part[:24] for part in digits.train)
    _, batch = terms_of(MAT(attack=SMALL), trained, x, y)
    net = Net(trained)

    def slope(left, right):
        def value(values):
            a, b = (
                net.with_values(values).features_and_logits(batch[name])[0] for name in ("x", "adversarial")
            )
            return cosine_distance(
                a if left else ops.stop_gradient(a), b if right else ops.stop_gradient(b)
            ), None

        return np.asarray(value_and_grad(value, net.values)[2][0])

    def trained_slope(values):
        nets = {"net": net.with_values(values)}
        return MAT(attack=SMALL)._loss(nets, batch)["bibo"], None

    ours = np.asarray(value_and_grad(trained_slope, net.values)[2][0])
    one, other = slope(True, False), slope(False, True)
    np.testing.assert_allclose(ours, one + other, atol=1e-3 * np.abs(ours).max())
    assert min(np.abs(one).max(), np.abs(other).max()) > 0.1 * np.abs(ours).max()


@pytest.mark.parametrize(
    ("alpha", "beta", "names"),
    [
        (0.0, 0.0, ("ftc",)),
        (1.0, 0.0, ("ftc", "so")),
        (0.0, 1.0, ("ftc", "bibo")),
        (1.0, 1.0, ("ftc", "so", "bibo")),
    ],
)
def test_ablations_drop_terms_and_the_attack(alpha, beta, names, fresh, digits):
    defense = MAT(alpha=alpha, beta=beta, attack=SMALL)
    game = Game(fresh, defense)
    terms, batch = terms_of(defense, game.predictor, digits.train[0][:8], digits.train[1][:8])
    (move,) = defense.moves()
    assert move.terms == names and tuple(terms) == (*names, "feature_norm", "accuracy")
    assert ("adversarial" in batch) == bool(beta)
    assert ("net.input" in defense.passes(10)) == bool(beta)
    game.compile_moves((move,), 10, 1)
    logs = game.play(*(ops.convert_to_tensor(part[:8]) for part in digits.train))
    assert set(logs) == {"loss", "accuracy", *names, "feature_norm"}


def test_the_predictor_saves_and_loads_without_state_of_training(trained, digits, tmp_path):
    trained.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", compile=False)
    x = digits.test[0][:20]
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), trained.predict(x, verbose=0))
    assert not [v for v in loaded.variables if "adam" in v.path]
    assert MAT().predictor(loaded) is loaded
    assert not loaded.layers[-1].trainable_variables
    np.testing.assert_allclose(centres_of(loaded), simplex(10, 64), atol=1e-6)


def test_training_finds_the_centres(trained, digits):
    """After 6 epochs features lie near their centres (the paper's nets, table 5: cosine 0.85 to 0.99)."""
    phi, _ = Net(trained).features_and_logits(ops.convert_to_tensor(digits.train[0]))
    own = pick(cosines(phi, centres_of(trained)), ops.convert_to_tensor(digits.train[1]))
    assert float(np.mean(own)) > 0.75


@pytest.mark.slow
def test_second_order_term_grows_the_features(digits):
    """The masking of gradients that the docstring warns of."""
    lengths = {}
    for alpha in (0.0, 10.0):
        net = MLP(units=(24,)).build(digits.shape, digits.classes)
        served = fit.defend(
            net, MAT(alpha=alpha, beta=0.0), *digits.train, epochs=3, batch_size=60, verbose=0
        )
        phi, _ = Net(served).features_and_logits(ops.convert_to_tensor(digits.train[0][:200]))
        lengths[alpha] = float(np.mean(mat.safe_norm(phi)))
    assert lengths[10.0] > 1.5 * lengths[0.0]


def test_what_cannot_work_is_refused(fresh):
    for name, value in (("jitter", 0.0), ("restarts", 2), ("loss", KL())):
        with pytest.raises(InvalidInput, match=f"`attack.{name}`"):
            MAT(attack=ASCENT.replace(**{name: value}))
    with pytest.raises(InvalidInput, match="`dim` must be the width"):
        MAT(dim=None).predictor(fresh)
    with pytest.raises(InvalidInput, match="`dim`"):
        MAT(dim=1).predictor(fresh)


@pytest.mark.parametrize("defense", ["mat_mnist", "mat_cifar"])
def test_presets_print_and_parse(defense):
    defense = registry.parse("defense", defense)
    assert registry.parse("defense", registry.spec(defense)) == defense
    assert defense.attack.step_length * defense.attack.threat.eps in (
        pytest.approx(0.01),
        pytest.approx(0.007),
    )
