"""Per-group sums: suppression, checks of both parties, cost formulas, progress and shares."""

from __future__ import annotations

import numpy as np
import pytest

from mpc.channel import Channel
from mpc.errors import (
    CohortTooSmall,
    InputsDisagree,
    InvalidInput,
    MalformedMessage,
    PeerAborted,
    SharesDisagree,
    ValueOutOfRange,
)
from mpc.stats import group_sums as gs
from mpc.testing import DeterministicRandomness, channel_pair, outcomes, run_pair

SEEDS = (b"0123456789abcdef", b"fedcba9876543210")


def measures(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.int64)


def groups(*rows: int) -> np.ndarray:
    return np.array(rows, dtype=np.int64)


def holder_of_measures(values: np.ndarray, min_cohort: int = 1, **options: object) -> object:
    def role(channel: Channel) -> gs.GroupShares:
        rng = DeterministicRandomness(SEEDS[0])
        return gs.measure_holder(channel, values, min_cohort=min_cohort, rng=rng, **options)  # type: ignore[arg-type]

    return role


def holder_of_groups(values: np.ndarray, k: int, min_cohort: int = 1, **options: object) -> object:
    def role(channel: Channel) -> gs.GroupShares:
        rng = DeterministicRandomness(SEEDS[1])
        return gs.group_holder(channel, values, k, min_cohort=min_cohort, rng=rng, **options)  # type: ignore[arg-type]

    return role


def test_sums_by_group_with_a_suppressed_one() -> None:
    x, g = measures([1, -10], [2, 20], [4, -40], [8, 80]), groups(0, 2, 0, 1)
    one, two = run_pair(holder_of_measures(x, 2), holder_of_groups(g, 3, 2))  # type: ignore[arg-type]
    assert one.counts.tolist() == two.counts.tolist() == [2, gs.SUPPRESSED, gs.SUPPRESSED]
    assert gs.combine(one, two).tolist() == [[5, -50], [0, 0], [0, 0]]


def test_sums_reach_both_ends_of_the_range() -> None:
    x = measures([2**62 - 1, -(2**62) + 1], [2**62 - 1, -(2**62) + 1])
    one, two = run_pair(holder_of_measures(x), holder_of_groups(groups(0, 0), 1))  # type: ignore[arg-type]
    assert gs.combine(one, two).tolist() == [[2**63 - 2, -(2**63) + 2]]


def test_values_whose_sum_might_not_fit_are_refused_by_column_not_by_value() -> None:
    for large in (2**62, -(2**62), -(2**63)):
        with pytest.raises(ValueOutOfRange) as refused:
            holder_of_measures(measures([0, large], [1, 2]))(channel_pair()[0])  # type: ignore[operator]
        assert "measures [1] are too large" in str(refused.value)
        assert str(abs(large)) not in str(refused.value)


def test_another_number_of_rows_stops_both_parties() -> None:
    ends = outcomes(holder_of_measures(measures([1], [2])), holder_of_groups(groups(0), 1))  # type: ignore[arg-type]
    assert [type(end) for end in ends] == [InputsDisagree, InputsDisagree]


def test_the_measure_holder_refuses_cohorts_below_its_own_minimum() -> None:
    x, g = measures([1], [2], [3]), groups(0, 1, 1)
    first, second = outcomes(holder_of_measures(x, 2), holder_of_groups(g, 2, 1))  # type: ignore[arg-type]
    assert isinstance(first, CohortTooSmall)
    assert (first.min_cohort, first.cohorts) == (2, 1)
    assert isinstance(second, PeerAborted)
    assert second.reason == "mpc.cohort-too-small"


def test_an_empty_open_group_is_below_any_minimum() -> None:
    cohorts = gs.Cohorts(3, groups(3, 0))
    with pytest.raises(CohortTooSmall):
        gs.check_cohorts(cohorts, 3, 1)


@pytest.mark.parametrize(
    ("values", "k"),
    [
        (groups(0, 1), 1),
        (groups(-1), 1),
        (groups(), 1),
        (groups(0), 0),
        (groups(0), gs.MAX_GROUPS + 1),
        (np.zeros((1, 1), dtype=np.int64), 1),
        (np.zeros(1, dtype=np.int32), 1),
    ],
    ids=["above-k", "negative", "no-rows", "no-groups", "too-many-groups", "2d", "int32"],
)
def test_groups_not_as_stated_are_refused(values: np.ndarray, k: int) -> None:
    with pytest.raises(InvalidInput):
        holder_of_groups(values, k)(channel_pair()[1])  # type: ignore[operator]


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((0, 1), dtype=np.int64),
        np.zeros((1, 0), dtype=np.int64),
        np.zeros((1, gs.MAX_MEASURES + 1), dtype=np.int64),
        np.zeros(1, dtype=np.int64),
        np.zeros((1, 1)),
    ],
    ids=["no-rows", "no-measures", "too-many-measures", "1d", "float"],
)
def test_measures_not_as_stated_are_refused(values: np.ndarray) -> None:
    with pytest.raises(InvalidInput):
        holder_of_measures(values)(channel_pair()[0])  # type: ignore[operator]


def test_a_minimum_below_one_is_refused() -> None:
    with pytest.raises(InvalidInput):
        holder_of_measures(measures([1]), 0)(channel_pair()[0])  # type: ignore[operator]
    with pytest.raises(InvalidInput):
        holder_of_groups(groups(0), 1, 0)(channel_pair()[1])  # type: ignore[operator]


@pytest.mark.parametrize(("rows", "k", "m"), [(1, 1, 1), (7, 3, 2), (20, 3, 5), (5, 9, 1)])
def test_bytes_and_rounds_are_as_declared(rows: int, k: int, m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gs, "CHUNK_TRANSFERS", 12)
    channels, rng = channel_pair(), np.random.default_rng(5)
    x, g = rng.integers(-9, 9, (rows, m)), rng.integers(0, k, rows)
    one, two = run_pair(holder_of_measures(x), holder_of_groups(g, k), channels)  # type: ignore[arg-type]
    assert gs.combine(one, two).tolist() == [x[g == group].sum(axis=0).tolist() for group in range(k)]
    for role, channel in enumerate(channels):
        assert channel.stats.bytes_sent == gs.bytes_sent(role, rows, k, m)
        assert channel.stats.bytes_received == gs.bytes_sent(1 - role, rows, k, m)
        assert channel.stats.rounds == gs.rounds(role, rows, k, m)


def test_chunks_shrink_with_many_measures() -> None:
    assert gs.rounds(gs.MEASURE_HOLDER, 24_000, 5, 4) == 2 + 2
    assert gs.rounds(gs.MEASURE_HOLDER, 24_000, 5, gs.MAX_MEASURES) == 2 + 30


def test_progress_counts_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gs, "CHUNK_TRANSFERS", 4)
    seen: dict[str, list[tuple[int, int]]] = {"measures": [], "groups": []}
    run_pair(
        holder_of_measures(measures([1], [2], [3]), progress=lambda *step: seen["measures"].append(step)),  # type: ignore[arg-type]
        holder_of_groups(groups(0, 1, 0), 2, progress=lambda *step: seen["groups"].append(step)),  # type: ignore[arg-type]
    )
    assert seen == {"measures": [(2, 3), (3, 3)], "groups": [(2, 3), (3, 3)]}


def test_shapes_beyond_the_limits_are_refused() -> None:
    for count in (0, gs.MAX_MEASURES + 1):
        with pytest.raises(MalformedMessage):
            gs.Shape.decode((1).to_bytes(8, "little") + count.to_bytes(8, "little"))


def shares(counts: list[int], *rows: list[int]) -> gs.GroupShares:
    return gs.GroupShares(groups(*counts), np.array(rows, dtype=np.uint64).reshape(len(counts), -1))


def test_shares_come_back_from_their_encoding() -> None:
    one = shares([3, -1], [2**64 - 1, 0], [5, 6])
    decoded = gs.GroupShares.decode(one.encode())
    assert decoded.counts.tolist() == one.counts.tolist()
    assert decoded.shares.tolist() == one.shares.tolist()


def test_every_truncation_trailing_byte_and_other_format_of_shares_is_refused() -> None:
    payload = shares([3], [1, 2]).encode()
    bad = [payload[:end] for end in range(len(payload))]
    bad += [payload + b"\0", b"\2" + payload[1:], shares([-2], [1]).encode()]
    for data in bad:
        with pytest.raises(MalformedMessage):
            gs.GroupShares.decode(data)


def test_shares_of_different_runs_do_not_combine() -> None:
    one = shares([3, -1], [1], [7])
    with pytest.raises(SharesDisagree, match="one shape"):
        gs.combine(one, shares([3], [1]))
    with pytest.raises(SharesDisagree, match="counts"):
        gs.combine(one, shares([4, -1], [1], [2**64 - 7]))
    with pytest.raises(SharesDisagree, match="zero"):
        gs.combine(one, shares([3, -1], [1], [7]))
    assert gs.combine(one, shares([3, -1], [1], [2**64 - 7])).tolist() == [[2], [0]]


def test_shares_need_matching_counts() -> None:
    two_rows = np.zeros((2, 1), dtype=np.uint64)
    with pytest.raises(InvalidInput):
        gs.GroupShares(groups(1), two_rows)
