"""Federated averaging: what an owner and the aggregator do in each round.

Rounds 0 and 1 add up the columns and their squared distances from the joint means, one round each; then come
``rounds`` rounds of training, and one that adds up the loss of the last model. Where rows are private,
columns are scaled by agreed bounds, so that the first two are left out, and no loss is added up.

A run that a lost party cut off goes on in a new session at the last round that all parties had reached. An
owner enters in a round what it entered, or meant to enter, before, and helps to open the sum of a round that
was opened before over the same owners only: so what is played again tells nobody anything new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from federated.checkpoints import Checkpoints
from federated.horizontal import local
from federated.horizontal.encoding import LIMBS, Words, from_limbs, from_words, to_limbs, to_words
from federated.horizontal.guard import Watch
from federated.horizontal.local import check_mean
from federated.horizontal.models import Floats, initial, losses
from federated.horizontal.private import Noise, bounded, private_update, scales_within
from federated.horizontal.rounds import (
    AggregatorRounds,
    OwnerRounds,
    Terms,
    aggregator_rounds,
    check_repeated,
    owner_rounds,
)
from federated.horizontal.settings import MAX_COLUMNS, Settings
from federated.horizontal.standardise import Scales, Table, scales_of, squares, sums
from mpc.channel import Channel
from mpc.errors import InvalidInput
from mpc.randomness import Randomness

__all__ = ["Columns", "Trained", "aggregate", "train"]

Progress = Callable[[int, int], None]
OnLoss = Callable[[float], None]


@dataclass(frozen=True)
class Columns:
    """The public shape of a run.

    Attributes:
        names: of the features, then of the label; the same at all owners.
        least_rows: of all owners together.
    """

    names: tuple[str, ...]
    least_rows: int

    def __post_init__(self) -> None:
        if not 2 <= len(self.names) <= MAX_COLUMNS + 1:
            raise InvalidInput(
                f"expected 1 to {MAX_COLUMNS} features and a label, got {len(self.names)} columns"
            )

    def checked(self, numbers: Floats, terms: Terms) -> tuple[int, Floats]:
        """Split what follows the rows of a round from them; they are enough in every round.

        Raises:
            MalformedMessage: rows that the owners cannot have.
            InvalidInput: fewer than the least, of all owners that are left.
        """
        return terms.checked_rows(float(numbers[0]), self.least_rows), numbers[1:]


@dataclass(frozen=True)
class Trained:
    """The outcome of a run, the same at all parties.

    Attributes:
        parameters: float64[parameters], of standardised columns; see `federated.horizontal.models`.
        scales: the means and deviations of all owners together.
        rows: of the owners in the last round.
        losses: the mean loss over all rows of the model before the first round, and after each; none where
            rows are private.
        owners: numbers of the owners in the last round.
    """

    parameters: Floats
    scales: Scales
    rows: int
    losses: tuple[float, ...]
    owners: tuple[int, ...]


def train(
    channel: Channel,
    others: Mapping[int, Channel],
    terms: Terms,
    number: int,
    settings: Settings,
    columns: Columns,
    table: Table,
    rng: Randomness,
    progress: Progress = lambda done, total: None,
    noise: Noise | None = None,
    checkpoints: Checkpoints | None = None,
    on_loss: OnLoss = lambda loss: None,
) -> Trained:
    """Play an owner.

    Args:
        channel: to the aggregator, which waits longer than the patience.
        others: to the other owners, by number.
        terms: of the run, as at all parties.
        number: of this owner, from 1.
        settings: as agreed, equal at all parties.
        columns: as agreed; ``table`` has these.
        table: own rows.
        rng: own randomness.
        progress: told after each round.
        noise: of the steps, where rows are private, and only there.
        checkpoints: where each round is kept before its words are entered, and the round to begin at.
        on_loss: told the mean loss before each round, where rows are not private.

    Raises:
        ValueOutOfRange: own values, or an update, that are not finite or too large.
        InvalidInput: too few rows, a column of one value, a label of one class, of all owners together.
        ModelsDisagree: the aggregator told owners different models, or others than in an earlier attempt.
        ModelRefused: a round's model fits own rows worse than was agreed.
        TooFewParties: fewer than the threshold are left.
        ProtocolAbort: a message is not as the protocol has it.

    Security: see `SPEC`. Leaks: see `SPEC`. Cost: `federated.horizontal.costs`. Source: McMahan et al. 2017,
    algorithm 1; Li et al. 2020, algorithm 2.
    """
    if table.columns != columns.names:
        raise InvalidInput(f"columns: expected the {len(columns.names)} that were agreed, got others")
    private, guard = settings.private, settings.guard
    if (private is None) != (noise is None):
        raise InvalidInput("noise: expected where rows are private, and only there")
    table.check(settings.family)
    count, rows = len(columns.names), len(table.label)
    held = Checkpoints() if checkpoints is None else checkpoints
    begun = held.begun
    with owner_rounds(channel, others, terms, number, rng, held.close) as run:
        if private is not None:
            table = bounded(private, table)
        if begun is None:
            run.receive(0)
            state, scales = _own_scales(run, terms, settings, columns, table)
            model, told = _first_model(settings, count, terms), list[float]()
        else:
            state = run.receive(len(begun["state"]))
            scales = Scales(begun["means"], begun["deviations"])
            model, told = begun["model"], begun["losses"].tolist()
        features, label = scales.of(table)
        figures = _figures(settings)
        kept = begun or held.get(1)
        watch = None
        if guard is not None:
            watch = Watch(settings, guard, model, features, label, rng, kept)
        own, target = (features, label) if watch is None else (watch.features, watch.label)

        def enter(number: int, update: Callable[[], Words]) -> None:
            """Enter the words kept of this round, or new ones that are kept first."""
            check_repeated(held, number, state)
            before = held.get(number)
            if before is None:
                own_words = _own(settings, model, features, label)
                before = {
                    "state": state,
                    "words": np.concatenate([own_words, update()]),
                    "means": scales.means,
                    "deviations": scales.deviations,
                    "model": model,
                    "losses": np.array(told),
                    **({} if watch is None else watch.state),
                }
                held.keep(number, before)
            run.enter(before["words"])

        def trained() -> Words:
            if private is None or noise is None:
                update = local.update(settings, model, own, target, rng)
            else:
                update = private_update(settings, private, model, own, target, rng, noise)
            return to_words(update, rows, "update")

        for done in range(held.begins_at or 1, settings.rounds + 1):
            enter(done, trained)
            state = run.receive(figures + len(model))
            _, stated = columns.checked(state, terms)
            losses_told, moved = np.split(stated, [figures - 1])
            check_mean(moved - model, settings.clip)
            told += losses_told.tolist()
            _show(losses_told, on_loss)
            model = moved
            if watch is not None:
                watch.judge(model, done)
            progress(done, settings.rounds)
        enter(settings.rounds + 1, lambda: np.zeros(0, dtype=np.uint64))
        total, stated = columns.checked(run.finish(figures), terms)
        return Trained(model, scales, total, (*told, *stated.tolist()), run.present)


def aggregate(
    channels: Mapping[int, Channel],
    terms: Terms,
    settings: Settings,
    columns: Columns,
    progress: Progress = lambda done, total: None,
    checkpoints: Checkpoints | None = None,
    on_loss: OnLoss = lambda loss: None,
) -> Trained:
    """Play the aggregator.

    Args:
        channels: to the owners, by number from 1.
        terms: of the run, as at all parties.
        settings: as agreed, equal at all parties.
        columns: as agreed.
        progress: told after each round.
        checkpoints: where each round is kept before it is told, and the round to begin at.
        on_loss: told the mean loss before each round, where rows are not private.

    Raises:
        InvalidInput: too few rows, a column of one value, a label of one class, of all owners together.
        TooFewParties: fewer than the threshold are left.
        MalformedMessage: a mean update is longer than a mean of clipped ones can be.
        ProtocolAbort: a message is not as the protocol has it.

    Security: see `SPEC`. This party sees no update but their sum, so it cannot tell a bad one from the
    others; it refuses a sum that updates within the clip cannot have. Leaks: see `SPEC`. Cost:
    `federated.horizontal.costs`. Source: McMahan et al. 2017, algorithm 1.
    """
    count, words = len(columns.names), LIMBS * _figures(settings)
    held = Checkpoints() if checkpoints is None else checkpoints
    begun = held.begun
    with aggregator_rounds(channels, terms) as run:
        if begun is None:
            state, scales = _all_scales(run, terms, settings, columns)
            model, told = _first_model(settings, count, terms), list[float]()
        else:
            state, model, told = begun["state"], begun["model"], begun["losses"].tolist()
            scales = Scales(begun["means"], begun["deviations"])

        def keep(number: int) -> None:
            arrays = {"state": state, "model": model, "losses": np.array(told)}
            held.keep(number, {**arrays, "means": scales.means, "deviations": scales.deviations})

        for done in range(held.begins_at or 1, settings.rounds + 1):
            keep(done)
            entered = run.run(state, words + len(model)).total
            rows, total = _sums(entered[:words], columns, terms)
            step = from_words(entered[words:], rows)
            check_mean(step, settings.clip)
            model = model + step
            means = total / rows
            told += means.tolist()
            _show(means, on_loss)
            state = np.concatenate([[rows], means, model])
            progress(done, settings.rounds)
        keep(settings.rounds + 1)
        last = run.run(state, words)
        rows, total = _sums(last.total, columns, terms)
        means = total / rows
        run.finish(np.append(rows, means))
        return Trained(model, scales, rows, (*told, *means.tolist()), last.owners)


def _own_scales(
    run: OwnerRounds, terms: Terms, settings: Settings, columns: Columns, table: Table
) -> tuple[Floats, Scales]:
    """What an owner is told before training, and the scales: agreed ones, or those of all rows together."""
    if settings.private is not None:
        return np.zeros(0), scales_within(settings.private, settings.family)
    count = len(columns.names)
    run.enter(to_limbs(sums(table), ("rows", *columns.names)))
    total, means = columns.checked(run.receive(1 + count), terms)
    run.enter(to_limbs(squares(table, means), ("rows", *columns.names)))
    state = run.receive(1 + count)
    total, deviations = columns.checked(state, terms)
    return state, scales_of(total, means, deviations, columns.names, settings.family)


def _all_scales(
    run: AggregatorRounds, terms: Terms, settings: Settings, columns: Columns
) -> tuple[Floats, Scales]:
    """What the aggregator tells before training, and the scales."""
    if settings.private is not None:
        return np.zeros(0), scales_within(settings.private, settings.family)
    length = LIMBS * (1 + len(columns.names))
    rows, total = _sums(run.run(np.zeros(0), length).total, columns, terms)
    means = total / rows
    rows, total = _sums(run.run(np.append(rows, means), length).total, columns, terms)
    deviations = np.sqrt(np.maximum(total, 0.0) / rows)
    scales = scales_of(rows, means, deviations, columns.names, settings.family)
    return np.append(rows, deviations), scales


def _first_model(settings: Settings, columns: int, terms: Terms) -> Floats:
    """The model before the first round, the same in all attempts."""
    return initial(settings, columns - 1, terms.drawn_from)


def _show(losses_told: Floats, on_loss: OnLoss) -> None:
    for loss in losses_told.tolist():
        on_loss(loss)


def _figures(settings: Settings) -> int:
    """Numbers of a round besides the model: the rows and, where rows are not private, their mean loss."""
    return 2 if settings.private is None else 1


def _own(settings: Settings, model: Floats, features: Floats, label: Floats) -> Words:
    """Own rows and, where they are not private, the sum of their losses."""
    if settings.private is not None:
        return to_limbs((float(len(label)),), ("rows",))
    with np.errstate(over="ignore"):
        total = float(losses(settings, model, features, label).sum())
    return to_limbs((float(len(label)), total), ("rows", "loss"))


def _sums(words: Words, columns: Columns, terms: Terms) -> tuple[int, Floats]:
    """The rows behind a total, and the sums that follow them."""
    return columns.checked(np.array(from_limbs(words)), terms)
