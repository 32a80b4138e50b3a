"""Signs of gradient masking."""

import keras

from keras_adv import audit


def test_audit_is_quiet_on_a_plain_net_and_speaks_on_a_masked_one(net, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    assert audit(net, x, y) == []
    masked = keras.Model(net.inputs, keras.layers.Lambda(keras.ops.stop_gradient)(net.output))
    findings = audit(masked, x, y)
    assert any("exactly 0" in text for text in findings)
    assert any("without a bound" in text for text in findings)


def test_audit_sees_a_cross_entropy_that_has_run_out_of_float32(net, scaled, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    with scaled(net, 1e3):
        assert any("PGD on the margin breaks" in text for text in audit(net, x, y))
