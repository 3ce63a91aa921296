"""The direct connections of one job: one link per peer, opened when the job begins here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType

from exchange.errors import ExchangeError, JobFailed, JobStopped
from exchange.jobs.spec import JobSpec, Step
from exchange.node.services import NodeServices
from exchange.node.stops import StopSignal
from exchange.rpc.channel import Link, SessionKey, attempt_name, dial, step_session
from exchange.rpc.errors import PeerRefused, PeerUnreachable
from ledger import base64url
from mpc.channel import Channel, ChannelStats
from mpc.errors import ChannelBroken, MalformedMessage

__all__ = ["LateChannel", "PeerLinks", "StepChannels"]

_REDIAL_S = (0.02, 0.2)
_LOOK_S = 0.5
_FIRST = 1
"""A link serves all attempts at a step; their channels have names and sessions of their own."""


class PeerLinks:
    """Links to the other parties of a job; closed together.

    Of two parties the one with the smaller DID dials. A party may be asked before its own ledger shows the
    job as running, and then refuses; so a refused dial is tried again until the time for connecting is over.
    It begins with the job and not with the step, so that a party that still reads its rows is no party that
    is absent. When ``signal`` is told to stop, all links fail at once.
    """

    def __init__(self, services: NodeServices, spec: JobSpec, signal: StopSignal) -> None:
        self._services, self._spec, self._signal = services, spec, signal
        self._me = services.keys.did
        self._links: dict[str, Link] = {}
        self._failures: dict[str, tuple[float, Exception]] = {}
        self._making = {peer: threading.Lock() for peer in self._peers()}
        self._is_closed = False
        signal.on_told(self._interrupt)

    def __enter__(self) -> PeerLinks:
        for peer in self._making:
            self._services.sessions.expect(self.session(peer), peer)
        for peer in self._peers(unfinished=True):
            if self._me < peer:
                threading.Thread(target=self._call, args=(peer,), name="party-caller", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        for link in list(self._links.values()):
            link.close()
        for peer in self._making:
            self._services.sessions.forget(self.session(peer))

    def for_step(self, step: Step, role: str, ranks: Sequence[str], attempt: int) -> StepChannels:
        """The channels of ``role`` in one attempt at a step, with counters; ``ranks`` orders its roles."""
        return StepChannels(self, step, role, ranks, attempt)

    def renew(self, peer: str) -> None:
        """Give the link to ``peer`` up, so that the next use makes another in the same session."""
        with self._making[peer]:
            link = self._links.pop(peer, None)
        if link is not None:
            link.close()

    def link(self, peer: str, timeout_s: float | None = None) -> Link:
        """The link to ``peer``, which may have come about already.

        Args:
            peer: its DID.
            timeout_s: how long to try; as this node's settings say if left out.

        Raises:
            PeerUnreachable, PeerRefused, ClockSkew: no link came about; the text says why.
        """
        asked = time.monotonic()
        with self._making[peer]:
            failed_at, failure = self._failures.get(peer, (0.0, None))
            if failure is not None and failed_at >= asked:
                raise failure
            if peer not in self._links:
                self._links[peer] = self._made(peer, timeout_s or self._services.settings.connect_timeout_s)
                self._signal.check()
            return self._links[peer]

    def _made(self, peer: str, timeout_s: float) -> Link:
        make = self._dial if self._me < peer else self._accept
        try:
            made = make(peer, self.session(peer), timeout_s)
        except (ExchangeError, MalformedMessage) as exc:
            self._failures[peer] = time.monotonic(), exc
            raise
        if self._is_closed:  # nobody waits for it any more
            made.close()
        return made

    def _call(self, peer: str) -> None:
        """Dial ahead of the step that needs the link; where it failed before that, the step dials again."""
        with suppress(ExchangeError, MalformedMessage):
            self.link(peer)

    def _interrupt(self, stopped: JobStopped) -> None:
        for link in list(self._links.values()):
            link.fail(stopped)

    def _accept(self, peer: str, session: bytes, timeout_s: float) -> Link:
        deadline = time.monotonic() + timeout_s
        while True:
            self._check_open(peer)
            left = deadline - time.monotonic()
            try:
                return self._services.listener.accept(session, peer, max(min(left, _LOOK_S), 0.0))
            except PeerUnreachable as exc:
                if left <= _LOOK_S:
                    reason = f"it has not connected within {timeout_s:g} s"
                    raise PeerUnreachable(exc.did, exc.endpoint, reason) from exc

    def _dial(self, peer: str, session: bytes, timeout_s: float) -> Link:
        member = self._services.ledger.next_state.get("members", peer)
        if member is None or member["status"] != "active":
            raise JobFailed(f"{peer} is not an active member")
        deadline = time.monotonic() + timeout_s
        pause_s, longest_s = _REDIAL_S
        while True:
            self._check_open(peer)
            try:
                return dial(
                    member["endpoint"],
                    self._services.keys,
                    peer,
                    base64url.decode(member["tls"]),
                    session,
                    max(deadline - time.monotonic(), 0.1),
                    max_skew_s=self._services.settings.max_clock_skew_s,
                    clock=self._services.clock,
                    observer=self._services.observer,
                )
            except PeerRefused:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, longest_s)

    def _check_open(self, peer: str) -> None:
        self._signal.check()
        if self._is_closed:
            raise JobFailed(f"the connections of this job were closed before {peer} was reached")

    def session(self, peer: str) -> bytes:
        """What names the session with ``peer``, connected or not."""
        parties = tuple(sorted((self._me, peer)))
        return SessionKey(self._spec.job, self._spec.digest(), _FIRST, parties).digest()

    def _peers(self, *, unfinished: bool = False) -> set[str]:
        """Whoever has a part in a step of this party, or in one that it has not finished yet."""
        job, kept = self._spec.job, self._services.store.jobs
        mine = [step for step in self._spec.steps if step.role_of(self._me) is not None]
        if unfinished:
            mine = [step for step in mine if kept.checkpoint(job, step.id) is None]
        return {did for step in mine for did in step.parties.values()} - {self._me}


class StepChannels:
    """Channels of one attempt at a step by the peer's role, and what went through them.

    Roles may be opened from several threads, each role from one.
    """

    def __init__(self, links: PeerLinks, step: Step, role: str, ranks: Sequence[str], attempt: int) -> None:
        self._links, self._step, self._role, self._ranks = links, step, role, ranks
        self._name = attempt_name(step.id, attempt)
        self._open: dict[str, Channel] = {}

    def open(self, role: str) -> Channel:
        """The channel to the party that plays ``role``."""
        if role not in self._open:
            link = self._links.link(self._step.parties[role])
            self._open[role] = link.channel(self._name, self._rank(role))
        return self._open[role]

    def late(self, role: str) -> Channel:
        """The channel to the party that plays ``role``, opened when it is first used."""
        peer = self._step.parties[role]
        session = step_session(self._links.session(peer), self._name)
        return LateChannel(lambda: self.open(role), session, self._rank(role), peer)

    def _rank(self, role: str) -> int:
        return int(self._ranks.index(self._role) > self._ranks.index(role))

    def totals(self) -> dict[str, object]:
        """Bytes and rounds over all channels, in the words of a receipt."""
        stats = [channel.stats for channel in list(self._open.values())]
        return {
            "bytes_sent": sum(one.bytes_sent for one in stats),
            "bytes_received": sum(one.bytes_received for one in stats),
            "rounds": sum(one.rounds for one in stats),
        }


class LateChannel:
    """A channel that connects when it is first used, so that whoever uses it may do without the party.

    A connection that does not come about breaks the channel, as one that is lost does.
    """

    def __init__(self, connect: Callable[[], Channel], session: bytes, rank: int, peer: str) -> None:
        self._connect, self.session, self.rank, self.peer = connect, session, rank, peer
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._aborted: str | None = None

    @property
    def stats(self) -> ChannelStats:
        """Counters of this end."""
        return ChannelStats() if self._channel is None else self._channel.stats

    def send(self, label: str, payload: bytes) -> None:
        """Send one message; raises as ``receive``."""
        self._opened().send(label, payload)

    def receive(self, label: str) -> bytes:
        """Wait for the next message.

        Raises:
            ChannelBroken: no connection came about; otherwise as the channel itself.
            JobStopped: the run was told to stop while connecting.
        """
        return self._opened().receive(label)

    def abort(self, code: str) -> None:
        """Tell the peer that this run is over and why, once connected if it is not yet."""
        with self._lock:
            self._aborted = code
            channel = self._channel
        if channel is not None:
            channel.abort(code)

    def _opened(self) -> Channel:
        if self._channel is None:
            try:
                made = self._connect()
            except JobStopped:
                raise
            except ExchangeError as exc:
                raise ChannelBroken(f"no connection to {self.peer}: {exc.code}") from exc
            with self._lock:
                self._channel, aborted = made, self._aborted
            if aborted is not None:
                made.abort(aborted)
        return self._channel
