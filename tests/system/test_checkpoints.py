"""Checkpoints: exact round trips, atomic writes, and the rejection of damaged and malicious files."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import re
import struct
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint, save_checkpoint

DTYPES = [np.dtype(order + kind) for kind in ["f2", "f4", "f8", "i2", "i4", "i8", "u2", "u4", "u8"] for order in "<>"]
DTYPES += [np.dtype(kind) for kind in ("i1", "u1", "?")]
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
arrays = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, shapes))
names = st.text(st.characters(categories=["L", "N", "P"], exclude_characters="\\"), min_size=1, max_size=8).filter(
    lambda name: name != "json"
)
words = st.text(st.characters(codec="utf-8"))
texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)

ARRAYS = {"W": np.arange(6.0).reshape(2, 3), "b": np.array(7, np.int32), "nothing": np.zeros((0, 2))}
TEXT = {"epoch": 3, "rows": [[1.5, None]]}


def saved(arrays=ARRAYS, text=TEXT) -> bytes:
    """Return the bytes of a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.npz"
        save_checkpoint(path, arrays, text)
        return path.read_bytes()


def loaded(content: bytes):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.npz"
        path.write_bytes(content)
        return load_checkpoint(path)


def comparable(checkpoint) -> object:
    """Return the content of a checkpoint in a form that can be compared bit for bit."""
    arrays, text = checkpoint
    return {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()}, json.dumps(text)


COMPLETE = saved()
CONTENT = comparable(loaded(COMPLETE))


def assert_rejected_or_equal(content: bytes) -> None:
    try:
        found = loaded(content)
    except CheckpointError:
        return
    assert comparable(found) == CONTENT


# -- round trips ------------------------------------------------------------------------------------------------------


@given(st.dictionaries(names, arrays, max_size=3), texts)
def test_a_round_trip_is_bit_for_bit_exact(arrays, text):
    assert comparable(loaded(saved(arrays, text))) == comparable((arrays, text))


@given(arrays, st.sampled_from(["F", "reversed", "strided", "read-only"]))
def test_the_memory_layout_does_not_matter(array, layout):
    if layout == "F":
        array = np.asfortranarray(array)
    elif layout == "read-only":
        array.flags.writeable = False
    elif array.ndim:
        array = array[::-1] if layout == "reversed" else np.repeat(array, 2, axis=0)[::2]
    (back,) = loaded(saved({"x": array}))[0].values()
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


@given(arrays)
def test_loaded_arrays_are_writable(array):
    (back,) = loaded(saved({"x": array}))[0].values()
    assert back.flags.writeable
    assert back.flags.c_contiguous


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -0.0, 5e-324, 2**100])
def test_special_numbers_in_the_metadata_are_restored(number):
    assert repr(loaded(saved({}, number))[1]) == repr(number)


def test_the_same_content_gives_the_same_file():
    assert saved() == COMPLETE


def test_numpy_can_read_the_arrays(tmp_path):
    (tmp_path / "run.npz").write_bytes(COMPLETE)
    with np.load(tmp_path / "run.npz", allow_pickle=False) as file:
        assert file["W"].tolist() == ARRAYS["W"].tolist()


def test_a_path_may_be_a_string(tmp_path):
    save_checkpoint(str(tmp_path / "run.npz"), ARRAYS, TEXT)
    assert comparable(load_checkpoint(str(tmp_path / "run.npz"))) == CONTENT


# -- writing ----------------------------------------------------------------------------------------------------------


def disk_full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


WHERE = [(os, "fsync"), (Path, "replace"), (zipfile.ZipFile, "open"), (np.lib.format, "write_array")]


@pytest.mark.parametrize(("owner", "name"), WHERE, ids=[name for _, name in WHERE])
def test_a_full_disk_raises_checkpoint_error(tmp_path, monkeypatch, owner, name):
    monkeypatch.setattr(owner, name, disk_full)
    with pytest.raises(CheckpointError, match=r"run.npz could not be written \(No space left on device\)"):
        save_checkpoint(tmp_path / "run.npz", ARRAYS, TEXT)


@pytest.mark.parametrize(("owner", "name"), WHERE, ids=[name for _, name in WHERE])
def test_a_full_disk_leaves_the_previous_checkpoint_and_no_temporary_files(tmp_path, monkeypatch, owner, name):
    path = tmp_path / "run.npz"
    path.write_bytes(COMPLETE)
    monkeypatch.setattr(owner, name, disk_full)
    with pytest.raises(CheckpointError):
        save_checkpoint(path, {"W": np.ones(2)}, None)
    monkeypatch.undo()
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [COMPLETE]


def test_the_error_mentions_the_previous_checkpoint_only_if_it_exists(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(CheckpointError, match=r"\(No space left on device\)$"):
        save_checkpoint(tmp_path / "run.npz", ARRAYS, TEXT)
    (tmp_path / "run.npz").write_bytes(COMPLETE)
    with pytest.raises(CheckpointError, match=r"the previous checkpoint is unchanged$"):
        save_checkpoint(tmp_path / "run.npz", ARRAYS, TEXT)


def test_a_missing_folder_raises_checkpoint_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"could not be written \(No such file"):
        save_checkpoint(tmp_path / "nowhere" / "run.npz", ARRAYS, TEXT)


@pytest.mark.parametrize("dtype", ["U1", "c16", "O", "M8[s]", "i4,f4"])
def test_arrays_that_are_not_real_are_not_written(tmp_path, dtype):
    with pytest.raises(CheckpointError, match=r"W must be real; got"):
        save_checkpoint(tmp_path / "run.npz", {"W": np.zeros(1, dtype)}, None)
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_the_metadata_is_reserved(tmp_path):
    with pytest.raises(CheckpointError, match="the name json is reserved"):
        save_checkpoint(tmp_path / "run.npz", {"json": np.ones(1)}, None)


# -- damaged files ----------------------------------------------------------------------------------------------------


def test_every_truncation_is_rejected():
    for length in range(len(COMPLETE)):
        with pytest.raises(CheckpointError, match="not a complete checkpoint"):
            loaded(COMPLETE[:length])


@given(st.lists(st.tuples(st.integers(0, len(COMPLETE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_are_rejected_or_have_no_effect(changes):
    content = bytearray(COMPLETE)
    for at, byte in changes:
        content[at] = byte
    assert_rejected_or_equal(bytes(content))


@pytest.mark.parametrize("byte", [0, 1, 51, 0x7F, 0xFF])
def test_changed_bytes_of_the_directory_are_rejected_or_have_no_effect(byte):
    for at in range(COMPLETE.index(b"PK\x01\x02"), len(COMPLETE)):
        assert_rejected_or_equal(COMPLETE[:at] + bytes([byte]) + COMPLETE[at + 1 :])


@given(st.integers(0, len(COMPLETE)), st.integers(1, 200))
def test_missing_bytes_are_rejected_or_have_no_effect(start, count):
    assert_rejected_or_equal(COMPLETE[:start] + COMPLETE[start + count :])


@given(st.integers(0, len(COMPLETE)), st.binary(min_size=1, max_size=50))
def test_added_bytes_are_rejected_or_have_no_effect(at, added):
    assert_rejected_or_equal(COMPLETE[:at] + added + COMPLETE[at:])


@given(st.binary(max_size=200))
@example(b"")
@example(b"PK\x05\x06" + bytes(18))  # an archive of nothing
def test_other_content_is_rejected(content):
    with pytest.raises(CheckpointError, match=r"run.npz is not a complete checkpoint of this library \(.+\)"):
        loaded(content)


def test_a_comment_that_hides_an_entry_is_rejected():
    """This change of a single byte is not detected by the checksums of the members."""
    second = COMPLETE.index(b"PK\x01\x02", COMPLETE.index(b"PK\x01\x02") + 1)
    first = COMPLETE.index(b"PK\x01\x02")
    third = COMPLETE.index(b"PK\x01\x02", second + 1)
    content = bytearray(COMPLETE)
    content[first + 32 : first + 34] = struct.pack("<H", third - second)
    with pytest.raises(CheckpointError, match="arrays are missing"):
        loaded(bytes(content))


def test_a_checkpoint_inside_a_truncated_one_is_rejected():
    outer = saved({"inner": np.frombuffer(saved({}, "inner"), np.uint8)}, "outer")
    end_of_inner = outer.index(b"PK\x05\x06") + 22
    with pytest.raises(CheckpointError):
        loaded(outer[:end_of_inner])


def test_a_missing_file_raises_checkpoint_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"run.npz could not be read: No such file"):
        load_checkpoint(tmp_path / "run.npz")


def test_a_folder_raises_checkpoint_error(tmp_path):
    with pytest.raises(CheckpointError, match="could not be read: Is a directory"):
        load_checkpoint(tmp_path)


# -- malicious files --------------------------------------------------------------------------------------------------


def archive(parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED, *, text: bytes | None = None) -> bytes:
    """Return an archive of these members and of metadata that list them, as in a checkpoint."""
    if text is None:
        text = json.dumps({"arrays": [name.removesuffix(".npy") for name in parts], "text": None}).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as out:
        for name, content in (parts | {"json.npy": npy(np.frombuffer(text, np.uint8))}).items():
            out.writestr(name, content)
    return file.getvalue()


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def with_header(header: str, body: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    raw = header.encode().ljust(117) + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(raw))
    return np.lib.format.magic(*version) + length + raw + body


class Trap:
    """An object whose unpickling creates a folder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_a_valid_archive_made_by_hand_is_read():
    """Without this, the tests below would prove nothing."""
    assert comparable(loaded(archive({"W.npy": npy(ARRAYS["W"])}))) == comparable(({"W": ARRAYS["W"]}, None))


HEADERS = {
    "objects": with_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", pickle.dumps([None])),
    "text": with_header("{'descr': '<U1', 'fortran_order': False, 'shape': (1,)}", b"abcd"),
    "records": with_header("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    "blocks": with_header("{'descr': ('<f8', (1000000000000,)), 'fortran_order': False, 'shape': ()}", bytes(8)),
    "complex numbers": with_header("{'descr': '<c16', 'fortran_order': False, 'shape': (1,)}", bytes(16)),
    "more than there is": with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}", bytes(8)),
    "overflowing": with_header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**62}, 8)}}", bytes(8)),
    "beyond 64 bits": with_header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**70}, 0)}}"),
    "a negative shape": with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}", bytes(8)),
    "two negative shapes": with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}", bytes(8)),
    "less than there is": with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", bytes(9)),
    "a fractional shape": with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1.0,)}", bytes(8)),
    "no header": with_header("[]"),
    "an expression": with_header("__import__('os').getcwd()"),
    "another version": with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", bytes(8), (2, 0)),
    "a deep header": with_header("(" * 100 + ")" * 10),
    "nothing": b"",
}


@pytest.mark.parametrize("part", HEADERS.values(), ids=HEADERS)
def test_an_array_with_a_false_header_is_rejected(part):
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        loaded(archive({"W.npy": part}))


@pytest.mark.parametrize("part", HEADERS.values(), ids=HEADERS)
def test_rejecting_a_false_header_takes_little_memory(part):
    content = archive({"W.npy": part})
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            loaded(content)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("place", ["W.npy", "json.npy"])
def test_a_pickled_array_is_rejected_and_not_unpickled(tmp_path, place):
    created = tmp_path / "created"
    trap = npy(np.array([Trap(str(created))], dtype=object), allow_pickle=True)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr(place, trap)
    with pytest.raises(CheckpointError):
        loaded(file.getvalue())
    assert not created.exists()


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_decompression_bomb_is_rejected_without_decompression(compression):
    content = archive({"W.npy": npy(np.zeros(2_000_000))}, compression)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="its entries are larger than the file"):
            loaded(content)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_small_compressed_member_is_rejected(compression):
    random = np.frombuffer(np.random.default_rng(0).bytes(1000), np.uint8)
    with pytest.raises(CheckpointError, match="is not an uncompressed array"):
        loaded(archive({"W.npy": npy(random)}, compression))


def test_members_that_share_bytes_are_rejected():
    """A bomb without compression: a thousand directory entries that point at one member."""
    content = archive({"W.npy": npy(np.zeros(5000))})
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = content[start : content.index(b"PK\x01\x02", start + 1)]
    entries = entry * 1000 + content[start + len(entry) : end]
    trailer = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1001, 1001, len(entries), start, 0)
    with pytest.raises(CheckpointError, match="its entries are larger than the file"):
        loaded(content[:start] + entries + trailer)


@pytest.mark.parametrize("name", ["W", "W.txt", "../W", "folder/"])
def test_a_member_that_is_not_an_array_is_rejected(name):
    with pytest.raises(CheckpointError, match="is not an uncompressed array"):
        loaded(archive({name: npy(np.ones(2))}))


INVALID_METADATA = [b"", b"{", b"[]", b"null", b"{}", b'{"arrays": null, "text": 1}', b"[" * 100_000, b"\xff"]


@pytest.mark.parametrize("text", INVALID_METADATA, ids=lambda text: text[:8])
def test_invalid_metadata_are_rejected(text):
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        loaded(archive({"W.npy": npy(np.ones(2))}, text=text))


@pytest.mark.parametrize(
    ("arrays", "text", "sentence"),
    [
        ({1: np.ones(1)}, {}, "names of arrays must be strings; got 1"),
        ({}, {"loss": np.float32(1)}, "metadata must be JSON-serialisable"),
    ],
)
def test_content_that_could_not_be_read_is_not_written(tmp_path, arrays, text, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        save_checkpoint(tmp_path / "c.npz", arrays, text)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes of POSIX systems")
def test_a_file_that_is_not_regular_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for a writer
    with pytest.raises(CheckpointError, match="is not a regular file"):
        load_checkpoint(tmp_path / "pipe")


@pytest.mark.parametrize("version", [(2, 0), (3, 0)])
def test_another_version_of_numpys_format_is_rejected(version):
    part = io.BytesIO()
    np.lib.format.write_array(part, np.zeros(2), version=version)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("W.npy", part.getvalue())
    with pytest.raises(CheckpointError, match=re.escape(f"version {version}")):
        loaded(content.getvalue())


def test_an_array_may_be_larger_than_four_gibibytes():
    with zipfile.ZipFile(io.BytesIO(COMPLETE)) as archive:
        assert {entry.extract_version for entry in archive.infolist()} == {zipfile.ZIP64_VERSION}
