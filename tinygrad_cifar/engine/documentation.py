"""What an operation computes, in words and formulas, and the text that ``help`` makes of it.

Formulas are Python expressions in the names of the inputs and of NumPy's functions; the tests evaluate them and compare
the results with the operation and its VJPs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from tinygrad_cifar.engine.graph import Primitive

F = TypeVar("F", bound=Callable[..., Any])

_COTANGENT = re.compile(r"\bg\b")
_HAS_VARARGS = 0x04  # of a code object's flags


class Doc:
    """What an operation computes.

    Attributes
    ----------
    summary : str
        One sentence.
    formula : str
        The result, as a Python expression in the names of the inputs and of NumPy's functions; empty for a function
        that has only a name, such as the sine.
    derivatives : dict of str to str
        For each differentiable input: the derivative of an element-wise operation, an expression that may also contain
        the result ``out``; of other operations the VJP, an expression in the cotangent ``g``.
    note : str
        Anything else worth knowing: kinks, special points, accuracy.
    at : tuple of float
        The elements of the input in the example of an element-wise operation.
    example : str
        The example of any other operation: doctest lines.
    """

    __slots__ = ("at", "derivatives", "example", "formula", "note", "summary")

    def __init__(
        self,
        summary: str,
        formula: str = "",
        /,
        *,
        note: str = "",
        at: tuple[float, ...] = (0.25, 0.75),
        example: str = "",
        **derivatives: str,
    ) -> None:
        self.summary = summary
        self.formula = formula
        self.derivatives = derivatives
        self.note = note
        self.at = at
        self.example = example


def is_elementwise(doc: Doc) -> bool:
    """Return whether the derivatives are factors of the cotangent, and not expressions that contain it."""
    return not any(_COTANGENT.search(text) for text in doc.derivatives.values())


def describe(doc: Doc) -> list[str]:
    """Return the paragraphs of a help text that follow the summary: formula, derivatives, note."""
    paragraphs = []
    if doc.formula:
        paragraphs.append(f"Formula: ``out = {doc.formula}``.")
    if doc.derivatives:
        what = "Derivative" if is_elementwise(doc) else "VJP, for the cotangent ``g`` of ``out``,"
        parts = [f"with respect to {x}: ``{text}``" for x, text in doc.derivatives.items()]
        paragraphs.append(f"{what} {'; '.join(parts)}.")
    if doc.note:
        paragraphs.append(doc.note)
    return paragraphs


_HELP = """\
{summary}

{paragraphs}

Parameters
----------
{inputs} : Tensor or array_like
    Real numbers, of {shapes}; float32 stays float32.

Returns
-------
Tensor or numpy.ndarray
    A tensor if an input is one, and an array otherwise.

Examples
--------
>>> import tinygrad_cifar as tg
{example}
"""


def primitive_help(op: Primitive) -> str:
    """Return the help text of a primitive that users call directly."""
    doc: Doc = op.doc
    return _HELP.format(
        summary=doc.summary,
        paragraphs="\n\n".join(describe(doc)),
        inputs=", ".join(op.inputs),
        shapes="any shape" if len(op.inputs) == 1 else "shapes that broadcast",
        example=doc.example or _elementwise_example(op),
    )


def _elementwise_example(op: Primitive) -> str:
    x, others = list(op.doc.at), [2.0] * (len(op.inputs) - 1)
    result = op.forward(np.array(x), *others).round(4).tolist()
    return f">>> tg.{op.name}({', '.join(map(str, [f'tg.Tensor({x})', *others]))}).numpy().round(4).tolist()\n{result}"


_INPUT = ("Tensor or array_like", "Real numbers; float32 stays float32.")
_PARAMETERS = {
    "append": ("Tensor or array_like", "Elements to join to the end first; None for none."),
    "approximate": ("str", '"none" or "tanh".'),
    "arrays": ("nested lists of Tensor or array_like", "Blocks."),
    "axes": ("sequence of int", "Axes."),
    "axis": ("int or sequence of int", "Axis or axes; negative ones count from the end. None stands for all."),
    "axis1": ("int", "First axis."),
    "axis2": ("int", "Second axis."),
    "bias": ("bool", "If True, the default of ``ddof`` is 0."),
    "choices": ("sequence of Tensor or array_like", "One result for each condition."),
    "condition": ("array_like of bool", "Condition, which broadcasts."),
    "conditions": ("sequence of array_like of bool", "Conditions, the first of which that holds decides."),
    "constant_values": ("float", "Value of new elements."),
    "ddof": ("int", "Number subtracted from n in the divisor."),
    "decimals": ("int", "Number of decimal places; negative ones count before the point."),
    "default": ("Tensor or array_like", "Result where no condition holds."),
    "destination": ("int or sequence of int", "New positions of these axes."),
    "dilation": ("int or (int, int)", "Distance of neighbouring elements of a window."),
    "dtype": ("data-type", "New type."),
    "dx": ("float", "Distance of the samples, if ``x`` is None."),
    "endpoint": ("bool", "If True, ``stop`` is the last number."),
    "epsilon": ("float", "Term that prevents division by 0."),
    "filters": ("Tensor or array_like", "Filters, of shape (height, width, channels / groups, filters)."),
    "fp": ("Tensor or array_like", "Values at ``xp``."),
    "groups": ("int", "Number of groups of channels."),
    "increasing": ("bool", "If True, the powers increase from column to column."),
    "index": ("int, slice, None, Ellipsis, array_like, or tuple of these", "Index, as in ``x[index]``."),
    "indexing": ("str", "Order of the first two axes."),
    "indices": ("array_like of int", "Positions."),
    "indices_or_sections": ("int or sequence of int", "Number of parts, or the positions where parts begin."),
    "k": ("int", "Number of the diagonal above the main one, or of quarter turns."),
    "keepdims": ("bool", "If True, the reduced axes are kept with size 1."),
    "left": ("Tensor or array_like", "Result below the first point; None for its value."),
    "max": ("array_like", "Upper bound; None for none."),
    "min": ("array_like", "Lower bound; None for none."),
    "mode": ("str", "What is computed at or beyond the ends, as described above."),
    "n": ("int", "How many times."),
    "N": ("int", "Number of columns."),
    "nan": ("float", "Value for NaN."),
    "neginf": ("float", "Value for -inf."),
    "num": ("int", "How many numbers."),
    "obj": ("int, slice or array_like of int", "Positions."),
    "offset": ("int", "Number of the diagonal above the main one."),
    "ord": ("float or str", "Order of the norm."),
    "p": ("Tensor or array_like", "Coefficients."),
    "pad_width": ("int or sequence of pairs of int", "Elements to add before and after, for each axis."),
    "padding": ("str, int or sequence of int", "Zeros around the images, as described above."),
    "posinf": ("float", "Value for inf."),
    "prepend": ("Tensor or array_like", "Elements to join to the start first; None for none."),
    "q": ("float or array_like of float", "Fractions of the elements, or percentages."),
    "repeats": ("int or sequence of int", "How often, for all or for each."),
    "reps": ("int or sequence of int", "How often, along each axis."),
    "right": ("Tensor or array_like", "Result above the last point; None for its value."),
    "rowvar": ("bool", "If False, the variables are columns."),
    "scale": ("Tensor or array_like", "Factors, one per channel."),
    "shape": ("int or sequence of int", "New shape."),
    "shift": ("int or sequence of int", "Number of positions, for each axis."),
    "source": ("int or sequence of int", "Axes to move."),
    "spacing": ("float", "Distance of the samples."),
    "start": ("Tensor, array_like or int", "Start."),
    "stop": ("Tensor or array_like", "End."),
    "stride": ("int or (int, int)", "Distance of neighbouring windows."),
    "subscripts": ("str", "Labels of the axes of the operands and of the result."),
    "to_begin": ("Tensor or array_like", "Elements to join to the start; None for none."),
    "to_end": ("Tensor or array_like", "Elements to join to the end; None for none."),
    "value": ("Tensor or array_like", "Value, which broadcasts."),
    "values": ("Tensor or array_like", "Elements to join to the end."),
    "weights": ("Tensor or array_like", "Weights of the elements; None for equal ones."),
    "x": _INPUT,
    "window": ("int or (int, int)", "Height and width of a window."),
    "xp": ("Tensor or array_like", "Increasing positions."),
    "xs": ("sequence of Tensor or array_like", "Real numbers."),
    "y": _INPUT,
}
# Of functions whose parameter means something else than in the others.
_OF_FUNCTIONS = {
    ("avg_pool2d", "padding"): ("str, int or sequence of int", "Zeros around the images, as in :func:`conv2d`."),
    ("batch_norm", "bias"): ("Tensor or array_like", "One number per channel, added after the scale."),
    ("max_pool2d", "padding"): ("str, int or sequence of int", "Elements around the images, which are never maxima."),
}
_RETURNS = ("Tensor or numpy.ndarray", "    A tensor if an input is one, and an array otherwise.")
_RETURNS_LIST = ("list of Tensor or numpy.ndarray", "    Tensors if an input is one, and arrays otherwise.")
_SECTION = re.compile(r"^ *(Parameters|Returns|Raises|Examples)\n *-", re.MULTILINE)


def documented(*parts: Any, doc: Doc | None = None) -> Callable[[F], F]:
    """Tell a function which operations or primitives it is composed of, and complete its docstring.

    The docstring receives the formula, the derivatives and, unless it has them, sections on parameters and result.

    Parameters
    ----------
    *parts : callable
        Operations (or functions made by ``primitive``) that it calls.
    doc : Doc, optional
        Formula and derivatives. Default: those of the primitive, if there is only one.
    """

    def decorate(function: F) -> F:
        shown = cast("Any", function)
        shown.primitives = tuple(dict.fromkeys(op for part in parts for op in part.primitives))
        if len(shown.primitives) == 1:
            shown.primitive = shown.primitives[0]
        shown.doc = doc if doc is not None or len(shown.primitives) != 1 else shown.primitive.doc
        names = ", ".join(f"``{op.name}``" for op in shown.primitives)
        paragraphs = describe(shown.doc) if shown.doc is not None else []
        paragraphs.append(f"Primitive{'s' * (len(shown.primitives) != 1)}: {names}.")
        text = function.__doc__ or ""
        first = _SECTION.search(text)
        about, sections = (text[: first.start()], text[first.start() :]) if first else (text, "")
        if first is None or first[1] not in ("Parameters", "Returns"):
            sections = "\n".join([*_signature_sections(shown), "", sections])
        shown.__doc__ = about.rstrip() + "\n\n    " + "\n\n    ".join(paragraphs) + "\n\n" + sections.lstrip("\n")
        return function

    return decorate


def _signature_sections(function: Any) -> list[str]:
    """Return the lines of the sections on parameters and result."""
    code, defaults = function.__code__, function.__defaults__ or ()
    count, named = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    variadic = code.co_varnames[named : named + bool(code.co_flags & _HAS_VARARGS)]
    positional = code.co_varnames[:count]
    default_of = dict(zip(positional[count - len(defaults) :], defaults, strict=True)) | (function.__kwdefaults__ or {})
    lines = ["Parameters", "----------"]
    for name in (*positional, *variadic, *code.co_varnames[count:named]):
        star = "*" if name in variadic else ""
        own = _OF_FUNCTIONS.get((function.__name__, name), _PARAMETERS[name])
        kind, meaning = _INPUT if star and name == "xs" else own
        default = f" Default: {default_of[name]}." if name in default_of else ""
        lines += [f"{star}{name} : {kind}", f"    {meaning}{default}"]
    is_list = str(function.__annotations__.get("return", "")).startswith(("list", "tuple"))
    lines += ["", "Returns", "-------", *(_RETURNS_LIST if is_list else _RETURNS)]
    return [f"    {line}".rstrip() for line in lines]
