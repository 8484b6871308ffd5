"""Readers on malformed files: the outcomes are counted."""

from __future__ import annotations

import random
import tempfile
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

from tests.evidence.robustness.mutated_files import mutate_bytes, truncate
from tests.evidence.robustness.readers import Reader, readers
from tests.evidence.robustness.side_effects import watch_side_effects

KINDS = ("mutated", "truncated", "malicious")


def fuzz(name: str, inputs: int, seed: int = 0) -> dict[str, Any]:
    """Run one reader on ``inputs`` files, and count the outcomes.

    Returns
    -------
    dict
        ``inputs`` by kind; ``rejected`` by the library's error, ``read`` as data; and counts that must be 0: ``other
        errors``, ``wrong`` (data other than the original, from a file with checksums), ``code run``, ``over the
        limit`` of memory. ``most memory`` is the largest peak in bytes, ``complaints`` describes the first failures.
    """
    reader = readers()[name]
    rng = random.Random(f"{name} {seed}")
    counts: dict[str, Any] = {"inputs": dict.fromkeys(KINDS, 0)}
    counts |= dict.fromkeys(
        ("rejected", "read", "other errors", "wrong", "code run", "over the limit", "most memory"), 0
    )
    complaints: list[str] = []
    expected = _read_in_a_folder(reader, reader.good)[0]  # also runs the late imports
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(inputs):
            kind = KINDS[i % 3]
            content = (
                reader.make(rng)
                if kind == "malicious"
                else (mutate_bytes if kind == "mutated" else truncate)(rng, reader.good)
            )
            counts["inputs"][kind] += 1
            found, error, did, peak = _attempt(reader, content)
            faults = {
                "code run": bool(did),
                "over the limit": peak > reader.limit(len(content)),
                "other errors": error is not None and not isinstance(error, reader.own),
                "wrong": error is None and reader.checked and kind != "malicious" and found != expected,
            }
            counts["read" if error is None else "rejected"] += not faults["other errors"]
            counts["most memory"] = max(counts["most memory"], peak)
            for fault, happened in faults.items():
                counts[fault] += happened
                if happened:
                    complaints.append(
                        f"{name}, {kind} {i}: {fault}: {did or ''} {peak} {type(error).__name__}: {error!s:.300}"
                    )
    return counts | {"complaints": complaints[:5]}


def _attempt(reader: Reader, content: bytes) -> tuple[Any, Exception | None, list[str], int]:
    error: Exception | None = None
    found, did, peak = None, [], 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tracemalloc.start()
        try:
            with watch_side_effects(folder) as did:
                found = reader.read(folder / "it.npz", content)
        except Exception as caught:  # noqa: BLE001 (examined by the caller)
            error = caught
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    return found, error, did, peak


def _read_in_a_folder(reader: Reader, content: bytes) -> tuple[Any, None]:
    with tempfile.TemporaryDirectory() as name:
        return reader.read(Path(name) / "it.npz", content), None


def fuzz_counts(budget: int, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Share a number of inputs among all readers; see :func:`fuzz`."""
    return {name: fuzz(name, max(3, round(budget * reader.share)), seed) for name, reader in readers().items()}
