"""Making primitives: the entries of the derivative table, as functions.

An entry is a name, a NumPy computation, and a vector-Jacobian product (VJP) for each differentiable input::

    multiply = primitive(
        "multiply", np.multiply, broadcasts=True, x=lambda g, y: g * y, y=lambda g, x: g * x
    )

The keyword names the input, and the parameters of the VJP declare the arrays that are saved until the backward pass:
``g`` is the cotangent of the result, ``out`` the result, ``x_shape`` the shape of the argument ``x`` without its
values, and any other name an argument of the computation.

The function that is returned computes with arrays at NumPy's speed, and records with values
(:mod:`~tinygrad_cifar.engine.application`). VJPs are written with such functions and with operators, so they serve
arrays (a first derivative) and values (a derivative that can be differentiated again) alike.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

import numpy as np

from tinygrad_cifar.engine import fast_paths
from tinygrad_cifar.engine.application import apply, bind_arguments
from tinygrad_cifar.engine.documentation import Doc, primitive_help
from tinygrad_cifar.engine.graph import Primitive
from tinygrad_cifar.engine.operations import BinaryOperation, Operation
from tinygrad_cifar.engine.ownership import explain_missing_aux, isolate, require_float_result, require_results
from tinygrad_cifar.engine.signatures import argument_defaults, argument_names, unwrap_function

PRIMITIVES: dict[str, Primitive] = {}


def primitive(
    name: str,
    forward: Callable[..., Any],
    /,
    *,
    broadcasts: bool = False,
    aux: str | None = None,
    kink: Callable[..., Any] | None = None,
    doc: Doc | None = None,
    **vjps: Callable[..., Any],
) -> Operation[...]:
    """Add an entry to the derivative table and return the differentiable function.

    Parameters
    ----------
    name : str
        The name of the operation, unique in the table.
    forward : callable
        The NumPy computation, called with arrays by position. It must not write to them. If its inputs are
        floating-point, its result must be, too.
    broadcasts : bool
        Whether inputs are broadcast against each other. If True, cotangents are summed to the shapes of the inputs; if
        False, each VJP must return the shape of its input. Default: False.
    aux : str, optional
        The name of a second result of ``forward``, which only the VJPs receive. It is not recorded: a VJP that is
        itself differentiated receives None instead, and must compute it from the arguments.
    kink : callable, optional
        Function of the arguments that returns which elements lie on a point without a derivative, for ``count_kinks``.
    doc : Doc, optional
        The operation in words and formulas, for ``help``.
    **vjps : callable
        For each differentiable input, ``vjp(g, ...)`` returns its cotangent, given the cotangent ``g`` of the result.
        The names of its other parameters declare what is saved for it: ``out`` is the result, ``x_shape`` the shape of
        the argument ``x``, and any other name an argument of ``forward``. It consists of operators and operations of
        this library, so that it can be differentiated again, and must not write to its arguments. An input without a
        VJP receives no gradient; without any VJP, the result is a constant.

    Returns
    -------
    callable
        The function of arrays and tensors; its attribute ``primitive`` is the entry.

    Raises
    ------
    ValueError
        If the name is used by another module; a module that is run again replaces its own primitives.
    TypeError
        If a VJP has a parameter that is not an argument of ``forward``, if arguments have no names, if a name has two
        meanings (an input named ``out`` that a VJP needs, or a differentiable one named ``kink``), or if there is an
        auxiliary output and no VJP.

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
    inputs = argument_names(name, forward)
    if isinstance(forward, np.ufunc) and len(vjps) == forward.nin and set(vjps) != set(inputs):
        inputs = tuple(vjps)
    if unknown := sorted(set(vjps) - set(inputs)):
        known = f"the inputs are {', '.join(inputs)}" if inputs else "no input has a name (write x, y instead of *xs)"
        raise TypeError(f"{name}: there is a VJP for {unknown[0]}, but {known}")
    columns: dict[str, Any] = {"broadcasts": broadcasts, "aux": aux, "kink": kink, "doc": doc}
    for column, given in columns.items():
        if callable(given) and (column in inputs or column != "kink"):
            raise TypeError(f"{name}: {column}= is an option of primitive, not the VJP of an input; rename the input")
    if aux is not None and not vjps:
        raise TypeError(f"{name}: an auxiliary output is for VJPs, but there is none")
    module = _calling_module()
    if not _is_ours(module):
        forward = isolate(require_results(require_float_result(forward) if vjps else forward, aux))
        vjps = {input: isolate(vjp) for input, vjp in vjps.items()}
        for input, vjp in vjps.items():
            if aux in (names := argument_names(name, vjp)):
                vjps = vjps | {input: explain_missing_aux(name, vjp, aux, names.index(aux))}
    op = Primitive(name, forward, vjps, inputs=inputs, module=module, **columns)
    if tuple(vjps) == inputs[:1]:
        function = fast_paths.one_input(op)
    elif tuple(op.vjps) == ("x", "y") == inputs and aux is None and not argument_defaults(forward):
        function = fast_paths.two_inputs(op)
    else:
        function = _general(op)
    return _register(op, function)


def variadic_primitive(
    name: str,
    forward: Callable[..., Any],
    vjp: Callable[..., Any],
    *,
    doc: Doc | None = None,
) -> Operation[...]:
    """Add an entry whose first argument is a sequence of inputs that share one VJP.

    ``vjp(g, i, ...)`` is the cotangent of input ``i``; ``xs`` is the tuple of all inputs, ``xs_shape`` that of their
    shapes, and other parameters are the remaining arguments of ``forward``.
    """
    inputs = argument_names(name, forward)
    if "i" not in argument_names(name, vjp):
        raise TypeError(f"{name}: the VJP of a variadic primitive must have the parameter i, the position of the input")
    op = Primitive(name, forward, {inputs[0]: vjp}, inputs=inputs, variadic=True, module=_calling_module(), doc=doc)
    return _register(op, _general(op))


def unary(name: str, forward: Callable[..., Any], /, *, doc: Doc, **columns: Any) -> Operation[[]]:
    """Add an element-wise entry of one input, x, as :func:`primitive` does, with a help text."""
    return _with_help(primitive(name, forward, broadcasts=True, doc=doc, **columns))


def binary(name: str, forward: Callable[..., Any], /, *, doc: Doc, **columns: Any) -> BinaryOperation:
    """Add an entry of two inputs, x and y, which broadcast, as :func:`primitive` does, with a help text."""
    return _with_help(primitive(name, forward, broadcasts=True, doc=doc, **columns))


def _with_help(function: Any) -> Any:
    function.__doc__ = primitive_help(function.primitive)
    return function


def _general(op: Primitive) -> Callable[..., Any]:
    """Return the function of a primitive in the general form."""

    def call(*arguments: Any, **named: Any) -> Any:
        if named or len(arguments) != len(op.inputs):
            arguments = bind_arguments(op, arguments, named)
        return apply(op, arguments)

    return call


def _calling_module() -> str:
    """Return the module in which a primitive is being made: the first on the stack that is not this one."""
    frame: Any = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals is globals():
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "__main__"))  # a session without a module is the main one


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == __name__.partition(".")[0]


def _register(op: Primitive, function: Callable[..., Any]) -> Operation[...]:
    """Add a primitive to the table, and give its function the name, signature and help text."""
    # A cell or a module that is run again replaces its own primitives. A graph refers to the objects, not to names.
    if op.name in PRIMITIVES and (PRIMITIVES[op.name].module != op.module or _is_ours(op.module)):
        raise ValueError(
            f"primitive: the name {op.name} is already used in {PRIMITIVES[op.name].module}; choose another name"
        )
    PRIMITIVES[op.name] = op
    shown, forward = cast("Any", function), unwrap_function(op.forward)
    shown.__name__ = shown.__qualname__ = op.name
    shown.__module__ = op.module
    shown.__doc__ = f"Compute ``{op.name}``, a primitive of the derivative table."
    if isinstance(forward, FunctionType):
        shown.__doc__ = forward.__doc__ or shown.__doc__
        shown.__wrapped__ = forward
    elif isinstance(forward, np.ufunc) and op.inputs in _SIGNATURES:
        shown.__wrapped__ = _SIGNATURES[op.inputs]
    shown.primitive = op
    shown.primitives = (op,)
    return cast("Operation[...]", function)


# Functions with the signatures of ufuncs, for ``help``: NumPy's own have other names.
_SIGNATURES: dict[tuple[str, ...], Callable[..., Any]] = {("x",): lambda x: x, ("x", "y"): lambda x, y: (x, y)}
