"""Where a step's time and memory go: by primitive, by direction, and by line of the program.

A watcher is notified when an operation has been computed, and before and after each VJP. When an operation began is
known from Python's own profiling hook, which reports the calls of the functions of primitives. Both are active inside
the block only. They cost a few microseconds for each operation, so small operations appear slower than they are.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from types import CodeType, FrameType
from typing import Any, Literal, NamedTuple, TypeAlias
from weakref import ref

import numpy as np

from tinygrad_cifar.engine import fast_paths, primitives
from tinygrad_cifar.engine.graph import VJP, Node, Primitive, Value, unwrap_value
from tinygrad_cifar.engine.locations import caller_location
from tinygrad_cifar.engine.modes import Watcher, observe
from tinygrad_cifar.inspection.diagram import format_bytes
from tinygrad_cifar.inspection.nodes import Location

Key: TypeAlias = Literal["primitive", "direction", "line"]
_WIDTH = 80  # of the table, in characters
_MOST_ROWS = 10


class ProfileRow(NamedTuple):
    """What was spent on one primitive, in one direction, for one line of the program; or the sum of several.

    Attributes
    ----------
    primitive : str
        Name of the primitive.
    direction : {"forward", "backward"}
        Whether it was computed, or its VJPs were applied.
    location : Location or None
        The line that called the operation; None for VJPs of operations that were recorded outside the block.
    calls : int
        Number of operations, or of VJPs.
    seconds : float
        Time.
    nbytes : int
        Size of the arrays that were computed.
    saved : int
        Size of the arrays that were saved for VJPs and that nothing had saved before.
    """

    primitive: str
    direction: str
    location: Location | None
    calls: int
    seconds: float
    nbytes: int
    saved: int


class Profile:
    """The result of :func:`profile`; see there for an example.

    Attributes
    ----------
    rows : list of ProfileRow
        One for each primitive, direction and line, the slowest first.
    seconds : float
        Time of the whole block.
    """

    def __init__(self) -> None:
        self.rows: list[ProfileRow] = []
        self.seconds = 0.0

    def by(self, key: Key) -> dict[str, ProfileRow]:
        """Return the sums over all rows with the same primitive, direction or line, the slowest first.

        Parameters
        ----------
        key : {"primitive", "direction", "line"}
            What the rows of a sum have in common.

        Returns
        -------
        dict of str to ProfileRow
            By name, or by ``file:line``, with the path if two files have the same name.

        Raises
        ------
        ValueError
            If ``key`` has another value.
        """
        sums = {name: _add(rows) for name, rows in self._groups(key).items()}
        return dict(sorted(sums.items(), key=lambda item: -item[1].seconds))

    def _groups(self, key: Key) -> dict[str, list[ProfileRow]]:
        """Return the rows by name."""
        files: dict[str, set[str]] = {}
        for location in filter(None, (row.location for row in self.rows)):
            files.setdefault(str(location), set()).add(location.file)

        def line(row: ProfileRow) -> str:
            if row.location is None:
                return "unknown"
            short = str(row.location)
            return short if len(files[short]) == 1 else f"{row.location.file}:{row.location.line}"

        names: dict[str, Callable[[ProfileRow], str]] = {
            "primitive": lambda row: row.primitive,
            "direction": lambda row: row.direction,
            "line": line,
        }
        if key not in names:
            raise ValueError(f"by: key must be {', '.join(names)}; got {key!r}")
        groups: dict[str, list[ProfileRow]] = {}
        for row in self.rows:
            groups.setdefault(names[key](row), []).append(row)
        return groups

    def __str__(self) -> str:
        measured = sum(row.seconds for row in self.rows)
        lines = [f"{_format_seconds(self.seconds)} in all, {_format_seconds(measured)} of it in operations and VJPs"]
        keys: tuple[Key, ...] = ("direction", "primitive", "line")
        for key in keys:
            lines += ["", *_table(key, self.by(key), self.seconds)]
        return "\n".join(lines)

    def to_svg(self) -> str:
        """Return a picture of the time by primitive and by line: bars, forward and backward apart."""
        return _bars(self)

    def _repr_svg_(self) -> str:
        return self.to_svg()


def _add(rows: Sequence[ProfileRow]) -> ProfileRow:
    primitive, direction, location, *_ = rows[0]
    numbers = [sum(column) for column in zip(*[row[3:] for row in rows], strict=True)]
    return ProfileRow(primitive, direction, location, *numbers)


# -- measuring ---------------------------------------------------------------------------------------------------------

# The functions of primitives, which are made by these functions, all have the name "call".
_MAKERS: tuple[Any, ...] = (
    fast_paths._of_x_alone,
    fast_paths._with_other_arguments,
    fast_paths.two_inputs,
    primitives._general,
)
_CODES = [code for maker in _MAKERS for code in maker.__code__.co_consts if isinstance(code, CodeType)]
_CALLS = frozenset(code for code in _CODES if code.co_name == "call")


class _Profiler(Watcher):
    """Adds up time and bytes."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str, Location | None], list[float]] = {}
        self._starts: list[float] = []  # of the calls of primitives that have not returned
        self._vjp_start = self._vjp_seconds = self._vjp_end = 0.0
        self._is_in_vjp = False
        self._saved: dict[int, ref[Any]] = {}

    def on_event(self, frame: FrameType, event: str, _: Any) -> None:
        """Receive the events of Python's profiling hook."""
        if frame.f_code in _CALLS:
            if event == "call":
                self._starts.append(time.perf_counter())
            elif event == "return" and self._starts:
                self._starts.pop()

    def on_operation(self, op: Primitive, arguments: Sequence[Any], out: Value) -> None:  # noqa: ARG002
        now = time.perf_counter()
        if self._is_in_vjp:  # a VJP that is recorded; its whole time is measured
            return
        location = caller_location()
        node = out._node
        if node is not None:
            node.location = location
        seconds = now - self._starts[-1] if self._starts else 0.0
        self._note(op, "forward", Location(*location[:2]), seconds, out._array.nbytes, self._newly_saved(node))

    def on_vjp_start(self, node: Node, vjp: VJP) -> None:  # noqa: ARG002
        self._is_in_vjp = True
        self._vjp_start = time.perf_counter()

    def on_vjp_end(self) -> None:
        self._vjp_end = time.perf_counter()
        self._vjp_seconds = self._vjp_end - self._vjp_start
        self._is_in_vjp = False

    def on_accumulate(self, node: Node, vjp: VJP, terms: Sequence[Any], total: Any) -> None:  # noqa: ARG002
        seconds = self._vjp_seconds + time.perf_counter() - self._vjp_end
        found = getattr(node, "location", None)
        location = Location(*found[:2]) if found is not None else None
        if node.primitive is not None:
            self._note(node.primitive, "backward", location, seconds, np.asarray(unwrap_value(terms[0])).nbytes, 0)

    def _note(
        self, op: Primitive, direction: str, location: Location | None, seconds: float, nbytes: int, saved: int
    ) -> None:
        sums = self.sums.setdefault((op.name, direction, location), [0, 0.0, 0, 0])
        for i, number in enumerate((1, seconds, nbytes, saved)):
            sums[i] += number

    def _newly_saved(self, node: Node | None) -> int:
        """Return the size of the buffers that a node saves and that nothing alive had saved before."""
        total = 0
        for _, _, saved in (node.edges or ()) if node is not None else ():
            for array in saved:
                for part in array if isinstance(array, tuple) else (array,):
                    if not isinstance(part, np.ndarray) or not part.ndim:
                        continue
                    while isinstance(part.base, np.ndarray):
                        part = part.base  # noqa: PLW2901
                    known = self._saved.get(id(part))
                    if known is None or known() is not part:
                        self._saved[id(part)] = ref(part)
                        total += part.nbytes
        return total


@contextmanager
def profile() -> Iterator[Profile]:
    """Measure where the time and the memory of a block of code go.

    The result has sums by primitive, by direction (forward and backward) and by line of the program; ``print`` shows
    them as a table of 80 columns, and a notebook as bars. The operations of the thread or task that enters the block
    are measured. Outside of such blocks nothing is slower. Inside, products that are summed in a gradient are added one
    by one, so its last bits may differ.

    Yields
    ------
    Profile
        Complete when the block has been left.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import Tensor, profile
    >>> W = Tensor(np.ones((100, 100)), requires_grad=True)
    >>> with profile() as p:
    ...     (W @ W).sum().backward()
    >>> {name: row.calls for name, row in p.by("direction").items()} == {"forward": 2, "backward": 3}
    True
    >>> p.by("primitive")["matmul"].saved
    80000
    """
    result, profiler = Profile(), _Profiler()
    previous = sys.getprofile()
    if not (previous is None or callable(previous)):
        raise RuntimeError("profile: another profiler, such as cProfile, is active; stop it before this block")
    started = time.perf_counter()
    sys.setprofile(profiler.on_event if previous is None else _call_both(previous, profiler.on_event))
    try:
        with observe(profiler):
            yield result
    finally:
        sys.setprofile(previous)
        result.seconds = time.perf_counter() - started
        rows = [ProfileRow(*key, *numbers) for key, numbers in profiler.sums.items()]  # type: ignore[arg-type]
        result.rows = sorted(rows, key=lambda row: -row.seconds)


_Hook: TypeAlias = Callable[[FrameType, Any, Any], object]


def _call_both(first: _Hook, second: _Hook) -> _Hook:
    """Return a profile function that calls two, such as those of nested blocks."""

    def on_event(frame: FrameType, event: Any, argument: Any) -> None:
        first(frame, event, argument)
        second(frame, event, argument)

    return on_event


# -- the table and the picture -----------------------------------------------------------------------------------------


def _table(key: str, sums: dict[str, ProfileRow], total: float) -> list[str]:
    """Return the lines of a table: the slowest rows, and the sum of the others."""
    shown = list(sums.items())
    if len(shown) > _MOST_ROWS:
        rest = [row for _, row in shown[_MOST_ROWS - 1 :]]
        shown = [*shown[: _MOST_ROWS - 1], (f"{len(rest)} others", _add(rest))]
    cells = [(f"by {key}", "calls", "time", "share", "computed", "saved")]
    for name, row in shown:
        share = f"{100 * row.seconds / total:.1f} %" if total else ""
        sizes = format_bytes(row.nbytes), format_bytes(row.saved) if row.saved else ""
        cells.append((name, f"{row.calls:,}", _format_seconds(row.seconds), share, *sizes))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    widths[0] = min(widths[0], _WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1))
    lines = []
    for name, *others in cells:
        name = name if len(name) <= widths[0] else f"…{name[1 - widths[0] :]}"  # noqa: PLW2901
        lines.append("  ".join([f"{name:<{widths[0]}}", *map(str.rjust, others, widths[1:])]).rstrip())
    return lines


_ROUNDED_TO_1 = 0.9995  # with three digits


def _format_seconds(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        amount = seconds * factor
        if amount >= _ROUNDED_TO_1:
            return f"{amount:.0f} {unit}" if amount >= 1000 * _ROUNDED_TO_1 else f"{amount:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


_BAR, _NAME, _ROW = 300.0, 170.0, 22.0
_COLOURS = {"forward": "#1d5fbf", "backward": "#e08a00"}


def _bars(p: Profile) -> str:
    """Return bars for primitives and lines, each with a part for forward and one for backward."""
    parts, y = [], 20.0
    keys: tuple[Key, ...] = ("primitive", "line")
    for key in keys:
        groups = p._groups(key)
        sums = list(p.by(key).items())[:_MOST_ROWS]
        longest = max([row.seconds for _, row in sums], default=0.0) or 1.0
        parts.append(f'<text x="0" y="{y:.0f}" font-weight="bold">Time by {key}</text>')
        for name, row in sums:
            y += _ROW
            x = _NAME
            source = row.location.source if key == "line" and row.location is not None else ""
            parts.append(f"<g><title>{escape(source or name)}</title>")
            parts.append(f'<text x="{_NAME - 8:.0f}" y="{y:.0f}" text-anchor="end">{escape(name[-24:])}</text>')
            for direction, colour in _COLOURS.items():
                width = _BAR * sum(r.seconds for r in groups[name] if r.direction == direction) / longest
                parts.append(f'<rect x="{x:.1f}" y="{y - 12:.0f}" width="{width:.1f}" height="15" fill="{colour}"/>')
                x += width
            parts.append(f'<text x="{x + 6:.0f}" y="{y:.0f}">{_format_seconds(row.seconds)}</text></g>')
        y += 2 * _ROW
    for i, (direction, colour) in enumerate(_COLOURS.items()):
        parts.append(f'<rect x="{_NAME + 100 * i:.0f}" y="{y - 23:.0f}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{_NAME + 18 + 100 * i:.0f}" y="{y - 12:.0f}">{direction}</text>')
    width = _NAME + _BAR + 80
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 0 {width:.0f} {y:.0f}" width="{width:.0f}" role="img" '
        f'aria-label="Time by primitive and by line" font-family="sans-serif" font-size="12" fill="currentColor">'
        f"{''.join(parts)}</svg>"
    )
