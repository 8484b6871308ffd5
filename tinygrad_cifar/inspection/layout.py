"""Layered layout of a diagram: boxes in rows, from the inputs at the top to the result at the bottom.

The steps are those of Sugiyama, Tagawa and Toda (1981): each box is given a row, below all of its inputs; the boxes of
a row are ordered so that few arrows cross; then each is moved as close as possible to the boxes it is connected to.
Arrows that pass other rows are led through them by invisible points, so that they never run behind a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from tinygrad_cifar.inspection.diagram import Diagram

_GAP_X, _GAP_Y = 22.0, 34.0
_POINT = 10.0  # width of an invisible point
_SWEEPS = 12


class Placed(NamedTuple):
    """The position of a box: its centre, width and height."""

    x: float
    y: float
    width: float
    height: float


class Layout(NamedTuple):
    """Positions of boxes and courses of arrows, in pixels.

    Attributes
    ----------
    boxes : tuple of Placed
        One for each box.
    arrows : tuple of tuples of (float, float)
        For each arrow the points that it passes: the start, pairs at the top and bottom of each row, and the end.
    width : float
        Width of the whole.
    height : float
        Height of the whole.
    """

    boxes: tuple[Placed, ...]
    arrows: tuple[tuple[tuple[float, float], ...], ...]
    width: float
    height: float


def make_layout(diagram: Diagram, sizes: Sequence[tuple[float, float]]) -> Layout:
    """Return the layout of a diagram whose boxes have the given widths and heights."""
    rows_of = _rows(diagram)
    widths = [width for width, _ in sizes]
    links: list[tuple[int, int]] = []  # between things in adjacent rows: boxes, and points after them
    courses: list[list[int]] = []
    row_of = list(rows_of)
    for arrow in diagram.arrows:
        course = [arrow.source]
        for row in range(rows_of[arrow.source] + 1, rows_of[arrow.target]):
            course.append(len(row_of))
            row_of.append(row)
            widths.append(_POINT)
        course.append(arrow.target)
        courses.append(course)
        links += pairwise(course)
    rows = [[i for i, row in enumerate(row_of) if row == r] for r in range(max(row_of) + 1)]
    above: list[list[int]] = [[] for _ in row_of]
    below: list[list[int]] = [[] for _ in row_of]
    for source, target in links:
        above[target].append(source)
        below[source].append(target)
    rows = _order(rows, above, below)
    x = _positions(rows, above, below, widths, len(diagram.boxes))
    heights = [max([sizes[i][1] for i in row if i < len(sizes)], default=0.0) for row in rows]
    tops = [sum(heights[:r]) + r * _GAP_Y for r in range(len(rows))]
    placed = [Placed(x[i], tops[rows_of[i]] + heights[rows_of[i]] / 2, *sizes[i]) for i in range(len(diagram.boxes))]
    arrows = []
    for course in courses:
        points = [(x[course[0]], placed[course[0]].y + placed[course[0]].height / 2)]
        for point in course[1:-1]:
            top = tops[row_of[point]]
            points += [(x[point], top), (x[point], top + heights[row_of[point]])]
        points.append((x[course[-1]], placed[course[-1]].y - placed[course[-1]].height / 2))
        arrows.append(tuple(points))
    right = max(x[i] + widths[i] / 2 for i in range(len(x)))
    return Layout(tuple(placed), tuple(arrows), right, tops[-1] + heights[-1])


def _rows(diagram: Diagram) -> list[int]:
    """Return the row of each box: below its inputs; a box without inputs is just above the first box that uses it."""
    row = [0] * len(diagram.boxes)
    inputs: list[list[int]] = [[] for _ in row]
    users: list[list[int]] = [[] for _ in row]
    for arrow in diagram.arrows:
        inputs[arrow.target].append(arrow.source)
        users[arrow.source].append(arrow.target)
    for i in range(len(row)):
        row[i] = max([row[j] + 1 for j in inputs[i]], default=0)
    for i in reversed(range(len(row))):  # as low as possible, except for the boxes on the longest path
        if users[i]:
            row[i] = min(row[j] - 1 for j in users[i])
    first = min(row)
    return [r - first for r in row]


def _order(rows: list[list[int]], above: Sequence[Sequence[int]], below: Sequence[Sequence[int]]) -> list[list[int]]:
    """Order the rows by the mean positions of their neighbours, in sweeps down and up; return the best order found."""
    best, fewest = rows, _crossings(rows, below)
    current = [list(row) for row in rows]
    for sweep in range(_SWEEPS):
        downwards = sweep % 2 == 0
        neighbours = above if downwards else below
        indices = range(1, len(current)) if downwards else range(len(current) - 2, -1, -1)
        for r in indices:
            fixed = {i: p for p, i in enumerate(current[r - 1 if downwards else r + 1])}
            old = {i: p for p, i in enumerate(current[r])}
            current[r] = sorted(current[r], key=lambda i: (_mean([fixed[j] for j in neighbours[i]], old[i]), old[i]))
        crossings = _crossings(current, below)
        if crossings < fewest:
            best, fewest = [list(row) for row in current], crossings
    return best


def _mean(numbers: Sequence[float], default: float) -> float:
    return sum(numbers) / len(numbers) if numbers else default


def _crossings(rows: Sequence[Sequence[int]], below: Sequence[Sequence[int]]) -> int:
    """Count the crossings of arrows between adjacent rows."""
    total = 0
    for upper, lower in pairwise(rows):
        position = {i: p for p, i in enumerate(lower)}
        ends = [position[j] for i in upper for j in sorted(below[i], key=position.__getitem__)]
        total += sum(1 for a in range(len(ends)) for b in range(a + 1, len(ends)) if ends[a] > ends[b])
    return total


def _positions(
    rows: Sequence[Sequence[int]],
    above: Sequence[Sequence[int]],
    below: Sequence[Sequence[int]],
    widths: Sequence[float],
    boxes: int,
) -> list[float]:
    """Return the centre of everything along its row: close to its neighbours, without overlap, in the given order."""
    x = [0.0] * len(widths)
    for row in rows:
        left = 0.0
        for i in row:
            x[i] = left + widths[i] / 2
            left += widths[i] + _GAP_X
    for sweep in range(3 * _SWEEPS):
        downwards = sweep % 2 == 0
        neighbours = above if downwards else below
        for row in rows if downwards else rows[::-1]:
            wanted, weights = [], []
            for i in row:
                others = neighbours[i] or (above[i] if not downwards else below[i])
                wanted.append(_mean([x[j] for j in others], x[i]))
                weights.append(4.0 if i >= boxes else 1.0)  # larger for points, so that long arrows are straight
            gaps = [(widths[a] + widths[b]) / 2 + _GAP_X for a, b in pairwise(row)]
            for i, position in zip(row, _closest(wanted, weights, gaps), strict=True):
                x[i] = position
    left = min(x[i] - widths[i] / 2 for i in range(len(x)))
    return [position - left for position in x]


def _closest(wanted: Sequence[float], weights: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Return increasing positions at least ``gaps`` apart, closest to the wanted ones in the weighted squared sense.

    Without the gaps this is isotonic regression, which merges neighbours that are out of order into blocks with their
    mean.
    """
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    blocks: list[list[float]] = []  # mean, weight, count
    for want, weight, offset in zip(wanted, weights, offsets, strict=True):
        blocks.append([want - offset, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, total, count = blocks.pop()
            last = blocks[-1]
            last[0] = (last[0] * last[1] + mean * total) / (last[1] + total)
            last[1] += total
            last[2] += count
    means = [mean for mean, _, count in blocks for _ in range(int(count))]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]
