"""Processes of contestants, which run only while they are asked.

The threads of BLAS and OpenMP spin for a while after a product and would slow down the next contestant. If the system
supports it, a process that is not being asked is stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from benchmarks import threads

_CAN_STOP = hasattr(signal, "SIGSTOP")


class UnavailableError(Exception):
    """A contestant cannot be measured."""


class NotInstalledError(UnavailableError):
    """The library of a contestant is not installed."""


class StoppedProcess:
    """A Python process with as many threads as the measurement wants.

    Parameters
    ----------
    module : str
        Module that it runs.
    argument : str
        Its argument.
    thread_count : int
        Number of threads.
    text : bool
        Whether its pipes are of text. Default: True.
    """

    def __init__(self, module: str, argument: str, thread_count: int, *, text: bool = True) -> None:
        # A separate process group: if this process ends before close(), the system continues the group and sends
        # SIGHUP, so a stopped process does not remain.
        own_group = os.setpgrp if _CAN_STOP else None
        self._process = subprocess.Popen(  # noqa: S603 (this program)
            [sys.executable, "-m", module, argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=text,
            env=threads.environment(thread_count),
            preexec_fn=own_group,  # noqa: PLW1509 (no threads have been started)
        )

    @contextmanager
    def running(self) -> Iterator[tuple[IO[Any], IO[Any]]]:
        """Let the process run inside the block, and return the files for requests and for replies."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process was started without pipes")
        if _CAN_STOP:
            self._process.send_signal(signal.SIGCONT)
        yield self._process.stdin, self._process.stdout
        if _CAN_STOP:
            self._process.send_signal(signal.SIGSTOP)

    def wait(self) -> int:
        """Return the status with which the process ended."""
        return self._process.wait()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
