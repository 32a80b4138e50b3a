"""Examples and their goals: a part of a set is attacked as it is attacked in the whole set."""

import numpy as np
import pytest
from attack_specs import quick
from closed_forms import task_of
from keras import ops

from keras_adv import InvalidInput, noise
from keras_adv.attacks import Examples, Task
from keras_adv.attacks.task import as_logits
from keras_adv.evaluation import goals
from keras_adv.evaluation.image_set import ImageSet

ROWS = np.array([7, 2, 30, 11])


def arrays(examples):
    return [None if field is None else np.asarray(field) for field in examples]


def assert_equal(one, other):
    for a, b in zip(arrays(one), arrays(other), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype


def test_image_i_has_number_i_and_draws_from_seed_and_i(images):
    x, y = images
    made = Examples.of_batch(x, y, 5).as_arrays()
    np.testing.assert_array_equal(made.numbers, np.arange(48))
    np.testing.assert_array_equal(made.seeds, noise.seeds(5, np.arange(48)))
    assert made.y.dtype == np.int32 and made.seeds.dtype == np.uint32
    assert made.eps is None and made.target is None and made.guide is None


def test_rows_are_taken_of_every_field_by_index_or_mask(images):
    x, y = images
    eps = np.linspace(0, 1, 48, dtype="float32")
    whole = Examples.of_batch(x, y, eps=eps, target=(y + 1) % 10, guide=x[::-1], first=x).as_arrays()
    some = whole.take(ROWS)
    for field, part in zip(whole, some, strict=True):
        np.testing.assert_array_equal(field[ROWS], part)
    mask = np.isin(np.arange(48), ROWS)
    assert_equal(whole.take(mask), whole.take(np.sort(ROWS)))
    assert_equal(some.as_tensors().as_arrays(), some)
    assert all(isinstance(part, np.ndarray) for part in some)


@pytest.mark.parametrize(("name", "targets"), [("pgd", "random"), ("feature_adversary", None), ("ddn", None)])
def test_a_part_keeps_the_numbers_streams_and_goals_of_the_whole_set(name, targets, images):
    x, y = images
    logits = np.eye(10, dtype="float32")[y]
    whole = goals.make_examples(quick(name), ImageSet(x, y, logits), 3, None, targets)
    part = whole.take(ROWS)
    np.testing.assert_array_equal(part.numbers, ROWS)
    np.testing.assert_array_equal(part.seeds, noise.seeds(3, ROWS))
    if targets:
        np.testing.assert_array_equal(
            part.target, goals.choose_targets(targets, y, whole.seeds, logits)[ROWS]
        )
    if quick(name).guided:
        np.testing.assert_array_equal(part.guide, x[goals.guides(y, whole.seeds, None)][ROWS])
        assert (part.guide != part.x).any(axis=(1, 2, 3)).all()


def test_a_part_is_attacked_as_it_is_in_the_whole_set(net, images):
    x, y = images
    one = quick("square")
    whole = Examples.of_batch(x, y, eps=one.threat.radii(ops.convert_to_tensor(x))).as_arrays()
    model = as_logits(net)
    all_, part = (one.run(Task(model, e.as_tensors())) for e in (whole, whole.take(ROWS)))
    np.testing.assert_allclose(np.asarray(part.images), np.asarray(all_.images)[ROWS], atol=1e-5)
    np.testing.assert_array_equal(part.rounds, np.asarray(all_.rounds)[ROWS])


def test_a_task_says_where_its_goal_is_reached():
    logits = np.float32([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
    away = task_of(lambda v: v, np.zeros((2, 2, 2, 1)), [0, 0])
    towards = away.with_goal(target=np.int32([1, 2]))
    np.testing.assert_array_equal(away.fooled(logits), [False, True])
    np.testing.assert_array_equal(towards.fooled(logits), [False, True])
    np.testing.assert_allclose(away.margin(logits), [-1.0, 2.0])
    np.testing.assert_allclose(towards.margin(logits), [-1.0, 1.0])


def test_a_function_has_no_features():
    with pytest.raises(InvalidInput, match="where its features are asked for"):
        task_of(lambda v: v, np.zeros((2, 2, 2, 1))).features(None)
