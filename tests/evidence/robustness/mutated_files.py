"""Valid files that were mutated or truncated, and well-formed checkpoints with corrupt contents."""

from __future__ import annotations

import functools
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cifar.system.checkpoints import load_checkpoint, save_checkpoint

_NUMBERS = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1]


def _choose_position(rng: random.Random, size: int) -> int:
    """Choose a position anywhere, or near the ends, where files have their structure."""
    near = rng.choice([0, 0, 1, 2])
    if near == 1:
        return rng.randrange(min(size, 400) + 1)
    if near == 2:
        return size - rng.randrange(min(size, 400) + 1)
    return rng.randrange(size + 1)


def mutate_bytes(rng: random.Random, good: bytes) -> bytes:
    """Return the content after one to eight mutations."""
    content = bytearray(good)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        at, count = _choose_position(rng, len(content)), rng.choice([1, 1, 2, 4, 8, 30, 500])
        elsewhere = _choose_position(rng, len(content))
        match rng.randrange(7):
            case 0:
                content[at : at + 1] = bytes([rng.randrange(256)])
            case 1 if at < len(content):
                content[at] ^= 1 << rng.randrange(8)
            case 2:
                width = rng.choice([1, 2, 4, 8])
                number = rng.choice(_NUMBERS) & (256**width - 1)
                content[at : at + width] = number.to_bytes(width, rng.choice(["little", "big"]))
            case 3:
                del content[at : at + count]
            case 4:
                content[at:at] = rng.randbytes(count)
            case 5:
                content[at:at] = content[elsewhere : elsewhere + count]
            case 6:
                content[at : at + count] = content[elsewhere : elsewhere + count]
    return bytes(content)


def truncate(rng: random.Random, good: bytes) -> bytes:
    """Truncate the content, sometimes at its start, or append to it."""
    end = _choose_position(rng, len(good))
    match rng.randrange(6):
        case 0:
            return good[end:]
        case 1:
            return good + rng.randbytes(rng.randrange(1, 300))
        case _:
            return good[:end]


DEEP = functools.reduce(lambda inner, _: [inner], range(200), [])
_NONSENSE: list[Any] = [
    *(None, True, False, -1, 0, 1, 7, 10**6, 10**30, 10**400, -(10**30), 2**63, 0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "\x1b[2J", "inf", "a" * 5000, [], {}, [1, 2, 3], [[]], {"": None}, DEEP),
    *({"bit_generator": "MT19937", "state": {"key": [0], "pos": 10**9}}, [0] * 624, ["PCG64"], "__import__('os')"),
]


def corrupt_json(rng: random.Random, value: Any) -> Any:
    """Replace a value somewhere inside a JSON object by nonsense."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(list(value))
        if rng.random() < 0.1:
            return {key: part for key, part in value.items() if key != name}
        if rng.random() < 0.05:
            return value | {rng.choice(["", "eta", "x" * 300]): rng.choice(_NONSENSE)}
        return value | {name: corrupt_json(rng, value[name])}
    if isinstance(value, (list, tuple)) and value and rng.random() < 0.8:
        parts = list(value)
        at = rng.randrange(len(parts))
        match rng.randrange(5):
            case 0:
                del parts[at]
            case 1:
                parts.insert(at, rng.choice(_NONSENSE))
            case _:
                parts[at] = corrupt_json(rng, parts[at])
        return parts
    return rng.choice(_NONSENSE)


def corrupt_array(rng: random.Random, array: np.ndarray) -> np.ndarray:  # noqa: PLR0911 (one for each case)
    """Return an array of another shape or dtype, or with values that training does not produce."""
    match rng.randrange(9):
        case 0:
            return array.reshape(-1)
        case 1:
            return array[..., :-1] if array.ndim else np.zeros(3)
        case 2:
            return array.astype(rng.choice(["f2", "i8", "u1", "?", "f4"]), copy=True)
        case 3:
            return np.full_like(array, rng.choice([np.nan, np.inf]) if array.dtype.kind == "f" else -1)
        case 4:
            return np.zeros((0, 5))
        case 5:
            return np.full(array.shape, 1e308)
        case 6:
            return np.array(rng.choice([-1, 2**62, 0]))
        case 7:
            return array.T.copy()
        case _:
            return np.zeros((*array.shape, 1))


def corrupt_checkpoint(rng: random.Random, good: bytes) -> bytes:
    """Return a well-formed checkpoint with corrupt contents."""
    arrays, text = checkpoint_contents(good)
    for _ in range(rng.choice([1, 1, 2, 4])):
        name = rng.choice([*arrays, "x"])
        match rng.randrange(5):
            case 0 if name in arrays:
                arrays[name] = corrupt_array(rng, arrays[name])
            case 1 if name in arrays:
                del arrays[name]
            case 2:
                arrays[rng.choice(["x", "model/x", "best/W", "optimiser/x", "optimiser/steps"])] = np.zeros(2)
            case _:
                text = corrupt_json(rng, text)
    return checkpoint_bytes(arrays, text)


def checkpoint_bytes(arrays: Any, text: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it.npz"
        save_checkpoint(path, arrays, text)
        return path.read_bytes()


def checkpoint_contents(content: bytes) -> tuple[dict[str, np.ndarray], Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it.npz"
        path.write_bytes(content)
        return load_checkpoint(path)
