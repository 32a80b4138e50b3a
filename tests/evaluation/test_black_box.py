import keras
import numpy as np
import pytest

from keras_adv import InvalidInput, attack, models, transfer


def test_to_itself_is_the_attack(net, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    direct, sent = attack(net, x, y, "pgd()"), transfer(net, net, x, y, "pgd()")
    np.testing.assert_array_equal(direct.success, sent.success)
    np.testing.assert_allclose(direct.images, sent.images, atol=1e-5)


def test_is_judged_by_the_target(net, fresh, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    sent = transfer(net, fresh, x, y, "pgd()")
    np.testing.assert_array_equal(sent.clean, fresh.predict(x, verbose=0).argmax(1) == y)
    np.testing.assert_array_equal(sent.success, fresh.predict(sent.images, verbose=0).argmax(1) != y)


def test_other_shapes_are_refused(net, digits):
    other = models.MLP(units=(4,)).build((4, 4, 1), 10)
    with pytest.raises(InvalidInput, match="input_shape"):
        transfer(net, other, *digits.test, "pgd()")
    assert isinstance(other, keras.Model)
