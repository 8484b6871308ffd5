"""The derivative table: functions with kinks or jumps, element by element.

Where a function has a kink, the table takes one documented value: ``relu'(0) = 0``, ``absolute'(0) = 0``, a tie of
``maximum`` or ``minimum`` gives half to each, ``clip`` lets the gradient through at its ends. A function that is
constant between its jumps, such as ``sign`` or ``floor``, has no VJP: its result is a constant.
"""

from __future__ import annotations

from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_cifar.engine.documentation import Doc, documented
from tinygrad_cifar.engine.graph import Array, Value, refuse_masked_array, unwrap_value
from tinygrad_cifar.engine.operations import TensorLike, V, operation
from tinygrad_cifar.engine.primitives import binary, primitive, unary

sign = unary(
    "sign",
    np.sign,
    kink=lambda x: x == 0,
    doc=Doc(
        "Compute the sign: 1, -1, or 0 for 0.",
        "where(x > 0, 1, where(x < 0, -1, 0))",
        at=(-5.0, 0.0, 5.0),
        note="The derivative is 0 everywhere, also at the jump, so nothing is recorded.",
    ),
)
absolute = unary(
    "absolute",
    np.absolute,
    kink=lambda x: x == 0,
    x=lambda g, x: g * sign(x),
    doc=Doc(
        "Compute the absolute value.",
        "where(x < 0, -x, x)",
        x="sign(x)",
        at=(-0.25, 0.75),
        note="At 0 the derivative is taken as 0, midway between -1 and 1.",
    ),
)
relu = unary(
    "relu",
    lambda x: np.maximum(x, 0),
    kink=lambda x: x == 0,
    x=lambda g, out: g * (out > 0),
    doc=Doc(
        "Compute the rectified linear unit.",
        "maximum(x, 0)",
        x="1.0 * (x > 0)",
        at=(-0.25, 0.75),
        note="At 0 the derivative is taken as 0.",
    ),
)
maximum = binary(
    "maximum",
    np.maximum,
    kink=lambda x, y: x == y,
    x=lambda g, x, y: g * (x > y) + (0.5 * g) * (x == y),
    y=lambda g, x, y: g * (y > x) + (0.5 * g) * (x == y),
    doc=Doc(
        "Compute the larger of two.",
        "where(x > y, x, y)",
        x="(x > y) + 0.5 * (x == y)",
        y="(y > x) + 0.5 * (x == y)",
        note="In a tie each input receives half of the cotangent.",
    ),
)
minimum = binary(
    "minimum",
    np.minimum,
    kink=lambda x, y: x == y,
    x=lambda g, x, y: g * (x < y) + (0.5 * g) * (x == y),
    y=lambda g, x, y: g * (y < x) + (0.5 * g) * (x == y),
    doc=Doc(
        "Compute the smaller of two.",
        "where(x < y, x, y)",
        x="(x < y) + 0.5 * (x == y)",
        y="(y < x) + 0.5 * (x == y)",
        note="In a tie each input receives half of the cotangent.",
    ),
)


def _between(x: Any, low: Any, high: Any) -> Any:
    inside = x == x  # noqa: PLR0124 (False for NaN)
    if low is not None:
        inside = inside & (x >= low)
    if high is not None:
        inside = inside & (x <= high)
    return inside


def _or_nan(bound: Any) -> Any:
    """Return a bound, or NaN, which equals nothing, for None."""
    return np.nan if bound is None else bound


_clip = primitive(
    "clip",
    lambda x, low, high: np.clip(x, low, high),
    broadcasts=True,
    kink=lambda x, low, high: (x == _or_nan(low)) | (x == _or_nan(high)),
    x=lambda g, x, low, high: g * _between(x, low, high),
    doc=Doc(
        "Limit to an interval.",
        "minimum(maximum(x, low), high)",
        x="(x >= low) & (x <= high)",
        note="At both ends the derivative is taken as 1.",
    ),
)


@operation(_clip)
def clip(x: TensorLike, low: Any = None, high: Any = None) -> TensorLike:
    """Limit ``x`` to the interval from ``low`` to ``high``.

    The bounds are constants (arrays, numbers or None): no gradient flows to them.

    Raises
    ------
    TypeError
        If a bound requires a gradient.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, clip
    >>> t = Tensor([-2.0, -1.0, 0.0, 3.0], requires_grad=True)
    >>> clip(t, -1, 1).sum().backward()
    >>> t.grad
    Tensor([0., 1., 1., 0.])
    """
    if any(isinstance(bound, Value) and bound._node is not None for bound in (low, high)):
        raise TypeError("clip: no gradient flows to the bounds; detach() them, or use maximum and minimum")
    for bound in (low, high):
        refuse_masked_array("clip", bound)
    return _clip(x, unwrap_value(low), unwrap_value(high))


_where = primitive(
    "where",
    lambda condition, x, y: np.where(condition, x, y),
    broadcasts=True,
    x=lambda g, condition: _where(condition, g, 0),
    y=lambda g, condition: _where(condition, 0, g),
    doc=Doc("Choose elements.", "where(condition, x, y)", x="where(condition, 1, 0)", y="where(condition, 0, 1)"),
)


@overload
def where(condition: Any, x: V, y: V | ArrayLike) -> V: ...
@overload
def where(condition: Any, x: ArrayLike, y: V) -> V: ...
@overload
def where(condition: Any, x: ArrayLike, y: ArrayLike) -> Array: ...
@documented(_where)
def where(condition: TensorLike, x: TensorLike, y: TensorLike) -> TensorLike:
    """Choose elements of ``x`` where ``condition`` holds, and of ``y`` elsewhere.

    A non-finite value in the branch that is not chosen does not affect the gradient here, but may affect that of the
    operation that computed it, whose own derivative times 0 can be NaN. Replace the input of that operation by a
    harmless value with an inner ``where``.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor, where
    >>> t = Tensor([-1.0, 2.0], requires_grad=True)
    >>> where(t > 0, t, 0.0).sum().backward()
    >>> t.grad
    Tensor([0., 1.])
    """
    refuse_masked_array("where", condition)
    return _where(unwrap_value(condition), x, y)
