"""docs/gradient_checks.md: what this library's own checks catch is as the page says."""

from __future__ import annotations

import re

import pytest

from tests.evidence import other_checks
from tinygrad_cifar.testing.faults import NOTHING, VALUE_FAULTS

pytestmark = pytest.mark.slow

PAGE = other_checks.PAGE.read_text(encoding="utf-8")
REMEDY = "run: python -m tests.evidence.other_checks"


def cells(kind):
    """Return the cells of a row of the page."""
    (row,) = re.findall(rf"^\| {re.escape(kind)} \| (.*) \|$", PAGE, re.MULTILINE)
    return row.split(" | ")


@pytest.mark.parametrize("kind", other_checks.KINDS)
def test_page_says_what_the_checks_of_this_library_catch(kind):
    checks = (other_checks.check_primitive, other_checks.check_gradients)
    caught = [sum(other_checks.catches(check, name, kind) for name in other_checks.FUNCTIONS) for check in checks]
    assert [f"{count} of 3" for count in caught] == cells(kind)[:2], REMEDY


def test_no_check_fails_without_a_fault():
    assert set(cells(NOTHING)) == {"0 of 3"}


def test_every_fault_is_caught_by_check_primitive():
    assert {cells(kind)[0] for kind in VALUE_FAULTS} == {"3 of 3"}
