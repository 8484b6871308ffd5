"""Command line of the benchmarks: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    chain,
    convnet,
    convolution,
    growth,
    memory,
    overhead,
    page,
    patchify,
    stages,
    startup,
    step,
    targets,
    threads,
)
from benchmarks.environment import environment
from benchmarks.implementations import HAND, IMPLEMENTATIONS, OURS
from benchmarks.models import measurement as models
from benchmarks.options import Options
from benchmarks.problems import measurement as problems
from tinygrad_cifar.system import blas

_PARTS: dict[str, Callable[[Options, Callable[[str], None]], dict[str, Any]]] = {
    "step": step.measure,
    "stages": stages.measure,
    "overhead": overhead.measure,
    "chain": chain.measure,
    "memory": memory.measure,
    "growth": growth.measure,
    "startup": startup.measure,
    "convolution": convolution.measure,
    "convnet": convnet.measure,
    "patchify": patchify.measure,
    "models": models.measure,
    "problems": problems.measure,
}
_ON_ALL_CORES = ("convolution", "convnet", "patchify")
_DOCS = Path(__file__).parent.parent / "docs"
_OPTIONAL = tuple(i.name for i in IMPLEMENTATIONS if i.name not in (OURS, HAND))


def main(argv: Sequence[str]) -> int:
    """Measure the selected parts, and return the exit status: 1 if a part failed."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.docs and arguments.quick:
        parser.error("--docs cannot be combined with --quick, whose times are not meaningful")
    if arguments.only and (reason := page.find_write_error(arguments.json)):
        parser.error(f"--json {arguments.json} cannot be written ({reason}); choose another file")
    blas.relaunch(threads=threads.DEFAULT)
    options = Options(arguments.quick, threads.current_count(), arguments.without)
    _say(textwrap.fill(f"{blas.runtime()}; threads per implementation: {options.threads}", 80) + "\n")
    if arguments.quick:
        _say("--quick: small problems under the names of the full ones; times mean nothing\n")
    results, failures = {}, 0
    for part in arguments.only:
        before = environment(blas.usable_cores() if part in _ON_ALL_CORES else options.threads)
        try:
            results[part] = _PARTS[part](options, _say) | {"environment": before, "quick": arguments.quick}
        except Exception as error:  # noqa: BLE001 (keep the results of the other parts)
            failures += 1
            print(f"benchmarks: {part} could not be measured: {type(error).__name__}: {error}", file=sys.stderr)
    try:
        if results:
            page.save(results, arguments.json)
            _say(f"results: {arguments.json}")
        for line in (
            ["targets are not checked: the times of --quick are not meaningful"]
            if arguments.quick
            else targets.lines(results)
        ):
            _say(line)
        if arguments.docs:
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
        description="Measure a training step of this library, of alternatives and of the bare NumPy kernels.",
    )
    parser.add_argument("--quick", action="store_true", help="smoke test of all parts; its times are not meaningful")
    parser.add_argument(
        "--only",
        metavar="PARTS",
        type=_parse_parts,
        default=tuple(_PARTS),
        help=f"parts to measure, comma-separated: {', '.join(_PARTS)}; or nothing (--docs uses stored results)",
    )
    parser.add_argument(
        "--without",
        metavar="NAMES",
        type=_parse_implementations,
        default=(),
        help="implementations to leave out, comma-separated: " + ", ".join(_OPTIONAL),
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        default=Path("runs/benchmarks.json"),
        help="file for the results (default: %(default)s)",
    )
    parser.add_argument("--docs", action="store_true", help="update docs/performance.md")
    return parser


def _parse_parts(text: str) -> tuple[str, ...]:
    return () if text == "nothing" else _parse_names(text, tuple(_PARTS), "a part")


def _parse_implementations(text: str) -> tuple[str, ...]:
    return _parse_names(text, _OPTIONAL, "an implementation that can be left out")


def _parse_names(text: str, known: Sequence[str], kind: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is not {kind}; choose from {', '.join(known)}")
    return names


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("\nbenchmarks: interrupted; nothing was written")
