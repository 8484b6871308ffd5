"""How far a function of the user gets before it raises an exception."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from tinygrad_cifar.doctor.calls import DiagnosisError, is_of_user


def count_instructions(function: Callable[[], Any]) -> int:
    """Return how many different instructions of the user's code a call executes; it may raise a DiagnosisError.

    An instruction in a loop counts once, so that a long loop is not taken for progress.
    """
    executed: set[tuple[int, int]] = set()

    def trace(frame: FrameType, *_: Any) -> Any:
        if not is_of_user(frame.f_code.co_filename):
            return None
        frame.f_trace_opcodes = True
        executed.add((id(frame.f_code), frame.f_lasti))
        return trace

    before, here = sys.gettrace(), inspect.currentframe()
    if here is not None:
        here.f_trace_opcodes = True  # Python 3.12 traces instructions only if a frame asks for it before settrace
    sys.settrace(trace)
    try:
        with suppress(DiagnosisError):
            function()
    finally:
        sys.settrace(before)
    return len(executed)
