"""Run a function in several threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

THREADS = 8


def run_in_threads(work: Callable[[int], Any], count: int = THREADS) -> list[Any]:
    """Run ``work(number)`` in ``count`` threads at once; return their results, or raise the first error."""
    ready = threading.Barrier(count)
    results: list[Any] = [None] * count
    errors: list[BaseException] = []

    def run(number: int) -> None:
        ready.wait()
        try:
            results[number] = work(number)
        except BaseException as error:  # noqa: BLE001 (raised below)
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
