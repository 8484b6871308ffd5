"""A progress display: a bar in a terminal or a notebook, lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_MAX_WIDTH = 100
_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n}/{total} [{elapsed}<{remaining}{postfix}]"


class ProgressDisplay:
    """The progress of one task; :func:`show_progress` makes and closes it."""

    def __init__(self, label: str, max_lines: int | None, options: dict[str, Any]) -> None:
        self._label, self._max_lines = label, max_lines
        self._options = {"bar_format": _FORMAT} | options
        self._bar: Any = None
        self._is_started = False
        self._last_share = -1

    def update(
        self, done: float, total: float, *, status: str = "", lines: Sequence[str] = (), label: str | None = None
    ) -> None:
        """Show the present state.

        Parameters
        ----------
        done, total : float
            The amount of work that is done, and all of it.
        status : str
            Text at the end of the bar.
        lines : sequence of str
            Lines to print if no bar is shown.
        label : str, optional
            Text before the bar. If it changes, the bar starts again.
        """
        label = label or self._label
        if not self._is_started:  # so that earlier work of a resumed task does not count as speed
            self._is_started = True
            self._bar = _open_bar(desc=label, total=total, initial=done, **self._options)
        elif self._bar is not None and label != self._label:
            self._bar.set_description_str(label, refresh=False)
            self._bar.reset(total)
        self._label = label
        if self._bar is None:
            self._print(lines, done / total if total else 1.0)
            return
        self._bar.set_postfix_str(status, refresh=False)
        self._bar.update(done - self._bar.n)

    def write(self, line: str) -> None:
        """Print a line above the bar, or after the lines so far."""
        if self._bar is None:
            print(line, flush=True)
        else:
            self._bar.write(line)

    def close(self) -> None:
        """Leave the bar in its last state."""
        if self._bar is not None:
            self._bar.close()

    def _print(self, lines: Sequence[str], share: float) -> None:
        if lines and self._max_lines is not None:
            share_of_lines = int(self._max_lines * share)
            if share_of_lines == self._last_share:
                return
            self._last_share = share_of_lines
        for line in lines:
            print(line, flush=True)


@contextmanager
def show_progress(label: str, *, max_lines: int | None = None, **options: Any) -> Iterator[ProgressDisplay]:
    """Return a context manager that shows progress: a bar in a terminal or a notebook, if tqdm is installed.

    Parameters
    ----------
    label : str
        Text before the bar.
    max_lines : int, optional
        If no bar is shown, print lines at about this many equally spaced points of the work. If None, print all.
    **options
        Passed to tqdm.

    Examples
    --------
    >>> from tinygrad_cifar.system.progress import show_progress
    >>> with show_progress("copy", max_lines=2) as display:
    ...     for k in range(5):
    ...         display.update(k, 4, lines=[f"{k} of 4 files"])
    0 of 4 files
    2 of 4 files
    4 of 4 files
    """
    display = ProgressDisplay(label, max_lines, options)
    try:
        yield display
    finally:
        display.close()


def _open_bar(**options: Any) -> Any:
    """Return a progress bar, or None without tqdm, or if neither a terminal nor a notebook would show it."""
    if _is_notebook():
        return _open_notebook_bar(**options)
    if not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm  # noqa: PLC0415 (optional, and slow to import)
    except ImportError:
        return None
    # tqdm takes the size 0 of a terminal that does not know its size literally and draws nothing.
    size = shutil.get_terminal_size()
    columns = max(1, min(size.columns, _MAX_WIDTH) - len("^C "))  # a terminal shows Ctrl-C after the bar
    return tqdm(ncols=columns, nrows=size.lines, **options)


def _is_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def _open_notebook_bar(**options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm warns if a notebook lacks ipywidgets, and then draws its bar as text
        try:
            from tqdm.auto import tqdm  # noqa: PLC0415 (optional, and slow to import)
        except ImportError:
            return None
    return tqdm(**options | {"bar_format": None})
