"""Random generators from what users pass as ``rng``."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

RandomState: TypeAlias = "np.random.Generator | int | None"


def make_generator(name: str, rng: object) -> np.random.Generator:
    """Return ``rng`` itself if it is a generator; otherwise a new generator with that seed.

    Parameters
    ----------
    name : str
        Beginning of the error message.
    rng : numpy.random.Generator, int or None
        Generator or seed. If None, the seed is taken from the operating system.

    Raises
    ------
    TypeError
        If ``rng`` is neither a generator nor a non-negative integer.

    Examples
    --------
    >>> from tinygrad_cifar.system.generators import make_generator
    >>> make_generator("f", 0).random() == make_generator("f", 0).random()
    True
    """
    if isinstance(rng, np.random.Generator):
        return rng
    is_seed = isinstance(rng, (int, np.integer)) and not isinstance(rng, bool) and rng >= 0
    if not is_seed and rng is not None:
        raise TypeError(
            f"{name}: rng must be a numpy.random.Generator, a non-negative integer (its seed) or None; got {rng!r:.40}"
        )
    return np.random.default_rng(rng)  # type: ignore[arg-type]
