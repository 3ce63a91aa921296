"""k-means over the rows of many owners: rounds of counts and sums that are added up securely.

A step of Lloyd's algorithm takes two rounds. In the first, owners enter how many rows each centre is nearest
to, and how many changed their centre; in the second, sums and squared distances, of clusters alone that have
the fewest rows over all owners. It ends when fewer rows change than that, so before the sums that would tell
of them: the second round then has no sums.

A run that a lost party cut off goes on in a new session at the last round that all parties had reached. As in
`federated.horizontal.training`, an owner enters in a round what it entered, or meant to enter, before, and
helps to open the sum of a round that was opened before over the same owners only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from federated.checkpoints import Checkpoints
from federated.horizontal.clusters import Clusters, Codes, moved_centres, nearest, start, summed
from federated.horizontal.encoding import LIMBS, Words, from_limbs, to_limbs
from federated.horizontal.models import Floats
from federated.horizontal.rounds import Terms, aggregator_rounds, check_repeated, owner_rounds
from federated.horizontal.settings import WEIGHT
from mpc.channel import Channel
from mpc.errors import InvalidInput, MalformedMessage
from mpc.randomness import Randomness
from mpc.spec import Adversary, ProtocolSpec

__all__ = ["SPEC", "Clustered", "aggregate_clusters", "cluster", "lengths"]

_SLACK: Final = 1e-9
"""Of a mean or a squared distance, for rounding."""

_SETTINGS: Final = "the settings, and which owners dropped out, and when"
_CENTRES: Final = (
    "the number of rows of all together; of every step the centres, and of clusters with the fewest rows "
    "their number of rows, so also what the rows add up to by which a cluster differs from the step before"
)

SPEC: Final = ProtocolSpec(
    name="horizontal/kmeans",
    version=1,
    roles=("aggregator", "owner"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="the aggregator with fewer owners than the threshold",
    leaks={
        "aggregator": (
            _SETTINGS,
            _CENTRES,
            "of every step the number of rows of all clusters, also of small ones, how many rows changed "
            "their cluster, and the squared distances of clusters with the fewest rows",
            WEIGHT,
            "the sum of a cluster that falls below the fewest rows because an owner leaves between the two "
            "rounds of a step",
        ),
        "owner": (_SETTINGS, _CENTRES, "the inertia of the last clusters", WEIGHT),
    },
    cost="with n owners, k clusters and d columns, a step takes two rounds of 5 receiving phases at an owner "
    "with the aggregator and 1 with each other owner, and sends 24 k d + 72 k + 364 n bytes from an "
    "owner; to the byte by federated.horizontal.costs",
    source="Lloyd 1982; the start: Arthur, Vassilvitskii 2007; empty clusters: Linde, Buzo, Gray 1980; "
    "aggregation: Bonawitz et al. 2017; an aggregator that sends different models: Pasquini, Francati, "
    "Ateniese 2022",
    summary="Owners of the same columns and different rows find clusters of all rows together: counts and "
    "sums by cluster are added up by secure aggregation with drop-outs, step by step.",
)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Clustered:
    """The outcome of a run, the same at all parties but for ``codes``.

    Attributes:
        centres: float64[clusters, columns], in the units of the columns.
        rows: of each cluster, 0 where it has fewer than the least: float64[clusters].
        inertia: of each cluster, the squared distances of its rows from its centre, in the agreed ranges of
            the columns as units; 0 where it has fewer rows than the least: float64[clusters].
        steps: by which centres moved.
        is_settled: fewer rows than the least would have changed their cluster in another one.
        owners: numbers of the owners in the last round.
        codes: the cluster of each own row, int64[rows]; of none at the aggregator.
    """

    centres: Floats
    rows: Floats
    inertia: Floats
    steps: int
    is_settled: bool
    owners: tuple[int, ...]
    codes: Codes


def cluster(
    channel: Channel,
    others: Mapping[int, Channel],
    terms: Terms,
    number: int,
    agreed: Clusters,
    rows: Floats,
    rng: Randomness,
    progress: Progress = lambda done, total: None,
    checkpoints: Checkpoints | None = None,
) -> Clustered:
    """Play an owner.

    Args:
        channel: to the aggregator, which waits longer than the patience.
        others: to the other owners, by number.
        terms: of the run, as at all parties.
        number: of this owner, from 1.
        agreed: as at all parties.
        rows: own, float64[rows, columns].
        rng: own randomness.
        progress: told after each step.
        checkpoints: where each of the two rounds of a step is kept before its words are entered, and the
            round to begin at.

    Raises:
        ValueOutOfRange: own values that are missing or not finite.
        InvalidInput: too few rows of all owners together for so many clusters.
        ModelsDisagree: the aggregator told owners different centres, or other numbers than in an earlier
            attempt.
        TooFewParties: fewer than the threshold are left.
        ProtocolAbort: a message is not as the protocol has it.

    Security: see `SPEC`. Leaks: see `SPEC`. Cost: `federated.horizontal.costs`. Source: see the module.
    """
    points, count = agreed.scaled(rows), agreed.count
    held = Checkpoints() if checkpoints is None else checkpoints
    begun, first = held.begun, held.begins_at or 1
    with owner_rounds(channel, others, terms, number, rng, held.close) as run:
        if begun is None:
            told, centres, before = run.receive(0), start(agreed), np.full(len(points), -1)
        else:
            told, centres, before = run.receive(len(begun["state"])), begun["centres"], begun["before"]

        def enter(number: int, *own: Floats) -> None:
            """Enter the words kept of this round, or these, which are kept first."""
            check_repeated(held, number, told)
            kept = held.get(number)
            if kept is None:
                codes_before = before.astype(np.int8)
                kept = {"state": told, "words": _encoded(*own), "centres": centres, "before": codes_before}
                held.keep(number, kept)
            run.enter(kept["words"])

        for step in range((first - 1) // 2, agreed.rounds + 1):
            codes = nearest(points, centres)
            own = summed(points, codes, centres)
            if 2 * step + 1 >= first:
                changed = float(np.count_nonzero(codes != before))
                enter(2 * step + 1, np.array([len(points), changed]), own[0])
                told = run.receive(2 + count)
            state = _State.told(told, terms, agreed)
            sums = (state.kept(one) for one in own[: state.parts(step)])
            enter(2 * step + 2, np.array([len(points)]), *sums)
            if state.is_last(step):
                break
            told = run.receive(centres.size)
            centres, before = _checked_centres(told.reshape(centres.shape)), codes
            progress(step + 1, agreed.rounds)
        told = run.finish(1 + 2 * count)
        terms.checked_rows(float(told[0]), agreed.least_rows)
        shown, inertia = told[1 : 1 + count], told[1 + count :]
        _check_sums(shown, inertia, np.zeros((count, 0)), len(agreed.names), float(told[0]))
        return Clustered(
            agreed.in_units(centres), shown, inertia, step, not state.changed, run.present, codes
        )


def aggregate_clusters(
    channels: Mapping[int, Channel],
    terms: Terms,
    agreed: Clusters,
    progress: Progress = lambda done, total: None,
    checkpoints: Checkpoints | None = None,
) -> Clustered:
    """Play the aggregator.

    Args:
        channels: to the owners, by number from 1.
        terms: of the run, as at all parties.
        agreed: as at all parties.
        progress: told after each step.
        checkpoints: where each of the two rounds of a step is kept before it is told, and the round to begin
            at.

    Raises:
        InvalidInput: too few rows of all owners together for so many clusters.
        TooFewParties: fewer than the threshold are left.
        MalformedMessage: counts or sums that rows within the bounds cannot have.
        ProtocolAbort: a message is not as the protocol has it.

    Security: see `SPEC`. This party sees no owner's sums but the total, so it cannot tell wrong ones from the
    others; it refuses a total that rows within the bounds cannot have. Leaks: see `SPEC`. Cost:
    `federated.horizontal.costs`. Source: see the module.
    """
    held, count = Checkpoints() if checkpoints is None else checkpoints, agreed.count
    begun, first = held.begun, held.begins_at or 1
    told, centres = (np.zeros(0), start(agreed)) if begun is None else (begun["state"], begun["centres"])
    with aggregator_rounds(channels, terms) as run:
        for step in range((first - 1) // 2, agreed.rounds + 1):
            if 2 * step + 1 >= first:
                held.keep(2 * step + 1, {"state": told, "centres": centres})
                entered = run.run(told, lengths(agreed)[0]).total
                told = _State.entered(entered, terms, agreed).words()
            held.keep(2 * step + 2, {"state": told, "centres": centres})
            state = _State.told(told, terms, agreed)
            is_last = state.is_last(step)
            last = run.run(told, lengths(agreed)[2 if is_last else 1])
            numbers = np.array(from_limbs(last.total))
            total = terms.checked_rows(float(numbers[0]), agreed.least_rows)
            rows, inertia, sums = np.split(numbers[1:], (count, 2 * count))
            sums = sums.reshape(count, -1)
            _check_sums(rows, inertia, sums, len(agreed.names), total)
            if not (rows >= agreed.least).any():
                raise InvalidInput(f"expected a cluster of at least {agreed.least} rows, all are smaller")
            if is_last:
                break
            centres = moved_centres(agreed, centres, rows, inertia, sums)
            told = centres.ravel()
            progress(step + 1, agreed.rounds)
        is_open = rows >= agreed.least
        shown, inertia = np.where(is_open, rows, 0.0), np.where(is_open, inertia, 0.0)
        run.finish(np.concatenate([[total], shown, inertia]))
        none = np.zeros(0, dtype=np.int64)
        return Clustered(agreed.in_units(centres), shown, inertia, step, not state.changed, last.owners, none)


def lengths(agreed: Clusters) -> tuple[int, int, int]:
    """The words of a step's first round, of its second, and of the last step's second."""
    count = agreed.count
    return LIMBS * (2 + count), LIMBS * (1 + count * (2 + len(agreed.names))), LIMBS * (1 + 2 * count)


@dataclass(frozen=True)
class _State:
    """What the owners are told between the rounds of a step, small numbers as 0."""

    total: int
    changed: float
    rows: Floats
    agreed: Clusters

    @staticmethod
    def entered(words: Words, terms: Terms, agreed: Clusters) -> _State:
        """At the aggregator, from what the owners entered."""
        numbers = np.array(from_limbs(words))
        if numbers[2:].sum() != numbers[0]:
            raise MalformedMessage("clusters: expected as many rows as there are of all owners together")
        is_small = (numbers >= 0) & (numbers < agreed.least)
        numbers[1:][is_small[1:]] = 0.0
        return _State.told(numbers, terms, agreed)

    @staticmethod
    def told(numbers: Floats, terms: Terms, agreed: Clusters) -> _State:
        """At an owner.

        Raises:
            MalformedMessage: numbers of rows that cannot be.
        """
        total = terms.checked_rows(float(numbers[0]), agreed.least_rows)
        stated = numbers[1:]
        misfits = int(
            np.count_nonzero(((stated != 0) & (stated < agreed.least)) | (stated != stated.round()))
        )
        if misfits or stated[0] > total or stated[1:].sum() > total:
            raise MalformedMessage(
                f"clusters: expected numbers of rows, none from 1 to {agreed.least - 1}, of {total} in all, "
                f"got {misfits} that are not"
            )
        return _State(total, float(stated[0]), stated[1:], agreed)

    def words(self) -> Floats:
        """As they are told."""
        return np.concatenate([[self.total, self.changed], self.rows])

    def is_last(self, step: int) -> bool:
        """Whether no centre moves any more."""
        return step == self.agreed.rounds or (step > 0 and not self.changed)

    def parts(self, step: int) -> int:
        """How many of rows, inertia and sums are entered next."""
        return 2 if self.is_last(step) else 3

    def kept(self, sums: Floats) -> Floats:
        """Own sums of the clusters that are large enough, 0 of the others."""
        return np.where((self.rows > 0).reshape(-1, *[1] * (sums.ndim - 1)), sums, 0.0)


def _encoded(*sums: Floats) -> Words:
    flat = np.concatenate([one.ravel() for one in sums]).tolist()
    return to_limbs(flat, ["clusters"] * len(flat))


def _checked_centres(centres: Floats) -> Floats:
    misfits = int(np.count_nonzero(~((centres >= 0) & (centres <= 1))))
    if misfits:
        raise MalformedMessage(f"centres: {misfits} of {centres.size} numbers are not within the bounds")
    return centres


def _check_sums(rows: Floats, inertia: Floats, sums: Floats, columns: int, total: float) -> None:
    """No row within the bounds is farther than 1 from anything in a column."""
    most = rows * (1 + _SLACK) + _SLACK
    fits = (rows >= 0) & (rows == rows.round()) & (inertia >= 0) & (inertia <= columns * most)
    fits &= ((sums >= -_SLACK) & (sums <= most[:, None])).all(axis=1)
    if not fits.all() or rows.sum() > total:
        raise MalformedMessage(
            f"clusters: expected sums of rows within the bounds, got {np.count_nonzero(~fits)} of "
            f"{len(rows)} that are not"
        )
