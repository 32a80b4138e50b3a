"""Laws of every registered attack about its own mathematics.

Laws of the loop that all share are asked of three attacks, here where they look at the same runs, and in
`test_loop.py`.
"""

import numpy as np
import pytest
from attack_specs import BOUNDED, LOOPS, NAMES, QUICK, TRACED, quick
from sampled import sampled

from keras_adv import InvalidInput, attack, registry
from keras_adv.backend import Net

SHARED_STREAMS = [
    "apgd",
    "autoattack",
    "bim",
    "carlini_wagner",
    "deepfool",
    "ead",
    "fab",
    "feature_adversary",
    "fgsm",
    "fmn",
    "high_confidence",
    "jsma",
    "lbfgs",
    "mim",
    "pdgd",
    "pdpgd",
    "sigma_zero",
    "sparsefool",
]
"""Attacks that draw as the three do, or not at all; all others are asked, a new one too."""
OWN_STREAMS = [name for name in NAMES if name not in SHARED_STREAMS + LOOPS]
LIKE_OTHERS = ["boundary", "brendel_bethge", "constraint_relaxation", "corner_search", "one_pixel", "worst"]
"""Attacks of which `-m slow` asks whether an image that starts late, in place of one that has ended, fares as
it does from the start: each is of a kind with one that is asked every time (hop_skip_jump, daa, vfga, square,
smallest_ball)."""


def test_every_attack_with_quick_settings_is_registered():
    assert set(QUICK) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_result_is_in_ball_and_box_and_really_adversarial(name, net, images, found):
    x, y = images
    one, result = quick(name), found(name)
    assert result.images.shape == x.shape and result.images.dtype == np.float32
    assert result.images.min() >= 0 and result.images.max() <= 1
    np.testing.assert_array_equal(net.predict(result.images, verbose=0).argmax(1) != y, result.success)
    np.testing.assert_allclose(one.threat.norm(result.images - x), result.distance, rtol=1e-5, atol=1e-6)
    if one.contract == "bounded":
        assert (result.distance <= one.threat.eps * (1 + 1e-6)).all()
    else:
        np.testing.assert_array_equal(result.images[~result.success], x[~result.success])
    np.testing.assert_array_equal(result.images[~result.clean], x[~result.clean])
    assert result.success[result.clean].mean() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_model_is_left_as_it_was(name, runs):
    assert runs(name)[1]


@pytest.mark.parametrize("name", BOUNDED)
def test_eps_zero_is_the_identity(name, net, images):
    one = registry.with_values(quick(name), {"threat.eps": 0.0})
    np.testing.assert_allclose(attack(net, *images, one).images, images[0], atol=1e-7)


@pytest.mark.parametrize("name", BOUNDED)
def test_each_image_has_its_own_radius(name, net, images, found):
    one = quick(name)
    full = one.threat.eps
    eps = np.where(np.arange(len(images[0])) % 2, full, full / 2).astype("float32")
    mixed, alone = attack(net, *images, one, eps=eps), found(name)
    assert (mixed.distance <= eps * (1 + 1e-6)).all()
    np.testing.assert_allclose(mixed.distance[1::2], alone.distance[1::2], rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize(
    "name", sampled(LOOPS + OWN_STREAMS, *(name for name in LOOPS + OWN_STREAMS if name not in LIKE_OTHERS))
)
def test_neither_order_nor_batch_size_changes_an_images_result(name, net, images, found):
    # row i of the set draws from (seed, i), so here the whole set moves, not only its order in a batch
    whole, parts = found(name), attack(net, *images, quick(name), batch_size=13)
    np.testing.assert_allclose(parts.distance, whole.distance, rtol=2e-2, atol=2e-3)
    assert (parts.success == whole.success).mean() > 0.95


@pytest.mark.parametrize("name", LOOPS)
def test_same_seed_same_result(name, net, images, found):
    first, second = found(name), attack(net, *images, quick(name))
    np.testing.assert_array_equal(first.success, second.success)
    # some kernels round by thread, so one image of 48 may have stood at a tie
    apart = np.abs(first.images - second.images).reshape(len(first.images), -1).max(axis=1)
    assert (apart > 1e-5).sum() <= 1


@pytest.fixture
def blind(net, scaled):
    """The net with logits that are 0 whatever it sees, for one test."""
    with scaled(net, 0.0):
        yield net


@pytest.mark.parametrize("name", NAMES)
def test_constant_logits_give_no_nan(name, blind, images):
    x = images[0]
    y = np.zeros(len(x), "int32")
    y[-1] = 1  # so that there is a class to take a guide from
    result = attack(blind, x, y, quick(name))
    assert result.clean[:-1].all()
    assert np.isfinite(result.images).all() and not result.success[:-1].any()


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(TRACED)))
def test_attacks_on_the_host_or_with_a_guide_do_not_train(name, net, images):
    x, y = (part[:8] for part in images)
    with pytest.raises(InvalidInput, match=r"SciPy|guide"):
        quick(name).perturb(Net(net, frozen=True).logits, x, y, np.arange(8, dtype="uint32"))
    with pytest.raises(InvalidInput, match="`attack` must be an attack that runs in a training step"):
        registry.parse("defense", f"adversarial(attack={name}())")
