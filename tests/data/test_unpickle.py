"""Safe reader of pickles: the content of the official files, and the rejection of all other content."""

from __future__ import annotations

import contextlib
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tests.support.official_format import Python2Pickler, batch_pickle
from tinygrad_cifar.data.dataset import DataError
from tinygrad_cifar.data.unpickle import MAX_INSTRUCTIONS, unpickle

HEAD = b"\x80\x02"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
EMPTY_ARRAY = RECONSTRUCT + b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R"
UINT8 = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
SMALL = batch_pickle(np.arange(6, dtype=np.uint8).reshape(2, 3), [4, 9])

small_arrays = npst.arrays(np.uint8, npst.array_shapes(min_dims=1, max_dims=2, max_side=9))


def holds_only_data(found: object) -> bool:
    def is_scalar(value: object) -> bool:
        return value is None or type(value) in {int, bool, str, bytes}

    def is_value(value: object) -> bool:
        if type(value) is list:
            return all(is_scalar(item) for item in value)
        if type(value) is np.ndarray:
            return value.dtype == np.uint8
        return is_scalar(value)

    return type(found) is dict and all(type(key) is str and is_value(found[key]) for key in found)


def assert_read_or_rejected(data: bytes) -> None:
    """Check that the bytes give a dictionary of data or DataError."""
    with contextlib.suppress(DataError):
        assert holds_only_data(unpickle(data, "drawn"))


@given(small_arrays, st.lists(st.integers(0, 255), max_size=300), st.booleans())
def test_pickles_of_python_2_are_read(pixels, labels, fortran):
    found = unpickle(batch_pickle(pixels, labels, fortran=fortran), "batch")
    np.testing.assert_array_equal(found["data"], pixels)
    assert found["labels"] == labels


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickles_of_current_numpy_are_read(protocol, order):
    pixels = np.arange(6, dtype=np.uint8).reshape((2, 3), order=order)
    content = {b"data": pixels, b"labels": [6, None, -1, 300, True], "batch_label": "x" * 300, b"n": 2**40}
    found = unpickle(pickle.dumps(content, protocol), "batch")
    np.testing.assert_array_equal(found.pop("data"), pixels)
    assert found == {"labels": [6, None, -1, 300, True], "batch_label": "x" * 300, "n": 2**40}


@pytest.mark.parametrize("encoding", ["bytes", "latin1"])
def test_an_official_batch_that_python_3_has_rewritten_with_protocol_2_is_read(encoding):
    pixels = np.arange(256, dtype=np.uint8).repeat(24).reshape(2, 3072)
    labels = [k % 10 for k in range(10_000)]  # as many labels and file names as in an official file
    official = pickle.loads(batch_pickle(pixels, labels), encoding=encoding)
    found = unpickle(pickle.dumps(official, protocol=2), "rewritten")
    np.testing.assert_array_equal(found["data"], pixels)
    assert found["labels"] == labels
    assert len(found["filenames"]) == 10_000
    assert unpickle(pickle.dumps({"empty": b""}, protocol=2), "empty") == {"empty": b""}


ENCODE = b"c_codecs\nencode\n"
LATIN1 = b"X\x06\x00\x00\x00latin1"


@pytest.mark.parametrize(
    "call",
    [
        ENCODE + b"X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R",  # another codec could run any code
        ENCODE + b"X\x01\x00\x00\x00a\x85R",
        ENCODE + b"U\x01a" + LATIN1 + b"\x86R",
        ENCODE + b"X\x03\x00\x00\x00\xe2\x82\xac" + LATIN1 + b"\x86R",  # a character above 255
        b"c__builtin__\nbytes\nK\x05\x85R",  # would allocate any number of bytes
        ENCODE,
    ],
)
def test_other_calls_for_bytes_are_rejected(call):
    with pytest.raises(DataError, match="cannot read it: it contains"):
        unpickle(HEAD + b"}U\x01a" + call + b"s.", "it")


def test_text_that_is_encoded_many_times_uses_memory_once():
    text = b"X" + (100_000).to_bytes(4, "little") + b"a" * 100_000
    calls = b"h\x00h\x01h\x02\x86R" * 10_000
    data = HEAD + b"}U\x01a](" + ENCODE + b"q\x00" + text + b"q\x01" + LATIN1 + b"q\x02\x86R" + calls + b"es."
    tracemalloc.start()
    found = unpickle(data, "it")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found["a"]) == 10_001
    assert peak < 20 * len(data)


def test_arrays_are_read_only():
    assert not unpickle(SMALL, "batch")["data"].flags.writeable


def test_single_items_are_supported():
    assert unpickle(HEAD + b"}U\x01a]K\x01aK\x02as.", "it") == {"a": [1, 2]}


def test_every_truncation_is_rejected():
    for end in range(len(SMALL)):
        with pytest.raises(DataError):
            unpickle(SMALL[:end], "prefix")


def test_the_error_mentions_truncation():
    with pytest.raises(DataError, match="it is truncated"):
        unpickle(SMALL[:40], "prefix")


def test_bytes_after_the_end_are_rejected():
    with pytest.raises(DataError, match="has bytes after its end"):
        unpickle(SMALL + b"\x00", "it")


@given(st.dictionaries(st.integers(0, len(SMALL) - 1), st.integers(0, 255), min_size=1, max_size=4))
def test_changed_bytes_give_data_or_data_error(changes):
    data = bytearray(SMALL)
    for place, value in changes.items():
        data[place] = value
    assert_read_or_rejected(bytes(data))


@given(st.integers(0, len(SMALL)), st.integers(0, len(SMALL)), st.integers(0, len(SMALL)))
def test_moved_bytes_give_data_or_data_error(start, end, place):
    assert_read_or_rejected(SMALL[:place] + SMALL[start:end] + SMALL[place:])


FRAGMENTS = [
    EMPTY_ARRAY,
    RECONSTRUCT,
    b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n",
    UINT8,
    b"U\x02u1",
    b"U\x01b",
    b"(K\x01K\x02\x85" + UINT8 + b"\x89C\x02abtb",
    b"\x8c\x05numpy",
    b"\x8c\x05dtype",
    b"\x93",
    b"R",
    b"b",
    b"K\x00",
    b"K\x01",
    b"K\x02",
    b"J\xff\xff\xff\xff",
    b"\x8a\x01\xff",
    b"C\x02\x01\x02",
    b"N",
    b"\x88",
    b"}",
    b"]",
    b")",
    b"\x85",
    b"\x86",
    b"\x87",
    b"(",
    b"t",
    b"e",
    b"u",
    b"s",
    b"a",
    b".",
    b"q\x01",
    b"h\x01",
    b"q\x02",
    b"h\x02",
    b"\x94",
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40))
def test_any_program_gives_data_or_data_error(program):
    assert_read_or_rejected(HEAD + b"".join(program) + b".")


@given(st.binary(max_size=200))
def test_any_bytes_give_data_or_data_error(noise):
    assert_read_or_rejected(HEAD + noise)


class Exploit:
    """Pickles as a function call, like an attack."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return exec, ("raise SystemExit('the file was executed')",)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_call_is_rejected_with_its_name(protocol):
    with pytest.raises(DataError, match=r"it contains (builtins|__builtin__)\.exec, which is not data"):
        unpickle(pickle.dumps({"data": Exploit()}, protocol), "attack")


GLOBALS = [
    b"os\nsystem",
    b"posix\nsystem",
    b"builtins\neval",
    b"numpy\nload",
    b"numpy\nndarray.tofile",
    b"numpy.core.multiarray\nscalar",
    b"copyreg\n_reconstructor",
    b"_codecs\ndecode",
]


@pytest.mark.parametrize("name", GLOBALS)
def test_other_globals_are_rejected(name):
    with pytest.raises(DataError, match="contains " + name.decode().replace("\n", r"\.")):
        unpickle(HEAD + b"c" + name + b"\n.", "attack")


def test_names_in_errors_are_printable():
    with pytest.raises(DataError) as refusal:
        unpickle(HEAD + b"cevil\n\x1b[2J\x9b31m\r" + b"x" * 60 + b"\n.", "attack")
    assert str(refusal.value).isprintable()


UNNEEDED = {
    "INST": b"(ios\nsystem\n.",
    "OBJ": b"(cnumpy\ndtype\no.",
    "NEWOBJ": b"cnumpy\ndtype\n)\x81.",
    "NEWOBJ_EX": b"cnumpy\ndtype\n)}\x92.",
    "EXT1": b"\x82\x01.",
    "EXT2": b"\x83\x01\x00.",
    "EXT4": b"\x84\x01\x00\x00\x00.",
    "PERSID": b"P1\n.",
    "BINPERSID": b"K\x01Q.",
    "NEXT_BUFFER": b"\x97.",
    "READONLY_BUFFER": b"\x98.",
    "LONG4": b"\x8b\xff\xff\xff\x7f.",
    "BINBYTES8": b"\x8e" + b"\xff" * 8 + b".",
    "BINUNICODE8": b"\x8d" + b"\xff" * 8 + b".",
    "BYTEARRAY8": b"\x96" + b"\xff" * 8 + b".",
    "FROZENSET": b"(\x91.",
    "EMPTY_SET": b"\x8f.",
    "DUP": b"}2.",
    "POP": b"}0.",
    "LONG": b"L1L\n.",
    "PROTO": b"\x80\x02.",
    "0xff": b"\xff.",
}


@pytest.mark.parametrize("instruction", UNNEEDED)
def test_an_unsupported_instruction_is_rejected_with_its_name(instruction):
    with pytest.raises(DataError, match=rf"it contains {instruction}, an unsupported instruction"):
        unpickle(HEAD + UNNEEDED[instruction], "attack")


def state(shape: bytes, raw: bytes, dtype: bytes = UINT8) -> bytes:
    return b"(K\x01" + shape + dtype + b"\x89C" + bytes([len(raw)]) + raw + b"t"


def in_a_dict(value: bytes) -> bytes:
    return HEAD + b"}U\x01k" + value + b"s."


OBJECTS = b"cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R"
HUGE = b"\x8a\xff" + b"\xff" * 254 + b"\x7f"
LARGE_ARRAY = RECONSTRUCT + b"cnumpy\nndarray\n" + HUGE + b"\x85U\x01b\x87R"
MALFORMED = {
    "reduce on a string": in_a_dict(b"U\x02os)R"),
    "reduce on a placeholder that is not a function": in_a_dict(b"cnumpy\nndarray\n)R"),
    "array of another type": in_a_dict(EMPTY_ARRAY + state(b"K\x02\x85", b"ab", OBJECTS) + b"b"),
    "initial shape that allocates": in_a_dict(LARGE_ARRAY + state(b"K\x02\x85", b"ab") + b"b"),
    "shape larger than the bytes": in_a_dict(EMPTY_ARRAY + state(b"K\x02K\x02\x86", b"ab") + b"b"),
    "shape smaller than the bytes": in_a_dict(EMPTY_ARRAY + state(b"K\x01\x85", b"ab") + b"b"),
    "huge shape": in_a_dict(EMPTY_ARRAY + state(HUGE + HUGE + b"\x86", b"ab") + b"b"),
    "negative shape": in_a_dict(EMPTY_ARRAY + state(b"J\xff\xff\xff\xffJ\xfe\xff\xff\xff\x86", b"ab") + b"b"),
    "shape of nothing": in_a_dict(EMPTY_ARRAY + state(b"K\x00\x85", b"") + b"b"),
    "scalar shape": in_a_dict(EMPTY_ARRAY + state(b")", b"a") + b"b"),
    "three axes": in_a_dict(EMPTY_ARRAY + state(b"K\x01K\x01K\x02\x87", b"ab") + b"b"),
    "shape of strings": in_a_dict(EMPTY_ARRAY + state(b"U\x01a\x85", b"a") + b"b"),
    "state that is a dict": in_a_dict(EMPTY_ARRAY + b"}b"),
    "state of a dict": HEAD + b"}}b.",
    "array without content": in_a_dict(EMPTY_ARRAY),
    "placeholder as a value": in_a_dict(b"cnumpy\ndtype\n"),
    "placeholder in a list": in_a_dict(b"]cnumpy\ndtype\na"),
    "list in a list": in_a_dict(b"]]a"),
    "list in itself": in_a_dict(b"]q\x01h\x01a"),
    "dict in a dict": in_a_dict(b"}"),
    "tuple as a value": in_a_dict(b")"),
    "key that is not hashable": HEAD + b"}]K\x01s.",
    "key that is a tuple": HEAD + b"})K\x01s.",
    "key without a value": HEAD + b"}(U\x01ku.",
    "keys of a list": HEAD + b"](U\x01kK\x01u.",
    "append to a dict": HEAD + b"}K\x01a.",
    "mark not set": HEAD + b"}t.",
    "mark not used": HEAD + b"}(.",
    "value below a mark": HEAD + b"}(K\x01\x86.",
    "empty stack": HEAD + b".",
    "two values": HEAD + b"}}.",
    "no dictionary": HEAD + b"].",
    "missing memo entry": HEAD + b"h\x07.",
    "text that is not UTF-8": HEAD + b"\x8c\x02\xff\xfe.",
    "global by number": HEAD + b"K\x01K\x02\x93.",
    "name without end": HEAD + b"c" + b"a" * 1000,
    "string longer than the file": HEAD + b"T\xff\xff\xff\xff" + b"abc.",
    "text longer than the file": HEAD + b"X\xff\xff\xff\xff" + b"abc.",
    "truncated frame": HEAD + b"\x95\x00\x00",
    "protocol 0": b"(dp0\n.",
    "protocol 5": b"\x80\x05}.",
    "nothing": b"",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_rejected(case):
    with pytest.raises(DataError, match=r"^cannot read attack: it .* \(byte \d+\)$"):
        unpickle(MALFORMED[case], "attack")


def test_keys_of_nested_shared_tuples_are_never_hashed():
    # Hashing this key would take 2**5000 steps.
    with pytest.raises(DataError, match="a name that is not a string"):
        unpickle(HEAD + b"})" + b"q\x01h\x01\x86" * 5000 + b"K\x01s.", "attack")


def test_nesting_deeper_than_the_stack_of_python_does_not_crash():
    with pytest.raises(DataError):
        unpickle(HEAD + b")" + b"\x85" * (MAX_INSTRUCTIONS - 2) + b".", "attack")


def test_the_number_of_instructions_is_bounded():
    with pytest.raises(DataError, match=f"more than {MAX_INSTRUCTIONS} instructions"):
        unpickle(HEAD + b"]" * (MAX_INSTRUCTIONS + 1), "attack")


GREEDY = {
    "empty lists": b"]" * (MAX_INSTRUCTIONS + 9),
    "empty dicts": b"}" * (MAX_INSTRUCTIONS + 9),
    "empty dicts remembered": b"}\x94" * MAX_INSTRUCTIONS,
    "marks": b"(" * (MAX_INSTRUCTIONS + 9),
    "longs": (b"\x8a\xff" + b"\x7f" * 255) * 1000,
    "a string claimed to be long": b"T\xff\xff\xff\x7f",
    "a frame claimed to be long": b"\x95" + b"\xff" * 8,
    "one string again and again": b"T\x40\x42\x0f\x00" + b"s" * 10**6 + b"q\x01" + b"h\x01" * 100_000,
    "lists doubled": b"]q\x01" + b"(h\x01h\x01e" * 1000,
}


@pytest.mark.parametrize("attack", GREEDY)
def test_memory_is_bounded_by_twice_the_file_plus_forty_megabytes(attack):
    data = HEAD + GREEDY[attack]
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            unpickle(data, "attack")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(data) + 40e6


def test_an_official_batch_stays_far_below_the_bounds():
    p = Python2Pickler()
    names = p.items([p.string(b"n%d" % i) for i in range(10_000)])
    labels = p.items([p.integer(i % 10) for i in range(10_000)])
    found = unpickle(p.dictionary(labels=b"]" + labels, filenames=b"]" + names), "batch")
    assert len(found["filenames"]) == 10_000
