"""The signals that end a program: acting on them, turning them into an exception, holding them back."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["ENDING", "call_at_end", "held_back", "interrupting"]

ENDING = (signal.SIGTERM, signal.SIGINT)


def call_at_end(callback: Callable[[], None]) -> None:
    """Call ``callback`` when this process is told to end."""
    for number in ENDING:
        signal.signal(number, lambda *_: callback())


@contextmanager
def interrupting() -> Iterator[None]:
    """Turn the signals into ``KeyboardInterrupt``, so that no process is left behind.

    A shell starts background jobs with SIGINT ignored; here it counts all the same. Outside the main thread,
    where nobody can set handlers, this changes nothing.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = [signal.signal(number, end) for number in ENDING]
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler in zip(ENDING, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def held_back() -> Iterator[None]:
    """Hold the signals back, so that none comes between starting a process and taking note of it.

    Handlers and not the thread's mask: with other threads about, the system gives a signal to one of them,
    and the interpreter acts on it in the main thread whatever that one masks.
    """
    arrived: list[int] = []
    try:
        before = [signal.signal(number, lambda came, _: arrived.append(came)) for number in ENDING]
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler in zip(ENDING, before, strict=True):
            signal.signal(number, handler)
        for came in arrived:
            signal.raise_signal(came)
