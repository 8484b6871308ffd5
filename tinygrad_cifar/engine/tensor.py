"""The class Tensor: an array that records its computation, with operators, methods and NumPy's protocols.

Tensors are immutable for the graph: operations return new ones. An update (the step of an optimiser, an assignment to
``.data``) writes to the array of a tensor only if nothing else refers to that array: no recorded operation, no view, no
variable. Otherwise the tensor receives a new array. The arrays that users can reach are read-only. A gradient is
therefore never computed from values that were overwritten in the meantime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_cifar.engine import backprop, numpy_protocol, ops
from tinygrad_cifar.engine.graph import Array, Node, Value, format_shape, make_leaf, refuse_masked_array, unwrap_value
from tinygrad_cifar.engine.hooks import HookHandle, add_hook
from tinygrad_cifar.engine.ownership import is_held_elsewhere, is_shared, make_read_only, take_temporary


class Tensor(Value):
    """An array that records its computation, so that it can be differentiated.

    Parameters
    ----------
    data : array_like
        Values of the tensor, copied; later changes to the original have no effect. Python floats become float64.
    requires_grad : bool
        If True, operations on the tensor are recorded, and ``backward()`` accumulates into :attr:`grad`. Default:
        False.
    dtype : data-type, optional
        Type of the elements. Default: that of ``data``.

    Raises
    ------
    TypeError
        If ``data`` does not consist of real numbers, or not of floating-point numbers with ``requires_grad=True``.

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
            raise TypeError("Tensor: data must not be a tensor; use detach() for a constant with the same values")
        refuse_masked_array("Tensor", data)
        try:
            array = np.array(data, dtype=dtype, subok=False)
        except ValueError as error:
            if "inhomogeneous" not in str(error):
                raise
            raise ValueError("Tensor: nested lists must have the same length at each level") from error
        if array.dtype.kind not in "fiub":
            raise TypeError(f"Tensor: data must be real numbers; got {array.dtype}")
        self._array = array
        self._node = None
        if requires_grad:
            self.requires_grad = True

    # -- attributes ----------------------------------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The values, as a read-only NumPy array; assign to replace them all.

        The array keeps its values when the tensor is updated. Only leaves can be assigned to. The dtype does not
        change, and operations that were recorded before keep the old values.
        """
        array = self._array if self.ndim else self._array.copy()  # np.add.at writes even to a read-only 0-d array
        make_read_only(array)
        return array.view()

    @data.setter
    def data(self, data: ArrayLike) -> None:
        if self._node is not None and self._node.primitive is not None:
            raise ValueError("data: the tensor must be a leaf; this one was computed from others (use detach())")
        is_taken = take_temporary(data, self._array.dtype)  # before there is another name for it
        array: Any = data
        if not is_taken:
            refuse_masked_array("data", data)
            given = np.asarray(unwrap_value(data))
            if given.dtype.kind not in "fiub":
                raise TypeError(f"data: must be real numbers; got {given.dtype}")
            array = np.array(given, dtype=self._array.dtype)
        if array.shape != self._array.shape:
            raise ValueError(f"data: must have the shape {self._array.shape}; got {array.shape} (make a new Tensor)")
        self._array = array

    def overwrite(self, write: Callable[[Array], object]) -> None:
        """Let ``write(array)`` change the values in place, as an optimiser does.

        If anything else refers to the array (a recorded operation, a view, a variable), the tensor first receives a
        copy, and the other references keep the old values. An array that ``write`` keeps cannot be used later to change
        the tensor.

        Raises
        ------
        ValueError
            If the tensor is not a leaf.

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
            raise ValueError("overwrite: the tensor must be a leaf; this one was computed from others (use detach())")
        if is_shared(self):
            self._array = self._array.copy()
        self._array.flags.writeable = True
        try:
            write(self._array.view())  # a view, so that changing its shape or dtype does not affect the tensor
        finally:
            if is_shared(self):
                self._array.flags.writeable = False
                self._array = self._array.copy()

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded; can be set on leaves.

        A leaf that is frozen (set to False) keeps its :attr:`grad`, to which nothing is added until it is set to True
        again. It remains the same leaf: the results that were computed from it before stay connected to it.
        """
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if self._node is not None and self._node.primitive is not None:
            raise ValueError(
                "requires_grad: the tensor must be a leaf; this one was computed from others (use detach())"
            )
        if wanted and self._array.dtype.kind != "f":
            raise TypeError(
                f"requires_grad: {self._array.dtype} values have no gradient; convert them, for example "
                "Tensor(data, requires_grad=True, dtype=float)"
            )
        node = self._leaf_node()
        if wanted:
            self._node = make_leaf(self._array) if node is None else node
            self._node.frozen = False
        elif node is not None:
            node.frozen = True
            self._node, self._frozen = None, node

    def _leaf_node(self) -> Node | None:
        """Return the node of a leaf, also if it is frozen; None for a constant and for the result of an operation."""
        if self._node is None:
            return getattr(self, "_frozen", None)
        return self._node if self._node.primitive is None else None

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor is a leaf, not the result of a recorded operation."""
        return self._node is None or self._node.primitive is None

    @property
    def grad(self) -> Tensor | None:
        """The gradient accumulated by ``backward()``, or None; only leaves have one."""
        node = self._leaf_node()
        return None if node is None else node.grad

    @grad.setter
    def grad(self, gradient: Tensor | None) -> None:
        node = self._leaf_node()
        if node is None:
            raise ValueError(
                "grad: can be set only on a leaf with requires_grad=True; after w = w - eta * w.grad, w is a result "
                "and not a leaf: write w.data = w.data - eta * w.grad.data"
            )
        matches = isinstance(gradient, Tensor) and (gradient.shape, gradient.dtype) == (self.shape, self.dtype)
        if gradient is not None and not matches:
            raise ValueError(f"grad: must be None or a {self.dtype} Tensor of shape {self.shape}")
        node.grad = gradient

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
        """Return the value of a tensor with one element, as a Python number."""
        if self._array.size != 1:
            raise ValueError(
                f"item: only a tensor with one element can be converted to a number; the shape is {self.shape}"
            )
        return self._array.item()

    def numpy(self) -> Array:
        """Return a copy of the values, which may be written to."""
        return self._array.copy()

    def detach(self) -> Tensor:
        """Return a constant with the same values, through which no gradient flows."""
        out = object.__new__(type(self))
        out._array = self._array
        out._node = None
        return out

    # -- differentiation -----------------------------------------------------------------------------------------------

    def backward(
        self, gradient: ArrayLike | None = None, *, retain_graph: bool | None = None, create_graph: bool = False
    ) -> None:
        """Compute the gradients with respect to all leaves, and accumulate them into their :attr:`grad`.

        Parameters
        ----------
        gradient : array_like, optional
            The initial cotangent, of the shape of this tensor. Default: 1, for a tensor with one element.
        retain_graph : bool, optional
            If True, the graph is kept for another pass. If False, it is freed. Default: the value of ``create_graph``.
        create_graph : bool
            If True, the gradients are recorded, so that they can be differentiated again. The gradient of a leaf then
            refers to its graph, and that to the leaf: a cycle, which only Python's cyclic garbage collector frees. Use
            :func:`tinygrad_cifar.grad` to avoid it. Default: False.

        Raises
        ------
        ValueError
            If nothing was recorded, or the tensor has more than one element and no ``gradient`` was given.
        RuntimeError
            If the graph has been freed by an earlier pass.

        Examples
        --------
        >>> from tinygrad_cifar import Tensor
        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).backward(gradient=[1.0, 10.0])
        >>> x.grad
        Tensor([ 2., 40.])
        """
        backprop.backward(self, gradient, retain_graph=retain_graph, create_graph=create_graph)

    def register_hook(self, hook: Callable[[Tensor], Any]) -> HookHandle:
        """Call a function with the gradient of this tensor whenever a backward pass has computed it.

        The function may return another gradient, which takes its place: it flows on to the inputs of a result, and is
        accumulated into the :attr:`grad` of a leaf. Several hooks are called in the order in which they were added,
        each with the gradient that the one before returned. What a hook computes is recorded only by a pass with
        ``create_graph=True``.

        Parameters
        ----------
        hook : callable
            ``hook(gradient)``, which returns None, or a tensor or an array with the shape of the gradient.

        Returns
        -------
        HookHandle
            Its method ``remove()`` removes the hook.

        Raises
        ------
        TypeError
            If the tensor does not require a gradient, or ``hook`` is not callable.

        Examples
        --------
        >>> from tinygrad_cifar import Tensor
        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> y = x * x
        >>> handle = y.register_hook(lambda g: 10 * g)
        >>> y.sum().backward()
        >>> x.grad
        Tensor([20., 40.])
        >>> handle.remove()
        """
        if self._node is None:
            raise TypeError(
                "register_hook: the tensor must require a gradient, or be computed from one that does; this one is a "
                "constant"
            )
        if not callable(hook):
            raise TypeError(f"register_hook: hook must be a function of the gradient; got {hook!r:.40}")
        return add_hook(self._node, type(self), hook)

    # -- operators: each is the operation itself -----------------------------------------------------------------------

    __add__ = ops.add
    __sub__ = ops.subtract
    __mul__ = ops.multiply
    __truediv__ = ops.divide
    __pow__ = ops.power
    __matmul__ = ops.matmul
    __mod__ = ops.remainder
    __floordiv__ = ops.floor_divide
    __round__ = ops.round
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

    def __rmod__(self, other: ArrayLike) -> Tensor:
        return ops.remainder(other, self)

    def __rfloordiv__(self, other: ArrayLike) -> Tensor:
        return ops.floor_divide(other, self)

    def __divmod__(self, other: ArrayLike) -> tuple[Tensor, Tensor]:
        return ops.floor_divide(self, other), ops.remainder(self, other)

    def __rdivmod__(self, other: ArrayLike) -> tuple[Tensor, Tensor]:
        return ops.floor_divide(other, self), ops.remainder(other, self)

    def __pos__(self) -> Tensor:
        return self

    # As for numbers, x += y means x = x + y, also for the arguments of a function. An update of a parameter means more.

    def __iadd__(self, other: ArrayLike) -> Tensor:  # type: ignore[misc]  # noqa: PYI034 (a new tensor)
        _refuse_update(self, "+", other)
        return ops.add(self, other)

    def __isub__(self, other: ArrayLike) -> Tensor:  # type: ignore[misc]  # noqa: PYI034 (a new tensor)
        _refuse_update(self, "-", other)
        return ops.subtract(self, other)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("a tensor does not support item assignment; write x = index_update(x, index, value)")

    # Comparisons are not recorded: they return arrays of booleans.

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
        if self._node is not None and numpy_protocol.is_item_assignment():
            raise TypeError(_NOT_ASSIGNED)
        return float(self.item())

    def __int__(self) -> int:
        if self._node is not None and numpy_protocol.is_item_assignment():
            raise TypeError(_NOT_ASSIGNED)
        return int(self.item())

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(len(self)))

    if not TYPE_CHECKING:  # type checkers would take a tensor to have every attribute

        def __getattr__(self, name: str) -> Any:
            """Raise an error that says what to write instead of an attribute of PyTorch's tensors."""
            if name.startswith("__"):  # NumPy asks for several of these
                raise AttributeError(name)
            instead = _INSTEAD.get(name)
            if instead is None and name.endswith("_") and not name.startswith("_"):
                instead = _NOT_IN_PLACE
            hint = f"; use {instead}" if instead else ""
            raise AttributeError(f"'{type(self).__name__}' object has no attribute {name!r}{hint}", name=name, obj=self)

    def __repr__(self) -> str:
        text = np.array2string(self._array, separator=", ", prefix="Tensor(")
        shape = f", shape={self.shape}" if self.size == 0 and self.ndim > 1 else ""
        kind = "" if self.dtype in (np.float64, np.int64, np.bool_) else f", dtype={self.dtype}"
        return f"Tensor({text}{shape}{kind}{', requires_grad=True' if self.requires_grad else ''})"

    def _repr_html_(self) -> str:
        """Return shape, type, origin, range and values, for notebooks."""
        parts = [format_shape(self.shape), str(self.dtype)]
        if self._node is not None:
            op = self._node.primitive
            parts.append("requires a gradient" if op is None else f"result of {op.name}")
        if self.size > 1:
            low, high, mean = (float(f(self._array)) for f in (np.min, np.max, np.mean))
            parts.append(f"from {low:.4g} to {high:.4g}, mean {mean:.4g}")
        values = np.array2string(self._array, separator=", ", threshold=200, edgeitems=4)
        return f"<div><b>Tensor</b> {escape(', '.join(parts))}<pre>{escape(values)}</pre></div>"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    # -- methods: the names of NumPy and PyTorch, and again the operations themselves ----------------------------------

    abs = ops.absolute
    astype = ops.astype
    clip = ops.clip
    cos = ops.cos
    cumprod = ops.cumprod
    cumsum = ops.cumsum
    diagonal = ops.diagonal
    dot = ops.dot
    exp = ops.exp
    flatten = ops.ravel
    flip = ops.flip
    log = ops.log
    logsumexp = ops.logsumexp
    matmul = ops.matmul
    max = ops.max
    mean = ops.mean
    median = ops.median
    min = ops.min
    norm = ops.norm
    pow = ops.power
    prod = ops.prod
    ravel = ops.ravel
    relu = ops.relu
    repeat = ops.repeat
    round = ops.round
    sigmoid = ops.sigmoid
    sin = ops.sin
    softmax = ops.softmax
    sqrt = ops.sqrt
    square = ops.square
    squeeze = ops.squeeze
    std = ops.std
    sum = ops.sum
    swapaxes = ops.swapaxes
    take = ops.take
    tanh = ops.tanh
    trace = ops.trace
    var = ops.var

    def reshape(self, *shape: Any) -> Tensor:
        """Change the shape, given as a tuple or as separate integers; see :func:`tinygrad_cifar.reshape`."""
        return ops.reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Tensor:
        """Permute the axes, given as a tuple or as separate integers; see :func:`tinygrad_cifar.transpose`."""
        if not axes or axes == (None,):
            return ops.transpose(self)
        return ops.transpose(self, axes if np.ndim(axes[0]) == 0 else axes[0])

    # Results without gradient: arrays, numbers, lists.

    def argmax(self, axis: int | None = None) -> Any:
        """Return the index of the largest element: an array of integers, or one integer."""
        return np.argmax(self._array, axis)

    def argmin(self, axis: int | None = None) -> Any:
        """Return the index of the smallest element: an array of integers, or one integer."""
        return np.argmin(self._array, axis)

    def argsort(self, axis: int | None = -1) -> Any:
        """Return the indices that sort the elements along ``axis``; equal elements keep their order."""
        return np.argsort(self._array, axis, stable=True)

    def all(self, axis: int | None = None) -> Any:
        """Return whether all elements are different from 0."""
        return np.all(self._array, axis)

    def any(self, axis: int | None = None) -> Any:
        """Return whether any element is different from 0."""
        return np.any(self._array, axis)

    def tolist(self) -> Any:
        """Return the values as nested lists of Python numbers."""
        return self._array.tolist()

    # -- copying -------------------------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.is_leaf:
            raise TypeError("a tensor that was computed from others cannot be copied or pickled; use detach()")
        rebuilt = _rebuild, (self._array, self.requires_grad, self.grad, type(self))
        if type(self) is Tensor:
            return rebuilt
        slots = [name for kind in type(self).__mro__ for name in _slots_of(kind) if hasattr(self, name)]
        return *rebuilt, (dict(getattr(self, "__dict__", {})), {name: getattr(self, name) for name in slots})

    # -- NumPy's protocols: np.exp(t), np.sum(t), array * t ------------------------------------------------------------

    # NDArray[Any] as the type of the result would make type checkers take array + tensor for an array.
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, np.dtype[np.generic]]:
        if self.requires_grad:
            raise TypeError(
                "a tensor that requires a gradient is not converted to an array implicitly, since its graph would be "
                "lost; use t.data to read the values, or detach() it first; to join tensors, use stack or concatenate"
            )
        array = self.data if copy is not True else self._array.copy()
        if dtype is None or array.dtype == dtype:
            return array
        if copy is False:
            raise ValueError(f"a tensor of {array.dtype} cannot be converted to {np.dtype(dtype)} without a copy")
        return array.astype(dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return numpy_protocol.call_ufunc(ufunc, method, inputs, options)

    def __array_function__(
        self, function: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        return numpy_protocol.call_function(function, args, kwargs)


def from_numpy(array: Array) -> Tensor:
    """Return a constant tensor with the values of an array, if possible without a copy.

    For the batches of a training loop.

    If the array owns its memory and only one variable of the caller refers to it, the memory is shared and the array
    becomes read-only, so that a later attempt to change it raises. Any other array (a view, an array with views, one
    that something else refers to) is copied. An array that is combined with a tensor directly, without this function,
    is copied whenever a VJP needs it, which costs about a tenth of the step of a small network.

    Raises
    ------
    TypeError
        If ``array`` is not a NumPy array of real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import from_numpy
    >>> from_numpy(np.ones(2))
    Tensor([1., 1.])
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise TypeError("from_numpy: array must be a NumPy array of real numbers; use Tensor(data) for lists")
    is_own = type(array) is np.ndarray and array.base is None and array.ndim > 0
    if not is_own or is_held_elsewhere(array):
        return Tensor(array)
    array.flags.writeable = False
    return wrap_without_copy(array)


def wrap_without_copy(array: Array) -> Tensor:
    """Return a constant tensor with an array that remains writeable; valid until the owner next writes to the array.

    For loops of this library, which compute, differentiate and release the tensor before the array is used again.
    """
    refuse_masked_array("a batch", array)
    out = object.__new__(Tensor)
    # The tensor has a read-only view. ``data`` makes the arrays read-only that an array is a view of, and this one must
    # remain writeable: a view through a memoryview does not refer to it as its base.
    out._array = np.asarray(array.data.toreadonly())
    out._node = None
    return out


def _refuse_update(w: Tensor, sign: str, change: Any) -> None:
    """Raise an error for an update such as ``w -= eta * w.grad``, after which ``w`` would not be a leaf.

    It is recognised by the gradient of ``w``, and by a constant array of the same shape on the right-hand side.
    """
    is_constant = isinstance(change, (np.ndarray, np.generic)) or (isinstance(change, Tensor) and change._node is None)
    if is_constant and w.grad is not None and np.shape(unwrap_value(change)) == w.shape:
        raise TypeError(
            f"w {sign}= ... does not update a tensor in place: w would become a result, which receives no gradients; "
            f"write w.data = w.data {sign} eta * w.grad.data, or use an optimiser (in a computation, w = w {sign} ...)"
        )


def _rebuild(array: Array, requires_grad: bool, grad: Tensor | None, kind: type[Tensor] = Tensor) -> Tensor:
    """Return a leaf of Tensor or of a subclass, whose constructor is not called: it may have other parameters."""
    out = object.__new__(kind)
    Tensor.__init__(out, array, requires_grad or grad is not None)
    if grad is not None:
        out.grad = grad
        out.requires_grad = requires_grad
    return out


def _slots_of(kind: type) -> list[str]:
    """Return the names of the slots of a subclass, as they are stored."""
    if not issubclass(kind, Tensor):
        return []
    slots = kind.__dict__.get("__slots__", ())
    names = [slots] if isinstance(slots, str) else list(slots)
    private = f"_{kind.__name__.lstrip('_')}"
    return [private + name if name.startswith("__") and not name.endswith("__") else name for name in names]


# Names of PyTorch's and NumPy's arrays that tensors do not have, and what to write.
_INSTEAD = {
    "clone": "x itself, which no operation changes, or x.numpy() for an array",
    "copy": "x itself, which no operation changes, or x.numpy() for an array",
    "cpu": "x itself: all arrays are NumPy's",
    "cuda": "x itself: all arrays are NumPy's",
    "dim": "ndim",
    "double": "astype(float)",
    "expand": "broadcast_to(x, shape)",
    "float": "astype(numpy.float32)",
    "mm": "matmul, or x @ y",
    "numel": "size",
    "permute": "transpose",
    "requires_grad_": "x.requires_grad = True",
    "sort": "sort(x, axis)",
    "t": "T",
    "to": "astype(dtype)",
    "unsqueeze": "expand_dims(x, axis)",
    "view": "reshape",
}
_NOT_IN_PLACE = "a new tensor: operations do not change their inputs, and x.data = array replaces the values of a leaf"

_NOT_ASSIGNED = (
    "a tensor that requires a gradient is not assigned to an element of an array, since its graph would be lost; "
    "assign t.item(), or use stack, concatenate or index_update, which are recorded"
)
