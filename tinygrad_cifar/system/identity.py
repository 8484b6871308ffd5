"""The comparison of a stored identity with the expected one: the settings, the data, whatever defines a result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_MAX_LISTED = 3  # differences in the message
_MAX_SHOWN = 100  # characters of a value in the message
_DIGEST = "digest "
_BLOCK_BYTES = 2**24


def require_same(stored: Any, own: Mapping[str, Any], *, name_of: Callable[[str], str] = str) -> None:
    """Raise an error that lists up to three differences between a stored identity and the expected one.

    Parameters
    ----------
    stored : mapping
        Identity as read from a JSON file. Entries that ``own`` does not have are ignored.
    own : mapping
        Expected identity; it must be serialisable as JSON, so that tuples and lists compare equal. None stands for what
        was not given.
    name_of : callable, optional
        Function that returns the name of an entry in the message, such as that of its option. Default: the name itself.

    Raises
    ------
    ValueError
        If ``stored`` is not a mapping, or if an entry of ``own`` is missing from it or has another value there.

    Examples
    --------
    >>> from tinygrad_cifar.system.identity import require_same
    >>> require_same({"hidden": [50], "eta": 0.1, "epochs": 5}, {"hidden": (50,), "eta": 0.2})
    Traceback (most recent call last):
        ...
    ValueError: its eta was 0.1 and is 0.2 now
    """
    if not isinstance(stored, Mapping):
        raise ValueError(f"it must be a mapping; got {stored!r:.40}")  # noqa: TRY004 (files are the usual source)
    own = json.loads(json.dumps(own))
    missing = [f"it has no {name_of(name)}" for name in own if name not in stored]
    others = [
        _describe(name_of(name), stored[name], value) for name, value in own.items() if stored.get(name, value) != value
    ]
    differences = others + missing
    if differences:
        rest = len(differences) - _MAX_LISTED
        more = f" and {rest} other{'s' * (rest != 1)}" if rest > 0 else ""
        raise ValueError(", ".join(differences[:_MAX_LISTED]) + more)


def digest_array(array: Array) -> str:
    """Return a digest of the type, shape and elements of an array, as an entry of an identity.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar.system.identity import digest_array, require_same
    >>> own, other = ({"labels": digest_array(np.array(labels))} for labels in ([0, 1], [1, 0]))
    >>> require_same(own, other)
    Traceback (most recent call last):
        ...
    ValueError: its labels differ
    """
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())  # many processors compute it in hardware
    if array.dtype.hasobject:
        digest.update(repr(array.tolist()).encode())
    elif array.size:
        rows = array.reshape(1) if not array.ndim else array
        step = max(1, _BLOCK_BYTES * len(rows) // rows.nbytes)
        for start in range(0, len(rows), step):
            digest.update(np.ascontiguousarray(rows[start : start + step]).view(np.uint8).data)
    return f"{_DIGEST}{digest.hexdigest()[:32]}"


def _describe(name: str, before: Any, now: Any) -> str:
    if _is_digest(before) or _is_digest(now):
        if before is None:
            return f"it had no {name} and has them now"
        return f"it had {name} and has none now" if now is None else f"its {name} differ"
    return f"its {name} was {_show(before)} and is {_show(now)} now"


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(_DIGEST)


def _show(value: Any) -> str:
    text = "not given" if value is None else str(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
