"""Checkpoints: what comes back is what went in, or one sentence that says why not."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
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


def described(checkpoint) -> object:
    """Return everything in a checkpoint, to the bit."""
    arrays, text = checkpoint
    return {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()}, json.dumps(text)


WHOLE = saved()
CONTENT = described(loaded(WHOLE))


def assert_refused_or_the_same(content: bytes) -> None:
    try:
        found = loaded(content)
    except CheckpointError:
        return
    assert described(found) == CONTENT


# -- there and back --------------------------------------------------------------------------------------------------


@given(st.dictionaries(names, arrays, max_size=3), texts)
def test_what_comes_back_is_what_went_in_to_the_bit(arrays, text):
    assert described(loaded(saved(arrays, text))) == described((arrays, text))


@given(arrays, st.sampled_from(["F", "reversed", "strided", "read-only"]))
def test_the_layout_in_memory_does_not_matter(array, layout):
    if layout == "F":
        array = np.asfortranarray(array)
    elif layout == "read-only":
        array.flags.writeable = False
    elif array.ndim:
        array = array[::-1] if layout == "reversed" else np.repeat(array, 2, axis=0)[::2]
    (back,) = loaded(saved({"x": array}))[0].values()
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


@given(arrays)
def test_what_comes_back_can_be_written_to(array):
    (back,) = loaded(saved({"x": array}))[0].values()
    assert back.flags.writeable
    assert back.flags.c_contiguous


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -0.0, 5e-324, 2**100])
def test_numbers_in_the_text_come_back(number):
    assert repr(loaded(saved({}, number))[1]) == repr(number)


def test_the_same_content_gives_the_same_file():
    assert saved() == WHOLE


def test_numpy_alone_can_read_the_arrays(tmp_path):
    (tmp_path / "run.npz").write_bytes(WHOLE)
    with np.load(tmp_path / "run.npz", allow_pickle=False) as file:
        assert file["W"].tolist() == ARRAYS["W"].tolist()


def test_a_path_may_be_text(tmp_path):
    save_checkpoint(str(tmp_path / "run.npz"), ARRAYS, TEXT)
    assert described(load_checkpoint(str(tmp_path / "run.npz"))) == CONTENT


# -- writing: all or nothing -----------------------------------------------------------------------------------------


def disk_full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


WHERE = [(os, "fsync"), (Path, "replace"), (zipfile.ZipFile, "open"), (np.lib.format, "write_array")]


@pytest.mark.parametrize(("owner", "name"), WHERE, ids=[name for _, name in WHERE])
def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch, owner, name):
    monkeypatch.setattr(owner, name, disk_full)
    with pytest.raises(CheckpointError, match=r"run.npz could not be written \(No space left on device\)"):
        save_checkpoint(tmp_path / "run.npz", ARRAYS, TEXT)


@pytest.mark.parametrize(("owner", "name"), WHERE, ids=[name for _, name in WHERE])
def test_a_full_disk_leaves_the_checkpoint_before_and_no_litter(tmp_path, monkeypatch, owner, name):
    path = tmp_path / "run.npz"
    path.write_bytes(WHOLE)
    monkeypatch.setattr(owner, name, disk_full)
    with pytest.raises(CheckpointError):
        save_checkpoint(path, {"W": np.ones(2)}, None)
    monkeypatch.undo()
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [WHOLE]


def test_the_checkpoint_before_is_spoken_of_only_if_there_was_one(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(CheckpointError, match=r"\(No space left on device\)$"):
        save_checkpoint(tmp_path / "run.npz", ARRAYS, TEXT)
    (tmp_path / "run.npz").write_bytes(WHOLE)
    with pytest.raises(CheckpointError, match=r"the one before it is unharmed$"):
        save_checkpoint(tmp_path / "run.npz", ARRAYS, TEXT)


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match=r"could not be written \(No such file"):
        save_checkpoint(tmp_path / "nowhere" / "run.npz", ARRAYS, TEXT)


@pytest.mark.parametrize("dtype", ["U1", "c16", "O", "M8[s]", "i4,f4"])
def test_what_is_not_real_numbers_is_not_written(tmp_path, dtype):
    with pytest.raises(CheckpointError, match=r"W is of .*; only real numbers can be kept"):
        save_checkpoint(tmp_path / "run.npz", {"W": np.zeros(1, dtype)}, None)
    assert list(tmp_path.iterdir()) == []


def test_no_array_can_take_the_place_of_the_text(tmp_path):
    with pytest.raises(CheckpointError, match="no array can be called json"):
        save_checkpoint(tmp_path / "run.npz", {"json": np.ones(1)}, None)


# -- reading: damage -------------------------------------------------------------------------------------------------


def test_every_truncation_is_refused():
    for length in range(len(WHOLE)):
        with pytest.raises(CheckpointError, match="not a whole checkpoint"):
            loaded(WHOLE[:length])


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_are_refused_or_do_not_matter(changes):
    content = bytearray(WHOLE)
    for at, byte in changes:
        content[at] = byte
    assert_refused_or_the_same(bytes(content))


@pytest.mark.parametrize("byte", [0, 1, 51, 0x7F, 0xFF])
def test_any_byte_of_the_list_of_contents_can_change(byte):
    for at in range(WHOLE.index(b"PK\x01\x02"), len(WHOLE)):
        assert_refused_or_the_same(WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :])


@given(st.integers(0, len(WHOLE)), st.integers(1, 200))
def test_missing_bytes_are_refused_or_do_not_matter(start, count):
    assert_refused_or_the_same(WHOLE[:start] + WHOLE[start + count :])


@given(st.integers(0, len(WHOLE)), st.binary(min_size=1, max_size=50))
def test_added_bytes_are_refused_or_do_not_matter(at, added):
    assert_refused_or_the_same(WHOLE[:at] + added + WHOLE[at:])


@given(st.binary(max_size=200))
@example(b"")
@example(b"PK\x05\x06" + bytes(18))  # an archive of nothing
def test_anything_else_is_refused(content):
    with pytest.raises(CheckpointError, match=r"run.npz is not a whole checkpoint of this library \(.+\)"):
        loaded(content)


def test_a_comment_that_swallows_an_entry_is_refused():
    """The one change of a single byte that a checksum of every part does not see."""
    second = WHOLE.index(b"PK\x01\x02", WHOLE.index(b"PK\x01\x02") + 1)
    first = WHOLE.index(b"PK\x01\x02")
    third = WHOLE.index(b"PK\x01\x02", second + 1)
    content = bytearray(WHOLE)
    content[first + 32 : first + 34] = struct.pack("<H", third - second)
    with pytest.raises(CheckpointError, match="arrays are missing"):
        loaded(bytes(content))


def test_a_checkpoint_inside_the_array_of_a_truncated_one_is_not_taken_for_it():
    outer = saved({"inner": np.frombuffer(saved({}, "inner"), np.uint8)}, "outer")
    end_of_the_inner_one = outer.index(b"PK\x05\x06") + 22
    with pytest.raises(CheckpointError):
        loaded(outer[:end_of_the_inner_one])


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match=r"run.npz could not be read: No such file"):
        load_checkpoint(tmp_path / "run.npz")


def test_a_folder_in_its_place_is_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match="could not be read: Is a directory"):
        load_checkpoint(tmp_path)


# -- reading: malice -------------------------------------------------------------------------------------------------


def archive(parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED, *, text: bytes | None = None) -> bytes:
    """Return an archive of these parts and of a text that lists them, as a checkpoint has it."""
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
    """An object whose unpickling makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_an_archive_made_by_hand_would_be_read():
    """Or the refusals below would say nothing."""
    assert described(loaded(archive({"W.npy": npy(ARRAYS["W"])}))) == described(({"W": ARRAYS["W"]}, None))


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
def test_an_array_with_a_header_that_lies_is_refused(part):
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        loaded(archive({"W.npy": part}))


@pytest.mark.parametrize("part", HEADERS.values(), ids=HEADERS)
def test_refusing_a_lie_takes_little_memory(part):
    content = archive({"W.npy": part})
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            loaded(content)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("place", ["W.npy", "json.npy"])
def test_a_pickled_array_is_refused_and_not_unpickled(tmp_path, place):
    sprung = tmp_path / "sprung"
    trap = npy(np.array([Trap(str(sprung))], dtype=object), allow_pickle=True)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr(place, trap)
    with pytest.raises(CheckpointError):
        loaded(file.getvalue())
    assert not sprung.exists()


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_bomb_is_refused_unopened(compression):
    content = archive({"W.npy": npy(np.zeros(2_000_000))}, compression)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="more than its own size"):
            loaded(content)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_part_is_refused_even_if_it_is_small(compression):
    random = np.frombuffer(np.random.default_rng(0).bytes(1000), np.uint8)
    with pytest.raises(CheckpointError, match="is no plain array"):
        loaded(archive({"W.npy": npy(random)}, compression))


def test_parts_that_share_their_bytes_cannot_add_up_to_more_than_the_file():
    """A bomb without compression: a thousand entries of the list of contents that all point at one part."""
    content = archive({"W.npy": npy(np.zeros(5000))})
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = content[start : content.index(b"PK\x01\x02", start + 1)]
    entries = entry * 1000 + content[start + len(entry) : end]
    trailer = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1001, 1001, len(entries), start, 0)
    with pytest.raises(CheckpointError, match="more than its own size"):
        loaded(content[:start] + entries + trailer)


@pytest.mark.parametrize("name", ["W", "W.txt", "../W", "folder/"])
def test_a_part_that_is_no_array_is_refused(name):
    with pytest.raises(CheckpointError, match="is no plain array"):
        loaded(archive({name: npy(np.ones(2))}))


NO_TEXTS = [b"", b"{", b"[]", b"null", b"{}", b'{"arrays": null, "text": 1}', b"[" * 100_000, b"\xff"]


@pytest.mark.parametrize("text", NO_TEXTS, ids=lambda text: text[:8])
def test_a_text_that_is_none_is_refused(text):
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        loaded(archive({"W.npy": npy(np.ones(2))}, text=text))


@pytest.mark.parametrize(
    ("arrays", "text", "sentence"),
    [
        ({1: np.ones(1)}, {}, "an array's name must be text, not 1"),
        ({}, {"loss": np.float32(1)}, "the metadata cannot be kept"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(tmp_path, arrays, text, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        save_checkpoint(tmp_path / "c.npz", arrays, text)
    assert not list(tmp_path.iterdir())
