"""Rounds of a framework's app: what a server asks of all owners, and the mean of what they answer.

The aggregator asks for training or for an evaluation, with arrays of agreed shapes and a short text; the
answers of the owners are added up securely, each weighted by the examples behind it, and the aggregator gets
their mean as if one party had answered. An update is what an owner's arrays moved from those it was sent.

    aggregator                                       owner
      kind, text and arrays; figures of the answer
      before                              --->
                                                       compares their digest with other owners
                                          <-->       examples, metrics and update, by secure aggregation
      ... further messages ...
      end, with the last arrays           --->
                                          <-->       confirm

How many messages there are is up to the server, up to an agreed number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import Final

import numpy as np

from federated.horizontal.encoding import LIMBS, Words, from_limbs, from_words, to_limbs, to_words
from federated.horizontal.local import check_mean, clipped
from federated.horizontal.models import Floats
from federated.horizontal.rounds import Terms, aggregator_rounds, owner_rounds
from federated.horizontal.settings import MAX_CLIP, WEIGHT
from mpc.channel import Channel
from mpc.errors import InvalidInput, MalformedMessage, ValueOutOfRange
from mpc.randomness import Randomness
from mpc.spec import Adversary, ProtocolSpec

__all__ = [
    "MAX_MESSAGES",
    "MAX_METRICS",
    "MAX_NUMBERS",
    "SPEC",
    "TEXT_BYTES",
    "Agreed",
    "Answer",
    "Ask",
    "Asked",
    "Figures",
    "Kind",
    "Replied",
    "Served",
    "answer_app",
    "lengths",
    "serve_app",
]

MAX_NUMBERS: Final = 1_000_000
MAX_MESSAGES: Final = 2_000
MAX_METRICS: Final = 64
TEXT_BYTES: Final = 2_048
"""Of what goes with the arrays of a message."""
_WORD_BYTES: Final = 4
"""Of the text in one number: integers below 2^32 are numbers exactly."""

_SETTINGS: Final = "the settings, and which owners dropped out, and when"
_MESSAGES: Final = (
    "of every message its kind, text and arrays, the number of examples of all together and the mean of each "
    "agreed metric; the last arrays"
)
_AGAIN: Final = (
    "where a message is sent again, or nearly the same, and an owner drops out in between, its answer, by "
    "the difference"
)

SPEC: Final = ProtocolSpec(
    name="horizontal/app",
    version=1,
    roles=("aggregator", "owner"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="the aggregator with fewer owners than the threshold",
    leaks={
        "aggregator": (_SETTINGS, _MESSAGES, "of every training message the mean update", WEIGHT, _AGAIN),
        "owner": (_SETTINGS, _MESSAGES, WEIGHT, _AGAIN),
    },
    cost="with n owners and P numbers in the arrays, a message takes 5 receiving phases at an owner with the "
    "aggregator and 1 with each other owner, and sends 8 P + 182 n bytes from an owner and 8 P + 250 n bytes "
    "and 4 kB from the aggregator to each; to the byte by federated.horizontal.costs",
    source="FedAvg: McMahan, Moore, Ramage, Hampson, Agüera y Arcas 2017, algorithm 1, with any server "
    "optimiser: Reddi et al. 2021, algorithm 1; aggregation: Bonawitz et al. 2017; an aggregator that sends "
    "different models: Pasquini, Francati, Ateniese 2022",
    summary="Owners of the same columns and different rows answer what a server asks, each over its own "
    "rows; the server learns the weighted mean of the answers, by secure aggregation with drop-outs. Owners "
    "compare the digest of every message with one another before they answer.",
)

Progress = Callable[[int, int], None]


class Kind(IntEnum):
    """What a message asks for."""

    END = 0
    TRAIN = 1
    EVALUATE = 2


@dataclass(frozen=True)
class Agreed:
    """What the owners agreed to answer.

    Attributes:
        shapes: of the arrays by name, in their order.
        metrics: names of the figures that are answered besides, by kind.
        messages: most of one run.
        clip: largest Euclidean norm of an owner's update; longer ones are scaled down to it.
        least_rows: fewest examples of all owners together behind an answer.
    """

    shapes: Mapping[str, tuple[int, ...]]
    metrics: Mapping[Kind, tuple[str, ...]]
    messages: int
    clip: float
    least_rows: int

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("numbers", self.count, 1, MAX_NUMBERS),
            ("messages", self.messages, 1, MAX_MESSAGES),
            ("clip", self.clip, 0.01, MAX_CLIP),
            ("metrics", self._most, 0, MAX_METRICS),
        ):
            if not low <= value <= high:
                raise InvalidInput(f"{name}: expected {low} to {high}, got {value}")

    @property
    def count(self) -> int:
        """How many numbers the arrays have together."""
        return sum(prod(shape) for shape in self.shapes.values())

    def named(self, kind: Kind) -> tuple[str, ...]:
        """The metrics of a kind of message."""
        return self.metrics.get(kind, ())

    @property
    def _most(self) -> int:
        return max((len(names) for names in self.metrics.values()), default=0)

    @property
    def head(self) -> int:
        """Numbers of a message before its text: its kind, and examples and metrics of the answer before."""
        return 2 + self._most


@dataclass(frozen=True)
class Asked:
    """A message to all owners.

    Attributes:
        kind: training, or evaluation.
        text: at most `TEXT_BYTES`, for the app.
        arrays: float64[count], one after the other.
    """

    kind: Kind
    text: bytes
    arrays: Floats


@dataclass(frozen=True)
class Replied:
    """What one owner answers, or the mean of all.

    Attributes:
        rows: examples behind it.
        metrics: as many as were agreed for the kind.
        arrays: float64[count] of training; none of evaluation.
    """

    rows: int
    metrics: tuple[float, ...]
    arrays: Floats


Answer = Callable[[Asked], Replied]
Ask = Callable[[Asked], Replied]


@dataclass(frozen=True)
class Figures:
    """What all learn of one answer: its kind, the examples of all together, the mean metrics."""

    kind: Kind
    rows: int
    metrics: tuple[float, ...]


@dataclass(frozen=True)
class Served:
    """The outcome of a run, the same at all parties.

    Attributes:
        arrays: the last ones, float64[count].
        told: of each message in order.
        owners: numbers of the owners in the last answer.
    """

    arrays: Floats
    told: tuple[Figures, ...]
    owners: tuple[int, ...]


def answer_app(
    channel: Channel,
    others: Mapping[int, Channel],
    terms: Terms,
    number: int,
    agreed: Agreed,
    answer: Answer,
    rows: int,
    rng: Randomness,
    progress: Progress = lambda done, total: None,
) -> Served:
    """Play an owner.

    Args:
        channel: to the aggregator, which waits longer than the patience.
        others: to the other owners, by number.
        terms: of the run, as at all parties.
        number: of this owner, from 1.
        agreed: as at all parties.
        answer: to one message, from own rows; checked here before anything of it is entered.
        rows: own ones; an answer has no more examples.
        rng: own randomness.
        progress: told after each message.

    Raises:
        ValueOutOfRange: an answer that is not finite, too large, or of other examples than there are rows.
        InvalidInput: an answer of another form; too few examples of all owners together.
        ModelsDisagree: the aggregator told owners different messages.
        TooFewParties: fewer than the threshold are left.
        ProtocolAbort: a message is not as the protocol has it.

    Security: see `SPEC`. Leaks: see `SPEC`. Cost: `federated.horizontal.costs`. Source: see the module.
    """
    told, before = list[Figures](), Kind.END
    with owner_rounds(channel, others, terms, number, rng) as run:
        for done in range(agreed.messages + 1):
            head, asked = _read(agreed, run.receive(lengths(agreed)[Kind.END]))
            if done:
                total = terms.checked_rows(float(head[1]), agreed.least_rows)
                told.append(Figures(before, total, tuple(head[2 : 2 + len(agreed.named(before))].tolist())))
            if done and asked.kind is Kind.END:
                run.confirm()
                return Served(asked.arrays, tuple(told), run.present)
            if asked.kind is Kind.END:
                raise MalformedMessage("message: expected to be asked before the end, got the end")
            run.enter(_entered(agreed, asked, answer(asked), rows))
            before = asked.kind
            progress(done + 1, agreed.messages)
    raise MalformedMessage(f"message: expected at most {agreed.messages}, got more")


def serve_app(
    channels: Mapping[int, Channel],
    terms: Terms,
    agreed: Agreed,
    serve: Callable[[Ask], Floats],
    progress: Progress = lambda done, total: None,
) -> Served:
    """Play the aggregator.

    Args:
        channels: to the owners, by number from 1.
        terms: of the run, as at all parties.
        agreed: as agreed.
        serve: asks what it wants to, each time for the mean of all owners, and returns the last arrays.
        progress: told after each message.

    Raises:
        InvalidInput: too few examples of all owners together, more messages than agreed, or none.
        TooFewParties: fewer than the threshold are left.
        MalformedMessage: a mean update is longer than a mean of clipped ones can be.
        ProtocolAbort: a message is not as the protocol has it.

    Security: see `SPEC`. This party sees no answer but their mean. Leaks: see `SPEC`. Cost:
    `federated.horizontal.costs`. Source: see the module.
    """
    told, owners = list[Figures](), tuple[int, ...]()
    with aggregator_rounds(channels, terms) as run:

        def ask(asked: Asked) -> Replied:
            nonlocal owners
            if len(told) == agreed.messages:
                raise InvalidInput(f"messages: expected at most {agreed.messages}, got more")
            entered = run.run(_message(agreed, asked, told), lengths(agreed)[asked.kind])
            owners = entered.owners
            replied = _mean(agreed, terms, asked, entered.total)
            told.append(Figures(asked.kind, replied.rows, replied.metrics))
            progress(len(told), agreed.messages)
            return replied

        arrays = serve(ask)
        if not told:
            raise InvalidInput("messages: expected at least one, got none")
        run.finish(_message(agreed, Asked(Kind.END, b"", arrays), told))
        return Served(arrays, tuple(told), owners)


def lengths(agreed: Agreed) -> dict[Kind, int]:
    """Numbers of a message under `Kind.END`, and of each other kind the words of an answer."""
    figures = {kind: LIMBS * (1 + len(agreed.named(kind))) for kind in (Kind.TRAIN, Kind.EVALUATE)}
    return {
        Kind.END: agreed.head + TEXT_BYTES // _WORD_BYTES + agreed.count,
        Kind.TRAIN: figures[Kind.TRAIN] + agreed.count,
        Kind.EVALUATE: figures[Kind.EVALUATE],
    }


def _message(agreed: Agreed, asked: Asked, told: list[Figures]) -> Floats:
    """The numbers of a message."""
    if len(asked.text) > TEXT_BYTES:
        raise InvalidInput(f"text: expected at most {TEXT_BYTES} bytes, got {len(asked.text)}")
    if asked.arrays.shape != (agreed.count,):
        raise InvalidInput(f"arrays: expected {agreed.count} numbers, got {asked.arrays.shape}")
    _check_finite("arrays", asked.arrays)
    head = np.zeros(agreed.head)
    head[0] = asked.kind
    if told:
        head[1] = told[-1].rows
        head[2 : 2 + len(told[-1].metrics)] = told[-1].metrics
    text = np.frombuffer(asked.text.ljust(TEXT_BYTES, b"\0"), dtype="<u4").astype(np.float64)
    return np.concatenate([head, text, asked.arrays])


def _read(agreed: Agreed, message: Floats) -> tuple[Floats, Asked]:
    """The inverse of `_message`; figures of the answer before are in the head."""
    head, text, arrays = np.split(message, [agreed.head, len(message) - agreed.count])
    if head[0] not in tuple(Kind) or not ((text >= 0) & (text < 2**32) & (text == np.floor(text))).all():
        raise MalformedMessage("message: expected a kind and a text, got other numbers")
    return head, Asked(Kind(int(head[0])), text.astype("<u4").tobytes().rstrip(b"\0"), arrays)


def _entered(agreed: Agreed, asked: Asked, replied: Replied, rows: int) -> Words:
    """An owner's answer as words, its update clipped."""
    names = agreed.named(asked.kind)
    if not 1 <= replied.rows <= rows:
        raise ValueOutOfRange("examples: expected 1 to as many as there are rows, got another number")
    expected = (len(names), agreed.count if asked.kind is Kind.TRAIN else 0)
    if (len(replied.metrics), replied.arrays.size) != expected or replied.arrays.ndim != 1:
        raise InvalidInput(f"answer: expected {expected[0]} metrics and {expected[1]} numbers, got others")
    _check_finite("metrics", np.array(replied.metrics))
    sums = [float(replied.rows), *(replied.rows * one for one in replied.metrics)]
    figures = to_limbs(sums, ("examples", *names))
    if asked.kind is not Kind.TRAIN:
        return figures
    with np.errstate(over="ignore", invalid="ignore"):
        moved = clipped(replied.arrays - asked.arrays, agreed.clip)
    return np.concatenate([figures, to_words(moved, replied.rows, "update")])


def _mean(agreed: Agreed, terms: Terms, asked: Asked, total: Words) -> Replied:
    """The weighted mean of all answers, from the total of their words."""
    figures, updates = np.split(total, [LIMBS * (1 + len(agreed.named(asked.kind)))])
    stated, *sums = from_limbs(figures)
    rows = terms.checked_rows(stated, agreed.least_rows)
    metrics = tuple(one / rows for one in sums)
    if asked.kind is not Kind.TRAIN:
        return Replied(rows, metrics, np.zeros(0))
    step = from_words(updates, rows)
    check_mean(step, agreed.clip)
    return Replied(rows, metrics, asked.arrays + step)


def _check_finite(what: str, numbers: Floats) -> None:
    misfits = int(np.count_nonzero(~np.isfinite(numbers)))
    if misfits:
        raise ValueOutOfRange(f"{what}: {misfits} of {numbers.size} numbers are not finite")
