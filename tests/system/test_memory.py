"""Memory of the process: its limit, its peak, and whether freed memory is kept for the next arrays."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_cifar.system import memory


@pytest.mark.parametrize(
    ("limit", "used", "expected"), [("4000", "1500", 2600), ("4000", "4200", 0), ("max", "1500", None)]
)
def test_the_limit_of_a_container_counts(tmp_path, limit, used, expected):
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    (tmp_path / "memory.stat").write_text("anon 7\ninactive_file 100\n")  # files in memory that can be dropped
    assert memory._available_in_container(tmp_path) == expected


def test_without_control_groups_there_is_no_limit(tmp_path):
    assert memory._available_in_container(tmp_path) is None


def test_sizes_are_read_in_kib(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:  100 kB\nMemAvailable:\t 23 kB\nno entry\nEmpty:\n")
    assert memory._read_entry(tmp_path / "meminfo", "MemAvailable") == 23 * 1024
    assert memory._read_entry(tmp_path / "meminfo", "Empty") is None
    assert memory._read_entry(tmp_path / "meminfo", "MemFree") is None
    assert memory._read_entry(tmp_path / "another file", "MemFree") is None


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="the system does not say how much memory there is")
def test_the_available_memory_is_a_part_of_all():
    assert 0 <= memory.available_bytes() <= memory._read_entry(Path("/proc/meminfo"), "MemTotal")


def test_the_peak_of_a_process_is_not_that_of_its_parent():
    mine = np.ones(400_000_000, np.uint8)
    command = [sys.executable, "-c", "from tinygrad_cifar.system import memory; print(memory.peak_bytes())"]
    peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert peak == "None" or int(peak) < mine.nbytes


def test_the_peak_contains_memory_that_was_freed():
    before = memory.peak_bytes()
    if before is None:
        pytest.skip("the system does not say how much memory a process has used")
    size = int(before) + 100_000_000
    np.ones(size, np.uint8)
    assert memory.peak_bytes() >= size


def test_a_reset_peak_is_what_the_process_uses_then():
    if not memory.reset_peak():
        pytest.skip("the system cannot reset the peak")
    kept = np.ones(100_000_000, np.uint8)
    np.ones(200_000_000, np.uint8)
    before = memory.peak_bytes()
    assert memory.reset_peak()
    assert kept.nbytes <= memory.peak_bytes() <= before - 190_000_000


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
