"""``diagnose``: the gradients of the user on several problems, compared with the right ones and explained."""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.arguments import Mistaken, find_mistaken_arguments, with_argument
from tinygrad_cifar.doctor.budget import Budget
from tinygrad_cifar.doctor.calls import DiagnosisError
from tinygrad_cifar.doctor.cases import Case, agree
from tinygrad_cifar.doctor.constants import name_constants
from tinygrad_cifar.doctor.drawing import drawn_cases, find_batch, make_case
from tinygrad_cifar.doctor.equal_sizes import cases_that_tell_apart
from tinygrad_cifar.doctor.forward_changes import Confirmed, find_forward_changes, with_change
from tinygrad_cifar.doctor.matching import CountError, find_order, fit_shape
from tinygrad_cifar.doctor.problems import Leaf, leaves_of, looks_like_parameter, replace_leaves
from tinygrad_cifar.doctor.recording import Recording
from tinygrad_cifar.doctor.report import Report, make_report
from tinygrad_cifar.doctor.rounding import ROUNDED, STRICT, allow_rounding, rounding_errors
from tinygrad_cifar.doctor.search import Search
from tinygrad_cifar.doctor.search.confirmation import confirm_again
from tinygrad_cifar.doctor.search.findings import Finding
from tinygrad_cifar.doctor.subject import Problem, Subject
from tinygrad_cifar.doctor.walks import Walk
from tinygrad_cifar.engine.graph import Array
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.engine.tracing import count_kinks
from tinygrad_cifar.nn import Dropout, Module

_EXACT = 1e-11  # relative errors below are those of float64
_MOST_BESIDE = 3  # mistakes of the forward pass beside which others are sought
_SECONDS = 1.6  # of processor time, besides that of the functions of the user


def diagnose(
    cost: Callable[..., Any] | Module,
    gradients: Any,
    problem: Mapping[str, Any] | Sequence[Any] | None = None,
    *,
    wrt: str | Sequence[str] | None = None,
    time_limit: float = 10.0,
    seed: int = 0,
    **arguments: Any,
) -> Report:
    """Compare gradients that were derived by hand with the right ones, and say what is wrong in them.

    The right gradients come from the graph of the cost. For wrong ones, changes of the backward pass that correspond to
    common mistakes are tried: a factor left out, a derivative forgotten, a transposed factor, another variable, a path
    that is cut. A mistake is stated only if it reproduces the given gradients; if ``gradients`` is a function, also
    those of further problems, on which it was not found. Otherwise the report says that the mistake is not known, and
    what is known.

    The search ends after less than 2 s of processor time, besides that of ``cost`` and ``gradients``, which may
    together take ``time_limit``; the report says so if not everything was tried.

    Parameters
    ----------
    cost : callable or Module
        Function that computes the cost, a tensor with one element, from named arguments with the library's operations;
        or a model of the library with a method ``loss`` or ``cost``, whose other arguments are those of the method.
    gradients : callable, array_like, sequence or dict
        Function of the same arguments, as NumPy arrays, that returns the gradients; or the gradients for this problem.
        They are a sequence in the order of the parameters, or a dictionary by name: ``W``, ``dW`` and ``grad_W`` are
        the gradient of ``W``. With a function, other problems are drawn, of other sizes if the functions accept them.
    problem : mapping or sequence, optional
        The arguments by name, or in the order of the parameters of ``cost``. Arguments may be lists and dictionaries of
        arrays.
    wrt : str or sequence of str, optional
        Names of the arguments that are parameters. Default: the tensors with ``requires_grad=True``; if there are none,
        the floating-point arrays with names of weights and biases, such as ``W1``, ``b`` and ``gamma``.
    time_limit : float
        Seconds that a call of ``cost`` or ``gradients`` may take, and processor time of all calls after which the
        search ends. Default: 10.
    seed : int
        Seed of the problems that are drawn. Default: 0.
    **arguments
        The arguments by name, instead of ``problem``.

    Returns
    -------
    Report
        As text, a table with a line per parameter from the last layer back, and a sentence for each mistake.

    Raises
    ------
    DiagnosisError
        If the cost or the gradients cannot be compared; the message says why in one sentence.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_cifar as tg
    >>> def cost(X, t, w, lam):
    ...     error = X @ w - t
    ...     return tg.sum(error**2) / len(X) + lam * tg.sum(w**2)
    >>> def gradients(X, t, w, lam):
    ...     return 2 * X.T @ (X @ w - t) / len(X) + lam * w
    >>> rng = np.random.default_rng(0)
    >>> X, t, w = rng.normal(size=(6, 3)), rng.normal(size=6), rng.normal(size=3)
    >>> report = tg.doctor.diagnose(cost, gradients, X=X, t=t, w=w, lam=0.1)
    >>> report.status, len(report.mistakes)
    ('wrong', 1)
    """
    _check_numbers(time_limit, seed)
    with np.errstate(all="ignore"):
        return _diagnose(cost, gradients, problem, wrt, time_limit, seed, arguments)


def diagnose_hand_in(
    cost: Callable[..., Any],
    gradients: Callable[..., Any],
    problem: Mapping[str, Any],
    wrt: Sequence[str],
    name: str,
    time_limit: float,
    values: Callable[[], Mapping[str, Any]],
) -> Report:
    """Diagnose a function for a cost that is not the user's: the report does not refer to lines of the cost.

    ``values`` returns the tensors of the last evaluation of the cost by name.
    """
    with np.errstate(all="ignore"):
        return _diagnose(cost, gradients, problem, wrt, time_limit, 0, {}, name=name, hand_in=values)


def _diagnose(  # noqa: PLR0913
    cost: Any,
    gradients: Any,
    problem: Any,
    wrt: Any,
    time_limit: float,
    seed: int,
    arguments: dict[str, Any],
    *,
    name: str = "",
    hand_in: Callable[[], Mapping[str, Any]] | None = None,
) -> Report:
    started, budget = time.perf_counter(), Budget(_SECONDS, time_limit)
    if not callable(cost) or isinstance(cost, type):
        raise DiagnosisError(f"cost: must be a function or a model; got {type(cost).__name__}")
    subject = Subject(cost, gradients, time_limit, budget, name or _name_of(gradients), values=hand_in or dict)
    if isinstance(cost, Module):
        first, subject.cost = _of_model(cost, problem, arguments, subject.notes)
    else:
        first = Problem(_with_named_numbers(_bind(cost, problem, arguments), wrt), [])
    first.leaves = _mark_parameters(list(leaves_of(first.arguments)), wrt)
    recording = subject.record(first)
    kinks = _check_repeatable(subject, first, recording)
    subject.batch = find_batch(subject, first, recording)
    recording.numbers = subject.numbers(first)
    missing = [leaf.name for leaf in first.parameters if leaf.name not in recording.parameters]
    given = _evaluate(subject, first, wrt)
    if callable(gradients) and not _equal(given, subject.evaluate(first)):
        raise DiagnosisError(
            f"{subject.name} returns other values when it is called again with the same arguments; switch dropout off, "
            "or pass its mask or its seed as an argument"
        )
    _check_unused(given, missing)
    order = _find_order(given, recording, has_names=subject.has_names)
    cases = [allow_rounding(subject, make_case(first, recording, given, order))]
    if callable(gradients):
        cases += drawn_cases(subject, first, cases[0], order, seed)
    ordered = [*cases[1:], cases[0]] if len(cases) > 1 else cases
    findings, residuals, ordered = _explain(subject, ordered)
    if len(cases) > 1:
        findings, residuals, ordered = _tell_apart(subject, first, ordered, findings, residuals, order)
    return make_report(
        cases=ordered,
        findings=findings,
        residuals=residuals,
        order=order,
        unused=missing,
        kinks=kinks,
        notes=subject.notes,
        printed=subject.printed,
        seconds=time.perf_counter() - started,
        is_function=callable(gradients),
        was_cut_short=budget.was_used_up,
        has_lines=hand_in is None,
    )


def _evaluate(subject: Subject, problem: Problem, wrt: Any) -> dict[str, Array]:
    """Return the gradients; if their number is wrong, the error says how the parameters have been recognised."""
    try:
        return subject.evaluate(problem)
    except CountError as error:
        arrays = [leaf for leaf in problem.leaves if isinstance(leaf.value, np.ndarray)]
        others = [leaf.name for leaf in arrays if leaf.value.dtype.kind == "f" and not leaf.is_parameter]
        if wrt is not None or not others:
            raise
        how = "tensors with requires_grad=True"
        if not any(leaf.is_parameter and leaf.is_tensor for leaf in arrays):
            how = "arrays with names such as W1, b and gamma"
        raise DiagnosisError(
            f"{error}; the parameters are taken to be the {how}, not {', '.join(others)}; "
            "if that is wrong, name all parameters with wrt="
        ) from error


def _name_of(function: Any) -> str:
    return str(getattr(function, "__name__", "gradients")) if callable(function) else "gradients"


def _bind(cost: Any, problem: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the cost by name."""
    if problem is None:
        return dict(arguments)
    if isinstance(problem, Mapping):
        return {**problem, **arguments}
    if not isinstance(problem, (list, tuple)):
        raise DiagnosisError(
            f"problem: must be a dictionary of the arguments of cost, or a sequence; got {type(problem).__name__}"
        )
    try:
        bound = inspect.signature(cost).bind(*problem, **arguments)
    except (TypeError, ValueError) as error:
        raise DiagnosisError(f"problem: does not match the parameters of cost ({error})") from error
    return dict(bound.arguments)


def _of_model(
    model: Module, problem: Any, arguments: Mapping[str, Any], notes: list[str]
) -> tuple[Problem, Callable[..., Any]]:
    """Return the problem of a model, whose parameters are arguments as well, and its cost as a function of them."""
    given = _bind(model.forward, problem, arguments) if problem is None or isinstance(problem, Mapping) else None
    method = getattr(model, "cost" if given is not None and "lam" in given and hasattr(model, "cost") else "loss", None)
    if method is None:
        raise DiagnosisError(
            f"cost: a model must have the method loss or cost; {type(model).__name__} has neither, so pass a function"
        )
    if given is None:
        given = _bind(method, problem, arguments)
    parameters = {name: np.array(t._array) for name, t in model.named_parameters()}

    def cost(**values: Any) -> Any:
        own = copy.deepcopy(model).eval()
        for name in parameters:
            *path, last = name.split(".")
            owner: Any = own
            for part in path:
                owner = owner[int(part)] if part.isdigit() else getattr(owner, part)
            setattr(owner, last, values[name])
        method_ = getattr(own, method.__name__)
        return method_(**{name: value for name, value in values.items() if name not in parameters})

    if any(isinstance(module, Dropout) and module.rate and module.training for module in _modules(model)):
        notes.append("the dropout of the model is switched off for the comparison")
    tensors = {name: Tensor(array, requires_grad=True) for name, array in parameters.items()}
    return Problem({**given, **tensors}, []), cost


def _modules(module: Module) -> list[Module]:
    """Return a module and all modules inside it."""
    return [module, *[inner for _, child in module._nested() for inner in _modules(child)]]


def _check_numbers(time_limit: Any, seed: Any) -> None:
    if not isinstance(time_limit, (int, float)) or not time_limit > 0:
        raise DiagnosisError(f"time_limit: must be a number of seconds greater than 0; got {time_limit!r:.40}")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise DiagnosisError(f"seed: must be an integer of at least 0; got {seed!r:.40}")


def _names_in(wrt: Any) -> list[str] | None:
    if wrt is None:
        return None
    names = list(wrt) if isinstance(wrt, Iterable) and not isinstance(wrt, str) else [wrt]
    for name in names:
        if not isinstance(name, str):
            raise DiagnosisError(f"wrt: must be names of arguments, such as 'W'; got {type(name).__name__}")
    return names


def _with_named_numbers(arguments: dict[str, Any], wrt: Any) -> dict[str, Any]:
    """Return the arguments with arrays for the numbers that are named as parameters, such as a bias of 0.5."""
    wanted = _names_in(wrt) or []
    converted: dict[str, Any] = replace_leaves(
        arguments,
        lambda name, value: np.array(value) if name in wanted and isinstance(value, (float, np.floating)) else value,
    )
    return converted


def _mark_parameters(leaves: list[Leaf], wrt: Any) -> list[Leaf]:
    """Return the leaves, with those that are parameters marked."""
    names = [leaf.name for leaf in leaves]
    wanted = _names_in(wrt)
    if wanted is not None:
        chosen = {name for name in names for w in wanted if name == w or name.startswith((f"{w}[", f"{w}."))}
        unknown = [w for w in wanted if not any(n == w or n.startswith((f"{w}[", f"{w}.")) for n in names)]
        if unknown:
            raise DiagnosisError(f"wrt: {unknown[0]} is not an argument; the arguments are {', '.join(names)}")
    else:
        chosen = {leaf.name for leaf in leaves if leaf.is_parameter}
        if not chosen:
            chosen = {leaf.name for leaf in leaves if looks_like_parameter(leaf)}
    marked = [
        Leaf(leaf.name, leaf.value, leaf.name in chosen and isinstance(leaf.value, np.ndarray), leaf.is_tensor)
        for leaf in leaves
    ]
    if not any(leaf.is_parameter for leaf in marked):
        raise DiagnosisError(
            "diagnose: no argument is a parameter; pass tensors with requires_grad=True, or name "
            "the parameters with wrt="
        )
    for leaf in marked:
        if leaf.is_parameter and not np.isfinite(leaf.value).all():
            raise DiagnosisError(f"{leaf.name}: the parameter contains NaN or infinite values")
    return marked


def _check_repeatable(subject: Subject, problem: Problem, recording: Recording) -> dict[str, int]:
    """Evaluate the cost again, which must not change, and return how many elements lie on a kink, by operation."""
    with count_kinks() as kinks:
        again = float(subject.evaluate_cost(problem)[0]._array.item())
    if again != recording.cost:
        raise DiagnosisError(
            f"cost: is random ({recording.cost:.6g} and {again:.6g} for the same arguments); "
            "switch dropout off, or pass "
            "its mask as an argument"
        )
    return dict(kinks)


def _equal(first: Mapping[str, Array], second: Mapping[str, Array]) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def _check_unused(given: Mapping[str, Array], missing: Sequence[str]) -> None:
    for name in missing:
        if np.any(given[name]):
            raise DiagnosisError(
                f"cost: does not depend on {name}, so its gradient is 0, but the given one is "
                f"not; use {name} in the cost"
            )


def _find_order(given: Mapping[str, Array], recording: Recording, *, has_names: bool) -> dict[str, str] | None:
    """Return which gradient belongs to which parameter if they are in another order than the parameters.

    Gradients of the right shapes that have names are those of the parameters with these names.
    """
    right = Walk(recording).gradients
    own = {name: given[name] for name in right}
    if has_names and all(fit_shape(own[name], g.shape).shape == g.shape for name, g in right.items()):
        return None
    return find_order(own, right, lambda a, b: agree(a, b, 1e-4))


def _explain(subject: Subject, cases: list[Case]) -> tuple[list[Finding], dict[str, Array], list[Case]]:
    """Return the confirmed mistakes and the unexplained rest, with the cases in the precision in which they hold."""
    findings, residuals, cases = _search(subject, cases)
    explained = {name for finding in findings for name in finding.affected}
    for case in cases:  # differences that are small, but larger than rounding
        right = Walk(case.recording).gradients
        for name in case.wrong_parameters() - explained - set(residuals):
            if case.given[name].shape == right[name].shape:
                residuals = {**residuals, name: case.given[name] - right[name]}
    return findings, residuals, cases


def _tell_apart(
    subject: Subject,
    first: Problem,
    cases: list[Case],
    findings: list[Finding],
    residuals: dict[str, Array],
    order: Mapping[str, str] | None,
) -> tuple[list[Finding], dict[str, Array], list[Case]]:
    """Return the mistakes, the rest and the cases, with further cases if a mistake is stated with one of equal sizes.

    The mistakes are then those that are confirmed on the further problems as well.
    """
    name_constants([case.recording for case in cases])
    further = cases_that_tell_apart(subject, first, cases, findings, order)
    if not further:
        return findings, residuals, cases
    if cases[0].relative > further[0].relative:
        further = [_rounded(subject, case) for case in further]
    cases = [*cases[:-1], *further, cases[-1]]
    again = confirm_again(cases, findings)
    return (again, residuals, cases) if again is not None else _explain(subject, cases)


def _search(subject: Subject, cases: list[Case]) -> tuple[list[Finding], dict[str, Array], list[Case]]:
    """Return the confirmed mistakes and what they leave, with the cases in the precision in which they hold."""
    if not any(case.wrong_parameters() for case in cases):
        return [], {}, cases
    search = Search(cases, subject.budget)
    single = search.find_single()  # before the stages that evaluate the cost again, which take long in deep networks
    if single is not None:
        return single, {}, cases
    others: list[Mistaken | Confirmed] = [*find_mistaken_arguments(subject, cases)]
    if not (others and others[0].is_enough):
        others += find_forward_changes(subject, cases)
    for one in others:
        if one.is_enough:
            return [one.finding(cases)], {}, cases
    likely = [one for one in others if one.is_likely]
    beside = _explain_beside(subject, cases, likely)
    if beside is not None:
        return beside, {}, cases
    findings, residuals = search.run()
    if residuals and not _are_exact(cases) and not subject.budget.is_used_up:
        loose = [_rounded(subject, case) for case in cases]
        again, rest = Search(loose, subject.budget).run()
        if len(rest) < len(residuals):
            findings, residuals, cases = again, rest, loose
    if residuals:
        beside = _explain_beside(subject, cases, [one for one in others if not one.is_likely])
        if beside is not None:
            return beside, {}, cases
    return findings, residuals, cases


def _explain_beside(
    subject: Subject, cases: Sequence[Case], others: Sequence[Mistaken | Confirmed]
) -> list[Finding] | None:
    """Return a mistake of the forward pass or the arguments, and those beside it, if they explain all gradients."""
    for one in others[:_MOST_BESIDE]:
        changed = (
            with_argument(subject, cases, one.argument)
            if isinstance(one, Mistaken)
            else with_change(subject, cases, one.change)
        )
        if changed is not None and not subject.budget.is_used_up:
            findings, residuals = Search(changed, subject.budget).run()
            if not residuals:
                return [one.finding(cases), *findings]
    return None


def _rounded(subject: Subject, case: Case) -> Case:
    """Return a case with the tolerance of float32, in which a function may compute gradients of float64."""
    if case.relative >= ROUNDED:
        return case
    return replace(case, relative=ROUNDED, strict=STRICT, rounding=rounding_errors(subject, case, np.float32))


def _are_exact(cases: Sequence[Case]) -> bool:
    """Return whether some gradient is so close to the right one that it has been computed in float64."""
    gradients = [Walk(case.recording).gradients for case in cases]
    return cases[0].relative >= ROUNDED or any(
        right[name].any() and agree(case.given[name], right[name], _EXACT)
        for case, right in zip(cases, gradients, strict=True)
        for name in right
    )
