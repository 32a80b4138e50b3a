"""The batch in flight: slots are refilled, batches shrink, and what belongs to an image goes with it."""

import numpy as np
import pytest
from keras import ops

from keras_adv.arrays import expand_like
from keras_adv.attacks import BoundedAttack, Examples
from keras_adv.backend import compile
from keras_adv.evaluation import slots
from keras_adv.evaluation.compiled import CompiledAttack
from keras_adv.evaluation.slots import Finished, Slots, host_batches, in_batches
from keras_adv.threats import Linf

RISE = 1.0 / 64


class Rising(BoundedAttack):
    """Lifts all values of an image by 1/64 a round, and remembers in "own" what belongs to its seed."""

    name = "rising_of_the_tests"
    threat = Linf(eps=1.0)
    rounds = 40

    def start(self, task):
        return {"x": task.x, "own": ops.cast(task.seeds % 8, "float32")}

    def step(self, task, state):
        # an image that met the state of another would rise by another step
        move = RISE + ops.abs(state["own"] - ops.cast(task.seeds % 8, "float32"))
        return {**state, "x": state["x"] + expand_like(move, task.x)}, task.fooled(task.logits(state["x"]))


def bright(v):
    """Class 1 where an image is brighter than a half."""
    m = ops.mean(v, axis=(1, 2, 3)) - 0.5
    return ops.stack([-m, m], axis=1)


def examples(needed):
    """Images that are fooled after `needed` steps."""
    start = 0.5 - (np.asarray(needed) - 0.5) * RISE
    x = np.broadcast_to(start.reshape(-1, 1, 1, 1), (len(needed), 2, 2, 1)).astype("float32")
    eps = np.ones(len(needed), "float32")
    return Examples.of_batch(x, np.zeros(len(needed), "int32"), eps=eps).as_arrays()


@pytest.fixture(scope="module")
def loop():
    return CompiledAttack(bright, Rising(), compile)


class Recorded:
    """A compiled loop that notes the size of every batch that it advances."""

    def __init__(self, loop):
        self.loop, self.begin, self.sizes, self.advanced = loop, loop.begin, {}, []

    def advance(self, examples, state, rounds):
        self.advanced.append(len(examples.y))
        return self.loop.advance(examples, state, rounds)


def finish(loop, given, queue, batch_size):
    """(rows in the order in which they finish, their images, their rounds, the batch sizes)."""
    seen = Recorded(loop)
    parts = list(Slots(Rising(), seen, given, queue, batch_size).run())
    return *(np.concatenate(column) for column in zip(*parts, strict=True)), seen.advanced


@pytest.mark.parametrize("dynamic", [True, False])
def test_every_image_finishes_once_with_its_own_state(dynamic, loop, monkeypatch):
    monkeypatch.setattr(slots, "DYNAMIC_BATCH_SIZE", dynamic)
    needed = np.random.default_rng(0).integers(1, 30, size=50)
    given = examples(needed)
    rows, images, rounds, sizes = finish(loop, given, np.arange(50), 16)
    np.testing.assert_array_equal(np.sort(rows), np.arange(50))
    np.testing.assert_array_equal(rounds, needed[rows] + 1)  # and a round that looks at the last image
    np.testing.assert_allclose(images[:, 0, 0, 0], given.x[rows, 0, 0, 0] + needed[rows] * RISE, atol=1e-6)
    without_refilling = sum(needed[i : i + 16].max() + 1 for i in range(0, 50, 16))
    assert max(sizes) == 16 and len(sizes) < 0.8 * without_refilling


def test_only_the_queue_is_attacked_and_an_image_that_stands_takes_all_rounds(loop):
    given = examples([3, 60, 5, 60, 7])
    rows, _, rounds, _ = finish(loop, given, np.array([4, 1]), 8)
    assert dict(zip(rows.tolist(), rounds.tolist(), strict=True)) == {4: 8, 1: 40}


def test_a_batch_shrinks_when_few_images_are_left_and_none_waits(loop, monkeypatch):
    monkeypatch.setattr(slots, "DYNAMIC_BATCH_SIZE", True)
    rows, _, rounds, sizes = finish(loop, examples([2] * 28 + [20] * 4), np.arange(32), 32)
    assert sizes[0] == 32 and sizes[-1] == 8 and sizes == sorted(sizes, reverse=True)
    assert set(rounds[np.isin(rows, np.arange(28, 32))]) == {21}


def test_refilled_slots_start_the_next_images_before_all_are_done(loop, monkeypatch):
    monkeypatch.setattr(slots, "DYNAMIC_BATCH_SIZE", True)
    # the first is slow: the others pass through the seven slots beside it
    rows, _, _, sizes = finish(loop, examples([30] + [3] * 21), np.arange(22), 8)
    assert rows[-1] == 0 and set(sizes) == {8} and len(sizes) == 31


def test_finished_takes_rows():
    done = Finished(np.array([5, 2, 9]), np.arange(3.0), np.array([1, 2, 3]))
    some = done.take(np.array([True, False, True]))
    assert some.rows.tolist() == [5, 9] and some.images.tolist() == [0, 2] and some.rounds.tolist() == [1, 3]


def test_the_last_batch_is_filled_up_with_its_last_row():
    seen = []

    def fn(a, e):
        seen.append((a.tolist(), len(e.y)))
        return a * 2, e.numbers

    double, numbers = in_batches(fn, 3, np.arange(7), examples([1] * 7))
    assert seen == [([0, 1, 2], 3), ([3, 4, 5], 3), ([6, 6, 6], 3)]
    assert double.tolist() == [0, 2, 4, 6, 8, 10, 12] and numbers.tolist() == list(range(7))
    (few,) = in_batches(lambda a: (a,), 100, np.arange(2))
    assert few.tolist() == [0, 1]


def test_attacks_of_the_host_run_in_batches_of_one_shape():
    sizes = []

    def search(given):
        sizes.append(len(given.y))
        return given.x + 1.0, given.numbers

    given = examples([1] * 9)
    parts = list(host_batches(search, given, np.array([8, 1, 3, 5, 7]), 2))
    assert sizes == [2, 2, 2] and [len(p.rows) for p in parts] == [2, 2, 1]
    rows = np.concatenate([p.rows for p in parts])
    assert rows.tolist() == [8, 1, 3, 5, 7]
    np.testing.assert_array_equal(np.concatenate([p.rounds for p in parts]), rows)
