"""A spec that is wrong is told what is right; nothing in a string is ever run."""

import dataclasses

import numpy as np
import pytest

from keras_adv import InvalidInput, registry
from keras_adv.registry import parse, spec

KINDS = ("attack", "defense", "model", "objective", "optimizer", "recipe", "schedule", "threat")


def refused(kind, text):
    with pytest.raises(InvalidInput) as caught:
        parse(kind, text)
    assert str(caught.value).startswith("`") and " must be " in str(caught.value)
    assert "Received: " in str(caught.value)
    return str(caught.value)


# -- nothing is run --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "__import__('os').system('true')",
        "open({path!r}, 'w')",
        "pgd(steps=open({path!r}, 'w'))",
        "pgd(steps=[open({path!r}, 'w') for _ in '1'])",
        "(lambda: open({path!r}, 'w'))()",
        "pgd(steps=(x := open({path!r}, 'w')))",
        "pgd.__class__",
        "pgd().check()",
        "pgd()()",
        "pgd(**{{'steps': 3}})",
        "pgd(*[3])",
        "pgd if True else fgsm",
        "[pgd]",
        "{{'pgd': 1}}",
        "f'{{pgd}}'",
        "pgd; pgd",
        "import os",
        "pgd(steps=9**9**9)",
        "pgd(steps=1 << 99999999)",
        "pgd(loss='a' * 10**9)",
        "pgd(loss=('a',) * 2)",
    ],
)
def test_python_that_is_not_a_spec_is_refused_and_never_run(text, tmp_path):
    path = tmp_path / "written"
    refused("attack", text.format(path=str(path)))
    assert not path.exists()


@pytest.mark.parametrize(
    "text", ["", "  ", "pgd(", "pgd)", "pgd(steps=)", "\0", "pgd(steps=1 steps=2)", "3", "'pgd'"]
)
def test_what_is_not_of_the_form_name_option_value_is_refused(text):
    assert "`attack`" in refused("attack", text)


LONG = "1" + "0" * 400


@pytest.mark.parametrize(
    "text",
    [
        "(" * 1000 + ")" * 1000,
        "critic(attack=" * 150 + "1" + ")" * 150,
        "critic(attack=" * 5000 + "1" + ")" * 5000,
        "pgd(steps=" + "-" * 100_000 + "1)",
        "pgd(steps=" + "+".join("1" * 20_000) + ")",
        "a" + ".b" * 3000,
        "x" + "[0]" * 3000,
        "pgd(steps=" + "-" * 900 + "1)",
        "pgd(steps=-" + "+".join("1" * 900) + ")",
        "pgd" + "()" * 900,
        "lambda: " * 900 + "0",
    ],
    ids=lambda text: f"{text[:12]} x{len(text)}",
)
def test_deep_nesting_is_bad_input_not_a_crash(text):
    refused("attack", text)


@pytest.mark.parametrize(
    "number",
    [
        "1e999 - 1e999",
        f"{LONG}/3",
        f"{LONG}*0.5",
        "1e999",
        "1e308*10",
        f"-{'9' * 4000}*{'9' * 4000}",
    ],
    ids=lambda text: f"{text[:8]} x{len(text)}",
)
def test_numbers_beyond_floats_are_bad_input(number):
    refused("threat", f"l2(eps={number})")


@pytest.mark.parametrize("text", ["1/0", "1/0.0", "0/0", "8/(255 - 255)", "1/-0"])
def test_division_by_zero_is_refused(text):
    assert "division by zero" in refused("threat", f"linf(eps={text})")


@pytest.mark.parametrize(
    "text", ["True/2", "'a'/2", "None + 1", "-'a'", "-linf()", "(1,) + (2,)", "2**2", "7//2", "7%2"]
)
def test_arithmetic_is_on_numbers_and_of_four_kinds(text):
    refused("threat", f"linf(eps={text})")


# -- what is wrong is told -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "near"),
    [
        ("attack", "pdg", "pdgd"),
        ("attack", "fsgm()", "fgsm"),
        ("attack", "high_confidenc(steps=3)", "high_confidence"),
        ("defense", "critik(weight=1)", "critic"),
        ("defense", "adverserial", "adversarial"),
        ("model", "lenett", "lenet"),
        ("threat", "l_inf(eps=0.1)", "linf"),
        ("recipe", "recipes()", "recipe"),
        ("optimizer", "adamw()", "adam"),
        ("schedule", "cosin()", "cosine"),
    ],
)
def test_unknown_name_is_answered_with_all_names_of_its_kind_and_the_nearest(kind, text, near):
    message = refused(kind, text)
    assert message.startswith(f"`{kind}`") and str(list(registry.registered(kind)))[:-1] in message
    assert message.endswith(f"Did you mean {near!r}?")


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_of_another_kind_is_refused(kind):
    other = parse("threat", "linf()") if kind != "threat" else parse("attack", "pgd")
    for value in (other, spec(other)):
        assert f"`{kind}`" in refused(kind, value)


@pytest.mark.parametrize("value", [None, 3, b"pgd", ["pgd"], object, registry.registered("attack")["pgd"]])
def test_what_is_neither_spec_nor_object_is_refused(value):
    assert "a spec string or a registered attack" in refused("attack", value)


def test_unknown_option_is_answered_with_all_options_and_the_nearest():
    message = refused("attack", "pgd(step=3)")
    for field in dataclasses.fields(registry.registered("attack")["pgd"]):
        assert repr(field.name) in message
    assert message.endswith("Did you mean 'steps'?")


@pytest.mark.parametrize("text", ["pgd(40)", "pgd(linf())", "pgd(linf(), steps=3)", "linf(0.1)"])
def test_options_go_by_name_not_by_place(text):
    assert "name(option=value)" in refused("threat" if text.startswith("linf") else "attack", text)


def test_an_option_is_given_once():
    assert "steps=2" in refused("attack", "pgd(steps=1, steps=2)")


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("attack", "pgd(steps=3.5)", "`steps` must be int (option of pgd). Received: steps=3.5"),
        ("attack", "pgd(steps=True)", "`steps` must be int (option of pgd). Received: steps=True"),
        ("attack", "pgd(steps='3')", "`steps` must be int"),
        ("attack", "pgd(steps=None)", "`steps` must be int"),
        ("attack", "pgd(steps=(3,))", "`steps` must be int"),
        (
            "attack",
            "pgd(threat=pgd())",
            "`threat` must be one of ['l0', 'l1', 'l2', 'linf']. Received: 'pgd'",
        ),
        ("attack", "pgd(threat=0.1)", "`threat` must be Threat"),
        ("attack", "pgd(threat='lin()')", "`threat` must be one of"),
        ("attack", "pgd(threat='linf()')", "`eps` must be given"),
        ("attack", "pgd(random_start=1)", "`random_start` must be bool"),
        ("attack", "pgd(eps=8/255)", "Received: eps=8 / 255. Write threat=linf(eps=8 / 255)."),
        ("attack", "ddn(eps=0.5)", "Write threat=l2(eps=0.5)."),
        ("attack", "pgd(loss=3)", "`loss` must be Objective (option of pgd)"),
        ("threat", "linf(eps=True)", "`eps` must be float or None"),
        ("threat", "linf(eps='0.1')", "`eps` must be float or None"),
        ("defense", "critic(attack=pgd())", "`attack` must be HighConfidence (option of critic)"),
        ("defense", "standard(optimizer=drop())", "`optimizer` must be one of ['adam', 'sgd']"),
        ("model", "mlp(units=5)", "`units` must be tuple"),
        ("recipe", "recipe(defense=lenet())", "`defense` must be one of"),
        ("recipe", "recipe(defense=None)", "`defense` must be Defense"),
        ("recipe", "recipe(data=3)", "`data` must be str"),
        ("model", "mlp(units=('a',))", "units"),
        ("model", "mlp(units=(64, -1))", "units"),
        ("model", "mlp(units=(1.5,))", "units"),
        ("defense", "critic(noise=(0.1,))", "noise"),
        ("defense", "critic(noise=(0.1, -1))", "noise"),
        ("schedule", "milestones(at=())", "at"),
    ],
)
def test_wrong_type_is_refused_with_the_right_one(kind, text, words):
    assert words in refused(kind, text)


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (
            "threat",
            "linf(eps=-1)",
            "`eps` must be a number of at least 0.0 and at most 1.0. Received: eps=-1",
        ),
        ("threat", "linf(eps=8)", "at most 1.0"),
        ("threat", "l2(eps=-1/255)", "at least 0.0"),
        ("attack", "pgd(threat=linf(eps=-1))", "`eps`"),
        ("attack", "pgd(threat=linf)", "`eps` must be given, for example linf(eps=0.1)"),
        ("attack", "pgd(steps=0)", "at least 1"),
        ("attack", "pgd(steps=2147483648)", "at most 2147483647 rounds. Received: steps=2147483648"),
        ("attack", "pgd(step_size=0)", "greater than 0"),
        ("attack", "pgd(loss='dlrr')", "Did you mean 'dlr'?"),
        ("model", "resnet(depth=21)", "[20, 32, 44, 56, 110]"),
        ("model", "wrn(depth=17)", "6 n + 4"),
        ("recipe", "recipe(epochs=0)", "at least 1"),
        ("recipe", "recipe(augment='crop_flop')", "Did you mean 'crop_flip'?"),
        ("recipe", "recipe(validation=-0.1)", "at least 0"),
        ("recipe", "recipe(seed=-1)", "at least 0"),
    ],
)
def test_value_outside_its_range_is_refused_with_the_range(kind, text, words):
    assert words in refused(kind, text)


@pytest.mark.parametrize("threat", registry.registered("threat"))
def test_eps_that_is_nan_or_negative_is_refused_by_every_threat(threat):
    for value in (float("nan"), np.float64("nan"), -1, -1e-9, float("-inf")):
        with pytest.raises(InvalidInput, match=r"`eps` must be a (finite )?number of at least 0"):
            parse("threat", threat).replace(eps=value)


@pytest.mark.parametrize("text", ["pgd(steps=many)", "pgd(threat=l2(eps=nan))"])
def test_a_bare_word_as_a_value_is_refused(text):
    assert text.removeprefix("pgd(").split("=")[-1].strip(")") in refused("attack", text)
