"""Networks on shares: the weights of training in the clear, at the stated cost, and nothing is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.checkpoints import Checkpoints
from federated.metrics import auc
from federated.network import (
    SCORING,
    SPEC,
    OwnWeights,
    Settings,
    check_sizes,
    costs,
    initial,
    own_weights,
    score,
    train,
)
from federated.network import settings as limits
from federated.vertical import Family, Layout, standardise
from federated.vertical.settings import LIMIT, MAX_BATCH
from mpc import replicated
from mpc.errors import ChannelBroken, InvalidInput, MpcError, ValueOutOfRange
from mpc.mesh import Mesh
from mpc.replicated import costs as runtime_costs
from mpc.replicated import logistic
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes, run_mesh

Floats = NDArray[np.float64]
SEED = b"the session of a step"
SETTINGS = Settings(Family.LOGISTIC, units=4, epochs=4, batch=100, rate=0.5, l2=0.001)


def example(columns: Sequence[int], rows: int = 200) -> tuple[list[Floats], Floats, Floats]:
    """Columns of each owner, a label that is their exclusive or and little else, and one that is a number."""
    drawn = np.random.default_rng(17).uniform(-1, 1, size=(sum(columns), rows))
    x = standardise(list(drawn), [str(number) for number in range(len(drawn))]).values
    number = x[0] * x[-1]
    parts = [x[low:high] for low, high in pairwise(np.cumsum((0, *columns)))]
    return parts, (number > 0).astype(np.float64), (number - number.mean()) / number.std()


def in_layers(weights: Floats, columns: int, units: int) -> tuple[Floats, Floats]:
    split = units * (1 + columns)
    return weights[:split].reshape(units, 1 + columns), weights[split:]


def passed(weights: Floats, x: Floats, units: int) -> tuple[Floats, Floats, Floats, Floats]:
    """In the clear: the rows with ones, the sums and activations of hidden units, the sums of the output."""
    hidden, output = in_layers(weights, len(x), units)
    ones = np.ones((1, x.shape[1]))
    design = np.vstack([ones, x])
    sums = hidden @ design
    activations = np.vstack([ones, np.clip(sums, 0, limits.ACTIVATION_LIMIT)])
    return design, sums, activations, output @ activations


def plain(x: Floats, y: Floats, settings: Settings) -> Floats:
    """The weights of the same descent in the clear, from the same start."""
    layout = Layout(len(y), (len(x),))
    weights = initial(layout, settings, SEED) * 2.0**-20
    penalties = np.ones(len(weights))
    penalties[: settings.hidden(layout) : layout.coefficients] = penalties[settings.hidden(layout)] = 0
    for epoch in range(settings.epochs):
        for part in layout.batches(settings.batch):
            design, sums, activations, fitted = passed(weights, x[:, part], settings.units)
            _, output = in_layers(weights, len(x), settings.units)
            within = fitted.clip(-settings.family.reach, settings.family.reach)
            residual = (settings.family.mean_of(within) - y[part]) / (part.stop - part.start)
            back = output[1:, None] * residual * ((sums >= 0) & (sums <= limits.ACTIVATION_LIMIT))
            gradient = np.concatenate([(back @ design.T).reshape(-1), activations @ residual])
            step = settings.rate_of(epoch) * (gradient + settings.l2 * penalties * weights)
            weights = np.clip(weights - step, -limits.WEIGHT_LIMIT, limits.WEIGHT_LIMIT)
    return weights


def parties(
    features: Sequence[Floats],
    label: Any,
    settings: Settings,
    *,
    to: int | None = 0,
    measured: list[Any] | None = None,
) -> Any:
    """A party that trains, and of which one learns all weights, or each owner its own, or nobody any."""
    layout = Layout(len(label), tuple(map(len, features)))

    def play(mesh: Mesh) -> Any:
        rank = mesh.rank
        with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([rank]) * 16)) as rt:
            own = features[rank] if rank < len(features) and len(features[rank]) else None
            trained = train(rt, layout, settings, own, label if rank == 0 else None, SEED)
            opened: Any = None
            if to is None:
                opened = own_weights(rt, layout, settings, trained.weights)
            elif to >= 0:
                opened = rt.open(trained.weights, [to])
            rounds = rt.rounds
        if measured is not None:
            measured.append((rank, rounds, sum(one.stats.bytes_sent for one in mesh.channels.values())))
        return opened, trained.losses

    return play


def trained(features: Sequence[Floats], label: Floats, settings: Settings, size: int = 3) -> Floats:
    opened, *others = (end[0] for end in run_mesh([parties(features, label, settings)] * size))
    assert all(one is None for one in others)
    return np.asarray(opened) * 2.0**-20


@pytest.mark.parametrize(("columns", "size"), [((2, 1), 3), ((0, 3), 3), ((1, 1, 1, 1), 4)])
@pytest.mark.parametrize("family", limits.FAMILIES)
def test_weights_are_those_of_training_in_the_clear(
    family: Family, columns: tuple[int, ...], size: int
) -> None:
    features, classes, number = example(columns)
    label = classes if family is Family.LOGISTIC else number
    settings = replace(SETTINGS, family=family, rate=0.5 if family is Family.LOGISTIC else 0.1)
    got, x = trained(features, label, settings, size), np.vstack(features)
    expected = plain(x, label, settings)
    start = initial(Layout(len(label), columns), settings, SEED) * 2.0**-20
    assert np.abs(expected - start).max() > 0.1
    # The series of the logistic function is within 0.0032 of it; all else is rounding.
    within = 0.01 if family is Family.LOGISTIC else 0.0005
    np.testing.assert_allclose(got, expected, atol=within)
    shown = [passed(one, x, settings.units)[3] for one in (got, expected)]
    np.testing.assert_allclose(*shown, atol=2 * within)


def newton(x: Floats, y: Floats) -> Floats:
    """The fitted values of a logistic regression on the same rows."""
    design, weights = np.vstack([np.ones(x.shape[1]), x]), np.zeros(1 + len(x))
    for _ in range(20):
        chance = 1 / (1 + np.exp(-weights @ design))
        weights -= np.linalg.solve((design * chance * (1 - chance)) @ design.T, design @ (chance - y))
    return np.asarray(weights @ design)


def test_an_exclusive_or_is_learnt_where_a_regression_learns_nothing() -> None:
    features, label, _ = example((1, 1), 400)
    settings = Settings(Family.LOGISTIC, units=8, epochs=40, batch=100, rate=1.0, tells_loss=True)
    (opened, losses), *_ = run_mesh([parties(features, label, settings)] * 3)
    x, weights = np.vstack(features), np.asarray(opened) * 2.0**-20
    fitted = passed(weights, x, settings.units)[3]
    clear = passed(plain(x, label, settings), x, settings.units)[3]
    assert auc(newton(x, label), label) < 0.6
    assert auc(fitted, label) > 0.95
    assert auc(fitted, label) == pytest.approx(auc(clear, label), abs=0.002)
    brier = np.mean((1 / (1 + np.exp(-fitted)) - label) ** 2)
    assert len(losses) == 40
    assert brier - 0.005 < losses[-1] < losses[0]


def test_losses_are_those_before_each_step_and_go_to_owners_alone() -> None:
    features, _, label = example((1, 1))
    settings = Settings(Family.LINEAR, units=3, epochs=1, batch=1000, rate=0.1, tells_loss=True)
    ended = run_mesh([parties(features, label, settings)] * 3)
    x = np.vstack(features)
    start = initial(Layout(200, (1, 1)), settings, SEED) * 2.0**-20
    expected = np.mean((passed(start, x, 3)[3] - label) ** 2)
    assert ended[0][1] == ended[1][1]
    assert ended[0][1] == (pytest.approx(expected, abs=1e-3),)
    assert ended[2][1] == ()


def split_of(weights: Floats, columns: Sequence[int], units: int) -> list[OwnWeights]:
    hidden, output = in_layers(weights, sum(columns), units)
    own = [hidden[:, 1 + low : 1 + high] for low, high in pairwise(np.cumsum((0, *columns)))]
    return [
        OwnWeights(one, hidden[:, 0] if rank == 0 else np.zeros(0), output if rank == 0 else np.zeros(0))
        for rank, one in enumerate(own)
    ]


@pytest.mark.parametrize(("columns", "size"), [((2, 1), 3), ((0, 2), 3), ((1, 1, 1, 1), 4)])
def test_each_owner_learns_the_weights_of_its_own_columns(columns: tuple[int, ...], size: int) -> None:
    features, label, _ = example(columns)
    settings = replace(SETTINGS, epochs=1)
    ended = run_mesh([parties(features, label, settings, to=None)] * size)
    expected = split_of(trained(features, label, settings, size), columns, settings.units)
    for (own, _), wanted in zip(ended, expected, strict=False):
        np.testing.assert_allclose(own.numbers, wanted.numbers, atol=1e-4)
        assert (own.columns.shape, own.output.shape) == (wanted.columns.shape, wanted.output.shape)
    assert [own for own, _ in ended[len(columns) :]] == [None] * (size - len(columns))


@pytest.mark.parametrize(("columns", "size"), [((2, 1), 3), ((0, 2), 3), ((1, 1, 1, 1), 4)])
@pytest.mark.parametrize("family", limits.FAMILIES)
def test_scores_are_those_in_the_clear_and_go_to_the_label_holder_alone(
    family: Family, columns: tuple[int, ...], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("federated.network.scoring.PIECE_ROWS", 150)
    monkeypatch.setattr("federated.network.costs.PIECE_ROWS", 150)
    features, _, _ = example(columns)
    settings = Settings(family, units=5)
    weights = np.random.default_rng(3).uniform(-3, 3, settings.weights(Layout(1, columns)))
    own, layout, measured = split_of(weights, columns, 5), Layout(200, columns), list[Any]()

    def play(mesh: Mesh) -> Any:
        rank = mesh.rank
        with replicated.run(mesh, SCORING, DeterministicRandomness(bytes([rank]) * 16)) as rt:
            mine = features[rank] if rank < len(features) and len(features[rank]) else None
            scores = score(rt, layout, settings, mine, own[rank] if rank < len(own) else None)
            rounds = rt.rounds
        measured.append((rank, rounds, sum(one.stats.bytes_sent for one in mesh.channels.values())))
        return scores

    scores, *others = run_mesh([play] * size)
    np.testing.assert_allclose(scores, passed(weights, np.vstack(features), 5)[3], atol=0.005)
    assert all(one is None for one in others)
    cost, whole = costs.scoring(layout, settings), runtime_costs.run(size)
    for rank, rounds, sent in measured:
        assert rounds == cost.rounds + whole.rounds
        frame = whole.sent[rank] if rank < 3 else whole.outside
        assert sent == costs.scoring_sent(layout, settings, cost, rank) + frame


@pytest.mark.parametrize(
    ("columns", "size", "settings", "to"),
    [
        ((2, 1), 3, replace(SETTINGS, epochs=2), None),
        ((0, 2), 3, Settings(Family.LINEAR, units=1, epochs=1, batch=64, tells_loss=True), None),
        ((1, 1, 1, 1), 4, Settings(Family.LOGISTIC, units=2, epochs=1, batch=70, tells_loss=True), -1),
        ((1, 1), 4, Settings(Family.LINEAR, units=3, epochs=1), None),
    ],
)
def test_rounds_and_bytes_are_as_stated(
    columns: tuple[int, ...], size: int, settings: Settings, to: int | None
) -> None:
    features, classes, number = example(columns, 130)
    label = classes if settings.family is Family.LOGISTIC else number
    layout, measured = Layout(130, columns), list[Any]()
    run_mesh([parties(features, label, settings, to=to, measured=measured)] * size)
    cost, whole = costs.training(layout, settings), runtime_costs.run(size)
    if to is None:
        cost += costs.weights(layout, settings)
    assert len(measured) == size
    for rank, rounds, sent in measured:
        assert rounds == cost.rounds + whole.rounds
        frame = whole.sent[rank] if rank < 3 else whole.outside
        assert sent == costs.sent(layout, cost, rank) + frame


@pytest.mark.parametrize("family", limits.FAMILIES)
def test_no_number_of_a_step_leaves_the_ring(family: Family) -> None:
    """The bounds of the module of settings, from its constants."""
    settings = Settings(family, units=limits.MAX_UNITS)
    residual = 1 + 4 * logistic.ERROR if family is Family.LOGISTIC else family.reach + LIMIT
    fraction = settings.residual_fraction
    hidden = limits.WEIGHT_LIMIT * (limits.MAX_COLUMNS * LIMIT + 1)
    output = limits.WEIGHT_LIMIT * (limits.MAX_UNITS * limits.ACTIVATION_LIMIT + 1)
    assert hidden * 2**34 < 2**61
    assert (hidden + limits.ACTIVATION_LIMIT) * 2**14 + 2 < 2 ** (limits.SUM_BITS - 1)
    assert (output + family.reach) * 2**34 < 2 ** (limits.FITTED_BITS - 1)
    sums = MAX_BATCH * residual * max(LIMIT, limits.ACTIVATION_LIMIT) * 2 ** (fraction + 14)
    assert sums < 2**61
    gradient = (residual * LIMIT * 2**20 + 2) * limits.WEIGHT_LIMIT * 2**20 + limits.WEIGHT_LIMIT * 2**40
    assert gradient < 2**61
    step = 2 * gradient / 2**20 + 2
    assert step + 2 * limits.WEIGHT_LIMIT * 2**20 < 2 ** (limits.STEP_BITS - 1)
    assert limits.MAX_ROWS * (residual * 2**12 + 1) ** 2 < 2**62


@pytest.mark.parametrize("family", limits.FAMILIES)
def test_columns_and_rates_at_their_ends_keep_weights_within_their_limit(family: Family) -> None:
    """Every row is at an end of every column: nothing wraps, and no run fails."""
    ends = np.where(np.arange(60) % 2, 127.99, -127.99)
    features = [np.tile(ends, (20, 1)), np.tile(-ends, (20, 1))]
    label = (np.arange(60) % 2).astype(np.float64) if family is Family.LOGISTIC else -ends
    settings = Settings(family, units=32, epochs=3, batch=20, rate=2.0, l2=1.0)
    got = trained(features, label, settings)
    assert np.abs(got).max() == limits.WEIGHT_LIMIT
    if family is Family.LINEAR:
        once = replace(settings, epochs=1, batch=60)
        expected = plain(np.vstack(features), label, once)
        assert np.abs(expected).max() == limits.WEIGHT_LIMIT
        np.testing.assert_allclose(trained(features, label, once), expected, atol=0.02)


def test_the_first_weights_are_public_and_hang_on_the_seed() -> None:
    layout, settings = Layout(10, (3, 2)), Settings(Family.LOGISTIC, units=32)
    first, again, other = (initial(layout, settings, seed) for seed in (b"a", b"a", b"b"))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
    hidden, output = in_layers(first * 2.0**-20, 5, 32)
    assert not hidden[:, 0].any()
    assert output[0] == 0
    assert hidden[:, 1:].std() == pytest.approx(np.sqrt(2 / 5), rel=0.2)
    assert output[1:].std() == pytest.approx(np.sqrt(2 / 32), rel=0.5)


def test_a_run_that_was_cut_off_goes_on_at_the_last_epoch_that_all_parties_had_reached() -> None:
    features, label, _ = example((1, 1), 80)
    settings, layout = (
        Settings(Family.LOGISTIC, units=2, epochs=5, batch=80, tells_loss=True),
        Layout(80, (1, 1)),
    )

    def attempt(number: int, held: list[Checkpoints], cut: int) -> tuple[list[Any], list[int]]:
        played: list[int] = []

        def play(mesh: Mesh) -> Any:
            rank = mesh.rank

            def progress(done: int, total: int) -> None:
                if rank == 0:
                    played.append(done)
                if rank == 1 and done == cut:
                    raise ChannelBroken("the process was killed")

            with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([rank, number]) * 16)) as rt:
                own = features[rank] if rank < 2 else None
                mine = label if rank == 0 else None
                made = train(rt, layout, settings, own, mine, SEED, progress, checkpoints=held[rank])
                return rt.open(made.weights, [0]), made.losses

        session = b"attempt %d" % number
        return mesh_outcomes([play] * 3, mesh_of(3, session, timeout_s=5)), played

    held = [Checkpoints() for _ in range(3)]
    ended, _ = attempt(1, held, 3)
    assert all(isinstance(end, Exception) for end in ended)
    begins_at = max(set.intersection(*(set(one.held) for one in held)))
    assert begins_at > 1
    held = [Checkpoints(2, begins_at, one.held) for one in held]
    (first, *_), played = attempt(2, held, 0)
    assert played == list(range(begins_at, 6))
    (whole, *_), _ = attempt(3, [Checkpoints() for _ in range(3)], 0)
    np.testing.assert_allclose(first[0], whole[0], atol=200)
    np.testing.assert_allclose(first[1], whole[1], atol=1e-4)


Seen = list[tuple[int, int, str, bytes]]


def transcript(features: Sequence[Floats], label: Floats, settings: Settings) -> Seen:
    """All messages of a run in which nobody learns a weight: from whom, to whom, what."""
    seen: Seen = []
    play = parties(features, label, settings, to=-1)
    run_mesh([play] * 3, mesh_of(3, tap=lambda *message: seen.append(message)))
    return sorted(seen, key=lambda message: message[:2])


def received(seen: Seen, rank: int, kinds: tuple[str, ...]) -> list[NDArray[np.uint64]]:
    """The words of the messages of some kinds that a party received."""
    return [
        np.frombuffer(payload, dtype="<u8")
        for _, receiver, name, payload in seen
        if receiver == rank and name.endswith(kinds)
    ]


def test_messages_hang_on_public_sizes_alone_and_nothing_is_opened() -> None:
    settings = Settings(Family.LOGISTIC, units=2, epochs=2, batch=60)
    features, label, _ = example((1, 1), 90)
    other = [np.full((1, 90), 3.0), np.zeros((1, 90))]
    shapes = [
        [(*message[:3], len(message[3])) for message in transcript(*one, settings)]
        for one in ((features, label), (other, 1 - label))
    ]
    assert shapes[0] == shapes[1]
    assert not any(name.endswith("/open") for *_, name, _ in shapes[0])


def test_what_a_computing_party_receives_is_uniform_whatever_columns_and_labels_are() -> None:
    settings = Settings(Family.LOGISTIC, units=4, epochs=2, batch=90)
    features, label = [np.zeros((1, 90)), np.full((1, 90), -1.0)], np.zeros(90)
    seen = transcript(features, label, settings)
    for rank in range(3):
        # Bits past the last value of a plane are no secret.
        words = [one for one in received(seen, rank, ("/product", "/input")) if len(one) >= 90]
        octets = np.concatenate(words).view(np.uint8)
        ones = np.unpackbits(octets.reshape(-1, 8), axis=1).mean(axis=0)
        # Six deviations of a fair coin; the runs are drawn from fixed keys.
        assert len(octets) > 8 * 4000
        np.testing.assert_allclose(ones, 0.5, atol=6 * 0.5 / np.sqrt(len(octets) / 8))


def norms(gradients: NDArray[Any]) -> Floats:
    """The norm of what a row received: [..., rows] in, [rows] out."""
    return np.sqrt((gradients.astype(np.float64) ** 2).reshape(-1, gradients.shape[-1]).sum(axis=0))


def test_norms_of_gradients_tell_labels_in_plain_split_learning_and_nothing_here() -> None:
    """Li et al. 2021, "Label Leakage and Protection in Two-Party Split Learning", the attack by norms.

    Few positives have residuals near one, many negatives near zero. In split learning the owner of the
    features receives for each row the gradient of its part of the hidden sums: a large one where the label
    is 1.
    """
    rows, units = 448, 3
    features, _, _ = example((1, 1), rows)
    label = (np.arange(rows) % 10 == 0).astype(np.float64)
    settings = Settings(Family.LOGISTIC, units=units, epochs=4, batch=rows, rate=1.0)
    x = np.vstack(features)
    weights = plain(x, label, settings)
    _, sums, _, fitted = passed(weights, x, units)
    _, output = in_layers(weights, len(x), units)
    residual = 1 / (1 + np.exp(-fitted)) - label
    active = (sums > 0).any(axis=0)
    plainly = norms(output[1:, None] * residual * (sums > 0))
    assert auc(plainly[active], label[active]) > 0.9

    # Six deviations of the area under the curve of a guess, Hanley, McNeil 1982.
    spread = 6 * np.sqrt((rows + 1) / (12 * label.sum() * (rows - label.sum())))
    seen = transcript(features, label, settings)
    for rank in range(3):
        tried = {"words": 0, "bits": 0}
        for words in received(seen, rank, ("/product", "/input", "/planes")):
            bits = np.unpackbits(words.view(np.uint8), bitorder="little")
            # A message has a number for each row, or a bit; the rows are whole words of bits.
            for kind, numbers in (("words", words.view(np.int64)), ("bits", bits)):
                if len(numbers) % rows == 0:
                    assert abs(auc(norms(numbers.reshape(-1, rows)), label) - 0.5) < spread
                    tried[kind] += 1
        assert min(tried.values()) > 8 * settings.epochs


@pytest.mark.parametrize("name", ["keys", "input", "product", "planes", "open", "confirm"])
def test_a_changed_message_ends_the_run_for_everybody(name: str) -> None:
    features, label, _ = example((1, 1), 40)
    changed: list[str] = []

    def tap(sender: int, receiver: int, message: str, payload: bytes) -> bytes | None:
        if message.endswith(f"/{name}") and not changed:
            changed.append(message)
            return bytes([payload[0] ^ 1]) + payload[1:]
        return None

    play = parties(features, label, Settings(Family.LOGISTIC, units=1, epochs=1))
    ended = mesh_outcomes([play] * 3, mesh_of(3, tap=tap, timeout_s=3))
    assert changed
    assert all(isinstance(end, MpcError) for end in ended)


@pytest.mark.parametrize("bad", [np.nan, np.inf, LIMIT])
def test_a_value_that_cannot_be_encoded_is_refused_before_it_is_shared(bad: float) -> None:
    features, label, _ = example((1, 1), 40)
    features[1] = np.where(np.arange(40) == 7, bad, features[1])
    ended = mesh_outcomes([parties(features, label, SETTINGS)] * 3)
    assert isinstance(ended[1], ValueOutOfRange)
    assert "1 of 40" in str(ended[1])
    assert all(isinstance(end, Exception) for end in ended)


def test_weights_of_another_network_are_refused_before_scores() -> None:
    features, _, _ = example((1, 1), 40)
    own = split_of(np.zeros(9), (1, 1), 2)

    def play(mesh: Mesh) -> Any:
        rank = mesh.rank
        with replicated.run(mesh, SCORING, DeterministicRandomness(bytes([rank]) * 16)) as rt:
            mine = features[rank] if rank < 2 else None
            return score(
                rt,
                Layout(40, (1, 1)),
                Settings(Family.LOGISTIC, units=3),
                mine,
                own[rank] if mine is not None else None,
            )

    ended = mesh_outcomes([play] * 3)
    assert isinstance(ended[0], InvalidInput)
    assert "weights: expected 10 numbers of this owner, got 7" in str(ended[0])
    assert all(isinstance(end, Exception) for end in ended)


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("rows", Layout(limits.MAX_ROWS + 1, (1, 1))),
        ("columns", Layout(10, (limits.MAX_COLUMNS, 1))),
        ("rows held out", Layout(10, (1, 1), held_out=1)),
    ],
)
def test_sizes_beyond_their_limits_are_refused(name: str, layout: Layout) -> None:
    with pytest.raises(InvalidInput, match=f"^{name}: expected at most"):
        check_sizes(layout)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("family", Family.POISSON),
        ("units", 0),
        ("units", 33),
        ("epochs", 0),
        ("batch", 5000),
        ("rate", 0.0),
        ("rate", 2.5),
        ("l2", -1.0),
        ("l2", np.nan),
    ],
)
def test_settings_beyond_their_limits_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=f"^{name}: expected"):
        replace(SETTINGS, **{name: value})
