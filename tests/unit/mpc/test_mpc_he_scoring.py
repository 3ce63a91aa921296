"""Scoring under encryption: as in the clear, guarded in range and precision, no output after a change."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from mpc.channel import Channel
from mpc.errors import InputsDisagree, InvalidInput, MalformedMessage, MpcError, ValueOutOfRange
from mpc.he import ckks, scoring
from mpc.he.ckks import Link, Model, ScoreKey
from mpc.testing import channel_pair, outcomes, run_pair

pytest.importorskip("tenseal", reason="TenSEAL is an extra")

GENERATOR = np.random.Generator(np.random.PCG64(7))
FEATURES = GENERATOR.uniform(-2, 2, (5, 3))
MODEL = Model(np.array([0.5, 0.0, -1.25]), 0.125)
PLAIN = FEATURES @ MODEL.weights + MODEL.intercept
Two = tuple[Callable[[Channel], object], Callable[[Channel], object]]


def both(link: Link = Link.LINEAR, bound: float = 2.0, decimals: int = 4, model: Model = MODEL) -> Two:
    return (
        partial(scoring.client, features=FEATURES, link=link, bound=bound, decimals=decimals),
        partial(scoring.model_owner, model=model, link=link, bound=bound),
    )


@pytest.mark.parametrize("link", list(Link))
def test_scores_are_those_of_the_clear_and_costs_as_stated(link: Link) -> None:
    channels = channel_pair()
    scores, nothing = run_pair(*both(link), channels)
    expected = PLAIN if link is Link.LINEAR else ckks.logistic(PLAIN)
    assert nothing is None
    assert np.abs(np.asarray(scores) - expected * 1e4).max() < 0.55
    for rank, channel in enumerate(channels):
        assert channel.stats.rounds == scoring.rounds(len(FEATURES), link)
        largest = scoring.largest_sent(rank, len(FEATURES), 3, link)
        assert 0.3 * largest < channel.stats.bytes_sent <= largest


def test_blocks_are_put_together_in_order() -> None:
    rows = 2 * ckks.block_rows(Link.LINEAR) + 3
    features = np.linspace(-1, 1, rows)[:, None]
    scores, _ = run_pair(
        partial(scoring.client, features=features, link=Link.LINEAR, bound=1.0, decimals=3),
        partial(scoring.model_owner, model=Model(np.array([3.0]), 0.0), link=Link.LINEAR, bound=1.0),
    )
    assert np.abs(np.asarray(scores) - features[:, 0] * 3e3).max() < 0.55


def test_the_polynomial_is_within_its_stated_error_of_the_logistic_function() -> None:
    scores = np.linspace(-ckks.LOGISTIC_RANGE, ckks.LOGISTIC_RANGE, 100_001)
    assert np.abs(ckks.logistic(scores) - 1 / (1 + np.exp(-scores))).max() <= ckks.LOGISTIC_ERROR


@pytest.mark.parametrize("value", [2.1, -2.1, np.nan, np.inf])
def test_a_feature_beyond_the_bound_is_refused_before_it_is_encrypted(value: float) -> None:
    features = FEATURES.copy()
    features[3, 1] = value
    client = partial(scoring.client, features=features, link=Link.LINEAR, bound=2.0, decimals=2)
    one, two = outcomes(client, both()[1])
    assert isinstance(one, ValueOutOfRange)
    assert "1 features" in str(one)
    assert isinstance(two, MpcError)


@pytest.mark.parametrize(
    ("model", "link"),
    [
        (Model(np.array([4.0, 0.0, 0.5]), 0.0), Link.LOGISTIC),
        (Model(np.array([1e5, 0.0, 0.5]), 0.0), Link.LINEAR),
        (Model(np.array([np.nan, 0.0, 0.5]), 0.0), Link.LINEAR),
        (Model(np.array([0.0, 0.0, 0.5]), np.inf), Link.LINEAR),
    ],
    ids=["logistic-range", "linear-range", "nan", "infinite"],
)
def test_a_model_that_could_leave_the_range_is_refused(model: Model, link: Link) -> None:
    one, two = outcomes(*both(link, model=model))
    assert isinstance(two, ValueOutOfRange)
    assert isinstance(one, MpcError)


def test_another_number_of_features_or_another_bound_is_refused() -> None:
    fewer = outcomes(*both(model=Model(np.array([1.0, 1.0]), 0.0)))
    other = outcomes(both()[0], both(bound=1.5)[1])
    for ended in (fewer, other):
        assert any(isinstance(end, InputsDisagree) for end in ended)
        assert all(isinstance(end, MpcError) for end in ended)


@pytest.mark.parametrize("bound", [np.nan, np.inf, -1.0, 1e13])
def test_a_bound_that_is_none_is_refused_before_a_message(bound: float) -> None:
    for role, channel in zip(both(bound=bound), channel_pair(), strict=True):
        with pytest.raises(InvalidInput):
            role(channel)
        assert channel.stats.messages_sent == 0


def test_more_decimals_than_the_precision_carries_are_refused() -> None:
    one, two = outcomes(*both(decimals=5))
    assert isinstance(one, InvalidInput)
    assert isinstance(two, MpcError)


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "flip": lambda raw: (
        raw[:-40] + bytes([raw[-40] ^ 255]) + raw[-39:] if len(raw) > 40 else raw[:-1] + b"\x7f"
    ),
    "scale": lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),  # of the last ciphertext, where there is one
    "cut": lambda raw: raw[:-1],
    "grown": lambda raw: raw + b"\0",
    "zeros": lambda raw: raw[:8] + bytes(len(raw) - 8) if len(raw) > 8 else b"\1" * 8,
}


@pytest.mark.parametrize("change", sorted(CHANGES))
@pytest.mark.parametrize("message", ["shape", "context", "block", "scores", "confirm"])
@pytest.mark.parametrize("sender", ["0->1", "1->0"])
def test_a_changed_message_ends_the_run_at_both(sender: str, message: str, change: str) -> None:
    hit: list[str] = []

    def tap(direction: str, label: str, payload: bytes) -> bytes | None:
        if direction == sender and label.endswith("/" + message) and not hit:
            hit.append(label)
            return CHANGES[change](payload)
        return None

    ended = outcomes(*both(), channel_pair(tap=tap, timeout_s=10))
    assert hit
    receiver = ended[1] if sender == "0->1" else ended[0]
    assert isinstance(receiver, MpcError)
    if message != "confirm":  # of which the last to arrive cannot be made known to its sender
        assert all(isinstance(end, MpcError) for end in ended)


def test_a_context_of_other_parameters_or_with_a_secret_key_is_refused() -> None:
    key = ScoreKey(Link.LINEAR)
    columns = key.encrypt(FEATURES, 2.0)
    secret = key._context.serialize(save_secret_key=True)
    for public, link in ((secret, Link.LINEAR), (key.public(), Link.LOGISTIC)):
        with pytest.raises(MalformedMessage, match="context"):
            ckks.evaluate(public, columns, len(FEATURES), MODEL, link)


def test_scores_under_another_key_are_garbage_and_refused() -> None:
    key, other = ScoreKey(Link.LINEAR), ScoreKey(Link.LINEAR)
    result = ckks.evaluate(key.public(), key.encrypt(FEATURES, 2.0), len(FEATURES), MODEL, Link.LINEAR)
    with pytest.raises(MalformedMessage):
        other.scores(result, len(FEATURES), 2)


def test_what_the_owner_sees_has_one_size_whatever_the_features_are() -> None:
    sizes = []
    for features in (np.zeros((5, 3)), FEATURES):
        seen: list[int] = []

        def tap(direction: str, label: str, payload: bytes, seen: list[int] = seen) -> bytes | None:
            if direction == "0->1":
                seen.append(len(payload))
            return None

        client = partial(scoring.client, features=features, link=Link.LINEAR, bound=2.0, decimals=2)
        run_pair(client, both()[1], channel_pair(tap=tap))
        sizes.append(sum(seen))
    # SEAL compresses ciphertexts, which are uniform but for bits that no residue uses: by a fixed share.
    assert abs(sizes[0] - sizes[1]) < 0.002 * sizes[0]
