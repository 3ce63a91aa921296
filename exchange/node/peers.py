"""The direct connections of one job: one link per peer, opened when a step first needs it."""

from __future__ import annotations

import time
from types import TracebackType

from exchange.errors import JobFailed
from exchange.jobs.spec import JobSpec, Step
from exchange.node.services import NodeServices
from exchange.rpc.channel import Link, SessionKey, dial
from exchange.rpc.errors import PeerRefused
from ledger import base64url
from mpc.channel import Channel

__all__ = ["PeerLinks", "StepChannels"]

_REDIAL_S = 0.2


class PeerLinks:
    """Links to the other parties of a job; closed together.

    Of two parties the one with the smaller DID dials. A party may be asked before its own ledger shows the
    job as running, and then refuses; so a refused dial is tried again until the time for connecting is over.
    """

    def __init__(self, services: NodeServices, spec: JobSpec, attempt: int) -> None:
        self._services, self._spec, self._attempt = services, spec, attempt
        self._me = services.keys.did
        self._links: dict[str, Link] = {}

    def __enter__(self) -> PeerLinks:
        for peer in self._peers():
            self._services.sessions.expect(self._session(peer), peer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for link in self._links.values():
            link.close()
        for peer in self._peers():
            self._services.sessions.forget(self._session(peer))

    def for_step(self, step: Step, rank: int) -> StepChannels:
        """The channels of one step, with their counters; ``rank`` is this party's in the protocol."""
        return StepChannels(self, step, rank)

    def link(self, peer: str) -> Link:
        """The link to ``peer``, dialled or accepted on first use.

        Raises:
            PeerUnreachable, PeerRefused, ClockSkew: no link came about; the text says why.
        """
        if peer not in self._links:
            timeout_s = self._services.settings.connect_timeout_s
            session = self._session(peer)
            if self._me < peer:
                self._links[peer] = self._dial(peer, session, timeout_s)
            else:
                self._links[peer] = self._services.listener.accept(session, peer, timeout_s)
        return self._links[peer]

    def _dial(self, peer: str, session: bytes, timeout_s: float) -> Link:
        member = self._services.ledger.final("members", peer)
        if member is None:
            raise JobFailed(f"{peer} is not a member")
        deadline = time.monotonic() + timeout_s
        while True:
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
                time.sleep(_REDIAL_S)

    def _session(self, peer: str) -> bytes:
        parties = tuple(sorted((self._me, peer)))
        return SessionKey(self._spec.job, self._spec.digest(), self._attempt, parties).digest()

    def _peers(self) -> set[str]:
        mine = [step for step in self._spec.steps if step.role_of(self._me) is not None]
        return {did for step in mine for did in step.parties.values()} - {self._me}


class StepChannels:
    """Channels of one step by the peer's role, and what went through them."""

    def __init__(self, links: PeerLinks, step: Step, rank: int) -> None:
        self._links, self._step, self._rank = links, step, rank
        self._open: dict[str, Channel] = {}

    def open(self, role: str) -> Channel:
        """The channel to the party that plays ``role``."""
        if role not in self._open:
            self._open[role] = self._links.link(self._step.parties[role]).channel(self._step.id, self._rank)
        return self._open[role]

    def totals(self) -> dict[str, object]:
        """Bytes and rounds over all channels, in the words of a receipt."""
        stats = [channel.stats for channel in self._open.values()]
        return {
            "bytes_sent": sum(one.bytes_sent for one in stats),
            "bytes_received": sum(one.bytes_received for one in stats),
            "rounds": sum(one.rounds for one in stats),
        }
