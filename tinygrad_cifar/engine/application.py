"""How a primitive is applied: compute, record, notify.

:func:`apply` is the definition. :mod:`~tinygrad_cifar.engine.fast_paths` does the same, specialised for primitives of
one or two inputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cifar.engine.graph import Array, Primitive, Value, make_node, refuse_masked_array
from tinygrad_cifar.engine.modes import Mode, current_mode
from tinygrad_cifar.engine.ownership import copy_arrays
from tinygrad_cifar.engine.signatures import argument_defaults

# Operands that remain what they are, as in NumPy: as an array, the Python number 0.5 would promote float32 to float64.
SCALARS = frozenset({float, int, bool, np.float64, np.float32, np.int64, np.bool_, np.float16, np.int32})


def apply(op: Primitive, arguments: tuple[Any, ...]) -> Any:
    """Apply a primitive to its arguments: arrays give an array, values give a value of the same class.

    The inputs are the arguments themselves or, for a variadic primitive, the elements of the first one.
    """
    return apply_with_aux(op, arguments)[0]


def apply_with_aux(op: Primitive, arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    """Like :func:`apply`, but also return the auxiliary output: an array, or None if the primitive has none."""
    inputs = arguments[0] if op.variadic else arguments
    vjps = op.vjps_by_position[:1] * len(inputs) if op.variadic else op.vjps_by_position
    value_type = next((type(x) for x in inputs if isinstance(x, Value)), None)
    if value_type is None:
        if not op.variadic:
            arguments = tuple(
                [
                    x if vjp is None or type(x) in SCALARS else as_input(op, x)
                    for x, vjp in zip(inputs, vjps, strict=True)
                ]
            )
        return op.forward(*arguments) if op.aux is not None else (op.forward(*arguments), None)

    # Take the arrays out of the values. An input that has a VJP and needs a gradient is a parent of the result.
    mode = current_mode()
    is_recording = mode is None or mode.recording
    operands: list[Any] = []
    parents = []
    for i, (x, vjp) in enumerate(zip(inputs, vjps, strict=True)):
        if isinstance(x, Value):
            operands.append(x._array)
            if x._node is not None and is_recording:
                if vjp is not None:
                    parents.append((i, x._node, vjp))
                elif op.vjps:
                    raise _has_no_vjp(op, op.inputs[i])
        else:
            operands.append(x if vjp is None or type(x) in SCALARS else as_operand(op, x))

    # Compute.
    arrays = (tuple(operands), *arguments[1:]) if op.variadic else tuple(operands)
    result, aux = compute(op, arrays)
    out = object.__new__(value_type)
    out._array = result
    out._node = None

    # Record one edge for each parent, with the arrays that its VJP declares.
    if parents:
        names = op.inputs[:1] * len(inputs) if op.variadic else op.inputs
        own = [
            a if isinstance(x, Value) or name not in op.saved else copy_arrays(a)
            for a, x, name in zip(operands, inputs, names, strict=True)
        ]
        saved = (result, tuple(own), *map(copy_arrays, arguments[1:])) if op.variadic else (result, *own)
        edges = tuple([(node, vjp, vjp.save((*saved, aux, i))) for i, node, vjp in parents])
        out._node = make_node(op, result, edges)

    if mode is not None:
        notify(mode, op, (*operands, *arguments[1:]) if op.variadic else arrays, out)
    return out, aux


def compute(op: Primitive, arrays: tuple[Any, ...]) -> tuple[Array, Any]:
    """Return the result of a primitive, as an array, and its auxiliary output (None if it has none)."""
    aux = None
    try:
        result = op.forward(*arrays)
    except Exception as error:
        raise with_context(op, arrays, error) from error
    if op.aux is not None:
        result, aux = result
    return result if type(result) is np.ndarray else as_array(op, result), aux


def notify(mode: Mode, op: Primitive, arguments: tuple[Any, ...], out: Value) -> None:
    """Tell the watchers of the mode about an operation."""
    for watcher in mode.watchers:
        watcher.on_operation(op, arguments, out)


# -- arguments and results ---------------------------------------------------------------------------------------------


MISSING: Any = object()  # the first argument of a function that received none, or received it by its name


def bind_arguments(op: Primitive, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
    """Return all arguments in order, defaults included: VJPs pick them by position, so none may be missing."""
    if arguments and arguments[0] is MISSING:
        arguments = ()
    bound = argument_defaults(op.forward)
    given = dict(zip(op.inputs, arguments, strict=False))
    bound |= given | named
    if len(arguments) > len(op.inputs) or set(bound) != set(op.inputs) or set(given) & set(named):
        raise TypeError(f"{op.name}: takes the arguments {', '.join(op.inputs)}")
    return tuple([bound[name] for name in op.inputs])


def as_input(op: Primitive, x: Any) -> Any:
    """Convert an input of an operation without tensors to an array; raise TypeError unless it consists of numbers."""
    if isinstance(x, np.ndarray):
        return x
    array = np.asarray(x)
    if array.dtype.kind not in "fiubc":
        raise TypeError(f"{op.name}: the input must be a tensor, or an array of numbers; got {x!r:.40}")
    return array


def as_operand(op: Primitive, operand: Any) -> Any:
    """Convert an operand to an array; raise TypeError unless it consists of real numbers."""
    if type(operand) is not np.ndarray:
        refuse_masked_array(op.name, operand)
    array = np.asarray(operand)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{op.name}: cannot combine a tensor with a {type(operand).__name__} of {array.dtype}; give a tensor, or "
            "an array of real numbers"
        )
    return array


def as_array(op: Primitive, result: Any) -> Array:
    """Convert a result, such as a NumPy scalar, to an array; raise TypeError unless it consists of numbers."""
    array = np.asarray(result)
    if array.dtype.kind not in "fiubc":
        raise TypeError(f"{op.name}: the computation must return an array of numbers; got {result!r:.40}")
    return array


def _has_no_vjp(op: Primitive, name: str) -> TypeError:
    return TypeError(
        f"{op.name}: {name} has no VJP, so it must not be a tensor that requires a gradient; define "
        f"{name}=lambda g, ...: ..., or pass {name}.detach()"
    )


def with_context(op: Primitive, arguments: tuple[Any, ...], error: Exception) -> Exception:
    """Return an error that also names the primitive and its arguments; errors that are not NumPy's are unchanged."""
    for name, argument in zip(op.inputs, arguments, strict=False):
        if isinstance(error, TypeError) and isinstance(argument, Value) and name not in op.vjps:
            return _has_no_vjp(op, name)
    kinds = (TypeError, IndexError, np.linalg.LinAlgError, ValueError)  # LinAlgError is a ValueError
    kind = next((kind for kind in kinds if isinstance(error, kind)), ValueError)
    known = isinstance(error, (TypeError, ValueError, IndexError))
    if not known or type(error).__module__.partition(".")[0] not in ("builtins", "numpy"):
        return error
    given = ", ".join(_describe_argument(argument) for argument in arguments)
    return kind(f"{op.name}({given}): {error}")


def _describe_argument(argument: Any) -> str:
    if isinstance(argument, np.ndarray):
        return f"{argument.dtype} array of shape {argument.shape}"
    if isinstance(argument, (tuple, list)) and any(isinstance(part, np.ndarray) for part in argument):
        return "[" + ", ".join(_describe_argument(part) for part in argument) + "]"
    return repr(argument)
