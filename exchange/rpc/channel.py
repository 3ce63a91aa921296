"""The party channel as the rest of the exchange uses it: name a session, dial or accept, take channels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from exchange.rpc.dialer import dial
from exchange.rpc.link import Limits, Link, Observer, StepChannel, attempt_name, step_session
from exchange.rpc.listener import PartyListener
from ledger import canonical

__all__ = [
    "Limits",
    "Link",
    "Observer",
    "PartyListener",
    "SessionKey",
    "StepChannel",
    "attempt_name",
    "dial",
    "step_session",
]

_DOMAIN = b"parley-session/v1\n"


@dataclass(frozen=True)
class SessionKey:
    """What makes a session: bound into every frame, hash and key of a run.

    Attributes:
        job: the job's id.
        spec_digest: SHA-256 of its specification, lower hex.
        attempt: 1 for the first.
        parties: the DIDs of the party set, sorted.
    """

    job: str
    spec_digest: str
    attempt: int
    parties: tuple[str, ...]

    def __post_init__(self) -> None:
        if list(self.parties) != sorted(set(self.parties)):
            raise ValueError("expected the parties sorted and each once")

    def digest(self) -> bytes:
        """Return the 32 bytes that name the session."""
        named = {
            "attempt": self.attempt,
            "job": self.job,
            "parties": list(self.parties),
            "spec": self.spec_digest,
        }
        return hashlib.sha256(_DOMAIN + canonical.encode(named)).digest()
