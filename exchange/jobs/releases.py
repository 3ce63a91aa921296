"""What owners release to whoever asked: a head that says what it is, and shares that say nothing alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from exchange.errors import JobFailed
from exchange.web.kinds import read_as
from ledger import canonical
from mpc.stats.shares import GroupShares

__all__ = ["Cardinality", "GroupRelease", "Measure", "MeasureRelease"]

_HEAD_LENGTH = 4


@dataclass(frozen=True)
class Measure:
    """A summed column, the decimal digits its fixed-point values keep, and the units they are rounded to."""

    name: str
    decimals: int
    base: int = 1


@dataclass(frozen=True)
class Cardinality:
    """How many people an intersection has; both owners release the same."""

    matched: int

    def encode(self) -> bytes:
        """Encode, for sealing."""
        return canonical.encode({"matched": self.matched})

    @classmethod
    def decode(cls, release: bytes) -> Cardinality:
        """Decode what ``encode`` made; anything else raises ``InvalidRequest``."""
        return read_as(cls, canonical.decode(release), "release")


@dataclass(frozen=True)
class MeasureRelease:
    """The measure holder's part of grouped sums."""

    measures: tuple[Measure, ...]
    shares: GroupShares
    noise: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Encode, for sealing."""
        named = [asdict(measure) for measure in self.measures]
        return _pack({"measures": named, "noise": dict(self.noise)}, self.shares)

    @classmethod
    def decode(cls, release: bytes) -> MeasureRelease:
        """Decode what ``encode`` made; anything else raises a domain error."""
        head, shares = _unpack(release, {"measures", "noise"})
        measures = tuple(read_as(Measure, one, "measures") for one in head["measures"])
        return cls(measures, shares, head["noise"])


@dataclass(frozen=True)
class GroupRelease:
    """The group holder's part of grouped sums; a suppressed group's label is not told."""

    group: str
    labels: tuple[str, ...]
    shares: GroupShares
    noise: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Encode, for sealing."""
        shown = [
            label if count >= 0 else "" for label, count in zip(self.labels, self.shares.counts, strict=True)
        ]
        return _pack({"group": self.group, "labels": shown, "noise": dict(self.noise)}, self.shares)

    @classmethod
    def decode(cls, release: bytes) -> GroupRelease:
        """Decode what ``encode`` made; anything else raises a domain error."""
        head, shares = _unpack(release, {"group", "labels", "noise"})
        if len(head["labels"]) != len(shares.counts):
            raise JobFailed(f"a release has {len(head['labels'])} labels for {len(shares.counts)} groups")
        return cls(head["group"], tuple(head["labels"]), shares, head["noise"])


def _pack(head: dict[str, object], shares: GroupShares) -> bytes:
    encoded = canonical.encode(head)
    return len(encoded).to_bytes(_HEAD_LENGTH, "big") + encoded + shares.encode()


def _unpack(release: bytes, fields: set[str]) -> tuple[dict[str, Any], GroupShares]:
    end = _HEAD_LENGTH + int.from_bytes(release[:_HEAD_LENGTH], "big")
    head = canonical.decode(release[_HEAD_LENGTH:end])
    if not isinstance(head, dict) or set(head) != fields:
        raise JobFailed(f"expected a release with {', '.join(sorted(fields))}, got another form")
    return head, GroupShares.decode(release[end:])
