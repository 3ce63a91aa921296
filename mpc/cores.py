"""Work in slices on all cores, by threads: for kernels and libraries that release the interpreter lock."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Result = TypeVar("Result")
_within = threading.local()


def count() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    # By process: threads do not survive a fork, and a pool without its threads waits for ever.
    return ThreadPoolExecutor(count(), thread_name_prefix="cores")


def over_slices(work: Callable[[slice], Result], size: int, least: int = 1) -> list[Result]:
    """Call ``work`` on slices that make up ``range(size)``, a core each, and return its results in order.

    Args:
        work: called with ``slice(start, stop)``. If it calls `over_slices` in turn, that call stays on its
            core.
        size: number of items.
        least: a slice has at least as many items, unless there are fewer in all.

    Security: neutral; which slice runs where depends on the size alone.
    """
    slices = max(1, min(count(), size // least))
    bounds = [size * number // slices for number in range(slices + 1)]
    parts = [slice(*pair) for pair in itertools.pairwise(bounds)]
    if slices == 1 or getattr(_within, "slice", False):
        return [work(part) for part in parts]

    def marked(part: slice) -> Result:
        _within.slice = True
        return work(part)

    return list(_pool(os.getpid()).map(marked, parts))
