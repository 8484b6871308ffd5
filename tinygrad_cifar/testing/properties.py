"""Properties that every primitive must have, as functions of its specification and one drawn case.

Each raises an AssertionError if the property does not hold; those that compare numbers return the largest error.
:func:`~tinygrad_cifar.testing.check_primitive` calls them with cases that Hypothesis draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cifar.engine.backprop import grad
from tinygrad_cifar.engine.derivatives import jvp
from tinygrad_cifar.engine.gradcheck import check_gradients, complex_step
from tinygrad_cifar.engine.graph import Node
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.testing import exact
from tinygrad_cifar.testing.cases import Array, Case, Spec
from tinygrad_cifar.testing.strategies import LAYOUTS, draw_cotangent


def leaves(case: Case) -> list[Tensor]:
    """Return the arrays of a case as leaves."""
    return [Tensor(array, requires_grad=True) for array in case.arrays]


def node_of(out: Tensor) -> Node | None:
    """Return the node of a result; None if it is not recorded."""
    return out._node


def bound(spec: Spec, case: Case) -> Any:
    """Return the operation as a function of only the case's arrays."""

    def operation(*arrays: Any) -> Any:
        return spec.call(*arrays, *case.parameters)

    name = getattr(spec.call, "__name__", type(spec.call).__name__)
    operation.__name__ = f"{name} with {case.parameters}" if case.parameters else name
    return operation


# -- values ----------------------------------------------------------------------------------------------------------


def value(spec: Spec, case: Case, rng: np.random.Generator) -> float:  # noqa: ARG001
    """Check the value against the reference, and that arrays give the same value; return the largest error."""
    out = bound(spec, case)(*leaves(case))
    assert isinstance(out, Tensor), f"the result for tensors is a {type(out).__name__}"
    plain = bound(spec, case)(*case.arrays)
    assert not isinstance(plain, Tensor), "the result for arrays is a tensor"
    np.testing.assert_array_equal(plain, out.data)
    if spec.reference is None:
        return 0.0
    expected = np.asarray(spec.reference(*case.arrays, *case.parameters))
    assert out.shape == expected.shape, f"the shape is {out.shape}, not {expected.shape}"
    np.testing.assert_allclose(out.data, expected, rtol=1e-13, atol=1e-13)
    return float(np.max(np.abs(out.data - expected) / (1 + np.abs(expected)), initial=0.0))


def layout(spec: Spec, case: Case, rng: np.random.Generator) -> None:
    """Check that memory layouts of inputs and indices, and read-only inputs, do not change the results."""
    operation = bound(spec, case)
    straight = leaves(case)
    out = operation(*straight)
    g = draw_cotangent(out, rng)
    expected = grad(out, straight, g) if out.requires_grad else ()
    for laid_out in LAYOUTS:
        operation = bound(spec, Case(case.arrays, tuple(_with_index_layout(laid_out, p) for p in case.parameters)))
        plain = operation(*[read_only(laid_out(np.array, array)) for array in case.arrays])
        np.testing.assert_allclose(plain, out.data, rtol=1e-13, atol=1e-13)
        views = [laid_out(_leaf, array) for array in case.arrays]
        again = operation(*views)
        np.testing.assert_allclose(again.data, out.data, rtol=1e-13, atol=1e-13)
        gradients = grad(again, views, g) if expected else ()
        for gradient, other in zip(gradients, expected, strict=True):
            np.testing.assert_allclose(gradient.data, other.data, rtol=1e-11, atol=1e-11)


def _with_index_layout(laid_out: Callable[..., Any], parameter: Any) -> Any:
    if isinstance(parameter, tuple):
        return tuple(_with_index_layout(laid_out, part) for part in parameter)
    return laid_out(np.array, parameter) if isinstance(parameter, np.ndarray) else parameter


def _leaf(array: Array) -> Tensor:
    return Tensor(array, requires_grad=True)


def read_only(array: Array) -> Array:
    """Return the array, which cannot be written to any more."""
    array.flags.writeable = False
    return array


# -- derivatives -----------------------------------------------------------------------------------------------------


def differences(spec: Spec, case: Case, rng: np.random.Generator) -> float:
    """Check the gradient against centred differences, element by element, for a random cotangent."""
    return _compare_with_differences(spec, case, rng, second_order=False)


def second_order(spec: Spec, case: Case, rng: np.random.Generator) -> float:
    """Check the second derivative against centred differences of the gradient."""
    return _compare_with_differences(spec, case, rng, second_order=True)


def _compare_with_differences(spec: Spec, case: Case, rng: np.random.Generator, *, second_order: bool) -> float:
    out = bound(spec, case)(*leaves(case))
    if not out.requires_grad:
        return _check_not_recorded(out)
    g = draw_cotangent(out, rng)
    return check_gradients(bound(spec, case), *case.arrays, cotangent=g, rng=rng, second_order=second_order)


def _check_not_recorded(out: Tensor) -> float:
    assert out.is_leaf, "the result has a node, but requires no gradient"
    return 0.0


def step_into_the_complex_plane(spec: Spec, case: Case, rng: np.random.Generator) -> float:
    """Check the gradient of an analytic operation against the complex step, to 1e-12; return the largest error."""
    if not spec.analytic:
        return 0.0
    variables = leaves(case)
    out = bound(spec, case)(*variables)
    g = draw_cotangent(out, rng)
    worst = 0.0
    for i, gradient in enumerate(grad(out, variables, g)):
        expected = complex_step(bound(spec, case), case.arrays, i, cotangent=g)
        # A sum of large terms can be small, so its error is relative to the terms.
        terms = max(np.max(np.abs(expected), initial=0.0), 0.1 * np.max(np.abs(g), initial=0.0))
        scale = np.maximum(np.abs(expected), 1e-2 * terms)
        error = np.abs(gradient.data - expected)
        assert np.all(error <= 1e-12 * scale), (
            f"the gradient of input {i} is {gradient.data}; the complex step gives {expected}"
        )
        worst = max(worst, float(np.max(error / np.where(scale == 0, 1, scale), initial=0.0)))
    return worst


def duality(spec: Spec, case: Case, rng: np.random.Generator) -> float:
    """Check ``<J v, u> = <v, J' u>`` up to rounding, for random u and v; return the error, relative to the norms.

    ``J v`` is computed by differentiating the VJPs; for analytic operations it is also compared with the complex step
    along v.
    """
    variables = leaves(case)
    out = bound(spec, case)(*variables)
    if not out.requires_grad:
        return _check_not_recorded(out)
    u = draw_cotangent(out, rng)
    pulled: list[Array] = [gradient.data for gradient in grad(out, variables, u)]
    v = [np.asarray(rng.uniform(-2, 2, array.shape)) for array in case.arrays]
    _, moved = jvp(bound(spec, case), case.arrays, v)
    if spec.analytic:
        shifted = [array + 1e-30j * direction for array, direction in zip(case.arrays, v, strict=True)]
        expected = np.asarray(bound(spec, case)(*shifted)).imag / 1e-30
        np.testing.assert_allclose(moved.data, expected, rtol=1e-12, atol=1e-12 * (1 + _norm(expected)))
    left = float(np.vdot(moved.data, u))
    right = sum(float(np.vdot(direction, part)) for direction, part in zip(v, pulled, strict=True))
    norms = _norm(moved.data) * _norm(u) + _norm(*v) * (_norm(*pulled) + _norm(u))
    count = out.size + sum(array.size for array in case.arrays)
    assert abs(left - right) <= 4 * EPS * (4 + count) * norms, f"<J v, u> is {left}, but <v, J' u> is {right}"
    return float(abs(left - right) / norms) if norms else 0.0


EPS = np.finfo(np.float64).eps


def _norm(*arrays: Any) -> float:
    return math.sqrt(sum(float(np.vdot(array, array)) for array in arrays))


def exact_adjoint(spec: Spec, case: Case, rng: np.random.Generator) -> float:
    """Check that the VJPs of an affine operation are the adjoint on every basis vector, exactly.

    See :mod:`~tinygrad_cifar.testing.exact`.
    """
    if spec.affine:
        exact.check_adjoint(bound(spec, case), [array.shape for array in case.arrays], rng)
    return 0.0


def broadcasting(spec: Spec, case: Case, rng: np.random.Generator) -> float | None:
    """Check an element-wise operation with inputs that are 0-d, of size 0, and stretched along an axis.

    The gradient has the shape of the input, and is the sum of the gradient of the stretched array, all of whose
    elements are given twice, along a new last axis. Return the largest error; None if the operation is not
    element-wise, or the case does not allow these shapes.
    """
    if len({array.shape for array in case.arrays}) > 1 or any(map(_belongs_to_a_shape, case.parameters)):
        return None
    if not _is_elementwise(bound(spec, case), case):
        return None
    worst = 0.0
    for small in (_first_element, _no_elements, _first_of_last_axis):
        for i, array in enumerate(case.arrays):
            reduced = small(array)
            alone = small is not _no_elements
            arrays = [other if alone and j != i else reduced for j, other in enumerate(case.arrays)]
            worst = max(worst, _check_stretched(bound(spec, case), arrays, i, rng))
    return worst


def _belongs_to_a_shape(parameter: Any) -> bool:
    """Return whether a parameter is an array, or an index, which goes together with arrays of some shapes only."""
    return isinstance(parameter, (slice, tuple, list, type(...))) or bool(np.ndim(parameter))


def _is_elementwise(operation: Callable[..., Any], case: Case) -> bool:
    """Return whether the primitive broadcasts, and columns of two elements give one, in whatever order they are."""
    if any(array.size < 2 for array in case.arrays):  # noqa: PLR2004
        return False
    if not _broadcasts(operation(*leaves(case))):
        return False
    try:
        columns = [array.ravel()[:2, None] for array in case.arrays]
        out, swapped = operation(*columns), operation(*[column[::-1] for column in columns])
    except (TypeError, ValueError, IndexError):  # a product of matrices, or an index
        return False
    return np.shape(out) == (2, 1) and np.array_equal(swapped, out[::-1], equal_nan=True)


def _broadcasts(out: Tensor) -> bool:
    node = node_of(out)
    return node is not None and node.primitive is not None and node.primitive.broadcasts


def _first_element(array: Array) -> Array:
    return np.asarray(array.ravel()[0])


def _no_elements(array: Array) -> Array:
    return array.ravel()[:0]


def _first_of_last_axis(array: Array) -> Array:
    return array[..., :1]


def _check_stretched(operation: Callable[..., Any], arrays: list[Array], i: int, rng: np.random.Generator) -> float:
    variables = [Tensor(array, requires_grad=True) for array in arrays]
    out = operation(*variables)
    if not out.requires_grad:
        return _check_not_recorded(out)
    g = draw_cotangent(out, rng)
    gradient = grad(out, variables[i], g)
    assert gradient.shape == arrays[i].shape, f"the gradient of an input of shape {arrays[i].shape} is {gradient.shape}"
    twice = [np.repeat(np.broadcast_to(array, out.shape)[..., None], 2, axis=-1) for array in arrays]
    stretched = [Tensor(array, requires_grad=True) for array in twice]
    expected = grad(operation(*stretched), stretched[i], np.repeat(g[..., None], 2, axis=-1)).data[..., 0]
    extra = out.ndim - arrays[i].ndim
    axes = (*range(extra), *[extra + j for j, side in enumerate(arrays[i].shape) if side != out.shape[extra + j]])
    summed = expected.sum(axis=axes).reshape(arrays[i].shape)
    scale = 1 + np.max(np.abs(g), initial=0)
    assert np.allclose(gradient.data, summed, rtol=1e-11, atol=1e-11 * scale, equal_nan=True), (
        f"for an input of shape {arrays[i].shape}, the gradient is {gradient.data}; for its elements in an array of "
        f"shape {stretched[i].shape} it is {summed}"
    )
    return float(np.max(np.abs(gradient.data - summed) / (scale + np.abs(summed)), initial=0.0))


# -- the VJP by itself -----------------------------------------------------------------------------------------------
# The backward pass undoes broadcasting and changes of dtype. These properties are those of the VJP's own result.


def vjp_shape_and_dtype(spec: Spec, case: Case, rng: np.random.Generator) -> None:
    """Check that a VJP returns the dtype of its cotangent and, unless it broadcasts, the shape of the input."""
    for dtype in (np.float64, np.float32):
        typed = case.astype(dtype)
        out = bound(spec, typed)(*leaves(typed))
        assert out.dtype == dtype or not spec.keeps_dtype, f"the result for {dtype.__name__} is {out.dtype}"
        for parent, vjp, arguments in _edges(out):
            part = vjp.apply(draw_cotangent(out, rng), *arguments)
            assert part.dtype == out.dtype, f"the VJP for {vjp.input} returns {part.dtype} for {out.dtype}"
            stretched = np.broadcast_shapes(part.shape, parent.shape) if _broadcasts(out) else parent.shape
            assert part.shape == stretched, f"the VJP for {vjp.input} returns {part.shape}, not {parent.shape}"


def vjp_writes_nowhere(spec: Spec, case: Case, rng: np.random.Generator) -> None:
    """Check that a VJP does not write to its cotangent, the inputs or the result, and is deterministic.

    The engine relies on it: several inputs may receive the same cotangent.
    """
    variables = leaves(case)
    out = bound(spec, case)(*variables)
    for _, vjp, arguments in _edges(out):
        g = draw_cotangent(out, rng)
        saved = [*_arrays(arguments), g, out._array, *[variable._array for variable in variables]]
        before = [array.tobytes() for array in saved]
        first = np.array(vjp.apply(g, *arguments))
        assert [array.tobytes() for array in saved] == before, f"the VJP for {vjp.input} writes to an array"
        np.testing.assert_array_equal(vjp.apply(g, *arguments), first)


def vjp_keeps_nothing(spec: Spec, case: Case, rng: np.random.Generator) -> None:
    """Check that a result of a VJP does not change when the VJP is applied to another cotangent."""
    out = bound(spec, case)(*leaves(case))
    for _, vjp, arguments in _edges(out):
        first = vjp.apply(draw_cotangent(out, rng), *arguments)
        before = np.array(first)
        vjp.apply(draw_cotangent(out, rng), *arguments)
        np.testing.assert_array_equal(first, before)


def vjp_accepts_any_cotangent(spec: Spec, case: Case, rng: np.random.Generator) -> None:
    """Check that a VJP accepts cotangents that are read-only views in any layout."""
    out = bound(spec, case)(*leaves(case))
    for _, vjp, arguments in _edges(out):
        g = draw_cotangent(out, rng)
        expected = vjp.apply(g, *arguments)
        for laid_out in LAYOUTS:
            view = read_only(laid_out(np.array, g))
            np.testing.assert_allclose(vjp.apply(view, *arguments), expected, rtol=1e-11, atol=1e-11)


def vjp_is_linear(spec: Spec, case: Case, rng: np.random.Generator) -> None:
    """Check that a VJP is linear in its cotangent."""
    out = bound(spec, case)(*leaves(case))
    for _, vjp, arguments in _edges(out):
        g, h = draw_cotangent(out, rng), draw_cotangent(out, rng)
        both = vjp.apply(2 * g - 3 * h, *arguments)  # weights whose sum is not 1, which a constant would satisfy
        separate = 2 * vjp.apply(g, *arguments) - 3 * vjp.apply(h, *arguments)
        np.testing.assert_allclose(both, separate, rtol=1e-10, atol=1e-10)


def _edges(out: Tensor) -> Any:
    node = node_of(out)
    return () if node is None else node.edges


def _arrays(arguments: tuple[Any, ...]) -> list[Array]:
    flat: list[Array] = []
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            flat.append(argument)
        elif isinstance(argument, tuple):
            flat += _arrays(argument)
    return flat


# -- precision -------------------------------------------------------------------------------------------------------


def gradients_have_the_leafs_dtype(spec: Spec, case: Case, rng: np.random.Generator) -> None:
    """Check that the gradient of each leaf has the dtype of the leaf, for leaves of different dtypes."""
    kinds = [np.dtype(rng.choice(["float32", "float64"])) for _ in case.arrays]
    variables = [Tensor(a, requires_grad=True, dtype=k) for a, k in zip(case.arrays, kinds, strict=True)]
    out = bound(spec, case)(*variables)
    if not out.requires_grad:
        return
    gradients = grad(out, variables, draw_cotangent(out, rng))
    dtypes, shapes = [gradient.dtype for gradient in gradients], [gradient.shape for gradient in gradients]
    assert dtypes == kinds, f"the gradients are {dtypes} for leaves that are {kinds}"
    assert shapes == [array.shape for array in case.arrays], f"the gradients have the shapes {shapes}"


def float32_agrees(spec: Spec, case: Case, rng: np.random.Generator) -> None:
    """Check that value and gradient in float32 equal those in float64, up to rounding."""
    rounded = case.astype(np.float32)
    small, large = leaves(rounded), leaves(rounded.astype(np.float64))
    out, wide = bound(spec, rounded)(*small), bound(spec, rounded)(*large)
    np.testing.assert_allclose(out.data, wide.data, rtol=1e-5, atol=1e-4)
    if out.requires_grad:
        g = draw_cotangent(out, rng)
        for gradient, expected in zip(grad(out, small, g), grad(wide, large, g), strict=True):
            largest = np.max(np.abs(expected.data), initial=1.0)
            # A VJP may subtract elements of the cotangent, whose rounding then remains, however small the difference.
            rounding = np.finfo(np.float32).eps * np.max(np.abs(g), initial=0.0)
            np.testing.assert_allclose(gradient.data, expected.data, rtol=1e-4, atol=1e-5 * largest + rounding)


PROPERTIES: dict[str, Callable[[Spec, Case, np.random.Generator], float | None]] = {
    check.__name__: check
    for check in (
        value,
        layout,
        differences,
        second_order,
        step_into_the_complex_plane,
        duality,
        exact_adjoint,
        broadcasting,
        vjp_shape_and_dtype,
        vjp_writes_nowhere,
        vjp_keeps_nothing,
        vjp_accepts_any_cotangent,
        vjp_is_linear,
        gradients_have_the_leafs_dtype,
        float32_agrees,
    )
}
