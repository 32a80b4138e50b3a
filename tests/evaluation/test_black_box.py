import keras
import numpy as np
import pytest

from keras_adv import InvalidInput, attack, models, transfer
from keras_adv.evaluation import records
from keras_adv.evaluation.black_box import transfers


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


def test_transfers_are_an_evaluation_of_the_target(net, fresh, digits, tmp_path):
    x, y = digits.test[0][:60], digits.test[1][:60]
    specs = ["fgsm(threat=linf(eps=0.2))", "pgd(threat=linf(eps=0.2), steps=5)"]
    found = transfers(net, fresh, x, y, specs, records=tmp_path / "r.npz")
    right = fresh.predict(x, verbose=0).argmax(1) == y
    assert found["clean_accuracy"] == right.mean()
    for spec, row in zip(specs, found["attacks"], strict=True):
        held = right & ~transfer(net, fresh, x, y, spec).success
        assert row["spec"] == spec and row["robust_accuracy"] == held.mean()
    kept = records.load(tmp_path / "r.npz")
    np.testing.assert_array_equal(kept["1_held"], held)
    assert found["worst"][0]["robust_accuracy"] == (kept["0_held"] & kept["1_held"]).mean()
