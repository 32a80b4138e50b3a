"""Spec strings and objects say the same; nothing in a string is ever run."""

import dataclasses

import numpy as np
import pytest

from keras_adv import InvalidInput, registry, validate
from keras_adv.registry import parse, spec

KINDS = ("attack", "defense", "model", "optimizer", "recipe", "schedule", "threat")
CLASSES = [cls for kind in KINDS for cls in registry.registered(kind).values()]
FIELDS = [pytest.param(c, f.name, id=f"{c.name}.{f.name}") for c in CLASSES for f in dataclasses.fields(c)]
DEFAULTS = [cls() for cls in CLASSES]
VALUES = [
    None, True, False, 0, 1, 2, 20, 22, 1e-5, 8 / 255, 0.3, 0.1 + 0.2, 1.0, 2.5, -0.5, 32,
    "small", "margin", "hinge", "crop_flip", "softplus", "linear", "cross_entropy", "exponential",
    "a file's \"name\".npz", (), (7,), (1, 2, 3), (0.25, 1 / 3), *DEFAULTS,
    *(parse("threat", f"{name}(eps=8/255)") for name in registry.registered("threat")),
    parse("attack", "high_confidence(steps=3)"), (parse("attack", "fgsm"),), ("conv", "dense"),
    parse("attack", "pgd(loss='kl')"), parse("attack", "pgd(loss='cosine_distance')"),
]  # fmt: skip


def refused(kind, text):
    with pytest.raises(InvalidInput) as caught:
        parse(kind, text)
    assert str(caught.value).startswith("`") and " must be " in str(caught.value)
    assert "Received: " in str(caught.value)
    return str(caught.value)


def variants(obj, field):
    """`obj` with `field` at every one of VALUES that it allows, but for the value it has."""
    known = next(f for f in dataclasses.fields(obj) if f.name == field)
    for value in (*VALUES, *(known.metadata.get("choices") or ())):
        try:
            made = obj.replace(**{field: value})
        except InvalidInput:
            continue
        if made != obj:
            yield made


# -- there and back --------------------------------------------------------------------------------


@pytest.mark.parametrize("obj", DEFAULTS, ids=lambda o: o.name)
def test_default_object_survives_its_spec(obj):
    again = parse(obj.kind, spec(obj))
    assert again == obj and type(again) is type(obj) and hash(again) == hash(obj)
    assert repr(obj) == spec(obj) == spec(again)
    assert parse(obj.kind, obj.name) == obj  # the bare name is the object with its defaults
    assert parse(obj.kind, obj) is obj


@pytest.mark.parametrize(("cls", "field"), FIELDS)
def test_every_changed_field_survives_the_spec(cls, field):
    start = cls(attack=parse("attack", "fgsm")) if (cls.name, field) == ("mmc", "targeted") else cls()
    made = list(variants(start, field))
    assert made
    for one in made:
        again = parse(one.kind, spec(one))
        assert again == one and hash(again) == hash(one)
        assert type(getattr(again, field)) is type(getattr(one, field))
        assert f"{field}=" in spec(one)


def test_specs_inside_specs_inside_specs_survive():
    text = (
        "recipe(defense=adversarial(attack=pgd(threat=l2(eps=128/255), steps=7), "
        "optimizer=sgd(learning_rate=0.05, schedule=milestones(at=(3, 5), factor=0.3))), "
        "model=mlp(units=(64, 32)), data='a.npz', normalize=True)"
    )
    made = parse("recipe", text)
    assert made.defense.attack.threat.eps == 128 / 255
    assert made.defense.optimizer.schedule.at == (3, 5) and made.model.units == (64, 32)
    assert parse("recipe", spec(made)) == made


@pytest.mark.parametrize("attack", registry.registered("attack"))
def test_an_attack_always_prints_its_threat_and_leaves_out_other_defaults(attack):
    one = parse("attack", attack)
    assert spec(one) == f"{attack}(threat={spec(one.threat)})"


@pytest.mark.parametrize("n", range(256))
def test_fractions_of_255_are_parsed_exactly_and_printed_as_such(n):
    one = parse("threat", f"linf(eps={n}/255)")
    assert one.eps == n / 255
    assert parse("threat", spec(one)) == one
    if n % 51:  # 51/255 is 0.2
        assert spec(one) == f"linf(eps={n}/255)"


def test_any_float_survives_to_its_last_bit():
    rng = np.random.default_rng(0)
    drawn = [*(10.0 ** rng.uniform(-300, 300, 500)), *rng.random(500), *(rng.integers(1, 10**6, 500) / 255)]
    for value in map(float, drawn):
        made = parse("threat", "l2").replace(eps=value)
        assert parse("threat", spec(made)).eps == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/255", 8 / 255),
        ("2*(0.1 + 0.05)", 2 * (0.1 + 0.05)),
        ("1 - 1/4", 0.75),
        ("--0.5", 0.5),
        ("5e-1", 0.5),
    ],
)
def test_arithmetic_is_that_of_python(text, value):
    assert parse("threat", f"linf(eps={text})").eps == value


def test_spaces_line_ends_and_brackets_do_not_matter():
    assert parse("attack", "  pgd(\n steps = 7 , \n)\n") == parse("attack", "(pgd(steps=7))")


@pytest.mark.parametrize(
    "value",
    [
        np.float64(0.3),
        np.float64(8 / 255),
        float("inf"),
    ],
)
def test_an_odd_float_is_refused_or_survives_its_spec(value):
    try:
        made = parse("threat", "l2").replace(eps=value)
    except InvalidInput:
        return
    assert parse("threat", spec(made)) == made


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
        ("attack", "pgd(threat=pgd())", "`threat` must be Threat (option of pgd)"),
        ("attack", "pgd(threat=0.1)", "`threat` must be Threat"),
        ("attack", "pgd(threat='linf()')", "`threat` must be Threat"),
        ("attack", "pgd(random_start=1)", "`random_start` must be bool"),
        ("attack", "pgd(loss=3)", "`loss` must be str"),
        ("threat", "linf(eps=True)", "`eps` must be float or None"),
        ("threat", "linf(eps='0.1')", "`eps` must be float or None"),
        ("defense", "critic(attack=pgd())", "`attack` must be HighConfidence (option of critic)"),
        ("defense", "standard(optimizer=drop())", "`optimizer` must be Optimizer"),
        ("model", "mlp(units=5)", "`units` must be tuple"),
        ("recipe", "recipe(defense=lenet())", "`defense` must be Defense"),
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
        ("threat", "linf(eps=-1)", "`eps` must be a number at least 0.0 and at most 1.0. Received: eps=-1"),
        ("threat", "linf(eps=8)", "at most 1.0"),
        ("threat", "l2(eps=-1/255)", "at least 0.0"),
        ("attack", "pgd(threat=linf(eps=-1))", "`eps`"),
        ("attack", "pgd(threat=linf)", "`eps` must be given, for example linf(eps=0.1)"),
        ("attack", "pgd(steps=0)", "at least 1"),
        ("attack", "pgd(step_size=0)", "greater than 0"),
        ("attack", "pgd(loss='dlrr')", "Did you mean 'dlr'?"),
        ("model", "resnet(depth=21)", "[20, 32, 44, 56, 110]"),
        ("model", "wrn(depth=17)", "6 n + 4"),
        ("recipe", "recipe(epochs=0)", "at least 1"),
        ("recipe", "recipe(augment='crop')", "Did you mean 'crop_flip'?"),
        ("recipe", "recipe(validation=0)", "greater than 0"),
        ("recipe", "recipe(seed=-1)", "at least 0"),
    ],
)
def test_value_outside_its_range_is_refused_with_the_range(kind, text, words):
    assert words in refused(kind, text)


@pytest.mark.parametrize("threat", registry.registered("threat"))
def test_eps_that_is_nan_or_negative_is_refused_by_every_threat(threat):
    for value in (float("nan"), np.float64("nan"), -1, -1e-9, float("-inf")):
        with pytest.raises(InvalidInput, match="`eps` must be a number at least 0"):
            parse("threat", threat).replace(eps=value)


@pytest.mark.parametrize("text", ["pgd(loss=margin)", "pgd(threat=l2(eps=nan))"])
def test_a_bare_word_as_a_value_is_refused(text):
    assert text.removeprefix("pgd(").split("=")[-1].strip(")") in refused("attack", text)


# -- objects ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("obj", [o for o in DEFAULTS if dataclasses.fields(o)], ids=lambda o: o.name)
def test_objects_do_not_change(obj):
    field = dataclasses.fields(obj)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(obj, field, getattr(obj, field))


def test_replace_changes_a_copy_and_checks_it():
    one = parse("attack", "pgd(steps=7)")
    assert one.replace(steps=8).steps == 8 and one.steps == 7
    with pytest.raises(InvalidInput, match="steps"):
        one.replace(steps=0)


def test_a_name_is_given_once_whatever_its_kind():
    with pytest.raises(InvalidInput, match=r"`pgd` is already registered by keras_adv\.attacks\.pgd"):
        registry.register("model", "pgd")(type("Other", (registry.Spec,), {}))
    assert registry.registered("attack")["pgd"].__module__ == "keras_adv.attacks.pgd"
    assert "pgd" not in registry.registered("model")


def test_a_registered_class_gets_its_name_its_checks_and_its_spec(monkeypatch):
    monkeypatch.setattr(registry, "_CLASSES", {})

    class Sum(registry.Spec):
        parts: int = registry.tunable(default=2, lowest=1, highest=9)
        share: float | None = registry.option(default=None, above=0.0, high=1.0)

        def check(self):
            if self.share is not None and self.parts * self.share > 1:
                raise validate.fail("share", "at most 1 / parts", self.share)

    Sum.__annotations__ = {"parts": int, "share": float | None}
    made = registry.register("sum", "sum")(Sum)
    assert registry.registered("sum") == {"sum": made} and made.kind == "sum" and made.name == "sum"
    assert parse("sum", "sum(parts=4, share=1/4)") == made(parts=4, share=0.25)
    assert spec(made(share=0.3)) == "sum(share=0.3)"
    for text in ("sum(parts=-1)", "sum(share=0)", "sum(share=2)", "sum(parts=3, share=0.5)", "summ"):
        refused("sum", text)


# -- what a search varies --------------------------------------------------------------------------


@pytest.mark.parametrize("obj", DEFAULTS, ids=lambda o: o.name)
def test_tunables_put_back_give_the_same_object(obj):
    found = registry.tunables(obj)
    assert registry.with_values(obj, {path: value for path, (value, _) in found.items()}) == obj


@pytest.mark.parametrize(
    ("obj", "path"),
    [pytest.param(o, p, id=f"{o.name}.{p}") for o in DEFAULTS for p in registry.tunables(o)],
)
def test_both_ends_of_a_search_range_are_allowed_and_change_that_field_alone(obj, path):
    before = registry.tunables(obj)
    span = before[path][1]
    assert span.low < span.high and (span.low > 0 or not span.log)
    for end in (span.low, span.high):
        after = registry.tunables(registry.with_values(obj, {path: end}))
        assert after[path][0] == end
        assert {p: v for p, v in after.items() if p != path} == {p: v for p, v in before.items() if p != path}


def test_several_values_go_in_at_once_also_into_one_inner_object():
    one = parse("attack", "pgd")
    made = registry.with_values(one, {"threat.eps": 0.3, "steps": 5})
    assert spec(made) == "pgd(threat=linf(eps=0.3), steps=5)" and spec(one) == "pgd(threat=linf(eps=0.1))"
    recipe = parse("recipe", "recipe")
    both = {"defense.optimizer.learning_rate": 0.002, "defense.weight": 1.5, "defense.cycle": 0.02}
    changed = registry.tunables(registry.with_values(recipe, both))
    assert {path: changed[path][0] for path in both} == both


def test_values_put_in_are_checked():
    with pytest.raises(InvalidInput, match="eps"):
        registry.with_values(parse("attack", "pgd"), {"threat.eps": -1.0})


@pytest.mark.parametrize("source", ["faces", "faces.npz", "/some/where/faces.npz"])
def test_a_recipe_is_called_after_its_defense_its_model_and_its_data(source):
    recipe = parse("recipe", "recipe(defense=margin(), model=wrn())").replace(data=source)
    assert recipe.title == "margin_wrn_faces"
