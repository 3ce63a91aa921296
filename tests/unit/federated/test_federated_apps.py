"""A server's messages to all owners: the weighted mean of their answers, whoever leaves, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.horizontal import Terms, apps, costs
from federated.horizontal.apps import SPEC, Agreed, Ask, Asked, Kind, Replied, Served, answer_app, serve_app
from mpc.errors import (
    EngineFailed,
    InvalidInput,
    MalformedMessage,
    ModelsDisagree,
    MpcError,
    TooFewParties,
    ValueOutOfRange,
)
from mpc.mesh import Mesh
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes

Floats = NDArray[np.float64]
SESSION = b"a run of an app"
AGREED = Agreed(
    {"weights": (2, 2), "bias": (1,)},
    {Kind.TRAIN: ("loss",), Kind.EVALUATE: ("right", "wrong")},
    messages=4,
    clip=16.0,
    least_rows=20,
)
ROWS = {1: 10, 2: 30, 3: 17, 4: 25}
FIRST = np.array([0.5, -1.0, 2.0, 0.0, 3.0])
Change = Callable[[int, Asked, Replied], Replied]


def moved(number: int, arrays: Floats) -> Floats:
    """What training makes of arrays at one owner."""
    return 0.9 * arrays + 0.1 * number


def answer_of(number: int, asked: Asked) -> Replied:
    if asked.kind is Kind.TRAIN:
        return Replied(ROWS[number], (float(np.abs(asked.arrays).sum()),), moved(number, asked.arrays))
    return Replied(ROWS[number] // 2, (number / 8, float(asked.text)), np.zeros(0))


def twice(ask: Ask) -> Floats:
    """Two rounds of averaging, each followed by an evaluation."""
    arrays = FIRST
    for number in (1, 2):
        arrays = ask(Asked(Kind.TRAIN, b'{"round": 1}', arrays)).arrays
        ask(Asked(Kind.EVALUATE, str(number).encode(), arrays))
    return arrays


def run(
    serve: Callable[[Ask], Floats] = twice,
    change: Change = lambda number, asked, replied: replied,
    *,
    agreed: Agreed = AGREED,
    tap: Callable[[int, int, str, bytes], bytes | None] | None = None,
    meshes: list[Mesh] | None = None,
) -> list[Any]:
    """Rank 0 is the aggregator; what each role returned or raised."""
    terms = Terms(SPEC, len(ROWS), 3, SESSION, 4.0)

    def play(mesh: Mesh) -> Any:
        number = mesh.rank
        if number == 0:
            return serve_app(mesh.channels, terms, agreed, serve)
        others = {rank: channel for rank, channel in mesh.channels.items() if rank}
        rng = DeterministicRandomness(bytes([number]) * 16)

        def answer(asked: Asked) -> Replied:
            return change(number, asked, answer_of(number, asked))

        return answer_app(mesh.channels[0], others, terms, number, agreed, answer, ROWS[number], rng)

    return mesh_outcomes([play] * (len(ROWS) + 1), meshes or mesh_of(len(ROWS) + 1, SESSION, tap=tap))


def averaged(owners: tuple[int, ...], arrays: Floats) -> Floats:
    rows = sum(ROWS[number] for number in owners)
    return sum((ROWS[number] * moved(number, arrays) for number in owners), np.zeros(5)) / rows


def changed(owner: int, **fields: Any) -> Change:
    """One owner answers training otherwise."""
    return lambda number, asked, replied: (
        replace(replied, **fields) if number == owner and asked.kind is Kind.TRAIN else replied
    )


# what all learn


def test_the_server_gets_the_weighted_mean_and_everybody_the_same() -> None:
    ended = run()
    assert all(isinstance(end, Served) for end in ended), ended
    first, *others = ended
    after = averaged((1, 2, 3, 4), averaged((1, 2, 3, 4), FIRST))
    np.testing.assert_allclose(first.arrays, after, rtol=0, atol=1e-6)
    for other in others:
        np.testing.assert_array_equal(other.arrays, first.arrays)
        assert (other.told, other.owners) == (first.told, first.owners)
    assert first.owners == (1, 2, 3, 4)
    assert [one.kind for one in first.told] == [Kind.TRAIN, Kind.EVALUATE] * 2
    assert [one.rows for one in first.told] == [82, 40] * 2
    np.testing.assert_allclose(first.told[0].metrics, (np.abs(FIRST).sum(),), rtol=1e-12)
    right = sum(number / 8 * (rows // 2) for number, rows in ROWS.items()) / 40
    np.testing.assert_allclose(first.told[3].metrics, (right, 2.0), rtol=1e-12)


def test_an_owner_whose_app_fails_is_absent_and_the_mean_is_of_the_others() -> None:
    def fails(number: int, asked: Asked, replied: Replied) -> Replied:
        if number == 2:
            raise EngineFailed("the app ended: ValueError")
        return replied

    ended = run(change=fails)
    assert isinstance(ended[2], EngineFailed)
    np.testing.assert_allclose(
        ended[0].arrays, averaged((1, 3, 4), averaged((1, 3, 4), FIRST)), rtol=0, atol=1e-6
    )
    assert (ended[0].owners, ended[0].told[0].rows) == ((1, 3, 4), 52)


def test_fewer_than_the_threshold_have_no_result() -> None:
    def fails(number: int, asked: Asked, replied: Replied) -> Replied:
        if number in (2, 3):
            raise EngineFailed("the app ended: ValueError")
        return replied

    ended = run(change=fails)
    assert isinstance(ended[0], TooFewParties)
    assert not any(isinstance(end, Served) for end in ended)


def test_a_long_update_is_scaled_down_to_the_clip() -> None:
    agreed = replace(AGREED, clip=0.5)
    far = changed(2, arrays=FIRST + 1e200)
    ended = run(lambda ask: ask(Asked(Kind.TRAIN, b"", FIRST)).arrays, far, agreed=agreed)
    updates = {number: moved(number, FIRST) - FIRST for number in ROWS} | {2: np.full(5, 1.0)}
    kept = {one: step * min(1.0, 0.5 / np.linalg.norm(step)) for one, step in updates.items()}
    mean = sum((ROWS[one] * step for one, step in kept.items()), np.zeros(5)) / 82
    np.testing.assert_allclose(ended[0].arrays, FIRST + mean, rtol=0, atol=1e-6)


# answers that do not enter


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"rows": 31}, ValueOutOfRange, "examples"),
        ({"rows": 0}, ValueOutOfRange, "examples"),
        ({"metrics": ()}, InvalidInput, "1 metrics and 5 numbers"),
        ({"metrics": (np.nan,)}, ValueOutOfRange, "metrics: 1 of 1"),
        ({"metrics": (1e300,)}, ValueOutOfRange, "loss"),
        ({"arrays": FIRST[:4]}, InvalidInput, "1 metrics and 5 numbers"),
        ({"arrays": FIRST[:, None]}, InvalidInput, "1 metrics and 5 numbers"),
        ({"arrays": FIRST + np.nan}, ValueOutOfRange, "5 of 5 values"),
        ({"arrays": FIRST + np.inf}, ValueOutOfRange, "values"),
    ],
    ids=str,
)
def test_an_answer_of_another_form_ends_at_its_owner(
    fields: dict[str, Any], kind: type[MpcError], words: str
) -> None:
    ended = run(change=changed(2, **fields))
    assert isinstance(ended[2], kind)
    assert words in str(ended[2])
    assert ended[0].owners == (1, 3, 4)


# servers that do not keep to what was agreed


@pytest.mark.parametrize(
    ("serve", "words"),
    [
        (lambda ask: FIRST, "at least one"),
        (lambda ask: [ask(Asked(Kind.TRAIN, b"", FIRST)) for _ in range(5)].pop().arrays, "at most 4"),
        (lambda ask: ask(Asked(Kind.TRAIN, b"", FIRST[1:])).arrays, "expected 5 numbers"),
        (lambda ask: ask(Asked(Kind.TRAIN, b"", FIRST + np.inf)).arrays, "not finite"),
        (lambda ask: ask(Asked(Kind.TRAIN, b"x" * 2049, FIRST)).arrays, "at most 2048 bytes"),
        (lambda ask: ask(Asked(Kind.EVALUATE, b"1", FIRST)).arrays, "expected 5 numbers"),
    ],
)
def test_a_server_that_asks_otherwise_has_no_result(serve: Callable[[Ask], Floats], words: str) -> None:
    ended = run(serve)
    assert words in str(ended[0])
    assert not any(isinstance(end, Served) for end in ended)


def test_too_few_examples_end_the_run() -> None:
    ended = run(agreed=replace(AGREED, least_rows=41))
    assert isinstance(ended[0], InvalidInput)
    assert "at least 41 rows" in str(ended[0])
    assert not any(isinstance(end, Served) for end in ended)


def test_an_aggregator_that_sends_one_owner_another_message_is_found() -> None:
    def lies(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if (sender, receiver) == (0, 2) and label == "horizontal/app/1/piece":
            return payload[:-1] + bytes([payload[-1] ^ 1])
        return payload

    ended = run(tap=lies)
    assert isinstance(ended[2], ModelsDisagree)
    assert any(isinstance(end, ModelsDisagree) for end in (ended[1], ended[3], ended[4]))
    assert not any(isinstance(end, Served) for end in ended)


@pytest.mark.parametrize("message", [[3.0], [0.5], [1.0, 0.0, 0.0, -1.0], [1.0, 0.0, 0.0, 0.5], [0.0]])
def test_a_message_that_is_none_is_refused(message: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    real = apps._message

    def lying(*arguments: Any) -> Floats:
        numbers = real(*arguments)
        numbers[: len(message)] = message
        return numbers

    monkeypatch.setattr(apps, "_message", lying)
    ended = run()
    assert all(isinstance(end, MpcError) for end in ended)
    assert isinstance(ended[1], MalformedMessage)


@pytest.mark.parametrize(
    "fields",
    [
        {"shapes": {}},
        {"shapes": {"a": (1001, 1000)}},
        {"messages": 0},
        {"clip": 17.0},
        {"metrics": {Kind.TRAIN: tuple(map(str, range(65)))}},
    ],
    ids=str,
)
def test_what_cannot_be_agreed_is_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        replace(AGREED, **fields)


def test_costs_are_what_is_sent() -> None:
    meshes = mesh_of(len(ROWS) + 1, SESSION)
    assert all(isinstance(end, Served) for end in run(meshes=meshes))
    kinds = [Kind.TRAIN, Kind.EVALUATE] * 2
    for mesh in meshes:
        role = "owner" if mesh.rank else "aggregator"
        stats = {rank: channel.stats for rank, channel in mesh.channels.items()}
        sent = sum(one.bytes_sent for one in stats.values())
        times = 1 if mesh.rank else len(ROWS)
        assert sent == costs.app_sent(role, len(ROWS), AGREED, kinds) * times
        phases = sum(one.rounds for one in stats.values())
        assert phases == costs.app_receiving_phases(role, len(ROWS), 4) * times
        if mesh.rank:
            told = sum(one.bytes_sent for rank, one in stats.items() if rank)
            assert told == costs.app_compared(len(ROWS), 4)
