"""The check of one operation: every property, for cases that Hypothesis draws, and one table of what holds."""

from __future__ import annotations

import inspect
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument, Unsatisfiable

from tinygrad_cifar.engine.backprop import grad
from tinygrad_cifar.engine.gradcheck import complex_step, extrapolated_gradient
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.system.numbers import check_count
from tinygrad_cifar.testing.cases import Case, Kink, Spec
from tinygrad_cifar.testing.exact import is_affine
from tinygrad_cifar.testing.properties import PROPERTIES, bound, leaves, node_of
from tinygrad_cifar.testing.strategies import seeds

# What each property is called in the table.
TITLES = {
    "value": "value",
    "layout": "memory layouts and read-only inputs",
    "differences": "gradient: differences",
    "second_order": "second derivative: differences",
    "step_into_the_complex_plane": "gradient: complex step",
    "duality": "duality of J and its transpose",
    "exact_adjoint": "exact adjoint",
    "broadcasting": "broadcasting, 0-d, size 0",
    "vjp_shape_and_dtype": "VJP: shape and dtype",
    "vjp_writes_nowhere": "VJP: no mutation",
    "vjp_keeps_nothing": "VJP: no aliasing",
    "vjp_accepts_any_cotangent": "VJP: any layout of the cotangent",
    "vjp_is_linear": "VJP: linear",
    "gradients_have_the_leafs_dtype": "gradients have the dtype of the leaf",
    "float32_agrees": "float32 agrees with float64",
}
_WIDTH = 80
_PROBES = 20  # cases from which it is concluded whether an operation is analytic or affine


@dataclass(frozen=True)
class PropertyCheck:
    """The result for one property.

    Attributes
    ----------
    name : str
        Name of the function in :mod:`~tinygrad_cifar.testing.properties`, or the name of a kink.
    cases : int
        Number of cases that were drawn; 0 if the property does not apply.
    error : float or None
        The largest error, if the property compares numbers.
    not_applicable : str
        Why the property does not apply; empty if it does.
    failure : str
        What was found, and the smallest case for which it was; empty if the property holds.
    """

    name: str
    cases: int = 0
    error: float | None = None
    not_applicable: str = ""
    failure: str = ""

    @property
    def title(self) -> str:
        """The property in words."""
        return TITLES.get(self.name, self.name)

    @property
    def verdict(self) -> str:
        """The result in a word or two."""
        return "FAILS" if self.failure else self.not_applicable or "holds"


@dataclass(frozen=True, repr=False)
class PrimitiveCheck:
    """The result of :func:`check_primitive`; as text, a table with a line for each property.

    Attributes
    ----------
    operation : str
        Name of the operation.
    properties : tuple of PropertyCheck
        One for each property and each kink.
    """

    operation: str
    properties: tuple[PropertyCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether every property that applies holds."""
        return not self.failures

    @property
    def failures(self) -> tuple[PropertyCheck, ...]:
        """The properties that do not hold."""
        return tuple(check for check in self.properties if check.failure)

    def __str__(self) -> str:
        width = max(len(check.title) for check in self.properties)
        lines = [self.operation, f"{'property':<{width}}  {'cases':>5}  {'error':>7}  verdict"]
        for check in self.properties:
            error = "" if check.error is None or check.not_applicable else f"{check.error:.1e}"
            lines.append(f"{check.title:<{width}}  {check.cases or '':>5}  {error:>7}  {check.verdict}")
        titles: dict[str, list[str]] = {}
        for check in self.failures:
            titles.setdefault(check.failure, []).append(check.title)
        for failure, of in titles.items():  # one error is often found by several properties
            lines += ["", *textwrap.wrap(f"{'; '.join(of)}:", _WIDTH)]
            for line in failure.splitlines():
                indent = " " * (4 + len(line) - len(line.lstrip()))
                lines += textwrap.wrap(line, _WIDTH, initial_indent=indent, subsequent_indent=indent)
        return "\n".join(lines)

    __repr__ = __str__


def check_primitive(  # noqa: PLR0913
    operation: Callable[..., Any],
    cases: st.SearchStrategy[Any] | Callable[[np.random.Generator], Any],
    *,
    value: Callable[..., Any] | None = None,
    analytic: bool | None = None,
    affine: bool | None = None,
    keeps_dtype: bool = True,
    kinks: Kink | Sequence[Kink] = (),
    without: Sequence[str] = (),
    examples: int = 100,
) -> PrimitiveCheck:
    """Check an operation and its derivatives by all that the library's own primitives are checked by.

    Parameters
    ----------
    operation : callable
        Function of tensors or arrays, usually a primitive made by :func:`tinygrad_cifar.primitive`. It is called with
        the arrays of a case and then its parameters.
    cases : hypothesis.strategies.SearchStrategy or callable
        Draws the calls: a :class:`Case`, an array, or a tuple of arrays, float64 and away from kinks. A callable
        receives a random generator and returns such a call.
    value : callable, optional
        An independent computation of the value, called with the same arguments as ``operation``.
    analytic : bool, optional
        Whether the gradient is also compared with the complex step. If None, it is if that and differences give the
        same derivative in the first cases. Default: None.
    affine : bool, optional
        Whether the VJPs are also compared exactly with the adjoint, for an operation that is affine in each input.
        If None, they are if it is affine in the first cases. Default: None.
    keeps_dtype : bool
        Whether the result must have the dtype of the inputs. Default: True.
    kinks : Kink or sequence of Kink
        Points without a unique derivative, and the gradients expected there.
    without : sequence of str
        Properties to leave out, as they are named in the table or by the name of their function in
        :mod:`~tinygrad_cifar.testing.properties`: ``second_order`` for an operation that cannot be differentiated
        twice. The table says that they are left out. Default: none.
    examples : int
        Number of cases for each property. Default: 100.

    Returns
    -------
    PrimitiveCheck
        Its attribute ``passed`` is whether all that applies holds; as text it is a table, and below it the smallest
        case of each failure.

    Raises
    ------
    TypeError
        If ``cases`` is neither a strategy nor a function, or draws other than float64 arrays, or if the operation
        cannot be called with them or does not return a tensor for tensors.
    RuntimeError
        If Python runs with the option -O, which removes the checks.
    ValueError
        If no case can be drawn, the result of the operation is not recorded in any case, or a property in ``without``
        does not exist.

    Notes
    -----
    The properties are: the value; centred differences of the value and of the gradient; the complex step; ``<J v, u> =
    <v, J' u>``; the exact adjoint; broadcasting, 0-d arrays and arrays of size 0, for element-wise operations; layouts
    of memory and read-only inputs; a VJP has the shape of its input and the dtype of its cotangent, writes to nothing
    that it receives, returns no array that it keeps, accepts cotangents of any layout, and is linear; leaves of mixed
    dtypes; and float32.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_cifar as tg
    >>> from tinygrad_cifar.testing import check_primitive, strategies
    >>> cube = tg.primitive("cube_to_check", lambda x: x**3, x=lambda g, x: 3 * g * x**2)
    >>> check_primitive(cube, strategies.elementwise(strategies.moderate), examples=10).passed
    True

    A wrong VJP, that ignores its cotangent:

    >>> wrong = tg.primitive("wrong_cube", lambda x: x**3, x=lambda g, x: 3 * x**2 + 0 * g)
    >>> check = check_primitive(wrong, strategies.elementwise(strategies.moderate), examples=10)
    >>> [failure.name for failure in check.failures]
    ['differences', 'second_order', 'step_into_the_complex_plane', 'duality', 'vjp_is_linear']
    """
    if not callable(operation):
        raise TypeError(
            f"check_primitive: operation must be a function of tensors; got {type(operation).__name__}. Make one with "
            "tinygrad_cifar.primitive"
        )
    if not __debug__:
        raise RuntimeError("check_primitive: the option -O of Python removes the checks; run without it")
    check_count("check_primitive: examples", examples)
    left_out = _as_names(without)
    spec = Spec(operation, _as_cases(cases), value, keeps_dtype=keeps_dtype, kinks=_as_kinks(kinks))
    is_analytic, has_affine_inputs = _probe(spec, analytic, affine)
    spec = replace(spec, analytic=is_analytic, affine=has_affine_inputs)
    found = [
        PropertyCheck(name, not_applicable="left out") if name in left_out else _check_property(name, spec, examples)
        for name in PROPERTIES
    ]
    found += [_check_kink(spec, kink) for kink in spec.kinks]
    return PrimitiveCheck(getattr(operation, "__name__", type(operation).__name__), tuple(found))


# -- the cases ---------------------------------------------------------------------------------------------------------


def _as_cases(cases: Any) -> st.SearchStrategy[Case]:
    """Return a strategy of cases."""
    if isinstance(cases, st.SearchStrategy):
        return cases.map(_as_case)
    if callable(cases):
        return seeds.map(lambda seed: _as_case(cases(np.random.default_rng(seed))))
    raise TypeError(
        "check_primitive: cases must be a Hypothesis strategy or a function of a random generator; got "
        f"{type(cases).__name__}"
    )


def _as_kinks(kinks: Any) -> tuple[Kink, ...]:
    found = (kinks,) if isinstance(kinks, Kink) else tuple(kinks)
    for kink in found:
        if not isinstance(kink, Kink) or not isinstance(kink.case, Case):
            raise TypeError("check_primitive: kinks must be Kink(name, case, cotangent, gradients), with a Case")
        if len(kink.gradients) != len(kink.case.arrays):
            raise ValueError(
                f"check_primitive: the kink {kink.name!r} must have a gradient for each of the {len(kink.case.arrays)} "
                f"arrays; got {len(kink.gradients)}"
            )
    return found


def _as_names(without: Any) -> frozenset[str]:
    by_title = {title: name for name, title in TITLES.items()}
    names = [by_title.get(name, name) for name in ([without] if isinstance(without, str) else without)]
    for name in names:
        if name not in PROPERTIES:
            raise ValueError(
                f"check_primitive: without must contain names of properties; got {name!r}. They are "
                f"{', '.join(PROPERTIES)}"
            )
    return frozenset(names)


def _as_case(drawn: Any) -> Case:
    if isinstance(drawn, st.SearchStrategy):
        raise TypeError("check_primitive: cases must draw arrays; it is a function that returns a strategy: call it")
    arrays = tuple(drawn) if isinstance(drawn, (tuple, list)) else (drawn,)
    case = drawn if isinstance(drawn, Case) else Case(arrays)
    for i, array in enumerate(case.arrays):
        if array.dtype != np.float64:
            raise TypeError(
                f"check_primitive: cases must consist of float64 arrays, to differentiate with respect to; input {i} "
                f"is {array.dtype}. Give other arguments as Case(arrays, parameters)"
            )
    return case


def _settings(examples: int) -> settings:
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
    )


def _probe(spec: Spec, analytic: bool | None, affine: bool | None) -> tuple[bool, bool]:
    """Return whether the operation is analytic and affine: as given, or as the first cases show."""
    recorded, complex_, exact = [], [], []
    others: set[str] = set()
    wrong_calls: list[TypeError] = []

    @_settings(_PROBES)
    @given(case=spec.cases, seed=seeds)
    def look(case: Case, seed: int) -> None:
        try:
            _bind(spec, case)
        except TypeError as error:
            wrong_calls.append(error)
        try:
            out = bound(spec, case)(*leaves(case))
            if not isinstance(out, Tensor):
                others.add(type(out).__name__)
            recorded.append(isinstance(out, Tensor) and out.requires_grad)
            if analytic is None:
                complex_.append(_is_analytic(spec, case))
            if affine is None:
                exact.append(is_affine(bound(spec, case), case.arrays, np.random.default_rng(seed)))
        except Exception:  # noqa: BLE001 (an error of the operation, which the properties report)
            exact.append(False)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an operation that is not written for complex numbers
            look()
    except (Unsatisfiable, InvalidArgument) as error:
        raise ValueError(f"check_primitive: no case can be drawn from cases ({error})") from error
    if wrong_calls:
        raise TypeError(f"check_primitive: the operation cannot be called with the arrays of a case: {wrong_calls[0]}")
    if others:
        raise TypeError(
            f"check_primitive: the operation must return a tensor for tensors; it returned a {' or '.join(others)}"
        )
    if recorded and not any(recorded):
        raise ValueError(
            "check_primitive: the result of the operation is not recorded; compute it from its arguments with "
            "operations or with a primitive that has VJPs"
        )
    return all(complex_) if analytic is None else analytic, all(exact) if affine is None else affine


def _bind(spec: Spec, case: Case) -> None:
    """Raise a TypeError if the operation takes another number of arguments; not if its arguments are not known."""
    try:
        signature = inspect.signature(spec.call)
    except ValueError:
        return
    signature.bind(*case.arrays, *case.parameters)


def _is_analytic(spec: Spec, case: Case) -> bool:
    """Return whether the complex step gives the derivative that differences give, for every input."""
    operation, out = bound(spec, case), bound(spec, case)(*leaves(case))
    for i in range(len(case.arrays)):
        try:
            found = complex_step(operation, case.arrays, i, cotangent=np.ones(out.shape))
        except Exception:  # noqa: BLE001 (not written for complex numbers)
            return False
        expected, error = extrapolated_gradient(operation, case.arrays, i, cotangent=np.ones(out.shape))
        if np.any(np.abs(found - expected) > 10 * error + 1e-3 * np.abs(expected)):  # NaN: not known
            return False
    return True


# -- the properties ----------------------------------------------------------------------------------------------------


def _check_property(name: str, spec: Spec, examples: int) -> PropertyCheck:
    """Check one property for the cases that are drawn."""
    if name == "step_into_the_complex_plane" and not spec.analytic:
        return PropertyCheck(name, not_applicable="not analytic")
    if name == "exact_adjoint" and not spec.affine:
        return PropertyCheck(name, not_applicable="not affine")
    if name == "value" and spec.reference is None:
        return PropertyCheck(name, not_applicable="no value given")
    errors: list[float | None] = []
    smallest: list[str] = []

    @_settings(examples)
    @given(case=spec.cases, seed=seeds)
    def holds(case: Case, seed: int) -> None:
        try:
            errors.append(PROPERTIES[name](spec, case, np.random.default_rng(seed)))
        except Exception as error:
            smallest[:] = [_describe_failure(case, error)]  # the last one is the smallest
            raise

    try:
        holds()
    except Exception:
        if not smallest:
            raise  # not an error of the operation
        return PropertyCheck(name, len(errors) + 1, failure=smallest[0])
    numbers = [error for error in errors if error is not None]
    if name == "broadcasting" and not numbers:
        return PropertyCheck(name, not_applicable="not element-wise")
    return PropertyCheck(name, len(errors), max(numbers, default=None))


def _describe_failure(case: Case, error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    kind = [] if isinstance(error, AssertionError) else [f"{type(error).__name__}:"]
    arguments = [*case.arrays, *case.parameters]
    return "\n".join([" ".join([*kind, *lines[:1]]), *lines[1:12], "for the arguments", *map(_describe, arguments)])


def _describe(argument: Any) -> str:
    if isinstance(argument, np.ndarray):
        text = np.array2string(argument, precision=4, threshold=20, separator=", ").replace("\n", "")
        return f"    {text}  ({argument.dtype}, shape {argument.shape})"
    return f"    {argument!r:.70}"


def _check_kink(spec: Spec, kink: Kink) -> PropertyCheck:
    try:
        failure = _find_difference_at(spec, kink)
    except Exception as error:  # noqa: BLE001 (of the operation, or a cotangent of another shape)
        failure = _describe_failure(kink.case, error)
    return PropertyCheck(kink.name, 1, failure=failure)


def _find_difference_at(spec: Spec, kink: Kink) -> str:
    """Return which gradient at a kink is not the one expected; empty if there is none."""
    variables = leaves(kink.case)
    out = bound(spec, kink.case)(*variables)
    if node_of(out) is None:
        return "the result is not recorded"
    gradients = grad(out, variables, np.broadcast_to(np.asarray(kink.cotangent, dtype=out.dtype), out.shape))
    for i, (gradient, expected) in enumerate(zip(gradients, kink.gradients, strict=True)):
        if not np.array_equal(gradient.data, expected):
            return f"the gradient of input {i} is {gradient.data.tolist()}, not {expected}"
    return ""
