"""docs/referee.md: the hard cases, and this library's column of the page."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.evidence.referee import adapters, cases, table

PAGE = table.PAGE.read_text(encoding="utf-8")
REMEDY = "run: python -m tests.evidence.referee"


@pytest.mark.parametrize("case", cases.CASES, ids=[case.question for case in cases.CASES])
def test_answer_of_this_library_is_right_and_as_on_the_page(case):
    answer = table.ask(adapters.TinygradCifar(), case)
    assert answer.verdict in ("right", "refused"), answer
    (row,) = re.findall(rf"^\| {case.group} \| {re.escape(case.question)} \| ([^|]*) \|", PAGE, re.MULTILINE)
    assert row == str(answer), REMEDY


def test_page_has_every_case_and_every_library():
    assert len(re.findall(r"^\| (?!---|about|library)[^|]+ \| [^|]+ \|(?: [^|]+ \|){5}$", PAGE, re.MULTILINE)) >= len(
        cases.CASES
    ), REMEDY
    assert all(adapter.title in PAGE for adapter in adapters.ADAPTERS)


# -- the verdicts ------------------------------------------------------------------------------------------------------


def verdict(program, *right, group="accuracy"):
    return str(table.ask(adapters.TinygradCifar(), cases.Case(group, "a question", program, right)))


def fail(_):
    raise ValueError("no")


def not_there(adapter):
    return adapters.operation(adapter, "an_operation_that_is_not_there")


@pytest.mark.parametrize(
    ("program", "right", "expected"),
    [
        (lambda _: np.array([1.0]), (1.0,), "right"),
        (lambda _: np.array([1.0, 2.0]), ([1.0, 2.5],), "wrong: 1, 2"),
        (lambda _: np.array([np.nan]), (0.0,), "wrong: nan"),
        (lambda _: np.array([1.0, 1.0]), (1.0,), "wrong: 1, 1"),
        (lambda _: "float64", ("float32",), "wrong: float64"),
        (fail, (1.0,), "refused: ValueError"),
        (fail, (1.0, "an error"), "right"),
        (not_there, (1.0,), "not offered"),
    ],
)
def test_verdicts(program, right, expected):
    assert verdict(program, *right) == expected


def test_another_answer_at_a_kink_is_not_called_wrong():
    assert verdict(lambda _: 1.0, 0.0, group="kinks") == "other: 1"


def test_the_tolerance_is_smaller_than_the_smallest_answer():
    assert verdict(lambda _: 0.0, 1e-300).startswith("wrong")


@pytest.mark.parametrize("adapter", adapters.ADAPTERS)
def test_adapter_has_at_most_fifty_lines(adapter):
    import inspect  # noqa: PLC0415

    assert len(inspect.getsource(adapter).splitlines()) <= 50
