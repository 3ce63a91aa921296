"""Errors of the ledger: one root, leaves named after the fact.

Every class carries ``code`` (stable, for programs), ``blame`` (who has to act) and ``retryable``. Messages
say what was expected and what was found; they never hold keys, identifiers or disclosed content.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Blame = Literal["caller", "peer", "operator", "nobody"]

__all__ = [
    "AlgorithmUnavailable",
    "Blame",
    "CommitmentMismatch",
    "Divergence",
    "EngineUnusable",
    "InvalidBatch",
    "InvalidBundle",
    "InvalidConsistencyProof",
    "InvalidEpoch",
    "InvalidInclusionProof",
    "InvalidNotarization",
    "InvalidPromise",
    "InvalidSignature",
    "InvalidTimestamp",
    "InvalidVerdict",
    "LedgerError",
    "LogClosed",
    "MalformedEntry",
    "MalformedKey",
    "MalformedNote",
    "MalformedPolicy",
    "NotCanonical",
    "NotFinal",
    "NotKept",
    "NotPublished",
    "OrderConflict",
    "Refusal",
    "SealAhead",
    "SearchTooWide",
    "StaleHead",
    "StoreCorrupt",
    "StoreUnavailable",
    "UnverifiedNote",
]


class LedgerError(Exception):
    """Root of the errors raised by the ledger."""

    code: str = "ledger.error"
    blame: ClassVar[Blame] = "operator"
    retryable: ClassVar[bool] = False


class NotCanonical(LedgerError):
    """Bytes or a value are outside the canonical JSON profile."""

    code = "ledger.not-canonical"
    blame = "caller"


class MalformedKey(LedgerError):
    """A key, key name or DID does not have the stated form."""

    code = "ledger.malformed-key"
    blame = "caller"


class InvalidSignature(LedgerError):
    """A signature does not verify under the key it names."""

    code = "ledger.invalid-signature"
    blame = "peer"


class AlgorithmUnavailable(LedgerError):
    """This installation cannot check a signature algorithm that the network allows."""

    code = "ledger.algorithm-unavailable"
    blame = "operator"


class InvalidTimestamp(LedgerError):
    """A time stamp is not an authority's token over the checkpoint it is shown for."""

    code = "ledger.invalid-timestamp"
    blame = "peer"


class MalformedEntry(LedgerError):
    """Bytes are not an entry: envelope, size, encoding or signature list is wrong."""

    code = "ledger.malformed-entry"
    blame = "caller"


class CommitmentMismatch(LedgerError):
    """A disclosed payload is not the one an entry commits to."""

    code = "ledger.commitment-mismatch"
    blame = "peer"


class InvalidInclusionProof(LedgerError):
    """An audit path does not lead from the leaf to the root."""

    code = "ledger.invalid-inclusion-proof"
    blame = "peer"


class InvalidConsistencyProof(LedgerError):
    """A consistency proof does not show that one tree is a prefix of the other."""

    code = "ledger.invalid-consistency-proof"
    blame = "peer"


class MalformedNote(LedgerError):
    """Bytes are not a signed note, checkpoint, proof file or tile."""

    code = "ledger.malformed-note"
    blame = "peer"


class MalformedPolicy(LedgerError):
    """A trust policy file does not have the stated form. ``line`` counts from 1; 0 is the file as a whole."""

    code = "ledger.malformed-policy"
    blame = "caller"

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.line, self.reason = line, reason


class UnverifiedNote(LedgerError):
    """A note lacks a signature it needs, or a signature by a known key does not verify."""

    code = "ledger.unverified-note"
    blame = "peer"


class Refusal(LedgerError):
    """The validity function refuses an entry. ``code`` is what the seal records."""

    code = "entry.refused"
    blame = "caller"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class InvalidBatch(LedgerError):
    """A batch is not what the validity function makes of it. ``index`` is the entry that shows it."""

    code = "ledger.invalid-batch"
    blame = "peer"

    def __init__(self, what: str, index: int, expected: str, actual: str) -> None:
        super().__init__(f"entry {index}: {what}: expected {expected}, got {actual}")
        self.what, self.index, self.expected, self.actual = what, index, expected, actual


class SealAhead(LedgerError):
    """A seal's time is further ahead of this member's clock than the network tolerates."""

    code = "ledger.seal-ahead"
    blame = "nobody"
    retryable = True


class OrderConflict(LedgerError):
    """Another batch already has this height."""

    code = "ledger.order-conflict"
    blame = "nobody"
    retryable = True


class EngineUnusable(LedgerError):
    """An order engine is not configured, or set up so that it may lose what it acknowledged."""

    code = "ledger.engine-unusable"
    blame = "operator"


class LogClosed(LedgerError):
    """The log takes no entries: it is shutting down or its store failed."""

    code = "ledger.log-closed"
    blame = "nobody"
    retryable = True


class NotPublished(LedgerError):
    """An entry, tile or checkpoint that the log has not published was asked for."""

    code = "ledger.not-published"
    blame = "caller"


class NotKept(LedgerError):
    """Private content was asked for that is not kept here: it was erased, or never was."""

    code = "ledger.not-kept"
    blame = "caller"


class NotFinal(LedgerError):
    """An entry did not gather the quorum's cosignatures in time. It may still do so."""

    code = "ledger.not-final"
    blame = "nobody"
    retryable = True


class StoreUnavailable(LedgerError):
    """The database did not carry out a request."""

    code = "ledger.store-unavailable"
    blame = "operator"
    retryable = True


class StoreCorrupt(LedgerError):
    """Stored rows contradict each other or the signatures. Fatal: run ``parley ledger fsck``."""

    code = "ledger.store-corrupt"
    blame = "operator"


class StaleHead(LedgerError):
    """Somebody else moved the stored head first. Reload and try again."""

    code = "ledger.stale-head"
    blame = "nobody"
    retryable = True


class Divergence(LedgerError):
    """The log shows something else than what this member recomputed or saw before.

    Nothing of it was stored or cosigned. ``evidence`` is the file that proves it.
    """

    code = "ledger.divergence"
    blame = "peer"

    def __init__(self, kind: str, size: int, expected: str, actual: str, evidence: str) -> None:
        super().__init__(f"{kind} at size {size}: expected {expected}, got {actual}; evidence in {evidence}")
        self.kind, self.size, self.expected, self.actual = kind, size, expected, actual
        self.evidence = evidence


class InvalidBundle(LedgerError):
    """An evidence bundle does not verify. ``member`` names the file in it, or ``container``."""

    code = "ledger.invalid-bundle"
    blame = "peer"

    def __init__(self, member: str, reason: str) -> None:
        super().__init__(f"{member}: {reason}")
        self.member, self.reason = member, reason


class InvalidEpoch(LedgerError):
    """A new log epoch does not follow from the log before, or from this copy of it."""

    code = "ledger.invalid-epoch"
    blame = "peer"


class InvalidNotarization(LedgerError):
    """A notarization proof does not show its document on the ledger. ``field`` names what does not hold."""

    code = "ledger.invalid-notarization"
    blame = "peer"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


class InvalidVerdict(LedgerError):
    """A verdict is not what a member found and signed. ``field`` names what does not hold."""

    code = "ledger.invalid-verdict"
    blame = "peer"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


class InvalidPromise(LedgerError):
    """A promise is not the hub's, or evidence does not show that one was broken."""

    code = "ledger.invalid-promise"
    blame = "peer"


class SearchTooWide(LedgerError):
    """A search without a type meets more entry types than it can merge."""

    code = "ledger.search-too-wide"
    blame = "caller"
