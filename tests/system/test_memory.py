"""Memory of the process: whether freed memory is kept for the next arrays."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource

import numpy as np

import tinygrad_cifar


def make_and_free(size, count):
    arrays = [np.ones(size, np.uint8) for _ in range(count)]
    return len(arrays)


def faults(size, count):
    make_and_free(size, count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        make_and_free(size, count)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10


print(faults(600_000, 8), faults(4_000_000, 8))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the memory of other C libraries is not known")
def test_the_memory_of_freed_arrays_is_used_again():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", PROGRAM]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    pages = [float(number) for number in run.stdout.split()]
    assert all(number < 20 for number in pages), f"{pages} new pages per round, of 1200 and 7800"
