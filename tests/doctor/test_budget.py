"""The processor time of a diagnosis: every stage stops when it is used up, and the answer is not a guess."""

from __future__ import annotations

from typing import Any

import pytest

from tests.doctor.examples import EXAMPLES
from tinygrad_cifar.doctor import budget as budget_module
from tinygrad_cifar.doctor import diagnose, diagnosis
from tinygrad_cifar.doctor.budget import Budget


class Clock:
    """A clock that is set by hand, in place of the module ``time``."""

    now = 0.0

    def thread_time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(budget_module, "time", clock)
    return clock


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "_SECONDS", 0.0)


def test_budget_is_used_up_after_its_seconds(clock: Clock) -> None:
    budget = Budget(2.0, 10.0)
    clock.now = 1.9
    assert not budget.is_used_up
    clock.now = 2.1
    assert budget.is_used_up
    assert budget.was_used_up


def test_time_in_functions_of_the_user_is_counted_apart(clock: Clock) -> None:
    budget = Budget(2.0, 10.0)
    with budget.in_function():
        clock.now = 9.0
    assert (budget.spent, budget.is_used_up) == (0.0, False)
    with budget.in_function():
        clock.now = 11.0
    assert budget.is_used_up


@pytest.mark.usefixtures("no_time")
@pytest.mark.parametrize("network", EXAMPLES)
def test_right_gradients_are_right_without_time(network: str) -> None:
    example = EXAMPLES[network]
    report = diagnose(example.cost, example.gradients(), example.problem)
    assert report.status == "right"
    assert any("time was used up" in note for note in report.notes)


MISTAKES = {"softmax": "G = P - Y -> G = P", "two layers": "dH * (A > 0) -> dH", "deep": "        G = G * gamma[k] -> "}


@pytest.mark.usefixtures("no_time")
@pytest.mark.parametrize("network", MISTAKES)
def test_wrong_gradients_are_not_known_without_time(network: str) -> None:
    example = EXAMPLES[network]
    report = diagnose(example.cost, example.gradients(MISTAKES[network]), example.problem)
    assert (report.status, report.mistakes) == ("not known", ())
    assert report.known[-1] == "The processor time was used up before all explanations had been tried."


def test_time_is_not_mentioned_if_it_was_enough() -> None:
    example = EXAMPLES["softmax"]
    assert "time" not in str(diagnose(example.cost, example.gradients(), example.problem))


def test_variables_of_the_caller_are_not_searched_for_names() -> None:
    """The names of a cost's values are in the cost; the caller may hold thousands of arrays."""

    class Rows(dict[str, Any]):
        was_read = False

        def items(self) -> Any:
            self.was_read = True
            return super().items()

    example, rows = EXAMPLES["softmax"], Rows()
    diagnose(example.cost, example.gradients(), example.problem)
    assert not rows.was_read


@pytest.mark.parametrize("change", ["- Y) / N -> - Y) / N / N", "        G = G * masks[k] -> "])
def test_a_change_that_explains_all_gradients_is_found_without_other_arguments_or_forward_passes(change: str) -> None:
    """They are tried only where many gradients are wrong, and take the time of the search in deep networks."""
    example = EXAMPLES["deep"]
    few_wrong = "        G = G * gamma[k] -> "
    counts = []

    def cost(**arguments: Any) -> Any:
        counts[-1] += 1
        return example.cost(**arguments)

    for wrong in (few_wrong, change):
        counts.append(0)
        diagnose(cost, example.gradients(wrong), example.problem)
    assert counts[1] == counts[0]
