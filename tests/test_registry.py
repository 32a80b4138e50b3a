"""Spec strings and objects say the same."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_adv import InvalidInput, registry, validate
from keras_adv.attacks import PGD
from keras_adv.attacks.objectives import DLR
from keras_adv.defenses.base import Defense
from keras_adv.optimizers import SGD
from keras_adv.registry import parse, spec
from keras_adv.registry.fields import hints, kinds_of
from keras_adv.threats import Linf

KINDS = (
    "attack", "average", "defense", "growth", "images", "model", "objective", "optimizer", "recipe",
    "schedule", "threat",
)  # fmt: skip
CLASSES = [cls for kind in KINDS for cls in registry.registered(kind).values()]
DEFAULTS = [cls() for cls in CLASSES]
VALUES = [
    None, True, False, 0, 1, 2, 20, 22, 1e-5, 8 / 255, 0.3, 0.1 + 0.2, 1.0, 2.5, -0.5, 32,
    "small", "margin", "hinge", "crop_flip", "softplus", "linear", "cross_entropy", "exponential", "ratio",
    "a file's \"name\".npz", (), (7,), (8, 12), (1, 2, 3), (0.25, 1 / 3), *DEFAULTS,
    *(parse("threat", f"{name}(eps=8/255)") for name in registry.registered("threat")),
    parse("attack", "high_confidence(steps=3)"), (parse("attack", "fgsm"),), ("conv", "dense"),
    parse("attack", "pgd(loss='kl')"), parse("attack", "pgd(loss='cosine_distance')"),
]  # fmt: skip


def variants(obj, field):
    """`obj` with `field` at every one of VALUES that it allows, but for the value it has."""
    known = next(f for f in dataclasses.fields(obj) if f.name == field)
    kinds = kinds_of(hints(type(obj))[field])
    values = [v for v in VALUES if getattr(v, "kind", None) in (None, *kinds)]
    for value in (*values, *(known.metadata.get("choices") or ())):
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


@pytest.mark.parametrize("kind", KINDS)
def test_every_changed_field_survives_the_spec(kind):
    for cls in registry.registered(kind).values():
        for field in dataclasses.fields(cls):
            changed_field_survives(cls, field.name)


STARTS = {
    ("mmc", "targeted"): lambda: parse("defense", "mmc(attack=fgsm())"),
    ("resnet18", "end_norm"): lambda: parse("model", "resnet18(block='pre')"),
    ("apgd", "ranking"): lambda: parse("attack", "apgd(loss=dlr(), targets=3)"),
    ("convnet", "width"): lambda: parse("model", "convnet(form='cnn7')"),
}
"""Specs of which a field can be another, where it cannot in the default."""


def changed_field_survives(cls, field):
    start = STARTS.get((cls.name, field), cls)()
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


def test_fractions_of_255_are_parsed_exactly_and_printed_as_such():
    for n in range(256):
        one = parse("threat", f"linf(eps={n}/255)")
        assert one.eps == n / 255
        assert parse("threat", spec(one)) == one
        if n % 51:  # 51/255 is 0.2
            assert spec(one) == f"linf(eps={n}/255)"


@given(st.floats(min_value=0, allow_infinity=False, allow_nan=False))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_float_survives_to_its_last_bit(value):
    made = parse("threat", "l2").replace(eps=value)
    assert parse("threat", spec(made)).eps == value


@given(st.integers(1, 10**6))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_number_of_255ths_survives_to_its_last_bit(n):
    made = parse("threat", "l2").replace(eps=n / 255)
    assert parse("threat", spec(made)).eps == n / 255


@given(st.text(max_size=20))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_text_in_a_field_survives_its_spec(text):
    made = parse("recipe", "recipe").replace(data=text)
    assert parse("recipe", spec(made)) == made


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


def test_a_name_is_given_once_in_its_kind_and_a_preset_counts():
    for kind, name, owner in (
        ("attack", "pgd", r"keras_adv\.attacks\.pgd"),
        ("defense", "mat_cifar", "a preset"),
    ):
        with pytest.raises(InvalidInput, match=f"`name` must be new among {kind}s.*{name}.*by {owner}"):
            registry.register(kind, name)(type("Other", (registry.Spec,), {}))
    with pytest.raises(InvalidInput, match="must be new among attacks"):
        registry.preset("pgd", parse("attack", "fgsm"))
    assert registry.registered("attack")["pgd"].__module__ == "keras_adv.attacks.pgd"
    assert {"margin"} <= set(registry.registered("objective")) & set(registry.registered("defense"))


def test_a_registered_class_gets_its_name_its_checks_and_its_spec(own_names):
    class Sum(registry.Spec):
        parts: int = registry.tunable(default=2, lowest=1, highest=9)
        share: float | None = registry.option(default=None, above=0.0, high=1.0)

        def check(self):
            if self.share is not None and self.parts * self.share > 1:
                raise validate.invalid("share", "at most 1 / parts", self.share)

    made = registry.register("sum", "sum")(Sum)
    assert registry.registered("sum") == {"sum": made} and made.kind == "sum" and made.name == "sum"
    assert parse("sum", "sum(parts=4, share=1/4)") == made(parts=4, share=0.25)
    assert spec(made(share=0.3)) == "sum(share=0.3)"
    for text in ("sum(parts=-1)", "sum(share=0)", "sum(share=2)", "sum(parts=3, share=0.5)", "summ"):
        with pytest.raises(InvalidInput):
            parse("sum", text)


def test_the_same_class_may_be_registered_again_as_a_notebook_does(own_names):
    for first in (1.0, 2.0):

        class Mine(registry.Spec):
            weight: float = registry.option(default=first)

        registry.register("sum", "mine")(Mine)
    assert parse("sum", "mine").weight == 2.0


# -- specs inside ----------------------------------------------------------------------------------


def test_a_spec_inside_may_be_its_string_its_word_or_the_object():
    objects = PGD(threat=Linf(eps=0.1), loss=DLR())
    for made in (
        PGD(threat="linf(eps=0.1)", loss="dlr"),
        parse("attack", "pgd(loss='dlr')"),
        parse("attack", "pgd(loss=dlr)"),
        parse("attack", "pgd(loss=dlr())"),
    ):
        assert made == objects and hash(made) == hash(objects) and spec(made) == spec(objects)
    assert spec(objects) == "pgd(threat=linf(eps=0.1), loss=dlr())"
    with pytest.raises(InvalidInput, match=r"`objective` must be one of .*Did you mean 'dlr'"):
        PGD(loss="dlrr")


def test_numbers_of_numpy_become_pythons():
    for eps in np.linspace(0.25, 0.5, 2, dtype="float32"):
        made = PGD(threat=Linf(eps=eps), steps=np.int64(7))
        assert made == PGD(threat=Linf(eps=float(eps)), steps=7) and parse("attack", spec(made)) == made
    assert parse("model", "mlp").replace(units=(np.int64(5),)).units == (5,)


# -- presets ---------------------------------------------------------------------------------------


def test_a_search_varies_the_end_of_a_ramp():
    found = registry.tunables(parse("defense", "trades(weight=ramp(0, 6, epochs=8))"))
    assert found["weight.end"][0] == 6 and "weight" not in found
    made = registry.with_values(parse("defense", "nuat()"), {"weight.end": 3.0})
    assert made.weight.end == 3.0 and made.weight.start == 0.0


def test_presets_are_named_after_their_method_and_their_data():
    found = registry.presets("defense")
    assert len(found) >= 26
    for name, preset in found.items():
        data = name.removeprefix(f"{preset.made.name}_").split("_")[0]
        assert data in ("mnist", "cifar", "cifar100", "imagenet"), name
        assert data in preset.recipe["data"] and preset.note, name
        assert {"model", "data", "epochs", "batch_size"} <= set(preset.recipe), name  # defaults may change
        assert parse("defense", name) == preset.made
    for name in registry.presets("attack"):
        assert name.endswith("_thesis") or name in ("pgd_l0", "malt")


def test_a_preset_of_a_paper_is_a_whole_recipe_of_which_fields_can_be_changed():
    made = parse("recipe", "trades_cifar(data='cifar10.npz')")
    assert spec(made.model) == "wrn(depth=34, width=10)" and made.data == "cifar10.npz"
    assert (made.epochs, made.batch_size, made.augment) == (76, 128, "crop_flip")
    assert made.defense == parse("defense", "trades_cifar") and made.defense.weight == 6.0
    assert parse("recipe", spec(made)) == made
    weaker = parse("recipe", "recipe(defense=trades_cifar(weight=3.0))")
    assert (
        weaker.defense == made.defense.replace(weight=3.0)
        and weaker.epochs == parse("recipe", "recipe()").epochs
    )
    assert set(registry.presets("recipe")) == set(registry.presets("defense"))


# -- what a search varies --------------------------------------------------------------------------


@pytest.mark.parametrize("obj", DEFAULTS, ids=lambda o: o.name)
def test_tunables_put_back_give_the_same_object(obj):
    found = registry.tunables(obj)
    assert registry.with_values(obj, {path: value for path, (value, _) in found.items()}) == obj


def test_both_ends_of_a_search_range_are_allowed_and_change_that_field_alone():
    for obj in DEFAULTS:
        for path in registry.tunables(obj):
            ends_change_one_field(obj, path)


def ends_change_one_field(obj, path):
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


@pytest.mark.parametrize("text", ["pgd(steps=1or 2)", "pgd(steps=0x1for)", "pgd(loss='\\d')"])
def test_python_itself_says_nothing_of_an_odd_text(text, recwarn):
    with pytest.raises(InvalidInput):
        registry.parse("attack", text)
    assert not recwarn.list


def test_an_object_of_a_class_that_is_not_registered_is_refused():
    class Mine(PGD):
        """PGD under no name of its own: its spec would be that of PGD."""

    class Own(Defense):
        """A defense that has all but the decorator."""

        name, kind, optimizer = "own", "defense", SGD()

    with pytest.raises(
        InvalidInput, match=r"`defense` must be of a class with @register\('defense'.*an? Own"
    ):
        parse("defense", Own())
    with pytest.raises(InvalidInput, match=r"`attack` must be of a class with @register\('attack'.*a Mine"):
        parse("attack", Mine())
