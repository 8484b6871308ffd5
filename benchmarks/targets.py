"""The targets that this project set itself, beside what was measured: met or missed is computed, never typed in."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from operator import itemgetter
from typing import Any, NamedTuple

from benchmarks import memory
from benchmarks.contestants import BARE, HAND, OURS, PEERS
from benchmarks.timing import ratio, spread
from benchmarks.works import LARGER, REPORTS_TWO_NETS, TWO_LAYERS, Work

Results = dict[str, Any]


class Verdict(NamedTuple):
    """A target beside the worst that was measured.

    Attributes
    ----------
    target : str
        What is judged.
    limit, measured : float
        In the unit that the target names; a ratio, if it names none.
    where : str
        In which case it was measured, of those that the target covers.
    at_least : bool
        Whether the limit is the lowest allowed; by default it is the highest.
    """

    target: str
    limit: float
    measured: float
    where: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether what was measured is within the limit."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    @property
    def allowed(self) -> str:
        """The limit in words."""
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g}"


def verdicts(results: Results) -> list[Verdict]:
    """Return a verdict for each target whose part was measured."""
    parts = {"step": _step, "overhead": _overhead, "chain": _chain, "memory": _memory, "startup": _startup}
    return [verdict for part, judge in parts.items() if part in results for verdict in judge(results[part])]


def _step(result: Results) -> Iterator[Verdict]:
    by_hand, by_floor = _ratios(result, HAND), _ratios(result, BARE)
    if by_hand:
        yield Verdict("step over hand-derived NumPy's, all works", 1.05, *max(by_hand))
        yield Verdict("the same, as we would like it", 0.8, *max(by_hand))
        yield Verdict("two-layer step over hand-derived NumPy's", 1.15, *max(_of(by_hand, TWO_LAYERS)))
    if by_floor:
        yield Verdict("step over the bare kernels', larger works", 1.25, *max(_of(by_floor, *LARGER)))
    leads = [(1 / times, f"{where}, {peer}") for peer in PEERS for times, where in _ratios(result, peer)]
    if leads:
        yield Verdict("any peer's step over ours, all works", 1, *min(leads), at_least=True)
        yield Verdict(
            "any peer's step over ours, the first two works", 1.3, *min(_of(leads, *REPORTS_TWO_NETS)), at_least=True
        )


def _ratios(result: Results, to: str) -> list[tuple[float, str]]:
    """Return this library's median ratio to another contestant in each work where both took part."""
    return [
        (ratio(row["seconds"][OURS], row["seconds"][to]).median, str(Work.from_json(row["work"])))
        for row in result["rows"]
        if {OURS, to} <= row["seconds"].keys()
    ]


def _of(found: list[tuple[float, str]], *works: str) -> list[tuple[float, str]]:
    return [(figure, where) for figure, where in found if where.startswith(works)]


def _overhead(result: Results) -> Iterator[Verdict]:
    for way, limit in (("forward", 1.5), ("backward", 2.5)):
        small = [row for row in result["rows"] if row["size"] == "small" and row[way] is not None]
        worst = max(small, key=itemgetter(way))
        middle = spread([row[way] for row in small]).median
        where = f"{worst['operation']}; median of all {middle:.2f}"
        yield Verdict(f"us of a small operation over NumPy, {way}", limit, worst[way], where)


def _chain(result: Results) -> Iterator[Verdict]:
    few = 10  # Python's own objects come and go; a cycle would leave all of the chain's
    seconds = result["forward"] + result["backward"]
    where = f"{seconds:.1f} s, the gradient is {'exact' if result['exact'] else 'WRONG'}"
    left = result["left"] if result["exact"] else inf
    yield Verdict(f"objects left of {result['operations']:,} operations", few, left, where)


def _memory(result: Results) -> Iterator[Verdict]:
    worst = max(result["rows"], key=memory.peak_ratio)
    where = str(Work.from_json(worst["work"]))
    yield Verdict("peak memory of a step over hand-derived NumPy's", 1.1, memory.peak_ratio(worst), where)


def _startup(result: Results) -> Iterator[Verdict]:
    taken = spread(result["beyond"])
    yield Verdict("ms to import, beyond NumPy", 30, taken.median, f"quartiles {taken.low:.1f} - {taken.high:.1f}")


def lines(results: Results) -> list[str]:
    """Return the verdicts for a terminal."""
    out = []
    for verdict in verdicts(results):
        out += [
            f"{'met   ' if verdict.met else 'MISSED'} {verdict.target}: {verdict.allowed}",
            f"       measured {verdict.measured:.2f} ({verdict.where})",
        ]
    return out


def markdown(results: Results) -> list[str]:
    """Return the verdicts as a table for the documentation."""
    rows = [
        f"| {v.target} | {v.allowed} | **{v.measured:.2f}** ({v.where}) | {'met' if v.met else '**missed**'} |"
        for v in verdicts(results)
    ]
    return ["| target | limit | measured, in the worst case | |", "|---|---|---|---|", *rows]
