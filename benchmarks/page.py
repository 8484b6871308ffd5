"""The page docs/performance.md: written from the figures that are kept beside it, and from the notes kept by hand.

A run replaces the figures of the parts that it measured and leaves the others, each with the day and the machine it
comes from. What was tried and how much it helped is prose and stands in ``performance_notes.md``: it is put in as it
is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import (
    chain,
    environment,
    memory,
    overhead,
    stages,
    startup,
    step,
    targets,
)
from tinygrad_cifar.system.files import atomic_write

_BEGINNING = """\
<!-- Written by `python -m benchmarks --docs`; what is kept by hand is in performance_notes.md. -->
# Performance

`python -m benchmarks`, from the repository's root, measures everything on this page; `--docs` writes it again,
`--only step,memory` measures some of it, `--help` lists the parts, and `pip install -e '.[peers]'` brings the other
libraries. A contestant that is not installed is named and left out.
"""

_STEP = """\
## A training step

Forward, backward, the L2 gradient and the update, with the batch gathered from a shuffled epoch. Each figure is the
median, over the rounds, of the ratio to hand-derived NumPy's time in the same round, with its quartiles: **below 1 is
faster than hand-derived code**. The small print is microseconds on a machine that others may have been using: only the
ratios mean anything.
"""

_METHOD = """\
## Method

- **The same work for everybody.** Images, labels, initial weights and the order of every epoch follow from one seed.
  The losses of the first five steps must agree with hand-derived NumPy's (relative, 1e-4 in float32, 1e-9 in float64);
  a contestant whose losses do not is left out and named.
- **Everybody at his best.** This library is `training.fit`, with all it does around a step. PyTorch uses its fused
  update; JAX compiles the whole step with the gathering in it and gives back the old weights' memory; MyGrad's guards
  are off. A loss is read at the end of a group of steps only, so that asynchronous libraries may be asynchronous.
- **The floor.** The bare kernels gather the batch, multiply the matrices into arrays that are kept, and subtract once
  from each matrix of weights: no loss, no biases, no ReLU, no L2 term.
- **In turns.** Every contestant trains a few steps (0.04 s), then the next one does, round after round, so that drift
  is everybody's. One step before each group is not timed, since the caches hold somebody else's numbers (in the
  work whose steps take longer than a group, all are timed).
- **In processes of their own**, one thread count for all (one, unless the user has set another), set before any
  library is loaded; whoever is not being measured is stopped (SIGSTOP), since threads of OpenBLAS, OpenMP and XLA go
  on spinning for a while after a product.
- **The BLAS kernel** is the one that `tinygrad_cifar.runtime()` recommends, the same for every contestant on NumPy;
  variables that the user has set are obeyed.
- **Memory** is what `tracemalloc` counts (NumPy reports to it) from the making of the model on: the highest of three
  steps after two that are not counted, in a process of its own.
"""

_PARTS = (
    ("stages", "Where the time goes", stages.lines),
    ("overhead", "One operation", overhead.lines),
    ("chain", "A million operations", chain.lines),
    ("memory", "Memory", memory.lines),
    ("startup", "Starting", startup.lines),
)


def write(results: dict[str, Any], folder: Path) -> list[Path]:
    """Merge the results with those kept in ``folder`` and write the page, its figures and its picture.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    OSError
        If something cannot be; the page is then what it was.
    """
    kept, page = folder / "performance.json", folder / "performance.md"
    figures = (json.loads(kept.read_text()) if kept.exists() else {}) | results
    notes = folder / "performance_notes.md"
    save(figures, kept)
    with atomic_write(page) as file:
        file.write(render(figures, notes.read_text() if notes.exists() else "").encode())
    return [page, kept]


def unwritable(path: Path) -> str:
    """Return why a file could not be written there, found out before anything is measured; nothing if it can be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path.with_name(f"{path.name}.trial")) as file:
            file.write(b"")
        path.with_name(f"{path.name}.trial").unlink()
    except OSError as error:
        return str(error.strerror or error)
    return "it is a folder" if path.is_dir() else ""


def save(results: dict[str, Any], path: Path) -> None:
    """Write the results as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write((json.dumps(results, separators=(",", ":")) + "\n").encode())


def render(results: dict[str, Any], notes: str) -> str:
    """Return the page."""
    parts = [_BEGINNING]
    if "step" in results:
        parts += [_STEP, *step.markdown(results["step"]), "", _measured_on(results["step"])]
    parts += ["## Targets\n", *targets.markdown(results), "", _METHOD]
    for name, title, lines in _PARTS:
        if name in results:
            parts += [f"## {title}\n", *_block(lines(results[name])), _measured_on(results[name])]
    return "\n".join([*parts, notes]).rstrip() + "\n"


def _block(lines: list[str]) -> list[str]:
    return ["```text", *"\n".join(lines).rstrip().split("\n"), "```", ""]


def _measured_on(result: dict[str, Any]) -> str:
    return f"<sub>{environment.text(result['environment'])}</sub>\n"
