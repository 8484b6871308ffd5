"""The gradient functions of the course's assignments, as students write them: how they are called, and in which layout.

A function is called with what the names of its parameters say (:data:`MEANINGS`): the images ``X`` (``MX``, as
patches), the labels ``Y`` (one-hot) or ``y``, the probabilities ``P`` and other results of the forward pass, weights
and biases one by one, in lists, or in a dictionary ``network``, and ``lam``. Its own forward function computes
``fp_data``. Every network of the assignments is tried in each layout, and the one is taken whose gradients have the
right shapes and are nearest.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from tinygrad_cifar.doctor.calls import DiagnosisError, call_function
from tinygrad_cifar.doctor.definitions import Definitions
from tinygrad_cifar.doctor.diagnosis import diagnose_hand_in
from tinygrad_cifar.doctor.failures import Failure, ResultError, UnknownParameterError, describe_failures
from tinygrad_cifar.doctor.matching import collect_gradients, fit_shape
from tinygrad_cifar.doctor.networks import EPSILONS, NETWORKS, Layout, Network
from tinygrad_cifar.doctor.progress import count_instructions
from tinygrad_cifar.doctor.report import Report
from tinygrad_cifar.engine.backprop import grad
from tinygrad_cifar.engine.tensor import Tensor

GRADIENT_FUNCTIONS = (
    *("ComputeGradients", "BackwardPass", "compute_gradients", "backward_pass", "ComputeGrads", "compute_grads"),
    *("ComputeGradsAnalytical", "compute_gradients_analytical", "backward", "Backward", "gradients", "backprop"),
)
FORWARD_FUNCTIONS = (
    *("ApplyNetwork", "ForwardPass", "apply_network", "forward_pass", "EvaluateClassifier", "evaluate_classifier"),
    *("EvaluateNetwork", "evaluate_network", "forward", "Forward"),
)
COST_FUNCTIONS = ("ComputeCost", "compute_cost", "ComputeLoss", "compute_loss", "cost", "loss")

# The lower-case names of parameters, without underscores, and what they stand for.
MEANINGS = {
    "X": {"x", "xbatch", "xtrain", "images", "data", "mx", "mxbatch"},
    "Y": {"y", "ybatch", "ytrain", "yonehot", "onehot", "labels", "targets", "ys"},
    "P": {"p", "probs", "probabilities", "pbatch"},
    "W": {"w", "ws", "weights"},
    "b": {"b", "bs", "biases", "bias"},
    "gamma": {"gamma", "gammas"},
    "beta": {"beta", "betas"},
    "masks": {"mask", "masks", "dropoutmasks"},
    "Fs_flat": {"fs", "fsflat", "f", "filters"},
    "lam": {"lam", "lambda", "lmbda", "lambd", "lamda", "reg", "l", "reglambda", "lmb"},
    "network": {
        *("network", "net", "params", "parameters", "netparams", "theta", "model", "trainednet", "initnet"),
        *("convnetwork", "convnet", "nnet", "nn", "layers"),
    },
    "fp_data": {"fpdata", "fp", "cache", "caches", "forward", "activations", "fpvals", "forwarddata"},
}
_SECONDS = 10.0
_LARGEST_EPSILON = 1e-4
_COST_RTOL = 1e-4  # of the value of a cost, which may be in float32, or have a small number in its log
_EQUAL = 1e-9  # relative distance of gradients that have been computed with the same numbers


@dataclass(frozen=True)
class Attempt:
    """A way to call a gradient function.

    Attributes
    ----------
    network : Network
        The network of the assignment.
    layout : Layout
        How images and biases are stored.
    labels : bool
        Whether ``y`` is given as integers instead of one-hot columns or rows.
    score : tuple
        How well the result fits: larger is better.
    """

    network: Network
    layout: Layout
    labels: bool = False
    score: tuple[float, ...] = ()


def find_function(namespace: Mapping[str, Any], names: Sequence[str]) -> Callable[..., Any] | None:
    """Return the first function of a file that has one of these names; None if there is none."""
    for name in names:
        if inspect.isfunction(namespace.get(name)):
            function: Callable[..., Any] = namespace[name]
            return function
    return None


def diagnose_file(definitions: Definitions, name: str = "") -> tuple[Report, str]:
    """Diagnose the gradient function of a student's file.

    Parameters
    ----------
    definitions : Definitions
        The names that the file defines.
    name : str
        Name of the function. Default: the first of :data:`GRADIENT_FUNCTIONS` that the file has.

    Returns
    -------
    Report, str
        The report, and which network and layout were taken, in words.

    Raises
    ------
    DiagnosisError
        If there is no such function, or it cannot be called.
    """
    namespace, names = definitions.names, [name] if name else GRADIENT_FUNCTIONS
    function = find_function(namespace, names)
    if function is None:
        wanted = name or " or ".join(GRADIENT_FUNCTIONS[:3])
        reason = next(filter(None, map(definitions.why_missing, names)), "; name it with --function")
        raise DiagnosisError(f"the file does not define the function {wanted}{reason}")
    attempts, failures = _try_all(function, definitions)
    if not attempts:
        reason, has_returned = describe_failures(failures)
        failed = "" if has_returned else " could not be called in any layout"
        raise DiagnosisError(
            f"{function.__name__}{inspect.signature(function)}{failed}: {reason}; see "
            "`tinygrad-cifar doctor --help` for the signatures"
        )
    best = None
    for attempt in attempts[:3]:
        attempt = _with_epsilon(function, namespace, attempt)  # noqa: PLW2901
        if attempt.score[:1] < attempts[0].score[:1]:
            break
        report, notes = _diagnose(function, definitions, attempt)
        rank = ({"right": 2, "wrong": 1}.get(report.status, 0), -len(report.mistakes))
        if best is None or rank > best[0]:
            best = (rank, attempt, report, notes)
        if report.status == "right":
            break
    assert best is not None
    _, attempt, report, notes = best
    taken = f"{function.__name__}: {attempt.network.title}; {attempt.layout.title}"
    return replace(report, notes=(*notes, *report.notes)), taken


def _diagnose(
    function: Callable[..., Any], definitions: Definitions, attempt: Attempt
) -> tuple[Report, tuple[str, ...]]:
    problem = _problem(attempt, 0)
    (is_sum, factor), notes = _own_convention(definitions, attempt, problem)

    values: dict[str, Any] = {}

    def cost(**arguments: Any) -> Any:
        values.clear()
        data, penalty = attempt.network.cost(attempt.layout, values, **arguments)
        loss = data * _batch(arguments, attempt.layout) if is_sum else data
        return loss + factor * arguments["lam"] * penalty

    gradients = _as_gradients(function, definitions.names, attempt)
    wrt = attempt.network.parameters(problem)
    return diagnose_hand_in(cost, gradients, problem, wrt, function.__name__, _SECONDS, lambda: values), notes


def _batch(arguments: Mapping[str, Any], layout: Layout) -> int:
    shape = arguments["Y"].shape
    return int(shape[1] if layout.columns else shape[0])


def _as_gradients(function: Callable[..., Any], namespace: Mapping[str, Any], attempt: Attempt) -> Callable[..., Any]:
    """Return the student's function as a function of the arguments of the reference cost."""

    def gradients(**arguments: Any) -> Any:
        return _call(function, namespace, attempt, arguments)

    gradients.__name__ = function.__name__
    return gradients


def _problem(attempt: Attempt, seed: int) -> dict[str, Any]:
    return attempt.network.problem(attempt.layout, np.random.default_rng(seed))


# -- calling -----------------------------------------------------------------------------------------------------------


def _call(
    function: Callable[..., Any], namespace: Mapping[str, Any], attempt: Attempt, arguments: Mapping[str, Any]
) -> Any:
    """Call a function of the student with what its parameters stand for."""
    values = attempt.network.forward(attempt.layout, **arguments)
    bound: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        value = _value_of(name, namespace, attempt, arguments, values)
        if value is not None:
            bound[name] = value
        elif parameter.default is parameter.empty:
            raise UnknownParameterError(
                f"the parameter {name} is not known, or does not belong to the {attempt.network.title}"
            )
    return function(**bound)


def _value_of(
    name: str, namespace: Mapping[str, Any], attempt: Attempt, arguments: Mapping[str, Any], values: Mapping[str, Any]
) -> Any:
    """Return what a parameter of the student's function stands for; None if it is not known."""
    meaning = meaning_of(name)
    if meaning == "Y":
        return _labels(arguments["Y"], attempt) if attempt.labels else arguments["Y"]
    if meaning == "X":
        return arguments["MX" if "MX" in arguments else "X"]
    if meaning == "network":
        return _network_dictionary(attempt, arguments)
    if meaning == "fp_data":
        return _forward_data(namespace, attempt, arguments, values)
    known = {**_lower(values), **_lower(arguments), **values, **arguments}
    return next((known[key] for key in (meaning, name, name.lower()) if key in known), None)


def meaning_of(name: str) -> str:
    """Return what the name of a parameter stands for: a key of :data:`MEANINGS`, or the name itself."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return next((meaning for meaning, names in MEANINGS.items() if plain in names), name)


def _lower(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in values.items()}


def _labels(Y: Any, attempt: Attempt) -> Any:
    return np.argmax(Y, axis=0 if attempt.layout.columns else 1)


def _network_dictionary(attempt: Attempt, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters in a dictionary, as lists and one by one."""
    parameters = attempt.network.parameters(arguments)
    known = {name: arguments[name] for name in parameters}
    for letter in ("W", "b", "gamma", "beta"):
        numbered = [arguments[f"{letter}{k}"] for k in range(1, 9) if f"{letter}{k}" in arguments]
        if numbered:
            known[letter] = numbered
        elif isinstance(arguments.get(letter), list):
            known |= {f"{letter}{k}": part for k, part in enumerate(arguments[letter], 1)}
    for key, other in (("gamma", "gammas"), ("beta", "betas"), ("Fs_flat", "Fs"), ("W", "Ws"), ("b", "bs")):
        if key in known:
            known[other] = known[key]
    return known


def _forward_data(
    namespace: Mapping[str, Any], attempt: Attempt, arguments: Mapping[str, Any], values: Mapping[str, Any]
) -> Any:
    """Return the result of the student's forward function; our own values by name if there is none."""
    forward = find_function(namespace, FORWARD_FUNCTIONS)
    return dict(values) if forward is None else _call(forward, namespace, attempt, arguments)


# -- choosing ----------------------------------------------------------------------------------------------------------


def _try_all(function: Callable[..., Any], definitions: Definitions) -> tuple[list[Attempt], list[Failure]]:
    """Return the ways to call a function that give gradients, the best first, and the failures of the others."""
    found: list[Attempt] = []
    failures: list[Failure] = []
    for attempt in _attempts():
        score = partial(_score, function, definitions.names, attempt)
        try:
            found.append(replace(attempt, score=score()))
        except DiagnosisError as error:
            images = "columns" if attempt.layout.columns else "rows"
            text, measure = definitions.describe(error), partial(count_instructions, score)
            failures.append(Failure(attempt.network.title, images, error, text, measure))
    found.sort(key=lambda attempt: tuple(-x for x in attempt.score))
    return found, failures


def _with_epsilon(function: Callable[..., Any], namespace: Mapping[str, Any], attempt: Attempt) -> Attempt:
    """Return an attempt with the number under the root of batch normalisation with which most gradients are right.

    If none are, it is a small number that the file contains.
    """
    if attempt.network.epsilon is None:
        return attempt
    best, most = attempt, -1
    for epsilon in (*_small_constants(namespace), *EPSILONS):
        other = replace(attempt, network=replace(attempt.network, epsilon=epsilon))
        right = sum(distance < _EQUAL for distance in _distances(function, namespace, other)[1])
        if right > most:
            best, most = other, right
    return best


def _small_constants(namespace: Mapping[str, Any]) -> list[float]:
    """Return the numbers in a file, in its functions and as names, that may protect a division."""
    codes: list[Any] = [value.__code__ for value in namespace.values() if inspect.isfunction(value)]
    found = [value for value in namespace.values() if isinstance(value, float)]
    while codes:
        constants = codes.pop().co_consts
        codes += [x for x in constants if inspect.iscode(x)]
        found += [x for x in constants if isinstance(x, float)]
    return sorted({x for x in found if 0 < x <= _LARGEST_EPSILON})


def _attempts() -> Iterator[Attempt]:
    for network in NETWORKS:
        for layout in network.layouts:
            for labels in (False, True):
                yield Attempt(network, layout, labels)


def _score(function: Callable[..., Any], namespace: Mapping[str, Any], attempt: Attempt) -> tuple[float, ...]:
    """Return how well gradients fit a network and layout: right shapes, right gradients, nearness of the others."""
    shapes, near = _distances(function, namespace, attempt)
    return (shapes / len(near), sum(x < 1e-4 for x in near), -float(np.median(near)))  # noqa: PLR2004 (float32)


def _distances(
    function: Callable[..., Any], namespace: Mapping[str, Any], attempt: Attempt
) -> tuple[int, Sequence[float]]:
    """Return how many gradients have the right shape, and the relative distance of each from the right one."""
    problem = _problem(attempt, 1)
    names = attempt.network.parameters(problem)
    given = call_function(
        lambda: _call(function, namespace, attempt, problem), function.__name__, seconds=_SECONDS, printed=[]
    )
    right = _right_gradients(attempt, problem, names)
    try:
        arrays = collect_gradients(given, {name: g.shape for name, g in right.items()})
    except DiagnosisError as error:
        raise ResultError(str(error)) from error
    fitted = {name: fit_shape(arrays[name], g.shape) for name, g in right.items()}
    shapes = sum(fitted[name].shape == g.shape for name, g in right.items())
    near = []
    for name, g in right.items():
        a = fitted[name]
        size = float(np.linalg.norm(g)) or 1.0
        near.append(float(np.linalg.norm(a - g)) / size if a.shape == g.shape else 10.0)
    return shapes, near


def _right_gradients(attempt: Attempt, problem: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    tensors: dict[str, Any] = {}

    def as_tensors(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [as_tensors(f"{name}[{k}]", part) for k, part in enumerate(value)]
        tensors[name] = Tensor(value, requires_grad=True)
        return tensors[name]

    arguments = {key: as_tensors(key, value) if key in names else value for key, value in problem.items()}
    data, penalty = attempt.network.cost(attempt.layout, {}, **arguments)
    gradients = grad(data + problem["lam"] * penalty, list(tensors.values()))
    return {name: np.asarray(g._array) for name, g in zip(tensors, gradients, strict=True)}


def _own_convention(
    definitions: Definitions, attempt: Attempt, problem: Mapping[str, Any]
) -> tuple[tuple[bool, float], tuple[str, ...]]:
    """Return the convention of the student's own cost function, and a note if it is not the course's.

    The convention is whether the loss is a sum over the images, and the factor of the L2 term.
    """
    course = (False, 1.0)
    function = find_function(definitions.names, COST_FUNCTIONS)
    if function is None:
        return course, ()
    try:
        own = call_function(
            lambda: _call(function, definitions.names, attempt, problem),
            function.__name__,
            seconds=_SECONDS,
            printed=[],
        )
        own = own[0] if isinstance(own, tuple) else own
        value = float(np.asarray(own).item())
    except (DiagnosisError, TypeError, ValueError) as error:
        reason = definitions.describe(error) if isinstance(error, DiagnosisError) else "it does not return a number"
        return course, (f"{function.__name__} is not used, and the convention of the course is taken: {reason}",)
    data, penalty = (float(np.asarray(x)) for x in attempt.network.cost(attempt.layout, {}, **problem))
    penalty *= problem["lam"]
    N = _batch(problem, attempt.layout)
    factors = {1 / (2 * N): "lam / (2 * N)", 1 / N: "lam / N", 2.0: "2 * lam", 0.5: "lam / 2", 1.0: "lam"}
    errors = {
        (is_sum, factor): abs(value - (data * (N if is_sum else 1) + factor * penalty))
        for is_sum in (False, True)
        for factor in factors
    }
    nearest = min(errors, key=errors.__getitem__)
    if not errors[nearest] <= _COST_RTOL * abs(value):
        reason = f"its value, {value:.6g}, follows no known convention; the course's is {data + penalty:.6g}"
        return course, (f"{function.__name__} is not used, and the convention of the course is taken: {reason}",)
    is_sum, factor = nearest
    notes = []
    if is_sum:
        notes.append(f"{function.__name__} sums the loss over the images, and the course takes the mean")
    if factor != 1:
        notes.append(f"{function.__name__} has {factors[factor]} times the squared weights, and the course lam")
    return nearest, tuple(f"another convention, not a mistake: {note}" for note in notes)
