"""The command: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    chain,
    memory,
    overhead,
    page,
    stages,
    startup,
    step,
    targets,
    threads,
)
from benchmarks.contestants import CONTESTANTS, HAND, OURS
from benchmarks.environment import environment
from benchmarks.options import Options
from tinygrad_cifar.system import blas as machine

_PARTS: dict[str, Callable[[Options, Callable[[str], None]], dict[str, Any]]] = {
    "step": step.measure,
    "stages": stages.measure,
    "overhead": overhead.measure,
    "chain": chain.measure,
    "memory": memory.measure,
    "startup": startup.measure,
}
_DOCS = Path(__file__).parent.parent / "docs"
_DISPENSABLE = tuple(contestant.name for contestant in CONTESTANTS if contestant.name not in (OURS, HAND))


def main(argv: Sequence[str]) -> int:
    """Measure what was asked for, and return the exit status: 1 if a part could not be measured."""
    parser = _parser()
    asked = parser.parse_args(argv)
    if asked.docs and asked.quick:
        parser.error("--docs wants real figures, not those of --quick")
    if asked.only and (wrong := page.unwritable(asked.json)):
        parser.error(f"--json {asked.json} cannot be written ({wrong}); choose another file")
    machine.relaunch(["-m", "benchmarks", *argv], threads=threads.DEFAULT)
    options = Options(asked.quick, threads.decided(), asked.without)
    _say(textwrap.fill(f"{machine.runtime()}; {options.threads} for every contestant", 80) + "\n")
    results, failures = {}, 0
    for part in asked.only:
        before = environment(options.threads)
        try:
            results[part] = _PARTS[part](options, _say) | {"environment": before, "quick": asked.quick}
        except Exception as error:  # noqa: BLE001 (what the other parts measured in minutes is not thrown away)
            failures += 1
            print(f"benchmarks: {part} could not be measured: {type(error).__name__}: {error}", file=sys.stderr)
    for line in ["no verdicts: the times of --quick mean nothing"] if asked.quick else targets.lines(results):
        _say(line)
    try:
        if results:
            page.save(results, asked.json)
            _say(f"figures: {asked.json}")
        if asked.docs:
            _say(f"written: {', '.join(path.name for path in page.write(results, _DOCS))}")
    except (OSError, ImportError) as error:
        print(f"benchmarks: could not write the results: {error}", file=sys.stderr)
        failures += 1
    return int(failures > 0)


def _say(text: str) -> None:
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description="How fast a training step is here, beside the alternatives and the limit of the machine.",
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test of everything; its times mean nothing")
    parser.add_argument(
        "--only",
        metavar="PARTS",
        type=_parts,
        default=tuple(_PARTS),
        help=f"comma-separated, of {', '.join(_PARTS)}; or nothing (with --docs: from the kept figures)",
    )
    parser.add_argument(
        "--without",
        metavar="NAMES",
        type=_contestants,
        default=(),
        help="leave contestants out, comma-separated: " + ", ".join(_DISPENSABLE),
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        default=Path("runs/benchmarks.json"),
        help="where to keep the figures (default: %(default)s)",
    )
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md again")
    return parser


def _parts(text: str) -> tuple[str, ...]:
    return () if text == "nothing" else _known(text, tuple(_PARTS), "part")


def _contestants(text: str) -> tuple[str, ...]:
    return _known(text, _DISPENSABLE, "contestant that can be left out")


def _known(text: str, known: Sequence[str], what: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is no {what}; choose from {', '.join(known)}")
    return names


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("\nbenchmarks: interrupted; nothing was written")
