"""How a row of the derivative table becomes a function that computes and records.

A row is a name, a NumPy computation, and a rule for each input that has a derivative::

    multiply = primitive("multiply", np.multiply, x=lambda g, y: g * y, y=lambda g, x: g * x)

The keyword says which input the rule is for, and the rule's own parameter names say what must be remembered
until the backward pass: ``g`` is the cotangent (the derivative of the final number with respect to this result),
``out`` the result, ``x_shape`` the shape of input ``x`` without its values, and every other name an argument
of the forward function.

A function made of a row that is given plain arrays returns plain arrays at NumPy's speed; given values, it returns a
value of the same class and records. Rules are written with such functions and operators, so the same row serves arrays
(a first derivative) and values (a derivative that can be differentiated again).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, cast

import numpy as np

from tinygrad_cifar.engine.graph import VJP, Primitive, Value, defaults, make_node, parameters, unwrapped
from tinygrad_cifar.engine.modes import Mode, current
from tinygrad_cifar.engine.ownership import copy_arrays, isolate, require_float_result

# Operands that NumPy combines with an array as they are. Python numbers stay Python numbers: wrapped in an array,
# a plain 0.5 would turn a float32 network into float64.
_PLAIN = frozenset({float, int, bool, np.float64, np.float32, np.int64, np.bool_, np.float16, np.int32})

PRIMITIVES: dict[str, Primitive] = {}


def primitive(
    name: str,
    forward: Callable[..., Any],
    /,
    *,
    broadcasts: bool = False,
    by_product: str | None = None,
    **rules: Callable[..., Any],
) -> Callable[..., Any]:
    """Add a row to the derivative table and return the differentiable function.

    Parameters
    ----------
    name : str
        The operation's name, unique in the table.
    forward : callable
        The NumPy computation, called with arrays by position, which it cannot write to. What it returns must be of a
        floating type where its inputs are.
    broadcasts : bool
        Whether inputs are broadcast against each other (see :class:`Primitive`).
    by_product : str, optional
        The name of a second result that ``forward`` returns for the rules (see :class:`Primitive`); for primitives
        whose first argument alone has a rule.
    **rules : callable
        For each input that has a derivative, ``rule(g, ...)`` as the module's first lines explain; it cannot write to
        what it is given.

    Returns
    -------
    callable
        The function of arrays and values; its ``primitive`` attribute is the row.

    Raises
    ------
    ValueError
        If the name is taken by another module; a module that is run again replaces its own rows.
    TypeError
        If a rule names something that is no argument of ``forward``, the arguments of one of them have no names, or
        there is a by-product and more than one rule.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import Tensor, primitive
    >>> cube = primitive("cube", lambda x: x**3, x=lambda g, x: 3 * g * x**2)
    >>> t = Tensor([1.0, 2.0], requires_grad=True)
    >>> cube(t).sum().backward()
    >>> t.grad
    Tensor([ 3., 12.])
    """
    inputs = parameters(name, forward)
    if isinstance(forward, np.ufunc) and len(rules) == forward.nin and set(rules) != set(inputs):
        inputs = tuple(rules)
    if unknown := sorted(set(rules) - set(inputs)):
        raise TypeError(f"{name}: there is a rule for {unknown[0]}, but the inputs are {', '.join(inputs)}")
    if by_product is not None and tuple(rules) != inputs[:1]:
        raise TypeError(f"{name}: a by-product needs a rule for {inputs[0]} and for no other input")
    row = _enter(name, forward, broadcasts=broadcasts)
    row.inputs = inputs
    row.by_product = by_product
    positions = {"out": 0} | {input: i + 1 for i, input in enumerate(inputs)}
    if by_product is not None:
        positions[by_product] = len(inputs) + 1
    if not _is_ours(row.module):
        row.forward = isolate(require_float_result(forward) if rules else forward)
        rules = {input: isolate(rule) for input, rule in rules.items()}
    row.rules = {input: VJP(name, input, rules[input], positions) for input in inputs if input in rules}
    if tuple(rules) == inputs[:1]:
        apply = _unary(row)
    elif tuple(row.rules) == ("x", "y") == inputs and not defaults(forward):
        apply = _binary(row)
    else:
        apply = _general(row, [row.rules.get(input) for input in inputs])
    return _present(apply, row)


def variadic_primitive(name: str, forward: Callable[..., Any], rule: Callable[..., Any]) -> Callable[..., Any]:
    """Add a row whose first argument is a sequence of inputs, all with one rule.

    ``rule(g, i, ...)`` is the cotangent of input ``i``; ``xs`` names the sequence, ``xs_shape`` its shapes, and other
    names the remaining arguments of ``forward``.
    """
    row = _enter(name, forward, broadcasts=False)
    extra = parameters(name, forward)[1:]
    named = ("out", "i", "xs", *extra)
    shared = VJP(name, "xs", rule, {name: position for position, name in enumerate(named)})
    row.rules = {"xs": shared}

    def apply(xs: Sequence[Any], *arguments: Any) -> Any:
        kind = next((type(x) for x in xs if isinstance(x, Value)), None)
        if kind is None:
            return forward(xs, *arguments)
        arrays = tuple([x._array if isinstance(x, Value) else _plain(row, x) for x in xs])
        result = _compute(row, (arrays, *arguments))
        out = _new(kind)
        out._array = result
        parents = [(i, x._node) for i, x in enumerate(xs) if isinstance(x, Value) and x._node is not None]
        mode = current()
        if not parents or (mode is not None and not mode.recording):
            out._node = None
        else:
            out._node = make_node(row, result, edges_of(xs, parents, result, arrays, arguments))
        if mode is not None:
            _tell(mode, row, (*arrays, *arguments), out)
        return out

    def edges_of(xs: Any, parents: Any, result: Any, arrays: Any, arguments: Any) -> tuple[Any, ...]:
        if "xs" in shared.names:
            arrays = tuple([a if isinstance(x, Value) else copy_arrays(a) for a, x in zip(arrays, xs, strict=True)])
        known = dict(zip(named, (result, None, arrays, *map(copy_arrays, arguments)), strict=True))
        known["xs_shape"] = tuple([np.shape(array) for array in arrays])
        arguments_of = [tuple([(known | {"i": i})[name] for name in shared.names]) for i, _ in parents]
        return tuple([(node, shared, kept) for (_, node), kept in zip(parents, arguments_of, strict=True)])

    return _present(apply, row)


def _enter(name: str, forward: Callable[..., Any], *, broadcasts: bool) -> Primitive:
    # Where the row stands, so that pickle finds it again; a session that has no module is the main one.
    module = sys._getframe(2).f_globals.get("__name__", "__main__")
    # A cell or a module that is run again replaces its own rows. A graph holds its rows itself, not their names.
    if name in PRIMITIVES and (PRIMITIVES[name].module != module or _is_ours(module)):
        raise ValueError(f"a primitive named {name} exists already, in {PRIMITIVES[name].module}; choose another name")
    PRIMITIVES[name] = row = Primitive(name, forward, broadcasts=broadcasts, module=module)
    return row


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == __package__.partition(".")[0]


def _present(apply: Callable[..., Any], row: Primitive) -> Callable[..., Any]:
    """Let ``help`` show a function's name, and the arguments and words of its computation."""
    shown, forward = cast("Any", apply), unwrapped(row.forward)
    shown.__name__ = shown.__qualname__ = row.name
    shown.__module__ = row.module
    shown.__doc__ = f"Compute ``{row.name}``, a row of the derivative table."
    if isinstance(forward, FunctionType):
        shown.__doc__ = forward.__doc__ or shown.__doc__
        shown.__wrapped__ = forward
    elif isinstance(forward, np.ufunc) and row.inputs in _OF_UFUNCS:
        shown.__wrapped__ = _OF_UFUNCS[row.inputs]
    shown.primitive = row
    return apply


# What has the arguments of a ufunc's row, for ``help``; NumPy's own have other names.
_OF_UFUNCS: dict[tuple[str, ...], Callable[..., Any]] = {("x",): lambda x: x, ("x", "y"): lambda x, y: (x, y)}


# The three bodies below do the same thing: take the arrays out, compute, and record if anything is to be recorded.
# They differ only in how many inputs may be values: nearly every operation has one or two, and half a microsecond an
# operation is what separates this library from derivatives written by hand.

_new = object.__new__


def _unary(row: Primitive) -> Callable[..., Any]:
    forward = row.forward
    (rule,) = row.rules.values()
    pick = rule.pick
    keeps_arguments = not {"out", rule.input, f"{rule.input}_shape", row.by_product}.issuperset(rule.names)
    has_by_product = row.by_product is not None
    others = len(row.inputs) - 1
    ndarray, value, new = np.ndarray, Value, _new

    def apply(x: Any, *arguments: Any, **named: Any) -> Any:
        if named or len(arguments) != others:
            complete = _complete(row, (x, *arguments), named)
            x, arguments = complete[0], complete[1:]
        if not isinstance(x, value):
            if type(x) is list or type(x) is tuple:
                x = np.array(x)
            return forward(x, *arguments)[0] if has_by_product else forward(x, *arguments)
        array = x._array
        by_product = None
        try:
            result = forward(array, *arguments)
        except Exception as error:
            raise _explained(row, (array, *arguments), error) from error
        if type(result) is not ndarray:
            if has_by_product:
                result, by_product = result
            result = _as_array(row, result)
        out = new(type(x))
        out._array = result
        parent = x._node
        mode = current()
        if parent is None or (mode is not None and not mode.recording):
            out._node = None
        else:
            if keeps_arguments:
                arguments = tuple([copy_arrays(argument) for argument in arguments])
            edges = ((parent, rule, () if pick is None else pick((result, array, *arguments, by_product))),)
            out._node = make_node(row, result, edges)
        if mode is not None:
            _tell(mode, row, (array, *arguments), out)
        return out

    return apply


def _binary(row: Primitive) -> Callable[..., Any]:  # noqa: C901 (three cases of who is recorded, written out)
    forward = row.forward
    x_rule, y_rule = row.rules.values()
    x_pick, y_pick = x_rule.pick, y_rule.pick
    keeps_x, keeps_y = "x" in y_rule.names, "y" in x_rule.names
    ndarray, value, new = np.ndarray, Value, _new

    def apply(x: Any, y: Any) -> Any:  # noqa: PLR0912 (as above)
        x_node = y_node = None
        x_foreign = y_foreign = False
        if isinstance(x, value):
            kind = type(x)
            x_node, x = x._node, x._array
            if isinstance(y, value):
                y_node, y = y._node, y._array
            else:
                y_foreign = True
                if type(y) not in _PLAIN:
                    y = _plain(row, y)
        elif isinstance(y, value):
            kind = type(y)
            y_node, y = y._node, y._array
            x_foreign = True
            if type(x) not in _PLAIN:
                x = _plain(row, x)
        else:
            return forward(x, y)
        try:
            result = forward(x, y)
        except Exception as error:
            raise _explained(row, (x, y), error) from error
        if type(result) is not ndarray:
            result = _as_array(row, result)
        out = new(kind)
        out._array = result
        mode = current()
        if (x_node is None and y_node is None) or (mode is not None and not mode.recording):
            out._node = None
        else:
            if y_node is None:
                values = (result, x, copy_arrays(y) if y_foreign and keeps_y else y)
                edges: Any = ((x_node, x_rule, () if x_pick is None else x_pick(values)),)
            elif x_node is None:
                values = (result, copy_arrays(x) if x_foreign and keeps_x else x, y)
                edges = ((y_node, y_rule, () if y_pick is None else y_pick(values)),)
            else:
                values = (result, x, y)
                edges = (
                    (x_node, x_rule, () if x_pick is None else x_pick(values)),
                    (y_node, y_rule, () if y_pick is None else y_pick(values)),
                )
            out._node = make_node(row, result, edges)
        if mode is not None:
            _tell(mode, row, (x, y), out)
        return out

    return apply


def _general(row: Primitive, rules: Sequence[VJP | None]) -> Callable[..., Any]:
    forward = row.forward

    def apply(*arguments: Any, **named: Any) -> Any:
        if named or len(arguments) != len(rules):
            arguments = _complete(row, arguments, named)
        kind = next((type(argument) for argument in arguments if isinstance(argument, Value)), None)
        if kind is None:
            return forward(*arguments)
        arrays = []
        recorded = []
        for argument, rule in zip(arguments, rules, strict=True):
            if isinstance(argument, Value):
                arrays.append(argument._array)
                if rule is not None and argument._node is not None:
                    recorded.append((argument._node, rule))
            elif rule is None or type(argument) in _PLAIN:
                arrays.append(argument)
            else:
                arrays.append(_plain(row, argument))
        result = _compute(row, tuple(arrays))
        out = _new(kind)
        out._array = result
        mode = current()
        if not recorded or (mode is not None and not mode.recording):
            out._node = None
        else:
            values = (
                result,
                *[a if isinstance(b, Value) else copy_arrays(a) for a, b in zip(arrays, arguments, strict=True)],
            )
            edges = tuple([(node, rule, () if rule.pick is None else rule.pick(values)) for node, rule in recorded])
            out._node = make_node(row, result, edges)
        if mode is not None:
            _tell(mode, row, tuple(arrays), out)
        return out

    return apply


def _compute(row: Primitive, arguments: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    try:
        result = row.forward(*arguments)
    except Exception as error:
        raise _explained(row, arguments, error) from error
    return result if type(result) is np.ndarray else _as_array(row, result)


def _as_array(row: Primitive, result: Any) -> np.ndarray[Any, Any]:
    """Turn a NumPy scalar, for example, into an array, and refuse what has no numbers in it."""
    array = np.asarray(result)
    if array.dtype.kind not in "fiubc":
        raise TypeError(f"{row.name}: its computation returned {result!r:.40}, which is no array of numbers")
    return array


def _complete(row: Primitive, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
    """Return all arguments by position: rules pick them by their places, so none may be missing."""
    known = defaults(row.forward)
    given = dict(zip(row.inputs, arguments, strict=False))
    known |= given | named
    if len(arguments) > len(row.inputs) or set(known) != set(row.inputs) or set(given) & set(named):
        raise TypeError(f"{row.name}: takes the arguments {', '.join(row.inputs)}")
    return tuple(known[name] for name in row.inputs)


def _tell(mode: Mode, row: Primitive, arguments: tuple[Any, ...], out: Value) -> None:
    for watcher in mode.watchers:
        watcher.computed(row, arguments, out)


def _plain(row: Primitive, operand: Any) -> Any:
    """Turn what is no array into one, and refuse what has no real numbers in it."""
    array = np.asarray(operand)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{row.name}: cannot combine a tensor with a {type(operand).__name__} of {array.dtype}; give a tensor, or "
            "an array of real numbers"
        )
    return array


def _explained(row: Primitive, arguments: tuple[Any, ...], error: Exception) -> Exception:
    """Return the error again, naming the operation and what it was given; a user's own kind of error as it is."""
    kind = TypeError if isinstance(error, TypeError) else IndexError if isinstance(error, IndexError) else ValueError
    known = isinstance(error, (TypeError, ValueError, IndexError))
    if not known or type(error).__module__.partition(".")[0] not in ("builtins", "numpy"):
        return error
    given = ", ".join(_described(argument) for argument in arguments)
    return kind(f"{row.name}({given}): {error}")


def _described(argument: Any) -> str:
    if isinstance(argument, np.ndarray):
        return f"{argument.dtype} array of shape {argument.shape}"
    if isinstance(argument, (tuple, list)) and any(isinstance(part, np.ndarray) for part in argument):
        return "[" + ", ".join(_described(part) for part in argument) + "]"
    return repr(argument)
