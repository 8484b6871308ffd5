"""Hand-derived gradients with injected mistakes: the programs, the judge of sentences, and the runner.

The doctor itself is not asked here: sentences are written below, and the runner is given doctors that answer in a known
way.
"""

from __future__ import annotations

import functools
import itertools
import json
import re

import numpy as np
import pytest

from tests.evidence.hand_derived import development, held_out, second_validation, third_validation, validation
from tests.evidence.hand_derived.__main__ import main
from tests.evidence.hand_derived.adapter import Answer
from tests.evidence.hand_derived.cases import (
    CONTAINERS,
    PENALTIES,
    SPOILED,
    Case,
    Choices,
    check_case,
    draw_cases,
    make_case,
    observable,
    with_truths,
)
from tests.evidence.hand_derived.judge import VOCABULARY, Truth, first_sentence, names_mistake
from tests.evidence.hand_derived.measurement import NETWORKS, NUMBERS, examine, reaches_goals
from tests.evidence.hand_derived.programs import Program
from tinygrad_cifar import Tensor

pytestmark = pytest.mark.slow

SETS = {
    "development": development.programs(),
    "validation": validation.programs(),
    "second-validation": second_validation.programs(),
    "third-validation": third_validation.programs(),
    "held-out": held_out.programs(),
}
PROGRAMS = [program for programs in SETS.values() for program in programs]
SMALL = [p for p in PROGRAMS if len(p.parameters) < 7 and not p.title.endswith(("rows, sigmoid", "softplus"))]

# Right sentences about each mistake, in several wordings. {place} is a name of the mistake's place, {names} are all
# wrong gradients, {other} the array that was used by mistake, {loss} a variable of the data term, {factor} the factor.
SENTENCES = {
    "missing_1_over_n": ("The gradient of {loss} is N times what it should be.", "The data term is not divided by N."),
    "double_1_over_n": ("The flow J -> {loss} is 1/N times what it should be.", "The loss is divided by N twice."),
    "misplaced_1_over_n": ("{place}: {factor} times what it should be.",),
    "divided_by_other": ("The data term is divided by K, the number of classes, instead of N.",),
    "l2_over_n": ("The flow J -> penalty is 1/N times what it should be.", "The L2 term is divided by N, too."),
    "l2_half": ("The penalty is 1/2 times what it should be.", "lam * W stands for 2 * lam * W, lam for 2 lam."),
    "l2_double": (
        "The L2 term is 2 times what it should be.",
        "2 * lam * W instead of lam * W: the penalty is doubled.",
    ),
    "l2_missing": ("The L2 term is missing in the gradient of {place}.",),
    "l2_bias": ("{place} is penalised.", "The gradient of {place} contains an L2 term."),
    "db_from_dw": ("{place} is computed from the product with X.",),
    "db_mean": ("{place}: 1/N times what it should be.", "{place} is a mean instead of a sum over the images."),
    "db_not_summed": ("{place} is not summed over the images.", "{place} has the wrong shape."),
    "db_wrong_axis": ("{place} is summed along the wrong axis.",),
    "transposed_factor": ("{place} is not transposed.", "{place}.T is needed where {place} stands: it is transposed."),
    "dw_transposed": ("The gradient of {place} is transposed.",),
    "sign_all": ("All gradients have the wrong sign.", "{names}: -1 times what they should be."),
    "sign_loss": ("The sign of {loss} is wrong.", "The gradient of the cross-entropy is negated."),
    "sign_param": ("{place} has the wrong sign.",),
    "activation_derivative_missing": (
        "The activation's derivative at {place} is left out.",
        "relu's factor is missing at {place}.",
    ),
    "mask_wrong_array": ("The mask at {place} is that of {other}, which stands where another array belongs.",),
    "margin_forgotten": ("The margin + 1 is missing in the mask.",),
    "other_derivative": ("The derivative of sigmoid or tanh at {place} is that of another function.",),
    "derivative_at_input": ("The derivative of the activation at {place} is taken of {other} instead of its output.",),
    "overwritten": ("Nothing flows along one path to {place}.", "The gradient of {place} is overwritten."),
    "softmax_diagonal": ("Only the diagonal of softmax's Jacobian is used.",),
    "softmax_sum_forgotten": (
        "Nothing flows through softmax's denominator.",
        "The sum in softmax is taken for a constant.",
    ),
    "softmax_unnormalised": ("The exponentials of softmax are not normalised.",),
    "updated_before_delta": ("{place} was updated before the layer below was computed.",),
    "w_for_dw": ("The gradient of {place} is {place} itself.",),
    "hinge_own_missing": ("The count of the own class is forgotten.",),
    "hinge_own_counted": ("The own class is counted once too often.",),
    "hinge_own_once": ("The own class is subtracted once, not by the number of violations.",),
    "hinge_own_sign": ("The sign of the own class is wrong.",),
    "bn_mean_var_constant": ("At {place}, the mean and the variance are taken for constants.",),
    "bn_mean_constant": ("At {place}, the mean is taken for a constant.",),
    "bn_var_constant": ("At {place}, the variance is taken for a constant.",),
    "bn_gamma_missing": ("The scale of {place} is left out.",),
    "dropout_mask_missing": ("The dropout mask at {place} is not applied.",),
    "dropout_not_scaled": ("The factor 1/keep at {place} is missing.",),
    "filter_flipped": ("The filter {place} is rotated by 180 degrees.",),
    "channels_swapped": ("The channels of {place} are in another order.",),
    "filter_transposed": ("The two axes of {place} are swapped.",),
    "off_by_one": ("The last image is left out.", "The labels are shifted by one."),
    "bias_forgotten": ("{place} is left out in the forward pass.",),
    "detached": ("Nothing flows to {place}.",),
    "wrong_variable": ("{other} stands where another array belongs, in the gradient of {place}.",),
    "momentum_factor": ("All gradients are 0.1 times what they should be.",),
}

# Sentences about another mistake that are right all the same: the words of the first are those of the second.
ALSO_RIGHT = {
    ("overwritten", "detached"),  # in both, nothing flows along a path
    ("detached", "overwritten"),
    ("hinge_own_missing", "hinge_own_once"),  # in both, the count is forgotten
    ("db_not_summed", "db_wrong_axis"),  # in both, the shape is wrong
}


def sentences_about(truth: Truth) -> list[str]:
    """Return right sentences about a mistake, in the names of its case."""
    single = truth.affected[0][0]
    words = {
        "place": truth.place[0] if truth.place else single,
        "names": ", ".join(names[0] for names in truth.affected),
        "other": truth.other[0] if truth.other else "the incoming gradient",
        "loss": truth.loss[0] if truth.loss else "the loss",
        "factor": truth.factor,
    }
    return [sentence.format(**words) for sentence in SENTENCES[truth.mistake]]


@functools.cache
def cases_with_truths(program: Program) -> tuple[Case, ...]:
    """Return a case for each mistake that is observable, with plain choices."""
    found = []
    for penalty in PENALTIES[1:3]:
        choices = Choices(next(iter(program.costs)), {}, penalty)
        edits = observable(program, penalty).edits
        found += [
            with_truths(make_case(program, choices, (edit,)))
            for edit in edits
            if edit not in [case.edits[0] for case in found]
        ]
    return tuple(found)


def title(program: Program) -> str:
    return program.title


# -- the programs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", PROGRAMS, ids=title)
def test_right_gradients_agree_with_numerical_ones(program):
    for style, penalty in zip([*program.costs] * 2, PENALTIES * 2, strict=False):
        assert check_case(make_case(program, Choices(style, {}, penalty, seed=3))) == ""


@pytest.mark.parametrize("program", SMALL, ids=title)
def test_costs_of_tensors_have_the_same_gradients(program):
    for style in program.costs:
        case = make_case(program, Choices(style, {}, PENALTIES[3], seed=4))
        tensors = {name: Tensor(case.arguments[name], requires_grad=True) for name in case.parameters}
        case.cost(**{**case.arguments, **tensors}).backward()
        for tensor, gradient in zip(tensors.values(), case.flat_gradients(), strict=True):
            np.testing.assert_allclose(np.asarray(tensor.grad), gradient, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", SETS)
def test_injected_mistakes_change_the_gradient(name):
    checked = 0
    for case in draw_cases(SETS[name][1:4], 7, share=0.3):
        assert check_case(case) == "", case.title
        checked += case.kind == "wrong"
    assert checked > 10


@pytest.mark.parametrize("program", SMALL, ids=title)
def test_most_mistakes_of_a_program_are_observable(program):
    assert len(cases_with_truths(program)) >= len(program.edits) - 1


def test_a_change_without_effect_is_not_a_mistake():
    program = next(p for p in PROGRAMS if p.title == "softmax, columns")
    edit = program.edits[0]._replace(changes=(("(Y - P)", "(1 * Y - P)"),))
    same = Program(**{**vars(program), "edits": (edit,)})
    assert observable(same, PENALTIES[0]).edits == ()
    case = make_case(same, Choices("steps", {}, PENALTIES[0]), (edit,))
    assert "changes the gradient by only" in check_case(case)


def test_a_wrong_gradient_does_not_pass_as_right():
    program = PROGRAMS[0]
    edit = next(edit for edit in program.edits if edit.mistake == "db_mean")
    wrong = Program(**{**vars(program), "gradients": edit.apply(program.gradients)})
    assert "the right gradient differs" in check_case(make_case(wrong, Choices("steps", {}, PENALTIES[0])))


def test_all_sets_have_every_network_and_nearly_every_mistake():
    for programs in SETS.values():
        assert {program.network for program in programs} == set(NETWORKS)
        numbers = {NUMBERS[edit.mistake] for program in programs for edit in program.edits}
        assert numbers == {*range(1, 26)} - {22}  # no network has a max-pool


def test_the_sets_share_no_gradient_code():
    sets = [
        {line.strip() for program in programs for line in program.gradients.splitlines() if len(line) > 30}
        for programs in SETS.values()
    ]
    for first, second in itertools.combinations(sets, 2):
        assert len(first & second) <= 0.05 * len(second), first & second


def test_drawing_is_reproducible():
    first, second = (list(draw_cases(SETS["development"][:2], 5, share=0.3)) for _ in range(2))
    assert [case.title for case in first] == [case.title for case in second]
    for a, b in zip(first, second, strict=True):
        assert a.path.read_text() == b.path.read_text()
        assert all(np.array_equal(x, y) for x, y in zip(a.flat_parameters(), b.flat_parameters(), strict=True))


def test_draws_vary():
    cases = list(draw_cases(SETS["development"][3:7], 5, share=0.2))
    assert {case.choices.container for case in cases} == set(CONTAINERS)
    assert {case.choices.dtype for case in cases} == {"float32", "float64"}
    assert {case.choices.lists for case in cases} == {False, True}
    assert {case.choices.parameters_first for case in cases} == {False, True}
    assert any(case.choices.order for case in cases)
    assert any(case.choices.naming for case in cases)
    assert {case.kind for case in cases} == {"right", "wrong", "pair", "unknown"}


def test_problems_are_drawn_in_several_sizes():
    case = make_case(PROGRAMS[0], Choices("steps", {}, PENALTIES[0]))
    assert len({case.draw(seed)["X"].shape for seed in range(9)}) > 2


# -- the judge ---------------------------------------------------------------------------------------------------------


def test_every_mistake_has_sentences_and_a_number():
    assert set(SENTENCES) == set(VOCABULARY) == set(NUMBERS)


@pytest.mark.parametrize("program", SMALL, ids=title)
def test_right_sentences_are_accepted(program):
    for case in cases_with_truths(program):
        for sentence in sentences_about(case.truths[0]):
            assert names_mistake(sentence, case.truths[0]), (sentence, case.truths[0])


@pytest.mark.parametrize("program", SMALL, ids=title)
def test_sentences_about_other_mistakes_are_rejected(program):
    compared = 0
    wrongly_accepted = []
    for said in cases_with_truths(program):
        for injected in cases_with_truths(program):
            truth, other = injected.truths[0], said.truths[0]
            equal = {truth.mistake, *[t.mistake for t in truth.same]} & {
                other.mistake,
                *[t.mistake for t in other.same],
            }
            if equal or (other.mistake, truth.mistake) in ALSO_RIGHT:
                continue
            compared += 1
            wrongly_accepted += [
                f"{truth.mistake} {truth.place}: {sentence}"
                for sentence in sentences_about(other)
                if names_mistake(sentence, truth)
            ]
    assert not wrongly_accepted, "\n".join(wrongly_accepted)
    assert compared > 100


@pytest.mark.parametrize("program", [p for p in SMALL if p.network != "softmax"], ids=title)
def test_sentences_about_another_place_are_rejected(program):
    """The kind is right, but the place is that of the same mistake elsewhere in the network."""
    cases = cases_with_truths(program)
    for said in cases:
        for injected in cases:
            truth, other = injected.truths[0], said.truths[0]
            if other.mistake != truth.mistake or not truth.place or {*truth.place} & {*other.place}:
                continue
            for sentence in sentences_about(other) if other.place else ():
                assert not names_mistake(sentence, truth), (sentence, truth)


TWO_LAYERS = Truth("", ("A", "H", "W1", "b1"), (("W1",), ("b1",)), (9,), ("X",), "1/N", ("S", "P"), ("lam",))
EXAMPLES = [  # mistake, a right sentence and a wrong one
    ("missing_1_over_n", "flow J -> S is N times what it should be", "flow J -> S is 1/N times what it should be"),
    ("missing_1_over_n", "The factor 1/N is missing in the gradient of P.", "The factor 1/N is missing in dW1."),
    ("missing_1_over_n", "The data term is N (= 8) times too large.", "The L2 term is N (= 8) times too large."),
    (
        "missing_1_over_n",
        "The loss is not divided by N.",
        "The gradients are wrong in 20 of 20 elements. Divide S by N.",
    ),
    ("double_1_over_n", "The loss is divided by N twice.", "The loss is not divided by N."),
    ("l2_half", "flow J -> penalty is 1/2 times what it should be", "flow J -> S is 1/2 times what it should be"),
    ("l2_half", "The gradient of the penalty is lam * W for 2 * lam * W.", "The penalty is 2 times what it should be."),
    ("l2_double", "2 * lam * W stands instead of lam * W.", "lam * W stands instead of 2 * lam * W."),
    ("l2_over_n", "The penalty is divided by N: 1/N times what it should be.", "The penalty is not divided by N."),
    ("l2_missing", "The L2 term is left out in W1.", "The L2 term is left out in W2."),
    ("activation_derivative_missing", "relu's factor at A left out", "relu's factor at A is that of X"),
    (
        "activation_derivative_missing",
        "relu's derivative (line 9) is missing.",
        "relu's derivative (line 8) is missing.",
    ),
    ("mask_wrong_array", "relu's mask is that of X instead of A.", "relu's mask at A is left out."),
    ("db_mean", "b1, b2: 1/N times", "b2: 1/N times"),
    ("db_mean", "b1 is the mean for the sum over the images.", "b1 is not summed over the images."),
    ("transposed_factor", "W1 not transposed", "W2 not transposed"),
    ("wrong_variable", "X stands where H, the layer's output, belongs, in dW2", "A stands where H belongs, in dW2"),
    ("detached", "nothing flows S -> A", "nothing flows S -> B"),
    ("sign_param", "The gradient of A has the wrong sign.", "b1 has the wrong sign."),
    ("misplaced_1_over_n", "The gradient of H is 1/N times what it should be.", "b1: 1/N times what it should be."),
    ("bn_mean_var_constant", "At A, mu and var are taken for constants.", "At A, mu is taken for a constant."),
    ("bn_mean_constant", "At A, mu is taken for a constant.", "At A, mu and var are taken for constants."),
    ("softmax_diagonal", "Only softmax's diagonal is used.", "Only the sum of softmax is used."),
    ("dropout_not_scaled", "At H, the scale 1/keep is missing.", "At H, the dropout mask is missing."),
    (
        "dropout_mask_missing",
        "At H, the dropout mask is missing.",
        "At H, the mask is scaled by keep, which is missing.",
    ),
    ("sign_all", "The sign of all gradients is wrong.", "The sign of b1 is wrong."),
]


@pytest.mark.parametrize(("mistake", "right", "wrong"), EXAMPLES)
def test_examples_of_sentences(mistake, right, wrong):
    truth = TWO_LAYERS._replace(mistake=mistake)
    assert names_mistake(right, truth)
    assert not names_mistake(wrong, truth)


@pytest.mark.parametrize("mistake", VOCABULARY)
@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "W1, b1, W2, b2 are wrong.",
        "It is not known what is wrong.",
        "The gradient of W1 differs in 20 of 20 elements.",
    ],
)
def test_sentences_that_say_nothing_are_rejected(mistake, sentence):
    assert not names_mistake(sentence, TWO_LAYERS._replace(mistake=mistake))


def test_sentence_that_lists_every_mistake_is_rejected():
    words = {"place": "W1", "names": "W1, b1", "other": "X", "loss": "S", "factor": "1/N"}
    everything = ", ".join(s.format(**words).rstrip(".") for sentences in SENTENCES.values() for s in sentences)
    assert not any(names_mistake(everything, TWO_LAYERS._replace(mistake=mistake)) for mistake in VOCABULARY)


def test_hedged_sentence_is_rejected():
    truth = TWO_LAYERS._replace(mistake="transposed_factor")
    assert names_mistake("W1 is not transposed.", truth)
    assert not names_mistake("Perhaps W1 is not transposed.", truth)


def test_names_of_parameters_do_not_say_that_a_mask_is_not_scaled():
    truth = TWO_LAYERS._replace(mistake="dropout_mask_missing")
    for name in ("scales[0]", "scale1"):
        assert names_mistake(f"At H, the dropout mask is missing, in the gradient of {name}.", truth)
    assert not names_mistake("At H, the scale of the dropout mask is missing.", truth)


def test_only_the_first_sentence_counts():
    truth = TWO_LAYERS._replace(mistake="transposed_factor")
    assert first_sentence("W2 is, e.g. here, wrong by 1.5 times. W1 is not transposed.") == (
        "W2 is, eg here, wrong by 1.5 times."
    )
    assert names_mistake("W1 is not transposed. Or else W2.", truth)
    assert not names_mistake("b1 is a mean. W1 is not transposed.", truth)
    assert not names_mistake("b1 is a mean\nW1 is not transposed.", truth)


def test_mistakes_with_the_same_gradients_have_both_names():
    truth = TWO_LAYERS._replace(mistake="mask_wrong_array")
    both = truth._replace(same=(TWO_LAYERS._replace(mistake="activation_derivative_missing"),))
    assert not names_mistake("relu's factor at A is left out.", truth)
    assert names_mistake("relu's factor at A is left out.", both)
    program = next(p for p in PROGRAMS if p.title == "two layers, columns, relu")
    same = [c for c in cases_with_truths(program) if c.truths[0].same]
    assert {case.mistakes[0] for case in same} >= {"mask_wrong_array", "activation_derivative_missing"}


def test_names_and_lines_are_those_of_the_case():
    program = next(p for p in PROGRAMS if p.title == "two layers, columns, relu")
    edit = next(e for e in program.edits if e.mistake == "updated_before_delta")
    choices = Choices("steps", {"W2": "V", "b2": "c"}, PENALTIES[0], lists=True)
    case = with_truths(make_case(program, choices, (edit,)))
    assert case.truths[0].place == ("V", "Ws[1]")
    assert case.parameters == ("Ws", "bs")
    lines = case.path.read_text().splitlines()
    assert all("V @ H" in lines[number - 1] for number in case.truths[0].lines)
    assert case.truths[0].lines


# -- the runner --------------------------------------------------------------------------------------------------------


def perfect_doctor(case: Case) -> Answer:
    if case.kind in ("right", "unknown"):
        return Answer({"right": "right", "unknown": "not known"}[case.kind])
    return Answer("wrong", tuple(sentences_about(truth)[0] for truth in case.truths))


def run(capsys, ask, *arguments: str) -> tuple[int, str]:
    status = main(["--share", "0.2", "--network", "softmax", *arguments], ask)
    return status, capsys.readouterr().out


def row(table: str, name: str) -> str:
    return next(line for line in table.splitlines() if line.strip().startswith(name)).split()[-1]


def test_perfect_doctor_reaches_the_goals(capsys, tmp_path):
    status, table = run(capsys, perfect_doctor, "--json", str(tmp_path / "details.json"))
    assert status == 0
    assert re.fullmatch(r"(\d+)/\1", row(table, "all mistakes"))
    assert re.fullmatch(r"(\d+)/\1", row(table, "pairs: both named"))
    assert re.fullmatch(r"(\d+)/\1", row(table, "spoiled: not known"))
    assert row(table, "false alarms, float32").startswith("0/")
    details = json.loads((tmp_path / "details.json").read_text())
    assert {case["result"] for case in details} == {"named", "right", "not known"}
    assert all("def gradients" in case["source"] for case in details)


@pytest.mark.parametrize("name", list(SETS)[1:])
def test_another_set_is_run_by_its_name(name, capsys):
    _, table = run(capsys, perfect_doctor, "--set", name, "--seed", "3")
    assert "100.0% of the single mistakes" in table


def fail(_: Case) -> Answer:
    raise RuntimeError("no")


WORTHLESS = {
    "knows nothing": (lambda _: Answer("not known"), "not known"),
    "always right": (lambda _: Answer("right"), "missed"),
    "always the same": (lambda _: Answer("wrong", ("The gradient is wrong.",)), "misnamed"),
    "no sentence": (lambda _: Answer("wrong"), "misnamed"),
    "another verdict": (lambda _: Answer("perhaps"), "failed"),
    "fails": (fail, "failed"),
}


@pytest.mark.parametrize(("ask", "result"), WORTHLESS.values(), ids=WORTHLESS)
def test_worthless_doctor_does_not_reach_the_goals(ask, result, capsys):
    status, table = run(capsys, ask)
    assert status == 1
    assert row(table, "all mistakes").startswith("0/")
    lines = table[table.index("all mistakes") :]
    assert re.fullmatch(r"(\d+)/\1", row(lines, result))


def accuse(case: Case) -> Answer:
    return Answer("wrong", ("The gradient is wrong.",)) if case.kind == "right" else perfect_doctor(case)


def test_false_alarms_are_counted(capsys):
    status, table = run(capsys, accuse)
    assert status == 1
    assert re.fullmatch(r"([1-9]\d*)/\1", row(table, "false alarms, float64"))


def test_doubt_about_right_code_is_a_false_alarm():
    case = make_case(PROGRAMS[0], Choices("steps", {}, PENALTIES[0]))
    assert examine(case, lambda _: Answer("not known")).result == "false alarm"


def test_guess_about_a_spoiled_gradient_is_counted():
    case = make_case(PROGRAMS[0], Choices("steps", {}, PENALTIES[0]), (), next(iter(SPOILED)))
    outcome = examine(case, lambda _: Answer("wrong", ("b is a mean.",)))
    assert outcome.result == "guessed"
    assert not reaches_goals([outcome])


def test_slow_answer_does_not_reach_the_goals():
    case = make_case(PROGRAMS[0], Choices("steps", {}, PENALTIES[0]))
    outcome = examine(case, perfect_doctor)
    assert reaches_goals([outcome])
    assert not reaches_goals([outcome._replace(processor=2.1)])


@pytest.mark.parametrize("named", [95, 94])
def test_share_of_mistakes_that_must_be_named(named):
    case = cases_with_truths(PROGRAMS[0])[0]
    right = examine(case, perfect_doctor)
    wrong = examine(case, lambda _: Answer("not known"))
    assert reaches_goals([right] * named + [wrong] * (100 - named)) == (named == 95)
