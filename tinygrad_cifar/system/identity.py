"""The comparison of a stored identity with the expected one: the settings, the data, whatever defines a result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_MAX_LISTED = 3  # differences in the message


def require_same(stored: Any, own: Mapping[str, Any]) -> None:
    """Raise an error that lists up to three differences between a stored identity and the expected one.

    Parameters
    ----------
    stored : mapping
        Identity as read from a JSON file. Entries that ``own`` does not have are ignored.
    own : mapping
        Expected identity; it must be serialisable as JSON, so that tuples and lists compare equal.

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
    ValueError: its eta is 0.1, not 0.2
    """
    if not isinstance(stored, Mapping):
        raise ValueError(f"it must be a mapping; got {stored!r:.40}")  # noqa: TRY004 (files are the usual source)
    own = json.loads(json.dumps(own))
    missing = [f"it has no {name}" for name in own if name not in stored]
    others = [
        f"its {name} is {stored[name]}, not {value}" for name, value in own.items() if stored.get(name, value) != value
    ]
    differences = missing + others
    if differences:
        rest = len(differences) - _MAX_LISTED
        more = [f"{rest} other{'s' * (rest != 1)}"] if rest > 0 else []
        raise ValueError(" and ".join(differences[:_MAX_LISTED] + more))
