"""Models that are no classifiers, and arguments out of range, are refused before anything happens."""

import keras
import numpy as np
import pytest

import keras_adv
from tests.bad_input.tools import USES, K, classifier, complaint


def two_outputs(flat):
    return [K.Dense(10)(flat), K.Dense(10)(flat)]


def two_inputs():
    left, right = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    return keras.Model([left, right], K.Dense(10)(K.Flatten()(left)))


def nan_weights():
    model = classifier()
    model.layers[-1].bias.assign(np.full(10, np.nan))
    return model


MODELS = {
    "sigmoids": (lambda: classifier(K.Dense(10, "sigmoid")), ("logits", "sigmoid")),
    "half-precision probabilities": (
        lambda: classifier(lambda flat: K.Softmax(dtype="float16")(K.Dense(10)(flat))),
        ("logits", "probabilities"),
    ),
    "probabilities": (lambda: classifier(K.Dense(10, "softmax")), ("logits", "probabilities", "softmax")),
    "NaN": (nan_weights, ("finite logits", "NaN or inf for 12 of 12")),
    "two outputs": (lambda: classifier(two_outputs), ("one output (batch, classes)",)),
    "named outputs": (
        lambda: classifier(lambda flat: dict(zip("ab", two_outputs(flat), strict=True))),
        ("one output (batch, classes)",),
    ),
    "rank 3": (
        lambda: classifier(lambda flat: K.Reshape((2, 5))(K.Dense(10)(flat))),
        ("one output", "(None, 2, 5)"),
    ),
    "one logit": (lambda: classifier(K.Dense(1)), ("one output", "(None, 1)")),
    "two inputs": (two_inputs, ("one input (batch, H, W, C)",)),
    "flat input": (lambda: keras.Sequential([keras.Input((64,)), K.Dense(10)]), ("one input", "(None, 64)")),
    "any size": (
        lambda: keras.Sequential([keras.Input((None, None, 1)), K.GlobalAveragePooling2D(), K.Dense(10)]),
        ("one input", "(None, None, None, 1)"),
    ),
    "a layer": (lambda: K.Dense(10), ("a keras.Model", "'Dense'")),
    "a path": (lambda: "model.keras", ("a keras.Model", "'str'")),
    "nothing": (lambda: None, ("a keras.Model", "'NoneType'")),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", MODELS)
def test_models_that_are_no_classifiers_with_logits_are_refused(use, kind, images):
    make, words = MODELS[kind]
    text = complaint(USES[use], make(), *images)
    assert text.startswith("`model` must ") and "Received: " in text
    assert all(word in text for word in words)


def test_labels_beyond_the_models_classes_are_refused(images):
    text = complaint(USES["attack"], classifier(K.Dense(4)), *images)
    assert "0..3" in text and "[0, 9]" in text


def test_one_image_with_nan_logits_among_good_ones_is_counted(images):
    spoiled = classifier(
        lambda flat: K.Dense(10)(flat / (flat[:, :1] > 0))
    )  # 0 / 0 where the first pixel is 0
    x, y = images[0].copy(), images[1]
    x[5] = 0.0
    assert "NaN or inf for 1 of 12" in complaint(USES["attack"], spoiled, x, y)


@pytest.mark.parametrize(
    "arguments",
    [
        {"epochs": 0},
        {"epochs": float("nan")},
        {"batch_size": 0},
        {"defense": "standrad()"},
        {"defense": "pgd()"},
        {"epochs": "3"},
        {"epochs": 2.5},
        {"batch_size": 1.5},
        {"seed": -1},
        {"augment": "crop_flop"},
        {"validation": 255},
    ],
    ids=str,
)
def test_bad_arguments_of_defend_are_refused(arguments, images):
    x, y = images
    given = {"defense": "standard()", "epochs": 1, "verbose": 0, **arguments}
    if "validation" in given:
        given["validation_data"] = (x * given.pop("validation"), y)
    text = complaint(keras_adv.defend, classifier(), x=x, y=y, **given)
    assert next(iter(arguments)) in text


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"attack": "pgdd"}, "'pgd'"),
        ({"attack": "linf(eps=0.1)"}, "`attack`"),
        ({"attack": "pgd(threat=linf)"}, "eps"),
        ({"attack": None}, "`attack`"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"seed": 2**32}, "seed"),
        ({"seed": -1}, "seed"),
    ],
    ids=str,
)
def test_bad_arguments_of_attack_are_refused(arguments, word, plain, images):
    given = {"attack": "pgd(steps=1)", **arguments}
    assert word in complaint(keras_adv.attack, plain, *images, **given)


def test_every_attack_is_parsed_before_the_first_one_runs(plain, images, monkeypatch):
    monkeypatch.setattr(
        "keras_adv.evaluation.report.attack_examples", lambda *a, **k: pytest.fail("an attack ran")
    )
    assert "Did you mean" in complaint(keras_adv.evaluate, plain, *images, ["fgsm()", "deepfol()"])
