"""A signal that comes while it is held back is acted on afterwards, other threads or not."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from exchange.signals import held_back, interrupting


def end_while_held_back(number: signal.Signals, noted: list[str]) -> None:
    with interrupting():
        with held_back():
            os.kill(os.getpid(), number)
            noted.append("taken note of")
        noted.append("never reached")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_held_back_signal_interrupts_afterwards(number: signal.Signals) -> None:
    noted: list[str] = []
    release = threading.Event()
    other = threading.Thread(target=release.wait)
    other.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            end_while_held_back(number, noted)
    finally:
        release.set()
        other.join()
    assert noted == ["taken note of"]


def test_handlers_are_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with interrupting(), held_back():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
