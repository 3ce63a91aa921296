"""Errors of the mpc package: facts, each with a stable code, whose fault it is, and whether to try again.

Messages name what was expected and what came, as counts, labels and limits. They never hold an item, a share,
a key or a row value, so they may be logged and shown.
"""

from __future__ import annotations

import re
from typing import ClassVar, Literal

Blame = Literal["caller", "peer", "operator", "nobody"]

__all__ = [
    "Blame",
    "ChannelBroken",
    "CohortTooSmall",
    "CorruptAnswer",
    "CorruptHint",
    "DuplicateItems",
    "EngineAbsent",
    "EngineFailed",
    "EngineRefused",
    "EnginesDisagree",
    "InputsDisagree",
    "InvalidInput",
    "InvalidProof",
    "MalformedMessage",
    "ModelRefused",
    "ModelsDisagree",
    "MpcError",
    "PeerAborted",
    "ProtocolAbort",
    "ResultSizeRefused",
    "SecretNotSerialisable",
    "SharesDisagree",
    "StaleVersion",
    "SurvivorsDisagree",
    "TooFewParties",
    "TranscriptMismatch",
    "UnexpectedMessage",
    "ValueOutOfRange",
]


class MpcError(Exception):
    """Root of the errors raised by the mpc package."""

    code: ClassVar[str] = "mpc.error"
    blame: ClassVar[Blame] = "nobody"
    retryable: ClassVar[bool] = False


class ProtocolAbort(MpcError):
    """A check inside a protocol failed. No output of that run may be released after it."""

    code = "mpc.abort"
    blame: ClassVar[Blame] = "peer"


class MalformedMessage(ProtocolAbort):
    """A protocol message does not have the stated form, count or group membership."""

    code = "mpc.malformed-message"


class UnexpectedMessage(ProtocolAbort):
    """Another protocol message arrived than the one that is next."""

    code = "mpc.unexpected-message"

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"expected message {expected!r}, got {actual!r}")
        self.expected, self.actual = expected, actual


class TranscriptMismatch(ProtocolAbort):
    """The two parties did not see the same messages, or do not share one session."""

    code = "mpc.transcript-mismatch"
    blame = "nobody"


class PeerAborted(ProtocolAbort):
    """The other party stopped the run and said why. ``reason`` is its code."""

    code = "mpc.peer-aborted"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the other party aborted: {reason}")
        self.reason = reason


class InputsDisagree(ProtocolAbort):
    """The parties entered the run with inputs whose public shapes do not fit."""

    code = "mpc.inputs-disagree"
    blame = "nobody"

    def __init__(self, field: str, expected: int, actual: int) -> None:
        super().__init__(f"{field}: own side has {expected}, the other party has {actual}")
        self.field, self.expected, self.actual = field, str(expected), str(actual)


class CohortTooSmall(ProtocolAbort):
    """The other party would have opened a cohort smaller than this party's minimum."""

    code = "mpc.cohort-too-small"

    def __init__(self, min_cohort: int, cohorts: int) -> None:
        super().__init__(f"expected cohorts of at least {min_cohort} rows, {cohorts} cohorts are smaller")
        self.min_cohort, self.cohorts = min_cohort, cohorts


class TooFewParties(ProtocolAbort):
    """So many parties dropped out that those left may not put the sum together."""

    code = "mpc.too-few-parties"
    blame = "nobody"

    def __init__(self, threshold: int, left: int) -> None:
        super().__init__(f"expected at least {threshold} parties to stay, {left} are left")
        self.threshold, self.left = threshold, left


class SurvivorsDisagree(ProtocolAbort):
    """The aggregator told two parties different lists of those that are left."""

    code = "mpc.survivors-disagree"


class ModelsDisagree(ProtocolAbort):
    """The aggregator sent two parties different models, or told them different lists of those in a round."""

    code = "mpc.models-disagree"


class ModelRefused(ProtocolAbort):
    """A joint model fits the rows that a party held out worse than was agreed. By how much stays unsaid."""

    code = "mpc.model-refused"
    blame = "nobody"


class ResultSizeRefused(ProtocolAbort):
    """The size of a result is outside the limits of one party. Which limit, and the size, stay unsaid."""

    code = "mpc.result-size-refused"
    blame = "nobody"

    def __init__(self) -> None:
        super().__init__("the size of the result is outside the limits of this party")


class ChannelBroken(MpcError):
    """The channel to the other party closed or did not answer in time."""

    code = "mpc.channel-broken"
    retryable = True


class InvalidInput(MpcError):
    """A party's own input or parameter does not have the stated form."""

    code = "mpc.invalid-input"
    blame = "caller"


class DuplicateItems(InvalidInput):
    """A party's own set holds an item more than once. ``count`` is the number of surplus rows."""

    code = "mpc.duplicate-items"

    def __init__(self, count: int) -> None:
        super().__init__(f"items must be distinct: {count} rows repeat an earlier one")
        self.count = count


class ValueOutOfRange(InvalidInput):
    """A value, or a sum over all rows, does not fit the fixed-point range."""

    code = "mpc.value-out-of-range"


class EngineAbsent(MpcError):
    """An engine that a run needs is not installed here, or does not start. ``install`` adds it."""

    code = "mpc.engine-absent"
    blame = "operator"

    def __init__(self, engine: str, install: str) -> None:
        super().__init__(f"the engine {engine} is not installed here; install it with: {install}")
        self.engine, self.install = engine, install


class EngineRefused(MpcError):
    """An engine was asked for something it must not or cannot do with these inputs."""

    code = "mpc.engine-refused"
    blame = "caller"


class EnginesDisagree(ProtocolAbort):
    """The parties have different versions of an engine, or ask it for different things."""

    code = "mpc.engines-disagree"
    blame = "nobody"

    def __init__(self, expected: str, actual: str) -> None:
        shown = actual if re.fullmatch(r"[\w .+/-]{1,64}", actual, re.ASCII) else "another form"
        super().__init__(f"own engine: {expected}; the other party's: {shown}")
        self.expected, self.actual = expected, shown


class EngineFailed(MpcError):
    """An engine's process ended without a result, or with one that does not fit."""

    code = "mpc.engine-failed"
    blame = "operator"


class SharesDisagree(MpcError):
    """Two sets of shares do not belong to one sharing."""

    code = "mpc.shares-disagree"
    blame = "peer"


class SecretNotSerialisable(MpcError, TypeError):
    """A secret was about to be pickled or copied."""

    code = "mpc.secret-not-serialisable"
    blame = "caller"


class InvalidProof(ProtocolAbort):
    """A proof does not show that the stated public key evaluated the batch."""

    code = "mpc.invalid-proof"


class StaleVersion(ProtocolAbort):
    """A query is for another version of the list than the one served; ``number`` is the one served."""

    code = "mpc.stale-version"
    blame = "caller"
    retryable = True

    def __init__(self, number: int) -> None:
        super().__init__(f"the query names another version of the list than {number}, which is served")
        self.number = number


class CorruptAnswer(ProtocolAbort):
    """An answer decodes to a bin whose checksum is wrong: another matrix or hint, or damage on the way."""

    code = "mpc.corrupt-answer"


class CorruptHint(MpcError):
    """A hint, stash or delta is not the one that the manifest names."""

    code = "mpc.corrupt-hint"
    blame = "peer"
