"""Ask a doctor about the cases of a set, and count what it said."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tests.evidence.hand_derived import development, held_out, second_validation, third_validation, validation
from tests.evidence.hand_derived.adapter import VERDICTS, Answer
from tests.evidence.hand_derived.cases import Case, draw_cases
from tests.evidence.hand_derived.judge import names_mistake

NETWORKS = ("softmax", "svm", "two layers", "k layers", "patchify")
SEEDS = {
    "development": 1,
    "validation": 20261121,
    "second-validation": 20261122,
    "third-validation": 20261123,
    "held-out": 20261124,
}
_PROGRAMS = {
    "development": development.programs,
    "validation": validation.programs,
    "second-validation": second_validation.programs,
    "third-validation": third_validation.programs,
    "held-out": held_out.programs,
}
SHARE_NAMED, SECONDS = 0.95, 2.0  # the goals: share of mistakes that are named right, and processor time of one case

# Number of each mistake in the list of mistakes that people make.
NUMBERS = {
    **dict.fromkeys(("missing_1_over_n", "double_1_over_n", "misplaced_1_over_n", "divided_by_other"), 1),
    "l2_over_n": 2,
    "l2_half": 3,
    "l2_double": 3,
    "l2_missing": 4,
    "l2_bias": 4,
    "db_from_dw": 5,
    "db_mean": 6,
    "db_not_summed": 7,
    "db_wrong_axis": 7,
    "transposed_factor": 8,
    "dw_transposed": 8,
    "sign_all": 9,
    "sign_loss": 9,
    "sign_param": 9,
    "activation_derivative_missing": 10,
    "mask_wrong_array": 11,
    "margin_forgotten": 11,
    "other_derivative": 12,
    "derivative_at_input": 12,
    "overwritten": 13,
    "softmax_diagonal": 14,
    "softmax_sum_forgotten": 15,
    "softmax_unnormalised": 15,
    "updated_before_delta": 16,
    "w_for_dw": 17,
    **dict.fromkeys(("hinge_own_missing", "hinge_own_counted", "hinge_own_once", "hinge_own_sign"), 18),
    **dict.fromkeys(("bn_mean_var_constant", "bn_mean_constant", "bn_var_constant", "bn_gamma_missing"), 19),
    "dropout_mask_missing": 20,
    "dropout_not_scaled": 20,
    "filter_flipped": 21,
    "channels_swapped": 21,
    "filter_transposed": 21,
    "off_by_one": 23,
    "bias_forgotten": 23,
    "detached": 23,
    "wrong_variable": 24,
    "momentum_factor": 25,
}


class Outcome(NamedTuple):
    """The answer about one case, and whether it is right.

    ``result`` is "named" (right by the first sentence), "misnamed", "not known", "missed" (a wrong gradient called
    right) or "failed" (an error). Of right gradients it is "right" or "false alarm", of spoiled ones "not known",
    "guessed" or "missed".
    """

    case: Case
    answer: Answer
    result: str
    both: bool  # of a pair: each mistake is named by a sentence
    seconds: float
    processor: float  # seconds of processor time, which other programs of the machine do not change


def result_of(case: Case, answer: Answer) -> str:
    """Return what an answer is worth, as one of the words of :class:`Outcome`."""
    if answer.verdict not in VERDICTS:
        return "failed"
    if case.kind == "right":
        return "right" if answer.verdict == "right" else "false alarm"
    if answer.verdict == "right":
        return "missed"
    if answer.verdict == "not known":
        return "not known"
    if case.kind == "unknown":
        return "guessed"
    named = answer.sentences and any(names_mistake(answer.sentences[0], truth) for truth in case.truths)
    return "named" if named else "misnamed"


def examine(case: Case, ask: Callable[[Case], Answer]) -> Outcome:
    """Return the outcome of a case; an error of the doctor is one."""
    started, processor = time.perf_counter(), time.process_time()
    try:
        answer = ask(case)
    except Exception as error:  # noqa: BLE001 - whatever the doctor raises is counted
        answer = Answer("failed", (f"{type(error).__name__}: {error}",))
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    both = all(any(names_mistake(s, truth) for s in answer.sentences) for truth in case.truths)
    return Outcome(case, answer, result_of(case, answer), both and answer.verdict == "wrong", seconds, processor)


def cases_of(name: str, seed: int | None = None, share: float = 1.0, network: str = "") -> Iterable[Case]:
    """Return the cases of a set, one of :data:`SEEDS`, of one network or of all."""
    programs = _PROGRAMS[name]()
    programs = tuple(program for program in programs if network in ("", program.network))
    return draw_cases(programs, SEEDS[name] if seed is None else seed, share=share)


def fraction(outcomes: Iterable[Outcome], result: str) -> str:
    """Return "number with the result/number", or a dot if there are none."""
    results = [outcome.result for outcome in outcomes]
    return f"{results.count(result)}/{len(results)}" if results else "."


def reaches_goals(outcomes: list[Outcome]) -> bool:
    """Return whether enough is named, right code raises no alarm, no case fails and none takes too long."""
    wrong = [outcome.result for outcome in outcomes if outcome.case.kind == "wrong"]
    results = [outcome.result for outcome in outcomes]
    return (
        wrong.count("named") >= SHARE_NAMED * len(wrong)
        and not {"false alarm", "guessed", "failed"} & set(results)
        and all(outcome.processor <= SECONDS for outcome in outcomes)
    )


def format_table(outcomes: list[Outcome]) -> str:
    """Return the table: mistakes named right by the first sentence in each network, then the totals."""
    wrong = [outcome for outcome in outcomes if outcome.case.kind == "wrong"]
    mistakes = sorted({o.case.mistakes[0] for o in wrong}, key=lambda mistake: (NUMBERS[mistake], mistake))
    lines = [_row("named right by the first sentence", *NETWORKS, "all")]
    for mistake in mistakes:
        mine = [o for o in wrong if o.case.mistakes[0] == mistake]
        lines.append(_row(f"{NUMBERS[mistake]:2}  {mistake}", *_cells(mine, "named")))
    lines.append(_row("all mistakes", *_cells(wrong, "named")))
    lines += [_row(f"  {result}", *_cells(wrong, result)) for result in ("misnamed", "not known", "missed", "failed")]
    pairs = [outcome for outcome in outcomes if outcome.case.kind == "pair"]
    lines += ["", _row("pairs: first sentence right", *_cells(pairs, "named"))]
    lines.append(_row("pairs: both named", *_cells([o._replace(result=str(o.both)) for o in pairs], "True")))
    spoiled = [outcome for outcome in outcomes if outcome.case.kind == "unknown"]
    lines.append(_row("spoiled: not known", *_cells(spoiled, "not known")))
    right = [outcome for outcome in outcomes if outcome.case.kind == "right"]
    for dtype in ("float64", "float32"):
        mine = [o for o in right if o.case.choices.dtype == dtype]
        lines.append(_row(f"false alarms, {dtype}", *_cells(mine, "false alarm")))
    for title, measure in (("seconds", "seconds"), ("processor time", "processor")):
        lines += ["", _row(f"{title}: median", *_times(outcomes, measure, statistics.median))]
        lines.append(_row(f"{title}: maximum", *_times(outcomes, measure, max)))
    lines.append(_row(f"processor time: over {SECONDS:g} s", *_slow(outcomes)))
    share = sum(o.result == "named" for o in wrong) / max(1, len(wrong))
    lines += ["", f"{len(outcomes)} cases; {share:.1%} of the single mistakes named right by the first sentence."]
    return "\n".join(lines)


def _row(title: str, *cells: str) -> str:
    return f"{title:38}" + "".join(f"{cell:>12}" for cell in cells)


def _by_network(outcomes: list[Outcome]) -> list[list[Outcome]]:
    return [*[[o for o in outcomes if o.case.program.network == network] for network in NETWORKS], outcomes]


def _cells(outcomes: list[Outcome], result: str) -> list[str]:
    return [fraction(mine, result) for mine in _by_network(outcomes)]


def _times(outcomes: list[Outcome], measure: str, statistic: Callable[[list[float]], float]) -> list[str]:
    return [f"{statistic([getattr(o, measure) for o in mine]):.3f}" if mine else "." for mine in _by_network(outcomes)]


def _slow(outcomes: list[Outcome]) -> list[str]:
    return [str(sum(o.processor > SECONDS for o in mine)) if mine else "." for mine in _by_network(outcomes)]


def details(outcome: Outcome) -> dict[str, Any]:
    """Return everything about an outcome as values that JSON can hold."""
    case = outcome.case
    return {
        "title": case.title,
        "network": case.program.network,
        "kind": case.kind,
        "mistakes": case.mistakes,
        "result": outcome.result,
        "verdict": outcome.answer.verdict,
        "sentences": outcome.answer.sentences,
        "seconds": outcome.seconds,
        "processor": outcome.processor,
        "seed": case.choices.seed,
        "truths": [truth._asdict() for truth in case.truths],
        "changes": [edit.changes for edit in case.edits],
        "source": case.path.read_text(),
    }
