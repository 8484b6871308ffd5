"""Process of one implementation, which trains only while it is being measured.

Each implementation has a separate process, which is stopped while it is not being measured.

Commands and replies are lines of JSON. The training loop calls ``after_step``, in which the worker counts the steps,
replies, and waits for the next command.
"""

from __future__ import annotations

import json
import os
import sys
import tracemalloc
from collections.abc import Generator
from time import perf_counter
from typing import Any, TextIO

from benchmarks import threads, workloads
from benchmarks.implementations import load_train
from benchmarks.processes import NotInstalledError, StoppedProcess, UnavailableError
from benchmarks.workloads import Workload

# -- measuring process -------------------------------------------------------------------------------------------------


class Worker:
    """Process of one implementation, controlled by the measuring process."""

    def __init__(self, name: str, thread_count: int) -> None:
        self.name = name
        self._process = StoppedProcess("benchmarks.worker", name, thread_count)

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def losses(self, workload: Workload, steps: int) -> list[float]:
        """Start training a workload, and return the losses of its first steps.

        Raises
        ------
        UnavailableError
            If training fails.
        NotInstalledError
            If a library is not installed.
        """
        losses: list[float] = self._ask(do="losses", workload=workload.to_json(), steps=steps)
        return losses

    def seconds(self, steps: int, warm: int = 1) -> float:
        """Continue training: return the seconds of ``steps`` steps, after ``warm`` untimed ones."""
        seconds: float = self._ask(do="seconds", steps=steps, warm=warm)
        return seconds

    def memory(self, workload: Workload) -> dict[str, int]:
        """Train a few steps of a workload, and return the allocated bytes at their ``peak`` and ``after`` the steps."""
        memory: dict[str, int] = self._ask(do="memory", workload=workload.to_json())
        return memory

    def _ask(self, **command: Any) -> Any:
        with self._process.running() as (commands, replies):
            try:
                commands.write(json.dumps(command) + "\n")
                commands.flush()
            except BrokenPipeError:
                raise UnavailableError(f"{self.name}: its process has ended") from None
            line = replies.readline()
            if not line:
                raise UnavailableError(f"{self.name}: its process ended with status {self._process.wait()}")
        reply = json.loads(line)
        if "missing" in reply:
            raise NotInstalledError(f"{self.name}: {reply['missing']} is not installed")
        if "unable" in reply:
            raise UnavailableError(f"{self.name}: {reply['unable']}")
        return reply["answer"]


def steps_in(seconds: float, worker: Worker) -> int:
    """Return the number of steps that a worker makes in the given time, from 1 to 200."""
    fastest = min(worker.seconds(1) for _ in range(3))
    return max(1, min(200, round(seconds / fastest)))


# -- training process --------------------------------------------------------------------------------------------------

# A command is a generator that receives the loss of every step and returns the reply. ``float(loss)`` waits for the
# loss in asynchronous libraries, so it is called only where the clock is read.
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
    tracemalloc.start()  # after the images, before the model
    for _ in range(2):  # after these, persistent buffers exist and temporary ones of the start do not
        float((yield))
    tracemalloc.reset_peak()
    for _ in range(3):
        float((yield))
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"peak": peak, "after": after}


_COMMANDS = {"losses": _losses, "seconds": _seconds, "memory": _memory}


class _NextWorkload(Exception):  # noqa: N818 (control flow)
    """Ends the training loop when the next workload has been requested."""


class _StepGate:
    """Control of the training loop: after each command it waits for the next."""

    def __init__(self, commands: TextIO, replies: TextIO) -> None:
        self._commands, self._replies = commands, replies
        self._command: Command
        self.workload: Workload | None = None

    def wait(self) -> None:
        """Read the next command."""
        line = self._commands.readline()
        if not line:
            raise SystemExit
        command = json.loads(line)
        self.workload = Workload.from_json(command.pop("workload")) if "workload" in command else None
        self._command = _COMMANDS[command.pop("do")](**command)

    def open(self) -> None:
        """Start the command, before its first step."""
        next(self._command)

    def after_step(self, loss: Any) -> None:
        """Pass a loss to the command; after its last step, reply and wait for the next command."""
        try:
            self._command.send(loss)
        except StopIteration as done:
            self.reply(answer=done.value)
            self.wait()
            if self.workload is not None:
                raise _NextWorkload from None
            self.open()

    def reply(self, **reply: Any) -> None:
        """Write a reply."""
        self._replies.write(json.dumps(reply) + "\n")
        self._replies.flush()


def serve(name: str) -> None:
    """Run the implementation ``name`` until there are no more commands."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries must not mix with replies
    threads.limit_cores()
    gate = _StepGate(sys.stdin, replies)
    gate.wait()
    while True:
        try:
            if gate.workload is None:
                raise UnavailableError("no workload has been started")  # noqa: TRY301 (handled with all others)
            train = load_train(name)
            problem = workloads.make_problem(gate.workload)
            gate.open()
            train(problem, gate.after_step)
        except _NextWorkload:
            continue
        except ImportError as error:
            gate.reply(missing=error.name or str(error))
        except Exception as error:  # noqa: BLE001 (the other implementations continue)
            message = " ".join(str(error).split())[:200]
            gate.reply(unable=f"{type(error).__name__}: {message}")
        gate.wait()


if __name__ == "__main__":
    serve(sys.argv[1])
