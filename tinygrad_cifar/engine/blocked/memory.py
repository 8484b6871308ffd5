"""A memory pool for large results, reused from one training step to the next.

The C library returns the memory of a large array to the operating system when the array is freed, and the next array
gets new pages, which the system fills with zeros. In a training step of a convolutional network, which makes arrays of
5 GB, this took a fifth of the processor time. So large results are placed in one region of memory, which is kept.

The region is a tenth larger than the most memory that results have needed at once so far. It is made again, larger,
when a result is requested while no part of it is in use. A result that finds no place in it gets memory of its own, as
most of the first step do. :func:`empty_cache` frees the region.
"""

from __future__ import annotations

import math
from collections import deque
from threading import Lock
from typing import Any

import numpy as np

_SMALLEST = 4_194_304  # bytes: memory of smaller arrays is kept by the C library
_PAGE = 4096
_MARGIN = 1.1  # size of the region over the largest memory needed at once


class _Region:
    """One block of memory, parts of which are in use.

    Attributes
    ----------
    memory : ndarray of uint8
        The block.
    gaps : list of (int, int)
        First and last position, exclusive, of the parts that are free, in order.
    """

    def __init__(self, size: int) -> None:
        self.memory: Any = np.empty(size, np.uint8)
        self.gaps = [(0, size)] if size else []

    @property
    def is_free(self) -> bool:
        """Whether no part is in use."""
        return self.gaps == [(0, len(self.memory))] or not len(self.memory)

    def take(self, size: int) -> Any:
        """Return the first free part of this size, or None."""
        for place, (start, stop) in enumerate(self.gaps):
            if stop - start >= size:
                self.gaps[place : place + 1] = [(start + size, stop)] if stop - start > size else []
                return self.memory[start : start + size]
        return None

    def give_back(self, start: int, stop: int) -> None:
        """Mark a part as free, and join it with its free neighbours."""
        place = next((i for i, gap in enumerate(self.gaps) if gap[0] >= stop), len(self.gaps))
        if place < len(self.gaps) and self.gaps[place][0] == stop:
            stop = self.gaps.pop(place)[1]
        if place and self.gaps[place - 1][1] == start:
            place -= 1
            start = self.gaps.pop(place)[0]
        self.gaps.insert(place, (start, stop))


class _Cache:
    """The region, and the sum and peak of the memory in use."""

    def __init__(self) -> None:
        self._region = _Region(0)
        self._in_use = self._peak = 0
        self._lock = Lock()
        # An array may be freed while any code runs, also while the lock is held, so this is only noted then.
        self._returned: deque[Any] = deque()

    def take(self, size: int) -> Any:
        """Return memory of ``size`` bytes, as an array that :meth:`give_back` receives."""
        size = -(-size // _PAGE) * _PAGE
        with self._lock:
            self._collect()
            if self._region.is_free and len(self._region.memory) < self._peak:
                self._grow()
            part = self._region.take(size)
            if part is None:
                part = np.empty(size, np.uint8)
            self._in_use += size
            self._peak = max(self._peak, self._in_use)
            return part

    def _grow(self) -> None:
        """Replace the region by one that is as large as the peak, if there is enough memory."""
        try:
            self._region = _Region(int(self._peak * _MARGIN))
        except MemoryError:
            self._peak = len(self._region.memory)

    def give_back(self, part: Any) -> None:
        """Note that a part is no longer used."""
        self._returned.append(part)

    def clear(self) -> None:
        """Free the region when no part of it is in use any more."""
        with self._lock:
            self._collect()
            self._region, self._peak = _Region(0), self._in_use

    def _collect(self) -> None:
        while self._returned:
            part = self._returned.popleft()
            self._in_use -= len(part)
            if part.base is self._region.memory:
                start = _address(part) - _address(part.base)
                self._region.give_back(start, start + len(part))


def _address(array: Any) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


_cache = _Cache()


class _Loan:
    """The memory of one array; when the array and all its views are freed, the memory is given back."""

    _part: Any = None  # until there is memory

    def __init__(self, shape: tuple[int, ...], dtype: Any, size: int) -> None:
        self._part = _cache.take(size)
        data = (_address(self._part), False)  # not read-only
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": data}

    def __del__(self) -> None:
        if self._part is not None:
            _cache.give_back(self._part)


def empty(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a new array whose elements are not initialised, as ``numpy.empty`` does."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    return np.empty(shape, dtype) if size < _SMALLEST else np.asarray(_Loan(shape, dtype, size))


def empty_cache() -> None:
    """Return the memory that is kept for large results to the operating system.

    Results of convolutions, poolings, normalisations and activations of several megabytes lie in a region of memory
    that is kept for the next training step; it is a tenth larger than what the largest step so far has needed.
    :func:`tinygrad_cifar.course.training.fit` calls this function at its end.

    Examples
    --------
    >>> import tinygrad_cifar as tg
    >>> tg.empty_cache()
    """
    _cache.clear()
