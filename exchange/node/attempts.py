"""Attempts at a step: after a party was lost, all parties agree on the next one and where it begins.

    party i                                   every other party j
      attempts so far, numbers of checkpoints
                                        <-->  the same of j

The next attempt has the number after the highest that any of them has begun, so no session is used twice.
It begins at the highest checkpoint that all hold, or at the start. A party that makes no further attempt
fails instead, and so ends the job or leaves it. Checkpoints are sealed to this node's key and to job,
specification and step; they go when the step has ended or the job is over.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Final

from exchange.errors import ExchangeError, JobFailed, JobStopped
from exchange.identity import seal_to
from exchange.jobs.spec import JobSpec, Step
from exchange.node.peers import PeerLinks
from exchange.node.services import NodeServices
from exchange.rpc.channel import SessionKey
from exchange.rpc.errors import ChannelTimeout
from exchange.web.kinds import Rule, read_as
from federated.checkpoints import HELD, Checkpoints
from ledger import canonical
from mpc.errors import ChannelBroken, MpcError, PeerAborted, TooFewParties

__all__ = ["FIRST", "Attempt", "Attempts", "is_interruption"]

_log = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 8
_MEETING: Final = 0
_LINK_S: Final = 2.0
_PAUSE_S: Final = 0.2
_LOST: Final = (ChannelBroken.code, TooFewParties.code)
"""Why a peer aborts when it has lost a third party."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a step.

    Attributes:
        number: from 1.
        begins_at: the checkpoint that all parties hold; 0 for the start.
    """

    number: int
    begins_at: int


FIRST: Final = Attempt(1, 0)


@dataclass(frozen=True)
class _Statement:
    """What a party says of itself before an attempt."""

    attempts: Annotated[int, Rule("begun so far", minimum=0, maximum=MAX_ATTEMPTS)]
    held: Annotated[tuple[int, ...], Rule("numbers of checkpoints", minimum=0, maximum=HELD)]


def is_interruption(failure: Exception) -> bool:
    """Whether a party was lost, so that the step may be attempted again when it is back."""
    if isinstance(failure, PeerAborted):
        return failure.reason in _LOST
    return isinstance(failure, ChannelBroken | TooFewParties) and not isinstance(failure, ChannelTimeout)


class Attempts:
    """The attempts of one party at one step.

    Args:
        services: this node. spec: the job. step: one of its steps. role: played here. ranks: of the step's
        roles. links: to the other parties.
    """

    def __init__(
        self,
        services: NodeServices,
        spec: JobSpec,
        step: Step,
        role: str,
        ranks: Sequence[str],
        links: PeerLinks,
    ) -> None:
        self._services, self._spec, self._step = services, spec, step
        self._role, self._ranks, self._links = role, ranks, links
        self._store = services.store.jobs

    def first(self) -> Attempt:
        """Begin the first attempt, or the next where this node was restarted in the middle of one."""
        if self._store.begin(self._spec.job, self._step.id):
            return FIRST
        return self.next()

    def next(self) -> Attempt:
        """Agree with all parties on the next attempt, and begin it.

        Raises:
            JobFailed: this party makes no further attempt, or there were too many.
            JobStopped: the run has been told to stop.
            PeerUnreachable, PeerRefused, ChannelBroken: a party has not come back within the time of a step.
        """
        job, step = self._spec.job, self._step.id
        if self.is_closed:
            raise JobFailed(f"step {step}: lost a party after others were left out, and is not resumed")
        own = _Statement(self._store.attempts(job, step), tuple(sorted(self._held())))
        stated = [own, *self._exchange(own)]
        number = 1 + max(one.attempts for one in stated)
        if number > MAX_ATTEMPTS:
            raise JobFailed(f"step {step}: expected at most {MAX_ATTEMPTS} attempts, all were cut off")
        common = set.intersection(*(set(one.held) for one in stated))
        attempt = Attempt(number, max(common, default=0))
        self._store.begin_again(job, step, number)
        _log.info("job %s, step %s: attempt %d from checkpoint %d", job, step, number, attempt.begins_at)
        return attempt

    @property
    def is_closed(self) -> bool:
        """Whether this party makes no further attempt."""
        return self._store.is_closed(self._spec.job, self._step.id)

    @property
    def has_lost(self) -> bool:
        """Whether a party has left the step for good."""
        row = self._services.ledger.final("jobs", self._spec.job) or {}
        return bool(row.get("left", {}).get(self._step.id))

    def session(self, attempt: Attempt) -> bytes:
        """What all parties of an attempt have in common, and no other run has."""
        parties = tuple(sorted(self._step.parties.values()))
        key = SessionKey(self._spec.job, self._spec.digest(), attempt.number, parties)
        begins = f"#{attempt.begins_at}" if attempt.begins_at else ""
        return hashlib.sha256(key.digest() + (self._step.id + begins).encode()).digest()

    def checkpoints(self, attempt: Attempt) -> Checkpoints:
        """Where the attempt keeps its checkpoints, and what earlier ones have kept."""
        return _Sealed(self, attempt, self._held())

    def end(self) -> None:
        """Drop the checkpoints of a step that has ended."""
        self._store.drop_states(self._spec.job, self._step.id)

    # of its checkpoints

    def keep(self, number: int, raw: bytes) -> None:
        """Seal a checkpoint and keep it with the last one before."""
        sealed = seal_to(self._services.keys.seal_public, raw, self._context(number))
        self._store.keep_state(self._spec.job, self._step.id, number, sealed, oldest=number - HELD + 1)

    def forget_after(self, number: int) -> None:
        """Drop the checkpoints of higher numbers."""
        self._store.drop_states(self._spec.job, self._step.id, after=number)

    def close(self) -> None:
        """Allow no later attempt."""
        self._store.close(self._spec.job, self._step.id)

    def _held(self) -> Mapping[int, bytes]:
        kept, keys = self._store.states(self._spec.job, self._step.id), self._services.keys
        return {number: keys.open_sealed(sealed, self._context(number)) for number, sealed in kept.items()}

    def _context(self, number: int) -> bytes:
        named: dict[str, object] = {
            "job": self._spec.job,
            "number": number,
            "spec": self._spec.digest(),
            "step": self._step.id,
        }
        return canonical.encode(named)

    # what the parties tell each other

    def _exchange(self, own: _Statement) -> list[_Statement]:
        """What every other party states, in the order of ranks, in which nobody waits in a circle."""
        deadline = time.monotonic() + self._services.settings.step_timeout_s
        for role in self._ranks:
            if role != self._role:
                self._links.renew(self._step.parties[role])
        return [self._swap(role, own, deadline) for role in self._ranks if role != self._role]

    def _swap(self, role: str, own: _Statement, deadline: float) -> _Statement:
        peer = self._step.parties[role]
        while True:
            try:
                self._links.link(peer, _LINK_S)
                channel = self._links.for_step(self._step, self._role, self._ranks, _MEETING).open(role)
                channel.send("statement", canonical.encode(asdict(own)))
                stated = channel.receive("statement")
                break
            except JobStopped:
                raise
            except (ExchangeError, MpcError):
                if time.monotonic() >= deadline or self.has_lost:
                    raise
            time.sleep(_PAUSE_S)
            self._links.renew(peer)
        return read_as(_Statement, canonical.decode(stated), "statement")


class _Sealed(Checkpoints):
    """Those of a step, kept in this node's store as well."""

    def __init__(self, attempts: Attempts, attempt: Attempt, held: Mapping[int, bytes]) -> None:
        super().__init__(attempt.number, attempt.begins_at, held)
        self._attempts = attempts

    def forget_later(self) -> None:
        """Drop what comes after the checkpoint that this attempt begins at."""
        super().forget_later()
        self._attempts.forget_after(self.begins_at)

    def close(self) -> None:
        """Allow no later attempt; the checkpoints go."""
        if not self.is_closed:
            super().close()
            self._attempts.close()

    def _store(self, number: int, raw: bytes) -> None:
        self._attempts.keep(number, raw)
