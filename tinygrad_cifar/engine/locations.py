"""Which line of the user's program called an operation, and which line of the library it went through."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType

_ROOT = Path(__file__).parents[1]
_NAME = _ROOT.name
_PACKAGE = str(_ROOT) + os.sep
# The library's own frames are skipped when the caller of an operation is located.
_MACHINERY = (f"engine{os.sep}", f"inspection{os.sep}", f"nn{os.sep}functional.py")
_SKIPPED = tuple(_PACKAGE + name for name in _MACHINERY)


def is_library_frame(frame: FrameType) -> bool:
    """Return whether a frame belongs to this library, or to Python's import system."""
    return frame.f_code.co_filename.startswith((_PACKAGE, "<frozen"))


def caller_location() -> tuple[str, int, str, int]:
    """Return the line of the program that called the operation, and that of the library's layer between, if any."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(_SKIPPED):
        frame = frame.f_back
    inside = frame
    while frame is not None and is_library_frame(frame):
        frame = frame.f_back
    user = frame or inside or sys._getframe(2)
    layer = inside or user
    return user.f_code.co_filename, user.f_lineno, layer.f_code.co_filename, layer.f_lineno


def format_location(location: tuple[str, int, str, int]) -> str:
    """Return a location as text: file and line, and the layer of the library in parentheses."""
    file, line, layer, layers_line = location
    through = f" (through {_NAME}/{layer.removeprefix(_PACKAGE)}:{layers_line})" if (file, line) != location[2:] else ""
    return f"{file}:{line}{through}"
