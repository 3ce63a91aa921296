"""Batches: entries in order, executed, and sealed by the hub.

The seal at the end of a batch states what the validity function made of it: which entries it refused and
why, and the state root. ``verify_batch`` recomputes all of it, so a hub that accepts what is invalid, refuses
what is valid, or repeats an entry is found by every member. A ``txid`` stands in the log once; a second time
is the hub's fault, not a refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ledger.algorithms import Signer
from ledger.entries import Draft, Entry
from ledger.errors import InvalidBatch, InvalidSignature, MalformedEntry, Refusal, SealAhead
from ledger.membership import Network
from ledger.merkle import leaf_hash
from ledger.rules import shapes
from ledger.state import SEAL, apply, settle
from ledger.tables import Row, State
from ledger.times import format_time, parse_time

__all__ = ["EMPTY_HEAD", "Batch", "Head", "Seen", "read_seal", "seal_batch", "split_batches", "verify_batch"]

Seen = Callable[[frozenset[str]], frozenset[str]]
"""Returns those of the txids that the log already has."""


def _refusal(value: object, where: str) -> object:
    if not isinstance(value, list) or [type(item) for item in value] != [int, str]:
        raise shapes.malformed(where, "an index and a code")
    return value


_SEAL = shapes.record(
    {
        "height": shapes.COUNT,
        "first": shapes.COUNT,
        "count": shapes.POSITIVE,
        "refused": shapes.list_of(_refusal, most=65_536, distinct=False),
        "state": shapes.DIGEST,
        "prev_seal": shapes.DIGEST,
        "engine": shapes.record({"kind": shapes.WORD, "ref": shapes.SENTENCE}),
        "time": shapes.TIME,
    }
)


@dataclass(frozen=True)
class Head:
    """Where a log stands after its last seal."""

    state: State
    size: int
    height: int
    prev_seal: str
    time: datetime | None

    @classmethod
    def empty(cls, carried: State | None = None) -> Head:
        """Return where a log begins; ``carried`` is what the log of the epoch before leaves to it."""
        return cls(carried or State(), 0, 0, "0" * 64, None)


EMPTY_HEAD = Head.empty()
"""Where a network's first log begins."""


@dataclass(frozen=True)
class Batch:
    """An executed batch: one code per entry, None where it was accepted, and the head after it."""

    first: int
    entries: tuple[Entry, ...]
    codes: tuple[str | None, ...]
    seal: Entry
    head: Head

    @property
    def raws(self) -> list[bytes]:
        """All bytes of the batch, the seal last."""
        return [*(entry.raw for entry in self.entries), self.seal.raw]

    @property
    def time(self) -> int:
        """The seal's time, in Unix seconds."""
        return int(parse_time(self.seal.body["time"]).timestamp())


def seal_batch(
    head: Head,
    entries: Sequence[Entry],
    *,
    time: datetime,
    key: Signer,
    reference: str,
    seen: Seen,
) -> Batch:
    """Execute entries and seal them, as the hub.

    Args:
        head: where the log stands.
        entries: new entries, none of them a seal.
        time: the batch time, not before the last one.
        key: the hub's entry key.
        reference: what the order engine calls this height.
        seen: which txids the log has.

    Raises:
        InvalidBatch: an entry is repeated, or the first batch is not a valid genesis.
    """
    state, codes = _execute(head, entries, time, seen)
    network = _network(state, head, codes)
    draft = _seal_draft(head, state, codes, network, format_time(time), reference)
    seal = Entry.parse(draft.sign(network.hub_key.kid, key).encode())
    return _sealed(head, entries, codes, seal, state, time)


def split_batches(raws: Iterable[bytes], first: int) -> Iterator[list[Entry]]:
    """Parse the bytes of a log from index ``first`` on and cut them after each seal.

    Raises:
        InvalidBatch: bytes are not an entry, or the last batch has no seal.
    """
    batch: list[Entry] = []
    for index, raw in enumerate(raws, first):
        try:
            batch.append(Entry.parse(raw))
        except MalformedEntry as exc:
            raise InvalidBatch("entry", index, "an entry", str(exc)) from exc
        first = index + 1
        if batch[-1].type == SEAL:
            yield batch
            batch = []
    if batch:
        raise InvalidBatch("batch", first, "a seal at its end", "none")


def read_seal(seal: Entry, index: int) -> Row:
    """Return a seal's statements, their form checked and nothing else.

    Raises:
        InvalidBatch: the body is not a seal's.
    """
    try:
        body: Row = _SEAL(seal.body, "body")
    except Refusal as exc:
        raise InvalidBatch("seal", index, "a seal's body", str(exc)) from exc
    return body


def verify_batch(head: Head, batch: Sequence[Entry], *, now: datetime | None, seen: Seen) -> Batch:
    """Check one whole batch, its seal last, against one's own execution.

    Args:
        head: where the log stands, as recomputed so far.
        batch: the batch's entries and its seal.
        now: the reader's time; the seal may be ahead by the network's tolerance. None when the batch was
            accepted before and is only read again.
        seen: which txids the log has.

    Raises:
        InvalidBatch: anything differs. ``index`` is the first entry that shows it.
        SealAhead: the seal is too far ahead of ``now``.
    """
    if not batch or batch[-1].type != SEAL:
        raise InvalidBatch("batch", head.size + len(batch), "a seal at its end", "none")
    entries, seal = batch[:-1], batch[-1]
    index = head.size + len(entries)
    body = read_seal(seal, index)
    time = parse_time(body["time"])
    state, codes = _execute(head, entries, time, seen)
    network = _network(state, head, codes)
    _check_time(head, time, now, network, index)
    expected = _seal_draft(head, state, codes, network, body["time"], body["engine"]["ref"])
    for name, value in expected.body.items():
        if body[name] != value:
            raise InvalidBatch(f"seal {name}", index, str(value), str(body[name]))
    _check_seal_signature(expected, seal, network, index)
    return _sealed(head, entries, codes, seal, state, time)


def _execute(
    head: Head, entries: Sequence[Entry], time: datetime, seen: Seen
) -> tuple[State, tuple[str | None, ...]]:
    known = set(seen(frozenset(entry.txid for entry in entries)))
    state = settle(head.state, head.size)
    codes: list[str | None] = []
    for position, entry in enumerate(entries):
        index = head.size + position
        if entry.type == SEAL:
            raise InvalidBatch("batch", index, "one seal, at its end", "a seal inside")
        if entry.txid in known:
            raise InvalidBatch("txid", index, "a new entry", "one that is in the log already")
        known.add(entry.txid)
        try:
            state = apply(state, entry, index=index, time=time)
        except Refusal as refusal:
            codes.append(refusal.code)
        else:
            codes.append(None)
    return state, tuple(codes)


def _network(state: State, head: Head, codes: Sequence[str | None]) -> Network:
    network = Network.of(state)
    if network is None or (head.size == 0 and tuple(codes) != (None,)):
        code = codes[0] if codes else None
        raise InvalidBatch("batch", head.size, "a valid genesis alone in the first batch", code or "none")
    return network


def _seal_draft(
    head: Head, state: State, codes: Sequence[str | None], network: Network, time: str, reference: str
) -> Draft:
    before = Network.of(head.state) or network  # the engine that orders a batch is not one it switches to
    body = {
        "height": head.height,
        "first": head.size,
        "count": len(codes),
        "refused": [[head.size + i, code] for i, code in enumerate(codes) if code is not None],
        "state": state.root().hex(),
        "prev_seal": head.prev_seal,
        "engine": {"kind": before.engine, "ref": reference},
        "time": time,
    }
    return Draft(network.name, SEAL, network.hub_did, body, exp=time, seq=f"seal-{head.height}")


def _sealed(
    head: Head,
    entries: Sequence[Entry],
    codes: tuple[str | None, ...],
    seal: Entry,
    state: State,
    time: datetime,
) -> Batch:
    size = head.size + len(entries) + 1
    after = Head(state, size, head.height + 1, leaf_hash(seal.raw).hex(), time)
    return Batch(head.size, tuple(entries), codes, seal, after)


def _check_time(head: Head, time: datetime, now: datetime | None, network: Network, index: int) -> None:
    if head.time is not None and time < head.time:
        raise InvalidBatch("seal time", index, f"at least {format_time(head.time)}", format_time(time))
    if now is not None and time > (latest := now + timedelta(seconds=network.max_clock_skew_s)):
        raise SealAhead(f"expected a seal of at most {format_time(latest)}, got {format_time(time)}")


def _check_seal_signature(expected: Draft, seal: Entry, network: Network, index: int) -> None:
    if seal.signed_bytes != expected.signed_bytes():
        raise InvalidBatch("seal", index, "the hub's envelope", "another one")
    try:
        seal.verify(network.hub_key.kid, network.hub_key.public)
    except (InvalidSignature, MalformedEntry) as exc:
        raise InvalidBatch("seal signature", index, "the hub's", "none that verifies") from exc
    if len(seal.sigs) != 1:
        raise InvalidBatch("seal signature", index, "the hub's alone", f"{len(seal.sigs)} signatures")
