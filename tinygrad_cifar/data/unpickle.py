"""Read the pickles of CIFAR-10 without unpickling: an interpreter for the few instructions they need.

A pickle is a program for a small stack machine, and Python's own machine can import and call anything. This
one knows no import and no call. It builds one dictionary from strings to numbers, strings, flat lists of
these, and arrays of bytes; whatever else a file asks for is refused by name.

Why its memory is bounded: a string is copied once, so all strings and arrays together are no longer than the
file; any other instruction makes at most one object of constant size, and `MAX_INSTRUCTIONS` says how many
there can be. Nothing is allocated because a file *says* that something is long. Why its time is bounded: no
instruction walks more than what it takes off the stack, keys are strings (hashing a nest of shared tuples
takes 2**depth steps), and lists hold no lists, so that nothing that comes out is deep or contains itself.
"""

from __future__ import annotations

import enum
import math
import pickletools
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_cifar.data.dataset import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

# An official batch of 10,000 images takes about 30,000: a label, a file name and its entry in the memo each.
MAX_INSTRUCTIONS = 100_000
MAX_NAME = 100

Scalar: TypeAlias = "bytes | str | int | None"
Value: TypeAlias = "Scalar | list[Scalar] | npt.NDArray[np.uint8]"


def unpickle(data: bytes, name: str) -> dict[str, Value]:
    r"""Return the dictionary that a pickled CIFAR-10 file holds.

    Parameters
    ----------
    data : bytes
        The whole file: pickle protocol 2 (the official files, written by Python 2) to 4, with arrays of
        ``uint8`` of one or two axes, in C or Fortran order.
    name : str
        What errors call the file.

    Returns
    -------
    dict
        Keys are ``str``. A value is an ``int``, ``None``, a ``str``, ``bytes`` (a string of Python 2), a list
        of these, or a read-only array of ``uint8``.

    Raises
    ------
    DataError
        For any other content: damaged, cut short, or asking for something that is not data.

    Notes
    -----
    The instructions are those documented in the standard library's ``pickletools``.

    Examples
    --------
    >>> unpickle(b"\x80\x02}U\x06labels](K\x07K\x02es.", "a file")
    {'labels': [7, 2]}
    >>> unpickle(b"\x80\x02cos\nsystem\nU\x04true\x85R.", "it")
    Traceback (most recent call last):
        ...
    tinygrad_cifar.data.dataset.DataError: cannot read it: it asks for os.system, which is not data (byte 13)
    """
    machine = _Machine(data)
    try:
        return machine.run()
    except _RefusedError as refusal:
        raise DataError(f"cannot read {name}: {refusal} (byte {machine.position})") from None


class _RefusedError(Exception):
    """Why a file is not read on; never leaves this module."""


class _Named(enum.Enum):
    """What a file may name: stand-ins for NumPy's objects, which are never within a file's reach."""

    RECONSTRUCT = "the maker of an empty array"
    NDARRAY = "the array type"
    DTYPE = "the element type's type"
    UINT8 = "the element type uint8"


_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): _Named.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Named.RECONSTRUCT,
    ("numpy", "ndarray"): _Named.NDARRAY,
    ("numpy", "dtype"): _Named.DTYPE,
}


class _Array:
    """An array as the file makes it: first empty, then given its content."""

    def __init__(self) -> None:
        self.content: npt.NDArray[np.uint8] | None = None


class _Machine:
    """The stack, the stacks set aside at marks, the memo, and the position in the file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.stack: list[object] = []
        self.outer: list[list[object]] = []
        self.memo: dict[int, object] = {}

    def run(self) -> dict[str, Value]:
        if self.take(1) != b"\x80" or self.number(1) not in {2, 3, 4}:
            raise _RefusedError("it is not a pickle of protocol 2, 3 or 4")
        instructions = 0
        while (code := self.take(1)) != b".":
            instructions += 1
            if instructions > MAX_INSTRUCTIONS:
                raise _RefusedError(f"it has more than {MAX_INSTRUCTIONS} instructions")
            if code not in _INSTRUCTIONS:
                raise _RefusedError(f"it uses {_instruction_name(code)}, an instruction it has no need of")
            _INSTRUCTIONS[code](self)
        return self.result()

    def result(self) -> dict[str, Value]:
        found = self.pop()
        if not isinstance(found, dict) or self.stack or self.outer:
            raise _RefusedError("it does not hold one dictionary")
        if self.position != len(self.data):
            raise _RefusedError("it goes on after its end")
        return found

    # What an instruction reads from the file.

    def take(self, count: int) -> bytes:
        start, self.position = self.position, self.position + count
        if self.position > len(self.data):
            self.position = start
            raise _RefusedError("it is cut short")
        return self.data[start : self.position]

    def number(self, width: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(width), "little", signed=signed)

    def text(self, width: int) -> str:
        try:
            return self.take(self.number(width)).decode()
        except UnicodeDecodeError:
            raise _RefusedError("it holds text that is not UTF-8") from None

    def line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + MAX_NAME)
        if end < 0:
            raise _RefusedError("it holds a name that does not end")
        return self.take(end + 1 - self.position)[:-1].decode("latin-1")

    # What an instruction does to the stack.

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if not self.stack:
            raise _RefusedError("it takes a value where there is none")
        return self.stack.pop()

    def top(self) -> object:
        self.push(top := self.pop())
        return top

    def mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def pop_to_mark(self) -> list[object]:
        if not self.outer:
            raise _RefusedError("it looks for a mark that was never set")
        items, self.stack = self.stack, self.outer.pop()
        return items

    def tuple_of(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(items)))

    def append(self, items: list[object]) -> None:
        target = self.top()
        if not isinstance(target, list):
            raise _RefusedError("it appends to something that is no list")
        for item in items:
            if not _is_scalar(item):
                raise _RefusedError("it holds a list of something else than numbers and strings")
        target += items

    def set_items(self, items: list[object]) -> None:
        target = self.top()
        if not isinstance(target, dict):
            raise _RefusedError("it sets keys of something that is no dictionary")
        if len(items) % 2:
            raise _RefusedError("it has a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_text(key)] = _value(value)

    def put(self, index: int) -> None:
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise _RefusedError(f"it recalls entry {index} of its memo, which was never made")
        self.push(self.memo[index])

    def look_up(self, module: str, name: str) -> None:
        if (module, name) not in _GLOBALS:
            raise _RefusedError(f"it asks for {_printable(f'{module}.{name}')}, which is not data")
        self.push(_GLOBALS[module, name])

    def look_up_on_stack(self) -> None:
        name, module = self.pop(), self.pop()
        self.look_up(_text(module), _text(name))

    def reduce(self) -> None:
        """Stand in for a call: of the two calls that make an array, none has an effect outside the stack."""
        match self.pop(), self.pop():
            case (_Named.NDARRAY, (0,), _), _Named.RECONSTRUCT:
                self.push(_Array())
            case (bytes() | str() as code, _, _), _Named.DTYPE if _text(code) == "u1":
                self.push(_Named.UINT8)
            case _:
                raise _RefusedError("it calls something else than the making of an array of uint8")

    def build(self) -> None:
        """Give an array its content; an element type of one byte has no details, so its state is not read."""
        match self.pop(), self.top():
            case (int(), shape, _Named.UINT8, order, bytes(raw)), _Array() as array:
                array.content = _array(shape, bool(order), raw)
            case tuple(), _Named.UINT8:
                pass
            case _:
                raise _RefusedError("it gives a state to something else than an array of uint8")

    def frame(self) -> None:
        """Skip a frame's length, which helps only readers of streams."""
        self.take(8)


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, bytes | str | int)


def _text(value: object) -> str:
    """Return a string of either Python as text."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str):
        return value
    raise _RefusedError("it has something else than a string for a name")


def _value(value: object) -> object:
    if isinstance(value, _Array) and value.content is not None:
        return value.content
    if isinstance(value, list) or _is_scalar(value):
        return value
    raise _RefusedError("it has a value that is no number, string, list or array")


def _array(shape: object, fortran: bool, raw: bytes) -> npt.NDArray[np.uint8]:
    match shape:
        case (int(),) | (int(), int()) if min(shape) > 0 and math.prod(shape) == len(raw):
            flat = np.frombuffer(raw, np.uint8)
            return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
        case _:
            raise _RefusedError(f"it has an array whose {len(raw)} bytes do not fit its shape")


def _instruction_name(code: bytes) -> str:
    names = {opcode.code: opcode.name for opcode in pickletools.opcodes}
    return names.get(code.decode("latin-1"), f"0x{code.hex()}")


def _printable(name: str) -> str:
    """Return a name as a terminal may safely show it, and no longer than a line."""
    return ascii(name)[1:-1][:MAX_NAME]


_INSTRUCTIONS: dict[bytes, Callable[[_Machine], None]] = {
    # constants and numbers
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.number(1)),
    b"M": lambda m: m.push(m.number(2)),
    b"J": lambda m: m.push(m.number(4, signed=True)),
    b"\x8a": lambda m: m.push(m.number(m.number(1), signed=True)),
    # strings: of Python 2, bytes, text
    b"U": lambda m: m.push(m.take(m.number(1))),
    b"T": lambda m: m.push(m.take(m.number(4))),
    b"C": lambda m: m.push(m.take(m.number(1))),
    b"B": lambda m: m.push(m.take(m.number(4))),
    b"\x8c": lambda m: m.push(m.text(1)),
    b"X": lambda m: m.push(m.text(4)),
    # containers
    b"}": lambda m: m.push({}),
    b"]": lambda m: m.push([]),
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"(": _Machine.mark,
    b"t": lambda m: m.push(tuple(m.pop_to_mark())),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.pop_to_mark()),
    b"s": lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    b"u": lambda m: m.set_items(m.pop_to_mark()),
    # the memo
    b"q": lambda m: m.put(m.number(1)),
    b"r": lambda m: m.put(m.number(4)),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"h": lambda m: m.get(m.number(1)),
    b"j": lambda m: m.get(m.number(4)),
    # arrays
    b"c": lambda m: m.look_up(m.line(), m.line()),
    b"\x93": _Machine.look_up_on_stack,
    b"R": _Machine.reduce,
    b"b": _Machine.build,
    b"\x95": _Machine.frame,
}
