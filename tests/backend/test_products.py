"""Whether float32 products are rounded to TF32, as far as a machine without such a GPU can tell."""

import types

import keras
import pytest

from keras_adv.backend import rounds_products

GPU = types.SimpleNamespace


def has(monkeypatch, capability):
    """A machine with a GPU of this compute capability, or none."""
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        cards = [] if capability is None else ["one"]
        told = {} if capability is None else {"compute_capability": capability}
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: cards)
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda card: told)
    else:
        import jax

        word = "" if capability is None else ".".join(map(str, capability))
        platform = "cpu" if capability is None else "gpu"
        device = GPU(platform=platform, compute_capability=word)
        monkeypatch.setattr(jax, "devices", lambda: [device])


@pytest.mark.parametrize(
    ("capability", "rounds"), [((9, 0), True), ((8, 6), True), ((7, 5), False), (None, False)]
)
def test_gpus_that_have_it_round_unless_they_are_told_not_to(capability, rounds, monkeypatch):
    has(monkeypatch, capability)
    assert rounds_products() == rounds
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(False)
        try:
            assert not rounds_products()
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(True)
    else:
        import jax

        with jax.default_matmul_precision("highest"):
            assert not rounds_products()
