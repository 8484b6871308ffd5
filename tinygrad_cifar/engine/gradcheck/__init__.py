"""Numerical gradients, and comparisons of derivatives with them.

**A derivative is trusted only if an independent computation agrees.** Differences of function values
(:func:`numerical_gradient`) and the complex step (:func:`complex_step`) need only the function;
:func:`extrapolated_gradient` combines differences of several steps and estimates the error that is left.
:func:`check_gradients` compares the backward pass of a function with such estimates, and :func:`check_model` the
gradient of a model's loss with respect to each parameter.

Everything here works in float64. The centred difference loses a third of the digits: that leaves ten of the sixteen of
float64, but four of the seven of float32, too few to tell a wrong gradient from a rounded one. Inputs of another
floating-point type are refused. Integers and booleans (labels, indices, masks) are passed on as read-only arrays.
"""

from tinygrad_cifar.engine.gradcheck.differences import complex_step, numerical_gradient
from tinygrad_cifar.engine.gradcheck.extrapolation import ExtrapolatedGradient, extrapolated_gradient
from tinygrad_cifar.engine.gradcheck.functions import GradientError, check_gradients
from tinygrad_cifar.engine.gradcheck.measures import MagnitudeSummary, relative_error, relative_errors, summary
from tinygrad_cifar.engine.gradcheck.models import ModelCheck, ParameterCheck, check_model

__all__ = [
    "ExtrapolatedGradient",
    "GradientError",
    "MagnitudeSummary",
    "ModelCheck",
    "ParameterCheck",
    "check_gradients",
    "check_model",
    "complex_step",
    "extrapolated_gradient",
    "numerical_gradient",
    "relative_error",
    "relative_errors",
    "summary",
]
