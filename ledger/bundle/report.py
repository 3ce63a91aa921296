"""What a verified bundle proves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["AnchoredIn", "KeyPeriod", "Report", "StampedBy"]


@dataclass(frozen=True)
class KeyPeriod:
    """When a member's entry key counted.

    Attributes:
        member: the member's name.
        kid: the key's id.
        since: first index at which it signs for the member.
        until: index from which on another replaced it or the member was out; None while it counts.
    """

    member: str
    kid: str
    since: int
    until: int | None


@dataclass(frozen=True)
class StampedBy:
    """A time stamp on this log.

    Attributes:
        authority: subject of the certificate that signed it.
        time: when, by the authority's clock.
        size: the log's first so many entries existed then.
        trusted: whether the reader's own root certificate was asked, or the one that came with the bundle.
    """

    authority: str
    time: str
    size: int
    trusted: bool


@dataclass(frozen=True)
class AnchoredIn:
    """Where another ledger has this one's checkpoint on record.

    Attributes:
        origin: name of the other ledger's log.
        genesis: hash of its genesis.
        pinned: whether the caller named that hash.
        index: of the entry there.
        time: of its batch.
        size: of the checkpoint on record.
        cosigners: names of the other ledger's members that vouch for it.
    """

    origin: str
    genesis: str
    pinned: bool
    index: int
    time: str
    size: int
    cosigners: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What a bundle proves.

    Attributes:
        genesis: hash of the genesis; compare it with the one you were given.
        pinned: whether the caller named that hash.
        origin: name of the log.
        size: entries under the cosigned checkpoint.
        members: names of the members at that size.
        cosigners: names of those that cosigned it.
        cosigned: median of the times at which they did.
        exporter: name of the member that exported and signed the bundle.
        entries: entries shown, seals apart, by type.
        refused: how many of them the ledger refused.
        first: time of the first of their batches; last: of the last.
        keys: which entry key was whose, and from which index to which.
        disclosed: indexes of the entries whose private content is shown and is what they commit to.
        attachments: names of papers whose digest an entry states.
        timestamps: what outside authorities say about when.
        anchored: where another ledger vouches for this one, if the caller brought its bundle.
        complete: whether all entries of the log are shown.
        replayed: whether all of them were executed again, up to the state root.
        epoch: which log of its network this is; 1 for the one that began with a genesis.
        follows: hash of the genesis from which the bundles of the logs before lead here, if the
            caller brought any.
    """

    genesis: str
    pinned: bool
    origin: str
    size: int
    members: tuple[str, ...]
    cosigners: tuple[str, ...]
    cosigned: str
    exporter: str
    entries: Mapping[str, int]
    refused: int
    first: str
    last: str
    keys: tuple[KeyPeriod, ...]
    disclosed: tuple[int, ...]
    attachments: tuple[str, ...]
    timestamps: tuple[StampedBy, ...]
    anchored: AnchoredIn | None
    complete: bool
    replayed: bool
    epoch: int
    follows: str | None
