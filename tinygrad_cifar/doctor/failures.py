"""Why a gradient function could not be called in any layout: which of the errors is reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinygrad_cifar.doctor.calls import DiagnosisError


class UnknownParameterError(DiagnosisError):
    """A parameter of the function has no meaning in a network."""


class ResultError(DiagnosisError):
    """The function has returned something else than the gradients."""


@dataclass(frozen=True)
class Failure:
    """A way to call a function that has failed.

    Attributes
    ----------
    network : str
        Title of the network.
    images : str
        ``"columns"`` or ``"rows"``.
    error : DiagnosisError
        The error.
    text : str
        The error in words.
    measure : callable
        ``measure()`` returns how far the function gets.
    """

    network: str
    images: str
    error: DiagnosisError
    text: str
    measure: Callable[[], int]


def describe_failures(failures: Sequence[Failure]) -> tuple[str, bool]:
    """Return the reason that is reported, and whether the function has returned.

    It is the error of the network and layout in which the function got furthest: most others are of those that are not
    the function's. If it got as far with images as columns and as rows, both errors are reported.
    """
    if not failures:
        return "its parameters are not known", False
    returned = [failure for failure in failures if isinstance(failure.error, ResultError)]
    if returned:
        return _most_common(returned).text, True
    called = [failure for failure in failures if not isinstance(failure.error, UnknownParameterError)]
    if len({failure.text for failure in called or failures}) == 1 or not called:
        return _most_common(called or failures).text, False
    counts = [failure.measure() for failure in called]
    furthest = [failure for failure, count in zip(called, counts, strict=True) if count == max(counts)]
    layouts = [[failure for failure in furthest if failure.images == images] for images in ("columns", "rows")]
    chosen = [_most_common(same) for same in layouts if same]
    if len(chosen) > 1 and len({failure.text for failure in chosen}) == 1:
        return chosen[0].text, False
    return "; ".join(f"with images as {one.images} ({one.network}), {one.text}" for one in chosen), False


def _most_common(failures: Sequence[Failure]) -> Failure:
    """Return the first failure with the text that most have."""
    text = Counter(failure.text for failure in failures).most_common(1)[0][0]
    return next(failure for failure in failures if failure.text == text)
