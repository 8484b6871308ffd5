"""Derivatives of functions: Jacobian-vector products, Jacobians and Hessians, all by the backward pass.

A function here takes tensors and returns one tensor. The reverse mode computes ``J' u``; since that is linear
in u, its own reverse mode gives ``J v``, and differentiating a gradient gives the Hessian.

The inputs may be tensors or anything that converts to one. The caller's tensors, their graphs and their ``.grad`` are
not changed. Like any other result, a derivative is recorded if it depends on something that is recorded: on an input
that requires a gradient, or on a parameter that the function uses. Derivatives can therefore be nested, or used in a
penalty. Under ``no_grad`` they are computed as well, but not recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.engine.backprop import grad
from tinygrad_cifar.engine.graph import Array, ancestors, refuse_masked_array, unwrap_value
from tinygrad_cifar.engine.modes import enable_grad, is_recording
from tinygrad_cifar.engine.ops import astype, stack
from tinygrad_cifar.engine.tensor import Tensor


def jvp(f: Callable[..., Tensor], inputs: Sequence[Any], tangents: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Compute ``f(x)`` and the Jacobian-vector product ``J v``: the directional derivative along the tangents.

    ``u -> J' u`` is linear, so its derivative in the direction v is ``J v``: two backward passes, for inputs of any
    size.

    Parameters
    ----------
    f : callable
        Function of as many tensors as there are inputs; returns one tensor.
    inputs : tuple or list of array_like
        The point.
    tangents : tuple or list of array_like
        A direction for each input, of its shape; converted to its dtype.

    Returns
    -------
    out : Tensor
        The result of ``f``.
    tangent : Tensor
        Its directional derivative, of the same shape and dtype.

    Raises
    ------
    ValueError
        If there is no input, or the tangents do not match the inputs in number and shapes.
    TypeError
        If inputs or tangents are not a tuple or list of real arrays, or ``f`` does not return a tensor.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.jvp(lambda x: x**2, [[1.0, 3.0]], [[1.0, 10.0]])
    (Tensor([1., 9.]), Tensor([ 2., 60.]))
    """
    wanted = is_recording()
    with enable_grad():
        variables = _variables("jvp", inputs)
        directions = _directions("jvp", tangents, variables)
        out = _evaluate("jvp", f, variables)
        if not out.requires_grad:
            return out, _zeros(out.shape, out)
        u = Tensor(np.zeros(out.shape, out.dtype), requires_grad=True)
        pulled = grad(out, variables, gradient=u, create_graph=True)
        along = inner_product(pulled, directions)
        recorded = wanted and _depends_on_others(along, [*variables, u])
        moved = grad(along, u, create_graph=recorded) if along.requires_grad else _zeros(out.shape, out)
        return out if wanted and _depends_on_others(out, variables) else out.detach(), moved


def hvp(f: Callable[..., Tensor], inputs: Sequence[Any], tangents: Sequence[Any]) -> tuple[Tensor, ...]:
    """Compute the Hessian-vector product ``H v``: the directional derivative of the gradient along the tangents.

    Parameters
    ----------
    f : callable
        Function of as many tensors as there are inputs; returns a tensor of one element.
    inputs : tuple or list of array_like
        The point.
    tangents : tuple or list of array_like
        A direction for each input, of its shape; converted to its dtype.

    Returns
    -------
    tuple of Tensor
        One for each input, of its shape and dtype.

    Raises
    ------
    ValueError, TypeError
        As :func:`jvp`; also if ``f`` returns more than one element.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.hvp(lambda x: (x**3).sum(), [[1.0, 2.0]], [[1.0, 1.0]])
    (Tensor([ 6., 12.]),)
    """
    wanted = is_recording()
    with enable_grad():
        variables = _variables("hvp", inputs)
        directions = _directions("hvp", tangents, variables)
        along = inner_product(_gradients("hvp", f, variables), directions)
        if not along.requires_grad:
            return tuple([_zeros(x.shape, x) for x in variables])
        return tuple(grad(along, variables, create_graph=wanted and _depends_on_others(along, variables)))


def jacobian(f: Callable[[Tensor], Tensor], x: Any, *, by: str = "rows", batched: bool = False) -> Tensor:
    """Compute the Jacobian of ``f`` at ``x``, or those of all examples of a batch.

    Parameters
    ----------
    f : callable
        Function of a tensor that returns a tensor, of any shapes.
    x : array_like
        The point.
    by : str
        ``"rows"``: one backward pass for each element of the result. ``"columns"``: one for each element of ``x``,
        through the backward pass; it is faster if ``x`` has fewer elements than the result. Default: ``"rows"``.
    batched : bool
        If True, the first axis of ``x`` and of ``f(x)`` counts examples, and each example of the result depends only on
        that of ``x``. The passes are then shared: one for each element of a single example, and one more, which checks
        that the examples are independent. Default: False.

    Returns
    -------
    Tensor
        Of shape ``(*f(x).shape, *x.shape)``: element ``[i, j]`` is ``d f(x)[i] / d x[j]``. If ``batched``, of shape
        ``(*f(x).shape, *x.shape[1:])``: element ``[n, i, j]`` is ``d f(x)[n, i] / d x[n, j]``.

    Raises
    ------
    ValueError
        If ``by`` is neither ``"rows"`` nor ``"columns"``, or if ``batched`` and the numbers of examples differ, or an
        example of the result depends on another one of ``x``.
    TypeError
        If ``x`` does not consist of real numbers, or ``f`` does not return a tensor.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.jacobian(lambda x: x**2, [1.0, 3.0])
    Tensor([[2., 0.],
            [0., 6.]])
    >>> tg.jacobian(lambda x: x.prod(axis=1, keepdims=True), [[1.0, 3.0], [2.0, 5.0]], batched=True)
    Tensor([[[3., 1.]],
    <BLANKLINE>
            [[5., 2.]]])
    """
    if by not in ("rows", "columns"):
        raise ValueError(f'jacobian: by must be "rows" or "columns"; got {by!r}')
    return _jacobian("jacobian", f, x, by, bool(batched))


def hessian(f: Callable[[Tensor], Tensor], x: Any) -> Tensor:
    """Compute the Hessian of a scalar function at ``x``, with one backward pass for each element of ``x``.

    Parameters
    ----------
    f : callable
        Function of a tensor that returns a tensor of one element.
    x : array_like
        The point.

    Returns
    -------
    Tensor
        Of shape ``(*x.shape, *x.shape)``.

    Raises
    ------
    ValueError
        If ``f`` returns more than one element.
    TypeError
        If ``x`` does not consist of real numbers, or ``f`` does not return a tensor.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.hessian(lambda x: x[0] ** 2 * x[1], [1.0, 3.0])
    Tensor([[6., 2.],
            [2., 0.]])
    """
    return _jacobian("hessian", lambda variable: _gradients("hessian", f, [variable])[0], x)


def _jacobian(name: str, f: Callable[[Tensor], Tensor], x: Any, by: str = "rows", batched: bool = False) -> Tensor:
    wanted = is_recording()
    with enable_grad():
        (variable,) = _variables(name, [x])
        out = _evaluate(name, f, [variable])
        if batched and (not out.ndim or out.shape[:1] != variable.shape[:1]):
            raise ValueError(
                f"{name}: if batched, x and f(x) must have as many examples, along their first axes; got the shapes "
                f"{variable.shape} and {out.shape}"
            )
        shape = (*out.shape, *variable.shape[batched:])
        if not out.requires_grad or math.prod(shape) == 0:
            return _zeros(shape, variable)
        # A linear map: of the cotangent to a row of the Jacobian, or of the tangent to a column.
        start, end, others = out, variable, [variable]
        if by == "columns":
            u = Tensor(np.zeros(out.shape, out.dtype), requires_grad=True)
            start, end, others = grad(out, variable, gradient=u, create_graph=True), u, [variable, u]
            if not start.requires_grad:
                return _zeros(shape, variable)
        recorded = wanted and _depends_on_others(start, others)
        lines = [
            grad(start, end, gradient=unit, retain_graph=True, create_graph=recorded)
            for unit in _units(start.shape, batched)
        ]
        if batched:
            _require_independent_examples(name, start, end, lines)
        joined: Tensor = stack(lines, int(batched) if by == "rows" else -1)
        return joined.reshape(shape)


def _units(shape: tuple[int, ...], batched: bool) -> Iterator[Array]:
    """Yield the arrays with a single one; if ``batched``, with one at the same place of each example."""
    each = shape[1:] if batched else shape
    for i in range(math.prod(each)):
        unit = np.zeros(each)
        unit.flat[i] = 1
        yield np.broadcast_to(unit, shape)


def _require_independent_examples(name: str, start: Tensor, end: Tensor, lines: Sequence[Tensor]) -> None:
    """Raise ValueError unless a combination with weights that differ by example equals that of the lines."""
    rng = np.random.default_rng(0)
    by_example, by_line = rng.uniform(0.5, 1.5, len(start)), rng.uniform(0.5, 1.5, len(lines))
    weights = np.multiply.outer(by_example, by_line).reshape(start.shape)
    found = grad(start, end, gradient=weights, retain_graph=True).data
    factors = by_example.reshape(-1, *[1] * (end.ndim - 1))
    with np.errstate(invalid="ignore"):  # of infinities, which are not compared
        terms = [weight * factors * line.data for weight, line in zip(by_line, lines, strict=True)]
        bound = np.sqrt(np.finfo(end.dtype).eps) * np.max(np.sum(np.abs(terms), 0), initial=0.0)
        dependent = np.any(np.abs(found - np.sum(terms, 0)) > bound)
    if dependent:
        raise ValueError(
            f"{name}: with batched=True, an example of f(x) must depend only on the same example of x; leave it out, "
            "or change f"
        )


def _gradients(name: str, f: Callable[..., Tensor], variables: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the recorded gradients of a scalar function."""
    out = _evaluate(name, f, variables)
    if out.size != 1:
        raise ValueError(f"{name}: the function must return one element; got a tensor of shape {out.shape}")
    if not out.requires_grad:
        return [_zeros(x.shape, x) for x in variables]
    gradients: tuple[Tensor, ...] = grad(out, variables, create_graph=True)
    return gradients


def inner_product(gradients: Sequence[Tensor], directions: Sequence[Any]) -> Tensor:
    """Return the inner product of gradients and directions, over all their elements."""
    total = Tensor(0.0)
    for gradient, direction in zip(gradients, directions, strict=True):
        total = total + (gradient * direction).sum()
    return total


# -- arguments ---------------------------------------------------------------------------------------------------------


def _variables(name: str, inputs: Sequence[Any]) -> list[Tensor]:
    """Return a new variable for each input: a leaf, or a node derived from a recorded input."""
    arrays = _arrays(name, "input", inputs)
    if not arrays:
        raise ValueError(f"{name}: inputs must not be empty")
    return [
        astype(x, x.dtype)
        if isinstance(x, Tensor) and x.requires_grad
        else Tensor(array if array.dtype.kind == "f" else array.astype(float), requires_grad=True)
        for x, array in zip(inputs, arrays, strict=True)
    ]


def _depends_on_others(out: Tensor, variables: Sequence[Tensor]) -> bool:
    """Return whether a result depends on anything recorded other than the new leaves among ``variables``."""
    if any(not variable.is_leaf for variable in variables):
        return True
    own = {variable._node for variable in variables if variable._node is not None}
    oldest = min((node.number for node in own), default=0)
    newer = [] if out._node is None else ancestors(out._node, oldest)
    others = [
        node
        for node in newer
        if (node.primitive is None and node not in own) or any(edge[0].number < oldest for edge in node.edges or ())
    ]
    return bool(others)


def _directions(name: str, tangents: Sequence[Any], variables: Sequence[Tensor]) -> list[Any]:
    arrays = _arrays(name, "tangent", tangents)
    shapes, wanted = [array.shape for array in arrays], [variable.shape for variable in variables]
    if shapes != wanted:
        raise ValueError(f"{name}: the tangents must have the shapes of the inputs, {wanted}; got {shapes}")
    kept = [given if isinstance(given, Tensor) else array for given, array in zip(tangents, arrays, strict=True)]
    return [astype(direction, variable.dtype) for direction, variable in zip(kept, variables, strict=True)]


def _arrays(name: str, what: str, given: Sequence[Any]) -> list[Array]:
    if not isinstance(given, (tuple, list)):
        raise TypeError(f"{name}: {what}s must be a tuple or a list of arrays; got {type(given).__name__}")
    for i, x in enumerate(given):
        refuse_masked_array(name, x)
        if isinstance(x, (tuple, list)) and any(isinstance(part, Tensor) for part in x):
            raise TypeError(f"{name}: {what} {i} must be one tensor or array; got a {type(x).__name__} of tensors")
    arrays = [np.asarray(unwrap_value(x)) for x in given]
    for i, array in enumerate(arrays):
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name}: {what} {i} must be real numbers; got {array.dtype}")
    return arrays


def _evaluate(name: str, f: Callable[..., Tensor], variables: Sequence[Tensor]) -> Tensor:
    if not callable(f):
        raise TypeError(f"{name}: f must be a function of tensors, not its result; got {type(f).__name__}")
    out = f(*variables)
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}: the function must return a tensor; got {type(out).__name__}")
    return out


def _zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return Tensor(np.zeros(shape, like.dtype))
