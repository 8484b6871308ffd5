"""Set up the test processes: threads, Ctrl-C, the built-in data, and how many inputs Hypothesis draws.

Tests that run whole commands, start several processes, train for seconds, count the work of programs of several sizes,
or test the tools of the evidence, are marked as slow; ``-m slow`` runs them.
Hypothesis draws few inputs by default, the same ones every time in CI, many on request. Choose a profile with
``HYPOTHESIS_PROFILE=thorough`` or ``pytest --hypothesis-profile=thorough``; ``CI=true`` chooses ``ci``.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # one worker for each core: more threads would only be in each other's way
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Tests start hundreds of processes. Where compiled modules must not be written beside the sources, each process would
# compile the library again, which doubles its time.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    os.environ.setdefault("PYTHONPYCACHEPREFIX", str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode"))

# A shell starts background jobs with SIGINT ignored, and child processes would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from hypothesis import settings

settings.register_profile("quick", max_examples=30, deadline=None)
settings.register_profile("ci", max_examples=30, deadline=None, derandomize=True, print_blob=True)
settings.register_profile("thorough", max_examples=300, deadline=None, print_blob=True)

settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "quick"))


# Fixtures that run a whole command or shorten a program; the tests that read their results are slow.
_SLOW_FIXTURES = {"small_report", "quick_page", "quick_results", "fault_and_program"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a slow fixture as slow."""
    for item in items:
        if _SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


@pytest.fixture(autouse=True, scope="session")
def builtin_dataset_once() -> Iterator[None]:
    """Generate the built-in data once for all commands in this process; its arrays are read-only."""
    from tinygrad_cifar import data  # noqa: PLC0415 (imports NumPy, after the number of threads is set)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "builtin_dataset", functools.cache(data.builtin_dataset))
        yield
