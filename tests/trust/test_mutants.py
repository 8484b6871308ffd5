"""Mutants: which changes are made, that the sample is stable, and that survivors are told from detected mutants."""

from __future__ import annotations

import ast
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evidence import mutants
from tests.evidence.mutants import Outcome, Project, Report, Row
from tests.evidence.mutations import KINDS, draw_sample, list_mutants

pytestmark = pytest.mark.slow

PROJECT = Project(mutants.ROOT, mutants.PACKAGE)
MODULES = PROJECT.modules()


def changes(source):
    """Return the sources of all mutants of a module."""
    return [mutant.apply(source) for mutant in list_mutants("module", source)]


@pytest.mark.parametrize(
    ("source", "mutated"),
    [
        ("a + b", ["(a - b)"]),
        ("a // b", ["(a * b)"]),
        ("a and b", ["(a or b)"]),
        ("-a", ["(a)"]),
        ("a < b", ["(a <= b)"]),
        ("a == b", ["(a != b)"]),
        ("a in b", ["(a not in b)"]),
        ("0 <= a < b", ["(1) <= a < b", "(0 < a < b)", "(0 <= a <= b)"]),
        ("x = 0.01", ["x = (1.01)"]),
        ("x = True", ["x = (False)"]),
        ("x += a", ["pass", "x -= a"]),
        ("x.a = b", ["pass"]),
        ("if a:\n    b", ["if (not a):\n    b"]),
        ("if not a:\n    b", ["if (a):\n    b"]),
        ("if a is b:\n    c", ["if (a is not b):\n    c"]),
        ("[a for a in b if c]", ["[a for a in b if (not c)]"]),
        ("f(a)", ["pass"]),
        ("raise a", ["pass"]),
        ("def f():\n    return a", ["def f():\n    return None"]),
        ("def f(a=1): pass", ["def f(a=(2)): pass"]),
        ("def f(*, a=1): pass", ["def f(*, a=(2)): pass"]),
        ("class A:\n    x: int = 1", ["class A:\n    x: int = (2)"]),
        ("for a in b:\n    break", ["for a in b:\n    pass"]),
        ("é = 1 # ü", ["é = (2) # ü"]),
        ("x = (1 +  # why\n     a)", ["x = ((1 - a))", "x = ((2) +  # why\n     a)"]),
    ],
)
def test_each_part_is_changed_by_itself(source, mutated):
    assert sorted(changes(source)) == sorted(mutated)


@pytest.mark.parametrize(
    "source",
    [
        '"""Text."""',
        "x = 'text'",
        "x = f'{a + 1}'",
        "x = 'a' + b",
        "x: Literal[1]",
        "def f(a: Literal[1]) -> Literal[2]: pass",
        "def f():\n    return None",
        "def f():\n    return",
        "x = a",
        "Callback = int | None",
        "if TYPE_CHECKING:\n    f(1)",
        'if __name__ == "__main__":\n    f(1)',
    ],
)
def test_what_has_no_effect_is_not_changed(source):
    assert changes(source) == []


@pytest.mark.parametrize("module", MODULES)
def test_every_mutant_is_another_program_with_an_identity_of_its_own(module):
    source = PROJECT.source(module)
    found = list_mutants(module, source)
    assert len({mutant.identity for mutant in found}) == len(found)
    assert {mutant.kind for mutant in found} <= set(KINDS)
    right = ast.dump(ast.parse(source))
    assert all(ast.dump(ast.parse(mutant.apply(source))) != right for mutant in draw_sample(found, 5, 0))


def test_the_sample_does_not_depend_on_line_numbers_or_other_functions():
    source = PROJECT.source("data/batches")
    moved = "import os\n\n\n" + source + "\n\ndef new(a):\n    return a + 1\n"
    before, after = (list_mutants("data/batches", text) for text in (source, moved))
    for seed in range(5):
        old, new = ({m.identity for m in draw_sample(found, 20, seed)} for found in (before, after))
        assert len(old) == 20
        assert {identity for identity in new if ":new:" not in identity} <= old


@given(st.integers(0, 200), st.integers(0, 2**32))
def test_a_sample_has_the_requested_size_and_order(count, seed):
    every = list_mutants("data/batches", PROJECT.source("data/batches"))
    drawn = draw_sample(every, count, seed)
    assert len(drawn) == min(count, len(every))
    assert drawn == [mutant for mutant in every if mutant in drawn]


# -- the harness -------------------------------------------------------------------------------------------------------

MODULE = """
LIMIT = 3

def clip(x, least=0):
    if x < least:
        return least
    return x

def untested(x):
    return x + 1

def of_a_fixture():
    return [4, 5, 6]

def of_a_cache():
    return [7, 8, 9]

def endless(n):
    while n > 0:
        n -= 1
    return n
"""
TESTS = """
import functools
import pytest
from little.numbers.clipping import LIMIT, clip, endless, of_a_cache, of_a_fixture

@pytest.fixture(scope="module")
def shared():
    return of_a_fixture()

@functools.cache
def cached():
    return of_a_cache()

def test_first_use(shared):
    assert shared and cached()

def test_second_use(shared):
    assert shared[0] == 4

def test_second_call():
    assert cached()[0] == 7

def test_clip():
    assert [clip(-1), clip(0), clip(2)] == [0, 0, 2]

def test_endless():
    assert endless(3) == 0

def test_broken():
    assert False
"""


@pytest.fixture(scope="module")
def little(tmp_path_factory):
    """Return a small project, and the report on all mutants of its module."""
    root = tmp_path_factory.mktemp("little")
    for folder in ("little/numbers", "tests/numbers"):
        (root / folder).mkdir(parents=True)
        for part in (root / folder, (root / folder).parent):
            (part / "__init__.py").touch()
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\npythonpath = ['.']\n")
    (root / "little/numbers/clipping.py").write_text(MODULE)
    (root / "tests/numbers/test_clipping.py").write_text(TESTS)
    return Project(root, "little")


@pytest.fixture(scope="module")
def report(little, tmp_path_factory):
    pytest.importorskip("coverage")
    if not hasattr(os, "fork"):
        pytest.skip("the harness forks")
    equivalent = {"numbers/clipping:clip: `x < least` to `x <= least` in `if x < least:`": "both are the same number"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mutants, "LEAST_CPU", 1)
        work = tmp_path_factory.mktemp("work")
        return mutants.run_mutants(little, ["numbers/clipping"], work, sample=100, equivalent=equivalent)


def find(report, before, kind):
    (outcome,) = (o for o in report.outcomes if (o.mutant.before, o.mutant.kind) == (before, kind))
    return outcome


@pytest.mark.slow
def test_a_mutant_is_detected_by_a_test_that_runs_it(report):
    assert find(report, "return least", "return").detected_by == "tests/numbers/test_clipping.py::test_clip"
    assert find(report, "return n", "return").detected_by == "tests/numbers/test_clipping.py::test_endless"


def test_a_mutant_is_detected_by_any_user_of_a_fixture_or_a_cached_function(report):
    assert find(report, "4", "constant").detected_by == "tests/numbers/test_clipping.py::test_second_use"
    assert find(report, "7", "constant").detected_by == "tests/numbers/test_clipping.py::test_second_call"
    assert find(report, "5", "constant").survived


def test_a_mutant_that_no_test_runs_survives(report):
    assert find(report, "return x + 1", "return").survived
    assert find(report, "3", "constant").survived


def test_a_mutant_that_does_not_end_is_detected(report):
    assert find(report, "n -= 1", "deletion").detected_by


def test_a_test_that_fails_without_a_mutant_is_left_out(report):
    assert report.failed == ["tests/numbers/test_clipping.py::test_broken"]
    assert "test_broken" not in {outcome.detected_by for outcome in report.outcomes}


def test_an_equivalent_mutant_is_not_counted(report):
    assert find(report, "x < least", "comparison").equivalent
    (row,) = mutants.score(report)
    survivors = [outcome for outcome in report.outcomes if outcome.survived]
    assert (row.all, row.tried, row.equivalent) == (len(report.outcomes), len(report.outcomes), 1)
    assert row.detected == row.tried - 1 - len(survivors)


def test_the_page_has_every_module_and_every_survivor(report):
    page = mutants.format_page(report)
    (row,) = mutants.score(report)
    share = f"{100 * row.detected / (row.tried - 1):.0f} %"
    assert f"| `numbers/clipping` | {row.all} | {row.tried} | 1 | {row.detected} | {share} |" in page
    for outcome in report.outcomes:
        assert (outcome.mutant.identity in page) == bool(outcome.survived or outcome.equivalent)


def test_the_project_is_not_changed(little, report):
    assert report.outcomes
    assert little.source("numbers/clipping") == MODULE


def test_a_stale_entry_of_the_list_of_equivalents_is_found(little):
    known = list_mutants("numbers/clipping", MODULE)[0].identity
    assert mutants.find_stale(little, {known: "a reason", "another": "a reason"}) == ["another"]


def test_the_list_of_equivalents_has_no_stale_entry():
    assert mutants.find_stale(mutants.Project(mutants.ROOT, mutants.PACKAGE), mutants.EQUIVALENT) == []


def test_a_module_without_faults_has_the_full_share():
    assert Row("a", 1, 1, 0, 1).share == 100


def test_an_interrupted_run_is_continued(little, tmp_path, monkeypatch):
    (first, *_) = list_mutants("numbers/clipping", MODULE)
    log = mutants.Log(tmp_path / "log.jsonl", little, ["numbers/clipping"])
    for mutant in list_mutants("numbers/clipping", MODULE):
        log.add(Outcome(mutant, "a test" if mutant == first else "", 1))
    monkeypatch.setattr(mutants, "Worker", None)  # no process is started
    again = mutants.run_mutants(little, ["numbers/clipping"], tmp_path, sample=100)
    assert isinstance(again, Report)
    assert [outcome.detected_by for outcome in again.outcomes] == ["a test"] + [""] * (len(again.outcomes) - 1)
