"""What the elementary functions of the table are, in words and in formulas, for ``help`` and the reference.

The table says how a function and its derivatives are computed, this page says what they are. Formulas are Python in the
names of the inputs and of NumPy's functions, and ``out`` for the result: the tests evaluate them beside the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tinygrad_cifar.engine.ops.kinks import KINKS

_REST = """

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
>>> tg.{name}({at})
{gives}
"""


class Description(NamedTuple):
    """A function in words.

    Attributes
    ----------
    does : str
        What it does, in a sentence.
    formula : str
        The same as an expression; empty for a function that has a name only.
    derivatives : mapping
        For each input, the derivative with respect to it, as an expression.
    at, gives : str
        An example: arguments, and what is printed.
    note : str
        What else there is to know.
    """

    does: str
    formula: str
    derivatives: Mapping[str, str]
    at: str
    gives: str
    note: str = ""

    def text(self, name: str) -> str:
        """Return the function's docstring."""
        inputs = tuple(self.derivatives) or ("x",)
        call, shapes = f"{name}({', '.join(inputs)})", "any shape" if len(inputs) == 1 else "shapes that broadcast"
        formula = f"``{call} = {self.formula}``, element by element." if self.formula else "Element by element."
        paragraphs = [self.does, formula, self._slopes(name), self.note]
        return "\n\n".join(filter(None, paragraphs)) + _REST.format(
            name=name, inputs=", ".join(inputs), shapes=shapes, at=self.at, gives=self.gives
        )

    def _slopes(self, name: str) -> str:
        if not self.derivatives:
            return ""
        if len(self.derivatives) == 1:
            (slopes,) = (f"The derivative is ``{slope}``" for slope in self.derivatives.values())
        else:
            each = (f"``{slope}`` with respect to {x}" for x, slope in self.derivatives.items())
            slopes = f"The derivative is {', and '.join(each)}"
        return f"{slopes}; at the kink, {KINKS[name].convention}." if name in KINKS else f"{slopes}."


DESCRIPTIONS = {
    "add": Description("Add.", "x + y", {"x": "1", "y": "1"}, "tg.Tensor([1.0, 2.0]), 10", "Tensor([11., 12.])"),
    "subtract": Description(
        "Subtract.", "x - y", {"x": "1", "y": "-1"}, "tg.Tensor([1.0, 2.0]), 10", "Tensor([-9., -8.])"
    ),
    "multiply": Description(
        "Multiply.", "x * y", {"x": "y", "y": "x"}, "tg.Tensor([1.0, 2.0]), 10", "Tensor([10., 20.])"
    ),
    "divide": Description(
        "Divide.", "x / y", {"x": "1 / y", "y": "-x / y**2"}, "tg.Tensor([1.0, 2.0]), 10", "Tensor([0.1, 0.2])"
    ),
    "negative": Description("Change the sign.", "-x", {"x": "-1"}, "tg.Tensor([1.0, -2.0])", "Tensor([-1.,  2.])"),
    "square": Description("Square.", "x**2", {"x": "2 * x"}, "tg.Tensor([1.0, -2.0])", "Tensor([1., 4.])"),
    "sqrt": Description(
        "Take the square root.",
        "x**0.5",
        {"x": "0.5 / out"},
        "tg.Tensor([1.0, 4.0])",
        "Tensor([1., 2.])",
        "At 0 the derivative is infinite: add a small number under the root, or use ``norm``, where a root of a sum "
        "of squares may be 0.",
    ),
    "power": Description(
        "Raise to a power.",
        "x**y",
        {"x": "y * x**(y - 1)", "y": "out * log(x)"},
        "tg.Tensor([1.0, 2.0]), 3",
        "Tensor([1., 8.])",
        "Where y is 0 the first is 0, and where x is 0 the second, which their formulas leave open. Of a negative x "
        "the second is NaN.",
    ),
    "exp": Description(
        "Raise e to the power of each element.",
        "e**x",
        {"x": "out"},
        "tg.Tensor([0.0, 1.0])",
        "Tensor([1.        , 2.71828183])",
    ),
    "expm1": Description(
        "Take ``exp(x) - 1``, with all digits also where x is small.",
        "exp(x) - 1",
        {"x": "exp(x)"},
        "tg.Tensor([0.0, 1e-10])",
        "Tensor([0.e+00, 1.e-10])",
    ),
    "log": Description(
        "Take the natural logarithm.", "", {"x": "1 / x"}, "tg.Tensor([1.0, 10.0])", "Tensor([0.        , 2.30258509])"
    ),
    "log1p": Description(
        "Take ``log(1 + x)``, with all digits also where x is small.",
        "log(1 + x)",
        {"x": "1 / (1 + x)"},
        "tg.Tensor([0.0, 1e-10])",
        "Tensor([0.e+00, 1.e-10])",
    ),
    "sin": Description(
        "Take the sine of angles in radians.",
        "",
        {"x": "cos(x)"},
        "tg.Tensor([0.0, 1.0])",
        "Tensor([0.        , 0.84147098])",
    ),
    "cos": Description(
        "Take the cosine of angles in radians.",
        "",
        {"x": "-sin(x)"},
        "tg.Tensor([0.0, 1.0])",
        "Tensor([1.        , 0.54030231])",
    ),
    "tan": Description(
        "Take the tangent of angles in radians.",
        "sin(x) / cos(x)",
        {"x": "1 + out**2"},
        "tg.Tensor([0.0, 1.0])",
        "Tensor([0.        , 1.55740772])",
    ),
    "arctan": Description(
        "Take the angle, in radians from -pi / 2 to pi / 2, whose tangent each element is.",
        "",
        {"x": "1 / (1 + x**2)"},
        "tg.Tensor([0.0, 1.0])",
        "Tensor([0.        , 0.78539816])",
    ),
    "sinh": Description(
        "Take the hyperbolic sine.",
        "(exp(x) - exp(-x)) / 2",
        {"x": "cosh(x)"},
        "tg.Tensor([0.0, 1.0])",
        "Tensor([0.        , 1.17520119])",
    ),
    "cosh": Description(
        "Take the hyperbolic cosine.",
        "(exp(x) + exp(-x)) / 2",
        {"x": "sinh(x)"},
        "tg.Tensor([0.0, 1.0])",
        "Tensor([1.        , 1.54308063])",
    ),
    "tanh": Description(
        "Take the hyperbolic tangent.",
        "sinh(x) / cosh(x)",
        {"x": "1 / cosh(x)**2"},
        "tg.Tensor([0.0, 1.0])",
        "Tensor([0.        , 0.76159416])",
        "The derivative is computed as it is written, since ``1 - out**2`` has lost all its digits from x = 20 on.",
    ),
    "sigmoid": Description(
        "Squash each element into 0 to 1: the logistic function.",
        "1 / (1 + exp(-x))",
        {"x": "out * (1 - out)"},
        "tg.Tensor([0.0, 1000.0])",
        "Tensor([0.5, 1. ])",
        "Neither overflows, for an x of any size.",
    ),
    "softplus": Description(
        "Take the smooth version of ``relu``, whose derivative is the logistic function.",
        "log(1 + exp(x))",
        {"x": "1 / (1 + exp(-x))"},
        "tg.Tensor([0.0, 1000.0])",
        "Tensor([6.93147181e-01, 1.00000000e+03])",
        "Neither overflows, for an x of any size.",
    ),
    "sign": Description(
        "Take 1 of positive numbers, -1 of negative ones, and 0 of 0.",
        "where(x > 0, 1, where(x < 0, -1, 0))",
        {},
        "tg.Tensor([-5.0, 0.0, 5.0])",
        "Tensor([-1.,  0.,  1.])",
        "The derivative is 0 everywhere, also at the jump: nothing is recorded.",
    ),
    "absolute": Description(
        "Take the absolute value.",
        "where(x < 0, -x, x)",
        {"x": "sign(x)"},
        "tg.Tensor([1.0, -2.0])",
        "Tensor([1., 2.])",
    ),
    "relu": Description(
        "Replace negative numbers by 0.", "maximum(x, 0)", {"x": "x > 0"}, "tg.Tensor([-1.0, 2.0])", "Tensor([0., 2.])"
    ),
    "maximum": Description(
        "Take the larger of two.",
        "where(x > y, x, y)",
        {"x": "(x > y) + 0.5 * (x == y)", "y": "(y > x) + 0.5 * (x == y)"},
        "tg.Tensor([1.0, 5.0]), 3",
        "Tensor([3., 5.])",
    ),
    "minimum": Description(
        "Take the smaller of two.",
        "where(x < y, x, y)",
        {"x": "(x < y) + 0.5 * (x == y)", "y": "(y < x) + 0.5 * (x == y)"},
        "tg.Tensor([1.0, 5.0]), 3",
        "Tensor([1., 3.])",
    ),
}

MATMUL = """Multiply matrices, as ``numpy.matmul`` does.

``out[..., i, j] = sum_k x[..., i, k] * y[..., k, j]``. Leading axes broadcast; a vector is a row on the left and a
column on the right. With a cotangent g, x gets ``g @ y.mT`` and y gets ``x.mT @ g``.

Parameters
----------
x, y : Tensor or array_like
    Real numbers, of at least one dimension; float32 stays float32.

Returns
-------
Tensor or numpy.ndarray
    A tensor if an input is one, and an array otherwise.

Raises
------
ValueError
    If the shapes do not fit.

Examples
--------
>>> import tinygrad_cifar as tg
>>> tg.matmul(tg.Tensor([[1.0, 2.0]]), tg.Tensor([[3.0], [4.0]]))
Tensor([[11.]])
"""


def describe(functions: Mapping[str, Any]) -> None:
    """Give the functions of the table, by their names, the docstrings that their rows have no place for."""
    for name, description in DESCRIPTIONS.items():
        functions[name].__doc__ = description.text(name)
    functions["matmul"].__doc__ = MATMUL
