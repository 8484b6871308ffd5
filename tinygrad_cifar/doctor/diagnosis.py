"""``diagnose``: the gradients of the user on several problems, compared with the right ones and explained."""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.calls import DiagnosisError, call_function
from tinygrad_cifar.doctor.matching import collect_gradients, find_order, fit_shape
from tinygrad_cifar.doctor.problems import (
    Axis,
    Leaf,
    axis_groups,
    batch_candidates,
    class_count,
    draw_problem,
    leaves_of,
    looks_like_parameter,
    numbers_of,
    replace_leaves,
    small_size,
)
from tinygrad_cifar.doctor.recording import Recording, record
from tinygrad_cifar.doctor.report import Report, make_report
from tinygrad_cifar.doctor.search import Case, Finding, Search, agree
from tinygrad_cifar.doctor.walks import Edit, Walk
from tinygrad_cifar.engine.graph import Array
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.engine.tracing import count_kinks
from tinygrad_cifar.nn import Dropout, Module

_DRAWN = 3  # problems on which a hypothesis is confirmed
_SEARCH_SECONDS = 1.3  # of processor time, for a diagnosis without the last check of the forward pass
EXACT, ROUNDED, HALF = 1e-7, 5e-4, 3e-2  # relative tolerances of float64, float32 and float16
_ROUNDED_RUNS = 3  # evaluations in float32, from which the size of rounding errors is taken
_OTHER_ORDER = 16  # how much larger they may be in another order of evaluation


@dataclass
class Problem:
    """The arguments of the cost, with its parameters.

    Attributes
    ----------
    arguments : dict
        Arguments by name.
    leaves : list of Leaf
        The arrays and numbers among them.
    """

    arguments: dict[str, Any]
    leaves: list[Leaf]

    @property
    def parameters(self) -> list[Leaf]:
        """The leaves that are differentiated."""
        return [leaf for leaf in self.leaves if leaf.is_parameter]


@dataclass
class _Subject:
    """What is diagnosed: the two functions of the user, and how they are called."""

    cost: Callable[..., Any]
    gradients: Any
    seconds: float
    name: str = "gradients"
    printed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    batch: frozenset[Axis] = frozenset()
    values: Callable[[], Mapping[str, Any]] = dict

    def record(self, problem: Problem, dtype: type = np.float64) -> Recording:
        """Evaluate the cost in float64, or in another precision, and return its recording."""
        tensors: dict[str, Tensor] = {}

        def as_argument(name: str, value: Any) -> Any:
            leaf = by_name[name]
            if leaf.is_parameter:
                tensors[name] = Tensor(np.array(leaf.value, dtype=dtype), requires_grad=True, dtype=dtype)
                return tensors[name]
            if isinstance(value, Tensor):
                return Tensor(_convert(leaf.value, dtype))
            return _convert(value, dtype) if isinstance(value, np.ndarray) else value

        by_name = {leaf.name: leaf for leaf in problem.leaves}
        arguments = replace_leaves(problem.arguments, as_argument)
        arrays = {
            leaf.name: _convert(leaf.value, dtype)
            for leaf in problem.leaves
            if isinstance(leaf.value, np.ndarray) and not leaf.is_parameter
        }
        numbers = numbers_of(problem.leaves, self.batch, class_count(problem.leaves))
        recording: Recording = call_function(
            lambda: record(lambda: _call(self.cost, arguments), tensors, arrays, numbers),
            "cost",
            seconds=self.seconds,
            printed=self.printed,
        )
        recording.give_names(self.values())
        return recording

    def evaluate(self, problem: Problem) -> dict[str, Array]:
        """Return the user's gradients by parameter."""
        shapes = {leaf.name: leaf.value.shape for leaf in problem.parameters}
        if not callable(self.gradients):
            return collect_gradients(self.gradients, shapes)
        arguments = replace_leaves(
            problem.arguments, lambda _, value: np.array(_plain(value)) if np.ndim(_plain(value)) else _plain(value)
        )
        before = copy.deepcopy(arguments)
        given = call_function(
            lambda: _call(self.gradients, arguments), self.name, seconds=self.seconds, printed=self.printed
        )
        changed = [
            a.name
            for a, b in zip(leaves_of(arguments), leaves_of(before), strict=False)
            if isinstance(a.value, np.ndarray)
            and not np.array_equal(a.value, b.value, equal_nan=a.value.dtype.kind == "f")
        ]
        if changed:
            note = f"{self.name} changes its argument {', '.join(changed)}; copy it first, since training would use the changed values"  # noqa: E501
            if note not in self.notes:
                self.notes.append(note)
        return {name: np.array(g) for name, g in collect_gradients(given, shapes).items()}


def _plain(value: Any) -> Any:
    return value._array if isinstance(value, Tensor) else value


def _convert(value: Any, dtype: type) -> Any:
    array = np.asarray(value)
    return array.astype(dtype) if array.dtype.kind == "f" else array


def _call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a function with arguments by name if it has parameters of these names, and otherwise by position."""
    try:
        signature = inspect.signature(function)
        accepted = {name: value for name, value in arguments.items() if name in signature.parameters}
        if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
            accepted = dict(arguments)
        signature.bind(**accepted)
        arguments = accepted
    except (TypeError, ValueError):
        return function(*arguments.values())
    positional = [p for p in signature.parameters.values() if p.kind is p.POSITIONAL_ONLY]
    return function(*arguments.values()) if positional else function(**arguments)


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
    that is cut. A mistake is stated only if it reproduces the given gradients, including those of problems on which it
    was not found; otherwise the report says that the mistake is not known, and what is known.

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
        Seconds that a call of ``cost`` or ``gradients`` may take. Default: 10.
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
    started, deadline = time.perf_counter(), time.thread_time() + _SEARCH_SECONDS
    if not callable(cost) or isinstance(cost, type):
        raise DiagnosisError(f"cost: must be a function or a model; got {type(cost).__name__}")
    subject = _Subject(cost, gradients, time_limit, name or _name_of(gradients), values=hand_in or dict)
    if isinstance(cost, Module):
        first, subject.cost = _of_model(cost, problem, arguments, subject.notes)
    else:
        first = Problem(_bind(cost, problem, arguments), [])
    first.leaves = _mark_parameters(list(leaves_of(first.arguments)), wrt)
    recording = subject.record(first)
    _check_repeatable(subject, first, recording)
    subject.batch = _find_batch(subject, first, recording)
    recording = subject.record(first)
    missing = [leaf.name for leaf in first.parameters if leaf.name not in recording.parameters]
    given = subject.evaluate(first)
    if callable(gradients) and not _equal(given, subject.evaluate(first)):
        raise DiagnosisError(
            f"{subject.name} returns other values when it is called again with the same arguments; switch dropout off, "
            "or pass its mask or its seed as an argument"
        )
    _check_unused(given, missing)
    order = _find_order(given, recording)
    cases = [_allow_rounding(subject, _make_case(first, recording, given, order))]
    if callable(gradients):
        cases += _drawn_cases(subject, first, cases[0], order, seed)
    kinks = _count_kinks(subject, first)
    ordered = [*cases[1:], cases[0]] if len(cases) > 1 else cases
    findings, residuals, ordered = _search(subject, ordered, deadline)
    if residuals:
        forgotten = _search_forward(subject, ordered)
        if forgotten is not None:
            findings, residuals = forgotten, {}
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
        has_lines=hand_in is None,
    )


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


def _mark_parameters(leaves: list[Leaf], wrt: Any) -> list[Leaf]:
    """Return the leaves, with those that are parameters marked."""
    names = [leaf.name for leaf in leaves]
    if wrt is not None:
        wanted = [wrt] if isinstance(wrt, str) else list(wrt)
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


def _check_repeatable(subject: _Subject, problem: Problem, recording: Recording) -> None:
    again = subject.record(problem)
    if again.cost != recording.cost:
        raise DiagnosisError(
            f"cost: is random ({recording.cost:.6g} and {again.cost:.6g} for the same arguments); "
            "switch dropout off, or pass "
            "its mask as an argument"
        )


def _equal(first: Mapping[str, Array], second: Mapping[str, Array]) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def _check_unused(given: Mapping[str, Array], missing: Sequence[str]) -> None:
    for name in missing:
        if np.any(given[name]):
            raise DiagnosisError(
                f"cost: does not depend on {name}, so its gradient is 0, but the given one is "
                f"not; use {name} in the cost"
            )


# -- cases -------------------------------------------------------------------------------------------------------------


def _find_order(given: Mapping[str, Array], recording: Recording) -> dict[str, str] | None:
    """Return which gradient belongs to which parameter if they are in another order than the parameters."""
    right = Walk(recording).gradients
    own = {name: given[name] for name in right}
    return find_order(own, right, lambda a, b: agree(a, b, 1e-4))


def _make_case(
    problem: Problem, recording: Recording, given: Mapping[str, Array], order: Mapping[str, str] | None
) -> Case:
    arrays = {}
    for name, at in recording.parameters.items():
        array = given[order[name] if order else name]
        arrays[name] = fit_shape(array, recording.steps[at].value.shape)
    return Case(recording, arrays, problem)


def _drawn_cases(
    subject: _Subject, first: Problem, case: Case, order: Mapping[str, str] | None, seed: int
) -> list[Case]:
    """Return cases of drawn problems: of other sizes if both functions accept them, otherwise of the same sizes."""
    rng = np.random.default_rng(seed)
    free = _free_axes(subject, first, case.recording, rng)
    errors: list[str] = []
    resized = _draw_cases(subject, first, case, order, rng, free, errors) if free else []
    is_right = _is_right(case)
    if resized and not (is_right and not all(map(_is_right, resized))):
        return resized
    errors.clear()
    cases = _draw_cases(subject, first, case, order, rng, [], errors)
    if resized and not (cases and all(map(_is_right, cases))):
        return resized
    if resized:
        subject.notes.append(
            "the gradients are right for the sizes of the given problem, but not for others: a size, such as the "
            "number of images, is probably written as a number"
        )
    if not cases and errors:
        subject.notes.append(f"other problems could not be compared: {errors[0]}")
    return cases


def _draw_cases(
    subject: _Subject,
    first: Problem,
    case: Case,
    order: Mapping[str, str] | None,
    rng: np.random.Generator,
    free: Sequence[frozenset[Axis]],
    errors: list[str],
) -> list[Case]:
    """Return cases of problems in which the sizes of some axes have been changed."""
    wrong = _wrong_parameters(case)
    cases: list[Case] = []
    spare: list[Case] = []
    for _ in range(3 * _DRAWN):
        try:
            drawn = _draw_case(subject, first, _draw_sizes(free, first, rng), rng, order)
        except DiagnosisError as error:
            errors.append(str(error))
            continue
        if drawn is None or drawn.recording.signature != case.recording.signature:
            continue
        if _has_shapes(drawn) == _has_shapes(case):
            # No gradient reaches the parameters below units that are all off, so a mistake there cannot be seen.
            (cases if _wrong_parameters(drawn) >= wrong else spare).append(drawn)
        if len(cases) == _DRAWN:
            break
    return cases or spare[:_DRAWN]


def _wrong_parameters(case: Case) -> frozenset[str]:
    """Return the parameters with a wrong gradient."""
    walk = Walk(case.recording)
    return frozenset(name for name in walk.gradients if not case.agrees(name, walk))


def _has_shapes(case: Case) -> dict[str, bool]:
    """Return whether each gradient has the shape of its parameter."""
    recording = case.recording
    return {name: g.shape == recording.steps[recording.parameters[name]].value.shape for name, g in case.given.items()}


def _is_right(case: Case) -> bool:
    return not _wrong_parameters(case)


def _draw_sizes(groups: Sequence[frozenset[Axis]], first: Problem, rng: np.random.Generator) -> dict[Axis, int]:
    """Return new sizes of groups of axes: small ones, all different."""
    changed = {axis for group in groups for axis in group}
    shapes = {leaf.name: leaf.value.shape for leaf in first.leaves if isinstance(leaf.value, np.ndarray)}
    taken = {n for name, shape in shapes.items() for k, n in enumerate(shape) if (name, k) not in changed}
    sizes: dict[Axis, int] = {}
    for group in groups:
        name, k = min(group)
        new = small_size(shapes[name][k], taken, rng)
        taken.add(new)
        sizes.update(dict.fromkeys(group, new))
    return sizes


def _draw_case(
    subject: _Subject,
    first: Problem,
    sizes: Mapping[Axis, int],
    rng: np.random.Generator,
    order: Mapping[str, str] | None,
) -> Case | None:
    problem = _draw(first, sizes, rng)
    recording = subject.record(problem)
    if set(recording.parameters) != {leaf.name for leaf in problem.parameters} and not recording.parameters:
        return None
    given = subject.evaluate(problem)
    return _allow_rounding(subject, _make_case(problem, recording, given, order))


def _draw(first: Problem, sizes: Mapping[Axis, int], rng: np.random.Generator) -> Problem:
    arguments = draw_problem(first.arguments, first.leaves, sizes, rng)
    is_parameter = {leaf.name: leaf.is_parameter for leaf in first.leaves}
    leaves = [Leaf(x.name, x.value, is_parameter.get(x.name, False), x.is_tensor) for x in leaves_of(arguments)]
    return Problem(arguments, leaves)


def _accepts(subject: _Subject, first: Problem, recording: Recording, sizes: Mapping[Axis, int], *, both: bool) -> bool:
    """Return whether the cost, and the gradients if ``both``, can be computed with other sizes."""
    try:
        problem = _draw(first, sizes, np.random.default_rng(0))
        if subject.record(problem).signature != recording.signature:
            return False
        if both and callable(subject.gradients):
            subject.evaluate(problem)
    except (DiagnosisError, ValueError):
        return False
    return True


def _find_batch(subject: _Subject, first: Problem, recording: Recording) -> frozenset[Axis]:
    """Return the axes of the images: those of the data whose size can be changed alone."""
    tried: list[frozenset[Axis]] = []
    for axes in batch_candidates(first.leaves):
        if axes not in tried:
            tried.append(axes)
            sizes = _draw_sizes([axes], first, np.random.default_rng(0))
            if _accepts(subject, first, recording, sizes, both=False):
                return axes
    return frozenset()


def _free_axes(
    subject: _Subject, first: Problem, recording: Recording, rng: np.random.Generator
) -> list[frozenset[Axis]]:
    """Return the groups of axes whose sizes can be changed, if possible all, without an error of a function."""
    groups = axis_groups(first.leaves, subject.batch)
    if _accepts(subject, first, recording, _draw_sizes(groups, first, rng), both=True):
        return groups
    free: list[frozenset[Axis]] = []
    for group in groups:
        if _accepts(subject, first, recording, _draw_sizes([*free, group], first, rng), both=True):
            free.append(group)
    return free


def _count_kinks(subject: _Subject, first: Problem) -> dict[str, int]:
    with count_kinks() as kinks:
        subject.record(first)
    return dict(kinks)


# -- tolerance and search ----------------------------------------------------------------------------------------------


def _allow_rounding(subject: _Subject, case: Case) -> Case:
    """Return a case with the tolerance of the precision of its gradients, and of the arguments they come from."""
    types = {g.dtype for g in case.given.values()}
    types |= {leaf.value.dtype for leaf in case.problem.leaves if isinstance(leaf.value, np.ndarray)}
    if np.dtype(np.float16) in types:
        return replace(case, relative=HALF, rounding=_rounding_errors(subject, case, np.float16))
    if np.dtype(np.float32) in types:
        return replace(case, relative=ROUNDED, rounding=_rounding_errors(subject, case, np.float32))
    return case


def _rounding_errors(subject: _Subject, case: Case, dtype: type) -> dict[str, float]:
    """Return how large the rounding errors of the right gradients are, by parameter.

    The right gradients are evaluated in float32 as well, once as they are and then with inputs that differ in their
    last digit. The differences from float64 measure the rounding of all terms, including those that cancel: the
    gradient of a bias in front of a batch normalisation is zero, and consists of rounding errors only.
    """
    right = Walk(case.recording).gradients
    worst = dict.fromkeys(right, 0.0)
    rng = np.random.default_rng(0)
    for run in range(_ROUNDED_RUNS):
        arguments = replace_leaves(case.problem.arguments, _change_last_digit(rng if run else None))
        is_parameter = {leaf.name: leaf.is_parameter for leaf in case.problem.leaves}
        leaves = [Leaf(x.name, x.value, is_parameter.get(x.name, False), x.is_tensor) for x in leaves_of(arguments)]
        try:
            recording = subject.record(Problem(arguments, leaves), np.float32)
        except DiagnosisError:
            continue
        for name, g in Walk(recording).gradients.items():
            error = float(np.abs(g - right[name]).max(initial=0))
            worst[name] = max(worst[name], error if np.isfinite(error) else 0.0)
    factor = _OTHER_ORDER * float(np.finfo(dtype).eps / np.finfo(np.float32).eps)
    return {name: factor * error for name, error in worst.items()}


def _change_last_digit(rng: np.random.Generator | None) -> Callable[[str, Any], Any]:
    """Return a function that changes the last digit of numbers in float32, except 0 and 1, as in masks."""

    def change(_: str, value: Any) -> Any:
        array = _plain(value)
        if rng is None or not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            return value
        digits = np.finfo(np.float32).eps * rng.uniform(-0.5, 0.5, array.shape) * ((array != 0) & (array != 1))
        changed = array.astype(np.float64) * (1 + digits)
        return Tensor(changed, requires_grad=value.requires_grad) if isinstance(value, Tensor) else changed

    return change


def _search(
    subject: _Subject, cases: list[Case], deadline: float
) -> tuple[list[Finding], dict[str, Array], list[Case]]:
    """Return the confirmed changes and the unexplained rest, with the cases in the precision in which they hold."""
    findings, residuals = Search(cases, deadline).run()
    if residuals and cases[0].relative < ROUNDED and time.thread_time() < deadline:
        loose = [
            replace(case, relative=ROUNDED, rounding=_rounding_errors(subject, case, np.float32))
            if case.relative < ROUNDED
            else case
            for case in cases
        ]
        again, rest = Search(loose, deadline).run()
        if len(rest) < len(residuals):
            return again, rest, loose
    return findings, residuals, cases


def _search_forward(subject: _Subject, cases: Sequence[Case]) -> list[Finding] | None:
    """Return the argument without which the given gradients are computed, as if the forward pass had forgotten it."""
    for leaf in cases[0].problem.leaves:
        if not isinstance(leaf.value, np.ndarray):
            continue
        neutral = 0.0 if leaf.is_parameter else 1.0
        changed = [_without(subject, case, leaf.name, neutral) for case in cases]
        for case, other in zip(cases, changed, strict=True):
            if other is None:
                break
            walk = Walk(other)
            if not all(case.agrees(name, walk) for name in walk.gradients):
                break
        else:
            kind = "parameter_forgotten" if leaf.is_parameter else "array_forgotten"
            edit = Edit(kind, ("argument", leaf.name), lambda _, g: g)
            names = tuple(cases[0].given)
            return [Finding(edit, None, names, tuple(1.0 for _ in cases), names)]
    return None


def _without(subject: _Subject, case: Case, name: str, neutral: float) -> Recording | None:
    """Return the recording of a problem in which an array has been replaced by zeros, or ones."""

    def change(own: str, value: Any) -> Any:
        if own != name:
            return value
        array = np.full(np.shape(_plain(value)), neutral)
        return Tensor(array, requires_grad=value.requires_grad) if isinstance(value, Tensor) else array

    arguments = replace_leaves(case.problem.arguments, change)
    is_parameter = {leaf.name: leaf.is_parameter for leaf in case.problem.leaves}
    leaves = [Leaf(x.name, x.value, is_parameter.get(x.name, False), x.is_tensor) for x in leaves_of(arguments)]
    try:
        recording = subject.record(Problem(arguments, leaves))
    except DiagnosisError:
        return None
    return recording if recording.signature == case.recording.signature else None
