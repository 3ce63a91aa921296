"""The exchange's own errors, and the one map from any domain error to its public face.

A library raises domain errors that carry ``code``, ``blame`` and ``retryable``. This module decides which
HTTP status, which command exit code and which sentence a caller sees; see ``public_face``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

Blame = Literal["caller", "peer", "operator", "nobody"]

__all__ = [
    "AuthorityUnreachable",
    "Blame",
    "Conflict",
    "ExchangeError",
    "Forbidden",
    "HubUnreachable",
    "InvalidRequest",
    "JobFailed",
    "JobRefused",
    "JobStopped",
    "KeyFileDamaged",
    "KeyFileExposed",
    "LedgerRefused",
    "NodeUnreachable",
    "NotFound",
    "PublicFace",
    "SealBroken",
    "SearchNotReady",
    "TimedOut",
    "Unauthenticated",
    "WrongPassphrase",
    "public_face",
]


class ExchangeError(Exception):
    """Root of the errors raised by the exchange itself."""

    code: ClassVar[str] = "exchange.error"
    blame: ClassVar[Blame] = "operator"
    retryable: ClassVar[bool] = False


class InvalidRequest(ExchangeError):
    """A request does not have the stated form. ``field`` names the place."""

    code = "request.invalid"
    blame = "caller"

    def __init__(self, field: str, expected: str, actual: str) -> None:
        super().__init__(f"{field}: expected {expected}, got {actual}")
        self.field, self.expected, self.actual = field, expected, actual


class Unauthenticated(ExchangeError):
    """No token, or one this node does not know."""

    code = "request.unauthenticated"
    blame = "caller"


class Forbidden(ExchangeError):
    """The caller is known and may not do this."""

    code = "request.forbidden"
    blame = "caller"


class NotFound(ExchangeError):
    """No such thing, or none the caller may see."""

    code = "request.not-found"
    blame = "caller"


class Conflict(ExchangeError):
    """The thing is not in a state in which this can be done."""

    code = "request.conflict"
    blame = "caller"


class TimedOut(ExchangeError):
    """What was waited for did not happen in time. Nothing was undone; waiting again is safe."""

    code = "exchange.timed-out"
    blame = "nobody"
    retryable = True


class AuthorityUnreachable(ExchangeError):
    """A time stamp authority did not answer with a time stamp."""

    code = "timestamp.unreachable"
    blame = "peer"
    retryable = True


class SearchNotReady(ExchangeError):
    """The search index of this node's copy of the ledger is being made."""

    code = "search.not-ready"
    blame = "nobody"
    retryable = True


class HubUnreachable(ExchangeError):
    """The hub does not answer at its address."""

    code = "hub.unreachable"
    blame = "nobody"
    retryable = True


class NodeUnreachable(ExchangeError):
    """A node does not answer at its address."""

    code = "node.unreachable"
    blame = "nobody"
    retryable = True


class WrongPassphrase(ExchangeError):
    """The key file does not open with this passphrase."""

    code = "keys.wrong-passphrase"
    blame = "operator"


class KeyFileDamaged(ExchangeError):
    """The key file is missing, or is not as it was written."""

    code = "keys.damaged"
    blame = "operator"


class KeyFileExposed(ExchangeError):
    """Others than its owner may read the key file."""

    code = "keys.exposed"
    blame = "operator"


class SealBroken(ExchangeError):
    """A sealed text is for another reader or another use, or was altered."""

    code = "seal.broken"
    blame = "peer"


class LedgerRefused(ExchangeError):
    """The consortium's validity function refused an entry of ours; ``reason`` is its code."""

    code = "ledger.refused"
    blame = "caller"

    def __init__(self, entry_type: str, reason: str) -> None:
        super().__init__(f"entry {entry_type} was refused by the ledger: {reason}")
        self.entry_type, self.reason = entry_type, reason


class JobRefused(ExchangeError):
    """An owner's node decided that the job has no right to its data. ``codes`` name the clauses."""

    code = "job.refused"
    blame = "caller"

    def __init__(self, reasons: tuple[str, ...], codes: tuple[str, ...]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons, self.codes = reasons, codes


class JobFailed(ExchangeError):
    """A job ended without a result."""

    code = "job.failed"
    blame = "nobody"


class JobStopped(ExchangeError):
    """A run was told to stop: its job has ended, or an agreement that it stands on."""

    code = "job.stopped"
    blame = "nobody"


@dataclass(frozen=True)
class PublicFace:
    """What a caller sees of an error: HTTP status, title, detail, extra members, command exit code."""

    status: int
    title: str
    code: str
    detail: str
    retryable: bool
    exit_code: int
    extra: dict[str, object] = field(default_factory=dict)


_FACES: dict[str, tuple[int, str, int]] = {
    "request.invalid": (422, "The request does not have the stated form", 4),
    "request.unauthenticated": (401, "A valid token is needed", 2),
    "request.forbidden": (403, "Your role does not allow this", 2),
    "request.not-found": (404, "Not found", 4),
    "request.conflict": (409, "Not possible in the present state", 1),
    "exchange.timed-out": (504, "Timed out", 3),
    "hub.unreachable": (503, "The hub does not answer", 2),
    "node.unreachable": (503, "The node does not answer", 2),
    "keys.damaged": (500, "The keys could not be read", 2),
    "keys.exposed": (500, "The keys are readable by others", 2),
    "keys.wrong-passphrase": (500, "The keys could not be opened", 2),
    "copy.unreachable": (503, "The outside witness or mirror does not answer", 2),
    "copy.refused": (502, "The outside witness or mirror refuses this log", 1),
    "peer.unreachable": (503, "The other party's node does not answer", 2),
    "peer.refused": (502, "The other party's node does not take part", 1),
    "peer.clock-skew": (502, "The clocks of two nodes differ too much", 1),
    "peer.timed-out": (504, "The other party was silent for too long", 3),
    "provider.refused": (401, "The identity provider's answer was refused", 2),
    "provider.unknown-key": (401, "The identity provider's answer was refused", 2),
    "provider.unreachable": (503, "The identity provider does not answer", 2),
    "signin.delayed": (429, "Too many attempts to sign in failed", 3),
    "signin.refused": (401, "Signing in was refused", 2),
    "search.not-ready": (503, "The search index is being made", 3),
    "seal.broken": (502, "A sealed text could not be opened", 1),
    "timestamp.unreachable": (502, "The time stamp authority did not answer with a time stamp", 2),
    "ledger.not-kept": (404, "The private content is not kept here", 1),
    "ledger.not-published": (404, "The log has not published this", 4),
    "ledger.refused": (409, "The ledger refused the entry", 1),
    "job.refused": (409, "The job was refused", 1),
    "job.failed": (409, "The job failed", 1),
    "job.stopped": (409, "The job was stopped", 1),
}


def public_face(error: Exception) -> PublicFace:
    """Map any error to what a caller may see.

    Domain errors (those with ``code`` and ``blame``) keep their text: their messages hold names, counts and
    limits, never rows, identifiers or keys. Any other exception shows nothing but that something broke.
    """
    code = getattr(error, "code", None)
    if not isinstance(code, str) or not hasattr(error, "blame"):
        return PublicFace(500, "Internal error", "exchange.internal", "see the node's log", False, 5)
    by_blame = {"caller": (422, 4), "peer": (502, 1), "operator": (500, 1), "nobody": (503, 1)}
    status, exit_code = by_blame.get(str(error.blame), (500, 5))
    title = (type(error).__doc__ or code).strip().splitlines()[0]
    if code in _FACES:
        status, title, exit_code = _FACES[code]
    extra: dict[str, object] = {
        name: list(value) if isinstance(value, tuple) else value
        for name in ("field", "expected", "actual", "reasons", "codes", "reason")
        if isinstance(value := getattr(error, name, None), str | tuple)
    }
    return PublicFace(
        status, title, code, str(error), bool(getattr(error, "retryable", False)), exit_code, extra
    )
