"""Targets of this project, compared with the measurements."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from operator import itemgetter
from typing import Any, NamedTuple

from benchmarks import convnet, convolution, memory, patchify
from benchmarks.implementations import BARE, HAND, OURS, PEERS, TORCH
from benchmarks.models import measurement as models
from benchmarks.models.model import GOALS, MEMORY
from benchmarks.timing import ratio, spread
from benchmarks.workloads import LARGER, REPORTS_TWO_NETS, TWO_LAYERS, Workload
from tinygrad_cifar.system import blas

Results = dict[str, Any]

_NARROW = 24  # channels: a product with few columns takes relatively long


class Verdict(NamedTuple):
    """A target and the worst measurement that it covers.

    Attributes
    ----------
    target : str
        Quantity, with its unit unless it is a ratio.
    limit : float
        Limit of the quantity.
    measured : float
        Worst measurement.
    where : str
        Case of the worst measurement.
    at_least : bool
        If True, the limit is a minimum; otherwise a maximum.
    """

    target: str
    limit: float
    measured: float
    where: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the measurement is within the limit."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    @property
    def allowed(self) -> str:
        """Limit in words."""
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g}"


def verdicts(results: Results) -> list[Verdict]:
    """Return a verdict for each target whose part was measured."""
    parts = {
        "step": _step,
        "overhead": _overhead,
        "chain": _chain,
        "memory": _memory,
        "startup": _startup,
        "convolution": _convolution,
        "convnet": _convnet,
        "patchify": _patchify,
        "models": _models,
    }
    return [verdict for part, judge in parts.items() if part in results for verdict in judge(results[part])]


def _step(result: Results) -> Iterator[Verdict]:
    to_hand, to_bare = _ratios(result, HAND), _ratios(result, BARE)
    if to_hand:
        yield Verdict("step over hand-derived NumPy's, all workloads", 1.05, *max(to_hand))
        yield Verdict("step over hand-derived NumPy's, all workloads (stretch goal)", 0.8, *max(to_hand))
        yield Verdict("two-layer step over hand-derived NumPy's", 1.15, *max(_select(to_hand, TWO_LAYERS)))
    if to_bare:
        yield Verdict("step over the bare kernels', larger workloads", 1.25, *max(_select(to_bare, *LARGER)))
    leads = [(1 / times, f"{where}, {peer}") for peer in PEERS for times, where in _ratios(result, peer)]
    if leads:
        yield Verdict("any peer's step over ours, all workloads", 1, *min(leads), at_least=True)
        yield Verdict(
            "any peer's step over ours, the first two workloads",
            1.3,
            *min(_select(leads, *REPORTS_TWO_NETS)),
            at_least=True,
        )


def _ratios(result: Results, to: str) -> list[tuple[float, str]]:
    """Return the median ratio of this library to another implementation, for each workload with the other one.

    It is infinite where this library was left out because its results differ.
    """
    return [
        (
            ratio(row["seconds"][OURS], row["seconds"][to]).median if OURS in row["seconds"] else inf,
            str(Workload.from_json(row["workload"])),
        )
        for row in result["rows"]
        if to in row["seconds"]
    ]


def _select(found: list[tuple[float, str]], *workloads: str) -> list[tuple[float, str]]:
    return [(value, where) for value, where in found if where.startswith(workloads)]


def _overhead(result: Results) -> Iterator[Verdict]:
    for way, limit in (("forward", 1.5), ("backward", 2.5)):
        small = [row for row in result["rows"] if row["size"] == "small" and row[way] is not None]
        worst = max(small, key=itemgetter(way))
        middle = spread([row[way] for row in small]).median
        yield Verdict(f"us of a small operation over NumPy, {way}", limit, worst[way], worst["operation"])
        yield Verdict(f"us of a small operation over NumPy, {way}, median", 0.35, middle, f"{len(small)} operations")


def _chain(result: Results) -> Iterator[Verdict]:
    few = 10  # objects of the interpreter vary; a reference cycle would leave the whole chain
    seconds = result["forward"] + result["backward"]
    where = f"{seconds:.1f} s, the gradient is {'exact' if result['exact'] else 'WRONG'}"
    left = result["left"] if result["exact"] else inf
    yield Verdict(f"objects left of {result['operations']:,} operations", few, left, where)


def _memory(result: Results) -> Iterator[Verdict]:
    worst = max(result["rows"], key=memory.peak_ratio)
    where = str(Workload.from_json(worst["workload"]))
    yield Verdict("peak memory of a step over hand-derived NumPy's", 1.1, memory.peak_ratio(worst), where)


def _startup(result: Results) -> Iterator[Verdict]:
    taken = spread(result["beyond"])
    yield Verdict("ms to import, beyond NumPy", 30, taken.median, f"quartiles {taken.low:.1f} - {taken.high:.1f}")


def _convolution(result: Results) -> Iterator[Verdict]:
    shares: dict[bool, list[tuple[float, str]]] = {True: [], False: []}
    leads: dict[str, list[tuple[float, str]]] = {}
    for row in result["rows"]:
        shape = convolution.Shape(*row["shape"])
        if shape not in convolution.JUDGED:
            continue
        shares[shape.channels == _NARROW].append((convolution.share_of_products(row).median, str(shape)))
        for name in convolution.SLOW.keys() & row["seconds"].keys():
            lead = ratio(row["seconds"][name], row["seconds"][OURS]).median
            leads.setdefault(name, []).append((lead, str(shape)))
    for is_narrow, limit, which in (
        (False, 0.9, "64 channels or more, images of 7x7 or more"),
        (True, 0.75, f"{_NARROW} channels"),
    ):
        if found := shares[is_narrow]:
            yield Verdict(f"speed of a convolution over its products', {which}", limit, *min(found), at_least=True)
    for name, found in sorted(leads.items()):
        yield Verdict(f"convolution by {name} over ours", 10, *min(found), at_least=True)


def _convnet(result: Results) -> Iterator[Verdict]:
    if TORCH in result["seconds"]:
        kernel = result["environment"]["blas"]["kernel"]
        limit = 1.1 if kernel.lower() in blas._SMALL_MATRIX_KERNELS else 1.6
        agrees = result["error"] <= convnet.TOLERANCE
        where = f"{kernel} kernel, {result['images']:,} images, losses {'agree' if agrees else 'DIFFER'}"
        measured = convnet.time_ratio(result).median if agrees else inf
        yield Verdict("step of the convolutional network over PyTorch's", limit, measured, where)
    where = f"{result['peak'] / 1e6:,.0f} MB, {result['images']:,} images"
    yield Verdict("its peak memory over the activations to keep", 1.2, convnet.memory_ratio(result), where)


def _patchify(result: Results) -> Iterator[Verdict]:
    rows = [row for row in result["rows"] if row["error"] is not None]
    if rows:
        agrees = all(row["error"] <= patchify.TOLERANCE for row in rows)
        for name in patchify.PEERS:
            found = [
                (
                    ratio(row["seconds"][OURS], row["seconds"][name]).median if agrees else inf,
                    str(patchify.Net(*row["net"])),
                )
                for row in rows
            ]
            yield Verdict(f"step of assignment 3 over that of {name}", 1, *max(found))


def _models(result: Results) -> Iterator[Verdict]:
    for goal in GOALS:
        rows = [row for row in result["rows"] if row["goal"] == goal.name]
        for name, whose in ((HAND, "hand-derived NumPy's"), (TORCH, "PyTorch's")):
            found = [
                (share.median, models.title(row), models.limits(row)[name])
                for row in rows
                if name in models.limits(row) and (share := models.time_over(row, name)) is not None
            ]
            if found:
                worst, where, limit = max(found)
                met = sum(share <= limit for share, _, _ in found)
                target = f"models, {goal.name}: time over {whose}"
                yield Verdict(target, limit, worst, f"{where}; {met} of {len(found)} rows are within the limit")
    peaks = [(peak, models.title(row)) for row in result["rows"] if (peak := models.memory_over_hand(row)) is not None]
    if peaks:
        worst, where = max(peaks)
        met = sum(peak <= MEMORY for peak, _ in peaks)
        where = f"{where}; {met} of {len(peaks)} rows are within the limit"
        yield Verdict("models, peak memory over hand-derived NumPy's", MEMORY, worst, where)


def lines(results: Results) -> list[str]:
    """Return the verdicts as lines of text."""
    out = []
    for verdict in verdicts(results):
        out += [
            f"{'met   ' if verdict.met else 'MISSED'} {verdict.target}: {verdict.allowed}",
            f"       measured {verdict.measured:.2f} ({verdict.where})",
        ]
    return out


def markdown(results: Results) -> list[str]:
    """Return the verdicts as a table in Markdown."""
    rows = [
        f"| {v.target} | {v.allowed} | **{v.measured:.2f}** ({v.where}) | {'met' if v.met else '**missed**'} |"
        for v in verdicts(results)
    ]
    return ["| target | limit | worst measurement | |", "|---|---|---|---|", *rows]
