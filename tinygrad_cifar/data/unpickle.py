"""Safe reader of the pickles of CIFAR-10: an interpreter of the few pickle instructions that they use.

A pickle is a program for a stack machine, and Python's own machine can import and call any function. This one supports
neither. It builds a dictionary of strings to integers, strings, flat lists of these, and byte arrays; all other content
is rejected with its name.

Memory is bounded: a string is copied once, and once more if it is encoded, so all strings and arrays together are not
longer than a small multiple of the file; every other instruction creates at most one object of constant size, and there
are at most `MAX_INSTRUCTIONS`. Declared lengths never cause allocations. Time is bounded: an instruction processes only
the objects that it takes from the stack, keys are strings (hashing nested shared tuples takes 2**depth steps), and
lists do not contain lists, so the result is not nested.
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

# An official batch of 10,000 images has about 30,000: a label, a file name and a memo entry per image. Rewritten by
# Python 3 with protocol 2, it has 80,000: each file name is a call.
MAX_INSTRUCTIONS = 150_000
MAX_NAME = 100

Scalar: TypeAlias = "bytes | str | int | None"
Value: TypeAlias = "Scalar | list[Scalar] | npt.NDArray[np.uint8]"


def unpickle(data: bytes, name: str) -> dict[str, Value]:
    r"""Return the dictionary in a pickled CIFAR-10 file.

    Parameters
    ----------
    data : bytes
        Content of the file: pickle protocol 2 (the official files, written by Python 2, or files written by Python 3)
        to 4, with uint8 arrays of one or two dimensions in C or Fortran order.
    name : str
        Name of the file in error messages.

    Returns
    -------
    dict
        Values are ``int``, ``None``, ``str``, ``bytes`` (strings of Python 2), lists of these, or read-only uint8
        arrays.

    Raises
    ------
    DataError
        If the content is damaged, truncated, or contains anything else, such as a function.

    Notes
    -----
    The instructions are documented in the module ``pickletools`` of the standard library.

    Examples
    --------
    >>> unpickle(b"\x80\x02}U\x06labels](K\x07K\x02es.", "labels.pickle")
    {'labels': [7, 2]}
    >>> unpickle(b"\x80\x02cos\nsystem\nU\x04true\x85R.", "attack.pickle")
    Traceback (most recent call last):
        ...
    tinygrad_cifar.data.dataset.DataError: cannot read attack.pickle: it contains os.system, which is not data (byte 13)
    """
    machine = _Machine(data)
    try:
        return machine.run()
    except _RefusedError as refusal:
        raise DataError(f"cannot read {name}: {refusal} (byte {machine.position})") from None


class _RefusedError(Exception):
    """Reason why a file is rejected; caught in this module."""


class _Named(enum.Enum):
    """Objects that a file may name: placeholders for NumPy's objects, which the machine never uses."""

    RECONSTRUCT = "function that creates an empty array"
    NDARRAY = "array type"
    DTYPE = "class of element types"
    UINT8 = "element type uint8"
    ENCODE = "function that turns text into bytes"
    BYTES = "class of bytes"


_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): _Named.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Named.RECONSTRUCT,
    ("numpy", "ndarray"): _Named.NDARRAY,
    ("numpy", "dtype"): _Named.DTYPE,
    # Python 3 writes bytes with protocol 2, which cannot represent them, as calls.
    ("_codecs", "encode"): _Named.ENCODE,
    ("__builtin__", "bytes"): _Named.BYTES,
}


class _Array:
    """An array under construction: empty until its content is set."""

    def __init__(self) -> None:
        self.content: npt.NDArray[np.uint8] | None = None


class _Machine:
    """State of the interpreter: stack, stacks saved at marks, memo and position in the file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.stack: list[object] = []
        self.outer: list[list[object]] = []
        self.memo: dict[int, object] = {}
        self.encoded: dict[int, tuple[str, bytes]] = {}

    def run(self) -> dict[str, Value]:
        if self.take(1) != b"\x80" or self.number(1) not in {2, 3, 4}:
            raise _RefusedError("it is not a pickle of protocol 2, 3 or 4")
        instructions = 0
        while (code := self.take(1)) != b".":
            instructions += 1
            if instructions > MAX_INSTRUCTIONS:
                raise _RefusedError(f"it has more than {MAX_INSTRUCTIONS} instructions")
            if code not in _INSTRUCTIONS:
                raise _RefusedError(f"it contains {_instruction_name(code)}, an unsupported instruction")
            _INSTRUCTIONS[code](self)
        return self.result()

    def result(self) -> dict[str, Value]:
        found = self.pop()
        if not isinstance(found, dict) or self.stack or self.outer:
            raise _RefusedError("it does not contain exactly one dictionary")
        if self.position != len(self.data):
            raise _RefusedError("it has bytes after its end")
        return found

    # Reading the arguments of instructions.

    def take(self, count: int) -> bytes:
        start, self.position = self.position, self.position + count
        if self.position > len(self.data):
            self.position = start
            raise _RefusedError("it is truncated")
        return self.data[start : self.position]

    def number(self, width: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(width), "little", signed=signed)

    def text(self, width: int) -> str:
        try:
            return self.take(self.number(width)).decode()
        except UnicodeDecodeError:
            raise _RefusedError("it contains text that is not UTF-8") from None

    def line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + MAX_NAME)
        if end < 0:
            raise _RefusedError("it contains an unterminated name")
        return self.take(end + 1 - self.position)[:-1].decode("latin-1")

    # Operations on the stack.

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if not self.stack:
            raise _RefusedError("it takes a value from an empty stack")
        return self.stack.pop()

    def top(self) -> object:
        self.push(top := self.pop())
        return top

    def mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def pop_to_mark(self) -> list[object]:
        if not self.outer:
            raise _RefusedError("it refers to a mark that was not set")
        items, self.stack = self.stack, self.outer.pop()
        return items

    def tuple_of(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(items)))

    def append(self, items: list[object]) -> None:
        target = self.top()
        if not isinstance(target, list):
            raise _RefusedError("it appends to an object that is not a list")
        for item in items:
            if not _is_scalar(item):
                raise _RefusedError("it contains a list with values other than integers and strings")
        target += items

    def set_items(self, items: list[object]) -> None:
        target = self.top()
        if not isinstance(target, dict):
            raise _RefusedError("it sets keys of an object that is not a dictionary")
        if len(items) % 2:
            raise _RefusedError("it has a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_text(key)] = _value(value)

    def put(self, index: int) -> None:
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise _RefusedError(f"it refers to memo entry {index}, which does not exist")
        self.push(self.memo[index])

    def look_up(self, module: str, name: str) -> None:
        if (module, name) not in _GLOBALS:
            raise _RefusedError(f"it contains {_escape(f'{module}.{name}')}, which is not data")
        self.push(_GLOBALS[module, name])

    def look_up_on_stack(self) -> None:
        name, module = self.pop(), self.pop()
        self.look_up(_text(module), _text(name))

    def reduce(self) -> None:
        """Simulate a call: those that construct an array affect only the stack, and two construct bytes."""
        match self.pop(), self.pop():
            case (_Named.NDARRAY, (0,), _), _Named.RECONSTRUCT:
                self.push(_Array())
            case (bytes() | str() as code, _, _), _Named.DTYPE if _text(code) == "u1":
                self.push(_Named.UINT8)
            case (str() as text, str() | bytes() as encoding), _Named.ENCODE if _text(encoding) == "latin1":
                self.push(self.encode(text))
            case (), _Named.BYTES:
                self.push(b"")
            case _:
                raise _RefusedError("it contains a call other than the construction of bytes or a uint8 array")

    def encode(self, text: str) -> bytes:
        """Return a string as bytes; the same object for the same string, so that repeated calls use no memory."""
        if id(text) not in self.encoded:
            try:
                self.encoded[id(text)] = text, text.encode("latin-1")
            except UnicodeEncodeError:
                raise _RefusedError("it contains bytes above 255") from None
        return self.encoded[id(text)][1]

    def build(self) -> None:
        """Set the content of an array; the state of an element type is ignored, since uint8 has no options."""
        match self.pop(), self.top():
            case (int(), shape, _Named.UINT8, order, bytes(raw)), _Array() as array:
                array.content = _array(shape, bool(order), raw)
            case tuple(), _Named.UINT8:
                pass
            case _:
                raise _RefusedError("it sets the state of an object other than a uint8 array")

    def frame(self) -> None:
        """Skip the length of a frame, which only readers of streams need."""
        self.take(8)


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, bytes | str | int)


def _text(value: object) -> str:
    """Return a string of Python 2 or 3 as str."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str):
        return value
    raise _RefusedError("it contains a name that is not a string")


def _value(value: object) -> object:
    if isinstance(value, _Array) and value.content is not None:
        return value.content
    if isinstance(value, list) or _is_scalar(value):
        return value
    raise _RefusedError("it contains a value other than an integer, string, list or array")


def _array(shape: object, fortran: bool, raw: bytes) -> npt.NDArray[np.uint8]:
    match shape:
        case (int(),) | (int(), int()) if min(shape) > 0 and math.prod(shape) == len(raw):
            flat = np.frombuffer(raw, np.uint8)
            return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
        case _:
            raise _RefusedError(f"it contains an array whose shape does not match its {len(raw)} bytes")


def _instruction_name(code: bytes) -> str:
    names = {opcode.code: opcode.name for opcode in pickletools.opcodes}
    return names.get(code.decode("latin-1"), f"0x{code.hex()}")


def _escape(name: str) -> str:
    """Return a name with control characters escaped, truncated to the length of a line."""
    return ascii(name)[1:-1][:MAX_NAME]


_INSTRUCTIONS: dict[bytes, Callable[[_Machine], None]] = {
    # constants and integers
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
