"""Augmentation: random flips, shifts and filled squares of images, and weighted views of test images.

All random numbers come from the generator that the caller passes, so a run that saves the state of the generator can be
resumed with the same images.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_cifar.data.dataset import COLOURS, PIXELS, SIDE, DataError, check_integer
from tinygrad_cifar.system.arguments import listed
from tinygrad_cifar.system.generators import make_generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinygrad_cifar.system.generators import RandomState

__all__ = ["BORDERS", "VIEWS", "augment_cutout", "augment_flip", "augment_shift", "mirror", "weighted_views"]

BORDERS = ("edge", "reflect")
VIEWS = ("one", "mirror", "six", "fifty")

_Images: TypeAlias = npt.NDArray[np.uint8]


def augment_flip(images: _Images, rng: RandomState = None) -> _Images:
    """Flip each image horizontally with probability 1/2.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 3072)
        Images, laid out as in :class:`~tinygrad_cifar.data.Split`.
    rng : numpy.random.Generator or int, optional
        Generator from which one number per image is drawn, or its seed.

    Returns
    -------
    ndarray of uint8, shape (N, 3072)
        New array.

    Raises
    ------
    DataError
        If ``images`` has another shape or type.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.zeros((1000, 3072), np.uint8)
    >>> images[:, 0] = 255  # a red pixel, top left
    >>> flipped = augment_flip(images, np.random.default_rng(0))
    >>> bool((flipped[:, 0] ^ flipped[:, 31] == 255).all())  # top left or top right
    True
    """
    pixels = _as_pixels(images).copy()
    flipped = make_generator("augment_flip", rng).random(len(pixels)) < 0.5  # noqa: PLR2004
    pixels[flipped] = pixels[flipped, :, :, ::-1]
    return pixels.reshape(images.shape)


def mirror(images: _Images) -> _Images:
    """Flip all images horizontally.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 3072)
        Images, laid out as in :class:`~tinygrad_cifar.data.Split`.

    Returns
    -------
    ndarray of uint8, shape (N, 3072)
        New array.

    Raises
    ------
    DataError
        If ``images`` has another shape or type.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.arange(3072, dtype=np.int64).astype(np.uint8)[np.newaxis]
    >>> mirror(images)[0, :3]  # the last pixels of the first row
    array([31, 30, 29], dtype=uint8)
    """
    return np.ascontiguousarray(_as_pixels(images)[..., ::-1]).reshape(images.shape)


def augment_shift(images: _Images, rng: RandomState, most: int, *, border: str = "edge") -> _Images:
    """Shift each image by up to ``most`` pixels along each axis.

    All ``(2 * most + 1) ** 2`` shifts are equally probable. With the border ``"edge"``, pixels shifted in repeat the
    nearest pixel of the edge; with ``"reflect"``, the image is mirrored at the pixels of the edge.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 3072)
        Images, laid out as in :class:`~tinygrad_cifar.data.Split`.
    rng : numpy.random.Generator, int or None
        Generator from which two numbers per image are drawn, or its seed.
    most : int
        Largest shift, from 0 to 31 pixels.
    border : {"edge", "reflect"}
        Pixels shifted in. Default: "edge".

    Returns
    -------
    ndarray of uint8, shape (N, 3072)
        New array.

    Raises
    ------
    DataError
        If ``images`` has another shape or type, ``most`` is not an integer or out of range, or ``border`` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.arange(3072, dtype=np.int64).astype(np.uint8)[np.newaxis]
    >>> bool((augment_shift(image, np.random.default_rng(0), 0) == image).all())
    True
    """
    pixels = _as_pixels(images)
    check_integer("most", most)
    if not 0 <= most < SIDE:
        raise DataError(f"most must be from 0 to {SIDE - 1} pixels; got {most}")
    _check_border(border)
    windows = _windows(pixels, most, border)
    top, left = make_generator("augment_shift", rng).integers(0, 2 * most + 1, (2, len(pixels)))
    return windows[np.arange(len(pixels)), :, top, left].reshape(images.shape)


def augment_cutout(
    images: _Images, rng: RandomState, size: int, *, fill: npt.NDArray[np.uint8] | None = None
) -> _Images:
    """Fill a square of ``size`` times ``size`` pixels at a random place of each image.

    All places within the image are equally probable. A model that does not see a part of each image relies less on
    single details. Source: T. DeVries and G. Taylor, arXiv:1708.04552, whose squares may extend beyond the image.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 3072)
        Images, laid out as in :class:`~tinygrad_cifar.data.Split`.
    rng : numpy.random.Generator, int or None
        Generator from which two numbers per image are drawn, or its seed.
    size : int
        Width of the squares, from 0 to 32 pixels.
    fill : ndarray of uint8, shape (3072,), optional
        Image that the filled pixels are copied from, such as the mean of the training images, which preprocessing maps
        to values near 0. Default: black.

    Returns
    -------
    ndarray of uint8, shape (N, 3072)
        New array.

    Raises
    ------
    DataError
        If ``images`` or ``fill`` has another shape or type, or ``size`` is not an integer or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.full((5, 3072), 255, np.uint8)
    >>> filled = augment_cutout(images, np.random.default_rng(0), 8)
    >>> (filled == 0).sum(axis=1)  # 3 colours of 8 x 8 pixels
    array([192, 192, 192, 192, 192])
    """
    pixels = _as_pixels(images)
    check_integer("size", size)
    if not 0 <= size <= SIDE:
        raise DataError(f"size must be from 0 to {SIDE} pixels; got {size}")
    if fill is None:
        fill = np.zeros(PIXELS, np.uint8)
    fill = np.asarray(fill)
    if fill.dtype != np.uint8 or fill.shape != (PIXELS,):
        raise DataError(f"fill must be uint8 with the shape ({PIXELS},); got {fill.dtype} with {fill.shape}")
    top, left = make_generator("augment_cutout", rng).integers(0, SIDE - size + 1, (2, len(pixels), 1))
    at = np.arange(SIDE)
    rows, columns = ((at >= start) & (at < start + size) for start in (top, left))
    is_filled = rows[:, np.newaxis, :, np.newaxis] & columns[:, np.newaxis, np.newaxis, :]
    return np.where(is_filled, fill.reshape(pixels.shape[1:]), pixels).reshape(images.shape)


def weighted_views(images: _Images, kind: str = "six", *, border: str = "edge") -> Iterator[tuple[float, _Images]]:
    """Iterate over views of images, with weights whose sum is 1, over which scores can be averaged.

    =============  ============================================================================================
    ``"one"``      the images
    ``"mirror"``   the images and their mirror images, 1/2 each
    ``"six"``      those, 1/4 each; and those shifted by one pixel, up and left or down and right, 1/8 each
    ``"fifty"``    all shifts by up to two pixels along each axis of the images and their mirror images, 1/50 each
    =============  ============================================================================================

    The six views are those of K. Jordan, arXiv:2404.00498, with the border ``"reflect"``. Fifty are for networks that
    are not invariant to shifts, those of fully connected layers.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 3072)
        Images, laid out as in :class:`~tinygrad_cifar.data.Split`.
    kind : {"one", "mirror", "six", "fifty"}
        Which views. Default: "six".
    border : {"edge", "reflect"}
        Pixels shifted in; see :func:`augment_shift`. Default: "edge".

    Yields
    ------
    (float, ndarray of uint8)
        Weight and images of each view.

    Raises
    ------
    DataError
        If ``images`` has another shape or type, or ``kind`` or ``border`` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.zeros((2, 3072), np.uint8)
    >>> [weight for weight, _ in weighted_views(images)]
    [0.25, 0.25, 0.125, 0.125, 0.125, 0.125]
    >>> len(list(weighted_views(images, "fifty")))
    50
    """
    pixels = _as_pixels(images)
    if kind not in VIEWS:
        raise DataError(f"views must be {listed(VIEWS, 'or')}; got {kind!r}")
    _check_border(border)
    return _iterate_views(images, pixels, kind, border)


# Of each kind of views with mirror images: the largest shift, and the weights of the shifts down and right.
_SHIFTS: dict[str, tuple[int, dict[tuple[int, int], float]]] = {
    "mirror": (0, {(0, 0): 1.0}),
    "six": (1, {(0, 0): 0.5, (1, 1): 0.25, (-1, -1): 0.25}),
    "fifty": (2, dict.fromkeys(product(range(-2, 3), range(-2, 3)), 0.04)),
}


def _iterate_views(
    images: _Images, pixels: npt.NDArray[Any], kind: str, border: str
) -> Iterator[tuple[float, _Images]]:
    if kind == "one":
        yield 1.0, images
        return
    most, weights = _SHIFTS[kind]
    windows = _windows(pixels, most, border)
    for (down, right), weight in weights.items():
        moved = windows[:, :, most - down, most - right].reshape(images.shape)
        yield weight / 2, moved
        yield weight / 2, mirror(moved)


def _check_border(border: str) -> None:
    if border not in BORDERS:
        raise DataError(f"border must be {listed(BORDERS, 'or')}; got {border!r}")


def _windows(pixels: npt.NDArray[Any], most: int, border: str) -> npt.NDArray[Any]:
    """Return a view with all shifts: axes 2 and 3 are the position of the window in the image and its border."""
    mode: Literal["edge", "reflect"] = "edge" if border == "edge" else "reflect"
    padded = np.pad(pixels, ((0, 0), (0, 0), (most, most), (most, most)), mode=mode)
    return np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE), axis=(2, 3))


def _as_pixels(images: _Images) -> npt.NDArray[Any]:
    if not isinstance(images, np.ndarray):
        raise DataError(f"images must be a NumPy array of uint8; got {type(images).__name__}")
    if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != PIXELS:  # noqa: PLR2004
        raise DataError(f"images must be uint8 with the shape (N, {PIXELS}); got {images.dtype} with {images.shape}")
    return images.reshape(-1, COLOURS, SIDE, SIDE)
