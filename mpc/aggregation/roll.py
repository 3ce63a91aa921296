"""The aggregator's roll call: it waits for all owners at once, and goes on without those that are late."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from mpc.channel import Channel
from mpc.errors import ChannelBroken, MpcError, PeerAborted, TooFewParties
from mpc.spec import ProtocolSpec
from mpc.transcript import ConfirmedChannel

DROPPED_OUT: Final = "mpc.dropped-out"
"""Why the aggregator ends the channel of an owner that it no longer waits for."""

Answer = TypeVar("Answer")


class Roll:
    """The owners that are still in a run, by number.

    Args:
        channels: to every owner.
        spec: of the protocol.
        session: that all parties share.
        threshold: with fewer owners the run ends.
        patience_s: how long each round waits for the slowest owner; shorter than the channels wait.
    """

    def __init__(
        self,
        channels: Mapping[int, Channel],
        spec: ProtocolSpec,
        session: bytes,
        threshold: int,
        patience_s: float,
    ) -> None:
        self._raw, self._threshold, self._patience_s = dict(channels), threshold, patience_s
        self.present = {
            number: ConfirmedChannel(channel, spec, common=session)
            for number, channel in sorted(channels.items())
        }

    def gather(self, take: Callable[[ConfirmedChannel], Answer]) -> dict[int, Answer]:
        """Take something from every owner that is present; who is late, gone or gave up is so no longer.

        Raises:
            TooFewParties: fewer than the threshold are left.
            ProtocolAbort: an owner sent what the protocol does not have.
        """
        answers: queue.SimpleQueue[tuple[int, Answer | Exception]] = queue.SimpleQueue()

        def wait(number: int, channel: ConfirmedChannel) -> None:
            try:
                answers.put((number, take(channel)))
            except Exception as error:  # noqa: BLE001  # raised on by the thread that gathers
                answers.put((number, error))

        for number, channel in self.present.items():
            threading.Thread(target=wait, args=(number, channel), daemon=True).start()
        found = self._answered(answers)
        for number in set(self.present) - set(found):
            self.drop(number)
        if len(found) < self._threshold:
            raise TooFewParties(self._threshold, len(found))
        return dict(sorted(found.items()))

    def _answered(self, answers: queue.SimpleQueue[tuple[int, Answer | Exception]]) -> dict[int, Answer]:
        found: dict[int, Answer] = {}
        until = time.monotonic() + self._patience_s
        for _ in range(len(self.present)):
            try:
                number, answer = answers.get(timeout=max(until - time.monotonic(), 0))
            except queue.Empty:
                break
            if isinstance(answer, ChannelBroken | PeerAborted):
                continue
            if isinstance(answer, Exception):
                raise answer
            found[number] = answer
        return found

    def send(self, message: str, payloads: Mapping[int, bytes]) -> None:
        """Send each of these owners its payload; less than a channel's window."""
        for number, payload in payloads.items():
            try:
                self.present[number].send(message, payload)
            except MpcError:
                self.drop(number)

    def drop(self, number: int) -> None:
        """Go on without an owner, and tell it."""
        if self.present.pop(number, None) is not None:
            self._raw[number].abort(DROPPED_OUT)

    def abort(self, code: str) -> None:
        """Tell every owner that the run is over and why."""
        for channel in self._raw.values():
            channel.abort(code)
