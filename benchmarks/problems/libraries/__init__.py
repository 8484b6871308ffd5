"""The problems' view of a library for automatic differentiation: its arrays, its derivatives, its loop.

A problem is written once, with the functions of NumPy that all libraries have (``library.np``), so that all compute the
same. How a library is asked for a derivative is in its own module, in the form that is fastest for it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from benchmarks.implementations import OURS

TORCH, JAX, AUTOGRAD = "PyTorch eager", "JAX jit", "HIPS autograd"
_MODULES = {OURS: "ours", TORCH: "torch_eager", JAX: "jax_jit", AUTOGRAD: "hips_autograd"}
NAMES = tuple(_MODULES)

Thunk = Callable[[], Any]


class Library(Protocol):
    """A library. Its arrays are of float64.

    Attributes
    ----------
    np
        The library's functions under the names of NumPy.
    """

    np: Any

    def use_threads(self, count: int) -> None:
        """Compute on so many threads from now on; does nothing where the environment decides."""

    def array(self, x: Any) -> Any:
        """Return a constant of the library."""

    def numpy(self, results: Any) -> Any:
        """Return results, which may be in tuples, as arrays of NumPy."""

    def sigmoid(self, x: Any) -> Any:
        """Return the logistic function of each element."""

    def logsumexp(self, x: Any, axis: int) -> Any:
        """Return the logarithm of the sum of the exponentials along an axis."""

    def fold(self, step: Callable[[Any, Any], Any], state: Any, inputs: Any) -> Any:
        """Return the state after ``state = step(state, input)`` for each row of the inputs."""

    def repeat(self, step: Callable[[Any], Any], state: Any, count: int) -> Any:
        """Return the state after ``state = step(state)``, ``count`` times."""

    def value(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        """Return a function that computes ``f(*xs)``."""

    def gradient(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        """Return a function that computes the gradients of a scalar with respect to all ``xs``, as a tuple."""

    def gradient_and_product(self, f: Callable[[Any], Any], x: Any, v: Any) -> Thunk:
        """Return a function that computes the gradient of a scalar, and the product of its Hessian with ``v``."""

    def jacobian_by_columns(self, f: Callable[[Any], Any], x: Any) -> Thunk:
        """Return a function that computes a Jacobian with more rows than columns."""

    def batched_jacobian(self, f: Callable[[Any], Any], x: Any) -> Thunk:
        """Return a function that computes the Jacobians of all examples, which are the rows of ``x`` and ``f(x)``."""

    def derivative(self, f: Callable[[Any], Any], nested: bool) -> Callable[[Any], Any]:
        """Return the gradient of a scalar as a function of the library's arrays.

        It can be differentiated again if ``nested``. It can also depend on other arrays that ``f`` uses.
        """

    def is_differentiated(self, x: Any) -> bool:
        """Return whether a derivative with respect to ``x`` is being computed."""


def load(name: str) -> Library:
    """Import a library and return it.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    library: Library = import_module(f"benchmarks.problems.libraries.{_MODULES[name]}").LIBRARY
    return library
