"""The check of a model: the gradient of its loss with respect to each parameter.

The gradient is the one that training uses, without a random cotangent. Parameters are changed in place, one element at
a time, so that any model can be checked: a module, a chain of layers, or a function that names its parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np

from tinygrad_cifar.engine.backprop import grad
from tinygrad_cifar.engine.gradcheck.arguments import format_index, name_of
from tinygrad_cifar.engine.gradcheck.extrapolation import Index, Neighbourhood
from tinygrad_cifar.engine.gradcheck.judgement import DOUBTS, Judgement, Part, judge_gradient
from tinygrad_cifar.engine.gradcheck.measures import relative_errors
from tinygrad_cifar.engine.graph import Array, Value, ancestors, format_shape
from tinygrad_cifar.engine.tensor import Tensor


@dataclass(frozen=True)
class ParameterCheck:
    """The gradient of a loss with respect to one parameter, compared with centred differences.

    Attributes
    ----------
    name : str
        Name of the parameter.
    shape : tuple of int
        Its shape.
    checked : int
        Number of elements that were compared.
    error : float
        Largest relative error of these, as defined by :func:`relative_errors`.
    wrong : int
        Number of elements that are wrong.
    kinks : int
        Number of elements for which the loss has a kink within a step. Beside the kink, differences of smaller steps
        are compared; on it the loss has no derivative, and nothing is compared.
    is_used : bool
        Whether the loss depends on the parameter.
    at : tuple of int
        Index of the element with the largest error, if possible of a wrong one.
    backward : float
        The derivative with respect to this element by the backward pass.
    numerical : float
        The derivative by a centred difference.
    unjudged : int
        Number of elements for which the differences are too inaccurate to judge the gradient.
    uncertainty : float
        Estimated error of ``numerical``.
    """

    name: str
    shape: tuple[int, ...]
    checked: int = 0
    error: float = 0.0
    wrong: int = 0
    kinks: int = 0
    is_used: bool = True
    at: tuple[int, ...] = ()
    backward: float = 0.0
    numerical: float = 0.0
    unjudged: int = 0
    uncertainty: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether no element is wrong, or not judged."""
        return not (self.wrong or self.unjudged)

    @property
    def verdict(self) -> str:
        """The result in words."""
        if self.wrong:
            return (
                f"WRONG in {self.wrong}; at {format_index(self.at)} backward gives {self.backward:.6g}, "
                f"differences {self.numerical:.6g}"
            )
        if self.unjudged:
            return (
                f"NOT JUDGED in {self.unjudged}; at {format_index(self.at)} backward gives {self.backward:.6g}, "
                f"differences {self.numerical:.3g} +- {self.uncertainty:.1g}"
            )
        if self.kinks and not self.checked:
            return f"not compared; all {self.kinks} at kinks"
        if not self.is_used:
            return "ok; the loss does not depend on it"
        return f"ok; {self.kinks} at kinks" if self.kinks else "ok"


@dataclass(frozen=True, repr=False)
class ModelCheck:
    """The result of :func:`check_model`; as text, a table with a line for each parameter.

    Attributes
    ----------
    loss : float
        The loss.
    parameters : tuple of ParameterCheck
        One for each parameter.
    """

    loss: float
    parameters: tuple[ParameterCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether the gradients of all parameters are right."""
        return all(parameter.passed for parameter in self.parameters)

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table as texts: a header, and a row for each parameter."""
        header = ("parameter", "shape", "checked", "worst error", "verdict")
        return [
            header,
            *[(p.name, format_shape(p.shape), f"{p.checked:,}", f"{p.error:.1e}", p.verdict) for p in self.parameters],
        ]

    def __str__(self) -> str:
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            f"{name:<{widths[0]}}  {shape:>{widths[1]}}  {checked:>{widths[2]}}  {error:>{widths[3]}}  {verdict}"
            for name, shape, checked, error, verdict in rows
        )

    __repr__ = __str__


def check_model(  # noqa: PLR0913 (keyword-only arguments)
    model: Callable[..., Any],
    X: Any,
    labels: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    parameters: Mapping[str, Tensor] | Iterable[Tensor] | None = None,
    lam: float = 0.0,
    elements: int | None = 100,
    rtol: float = 1e-6,
    atol: float | None = None,
    rng: int | np.random.Generator = 0,
) -> ModelCheck:
    """Check the gradient of a model's loss with respect to each of its parameters against centred differences.

    The gradient is that of the loss itself, as an optimiser receives it. Its elements are compared as by
    :func:`check_gradients`. The model is the same afterwards: parameters, their ``.grad``, and random generators.

    Parameters
    ----------
    model : Module or callable
        A module in float64, in the mode (training or evaluation) in which it is to be checked; or a function of a batch
        that returns the scores. Dropout masks are the same in all evaluations.
    X : array_like or Tensor
        A batch of inputs.
    labels : array_like, optional
        The labels or other targets of the batch. If None, the loss is a function of the inputs only.
    loss : callable, optional
        ``loss(scores, labels)`` returns the loss of a batch, such as
        :func:`tinygrad_cifar.nn.functional.cross_entropy`. Default: the method ``loss(X, labels)`` of the model.
    parameters : mapping of str to Tensor, or iterable of Tensor, optional
        Default: the parameters of a module; of a function, the leaf tensors and modules that its code names.
    lam : float
        Weight of the L2 term of the course's cost, over the weights of a module. Default: 0.
    elements : int, optional
        Number of elements of each parameter to compare, chosen at random; None for all of them. Most take two
        evaluations of the loss. Default: 100.
    rtol, atol : float
        Tolerances, as those of :func:`check_gradients`.
    rng : int or numpy.random.Generator
        Generator that chooses the elements, or its seed. Default: 0.

    Returns
    -------
    ModelCheck
        Its attribute ``passed`` is the verdict; printed, it is a table. It fails if elements are wrong, or cannot
        be judged for one of the reasons given at :func:`check_gradients`; on a kink nothing is compared.

    Raises
    ------
    TypeError
        If a parameter is not float64, or the loss is not a tensor.
    ValueError
        If the model has no loss or no parameters, if the loss depends on tensors that are not checked, or if the loss
        changes between calls with the same values.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import functional as F, gradcheck, models, nn
    >>> rng = np.random.default_rng(0)
    >>> X, labels = rng.normal(size=(5, 4)), [0, 1, 2, 1, 0]
    >>> print(gradcheck.check_model(models.TwoLayer(4, 3, 3, rng=rng), X, labels))  # doctest: +ELLIPSIS
    parameter  shape  checked  worst error  verdict
    W1         4 x 3       12  ...  ok
    b1             3        3  ...  ok
    W2         3 x 3        9  ...  ok
    b2             3        3  ...  ok
    >>> model = nn.Sequential(nn.Linear(4, 3, rng=rng), nn.ReLU(), nn.Linear(3, 3, rng=rng))
    >>> gradcheck.check_model(model, X, labels, loss=F.cross_entropy).passed
    True
    """
    if elements is not None and (not isinstance(elements, (int, np.integer)) or elements < 1):
        raise ValueError(
            f"check_model: elements must be an integer of at least 1, or None for all; got {elements!r:.40}"
        )
    named = _named_parameters(model, parameters)
    cost = _cost_of(model, X, labels, loss, lam)
    generator = np.random.default_rng(rng)
    with _repeatable(_modules_of(model), cost) as evaluate:
        out = evaluate()
        if not np.array_equal(out.data, evaluate().data, equal_nan=True):
            raise ValueError("check_model: the loss must be the same in each call; seed its generator inside the model")
        behind = {node for node in ancestors(out._node) if node.primitive is None} if out._node is not None else set()
        given = {x._node for x in (X, labels) if isinstance(x, Tensor)}
        if others := behind - {p._node for p in named.values()} - given:
            shapes = ", ".join(sorted(str(node.shape) for node in others))
            raise ValueError(
                f"check_model: the loss also depends on {len(others)} parameters that are not known here, of shape "
                f"{shapes}; give all by parameters="
            )
        tensors = list(named.values())
        gradients: Any = [Tensor(np.zeros(p.shape)) for p in tensors] if out._node is None else grad(out, tensors)
        parts = []
        for p, gradient in zip(tensors, gradients, strict=True):
            chosen = np.arange(p.size)
            if elements is not None and p.size > elements:
                chosen = np.sort(generator.choice(p.size, elements, replace=False))
            places = [tuple(int(i) for i in np.unravel_index(flat, p.shape)) for flat in chosen]
            parts.append(Part(_loss_near(p, evaluate, out.data), gradient.data, places))
        checks = [
            _summarise(name, p, p._node in behind, part.analytic, judgements)
            for (name, p), part, judgements in zip(named.items(), parts, judge_gradient(parts, rtol, atol), strict=True)
        ]
    return ModelCheck(float(out.item()), tuple(checks))


def _summarise(name: str, p: Tensor, is_used: bool, gradient: Array, judgements: Sequence[Judgement]) -> ParameterCheck:
    if not judgements:
        return ParameterCheck(name, p.shape, is_used=is_used)
    compared = [_allow_kinks(judgement, float(gradient[judgement.at])) for judgement in judgements]
    errors = [float(relative_errors(gradient[judgement.at], judgement.numerical)) for judgement in compared]
    wrong = [judgement.verdict == "wrong" for judgement in compared]
    unjudged = [judgement.verdict in DOUBTS for judgement in compared]
    on_kinks = sum(
        after.verdict == "kink" and before.verdict != "right"
        for before, after in zip(judgements, compared, strict=True)
    )
    worst = max(range(len(compared)), key=lambda k: (wrong[k], unjudged[k], np.nan_to_num(errors[k], nan=np.inf)))
    at = compared[worst].at
    return ParameterCheck(
        name,
        p.shape,
        len(compared) - on_kinks,
        errors[worst],
        sum(wrong),
        sum(judgement.verdict == "kink" for judgement in compared),
        is_used,
        at,
        float(gradient[at]),
        compared[worst].numerical,
        sum(unjudged),
        compared[worst].error,
    )


def _allow_kinks(judgement: Judgement, analytic: float) -> Judgement:
    """Return the judgement, or "kink" for an element that agrees beside a kink, or is on it and cannot be compared."""
    if judgement.verdict == "right":
        return judgement._replace(verdict="kink") if judgement.crossed_kink() else judgement
    if judgement.verdict != "not finite" and judgement.coordinate.is_at_kink():
        return judgement._replace(verdict="kink", numerical=analytic, error=0.0)
    return judgement


def _loss_near(p: Tensor, evaluate: Callable[[], Tensor], here: Array) -> Neighbourhood:
    """Return the loss as a function of one parameter, which has its own values again after each evaluation."""
    start = p.numpy()

    def write(numbers: Mapping[Index, float]) -> None:
        def into(array: Array) -> None:
            for at, number in numbers.items():
                array[at] = number

        p.overwrite(into)

    def loss_at(numbers: Mapping[Index, float]) -> Array:
        write(numbers)
        try:
            return np.asarray(evaluate().data)
        finally:
            write({at: float(start[at]) for at in numbers})

    return Neighbourhood(loss_at, start, here, np.ones(here.shape))


def _named_parameters(model: Any, parameters: Any) -> dict[str, Tensor]:
    """Return the parameters of a model by name."""
    if parameters is None:
        named = dict(_parameters_of(model))
    else:
        named = dict(parameters if isinstance(parameters, Mapping) else {str(i): p for i, p in enumerate(parameters)})
    if not named:
        raise ValueError(f"check_model: no parameters were found in {name_of(model)}; give them by parameters=")
    for name, p in named.items():
        if not (isinstance(p, Tensor) and p.requires_grad and p.is_leaf):
            raise TypeError(f"check_model: the parameter {name} must be a leaf tensor with requires_grad=True")
        if p.dtype != np.float64:
            raise TypeError(
                f"check_model: the parameter {name} is {p.dtype}, but the check works in float64; make the model with "
                "dtype=np.float64"
            )
    return named


def _parameters_of(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters of a module, or those that the code of a function names, by name."""
    if _is_module(model):
        yield from model.named_parameters()
        return
    for name, thing in _named_in(model):
        if _is_module(thing):
            yield from ((f"{name}.{inner}", p) for inner, p in thing.named_parameters())
        elif thing.requires_grad and thing.is_leaf:
            yield name, thing


def _modules_of(model: Any) -> list[Any]:
    """Return a module in a list, or the modules that the code of a function names."""
    return [model] if _is_module(model) else [thing for _, thing in _named_in(model) if _is_module(thing)]


def _is_module(thing: Any) -> bool:
    return hasattr(thing, "named_parameters") and not isinstance(thing, type)


def _named_in(function: Any) -> Iterator[tuple[str, Any]]:
    """Yield the tensors and modules that the code of a function names, also inside lists and dictionaries."""
    if not isinstance(function, FunctionType):
        return
    from inspect import getclosurevars  # noqa: PLC0415 (slow)

    found = getclosurevars(function)
    pending = [*found.nonlocals.items(), *found.globals.items()]
    while pending:
        name, thing = pending.pop(0)
        if isinstance(thing, Tensor) or _is_module(thing):
            yield name, thing
        elif isinstance(thing, (list, tuple)):
            pending += [(f"{name}.{i}", item) for i, item in enumerate(thing)]
        elif isinstance(thing, dict):
            pending += [(f"{name}.{key}", item) for key, item in thing.items()]


def _cost_of(model: Any, X: Any, labels: Any, loss: Callable[..., Any] | None, lam: float) -> Callable[[], Tensor]:
    """Return the function that computes the cost of a batch."""
    if not isinstance(X, Value):
        array = np.asarray(X)
        X = Tensor(array, dtype=np.float64 if array.dtype.kind == "f" else None)
    targets = () if labels is None else (labels,)
    if loss is None and not callable(getattr(model, "loss", None)):
        raise ValueError(
            f"check_model: {name_of(model)} has no method loss; give loss=, a function of scores and labels such as "
            "functional.cross_entropy"
        )
    if lam and not hasattr(model, "weights"):
        raise ValueError(f"check_model: lam needs a module; {name_of(model)} has no weights()")

    def cost() -> Tensor:
        out = model.loss(X, *targets) if loss is None else loss(model(X), *targets)
        for W in model.weights() if lam else ():
            out = out + lam * (W * W).sum()
        if not isinstance(out, Tensor) or out.size != 1 or out.dtype != np.float64:
            got = f"a {out.dtype} tensor of shape {out.shape}" if isinstance(out, Tensor) else type(out).__name__
            raise TypeError(f"check_model: the loss must be a float64 tensor of one element; got {got}")
        return out

    return cost


@contextmanager
def _repeatable(modules: Sequence[Any], function: Callable[[], Tensor]) -> Iterator[Callable[[], Tensor]]:
    """Yield a function with the random generators of modules in their present states.

    They return to these states, and constants that the function changes, such as running statistics, to their values.
    """
    generators = [rng for module in modules for rng in getattr(module, "generators", list)()]
    states = [rng.bit_generator.state for rng in generators]
    tensors = [tensor for module in modules for _, tensor in getattr(module, "named_tensors", list)()]
    constants = [(tensor, tensor.data) for tensor in tensors if not tensor.requires_grad]

    def repeat() -> Tensor:
        for rng, state in zip(generators, states, strict=True):
            rng.bit_generator.state = state
        return function()

    try:
        yield repeat
    finally:
        for rng, state in zip(generators, states, strict=True):
            rng.bit_generator.state = state
        for tensor, values in constants:
            tensor.data = values
