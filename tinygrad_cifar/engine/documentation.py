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


def documented(*parts: Any, doc: Doc | None = None) -> Callable[[F], F]:
    """Tell a function which operations or primitives it is composed of, and complete its docstring.

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
        summary, _, rest = (function.__doc__ or "").partition("\n\n")
        names = ", ".join(f"``{op.name}``" for op in shown.primitives)
        made_of = f"Primitive{'s' * (len(shown.primitives) != 1)}: {names}."
        paragraphs = describe(shown.doc) if shown.doc is not None else []
        shown.__doc__ = "\n\n    ".join([summary, *paragraphs, made_of]) + "\n\n" + rest
        return function

    return decorate
