"""Laws of the loop that all attacks share, asked of three attacks that use it differently."""

import functools

import numpy as np
import pytest
from attack_specs import LOOPS, quick
from closed_forms import task_of
from keras import ops
from sampled import sampled

from keras_adv import attack
from keras_adv.backend import Net, compile


def test_the_three_differ_in_contract_and_knowledge():
    kinds = {(quick(name).contract, quick(name).knowledge) for name in LOOPS}
    assert kinds == {("bounded", "gradients"), ("minimal", "gradients"), ("bounded", "scores")}


@pytest.fixture(scope="module")
def compiled(net):
    """name -> (the attack as one graph, a list that grows when it is traced)."""

    @functools.cache
    def make(name):
        traces = []

        def logits(v):
            traces.append(1)
            return Net(net, frozen=True).logits(v)

        return compile(lambda a, b: quick(name)(logits, a, b), net), traces

    return make


def test_other_seed_other_start(net, images):
    first, second = (attack(net, *images, "pgd(threat=linf(eps=0.05), steps=1)", seed=s) for s in (0, 1))
    assert np.abs(first.images - second.images).max() > 0.01


@pytest.mark.parametrize("name", LOOPS)
def test_permuting_the_batch_permutes_the_result(name, net, images):
    x, y = (part[:12] for part in images)
    one, order = quick(name), np.random.default_rng(0).permutation(12)
    task = task_of(net, x, y, eps=one.threat.radii(ops.convert_to_tensor(x)))
    plain = one.run(task)
    mixed = one.run(task.with_goal(**task.examples.as_arrays().take(order).as_tensors()._asdict()))
    np.testing.assert_allclose(mixed.distance, np.asarray(plain.distance)[order], rtol=2e-2, atol=2e-3)
    np.testing.assert_array_equal(mixed.success, np.asarray(plain.success)[order])


@pytest.mark.parametrize("name", sampled(LOOPS, "ddn"))
def test_eager_equals_compiled(name, net, images, compiled):
    x, y = (part[:8] for part in images)
    eager, graph = quick(name)(net, x, y), compiled(name)[0](x, y)
    np.testing.assert_allclose(eager.distance, graph.distance, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("name", LOOPS)
def test_no_retrace_over_equal_shapes(name, images, compiled):
    x, y = images
    run, traces = compiled(name)
    run(x[:8], y[:8])
    count = len(traces)
    run(x[8:16], y[8:16])
    run(x[16:24], y[16:24])
    assert len(traces) == count


@pytest.mark.parametrize("name", LOOPS)
def test_training_images_are_feasible_and_carry_no_gradient(name, net, images):
    x, y = (part[:8] for part in images)
    one = quick(name)
    seeds = ops.cast(ops.arange(8), "uint32")
    made = np.asarray(one.perturb(Net(net, frozen=True).logits, ops.convert_to_tensor(x), y, seeds))
    assert made.min() >= 0 and made.max() <= 1
    if one.contract == "bounded":
        assert (np.asarray(one.threat.norm(made - x)) <= one.threat.eps * (1 + 1e-5)).all()
