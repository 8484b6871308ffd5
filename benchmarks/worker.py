"""A contestant in a process of its own, which trains only while it is told to.

Contestants do not share a process, because their libraries' pools of threads would share it, too, and go on spinning
for a while after their last product, on cores that the next contestant then measures itself on. Where the system can,
a process that is not being measured is stopped altogether.

Commands and replies are lines of JSON. ``train`` is a loop that calls ``after_step``: that is where the worker counts,
answers, and waits for what comes next.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Generator
from time import perf_counter
from typing import Any, TextIO

from benchmarks import threads, works
from benchmarks.contestants import training_of
from benchmarks.works import Work

_CAN_STOP = hasattr(signal, "SIGSTOP")


class Unable(Exception):  # noqa: N818 (a reason, not a fault of this program)
    """A contestant cannot take part; says why in one sentence."""


class Missing(Unable):
    """The contestant's library is not installed."""


# -- the side that measures --------------------------------------------------------------------------------------------


class Worker:
    """The process of one contestant, seen from the one that gives the commands."""

    def __init__(self, name: str, thread_count: int, *, stopping: bool = True) -> None:
        self.name = name
        self._stopping = stopping and _CAN_STOP
        # In a process group of its own, which the system wakes and hangs up on if this process dies before close(): a
        # stopped process would stay for ever.
        own_group = os.setpgrp if _CAN_STOP else None
        self._process = subprocess.Popen(  # noqa: S603 (this very program)
            [sys.executable, "-m", "benchmarks.worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=threads.environment(thread_count),
            preexec_fn=own_group,  # noqa: PLW1509 (there are no threads here yet)
        )

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def losses(self, work: Work, steps: int) -> list[float]:
        """Start training a work, and return the losses of its first steps.

        Raises
        ------
        Unable
            If the contestant cannot, for example because its library is not installed.
        """
        losses: list[float] = self._ask(do="losses", work=work.to_json(), steps=steps)
        return losses

    def seconds(self, steps: int, warm: int = 1) -> float:
        """Train on and return how long ``steps`` steps took, after ``warm`` untimed ones that fill the caches."""
        seconds: float = self._ask(do="seconds", steps=steps, warm=warm)
        return seconds

    def memory(self, work: Work) -> dict[str, int]:
        """Train a few steps of a work, and return the bytes of Python's and NumPy's memory: ``peak`` and ``after``."""
        memory: dict[str, int] = self._ask(do="memory", work=work.to_json())
        return memory

    def _ask(self, **command: Any) -> Any:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the worker was started without pipes")
        if self._stopping:
            self._process.send_signal(signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Unable(f"{self.name}: its process has ended") from None
        line = self._process.stdout.readline()
        if not line:
            raise Unable(f"{self.name}: its process ended with status {self._process.wait()}")
        if self._stopping:
            self._process.send_signal(signal.SIGSTOP)
        reply = json.loads(line)
        if "missing" in reply:
            raise Missing(f"{self.name}: {reply['missing']} is not installed")
        if "unable" in reply:
            raise Unable(f"{self.name}: {reply['unable']}")
        return reply["answer"]


def steps_in(seconds: float, worker: Worker) -> int:
    """Return how many steps of its work a worker makes in so many seconds: from 1 to 200."""
    fastest = min(worker.seconds(1) for _ in range(3))
    return max(1, min(200, round(seconds / fastest)))


# -- the side that trains ----------------------------------------------------------------------------------------------

# A command is a generator that is sent the loss after every step and returns the answer. Reading a loss (``float``)
# waits for it, in libraries that compute asynchronously, so it is done where the clock is read and nowhere else.
Command = Generator[None, Any, Any]


def _losses(steps: int) -> Command:
    losses = []
    while len(losses) < steps:
        losses.append(float((yield)))
    return losses


def _seconds(steps: int, warm: int) -> Command:
    for _ in range(warm):
        float((yield))
    started = perf_counter()
    for _ in range(steps - 1):
        yield
    float((yield))
    return perf_counter() - started


def _memory() -> Command:
    tracemalloc.start()  # before the model is made; the images are there already
    for _ in range(2):  # then what is kept from step to step is there, and what only the start needed is not
        float((yield))
    tracemalloc.reset_peak()
    for _ in range(3):
        float((yield))
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"peak": peak, "after": after}


_COMMANDS = {"losses": _losses, "seconds": _seconds, "memory": _memory}


class _AnotherWork(Exception):  # noqa: N818
    """Ends a training whose successor has been asked for."""


class _Turnstile:
    """Where a training waits for its turn."""

    def __init__(self, commands: TextIO, replies: TextIO) -> None:
        self._commands, self._replies = commands, replies
        self._command: Command
        self.work: Work | None = None

    def wait(self) -> None:
        """Read the next command and bring it to its first step."""
        line = self._commands.readline()
        if not line:
            raise SystemExit
        command = json.loads(line)
        self.work = Work.from_json(command.pop("work")) if "work" in command else None
        self._command = _COMMANDS[command.pop("do")](**command)

    def open(self) -> None:
        """Let the training go."""
        next(self._command)

    def after_step(self, loss: Any) -> None:
        """Count a step; after the last one of a command, answer and wait."""
        try:
            self._command.send(loss)
        except StopIteration as done:
            self.reply(answer=done.value)
            self.wait()
            if self.work is not None:
                raise _AnotherWork from None
            self.open()

    def reply(self, **reply: Any) -> None:
        """Write one line."""
        self._replies.write(json.dumps(reply) + "\n")
        self._replies.flush()


def serve(name: str) -> None:
    """Be the contestant ``name`` until there are no more commands."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no reply
    threads.confine()
    turnstile = _Turnstile(sys.stdin, replies)
    turnstile.wait()
    while True:
        try:
            if turnstile.work is None:
                raise Unable("it is not training anything")  # noqa: TRY301 (answered like all others)
            train = training_of(name)
            problem = works.make(turnstile.work)
            turnstile.open()
            train(problem, turnstile.after_step)
        except _AnotherWork:
            continue
        except ImportError as error:
            turnstile.reply(missing=error.name or str(error))
        except Exception as error:  # noqa: BLE001 (whatever a library raises, the others go on)
            sentence = " ".join(str(error).split())[:200]
            turnstile.reply(unable=f"{type(error).__name__}: {sentence}")
        turnstile.wait()


if __name__ == "__main__":
    serve(sys.argv[1])
