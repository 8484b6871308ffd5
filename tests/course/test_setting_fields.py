"""Declarations of settings: complete, and the source of checks, options, search values and texts."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict, dataclass, fields, make_dataclass

import pytest

from tinygrad_cifar.cli.settings import OPTIONS, add_settings, explicit_settings, find_unused, format_options
from tinygrad_cifar.cli.vary import format_rounded, parse_vary
from tinygrad_cifar.course.setting_fields import MAX_INTEGER, SettingField, declared_fields, document_fields, setting
from tinygrad_cifar.course.settings import SETTINGS, Settings, SettingsError
from tinygrad_cifar.search import Choice

each_setting = pytest.mark.parametrize("declared", SETTINGS.values(), ids=SETTINGS)
each_option = pytest.mark.parametrize("declared", OPTIONS.values(), ids=OPTIONS)


def allowed_values(declared: SettingField) -> list[object]:
    """Return values of a setting that its declaration accepts, its bounds included."""
    if declared.choices:
        return list(declared.choices)
    if declared.type is bool:
        return [True, False, *declared.words]
    bounds = [bound for bound in (declared.at_least, declared.at_most) if bound is not None]
    values = [declared.type(bound) for bound in [*bounds, 0.5 if declared.type is float else declared.at_least or 1]]
    return [(value,) for value in values] if declared.is_tuple else values


@each_setting
def test_a_setting_is_declared_fully(declared):
    assert declared.meaning
    assert not declared.meaning.endswith(".")
    assert declared.group in ("model", "images", "training") or declared.name == "model"
    assert declared.accepts(declared.default)
    assert bool(declared.choices) == (declared.type is str)
    assert declared.accepts(None) == declared.is_optional
    if declared.type is float:
        assert declared.at_least is not None
    for other, values in declared.only_with.items():
        assert all(map(SETTINGS[other].accepts, values))


@each_setting
def test_the_checks_follow_from_the_declaration(declared):
    wrong = ["?", object(), [1], 2.5 if declared.type is int else "1", *([None] if not declared.is_optional else [])]
    if declared.type is not str and not declared.is_tuple:
        wrong += [bound - 1 for bound in (declared.at_least,) if bound is not None]
        wrong += [bound for bound in (declared.below,) if bound is not None]
        wrong += [MAX_INTEGER + 1] if declared.type is int else []
    for value in wrong:
        with pytest.raises(SettingsError, match=f"^{declared.name} must be "):
            Settings(**{declared.name: value})
    assert all(map(declared.accepts, allowed_values(declared)))


@each_option
def test_the_option_follows_from_the_declaration(declared, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_settings(parser)
    for value in allowed_values(declared):
        words = " ".join(format_options({declared.name: value})).split()
        assert words[0].removeprefix("--no-").removeprefix("--") == declared.name.replace("_", "-")
        assert explicit_settings(parser.parse_args(words)) == {declared.name: value}
    assert declared.meaning in parser.format_help()


@each_option
def test_a_varied_value_follows_from_the_declaration(declared):
    for value in allowed_values(declared):
        assert parse_vary(f"{declared.name}=grid:{format_rounded(value)}") == (declared.name, Choice([value]))
    if declared.type is float:
        parse_vary(f"{declared.name}=lin:0.1:0.2")
    else:
        with pytest.raises(argparse.ArgumentTypeError, match="is for real numbers"):
            parse_vary(f"{declared.name}=lin:1:2")


@each_option
def test_an_option_without_effect_follows_from_the_declaration(declared):
    given = {other: values[0] for other, values in declared.only_with.items() if other != "model"}
    model = declared.only_with.get("model", ("softmax",))[0]
    assert declared.name not in find_unused(model, {declared.name: declared.default, **given})
    for other, values in declared.only_with.items():
        for value in set(SETTINGS[other].choices) - set(values):
            own = {declared.name: declared.default}
            unused = find_unused(value, own) if other == "model" else find_unused(model, {**own, other: value})
            assert (
                f"no effect with {'the model' if other == 'model' else f'--{other}'} {value}" in unused[declared.name]
            )


@each_setting
def test_a_docstring_follows_from_the_declaration(declared):
    assert f"\n{declared.name} : {declared.annotation}\n" in Settings.__doc__
    assert declared.meaning[1:] in Settings.__doc__


def test_declarations_do_not_change_what_a_settings_object_is():
    assert list(asdict(Settings())) == [field.name for field in fields(Settings)] == list(vars(Settings()))
    assert json.loads(json.dumps(asdict(Settings())))["train_batches"] == [1]
    assert {name: declared.default for name, declared in declared_fields(Settings).items()} == asdict(Settings())


# -- declarations of their own -----------------------------------------------------------------------------------------


def declare(annotation: str, default: object = None, **options: object) -> SettingField:
    return SettingField("speed", annotation, default, "speed", **options)


@pytest.mark.parametrize(
    ("declared", "requirement", "right", "wrong"),
    [
        (declare("int"), "an integer", [-5, 0, 2**63 - 1], [2**63, 1.0, "1", True, None]),
        (declare("int", at_least=2), "an integer, at least 2", [2, 3], [1]),
        (declare("int", at_least=2, at_most=5), "an integer from 2 to 5", [2, 5], [1, 6]),
        (declare("int | None", at_least=2), "an integer, at least 2 or None", [2, None], [1]),
        (declare("float"), "a finite number", [-1e300, 2**70, 0], [float("nan"), float("inf"), "1", False]),
        (declare("float", at_least=0.5), "a finite number, at least 0.5", [0.5, 1e300], [0.49]),
        (declare("float", at_least=0, at_most=2), "a finite number from 0 to 2", [0, 2.0], [-1e-9, 2.0001]),
        (declare("float", at_least=0, below=1), "a finite number from 0 up to, but excluding, 1", [0, 0.99], [1, -0.1]),
        (declare("bool"), "True or False", [True, False], [0, 1, None, "yes"]),
        (declare("bool | str", words=("a",)), "True, False or a", [True, False, "a"], [0, None, "yes", "b"]),
        (declare("str", choices=("a", "b")), "one of a, b", ["a", "b"], ["c", "", 1, None]),
        (
            declare("tuple[int, ...]", at_least=1),
            "a tuple of integers, at least 1",
            [(), (1,), (3, 2)],
            [(0,), (1, 0), [1], 1, (1.0,), None],
        ),
    ],
)
def test_a_declaration_accepts_what_its_requirement_says(declared, requirement, right, wrong):
    assert declared.requirement == requirement
    assert [value for value in right if not declared.accepts(value)] == []
    assert [value for value in wrong if declared.accepts(value)] == []


@pytest.mark.parametrize(
    ("declared", "text", "value"),
    [
        (declare("int"), "-12", -12),
        (declare("float"), "1e-3", 0.001),
        (declare("bool"), "yes", True),
        (declare("bool"), "FALSE", False),
        (declare("bool"), "True", True),
        (declare("bool"), "no", False),
        (declare("bool | str", words=("a",)), "a", "a"),
        (declare("bool | str", words=("a",)), "no", False),
        (declare("str", choices=("a",)), "b", "b"),
        (declare("tuple[int, ...]"), "3+2", (3, 2)),
        (declare("int | None"), "7", 7),
    ],
)
def test_a_text_is_parsed_by_the_type(declared, text, value):
    assert (declared.parse(text), type(declared.parse(text))) == (value, type(value))


@pytest.mark.parametrize(
    ("declared", "text", "wanted"),
    [
        (declare("int"), "1.5", "an integer"),
        (declare("float", at_least=0), "x", "a finite number, at least 0"),
        (declare("bool"), "maybe", "yes or no"),
        (declare("bool | str", words=("a",)), "maybe", "yes, no or a"),
        (declare("tuple[int, ...]"), "3,2", "integers joined by +"),
    ],
)
def test_a_text_of_another_type_is_refused(declared, text, wanted):
    with pytest.raises(ValueError, match=re.escape(f"must be {wanted}; got {text!r}")):
        declared.parse(text)


def test_a_setting_has_an_effect_only_with_the_values_of_others():
    declared = declare("int", only_with={"model": ("a", "b"), "mode": ("c",)})
    assert declared.has_effect({"model": "a", "mode": "c"})
    assert not declared.has_effect({"model": "a", "mode": "d"})
    assert not declared.has_effect({"model": "c", "mode": "c"})
    assert declare("int").has_effect({})


@pytest.mark.parametrize(
    ("options", "value", "text"),
    [
        ({"label": "speed {}"}, 3, "speed 3"),
        ({"label": "speed {}"}, 1, ""),
        ({"label": "speed {}", "is_always_shown": True}, 1, "speed 1"),
        ({"label": lambda value: f"{value} m/s"}, 3, "3 m/s"),
        ({}, 3, ""),
        ({"label": "speed {}", "only_with": {"model": ("a",)}}, 3, ""),
        ({"label": "speed {}", "only_with": {"model": ("b",)}}, 3, "speed 3"),
    ],
)
def test_a_setting_is_described_if_it_differs_and_has_an_effect(options, value, text):
    assert declare("int", 1, **options).describe({"speed": value, "model": "b"}) == text


def test_a_tuple_is_described_by_its_elements():
    assert declare("tuple[int, ...]", (), label="{} units").describe({"speed": (30, 20)}) == "30 20 units"


def test_the_docstring_lists_the_fields():
    @dataclass
    class Walk:
        """A walk."""

        speed: float = setting(1.0, "speed in m/s", at_least=0)
        shoes: str = setting("none", "kind of shoes", choices=("none", "boots"), only_with={"ground": ("wet", "snow")})

    assert document_fields(Walk) is Walk
    assert Walk.__doc__.splitlines() == [
        "A walk.",
        "",
        "Attributes",
        "----------",
        "speed : float",
        "    Speed in m/s.",
        "    A finite number, at least 0.",
        "    Default: 1.0.",
        "shoes : str",
        "    Kind of shoes.",
        "    One of none, boots.",
        "    Only with ground wet or snow.",
        "    Default: 'none'.",
    ]


def test_the_annotation_may_be_a_type():
    declared = declared_fields(make_dataclass("Walk", [("speed", int, setting(1, "speed"))]))["speed"]
    assert (declared.annotation, declared.type, declared.default) == ("int", int, 1)


def test_a_declaration_has_no_restriction_by_default():
    declared = declare("int")
    assert (declared.is_strict, declared.is_always_shown, declared.is_optional, declared.is_tuple) == (False,) * 4
    assert (declared.at_least, declared.at_most, declared.below, declared.label) == (None,) * 4


@pytest.mark.parametrize(("name", "option"), [("eta", "--eta"), ("batch_size", "--batch-size"), ("a_b_c", "--a-b-c")])
def test_an_option_has_the_name_with_hyphens(name, option):
    assert SettingField(name, "int", 0, "").option == option
