"""The command line: prints the counts as JSON."""

from __future__ import annotations

import argparse
import json
import sys

from tests.evidence import robustness
from tests.evidence.robustness.fuzzing import fuzz_counts
from tests.evidence.robustness.killed_runs import kill_counts


def main() -> None:
    """Count the outcomes and print them."""
    parser = argparse.ArgumentParser(description=(robustness.__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=50)
    options = parser.parse_args()
    counts = {"files": fuzz_counts(options.inputs), "kills": kill_counts(options.kills)}
    sys.stdout.write(json.dumps(counts, indent=2) + "\n")


if __name__ == "__main__":
    main()
