"""What a specification of a primitive is: its cases, its reference values, and its kinks.

A :class:`Case` is one call: the arrays to differentiate with respect to, and the remaining arguments. Cases lie inside
the smooth domain, so differences never cross a kink; at the kinks themselves, a :class:`Kink` states the derivative
that the primitive defines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Case:
    """One call, ``call(*arrays, *parameters)``, with a gradient for the arrays.

    Attributes
    ----------
    arrays : tuple of numpy.ndarray
        The inputs to differentiate with respect to, float64.
    parameters : tuple
        The remaining arguments.
    """

    arrays: tuple[Array, ...]
    parameters: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.arrays, (tuple, list)):
            raise TypeError(f"Case: arrays must be a tuple of arrays; got {type(self.arrays).__name__}: write (x,)")
        # A random scalar is not an array.
        object.__setattr__(self, "arrays", tuple(np.asarray(array) for array in self.arrays))
        if not isinstance(self.parameters, (tuple, list)):
            raise TypeError(f"Case: parameters must be a tuple; got {type(self.parameters).__name__}")
        object.__setattr__(self, "parameters", tuple(self.parameters))

    def astype(self, dtype: Any) -> Case:
        """Return the case with its arrays converted, including floating-point arrays among the parameters."""
        return Case(
            tuple(array.astype(dtype) for array in self.arrays),
            tuple(p.astype(dtype) if isinstance(p, np.ndarray) and p.dtype.kind == "f" else p for p in self.parameters),
        )


@dataclass(frozen=True)
class Kink:
    """A point where the derivative is not unique, and the derivative that the primitive defines.

    Attributes
    ----------
    name : str
        The point in words.
    case : Case
        The call.
    cotangent : array_like
        The cotangent of the result.
    gradients : tuple of array_like
        The gradient with respect to each array, compared without a tolerance.
    """

    name: str
    case: Case
    cotangent: Any
    gradients: tuple[Any, ...]


@dataclass(frozen=True)
class Spec:
    """The specification of a primitive, for :mod:`~tinygrad_cifar.testing.properties`.

    Attributes
    ----------
    call : callable
        The operation, called with the arrays and then the parameters.
    cases : hypothesis.strategies.SearchStrategy of Case
        Calls inside the smooth domain.
    reference : callable, optional
        An independent computation of the value, called with the same arrays and parameters.
    analytic : bool
        Whether the complex step applies to the operation. Default: True.
    affine : bool
        Whether the operation is affine in each of its inputs while the others are fixed: sums, products, shapes,
        indices. Its VJPs are then compared exactly, without a tolerance. Default: False.
    keeps_dtype : bool
        Whether the result has the dtype of the inputs. Default: True.
    kinks : tuple of Kink
        Points without a unique derivative.
    """

    call: Callable[..., Any]
    cases: SearchStrategy[Case]
    reference: Callable[..., Any] | None = None
    analytic: bool = True
    affine: bool = False
    keeps_dtype: bool = True
    kinks: tuple[Kink, ...] = ()


def by_element(function: Callable[..., float]) -> Callable[..., Array]:
    """Return a function of Python numbers as a function of arrays, applied to each element.

    Examples
    --------
    >>> import math
    >>> from tinygrad_cifar.testing import by_element
    >>> by_element(math.hypot)([3.0, 6.0], [4.0, 8.0]).tolist()
    [5.0, 10.0]
    """
    return np.vectorize(function, otypes=[float])
