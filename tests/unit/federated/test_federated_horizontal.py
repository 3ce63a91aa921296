"""Federated averaging: as good as pooled rows, whoever leaves when; no model where something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.horizontal import (
    SPEC,
    Columns,
    Family,
    Guard,
    Settings,
    Table,
    Terms,
    Trained,
    aggregate,
    costs,
    local,
    predicted,
    train,
)
from federated.horizontal.encoding import from_limbs, from_words, to_limbs, to_words
from federated.horizontal.guard import Watch
from federated.horizontal.models import initial, losses, losses_and_gradient
from federated.horizontal.rounds import OwnerRounds
from federated.horizontal.settings import MAX_CLIP, MAX_ROWS
from mpc.aggregation import secagg
from mpc.errors import (
    InvalidInput,
    MalformedMessage,
    ModelRefused,
    ModelsDisagree,
    MpcError,
    ProtocolAbort,
    TooFewParties,
    ValueOutOfRange,
)
from mpc.mesh import Mesh
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes

Floats = NDArray[np.float64]
NAMES = ("debt", "income", "age")
LABEL = "late"
SESSION = b"a run of horizontal training"
SETTINGS = Settings(Family.LOGISTIC, rounds=2, batch=32, rate=0.2)
TRUE = np.array([1.2, -0.9, 0.6])


class Gone(Exception):
    """The process of an owner ends."""


def rows_of(seed: int, rows: int, family: Family = Family.LOGISTIC) -> Table:
    """Rows of one population, each column in a unit of its own."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, 3))
    fitted = x @ TRUE - 0.4
    label = (
        (draw.random(rows) < 1 / (1 + np.exp(-fitted))).astype(np.float64)
        if family is Family.LOGISTIC
        else 50 + 3 * fitted + draw.normal(size=rows)
    )
    return Table(NAMES, x * [1500.0, 7e5, 1e-3] + [4000.0, 2e6, 0.05], LABEL, label)


def owners_of(count: int, rows: int = 120, family: Family = Family.LOGISTIC) -> dict[int, Table]:
    return {number: rows_of(number, rows, family=family) for number in range(1, count + 1)}


def pooled(tables: Mapping[int, Table]) -> tuple[Floats, Floats]:
    return (
        np.concatenate([table.features for table in tables.values()]),
        np.concatenate([table.label for table in tables.values()]),
    )


def newton(x: Floats, y: Floats) -> Floats:
    """Logistic regression on pooled rows: coefficients of standardised columns, the intercept first."""
    design = np.column_stack([np.ones(len(x)), (x - x.mean(axis=0)) / x.std(axis=0)])
    w = np.zeros(design.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-design @ w))
        w -= np.linalg.solve((design.T * (p * (1 - p))) @ design, design.T @ (p - y))
    return w


def auc(scores: Floats, label: Floats) -> float:
    ranks = scores.argsort().argsort() + 1.0
    positive = label == 1
    count = positive.sum()
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(label) - count)))


def scored(settings: Settings, trained: Trained, x: Floats) -> Floats:
    features = (x - trained.scales.means[:-1]) / trained.scales.deviations[:-1]
    return predicted(settings, trained.parameters, features)


def run(
    tables: Mapping[int, Table],
    settings: Settings = SETTINGS,
    *,
    threshold: int | None = None,
    tap: Callable[[int, int, str, bytes], bytes | None] | None = None,
    least_rows: int = 1,
    patience_s: float = 10.0,
    meshes: list[Mesh] | None = None,
) -> list[Any]:
    """Rank 0 is the aggregator; what each role returned or raised."""
    count = len(tables)
    terms = Terms(SPEC, count, threshold or max(3, count // 2 + 1), SESSION, patience_s)
    columns = Columns((*NAMES, LABEL), least_rows)

    def play(mesh: Mesh) -> Any:
        if mesh.rank == 0:
            return aggregate(mesh.channels, terms, settings, columns)
        others = {rank: channel for rank, channel in mesh.channels.items() if rank}
        rng = DeterministicRandomness(bytes([mesh.rank]) * 16)
        return train(mesh.channels[0], others, terms, mesh.rank, settings, columns, tables[mesh.rank], rng)

    return mesh_outcomes([play] * (count + 1), meshes or mesh_of(count + 1, SESSION, tap=tap))


def model_of(ended: list[Any]) -> Trained:
    """The one model that all parties hold."""
    first: Trained
    first, *others = ended
    assert all(isinstance(end, Trained) for end in ended), ended
    for other in others:
        np.testing.assert_array_equal(other.parameters, first.parameters)
        assert (other.losses, other.owners) == (first.losses, first.owners)
    return first


# as good as pooled rows


def test_an_even_split_is_as_good_as_pooled_rows() -> None:
    tables = owners_of(4, 400)
    settings = Settings(Family.LOGISTIC, rounds=20, epochs=1, batch=50, rate=0.3)
    found = model_of(run(tables, settings))
    x, y = pooled(tables)
    weights = newton(x, y)
    np.testing.assert_allclose(found.parameters, weights, atol=0.1)
    np.testing.assert_allclose(found.scales.means[:-1], x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.scales.deviations[:-1], x.std(axis=0), rtol=1e-9)
    assert found.rows == 1600
    assert abs(auc(scored(settings, found, x), y) - auc(x / x.std(axis=0) @ weights[1:], y)) < 0.002
    assert found.losses[0] == pytest.approx(np.log(2))
    assert found.losses[-1] == pytest.approx(
        losses(settings, found.parameters, *found.scales.of(Table(NAMES, x, LABEL, y))).mean(), abs=1e-9
    )
    assert found.losses[-1] < found.losses[0]


@pytest.mark.parametrize("mu", [0.0, 0.1])
def test_on_an_uneven_split_the_joint_model_beats_every_owner_alone(mu: float) -> None:
    """Each owner has a range of one feature of its own, and most of one class."""
    whole = rows_of(1, 600)
    place = whole.features[:, 0] / 1500 + 2 * whole.label + np.random.default_rng(1).normal(size=600)
    parts = np.array_split(place.argsort(), 3)
    tables = {
        number: Table(NAMES, whole.features[part], LABEL, whole.label[part])
        for number, part in enumerate(parts, start=1)
    }
    settings = Settings(Family.LOGISTIC, rounds=15, epochs=2, batch=32, rate=0.1, mu=mu)
    found = model_of(run(tables, settings))
    fresh = rows_of(99, 6000)
    joint = auc(scored(settings, found, fresh.features), fresh.label)
    for table in tables.values():
        scaled = (table.features - table.features.mean(axis=0)) / table.features.std(axis=0)
        own = local.update(
            replace(settings, epochs=30, clip=MAX_CLIP, mu=0.0),
            np.zeros(4),
            scaled,
            table.label,
            DeterministicRandomness(bytes(16)),
        )
        alone = auc(fresh.features / table.features.std(axis=0) @ own[1:], fresh.label)
        assert joint > alone + 0.002


def test_linear_coefficients_are_those_of_least_squares() -> None:
    tables = owners_of(3, 300, Family.LINEAR)
    settings = Settings(Family.LINEAR, rounds=20, epochs=2, batch=100, rate=0.1)
    found = model_of(run(tables, settings))
    x, y = pooled(tables)
    design = np.column_stack([np.ones(len(x)), (x - x.mean(axis=0)) / x.std(axis=0)])
    expected = np.linalg.lstsq(design, (y - y.mean()) / y.std(), rcond=None)[0]
    np.testing.assert_allclose(found.parameters, expected, atol=0.01)
    assert (found.scales.means[-1], found.scales.deviations[-1]) == pytest.approx((y.mean(), y.std()))


def test_a_network_learns_what_a_regression_cannot() -> None:
    draw = np.random.default_rng(5)
    tables = {}
    for number in (1, 2, 3):
        x = draw.normal(size=(400, 3))
        tables[number] = Table(NAMES, x, LABEL, (x[:, 0] * x[:, 1] > 0).astype(np.float64))
    settings = Settings(Family.LOGISTIC, (12,), rounds=15, epochs=4, batch=20, rate=0.4, clip=8)
    found = model_of(run(tables, settings))
    x, y = pooled(tables)
    assert auc(scored(settings, found, x), y) > 0.95
    regression = model_of(run(tables, replace(settings, hidden=(), rounds=3)))
    assert auc(scored(replace(settings, hidden=()), regression, x), y) < 0.6


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("hidden", [(), (4,), (3, 2)])
def test_gradients_are_those_of_the_losses(family: Family, hidden: tuple[int, ...]) -> None:
    settings = replace(SETTINGS, family=family, hidden=hidden)
    draw = np.random.default_rng(3)
    x, y = draw.normal(size=(20, 3)), draw.integers(0, 2, 20).astype(np.float64)
    at = initial(settings, 3, b"seed") + draw.normal(size=settings.parameters(3)) / 3
    own, gradient = losses_and_gradient(settings, at, x, y)
    np.testing.assert_allclose(own, losses(settings, at, x, y))
    factor = 0.5 if family is Family.LINEAR else 1.0
    for place in range(len(at)):
        ends = [losses(settings, at + step * np.eye(len(at))[place], x, y).mean() for step in (1e-6, -1e-6)]
        assert gradient[place] == pytest.approx(factor * (ends[0] - ends[1]) / 2e-6, abs=1e-7)


def test_the_proximal_term_keeps_an_owner_near_the_model_of_the_round() -> None:
    table = rows_of(1, 300)
    x = (table.features - table.features.mean(axis=0)) / table.features.std(axis=0)
    moved = [
        float(
            np.linalg.norm(
                local.update(
                    replace(SETTINGS, epochs=10, mu=mu),
                    np.zeros(4),
                    x,
                    table.label,
                    DeterministicRandomness(bytes(16)),
                )
            )
        )
        for mu in (0.0, 0.5, 5.0)
    ]
    assert moved[0] > 1.2 * moved[1] > 1.44 * moved[2] > 0


# who leaves when


def leaving(owner: int, round_: int, message: str) -> Callable[[int, int, str, bytes], None]:
    """The owner ends before it sends this message of this round, counted from 0."""
    seen = [0]

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> None:
        if sender == owner and receiver == 0 and label.endswith(f"/{message}"):
            if seen[0] == round_:
                raise Gone
            seen[0] += 1

    return tap


@pytest.mark.parametrize("message", ["keys", "masked", "openings"])
@pytest.mark.parametrize("round_", range(SETTINGS.rounds + 3))
def test_an_owner_may_leave_at_any_round(round_: int, message: str) -> None:
    tables = owners_of(4, 60)
    ended = run(tables, tap=leaving(2, round_, message))
    assert isinstance(ended.pop(2), Gone)
    found = model_of(ended)
    entered_last = message == "openings" and round_ == SETTINGS.rounds + 2
    assert found.owners == ((1, 2, 3, 4) if entered_last else (1, 3, 4))
    assert found.rows == 60 * len(found.owners)
    x, y = pooled(tables)
    np.testing.assert_allclose(found.scales.deviations[:-1], x.std(axis=0), rtol=0.1)
    assert auc(scored(SETTINGS, found, x), y) > 0.8


def test_an_owner_that_is_never_ready_is_left_out() -> None:
    tables = owners_of(4)
    tables[3].label[5] = 2
    *ended, refused, last = run(tables)
    assert isinstance(refused, ValueOutOfRange)
    found = model_of([*ended, last])
    assert (found.owners, found.rows) == ((1, 2, 4), 360)


def test_an_owner_that_falls_silent_is_left_behind() -> None:
    tables = owners_of(4)
    meshes = mesh_of(5, SESSION, timeout_s=12)
    stuck = meshes[2].channels[0]
    real, sent = stuck.send, [0]

    def send(label: str, payload: bytes) -> None:
        sent[0] += label.endswith("/masked")
        if sent[0] < 3:
            real(label, payload)

    stuck.send = send  # type: ignore[method-assign]
    ended = run(tables, meshes=meshes, patience_s=2.0)
    assert isinstance(ended.pop(2), MpcError)
    assert model_of(ended).owners == (1, 3, 4)


def test_too_few_survivors_have_no_model() -> None:
    taps = [leaving(1, 2, "masked"), leaving(3, 3, "keys")]

    def tap(*sent: Any) -> None:
        for one in taps:
            one(*sent)

    ended = run(owners_of(4), tap=tap)
    assert isinstance(ended[0], TooFewParties)
    assert not any(isinstance(end, Trained) for end in ended)


# attacks


def told_otherwise(victim: int, round_: int, change: Callable[[bytes], bytes]) -> Callable[..., bytes | None]:
    """An aggregator that sends one owner another message ``piece`` in one round that has one."""
    seen = [0]

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if (sender, receiver) == (0, victim) and label == "horizontal/fedavg/1/piece":
            seen[0] += 1
            if seen[0] == round_:
                return change(payload)
        return None

    return tap


def nudged(payload: bytes) -> bytes:
    words = np.frombuffer(payload[24:], dtype=np.float64).copy()
    words[-1] += 1e-9
    return payload[:24] + words.tobytes()


@pytest.mark.parametrize("round_", range(1, SETTINGS.rounds + 4))
def test_an_aggregator_that_sends_different_models_is_found_before_anyone_trains_on_them(round_: int) -> None:
    lied, entered_after = [False], list[int]()

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        changed = told_otherwise_(sender, receiver, label, payload)
        lied[0] |= changed is not None
        if lied[0] and sender and label.endswith("/masked"):
            entered_after.append(sender)
        return changed

    told_otherwise_ = told_otherwise(2, round_, nudged)
    ended = run(owners_of(4), tap=tap, patience_s=3)
    assert lied[0]
    assert isinstance(ended[2], ModelsDisagree)
    assert all(isinstance(end, MpcError) for end in ended)
    assert not entered_after


def test_owners_that_could_not_compare_enter_nothing_with_different_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The session of the aggregation is the digest: what they seal to each other does not open."""
    monkeypatch.setattr(OwnerRounds, "_compare", lambda self, other: None)
    entered = []

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if sender and label.endswith("/masked"):
            entered.append(sender)
        return lie(sender, receiver, label, payload)

    lie = told_otherwise(2, 1, nudged)
    ended = run(owners_of(3), tap=tap, patience_s=3)
    assert all(isinstance(end, MpcError) for end in ended)
    assert len(entered) == 3  # of the first round, before the lie


def test_an_aggregator_that_names_other_owners_to_some_is_found() -> None:
    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if (sender, receiver) == (0, 2) and label == "horizontal/fedavg/1/model":
            kept = np.array([1, 2, 3], dtype=np.int64)
            return payload[:16] + (3).to_bytes(8, "little") + kept.tobytes()
        return None

    ended = run(owners_of(4), tap=tap, patience_s=3)
    assert any(isinstance(end, ModelsDisagree) for end in ended)
    assert all(isinstance(end, MpcError) for end in ended)


@pytest.mark.parametrize(
    ("bad", "words"), [(np.nan, "not finite"), (np.inf, "not finite"), (1e6, "within the clip")]
)
def test_a_model_that_no_clipped_updates_lead_to_is_refused(bad: float, words: str) -> None:
    def spoil(payload: bytes) -> bytes:
        numbers = np.frombuffer(payload[24:], dtype=np.float64).copy()
        numbers[-1] = bad
        return payload[:24] + numbers.tobytes()

    taps = [told_otherwise(owner, 3, spoil) for owner in (1, 2, 3)]

    def tap(*sent: Any) -> bytes | None:
        return next((changed for one in taps if (changed := one(*sent)) is not None), None)

    ended = run(owners_of(3), tap=tap)
    assert all(isinstance(end, MpcError) for end in ended)
    assert any(isinstance(end, MalformedMessage) and words in str(end) for end in ended)


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "flip": lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
    "truncate": lambda raw: raw[:-1],
    "extend": lambda raw: raw + b"\0",
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("message", ["ready", "model", "piece", "digest", "confirm"])
def test_a_changed_message_gives_its_receiver_no_model(message: str, change: str) -> None:
    """Whoever got it ends; the others go on without it, or end too."""
    hit: list[tuple[int, int]] = []

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if not hit and 2 in (sender, receiver) and label == f"horizontal/fedavg/1/{message}":
            if not payload and change != "extend":
                return None
            hit.append((sender, receiver))
            return CHANGES[change](payload)
        return None

    ended = run(owners_of(4), replace(SETTINGS, rounds=1), tap=tap, patience_s=2)
    if message == "ready" and change != "extend":
        assert not hit
        return
    ((_, receiver),) = hit
    assert isinstance(ended[receiver], ProtocolAbort)
    assert receiver == 0 or isinstance(ended[0], ProtocolAbort) or ended[0].owners


def entering(owner: int, words: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """An owner that departs from the protocol and enters other words in one round."""
    real, seen = secagg.owner, [0]

    def play(channel: Any, vector: Any, *, number: int, **more: Any) -> Any:
        if number == owner:
            seen[0] += 1
            if seen[0] == at:
                vector = words(vector)
        return real(channel, vector, number=number, **more)

    monkeypatch.setattr(secagg, "owner", play)


@pytest.mark.parametrize(
    "words",
    [
        lambda vector: np.append(vector[:6], vector[6:] * np.uint64(100)),
        lambda vector: np.append(vector[:6], np.full(len(vector) - 6, 2**62, dtype=np.uint64)),
        lambda vector: np.append(np.zeros(3, dtype=np.uint64) + np.uint64(2**57), vector[3:]),
    ],
    ids=["scaled", "huge", "rows"],
)
def test_an_update_that_was_not_clipped_is_refused_by_the_sum(
    words: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    entering(2, words, monkeypatch, 3)
    settings = replace(SETTINGS, clip=0.5)
    ended = run(owners_of(3), settings)
    assert isinstance(ended[0], MalformedMessage)
    assert str(ended[0]).startswith(("update: expected", "rows: expected"))
    assert all(isinstance(end, MpcError) for end in ended)


@pytest.mark.parametrize("words", [lambda vector: vector[:-1], lambda vector: np.append(vector, vector[:1])])
def test_words_of_a_wrong_shape_are_refused(
    words: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    entering(2, words, monkeypatch, 3)
    ended = run(owners_of(3))
    assert all(isinstance(end, MpcError) for end in ended)


def test_an_owner_with_a_scaled_update_moves_the_model_by_no_more_than_the_clip_allows() -> None:
    """A poisoned table: an owner's labels are turned round and its rows far away."""
    tables = owners_of(4)
    settings = replace(SETTINGS, rounds=1, clip=0.1)
    honest = model_of(run(tables, settings)).parameters
    tables[4] = Table(NAMES, tables[4].features, LABEL, 1 - tables[4].label)
    poisoned = model_of(run(tables, settings)).parameters
    unclipped = model_of(run(tables, replace(settings, clip=MAX_CLIP))).parameters
    assert 0 < np.linalg.norm(poisoned - honest) <= 2 * settings.clip / 4
    assert np.linalg.norm(unclipped) > settings.clip


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_update_that_is_not_finite_never_leaves(bad: float) -> None:
    with pytest.raises(ValueOutOfRange, match="2 of 4 values are not finite"):
        local.clipped(np.array([0.0, bad, 1.0, bad]), 1.0)
    with pytest.raises(ValueOutOfRange, match="update: 1 of 2 values"):
        to_words(np.array([0.0, bad]), 3, "update")
    with pytest.raises(ValueOutOfRange, match="debt: the sum"):
        to_limbs([1.0, bad], ["rows", "debt"])


def test_a_rate_that_is_too_large_ends_the_run_without_a_model() -> None:
    tables = owners_of(3, 100, Family.LINEAR)
    settings = Settings(Family.LINEAR, rounds=1, epochs=40, batch=2, rate=2.0)
    ended = run(tables, settings)
    assert any(isinstance(end, ValueOutOfRange) and "smaller rate" in str(end) for end in ended)
    assert all(isinstance(end, MpcError) for end in ended)


# tables that are refused


def spoiled(change: Callable[[Floats, Floats], None]) -> dict[int, Table]:
    tables = owners_of(3, 40)
    for table in tables.values():
        change(table.features, table.label)
    return tables


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda x, y: y.fill(1), InvalidInput, "label late: all 120 values of all owners are of one class"),
        (
            lambda x, y: x[:, 1].fill(0.1),
            InvalidInput,
            "column income: all 120 values of all owners are equal",
        ),
        (lambda x, y: y.__setitem__(0, 2), ValueOutOfRange, "label late: 1 of 40 values are neither 0 nor 1"),
        (
            lambda x, y: x.__setitem__((3, 2), np.nan),
            ValueOutOfRange,
            "column age: 1 of 40 values are missing",
        ),
        (lambda x, y: x[:, 0].fill(1e30), ValueOutOfRange, "debt: the sum over own rows is not below"),
    ],
)
def test_tables_that_cannot_be_trained_on_are_refused_by_name(
    change: Callable[[Floats, Floats], None], error: type[Exception], words: str
) -> None:
    ended = run(spoiled(change))
    assert not any(isinstance(end, Trained) for end in ended)
    assert any(isinstance(end, error) and words in str(end) for end in ended), ended


def test_one_class_and_one_value_at_an_owner_are_no_reason_to_refuse() -> None:
    tables = owners_of(3)
    tables[2].label[:] = 1
    tables[3].features[:, 0] = 4000.0
    assert model_of(run(tables)).owners == (1, 2, 3)


@pytest.mark.parametrize("leaves", [False, True])
def test_fewer_rows_than_needed_are_refused_in_every_round(leaves: bool) -> None:
    tap = leaving(4, SETTINGS.rounds, "keys") if leaves else None
    ended = run(owners_of(4, 10), least_rows=31 if leaves else 41, tap=tap)
    assert len(ended) == 5
    assert any(isinstance(end, InvalidInput) and "rows of all owners together" in str(end) for end in ended)
    assert not any(isinstance(end, Trained) for end in ended)


@pytest.mark.parametrize(
    "change",
    [
        {"rounds": 0},
        {"epochs": 0},
        {"batch": 0},
        {"rate": 3.0},
        {"mu": -1.0},
        {"clip": 17.0},
        {"clip": np.nan},
        {"hidden": (1, 1, 1, 1)},
        {"hidden": (0,)},
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(change))):
        replace(SETTINGS, **change)


@pytest.mark.parametrize(("owners", "threshold"), [(4, 2), (3, 2), (4, 5), (2, 2)])
def test_a_threshold_of_no_more_than_half_is_refused(owners: int, threshold: int) -> None:
    with pytest.raises(InvalidInput, match="threshold: expected"):
        Terms(SPEC, owners, threshold, SESSION, 1.0)


# words and costs


def test_words_add_up_as_the_numbers_do() -> None:
    draw = np.random.default_rng(2)
    sums = draw.normal(size=(30, 5)) * [1e-9, 1.0, 1e12, 1e29, 2.0**98]
    total = np.sum([to_limbs(one.tolist(), "abcde") for one in sums], axis=0, dtype=np.uint64)
    np.testing.assert_allclose(from_limbs(total), sums.sum(axis=0), rtol=1e-12, atol=1e-18)
    updates = draw.uniform(-MAX_CLIP, MAX_CLIP, (30, 7))
    rows = draw.integers(1, MAX_ROWS, 30)
    words = [to_words(one, int(count), "u") for one, count in zip(updates, rows, strict=True)]
    mean = from_words(np.sum(words, axis=0, dtype=np.uint64), int(rows.sum()))
    np.testing.assert_allclose(mean, np.average(updates, axis=0, weights=rows), atol=2.0**-24)
    with pytest.raises(ValueOutOfRange, match="rows: expected at most"):
        to_words(updates[0], MAX_ROWS + 1, "u")


@pytest.mark.parametrize("owners", [3, 5])
@pytest.mark.parametrize("settings", [SETTINGS, replace(SETTINGS, rounds=1, hidden=(300, 500))])
def test_measured_rounds_and_bytes_are_the_declared_ones(owners: int, settings: Settings) -> None:
    meshes = mesh_of(owners + 1, SESSION)
    model_of(run(owners_of(owners, 40), settings, meshes=meshes))
    for rank, mesh in enumerate(meshes):
        stats = [channel.stats for channel in mesh.channels.values()]
        sent, phases = sum(one.bytes_sent for one in stats), sum(one.rounds for one in stats)
        if rank:
            assert sent == costs.sent("owner", owners, 3, settings)
            assert phases == costs.receiving_phases("owner", owners, settings)
        else:
            assert sent == owners * costs.sent("aggregator", owners, 3, settings)
            assert phases == owners * costs.receiving_phases("aggregator", owners, settings)


# owners that judge models


GUARDED = replace(SETTINGS, rounds=5, guard=Guard(25, 0.1))


def test_owners_that_judge_honest_models_stay_and_the_model_is_as_good() -> None:
    tables = owners_of(4, 400)
    settings = replace(GUARDED, rounds=20, batch=50, rate=0.3)
    found = model_of(run(tables, settings))
    assert (found.owners, found.rows) == ((1, 2, 3, 4), 1600)
    np.testing.assert_allclose(found.parameters, newton(*pooled(tables)), atol=0.15)


def with_a_poisoner(at: int, monkeypatch: pytest.MonkeyPatch) -> dict[int, Table]:
    """Four owners; from one round on the last enters an update that undoes what was learnt, clipped."""
    real, seen = local.update, [0]

    def update(settings: Settings, model: Floats, features: Floats, label: Floats, rng: Any) -> Floats:
        if len(label) not in (404, 303):  # with and without the rows it holds out; others have fewer
            return real(settings, model, features, label, rng)
        seen[0] += 1
        poison: Floats = -40.0 * model
        honest = real(settings, model, features, label, rng)
        return honest if seen[0] < at else local.clipped(poison, settings.clip)

    monkeypatch.setattr(local, "update", update)
    return owners_of(3, 400) | {4: rows_of(4, 404)}


def test_a_model_that_turns_against_owners_rows_is_refused_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The poison keeps within the clip, so that no sum tells of it."""
    settings = replace(GUARDED, rounds=8, batch=50, rate=0.3, clip=16)
    ended = run(with_a_poisoner(4, monkeypatch), settings, patience_s=3)
    refused = [end for end in ended[1:4] if isinstance(end, ModelRefused)]
    assert len(refused) >= 2
    assert "held out worse than agreed" in str(refused[0])
    assert not any(isinstance(end, Trained) for end in ended)


def test_without_a_guard_such_a_model_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above would not notice if the poison did nothing."""
    settings = replace(GUARDED, rounds=8, batch=50, rate=0.3, clip=16, guard=None)
    found = model_of(run(with_a_poisoner(4, monkeypatch), settings))
    assert max(found.losses[4:]) > 1.1 * found.losses[0]


def test_one_owner_that_refuses_leaves_and_the_others_go_on() -> None:
    """Its label means the opposite of the others'."""
    tables = owners_of(4, 300)
    tables[2] = Table(NAMES, tables[2].features, LABEL, 1 - tables[2].label)
    ended = run(tables, replace(GUARDED, rounds=6, rate=0.3))
    assert isinstance(ended.pop(2), ModelRefused)
    assert model_of(ended).owners == (1, 3, 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_no_number_is_refused(bad: float) -> None:
    rng = DeterministicRandomness(bytes(16))
    x, y = np.ones((8, 1)), np.tile([0.0, 1.0], 4)
    watch = Watch(SETTINGS, Guard(50, 10.0), np.zeros(2), x, y, rng)
    assert len(watch.label) == 4
    watch.judge(np.array([0.0, 0.1]), 1)
    with pytest.raises(ModelRefused, match="round 2"):
        watch.judge(np.array([0.0, bad]), 2)


def test_what_is_lost_slowly_adds_up() -> None:
    """Every model is held against the best, so that many small steps back are one large one."""
    settings = replace(SETTINGS, family=Family.LINEAR)
    x, y = np.zeros((10, 1)), np.full(10, 1.0)
    watch = Watch(settings, Guard(50, 0.25), np.zeros(2), x, y, DeterministicRandomness(bytes(16)))
    watch.judge(np.array([0.9, 0.0]), 1)  # a loss of 0.01, where the first was 1
    watch.judge(np.array([0.6, 0.0]), 2)  # 0.16
    with pytest.raises(ModelRefused):
        watch.judge(np.array([0.45, 0.0]), 3)  # 0.3025, more than 0.26


def test_rows_held_out_are_drawn_and_not_trained_on() -> None:
    x = np.arange(20.0)[:, None]
    parts = set()
    for seed in range(4):
        rng = DeterministicRandomness(bytes([seed]) * 16)
        watch = Watch(SETTINGS, Guard(25, 1.0), np.zeros(2), x, np.zeros(20), rng)
        assert (len(watch.label), watch.features.shape) == (15, (15, 1))
        parts.add(tuple(sorted(watch.features[:, 0].tolist())))
    assert len(parts) == 4
    with pytest.raises(InvalidInput, match="held out"):
        Watch(SETTINGS, Guard(25, 1.0), np.zeros(2), x[:3], np.zeros(3), DeterministicRandomness(bytes(16)))


@pytest.mark.parametrize(
    ("percent", "worse"), [(0, 1.0), (51, 1.0), (10, 0.0), (10, -1.0), (10, np.nan), (10, 11.0)]
)
def test_guards_out_of_range_are_refused(percent: int, worse: float) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        Guard(percent, worse)
