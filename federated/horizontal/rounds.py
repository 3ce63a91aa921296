"""Rounds of joint training: the aggregator tells a model, owners agree on it, and their sum comes back.

    owner u                          aggregator                       other owners
      ready                    --->
                               <---    model, and who is in the round
      digest of both           --------------------------------------->
                               <---------------------------------------  the same digest
      own words, by secure aggregation in a session that is this digest
                               <-->    the sum of the words
      ... further rounds ...
                               <---    the last model; digests as before
      confirm                  <-->    confirm

An owner goes on only if as many owners as the threshold, itself included, hold the same digest. The threshold
is more than half: any two owners that go on have compared with a common one. Digests travel on channels that
the aggregator has no part in. An owner that was late to compare and yet takes part is caught one step later:
the session of the aggregation is the digest, so shares that owners with different models seal to each other
do not open, and that comes before any owner sends its words.

Owners that vanish are dropped as in `mpc.aggregation.secagg`; the next round is of those that stayed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

from federated.checkpoints import Checkpoints
from federated.horizontal.encoding import Words
from federated.horizontal.models import Floats
from federated.horizontal.settings import MAX_ROWS
from mpc import wire
from mpc.aggregation import secagg
from mpc.aggregation.messages import decode_numbers, encode_numbers
from mpc.aggregation.roll import Roll
from mpc.channel import Channel
from mpc.domain import Usage, separation_tag
from mpc.errors import InvalidInput, MalformedMessage, ModelsDisagree, MpcError
from mpc.randomness import Randomness
from mpc.spec import ProtocolSpec
from mpc.transcript import ConfirmedChannel, protocol_run

__all__ = [
    "AggregatorRounds",
    "Entered",
    "OwnerRounds",
    "Terms",
    "aggregator_rounds",
    "check_repeated",
    "owner_rounds",
]

DIGEST_BYTES: Final = 32
_PATIENCE_SHARE: Final = 0.5


@dataclass(frozen=True)
class Terms:
    """What all parties of a run have in common.

    Attributes:
        spec: the protocol that consists of these rounds.
        owners: how many there are, numbered from 1.
        threshold: fewest owners that stay, more than half of them.
        session: of this run, never used before.
        seed: for public draws, the same in all attempts at a run; empty where there are no others.
        patience_s: how long the aggregator waits in each round for the slowest owner, training included;
            owners wait half of it for one another's digest.
    """

    spec: ProtocolSpec
    owners: int
    threshold: int
    session: bytes
    patience_s: float
    seed: bytes = b""

    @property
    def drawn_from(self) -> bytes:
        """What public draws are made from."""
        return self.seed or self.session

    def __post_init__(self) -> None:
        least = max(self.owners // 2 + 1, secagg.MIN_OWNERS)
        if not least <= self.threshold <= self.owners:
            raise InvalidInput(f"threshold: expected {least} to {self.owners}, got {self.threshold}")

    def checked_rows(self, stated: float, least: int) -> int:
        """The rows of all owners together that a round states.

        Raises:
            MalformedMessage: rows that the owners cannot have.
            InvalidInput: fewer than the least, of all owners that are left.
        """
        most = MAX_ROWS * self.owners
        if not 1 <= stated <= most or stated != int(stated):
            raise MalformedMessage(f"rows: expected 1 to {most} of all owners together, got {stated:.0f}")
        if stated < least:
            raise InvalidInput(f"expected at least {least} rows of all owners together, got {stated:.0f}")
        return int(stated)

    def digest(self, number: int, roster: Sequence[int], model: Floats) -> bytes:
        """What owners compare of a round, counted from 0; the session of its aggregation."""
        tag = separation_tag(self.spec.name, self.spec.version, Usage.MODEL_DIGEST, self.session)
        head = wire.encode_uint64(number) + encode_numbers(roster)
        return hashlib.sha256(tag + head + wire.encode_array(model.view(np.uint64))).digest()


@dataclass(frozen=True)
class Entered:
    """The outcome of one round at the aggregator.

    Attributes:
        owners: numbers of those whose words are in the total.
        total: uint64[L], modulo 2^64.
    """

    owners: tuple[int, ...]
    total: Words


class OwnerRounds:
    """An owner's side; made by `owner_rounds`."""

    def __init__(
        self,
        peer: ConfirmedChannel,
        channel: Channel,
        others: Mapping[int, Channel],
        terms: Terms,
        number: int,
        rng: Randomness,
        on_absence: Callable[[], None],
    ) -> None:
        self._peer, self._channel, self._terms, self._number, self._rng = peer, channel, terms, number, rng
        self._on_absence = on_absence
        self._others = Roll(
            others, terms.spec, terms.session, terms.threshold - 1, terms.patience_s * _PATIENCE_SHARE
        )
        self._roster: tuple[int, ...] = tuple(range(1, terms.owners + 1))
        self._round, self._digest = 0, b""
        self.present: tuple[int, ...] = ()
        """Numbers of the owners whose words are in the last total."""

    def receive(self, length: int) -> Floats:
        """Take the model of the next round, once enough other owners have the same: float64[length].

        Raises:
            ModelsDisagree: another owner was told another model, or other owners.
            TooFewParties: fewer than the threshold hold this model.
            MalformedMessage: not a round of this owner, or numbers that are not finite.
        """
        roster = decode_numbers("model", self._peer.receive("model"), self._roster)
        if self._number not in roster or len(roster) < self._terms.threshold:
            raise MalformedMessage(
                f"model: expected {self._terms.threshold} owners and this one among them, got {len(roster)}"
            )
        model = _receive_pieces(self._peer, length)
        self._digest = self._terms.digest(self._round, roster, model)
        for gone in set(self._others.present) - set(roster):
            self._others.drop(gone)
        self._others.gather(self._compare)
        self._round, self._roster = self._round + 1, roster
        return model

    def enter(self, words: Words) -> None:
        """Enter own words into the sum of this round; raises as `secagg.owner`."""
        survivors = secagg.owner(
            self._channel,
            words,
            number=self._roster.index(self._number) + 1,
            owners=len(self._roster),
            threshold=self._terms.threshold,
            session=self._digest,
            rng=self._rng,
            on_survivors=self._look_for_absence,
        )
        self.present = tuple(self._roster[place - 1] for place in survivors)

    def _look_for_absence(self, survivors: Sequence[int]) -> None:
        if len(survivors) < self._terms.owners:
            self._on_absence()

    def finish(self, length: int) -> Floats:
        """Take the last numbers, as `receive`, and compare transcripts; before any output."""
        last = self.receive(length)
        self.confirm()
        return last

    def confirm(self) -> None:
        """Compare transcripts, where what was received last turns out to be the last; before any output."""
        self._peer.confirm()

    def abort(self, code: str) -> None:
        """Tell the other owners that this run is over and why."""
        self._others.abort(code)

    def _compare(self, other: ConfirmedChannel) -> None:
        other.send("digest", self._digest)
        if not hmac.compare_digest(other.receive("digest"), self._digest):
            raise ModelsDisagree(
                f"round {self._round}: another owner was told another model, or of other owners in the round"
            )


class AggregatorRounds:
    """The aggregator's side; made by `aggregator_rounds`."""

    def __init__(self, channels: Mapping[int, Channel], terms: Terms) -> None:
        self._channels, self._terms = dict(channels), terms
        self._roll = Roll(channels, terms.spec, terms.session, terms.threshold, terms.patience_s)
        self._round = 0

    def begin(self) -> None:
        """Wait until the owners are ready; those that are not in time are left out."""
        self._roll.gather(_receive_ready)

    def run(self, model: Floats, length: int) -> Entered:
        """Tell the model of the next round and add up what owners enter: uint64[length].

        Raises:
            TooFewParties: fewer than the threshold are left.
            ProtocolAbort: a message is not as the protocol has it.
        """
        digest, roster = self._tell(model)
        found = secagg.aggregator(
            {place: self._channels[number] for place, number in enumerate(roster, start=1)},
            length,
            threshold=self._terms.threshold,
            session=digest,
            patience_s=self._terms.patience_s,
        )
        stayed = {roster[place - 1] for place in found.stayed}
        for gone in set(self._roll.present) - stayed:
            self._roll.drop(gone)
        return Entered(tuple(roster[place - 1] for place in found.survivors), found.total)

    def finish(self, last: Floats) -> None:
        """Tell the last numbers and compare transcripts with the owners; before any output."""
        self._tell(last)
        self._roll.gather(ConfirmedChannel.confirm)

    def abort(self, code: str) -> None:
        """Tell every owner that the run is over and why."""
        self._roll.abort(code)

    def _tell(self, model: Floats) -> tuple[bytes, tuple[int, ...]]:
        roster = tuple(self._roll.present)
        self._roll.gather(_sender(encode_numbers(roster), model))
        digest = self._terms.digest(self._round, roster, model)
        self._round += 1
        return digest, roster


@contextmanager
def owner_rounds(
    channel: Channel,
    others: Mapping[int, Channel],
    terms: Terms,
    number: int,
    rng: Randomness,
    on_absence: Callable[[], None] = lambda: None,
) -> Iterator[OwnerRounds]:
    """Open an owner's side of a run, ready to train; on any error of mpc, tell the others its code.

    Args:
        channel: to the aggregator, which waits longer than the patience.
        others: to the other owners, by their numbers.
        terms: as at all parties.
        number: of this owner, from 1.
        rng: own randomness.
        on_absence: called before this owner helps to open a sum that not all owners are in.

    Raises:
        InvalidInput: the channels are not those of the other owners.

    Security: as ``terms.spec`` says. An aggregator that tells owners different models is found, whatever it
    does, while owners follow the protocol. Leaks: to this party, the models and who dropped out. Cost: see
    `told_bytes` and `mpc.aggregation.secagg`. Source: see the module.
    """
    if {number, *others} != set(range(1, terms.owners + 1)) or number in others:
        raise InvalidInput(f"expected channels to the other owners of {terms.owners}, got {len(others)}")
    with protocol_run(channel, terms.spec, common=terms.session) as peer:
        run = OwnerRounds(peer, channel, others, terms, number, rng, on_absence)
        try:
            peer.send("ready", b"")
            yield run
        except MpcError as error:
            run.abort(error.code)
            raise


@contextmanager
def aggregator_rounds(channels: Mapping[int, Channel], terms: Terms) -> Iterator[AggregatorRounds]:
    """Open the aggregator's side of a run; on any error of mpc, tell the owners its code.

    Args:
        channels: to the owners, by their numbers from 1.
        terms: as at all parties.

    Raises:
        InvalidInput: the channels are not those of the owners.
        TooFewParties: fewer than the threshold are ready.

    Security: as ``terms.spec`` says. Leaks: to this party, the total of each round and who dropped out. Cost:
    see `told_bytes` and `mpc.aggregation.secagg`. Source: see the module.
    """
    if sorted(channels) != list(range(1, terms.owners + 1)):
        raise InvalidInput(f"expected channels to the owners 1 to {terms.owners}, got {len(channels)} others")
    run = AggregatorRounds(channels, terms)
    try:
        run.begin()
        yield run
    except MpcError as error:
        run.abort(error.code)
        raise


def check_repeated(held: Checkpoints, number: int, state: Floats) -> None:
    """Check that a round begins with the numbers that an earlier attempt at it began with, if there was one.

    Raises:
        ModelsDisagree: it begins with others.
    """
    before = held.get(number)
    if before is not None and not np.array_equal(before["state"], state):
        raise ModelsDisagree(f"round {number}: the aggregator told an earlier attempt other numbers")


def told_bytes(owners: int, length: int) -> int:
    """Return the bytes of a model that the aggregator sends one owner."""
    pieces = sum(wire.array_bytes(8, piece.stop - piece.start) for piece in _pieces(length))
    return wire.array_bytes(8, owners) + pieces


def compared_bytes(owners: int) -> int:
    """Return the bytes of digests that an owner sends the others in a round."""
    return DIGEST_BYTES * (owners - 1)


def _sender(roster: bytes, model: Floats) -> Callable[[ConfirmedChannel], None]:
    words = model.view(np.uint64)

    def send(peer: ConfirmedChannel) -> None:
        peer.send("model", roster)
        for piece in _pieces(len(words)):
            peer.send("piece", wire.encode_array(words[piece]))

    return send


def _receive_pieces(peer: ConfirmedChannel, length: int) -> Floats:
    words = np.empty(length, dtype=np.uint64)
    for piece in _pieces(length):
        reader = wire.Reader("piece", peer.receive("piece"))
        words[piece] = reader.array("words", "<u8", (piece.stop - piece.start,))
        reader.finish()
    model = words.view(np.float64)
    misfits = int(np.count_nonzero(~np.isfinite(model)))
    if misfits:
        raise MalformedMessage(f"model: {misfits} of {length} numbers are not finite")
    return model


def _receive_ready(peer: ConfirmedChannel) -> None:
    if peer.receive("ready"):
        raise MalformedMessage("ready: expected an empty message")


def _pieces(length: int) -> list[slice]:
    return [slice(at, min(at + secagg.PIECE_WORDS, length)) for at in range(0, length, secagg.PIECE_WORDS)]
