import numpy as np
import pytest
from keras import ops

from keras_adv import InvalidInput, defend, noise
from keras_adv.backend import Game, Net, value_and_grad
from keras_adv.defenses import Distilled
from keras_adv.losses import kl_divergence
from keras_adv.models import MLP
from keras_adv.optimizers import Adam

TEACHER = "standard_lenet_digits"


def softmax(z):
    e = np.exp(np.asarray(z, "float64") - np.max(z, axis=1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.fixture
def student(digits):
    return MLP(units=(16,)).build(digits.shape, digits.classes)


@pytest.mark.parametrize("t", [1.0, 4.0])
def test_it_is_the_divergence_from_the_teachers_answers_whatever_the_labels(t, student, net, digits):
    defense = Distilled(teacher=TEACHER, temperature=t)
    nets = {name: Net(player) for name, player in Game(student, defense).players.items()}
    x, y = (ops.convert_to_tensor(part[:30]) for part in digits.train)
    seed = noise.fold(np.uint32(0), 1)
    p, q = (softmax(np.asarray(one(x, training=False)) / t) for one in (net, student))
    for labels in (y, ops.zeros_like(y)):
        batch = {"x": x, "y": labels, **defense.prepare(nets, x, labels, seed)}
        found = defense.moves()[0].loss(nets, batch)["kl"]
        np.testing.assert_allclose(found, t**2 * (p * np.log(p / q)).sum(1), rtol=1e-3, atol=1e-5)


def test_the_gradient_is_that_of_the_cross_entropy_to_the_teachers_probabilities():
    rng = np.random.default_rng(0)
    taught, z = (ops.convert_to_tensor(rng.normal(size=(9, 5)).astype("float32")) for _ in range(2))
    _, _, g = value_and_grad(lambda v: (kl_divergence(taught, v), ()), z)
    np.testing.assert_allclose(g, softmax(z) - softmax(taught), atol=1e-6)


def test_the_student_comes_to_answer_as_its_teacher_does(student, net, digits):
    x, y = digits.train
    taught, test = softmax(net(x, training=False)), digits.test[0]

    def cross_entropy():
        return -(taught * np.log(softmax(student(x, training=False)))).sum(1).mean()

    before = cross_entropy()
    wrong = (y + 1) % 10  # labels of which it learns nothing
    defense = Distilled(teacher=TEACHER, optimizer=Adam(learning_rate=0.01))
    defend(student, defense, x, wrong, epochs=6, batch_size=50, verbose=0)
    assert cross_entropy() < 0.3 * before
    agreed = np.argmax(student(test), axis=1) == np.argmax(net(test), axis=1)
    assert agreed.mean() > 0.85


def test_a_teacher_of_other_images_is_refused(student):
    with pytest.raises(InvalidInput, match="`teacher` must be a net of images"):
        Distilled(teacher="standard_mlp_mnist").networks(student)
