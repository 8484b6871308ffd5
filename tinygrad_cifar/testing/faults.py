"""Faults that are injected into a VJP, to learn whether tests notice.

A fault is one kind of error, such as a factor of 1.001 in one element, in one VJP of one primitive. An injected change
counts as equivalent to the original only if that is proved: a VJP that returns its cotangent, whatever it is, cannot be
wrong by returning it (:func:`returns_the_cotangent`); a VJP that receives no array but its cotangent has no other to
write to, and one element is its own mean (:func:`explain_no_fault`). Other changes are compared with the right VJP in
each call of the tests (:func:`inject_and_compare`): the reverse of a constant array is that array.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.graph import Value, unwrap_value
from tinygrad_cifar.engine.primitives import PRIMITIVES
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.testing.cases import Array

# Each fault receives the right VJP and its arguments. Like a VJP, it must work for arrays and for tensors.
Apply: TypeAlias = Callable[..., Any]

NOTHING = "nothing, as a control"

_acted: set[Apply] = set()  # the VJPs in which a fault had something to change
_buffers: dict[Apply, dict[Any, Array]] = {}


def _scale_one_element(apply: Apply, g: Any, *arguments: Any) -> Any:
    part = apply(g, *arguments)
    if not np.size(unwrap_value(part)):
        return part
    first = (0,) * part.ndim
    return ops.index_update(ops.reshape(part, part.shape), first, 1.001 * part[first])


def _average_the_cotangent(apply: Apply, g: Any, *arguments: Any) -> Any:
    if np.size(unwrap_value(g)) > 1:
        g = 0 * g + ops.mean(g)
        _acted.add(apply)
    return apply(g, *arguments)


def _detach_result(apply: Apply, *given: Any) -> Any:
    part = apply(*given)
    return part.detach() if isinstance(part, Tensor) else part


def _write_to_the_cotangent(apply: Apply, g: Any, *arguments: Any) -> Any:
    part = apply(g, *arguments) + 0
    if isinstance(unwrap_value(g), np.ndarray):
        unwrap_value(g)[...] = 0
    return part


def _write_to_an_input(apply: Apply, g: Any, *arguments: Any) -> Any:
    part = apply(g, *arguments) + 0
    for array in _arrays_in(arguments):
        array[...] = 0
        _acted.add(apply)
    return part


def _arrays_in(arguments: Sequence[Any]) -> list[Array]:
    """Return the arrays among the arguments of a VJP, including those in tuples and tensors."""
    found: list[Array] = []
    for argument in arguments:
        if isinstance(argument, tuple):
            found += _arrays_in(argument)
        elif isinstance(unwrap_value(argument), np.ndarray):
            found.append(unwrap_value(argument))
    return found


def _reuse_the_result(apply: Apply, g: Any, *arguments: Any) -> Any:
    """Return every result in one array, a buffer that is reused from call to call."""
    part = apply(g, *arguments)
    if isinstance(part, Value):
        return part
    buffers = _buffers.setdefault(apply, {})
    buffer = buffers.setdefault((np.shape(part), part.dtype), np.empty(np.shape(part), part.dtype))
    buffer[...] = part
    return buffer


# What a user's VJP can get wrong, too.
VALUE_FAULTS: dict[str, Callable[..., Any]] = {
    "zero": lambda apply, *given: 0 * apply(*given),
    "negated": lambda apply, *given: -apply(*given),
    "times 1.001": lambda apply, *given: 1.001 * apply(*given),
    "times 1.001 in one element": _scale_one_element,
    "ignores the cotangent": lambda apply, g, *arguments: apply(0 * g + 1, *arguments),
    "averages the cotangent": _average_the_cotangent,
    "reversed": lambda apply, *given: ops.flip(apply(*given)),
    "clipped at 50": lambda apply, *given: ops.clip(apply(*given), -50, 50),
    "always float32": lambda apply, *given: ops.astype(apply(*given), np.float32),
    "always float64": lambda apply, *given: ops.astype(apply(*given), np.float64),
    "returns the cotangent": lambda apply, g, *arguments: g,  # noqa: ARG005
    "is not recorded": _detach_result,
}
# What only the library's own VJPs can do: those of users receive read-only arrays, and their results are copied.
SHARING_FAULTS: dict[str, Callable[..., Any]] = {
    "writes to its cotangent": _write_to_the_cotangent,
    "writes to an input": _write_to_an_input,
    "reuses the array of its result": _reuse_the_result,
}
VJP_FAULTS = VALUE_FAULTS | SHARING_FAULTS


@contextlib.contextmanager
def inject_into_vjp(kind: str, name: str, input: str) -> Iterator[None]:
    """Replace one VJP of the table by a faulty one while the block runs.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> from tinygrad_cifar.testing.faults import inject_into_vjp
    >>> x = tg.Tensor(0.0, requires_grad=True)
    >>> with inject_into_vjp("negated", "sin", "x"):
    ...     tg.grad(tg.sin(x), x).item()
    -1.0
    """
    vjp = PRIMITIVES[name].vjps[input]
    right = vjp.apply
    if kind != NOTHING:
        vjp.apply = functools.partial(VJP_FAULTS[kind], right)
    try:
        yield
    finally:
        vjp.apply = right


class Comparison:
    """The results of a faulty VJP beside those of the right one, in the calls that tests make.

    Attributes
    ----------
    changed : bool
        Whether the results have differed: in an element, in the shape or dtype, or in whether they are recorded.
    was_applied : bool
        Whether the VJP has been applied.
    """

    def __init__(self, kind: str) -> None:
        self.changed = False
        self._rearranges = kind == "reversed"
        self.was_applied = False

    @property
    def unchanged(self) -> bool:
        """Whether the fault only rearranges elements, and in every call these were equal, as in the VJP of a sum.

        A fault of another kind that shows no change shows that the tests use too few values, shapes or dtypes.
        """
        return self._rearranges and self.was_applied and not self.changed

    def wrap(self, right: Apply, faulty: Apply) -> Apply:
        """Return the faulty VJP, compared with the right one until their results differ."""

        def compared(*given: Any) -> Any:
            result = faulty(*given)
            self.was_applied = True
            if not self.changed:
                expected = right(*given)
                self.changed = not _same_result(expected, result)
            return result

        return compared


def _same_result(expected: Any, result: Any) -> bool:
    if _is_recorded(expected) != _is_recorded(result):
        return False
    x, y = np.asarray(unwrap_value(expected)), np.asarray(unwrap_value(result))
    return x.dtype == y.dtype and np.array_equal(x, y, equal_nan=x.dtype.kind in "fc")


def _is_recorded(result: Any) -> bool:
    return isinstance(result, Value) and result._node is not None


@contextlib.contextmanager
def inject_and_compare(kind: str, name: str, input: str) -> Iterator[Comparison]:
    """Replace one VJP by a faulty one while the block runs, and compare its results with the right ones.

    For :data:`VALUE_FAULTS` only; the others do not change the result.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> from tinygrad_cifar.testing.faults import inject_and_compare
    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> with inject_and_compare("reversed", "sum", "x") as comparison:
    ...     tg.grad(x.sum(), x)
    Tensor([1., 1.])
    >>> comparison.unchanged
    True
    """
    vjp = PRIMITIVES[name].vjps[input]
    right, comparison = vjp.apply, Comparison(kind)
    with inject_into_vjp(kind, name, input):
        vjp.apply = comparison.wrap(right, vjp.apply)
        yield comparison


def forget_effects() -> None:
    """Forget in which VJPs a fault had something to change, before the tests that :func:`explain_no_fault` follows."""
    _acted.clear()


def returns_the_cotangent(name: str, input: str) -> bool:
    """Return whether a VJP only returns its cotangent: applied to an object without methods, it returns that object."""
    thing = object()
    try:
        return PRIMITIVES[name].vjps[input].apply(thing) is thing
    except Exception:  # noqa: BLE001 (it has other arguments, or uses the cotangent)
        return False


def explain_no_fault(kind: str, name: str, input: str) -> str:
    """Return why an injected change has had no effect in the tests; empty if that is not proved.

    To be called while the fault is not injected.
    """
    op = PRIMITIVES[name]
    vjp = op.vjps[input]
    if vjp.apply in _acted:
        return ""
    if kind == "averages the cotangent":
        return "the result has one element, which is its own mean"
    if kind == "writes to an input" and not {"out", *op.vjps} & set(vjp.names):
        return "the VJP receives no array but its cotangent"
    return ""
