"""FAB: closed forms of a linear model, targets, restarts, and the authors' code."""

import keras
import numpy as np
import pytest
from closed_forms import DUAL, gaps, nearest, task_of
from keras import ops
from sampled import sampled

from keras_adv import InvalidInput, attack, registry
from keras_adv.backend import Net, compile, jacobian


def test_reaches_the_nearest_boundary_of_a_linear_model_with_targets(linear, grey):
    """Without them it is asked in `test_linear_optimum.py`."""
    x, y = grey
    best = nearest(linear, x, y, "l2")
    result = attack(linear[0], x, y, "fab(threat=l2(), steps=25, targets=9)")
    assert result.success.all()
    assert (result.distance >= best * (1 - 1e-3)).all() and (result.distance <= best * 1.01).all()
    assert (result.passes == 25 * 4 * 2 + 1).all()  # 5 classes have no more than 4 wrong ones


@pytest.mark.slow
def test_reaches_a_given_class_at_the_least_norm(linear, grey):
    x, y = grey
    x = x[:8]
    aim = (y[:8] + 1) % 5
    result = attack(linear[0], x, y[:8], "fab(threat=l2(), steps=60)", targets=aim)
    assert result.success.all()
    np.testing.assert_array_equal(linear[0].predict(result.images, verbose=0).argmax(1), aim)
    alone = [[g / DUAL["l2"](w) for g, w in row] for row in gaps(linear, x, y[:8])]
    least = [alone[i][aim[i] - (aim[i] > y[i])] for i in range(8)]
    assert (result.distance >= np.array(least) * (1 - 1e-3)).all()


@pytest.mark.slow
def test_restarts_never_lose(net, digits):
    x, y = digits.test[0][:16], digits.test[1][:16]
    one, more = (
        np.asarray(registry.parse("attack", f"fab(steps=15, restarts={n})")(net, x, y).distance)
        for n in (1, 2)
    )
    assert (more <= one + 1e-6).all()


@pytest.mark.parametrize("norm", sampled(["linf", "l2", "l1"], "linf"))
def test_restarts_begin_at_random_within_half_of_the_best_or_eps(norm, linear, grey):
    model, x, y = linear[0], *(part[:8] for part in grey)
    one = registry.parse("attack", f"fab(threat={norm}(eps=0.06), steps=3, restarts=2, targets=2)")
    task = task_of(model, x, y, eps=one.threat.radii(ops.convert_to_tensor(x)))
    state = one.advance(task, one.begin(task), 3)
    away, best = np.asarray(one.threat.norm(state["x"] - x)), np.asarray(state["best_norm"])
    assert (away > 0).all() and (away <= np.minimum(best, 0.06) / 2 * (1 + 1e-5)).all()
    state = one.advance(task, state, 3)  # the next target, from x
    np.testing.assert_array_equal(state["x"], x)


@pytest.mark.slow
def test_inside_leaves_an_image_within_eps(net, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    whole, short = (
        attack(net, x, y, f"fab(threat=linf(eps=0.12), steps=20, targets=3, inside={flag})")
        for flag in (False, True)
    )
    reached = whole.distance <= 0.12
    np.testing.assert_array_equal(short.distance <= 0.12, reached)
    assert short.passes[reached & whole.clean].mean() < whole.passes[whole.clean].mean() / 3
    with pytest.raises(InvalidInput, match="eps"):
        attack(net, x, y, "fab(inside=True)")


class Adapter:
    """The model as the authors' code wants it."""

    def __init__(self, net, torch):
        logits = Net(net, frozen=True).logits
        self.torch, self.logits, self.slopes = torch, compile(logits), compile(lambda v: jacobian(logits, v))

    def predict(self, x):
        return self.torch.tensor(np.array(self.logits(x.numpy())))

    def grad_logits(self, x):
        return tuple(self.torch.tensor(np.array(v)) for v in self.slopes(x.numpy()))


@pytest.mark.parametrize(("norm", "theirs"), [("linf", "Linf"), ("l2", "L2"), ("l1", "L1")])
@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="one backend is enough for the oracle")
def test_norms_are_those_of_the_authors_code(norm, theirs, net, digits):
    torch, fab_tf = pytest.importorskip("torch"), pytest.importorskip("pyautoattack.fab_tf")
    x, y = digits.test[0][:32], digits.test[1][:32]
    kept = net.predict(x, verbose=0).argmax(1) == y
    x, y = x[kept], y[kept]
    torch.set_num_threads(1)
    oracle = fab_tf.FABAttack_TF(Adapter(net, torch), norm=theirs, n_iter=10, eps=1e3)
    found = oracle.perturb(torch.tensor(x), torch.tensor(y.astype("int64"))).numpy()
    one = registry.parse("attack", f"fab(threat={norm}(), steps=10)")
    distance = np.asarray(one.threat.norm(found - x))
    assert attack(net, x, y, one).distance.mean() <= 1.01 * distance.mean()
