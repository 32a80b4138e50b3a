"""Classifiers as their owners run them, and the same ones as attacks see them."""

import threading

import keras
import numpy as np
import pytest
from keras import ops

import keras_adv
from keras_adv import InvalidInput, as_classifier

L = keras.layers
SHAPE, CLASSES = (8, 8, 1), 3
X = np.random.default_rng(0).random((6, *SHAPE)).astype("float32")


def layers(*end, start=(), units=CLASSES):
    keras.utils.set_random_seed(1)
    hidden = [L.Flatten(), L.Dense(7, "tanh")]
    return keras.Sequential([keras.Input(SHAPE), *start, *hidden, *(end or [L.Dense(units)])])


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


class Subclassed(keras.Model):
    """Ends in a softmax: in that of a layer, or one computed on the spot."""

    def __init__(self, by_layer):
        super().__init__()
        keras.utils.set_random_seed(1)
        self.flat, self.end = L.Flatten(), L.Dense(CLASSES, "softmax" if by_layer else None)
        self.by_layer = by_layer

    def call(self, images):
        z = self.end(self.flat(images))
        return z if self.by_layer else ops.softmax(z)


def several(names):
    inputs = keras.Input(SHAPE)
    flat = L.Flatten()(inputs)
    made = [L.Dense(4)(flat), L.Dense(CLASSES, "softmax")(flat)]
    return keras.Model(inputs, dict(zip(names, made, strict=True)) if names else made)


def of_any_size():
    inputs = keras.Input((None, None, 1))
    pooled = L.GlobalAveragePooling2D()(L.Conv2D(5, 3, activation="relu")(inputs))
    return keras.Model(inputs, L.Dense(CLASSES, "softmax")(pooled))


def half():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        return layers(L.Dense(CLASSES), L.Activation("softmax"))
    finally:
        keras.config.set_dtype_policy("float32")


def planes_first():
    return keras.Sequential([keras.Input((1, 8, 8)), L.Flatten(), L.Dense(CLASSES, "softmax")])


PROBABILITIES = {
    "softmax in the last Dense": (lambda: layers(L.Dense(CLASSES, "softmax")), {}, lambda x: x),
    "softmax as an activation": (lambda: layers(L.Dense(CLASSES), L.Activation("softmax")), {}, lambda x: x),
    "softmax as a layer": (lambda: layers(L.Dense(CLASSES), L.Softmax()), {}, lambda x: x),
    "a model inside": (
        lambda: keras.Sequential([keras.Input(SHAPE), layers(L.Dense(CLASSES, "softmax"))]),
        {},
        lambda x: x,
    ),
    "half precision": (half, {}, lambda x: x),
    "0..255": (
        lambda: layers(L.Dense(CLASSES, "softmax"), start=[L.Rescaling(1 / 255)]),
        {"bounds": (0, 255)},
        lambda x: 255 * x,
    ),
    "-1..1": (lambda: layers(L.Dense(CLASSES, "softmax")), {"bounds": (-1, 1)}, lambda x: 2 * x - 1),
    "preprocessing": (
        lambda: layers(L.Dense(CLASSES, "softmax")),
        {"bounds": (0, 255), "preprocess": lambda x: (x - 30.0) / 64.0},
        lambda x: (255 * x - 30.0) / 64.0,
    ),
    "outputs by name": (lambda: several(["age", "kind"]), {"output": "kind"}, lambda x: x),
    "outputs by number": (lambda: several(None), {"output": 1}, lambda x: x),
    "subclassed": (lambda: Subclassed(True), {"shape": SHAPE}, lambda x: x),
    "subclassed, no layer": (lambda: Subclassed(False), {"shape": SHAPE, "probabilities": True}, lambda x: x),
    "any size": (of_any_size, {"shape": SHAPE}, lambda x: x),
    "channels first": (planes_first, {"channels_first": True}, lambda x: x.transpose(0, 3, 1, 2)),
}


@pytest.mark.parametrize("case", PROBABILITIES)
def test_its_softmax_is_what_the_owner_sees(case):
    make, options, owners = PROBABILITIES[case]
    model = make()
    ours = as_classifier(model, **options)
    assert ours.input_shape == (None, *SHAPE) and ours.output_shape == (None, CLASSES)
    seen = model(owners(X))
    seen = seen[options["output"]] if "output" in options else seen
    seen = np.asarray(ops.cast(seen, "float32"))
    close = 1e-2 if case == "half precision" else 1e-5
    np.testing.assert_allclose(softmax(np.asarray(ours(X))), seen, atol=close)
    assert not np.allclose(ours(X), seen, atol=close)


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_one_output_is_two_classes(activation):
    model = layers(L.Dense(1, activation))
    z = np.asarray(as_classifier(model)(X))
    seen = np.asarray(model(X))[:, 0]
    assert z.shape == (len(X), 2)
    one = z[:, 1] - z[:, 0]
    np.testing.assert_allclose(1 / (1 + np.exp(-one)) if activation else one, seen, atol=1e-6)
    keras_adv.attack(as_classifier(model), X[:1], [1], "fgsm(threat=linf(eps=0.1))")


def test_sigmoids_of_several_classes_keep_their_order():
    model = layers(L.Dense(CLASSES, "sigmoid"))
    z = np.asarray(as_classifier(model)(X))
    np.testing.assert_allclose(1 / (1 + np.exp(-z)), model(X), atol=1e-6)


def test_a_saturated_softmax_hides_no_gradient():
    """Its own cross-entropy is exactly 0 and so is the gradient; the adapter's margin falls in few steps."""
    model = layers(L.Dense(CLASSES, "softmax"))
    end = model.layers[-1]
    end.kernel.assign(200.0 * end.kernel)
    y = np.asarray(model(X)).argmax(1)
    plain = keras_adv.attack(as_classifier(model), X, y, "pgd(threat=linf(eps=0.4), loss=dlr(), steps=30)")
    assert plain.success.mean() > 0.5
    assert end.activation is keras.activations.softmax  # the owner's model is as it was


def test_a_model_of_keras_applications_as_it_comes():
    shape = (32, 32, 3)
    prepare = keras.applications.vgg16.preprocess_input
    model = keras.applications.MobileNet(shape, alpha=0.25, weights=None, classes=4)
    ours = as_classifier(model, bounds=(0, 255), preprocess=prepare)
    x = np.random.default_rng(1).random((2, *shape)).astype("float32")
    want = model(prepare(255 * x.copy()), training=False)
    np.testing.assert_allclose(softmax(np.asarray(ours(x, training=False))), want, atol=1e-4)


def measured(digits):
    x, y = (part[:300] for part in digits.train)
    keras.utils.set_random_seed(0)
    stack = [keras.Input(SHAPE), L.Rescaling(1 / 255), L.Flatten(), L.Dense(32, "relu")]
    model = keras.Sequential([*stack, L.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(255 * x, y, epochs=30, verbose=0)
    ours = as_classifier(model, bounds=(0, 255))
    found = keras_adv.evaluate(ours, x, y, "pgd(threat=linf(eps=0.1))")
    seen = model.evaluate(255 * x, y, verbose=0)[1]
    assert found["clean_accuracy"] == pytest.approx(seen, abs=1e-6) and seen > 0.9
    return x, y, model, ours, found


def test_it_is_measured_as_its_owner_measures_it(digits):
    assert measured(digits)[-1]["attacks"][0]["robust_accuracy"] < 0.7


@pytest.mark.slow
def test_it_is_trained_and_saved_like_any_model(digits, tmp_path):
    x, y, model, ours, found = measured(digits)
    keras_adv.defend(ours, "adversarial(attack=fgsm(threat=linf(eps=0.1)))", x, y, epochs=20, verbose=0)
    after = keras_adv.evaluate(ours, x, y, "pgd(threat=linf(eps=0.1))")
    assert after["attacks"][0]["robust_accuracy"] > found["attacks"][0]["robust_accuracy"] + 0.05
    assert model.evaluate(255 * x, y, verbose=0)[1] == pytest.approx(after["clean_accuracy"], abs=1e-6)
    ours.save(tmp_path / "ours.keras")
    np.testing.assert_allclose(
        keras.models.load_model(tmp_path / "ours.keras")(x[:5]), ours(x[:5]), atol=1e-5
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: layers(start=[L.Rescaling(1 / 255)]), "multiplies them by 0.00392; keras_adv.as_classifier"),
        (lambda: layers(L.Dense(1)), r"makes logits of a single output"),
        (of_any_size, r"as_classifier\(model, shape="),
        (lambda: several(["age", "kind"]), "or of one of several"),
        (lambda: layers(L.Dense(CLASSES, "softmax")), r"as_classifier\(model\) is the model without"),
    ],
)
def test_what_needs_the_adapter_is_told_so(make, words):
    with pytest.raises(InvalidInput, match=words):
        keras_adv.evaluate(make(), X, np.zeros(len(X), int), "fgsm(threat=linf(eps=0.1))")


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (lambda: "net", {}, "`model` must be a keras.Model"),
        (layers, {"bounds": (1, 0)}, "`bounds` must be the least value, then the largest"),
        (layers, {"bounds": 255}, "`bounds` must be two numbers"),
        (layers, {"bounds": (0, np.inf)}, "`bounds` must be"),
        (layers, {"shape": 8}, "`shape` must be"),
        (layers, {"output": "kind"}, "`output` must be none for a model of one output"),
        (lambda: several(["age", "kind"]), {}, r"`output` must be one of \['age', 'kind'\]"),
        (lambda: several(None), {"output": 2}, "`output` must be one of"),
        (of_any_size, {}, r"`shape` must be \(H, W, C\) of the images"),
        (lambda: Subclassed(True), {}, r"`shape` must be \(H, W, C\) of the images"),
    ],
)
def test_what_the_adapter_cannot_take_is_refused(make, options, words):
    with pytest.raises(InvalidInput, match=words):
        as_classifier(make(), **options)


def functional(end):
    keras.utils.set_random_seed(1)
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, end(L.Dense(7, "tanh")(L.Flatten()(inputs))))


def gated(h):
    squash = L.Softmax()  # one instance, for the gate and for the end
    return squash(L.Dense(CLASSES)(h * squash(L.Dense(7)(h))))


ENDS = {
    "one softmax in two places": gated,
    "cast after it": lambda h: L.Activation("linear", dtype="float32")(L.Dense(CLASSES, "softmax")(h)),
    "a shape after it": lambda h: L.Reshape((CLASSES,))(L.Identity()(L.Softmax()(L.Dense(CLASSES)(h)))),
}


@pytest.mark.parametrize("kind", ENDS)
def test_only_the_last_softmax_is_left_out(kind):
    model = functional(ENDS[kind])
    logits = np.asarray(as_classifier(model)(X))
    np.testing.assert_allclose(softmax(logits), model(X), atol=1e-5)
    assert not np.allclose(logits, model(X), atol=1e-2)


class Smoothed(L.Dense):
    """Returns more than the softmax of its activation."""

    def call(self, inputs, training=None):
        return 0.8 * super().call(inputs) + 0.2 / CLASSES


def test_a_layer_that_returns_more_than_its_softmax_is_left_alone():
    model = functional(Smoothed(CLASSES, "softmax"))
    model.layers[-1].kernel.assign(4.0 * model.layers[-1].kernel)
    with pytest.raises(InvalidInput, match="probabilities=True"):
        keras_adv.evaluate(as_classifier(model), X, np.zeros(len(X), int), "fgsm(threat=linf(eps=0.1))")


def test_the_owners_model_is_as_it_was_for_all_threads():
    model = layers(L.Dense(CLASSES, "softmax"))
    ours, want, end = as_classifier(model), np.asarray(model(X)), model.layers[-1]
    stop, seen = threading.Event(), []

    def owner():
        while not stop.is_set():
            seen.append(np.abs(np.asarray(model(X)) - want).max())

    thread = threading.Thread(target=owner)
    thread.start()
    for _ in range(60):
        ours(X)
    stop.set()
    thread.join()
    assert max(seen) < 1e-5 and end.activation is keras.activations.softmax


def test_a_compiled_model_is_saved_without_its_losses(tmp_path):
    model = layers(L.Dense(CLASSES, "softmax"))
    model.compile("adam", loss=lambda y, z: ops.mean(z))
    ours = as_classifier(model)
    ours.save(tmp_path / "ours.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "ours.keras")(X), ours(X), atol=1e-6)


def test_a_range_is_the_models_first_step_or_none():
    late = functional(lambda h: L.Dense(CLASSES)(L.Rescaling(1 / 255)(h)))
    keras_adv.evaluate(late, X, np.zeros(len(X), int), "fgsm(threat=linf(eps=0.1))")
    inputs = keras.Input(SHAPE)
    undone = keras.Model(inputs, L.Dense(CLASSES)(L.Flatten()(L.Rescaling(1 / 255)(inputs * 255.0))))
    keras_adv.evaluate(undone, X, np.zeros(len(X), int), "fgsm(threat=linf(eps=0.1))")
    turned = layers(start=[L.RandomFlip(), L.Rescaling(1 / 255)])
    for model in (turned, keras.Sequential([keras.Input(SHAPE), turned])):
        with pytest.raises(InvalidInput, match=r"multiplies them by 0\.00392"):
            keras_adv.evaluate(model, X, np.zeros(len(X), int), "fgsm(threat=linf(eps=0.1))")
        with pytest.raises(InvalidInput, match=r"`bounds` must be \(0, 255\)"):
            as_classifier(model)
