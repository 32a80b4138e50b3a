"""What an author of an attack gets to read when `start` or `step` breaks its contract."""

import numpy as np
import pytest
from closed_forms import task_of
from keras import ops

from keras_adv import InvalidInput, attack
from keras_adv.arrays import never
from keras_adv.attacks import BoundedAttack, MinimalAttack
from keras_adv.registry import option, register
from keras_adv.threats import Linf, Threat

X = np.full((3, 2, 2, 1), 0.5, "float32")


def logits(v):
    return ops.reshape(v, (-1, 4))


class Correct(BoundedAttack):
    """Does nothing, and nothing wrong."""

    name = "broken_test_attack"
    threat = Linf(eps=0.1)
    rounds = 2

    def start(self, task):
        return {"x": task.x, "memory": ops.zeros_like(task.x)}

    def step(self, task, state):
        return dict(state), never(task.y)


def broken(**methods):
    """The attack with another `start` or `step`."""
    return type("Broken", (Correct,), methods)()


def test_an_attack_that_keeps_the_contract_runs():
    found = broken().run(task_of(logits, X, eps=np.full(3, 0.1, "float32")))
    np.testing.assert_array_equal(found.rounds, [2, 2, 2])


def without_image(self, task):
    return {"memory": task.x}


def a_number_in_the_state(self, task):
    return {"x": task.x, "best": ops.zeros(())}


def a_wrong_count_in_the_state(self, task):
    return {"x": task.x, "best": ops.zeros((2,))}


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (without_image, "a state without 'x', the image to offer"),
        (a_number_in_the_state, r"the entry 'best' of shape \(\), not one row for each"),
        (a_wrong_count_in_the_state, r"the entry 'best' of shape \(2,\), not one row for each"),
    ],
)
def test_what_start_returns_is_checked(start, message):
    with pytest.raises(InvalidInput, match=f"`broken_test_attack.start` must keep its contract.*{message}"):
        broken(start=start).run(task_of(logits, X, eps=np.full(3, 0.1, "float32")))


def test_a_minimal_attack_offers_its_best_image():
    class Minimal(MinimalAttack):
        name = "broken_minimal"
        threat = Linf()
        rounds = 1
        start = without_image

    with pytest.raises(InvalidInput, match=r"`broken_minimal.start`.*a state without 'best'"):
        Minimal().run(task_of(logits, X))


def loses_an_entry(self, task, state):
    return {"x": state["x"]}, never(task.y)


def adds_an_entry(self, task, state):
    return {**state, "extra": task.y}, never(task.y)


def returns_a_number(self, task, state):
    return {**state, "memory": ops.zeros(())}, never(task.y)


def returns_too_many_rows(self, task, state):
    return {**state, "x": ops.concatenate([state["x"], state["x"]])}, never(task.y)


def decides_once_for_the_batch(self, task, state):
    return dict(state), ops.any(never(task.y))


def decides_for_two(self, task, state):
    return dict(state), ops.zeros((2,), "bool")


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (loses_an_entry, r"a state without \['memory'\], which `start` returned"),
        (adds_an_entry, r"a state with \['extra'\], which `start` did not return"),
        (returns_a_number, r"the entry 'memory' of shape \(\), not one row for each"),
        (returns_too_many_rows, r"the entry 'x' of shape \(6, 2, 2, 1\), not one row for each"),
        (decides_once_for_the_batch, r"the second result of shape \(\), not one row for each"),
        (decides_for_two, r"the second result of shape \(2,\), not one row for each"),
    ],
)
def test_what_step_returns_is_checked(step, message):
    with pytest.raises(InvalidInput, match=f"`broken_test_attack.step` must keep its contract.*{message}"):
        broken(step=step).run(task_of(logits, X, eps=np.full(3, 0.1, "float32")))


@pytest.fixture
def registered(own_names):
    """An attack that loses an entry, registered for one test."""

    @register("attack", "broken_registered")
    class Broken(Correct):
        threat: Threat = option(default=Linf(eps=0.1))
        step = loses_an_entry

    return Broken()


def test_a_mistake_is_named_when_a_data_set_is_attacked(registered, net, images):
    with pytest.raises(InvalidInput, match=r"`broken_registered.step`.*\['memory'\]"):
        attack(net, *images, registered)
