"""The view that problems and models have of a library for automatic differentiation: arrays, derivatives, loops.

A problem or a model is written once, with the functions of NumPy that all libraries have (``library.np``), so that all
compute the same. How a library is asked for a derivative is in its own module, in the form that is fastest for it, and
so are the building blocks of networks (softmax, losses, normalisation), which most libraries provide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from benchmarks.implementations import OURS, TORCH
from benchmarks.options import Options

JAX, AUTOGRAD = "JAX jit", "HIPS autograd"
_MODULES = {OURS: "ours", TORCH: "torch_eager", JAX: "jax_jit", AUTOGRAD: "hips_autograd"}
NAMES = tuple(_MODULES)

Thunk = Callable[[], Any]


def floats(x: Any) -> np.ndarray:
    """Return an array of NumPy of the same floating-point type; other numbers become float64."""
    array = np.asarray(x)
    return array if array.dtype.kind == "f" else array.astype(float)


class Library(Protocol):
    """A library.

    Attributes
    ----------
    np
        The library's functions under the names of NumPy.
    """

    np: Any

    def use_threads(self, count: int) -> None:
        """Compute on so many threads from now on; does nothing where the environment decides."""

    def array(self, x: Any) -> Any:
        """Return a constant of the library, of the same floating-point type; other numbers become float64."""

    def indices(self, x: Any) -> Any:
        """Return an array of integers in the form in which the library takes indices and labels."""

    def numpy(self, results: Any) -> Any:
        """Return results, which may be in tuples, as arrays of NumPy."""

    def sigmoid(self, x: Any) -> Any:
        """Return the logistic function of each element."""

    def logsumexp(self, x: Any, axis: int) -> Any:
        """Return the logarithm of the sum of the exponentials along an axis."""

    def relu(self, x: Any) -> Any:
        """Return each element that is positive, and 0 for the others."""

    def gelu(self, x: Any) -> Any:
        """Return the Gaussian error linear unit of each element, in its approximation by tanh."""

    def softmax(self, x: Any) -> Any:
        """Return the softmax along the last axis."""

    def cross_entropy(self, scores: Any, labels: Any) -> Any:
        """Return the mean of the softmax cross-entropy of the rows of a matrix of scores."""

    def embedding(self, weights: Any, indices: Any) -> Any:
        """Return the rows of a matrix of which ``indices`` are the numbers."""

    def layer_norm(self, x: Any, scale: Any, bias: Any) -> Any:
        """Return ``x``, normalised along the last axis, scaled and shifted."""

    def batch_norm(self, x: Any, scale: Any, bias: Any) -> Any:
        """Return images, channels last, with each channel normalised over all images and places, scaled and shifted."""

    def max_pool(self, x: Any) -> Any:
        """Return the maxima of windows of 2 x 2 of images, channels last."""

    def fold(self, step: Callable[[Any, Any], Any], state: Any, inputs: Any) -> Any:
        """Return the state after ``state = step(state, input)`` for each row of an array, or of a tuple of arrays."""

    def scan(self, step: Callable[[Any, Any], tuple[Any, Any]], state: Any, inputs: Any) -> tuple[Any, Any]:
        """Return the state after ``state, output = step(state, input)`` for each row, and the stacked outputs."""

    def repeat(self, step: Callable[[Any], Any], state: Any, count: int) -> Any:
        """Return the state after ``state = step(state)``, ``count`` times."""

    def value(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        """Return a function that computes ``f(*xs)``."""

    def gradient(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        """Return a function that computes the gradients of a scalar with respect to all ``xs``, as a tuple."""

    def value_and_gradients(self, f: Callable[..., Any], *xs: Any) -> Thunk:
        """Return a function that computes a scalar, and its gradients with respect to all ``xs`` as a tuple."""

    def value_and_nested_gradients(self, f: Callable[..., Any], *xs: Any) -> tuple[Any, tuple[Any, ...]]:
        """Return a scalar and its gradients with respect to arrays of the library, to be differentiated again."""

    def hessian_product(self, f: Callable[..., Any], xs: Sequence[Any], vs: Sequence[Any]) -> Thunk:
        """Return a function that computes the product of the Hessian of a scalar with ``vs``, as a tuple."""

    def training_step(
        self, cost: Callable[..., Any], parameters: Sequence[Any], data: Sequence[Any], rate: float
    ) -> Callable[[Any], tuple[Any, Sequence[Any]]]:
        """Return a function of the indices of a batch that makes a step of gradient descent, as a user writes it.

        It gathers the rows of the data, takes the gradients of ``cost(*parameters, *rows)``, subtracts ``rate`` times
        the gradients, and returns the cost and the new parameters.
        """

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
    library: Library = import_module(f"benchmarks.libraries.{_MODULES[name]}").LIBRARY
    return library


def installed(options: Options) -> tuple[dict[str, Library], list[str]]:
    """Return the libraries that are installed and not left out, and the names of those that are not installed."""
    found, missing = {}, []
    for name in NAMES:
        if name not in options.without:
            try:
                found[name] = load(name)
                found[name].use_threads(options.threads)
            except ImportError:
                missing.append(name)
    return found, missing
