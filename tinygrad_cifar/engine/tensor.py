"""The class Tensor: an array that remembers how it was made, with operators, methods and NumPy's protocols.

A tensor is a value: operations make new ones, and nothing changes one that exists. What looks like a change (an
optimiser's step, assigning ``.data``) writes into the tensor's array only while nobody else holds that array
(no recorded operation, no view, no reader), and otherwise puts a new array in its place. What can be reached from
outside is read-only. A gradient can therefore never be computed from numbers that were overwritten in the meantime.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_cifar.engine import backprop, ops
from tinygrad_cifar.engine.graph import Value, leaf, unwrap_value
from tinygrad_cifar.engine.primitives import PRIMITIVES

Array = np.ndarray[Any, np.dtype[Any]]
ArrayLike = Any


class Tensor(Value):
    """An array that remembers how it was made.

    Parameters
    ----------
    data : array_like
        The numbers: copied, so that nobody else can change them. Lists of Python floats become float64.
    requires_grad : bool
        Whether gradients are wanted: then operations on it are recorded, and ``backward()`` fills :attr:`grad`.
    dtype : data-type, optional
        To convert to; by default that of ``data``.

    Raises
    ------
    TypeError
        If ``requires_grad`` is asked of numbers that are not floating-point, or ``data`` is not made of numbers.

    Examples
    --------
    >>> from tinygrad_cifar import Tensor
    >>> W = Tensor([[1.0, -2.0]], requires_grad=True)
    >>> loss = (W @ [3.0, 4.0]).sum()
    >>> loss.backward()
    >>> loss.item(), W.grad
    (-5.0, Tensor([[3., 4.]]))
    """

    __slots__ = ()

    def __init__(self, data: ArrayLike, requires_grad: bool = False, dtype: Any = None) -> None:
        if isinstance(data, Value):
            raise TypeError("Tensor: this is a tensor already; use detach() for one that is not recorded")
        array = np.array(data, dtype=dtype, subok=False)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"Tensor: cannot be made of {array.dtype} data; give real numbers")
        self._array = array
        self._node = None
        if requires_grad:
            self.requires_grad = True

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The numbers, as a NumPy array that cannot be written to; assign to replace them all.

        The array is of this moment: when the tensor changes, it keeps the numbers it had. Assigning is for leaves,
        keeps the dtype, and cannot spoil a gradient: what was recorded keeps the old numbers.
        """
        array = self._array if self.ndim else self._array.copy()  # np.add.at writes even to a read-only single number
        _lock(array)
        return array.view()

    @data.setter
    def data(self, data: ArrayLike) -> None:
        if self._node is not None and self._node.primitive is not None:
            raise ValueError("data: only a tensor that was not computed from others can be assigned to; use detach()")
        given = np.asarray(unwrap_value(data))
        if given.dtype.kind not in "fiub":
            raise TypeError(f"data: cannot be made of {given.dtype} data; give real numbers")
        array = np.array(given, dtype=self._array.dtype)
        if array.shape != self._array.shape:
            raise ValueError(f"data: the shape must stay {self._array.shape}, got {array.shape}; make a new Tensor")
        self._array = array

    def overwrite(self, write: Callable[[Array], object]) -> None:
        """Let ``write(array)`` change the numbers in place, as an optimiser does.

        If anybody else holds the array (a recorded operation, a view, a reader), the tensor first gets a copy
        of its own and the others keep the old one: the count of references says so. What ``write`` keeps of the array
        cannot be used afterwards to change the tensor either.

        Raises
        ------
        ValueError
            If the tensor was computed from others, whose gradients would then be of other numbers.

        Examples
        --------
        >>> from tinygrad_cifar import Tensor
        >>> t = Tensor([1.0, 2.0], requires_grad=True)
        >>> loss = (t * t).sum()
        >>> t.overwrite(lambda array: array.fill(100.0))
        >>> loss.backward()
        >>> t.data, t.grad
        (array([100., 100.]), Tensor([2., 4.]))
        """
        if not self.is_leaf:
            raise ValueError("overwrite: only a tensor that was not computed from others can be changed; use detach()")
        if self._is_shared():
            self._array = self._array.copy()
        self._array.flags.writeable = True
        try:
            write(self._array.view())  # whose shape and dtype are its own
        finally:
            if self._is_shared():
                self._array.flags.writeable = False
                self._array = self._array.copy()

    def _is_shared(self) -> bool:
        return sys.getrefcount(self._array) > _REFERENCES_TO_AN_OWN_ARRAY or self._array.base is not None

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded; can be set on tensors that were not computed."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if self._node is not None and self._node.primitive is not None:
            raise ValueError("requires_grad: this tensor was computed from others; use detach() to cut it off")
        if wanted and self._array.dtype.kind != "f":
            raise TypeError(
                f"requires_grad: {self._array.dtype} numbers have no gradient; convert them, for example "
                "Tensor(data, requires_grad=True, dtype=float)"
            )
        if not wanted:
            self._node = None
        elif self._node is None:
            self._node = leaf(self._array)

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor was made by hand and not computed from recorded ones."""
        return self._node is None or self._node.primitive is None

    @property
    def grad(self) -> Tensor | None:
        """The gradient that ``backward()`` has added up, or None; only leaves have one."""
        return None if self._node is None or self._node.primitive is not None else self._node.grad

    @grad.setter
    def grad(self, gradient: Tensor | None) -> None:
        if self._node is None or self._node.primitive is not None:
            raise ValueError("grad: only a leaf with requires_grad=True has a gradient")
        fits = isinstance(gradient, Tensor) and (gradient.shape, gradient.dtype) == (self.shape, self.dtype)
        if gradient is not None and not fits:
            raise ValueError(f"grad: must be None or a {self.dtype} Tensor of shape {self.shape}")
        self._node.grad = gradient

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._array.size

    @property
    def T(self) -> Tensor:
        """The tensor with its axes reversed."""
        return ops.transpose(self)

    @property
    def mT(self) -> Tensor:
        """The tensor with its last two axes exchanged."""
        return ops.swapaxes(self, -1, -2)

    def item(self) -> float:
        """Return the number in a tensor of one element, as a Python number."""
        if self._array.size != 1:
            raise ValueError(f"item: the tensor has shape {self.shape}; only one element can become a number")
        return self._array.item()

    def numpy(self) -> Array:
        """Return a copy of the numbers, to be changed at will."""
        return self._array.copy()

    def detach(self) -> Tensor:
        """Return a constant with the same numbers: no gradient flows through it."""
        out = object.__new__(type(self))
        out._array = self._array
        out._node = None
        return out

    # -- differentiation -----------------------------------------------------------------------------------------------

    def backward(
        self, gradient: ArrayLike | None = None, *, retain_graph: bool | None = None, create_graph: bool = False
    ) -> None:
        """Add the derivatives of this tensor with respect to every leaf it depends on to the leaves' :attr:`grad`.

        Parameters
        ----------
        gradient : array_like, optional
            The cotangent, of this tensor's shape; a single number needs none (it is 1).
        retain_graph : bool, optional
            Keep the graph for another pass. By default it is used up, and its memory freed.
        create_graph : bool
            Record the derivatives too, so that they can be differentiated (and keep the graph). A leaf's gradient then
            holds its own graph, and that the leaf: memory that only Python's collector of cycles frees. Where it
            matters, use :func:`tinygrad_cifar.grad`, which leaves nothing behind.

        Raises
        ------
        ValueError
            If nothing was recorded, or the tensor is not a single number and no ``gradient`` was given.
        RuntimeError
            If the graph was used up by an earlier pass.

        Examples
        --------
        >>> from tinygrad_cifar import Tensor
        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).backward(gradient=[1.0, 10.0])
        >>> x.grad
        Tensor([ 2., 40.])
        """
        backprop.backward(self, gradient, retain_graph=retain_graph, create_graph=create_graph)

    # -- operators: each is the operation itself ---------------------------------------------------------------------

    __add__ = ops.add
    __sub__ = ops.subtract
    __mul__ = ops.multiply
    __truediv__ = ops.divide
    __pow__ = ops.power
    __matmul__ = ops.matmul
    __neg__ = ops.negative
    __abs__ = ops.absolute
    __getitem__ = ops.getitem

    def __radd__(self, other: ArrayLike) -> Tensor:
        return ops.add(other, self)

    def __rsub__(self, other: ArrayLike) -> Tensor:
        return ops.subtract(other, self)

    def __rmul__(self, other: ArrayLike) -> Tensor:
        return ops.multiply(other, self)

    def __rtruediv__(self, other: ArrayLike) -> Tensor:
        return ops.divide(other, self)

    def __rpow__(self, other: ArrayLike) -> Tensor:
        return ops.power(other, self)

    def __rmatmul__(self, other: ArrayLike) -> Tensor:
        return ops.matmul(other, self)

    def __pos__(self) -> Tensor:
        return self

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("a tensor cannot be changed in place; write x = index_update(x, index, value) instead")

    # Comparisons leave the graph: they give plain arrays of booleans.

    def __eq__(self, other: object) -> Array:  # type: ignore[override]
        return self._array == unwrap_value(other)

    def __ne__(self, other: object) -> Array:  # type: ignore[override]
        return self._array != unwrap_value(other)

    def __lt__(self, other: ArrayLike) -> Array:
        return self._array < unwrap_value(other)

    def __le__(self, other: ArrayLike) -> Array:
        return self._array <= unwrap_value(other)

    def __gt__(self, other: ArrayLike) -> Array:
        return self._array > unwrap_value(other)

    def __ge__(self, other: ArrayLike) -> Array:
        return self._array >= unwrap_value(other)

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        return bool(self._array)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("a tensor of a single number cannot be iterated over")
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        text = np.array2string(self._array, separator=", ", prefix="Tensor(")
        kind = "" if self.dtype in (np.float64, np.int64, np.bool_) else f", dtype={self.dtype}"
        return f"Tensor({text}{kind}{', requires_grad=True' if self.requires_grad else ''})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    # -- methods: NumPy's names, and again the operations themselves --------------------------------------------------

    sum = ops.sum
    mean = ops.mean
    var = ops.var
    max = ops.max
    min = ops.min
    prod = ops.prod
    cumsum = ops.cumsum
    clip = ops.clip
    swapaxes = ops.swapaxes
    squeeze = ops.squeeze
    astype = ops.astype

    def reshape(self, *shape: Any) -> Tensor:
        """Give another shape, as a tuple or as separate numbers; see :func:`tinygrad_cifar.reshape`."""
        return ops.reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Tensor:
        """Permute the axes, given as a tuple or as separate numbers; see :func:`tinygrad_cifar.transpose`."""
        if not axes or axes == (None,):
            return ops.transpose(self)
        return ops.transpose(self, axes if np.ndim(axes[0]) == 0 else axes[0])

    def argmax(self, axis: int | None = None) -> Any:
        """Return where the largest element is: a plain array of integers (or one integer), without gradient."""
        return np.argmax(self._array, axis)

    # -- copying -------------------------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.is_leaf:
            raise TypeError("a tensor that was computed cannot be copied or pickled with its graph; use detach()")
        return _rebuilt, (self._array, self.requires_grad, self.grad)

    # -- NumPy's protocols: np.exp(t), np.sum(t), array * t
    # --------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if self.requires_grad:
            raise TypeError(
                "a tensor that requires a gradient does not become an array by itself, since its graph would be lost; "
                "use t.data to read it, or detach() it first"
            )
        array = self.data if copy is not True else self._array.copy()
        return array if dtype is None else array.astype(dtype, copy=bool(copy))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        operation = _UFUNCS.get(ufunc)
        if operation is not None and method == "__call__" and not options:
            return operation(*inputs)
        if ufunc in _COMPARISONS and method == "__call__" and not options:
            return ufunc(*[unwrap_value(x) for x in inputs])
        what = ufunc.__name__ + ("" if method == "__call__" else f".{method}")
        detail = f" with {', '.join(sorted(options))}=" if options else ""
        raise TypeError(
            f"np.{what}{detail} is not defined for tensors; use an operation of tinygrad_cifar, or t.data for the "
            "numbers alone"
        )

    def __array_function__(
        self, function: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        operation = _FUNCTIONS.get(function)
        if operation is None:
            raise TypeError(
                f"np.{function.__name__} is not defined for tensors; use an operation of tinygrad_cifar, or t.data "
                "for the numbers alone"
            )
        try:
            return operation(*args, **kwargs)
        except TypeError as error:
            if "argument" not in str(error):
                raise
            raise TypeError(f"np.{function.__name__} of tensors: {error}") from error


def from_numpy(array: Array) -> Tensor:
    """Make a constant of an array, if possible without copying it: what a training loop does with each batch.

    If the array owns its memory and the caller's variable is all that refers to it, the memory is shared and the array
    made read-only, so that a later attempt to change it is an error and not a wrong gradient. Anything else (a
    view, an array of which views exist, one that is also kept elsewhere) could be changed behind the tensor's back,
    and is copied. (An array that is combined with a tensor as it is, without this function, is copied if its
    derivative rules need it: safe, for about a tenth of a small network's step.)

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import from_numpy
    >>> from_numpy(np.ones(2))
    Tensor([1., 1.])
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise TypeError("from_numpy: give a NumPy array of real numbers; Tensor(data) takes lists and the like")
    is_own = type(array) is np.ndarray and array.base is None and array.ndim > 0
    if not is_own or sys.getrefcount(array) > _REFERENCES_TO_A_VARIABLE:
        return Tensor(array)
    array.flags.writeable = False
    return wrap_without_copy(array.view())  # an array's shape and dtype can be changed even if its numbers cannot


def wrap_without_copy(array: Array) -> Tensor:
    """Make a constant of an array and leave the array alone: for a computation that is over before the owner goes on.

    Nothing keeps the owner from changing the array, so this is for loops of this library that compute, differentiate
    and let go of the tensor before they return.
    """
    out = object.__new__(Tensor)
    out._array = array
    out._node = None
    return out


def _lock(array: Array) -> None:
    """Make an array read-only, and what it is a view of; otherwise a view of it could be made writeable again."""
    array.flags.writeable = False
    while isinstance(array.base, np.ndarray):
        array = array.base
        array.flags.writeable = False


# How many references Python counts depends on its version, so it is asked.


def _references_to_an_own_array() -> int:
    """Count as :meth:`Tensor.overwrite` does, for an array that nobody else holds."""
    self = Value()
    self._array = np.zeros(1)
    return sys.getrefcount(self._array)


def _references_to_a_variable() -> int:
    """Count as :func:`from_numpy` does, for an array that only a variable of its caller holds."""

    def count(array: Array) -> int:
        return sys.getrefcount(array)

    variable = np.zeros(1)
    return count(variable)


_REFERENCES_TO_AN_OWN_ARRAY = _references_to_an_own_array()
_REFERENCES_TO_A_VARIABLE = _references_to_a_variable()


def _rebuilt(array: Array, requires_grad: bool, grad: Tensor | None) -> Tensor:
    out = Tensor(array, requires_grad)
    if grad is not None:
        out.grad = grad
    return out


_UFUNCS: dict[Any, Callable[..., Any]] = {
    row.forward: getattr(ops, name) for name, row in PRIMITIVES.items() if isinstance(row.forward, np.ufunc)
} | {np.matmul: ops.matmul}
_COMPARISONS = {
    np.equal,
    np.not_equal,
    np.less,
    np.less_equal,
    np.greater,
    np.greater_equal,
    np.isfinite,
    np.isnan,
    np.isinf,
}


def _shape_question(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, *args, **kwargs: function(unwrap_value(x), *args, **kwargs)


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if ord is not None:
        raise TypeError("np.linalg.norm of tensors takes no argument ord; it is the Euclidean length")
    return ops.norm(x, axis, keepdims)


def _clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    return ops.clip(x, a_min if min is None else min, a_max if max is None else max)


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: ops.sum,
    np.mean: ops.mean,
    np.var: lambda x, axis=None, ddof=0, keepdims=False: ops.var(x, axis, keepdims, ddof),
    np.max: ops.max,
    np.min: ops.min,
    np.prod: ops.prod,
    np.cumsum: ops.cumsum,
    np.linalg.norm: _norm,
    np.clip: _clip,
    np.where: ops.where,
    np.reshape: ops.reshape,
    np.transpose: ops.transpose,
    np.matrix_transpose: lambda x: ops.swapaxes(x, -1, -2),
    np.swapaxes: ops.swapaxes,
    np.expand_dims: ops.expand_dims,
    np.squeeze: ops.squeeze,
    np.broadcast_to: ops.broadcast_to,
    np.flip: ops.flip,
    np.concatenate: ops.concatenate,
    np.stack: ops.stack,
    np.einsum: ops.einsum,
    np.take_along_axis: ops.take_along_axis,
    np.shape: _shape_question(np.shape),
    np.ndim: _shape_question(np.ndim),
    np.size: _shape_question(np.size),
    np.argmax: _shape_question(np.argmax),
}
