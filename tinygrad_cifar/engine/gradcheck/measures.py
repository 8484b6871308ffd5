"""The measures by which the reports compare two gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinygrad_cifar.engine.graph import Array, refuse_masked_array, unwrap_value


def relative_errors(analytic: Any, numerical: Any, eps: float = 1e-5) -> Array:
    """Compare two gradients element by element, as report 002 does.

    ``|ga - gn| / max(eps, |ga| + |gn|)``: 0 where they agree, 1 where their signs differ or one is 0, and small
    where both are smaller than ``eps``.

    Parameters
    ----------
    analytic, numerical : array_like or Tensor
        Two gradients of one shape.
    eps : float
        Absolute value below which a gradient counts as zero. Default: 1e-5.

    Returns
    -------
    numpy.ndarray
        The errors, float64, of the shape of the gradients.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> from tinygrad_cifar.engine.gradcheck import relative_errors
    >>> print(relative_errors([1.0, 3.0, 0.0], [1.0, 1.0, 1e-9]).round(4))
    [0.e+00 5.e-01 1.e-04]
    """
    ga, gn = _pair("relative_errors", analytic, numerical)
    with np.errstate(invalid="ignore"):  # the error of an infinite gradient is NaN
        errors: Array = np.abs(ga - gn) / np.maximum(eps, np.abs(ga) + np.abs(gn))
    return errors


def relative_error(analytic: Any, numerical: Any, eps: float = 1e-5) -> float:
    """Compare two gradients by one number, as report 003 does.

    ``sum |ga - gn| / sum max(eps, |ga| + |gn|)``, the sums over all elements.

    Parameters
    ----------
    analytic, numerical : array_like or Tensor
        Two gradients of one shape.
    eps : float
        Absolute value below which an element counts as zero, as in :func:`relative_errors`. It must be larger than the
        rounding errors of the differences (about 1e-10), since a gradient that is 0, such as that of a bias before a
        batch normalisation, consists of them. Report 003 has 1e-12. Default: 1e-5.

    Returns
    -------
    float
        The error, between 0 and 1; 0 for gradients without elements.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> from tinygrad_cifar.engine.gradcheck import relative_error
    >>> relative_error([1.0, 2.0], [1.0, 1.0])
    0.2
    >>> relative_error([0.0, 0.0], [4e-11, -2e-11]) < 1e-5
    True
    """
    ga, gn = _pair("relative_error", analytic, numerical)
    if not ga.size:
        return 0.0
    return float(np.sum(np.abs(ga - gn)) / np.sum(np.maximum(eps, np.abs(ga) + np.abs(gn))))


class MagnitudeSummary(NamedTuple):
    """The four measures of report 004; the last three are pairs (analytic, numerical) of absolute values."""

    sum_of_differences: float
    mean: tuple[float, float]
    min: tuple[float, float]
    max: tuple[float, float]

    def __str__(self) -> str:
        lines = [f"sum of absolute differences: {self.sum_of_differences:.3e}"]
        for name in ("mean", "min", "max"):
            analytic, numerical = getattr(self, name)
            lines.append(f"{name} of absolute values: analytic {analytic:.3e}, numerical {numerical:.3e}")
        return "\n".join(lines)


def summary(analytic: Any, numerical: Any) -> MagnitudeSummary:
    """Compare two gradients by the four measures of report 004.

    Parameters
    ----------
    analytic, numerical : array_like or Tensor
        Two gradients of one shape, with at least one element.

    Returns
    -------
    MagnitudeSummary
        The sum of absolute differences, and the mean, smallest and largest absolute value of both.

    Raises
    ------
    ValueError
        If the shapes differ or there are no elements.

    Examples
    --------
    >>> from tinygrad_cifar.engine.gradcheck import summary
    >>> print(summary([1.0, -3.0], [1.0, -2.5]))
    sum of absolute differences: 5.000e-01
    mean of absolute values: analytic 2.000e+00, numerical 1.750e+00
    min of absolute values: analytic 1.000e+00, numerical 1.000e+00
    max of absolute values: analytic 3.000e+00, numerical 2.500e+00
    """
    ga, gn = _pair("summary", analytic, numerical)
    if not ga.size:
        raise ValueError(f"summary: the gradients have no elements; their shape is {ga.shape}")
    sizes = np.abs(ga), np.abs(gn)
    mean, least, most = ([float(measure(size)) for size in sizes] for measure in (np.mean, np.min, np.max))
    return MagnitudeSummary(
        float(np.sum(np.abs(ga - gn))), (mean[0], mean[1]), (least[0], least[1]), (most[0], most[1])
    )


def _pair(name: str, analytic: Any, numerical: Any) -> tuple[Array, Array]:
    for which, gradient in (("first", analytic), ("second", numerical)):
        if gradient is None:
            raise ValueError(f"{name}: the {which} gradient is None; call backward() before")
        refuse_masked_array(name, gradient)
        if np.iscomplexobj(unwrap_value(gradient)):
            raise TypeError(f"{name}: the {which} gradient is complex; compare real and imaginary parts one by one")
    ga, gn = (np.asarray(unwrap_value(g), dtype=np.float64) for g in (analytic, numerical))
    if ga.shape != gn.shape:
        raise ValueError(f"{name}: the gradients have shapes {ga.shape} and {gn.shape}; they must be equal")
    return ga, gn
