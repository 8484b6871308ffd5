"""Declarations of settings: complete, and the source of checks, options, search values and texts."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, fields

import pytest

from tinygrad_cifar.cli.settings import OPTIONS, add_settings, explicit_settings, find_unused, format_options
from tinygrad_cifar.cli.vary import format_value, parse_vary
from tinygrad_cifar.course.setting_fields import MAX_INTEGER, SettingField, declared_fields
from tinygrad_cifar.course.settings import SETTINGS, Settings, SettingsError
from tinygrad_cifar.search import Choice

each_setting = pytest.mark.parametrize("declared", SETTINGS.values(), ids=SETTINGS)
each_option = pytest.mark.parametrize("declared", OPTIONS.values(), ids=OPTIONS)


def allowed_values(declared: SettingField) -> list[object]:
    """Return values of a setting that its declaration accepts, its bounds included."""
    if declared.choices:
        return list(declared.choices)
    if declared.type is bool:
        return [True, False]
    bounds = [bound for bound in (declared.at_least, declared.at_most) if bound is not None]
    values = [declared.type(bound) for bound in [*bounds, 0.5 if declared.below else declared.at_least or 1]]
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
        assert parse_vary(f"{declared.name}=grid:{format_value(value)}") == (declared.name, Choice([value]))
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
