"""Small files in the formats of the official CIFAR-10 archives, written byte by byte."""

from __future__ import annotations

import io
import struct
import tarfile
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse", b"ship", b"truck"]
BATCHES = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]

Pixels = npt.NDArray[np.uint8]
Batch = tuple[Pixels, list[int]]


class Python2Pickler:
    """Writer of pickle protocol 2 as in Python 2: byte strings, with a memo entry after every object."""

    def __init__(self) -> None:
        self.memo_size = 0

    def memoise(self) -> bytes:
        self.memo_size += 1
        index = self.memo_size
        return b"q" + bytes([index]) if index < 256 else b"r" + struct.pack("<I", index)

    def string(self, text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text + self.memoise()

    def name(self, module: bytes, name: bytes) -> bytes:
        return b"c" + module + b"\n" + name + b"\n" + self.memoise()

    def integer(self, value: int) -> bytes:
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)

    def items(self, items: list[bytes]) -> bytes:
        return b"(" + b"".join(items) + b"e"

    def array(self, pixels: Pixels, *, fortran: bool = False) -> bytes:
        empty = (
            self.name(b"numpy.core.multiarray", b"_reconstruct")
            + self.name(b"numpy", b"ndarray")
            + b"K\x00\x85"
            + self.memoise()
            + self.string(b"b")
            + b"\x87"
            + self.memoise()
            + b"R"
            + self.memoise()
        )
        shape = b"".join(self.integer(length) for length in pixels.shape)
        shape += {1: b"\x85", 2: b"\x86"}[pixels.ndim] + self.memoise()
        uint8 = (
            self.name(b"numpy", b"dtype")
            + self.string(b"u1")
            + b"K\x00K\x01\x87"
            + self.memoise()
            + b"R"
            + self.memoise()
            + b"(K\x03"
            + self.string(b"|")
            + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
            + self.memoise()
            + b"b"
        )
        raw = pixels.tobytes("F" if fortran else "C")
        order = b"\x88" if fortran else b"\x89"
        content = b"T" + struct.pack("<i", len(raw)) + raw
        return empty + b"(K\x01" + shape + uint8 + order + content + b"t" + self.memoise() + b"b"

    def dictionary(self, **values: bytes) -> bytes:
        pairs = b"".join(self.string(key.encode()) + value for key, value in values.items())
        return b"\x80\x02}(" + pairs + b"u."


def batch_pickle(images: Pixels, labels: list[int], *, fortran: bool = False) -> bytes:
    p = Python2Pickler()
    return p.dictionary(
        batch_label=p.string(b"training batch 1 of 5"),
        labels=b"]" + p.memoise() + p.items([p.integer(label) for label in labels]),
        data=p.array(images, fortran=fortran),
        filenames=b"]" + p.memoise() + p.items([p.string(b"s_%06d.png" % i) for i in range(len(labels))]),
    )


def meta_pickle(count: int, names: list[bytes] = NAMES) -> bytes:
    p = Python2Pickler()
    return p.dictionary(
        num_cases_per_batch=p.integer(count),
        label_names=b"]" + p.memoise() + p.items([p.string(name) for name in names]),
        num_vis=p.integer(3072),
    )


def batch_binary(images: Pixels, labels: list[int]) -> bytes:
    return np.column_stack([np.array(labels, np.uint8), images]).tobytes()


def draw_batches(count: int, seed: int = 0) -> list[Batch]:
    rng = np.random.default_rng(seed)
    return [(rng.integers(0, 256, (count, 3072), dtype=np.uint8), rng.integers(0, 10, count).tolist()) for _ in BATCHES]


def write_python_version(folder: Path, batches: list[Batch]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, batch in zip(BATCHES, batches, strict=True):
        (folder / name).write_bytes(batch_pickle(*batch))
    (folder / "batches.meta").write_bytes(meta_pickle(len(batches[0][1])))
    return folder


def write_binary_version(folder: Path, batches: list[Batch]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, batch in zip(BATCHES, batches, strict=True):
        (folder / f"{name}.bin").write_bytes(batch_binary(*batch))
    (folder / "batches.meta.txt").write_bytes(b"\n".join(NAMES) + b"\n\n")
    return folder


def archive(files: dict[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    """Return a .tar.gz with the files and then any member whatever."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in extra:
            tar.addfile(member, io.BytesIO(b"x" * member.size) if member.isreg() else None)
    return target.getvalue()


def python_version_files(batches: list[Batch]) -> dict[str, bytes]:
    """Return the files of the Python version by their names in the archive."""
    files = {name: batch_pickle(*batch) for name, batch in zip(BATCHES, batches, strict=True)}
    files |= {"batches.meta": meta_pickle(len(batches[0][1])), "readme.html": b"<html>"}
    return {f"cifar-10-batches-py/{name}": content for name, content in files.items()}
