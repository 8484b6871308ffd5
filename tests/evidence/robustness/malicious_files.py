"""Files that were made to run code, to write elsewhere, or to take much memory or time."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import random
import struct
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.test_unpickle import FRAGMENTS, GREEDY, HEAD, MALFORMED, UNNEEDED
from tests.evidence.robustness.mutated_files import DEEP
from tests.support.official_format import archive, batch_pickle, draw_batches, meta_pickle, python_version_files
from tests.system import test_checkpoints as tc

BATCHES = draw_batches(2)
ARCHIVED = python_version_files(BATCHES)


class Exploit:
    """An object whose pickle is a call."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def exploit(rng: random.Random) -> Any:
    target = str(Path(tempfile.gettempdir()) / "exploit-was-here")
    return rng.choice(
        [
            Exploit(os.system, f"touch {target}"),
            Exploit(os.mkdir, target),
            Exploit(eval, f"open({target!r}, 'w')"),
            Exploit(exec, "import os; os._exit(3)"),
            Exploit(getattr, "x", "upper"),
            Exploit(subprocess.Popen, ["touch", target]),
            Exploit(np.load, target),
            Exploit(bytearray, 10**12),
            Exploit(np.zeros, (10**12,)),
        ]
    )


def make_pickle(rng: random.Random) -> bytes:  # noqa: PLR0911 (one for each case)
    match rng.randrange(12):
        case 0 | 1:
            return pickle.dumps({"data": exploit(rng), "labels": [1]}, rng.randrange(6))
        case 2:
            return pickle.dumps(exploit(rng), rng.randrange(6))
        case 3:
            return rng.choice(list(MALFORMED.values()))
        case 4:
            return HEAD + rng.choice(list(UNNEEDED.values()))
        case 5 if rng.random() < 0.1:  # slow
            return HEAD + rng.choice(list(GREEDY.values()))
        case 6:
            return meta_pickle(
                rng.choice([0, 1, 255, 65535]), [rng.randbytes(5) for _ in range(rng.choice([0, 9, 10]))]
            )
        case 7:
            labels = [rng.choice([0, 9, 10, 255, 300]) for _ in range(rng.randrange(4))]
            shape = rng.choice([(1, 3072), (2, 3072), (2, 3071), (3072, 2), (6144,)])
            return batch_pickle(np.zeros(shape, np.uint8), labels, fortran=rng.random() < 0.5)
        case _:
            return HEAD + b"".join(rng.choices(FRAGMENTS, k=rng.randrange(40))) + b"."


def make_binary(rng: random.Random) -> bytes:
    match rng.randrange(5):
        case 0:
            return bytes([rng.choice([9, 10, 255])]) + bytes(3072) + bytes(3073 * rng.randrange(3))
        case 1:
            return rng.randbytes(3073 * rng.randrange(3) + rng.randrange(2))
        case 2:
            return exploit_bytes(rng)
        case 3:
            return bytes(3073 * rng.choice([1, 2, 300]))
        case _:
            return rng.randbytes(rng.randrange(300))


def exploit_bytes(rng: random.Random) -> bytes:
    return pickle.dumps(exploit(rng), rng.randrange(6))


_IN = "cifar-10-batches-py"
_NAMES = [
    *(
        "../outside",
        "/tmp/outside",
        f"{_IN}/../../outside",
        f"{_IN}/data_batch_1",
        f"{_IN}/new",
        _IN,
        "",
        ".",
        "x" * 300,
    ),
    *(f"{_IN}/data_batch_1/", f"./{_IN}/data_batch_1", f"{_IN}//test_batch", f"{_IN}/readme.html", "a\0b", "\x1b[2J"),
]
_KINDS = [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
_KINDS += [tarfile.DIRTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"Z"]


def make_archive(rng: random.Random) -> bytes:
    files = dict(ARCHIVED)
    match rng.randrange(8):
        case 0 | 1 | 2:
            members = []
            for _ in range(rng.choice([1, 1, 3])):
                member = tarfile.TarInfo(rng.choice(_NAMES))
                member.type, member.linkname = (
                    rng.choice(_KINDS),
                    rng.choice(["/etc/passwd", "../x", f"{_IN}/test_batch"]),
                )
                member.size = rng.choice([0, 0, 10, 5000]) if member.isreg() else 0
                member.mode = rng.choice([0o777, 0o4777, 0])
                members.append(member)
            return archive(files, *members)
        case 3:
            return _archive_with_false_size(rng)
        case 4:
            return _header_bomb(rng)
        case 5:
            del files[rng.choice(list(files))]
            return archive(files)
        case 6:
            return gzip.compress(exploit_bytes(rng)) if rng.random() < 0.5 else exploit_bytes(rng)
        case _:
            member = tarfile.TarInfo(f"{_IN}/data_batch_1")
            member.size = rng.choice([10**5, 10**6, 41_000_000 if rng.random() < 0.05 else 10**4])
            return archive({}, member)


def _archive_with_false_size(rng: random.Random) -> bytes:
    member = tarfile.TarInfo(f"{_IN}/data_batch_1")
    member.size = rng.choice([10**9, 2**33, 2**60, 40_000_000, 40_000_001])
    return gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


def _header_bomb(rng: random.Random) -> bytes:
    """Return an archive whose header claims, or has, megabytes of extended attributes or of a long name."""
    member = tarfile.TarInfo("././@LongLink")
    member.type = rng.choice([tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
    member.size = rng.choice([10**6, 10**9, 2**40])
    return gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(rng.choice([0, 10**6, 10**7, 10**8])), 1)


def make_checkpoint(rng: random.Random) -> bytes:  # noqa: PLR0911 (one for each case)
    body = rng.randbytes(rng.choice([0, 8, 16, 800]))
    match rng.randrange(10):
        case 0:
            return tc.archive({"W.npy": rng.choice(list(tc.HEADERS.values()))})
        case 1 | 2:
            shape = tuple(rng.choice([0, 1, 2, 100, -1, 2**31, 2**62, 2**70]) for _ in range(rng.randrange(4)))
            descr = rng.choice(["<f8", "|O", "<U1", "|V8", "<c16", "<M8[s]", ">f8", "f8", "", "|b1", "<f8" * 50])
            header = {"descr": descr, "fortran_order": rng.choice([True, False, 1, None]), "shape": shape}
            if rng.random() < 0.2:
                header |= {"x": 1}
            return tc.archive({"W.npy": tc.with_header(repr(header), body, rng.choice([(1, 0), (2, 0), (9, 9)]))})
        case 3:
            array = np.empty(1, dtype=object)
            array[0] = exploit(rng)
            return tc.archive({"W.npy": tc.npy(array, allow_pickle=True)})
        case 4:
            kind = rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
            return tc.archive({"W.npy": tc.npy(np.zeros(rng.choice([1, 1000, 300_000])))}, kind)
        case 5:
            return tc.archive({rng.choice(_NAMES).replace("\0", "") or "W": tc.npy(np.ones(2))})
        case 6:
            text = rng.choice([*tc.INVALID_METADATA, exploit_bytes(rng), json.dumps(DEEP).encode(), b"1" * 5000])
            return tc.archive({"W.npy": tc.npy(np.ones(2))}, text=text)
        case 7:
            return _shared_entries(rng, tc.archive({"W.npy": tc.npy(np.zeros(2000))}))
        case 8:
            return exploit_bytes(rng)
        case _:
            expression = rng.choice(
                ["__import__('os').system('true')", "(" * 300, "[" * 3000 + "]" * 3000, "1" * 9000, "\0"]
            )
            return tc.archive({"W.npy": tc.with_header(expression, body)})


def _shared_entries(rng: random.Random, content: bytes) -> bytes:
    """Return an archive in which many entries of the central directory refer to one file."""
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = content[start : content.index(b"PK\x01\x02", start + 1)]
    count = rng.choice([2, 30, 1000])
    entries = entry * count + content[start + len(entry) : end]
    trailer = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count + 1, count + 1, len(entries), start, 0)
    return content[:start] + entries + trailer
