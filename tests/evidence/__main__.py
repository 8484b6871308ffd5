"""Run every measurement of the evidence for correct gradients, and generate docs/trust.md.

    python -m tests.evidence                       all measurements, in two processes
    python -m tests.evidence --checkpoint FILE     the same; started again, it continues from the results in FILE
    python -m tests.evidence --share 0.2           all faults, and a fifth of the rest, in 15 minutes
    python -m tests.evidence --quick               a small sample of each, printed

All numbers on the page are measured. If one is missing, the command raises an error and does not write the page. If a
fault survived, a gradient was wrong or a run was lost, the page says so, and the command fails.
"""

# ruff: noqa: T201

import argparse
import platform
import sys
import time
from pathlib import Path

import numpy as np

from tests.evidence.checkpoint import Checkpoint, StaleCheckpointError, digest_sources
from tests.evidence.measure import full_budget, quick_budget, run_measurements, scaled
from tests.evidence.trust_page import PAGE, format_page, is_faultless


def main() -> int:
    """Run the command and return its status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.evidence", description="Run all measurements and generate docs/trust.md."
    )
    parser.add_argument("--quick", action="store_true", help="run a small sample of each, and print the page")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--share", type=float, default=1.0, help="of the cases, programs, files, kills and points")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="keep the results in FILE and continue from it")
    options = parser.parse_args()
    if not 0 < options.share <= 1:
        parser.error("--share must be above 0 and at most 1")
    try:
        identity = f"{digest_sources()}, Python {platform.python_version()}, NumPy {np.__version__}"
        checkpoint = Checkpoint(options.checkpoint, identity) if options.checkpoint else None
    except StaleCheckpointError as error:
        parser.error(str(error))
    started = time.perf_counter()
    budget = quick_budget() if options.quick else scaled(full_budget(), options.share)
    found = run_measurements(budget, options.processes, checkpoint)
    text = format_page(found, "" if options.share == 1 else f" --share {options.share:g}")
    if options.quick:
        print(text)
    else:
        PAGE.write_text(text, encoding="utf-8")
    print(f"{time.perf_counter() - started:.0f} seconds", file=sys.stderr)
    return 0 if is_faultless(found) else 1


if __name__ == "__main__":
    sys.exit(main())
