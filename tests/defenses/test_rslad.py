import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import InvalidInput, noise, zoo
from keras_adv.backend import Game, Net
from keras_adv.defenses import RSLAD
from keras_adv.models import MLP

SEED = noise.fold(np.uint32(0), 1)


def softmax(z):
    e = np.exp(np.asarray(z, "float64") - np.max(z, axis=1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def divergence(p, q):
    return (p * (np.log(p) - np.log(q))).sum(1)


@pytest.fixture
def student(digits):
    return MLP(units=(16,)).build(digits.shape, digits.classes)


def step(defense, student, digits, count=30):
    game = Game(student, defense)
    nets = {name: Net(player) for name, player in game.players.items()}
    x, y = (ops.convert_to_tensor(part[:count]) for part in digits.train)
    return game, nets, {"x": x, "y": y, **defense.prepare(nets, x, y, SEED)}


def test_both_terms_are_divergences_from_the_teachers_clean_answers(student, net, digits):
    defense = RSLAD(teacher="standard_lenet_digits", weight=0.7)
    _, nets, batch = step(defense, student, digits)
    teacher, ours = softmax(net(batch["x"], training=False)), Net(student)
    found = defense.moves()[0].loss(nets, batch)
    for name, images, share in (("clean_kl", "x", 0.3), ("adversarial_kl", "adversarial", 0.7)):
        want = share * divergence(teacher, softmax(ours.logits(batch[images])))
        np.testing.assert_allclose(found[name], want, rtol=1e-3, atol=1e-5)


def test_the_images_raise_the_divergence_within_the_ball_whatever_the_labels(student, net, digits):
    defense = RSLAD(teacher="standard_lenet_digits")
    _, nets, batch = step(defense, student, digits)
    teacher = softmax(net(batch["x"], training=False))
    before, after = (
        divergence(teacher, softmax(Net(student).logits(batch[name]))) for name in ("x", "adversarial")
    )
    assert (after > before).mean() > 0.95
    assert float(np.abs(batch["adversarial"] - batch["x"]).max()) <= 0.1 + 1e-6
    others = defense.prepare(nets, batch["x"], ops.zeros_like(batch["y"]), SEED)
    np.testing.assert_allclose(others["adversarial"], batch["adversarial"], atol=1e-6)


@pytest.mark.slow
def test_without_a_teacher_it_is_the_net_of_the_start_which_stands_still(student, digits):
    game, _, _ = step(RSLAD(), student, digits)
    start = [np.array(w) for w in student.get_weights()]
    game.compile_moves(game.defense.moves(), 10, 1)
    game.fit(*digits.train, batch_size=100, epochs=1, verbose=0)
    for kept, first in zip(game.players["teacher"].get_weights(), start, strict=True):
        np.testing.assert_array_equal(kept, first)
    assert any((a != b).any() for a, b in zip(student.get_weights(), start, strict=True))
    assert not game.players["teacher"].trainable_variables and game.predictor is student


def test_a_teacher_of_other_images_or_classes_is_refused(student, tmp_path):
    with pytest.raises(InvalidInput, match="`teacher` must be a net of images"):
        RSLAD(teacher="standard_mlp_mnist").networks(student)
    with pytest.raises(InvalidInput, match="Did you mean"):
        RSLAD(teacher="standard_lenet_digit").networks(student)
    with pytest.raises(InvalidInput, match="must return logits"):
        softened = keras.Sequential([student, keras.layers.Softmax()])
        softened.save(tmp_path / "soft.keras")
        RSLAD(teacher=str(tmp_path / "soft.keras")).networks(student)
    file = tmp_path / "own.keras"
    student.save(file)
    teacher = RSLAD(teacher=str(file)).networks(student)["teacher"]
    assert isinstance(teacher, keras.Model) and zoo.list()
