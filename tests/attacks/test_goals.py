"""Laws about an attack's goal: targets, radii, guides, and what is refused."""

import keras
import numpy as np
import pytest
from attack_specs import GUIDED, NAMES, TARGETABLE, quick
from sampled import sampled

from keras_adv import InvalidInput, attack, registry


@pytest.mark.parametrize("name", sampled(TARGETABLE, "pgd", "ddn", "fab", "square"))
def test_a_target_is_what_success_means(name, net, images):
    # guides are chosen by the evaluation; a dozen images are attacked before a graph is compiled
    x, y = images if name in GUIDED else (part[:12] for part in images)
    one = quick(name)
    if one.contract == "bounded":
        one = registry.with_values(one, {"threat.eps": 0.5 if one.threat.name == "linf" else 5.0})
    clean = net.predict(x, verbose=0)
    aim = np.where(np.arange(10) == y[:, None], -np.inf, clean).argmax(1).astype("int32")  # the runners-up
    result = attack(net, x, y, one, targets="runner_up") if name in GUIDED else one(net, x, y, targets=aim)
    success, right = np.asarray(result.success), clean.argmax(1) == y
    reached = net.predict(np.asarray(result.images), verbose=0).argmax(1) == aim
    np.testing.assert_array_equal(success[right], reached[right])
    assert success.mean() > 0.3


@pytest.mark.parametrize("name", [n for n in NAMES if n not in TARGETABLE])
def test_an_attack_without_targets_says_so(name, net, images):
    with pytest.raises(InvalidInput, match="has no targeted form"):
        attack(net, *images, quick(name), targets="next")


def test_words_for_targets(net, images):
    x, y = images
    one = "pgd(threat=linf(eps=1.0), steps=1)"
    others = np.where(np.arange(10) == y[:, None], np.nan, net.predict(x, verbose=0))
    classes = {"next": (y + 1) % 10, "runner_up": np.nanargmax(others, axis=1)}
    classes["least_likely"] = np.nanargmin(others, axis=1)
    for word, aim in classes.items():
        result = attack(net, x, y, one, targets=word)
        reached = net.predict(result.images, verbose=0).argmax(1) == aim
        np.testing.assert_array_equal(result.success[result.clean], reached[result.clean])
    attack(net, x, y, one, targets="random")
    with pytest.raises(InvalidInput, match="runner_up"):
        attack(net, x, y, one, targets="runnerup")
    with pytest.raises(InvalidInput, match="classes other than y"):
        attack(net, x, y, one, targets=y)
    with pytest.raises(InvalidInput, match="class numbers"):
        attack(net, x, y, one, targets=np.full(len(y), 10))


@pytest.mark.parametrize("eps", [-0.1, float("nan"), [0.1, 0.2], "0.1", 2.0])
def test_bad_radii_are_refused(eps, net, images):
    with pytest.raises(InvalidInput, match="eps"):
        attack(net, *images, "pgd()", eps=eps)


@pytest.mark.parametrize("goal", ["eps", "targets"])
def test_one_batch_wants_a_goal_for_each_image(goal, net, images):
    x, y = (part[:4] for part in images)
    with pytest.raises(InvalidInput, match=f"`{goal}` must be one for each of the 4 images"):
        registry.parse("attack", "fgsm()")(net, x, y, **{goal: [1, 2, 3]})


def test_probabilities_and_images_out_of_range_name_their_cause(net, images):
    x, y = images
    inputs = keras.Input(x.shape[1:])
    soft = keras.Model(inputs, keras.layers.Softmax()(net(inputs)))
    with pytest.raises(InvalidInput, match="probabilities"):
        attack(soft, x, y, "pgd()")
    with pytest.raises(InvalidInput, match=r"0\.\.255"):
        attack(net, x * 255, y, "pgd()")
