"""What parties agree on before another attempt, and what they keep to go on from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from exchange.errors import JobFailed, SealBroken
from exchange.identity import NodeKeys
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import example_spec
from exchange.node.attempts import FIRST, MAX_ATTEMPTS, Attempt, Attempts, is_interruption
from exchange.rpc.errors import ChannelTimeout
from exchange.store import open_node_store
from mpc.errors import (
    ChannelBroken,
    MalformedMessage,
    ModelsDisagree,
    MpcError,
    PeerAborted,
    TooFewParties,
    TranscriptMismatch,
)
from mpc.mesh import Mesh
from mpc.testing import mesh_outcomes

SPEC = JobSpec.from_json(example_spec())
STEP = SPEC.steps[0]
ROLES = ("left", "right")
KEYS = [NodeKeys.generate(role, "test.parley", "127.0.0.1") for role in ROLES]
Make = Callable[[int, Mesh | None], Attempts]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    stores = [open_node_store(f"sqlite:///{tmp_path}/{role}.sqlite") for role in ROLES]

    def of(rank: int, mesh: Mesh | None = None, spec: JobSpec = SPEC) -> Attempts:
        services: Any = SimpleNamespace(
            store=stores[rank],
            keys=KEYS[rank],
            settings=SimpleNamespace(step_timeout_s=0),
            ledger=SimpleNamespace(final=lambda table, key: {}),
        )
        channels = SimpleNamespace(open=lambda role: mesh and mesh.channels[ROLES.index(role)])
        links: Any = SimpleNamespace(
            renew=lambda peer: None,
            link=lambda peer, timeout_s: None,
            for_step=lambda step, role, ranks, attempt: channels,
        )
        return Attempts(services, spec, STEP, ROLES[rank], ROLES, links)

    yield of
    for store in stores:
        store.close()


def agree(make: Make) -> list[Any]:
    """What both parties come to, or raise."""

    def party(mesh: Mesh) -> Any:
        return make(mesh.rank, mesh).next()

    return mesh_outcomes([party, party])


def keep(make: Make, rank: int, *numbers: int) -> None:
    held = make(rank, None).checkpoints(FIRST)
    for number in numbers:
        held.keep(number, {"number": np.array([number])})


def test_the_first_attempt_begins_without_a_word(make: Make) -> None:
    assert make(0, None).first() == FIRST == Attempt(1, 0)


def test_the_next_attempt_is_after_all_and_begins_where_all_can(make: Make) -> None:
    make(0, None).first()
    keep(make, 0, 3, 4)
    keep(make, 1, 2, 3)
    assert agree(make) == [Attempt(2, 3)] * 2
    keep(make, 1, 4, 5)
    assert agree(make) == [Attempt(3, 4)] * 2
    keep(make, 1, 8, 9)
    assert agree(make) == [Attempt(4, 0)] * 2


def test_a_party_that_makes_no_further_attempt_fails_and_there_is_none(make: Make) -> None:
    for rank in range(2):
        make(rank, None).first()
        keep(make, rank, 1)
    make(0, None).checkpoints(FIRST).close()
    for _ in range(2):
        closed, other = agree(make)
        assert isinstance(closed, JobFailed)
        assert "lost a party after others were left out" in str(closed)
        assert isinstance(other, MpcError)
    assert make(1, None)._store.attempts(SPEC.job, STEP.id) == 1


def test_a_party_that_has_left_is_not_waited_for(make: Make) -> None:
    attempts = make(1, None)
    attempts.first()
    services: Any = attempts._services
    services.settings.step_timeout_s = 600
    services.ledger.final = lambda table, key: {"left": {STEP.id: {"did:key:z": {}}}}
    assert attempts.has_lost

    def broken(peer: str, timeout_s: float) -> None:
        raise ChannelBroken("gone")

    links: Any = attempts._links
    links.link = broken
    with pytest.raises(ChannelBroken, match="gone"):
        attempts.next()


def test_attempts_come_to_an_end(make: Make) -> None:
    make(0, None).first()
    for number in range(2, MAX_ATTEMPTS + 1):
        assert agree(make) == [Attempt(number, 0)] * 2
    assert all(isinstance(end, JobFailed) for end in agree(make))


def test_no_two_attempts_have_one_session(make: Make) -> None:
    one, other = make(0, None), make(1, None)
    attempts = [Attempt(number, begins_at) for number in (1, 2, 3) for begins_at in (0, 1, 2)]
    assert len({one.session(attempt) for attempt in attempts}) == len(attempts)
    assert [one.session(attempt) for attempt in attempts] == [other.session(attempt) for attempt in attempts]


def test_checkpoints_are_sealed_to_the_node_and_to_job_specification_step_and_number(make: Make) -> None:
    attempts = make(0, None)
    attempts.first()
    attempts.checkpoints(FIRST).keep(1, {"words": np.arange(4)})
    kept = make(0, None).checkpoints(Attempt(2, 1)).begun
    assert kept is not None
    np.testing.assert_array_equal(kept["words"], np.arange(4))
    ((_, sealed),) = attempts._store.states(SPEC.job, STEP.id).items()
    assert b"words" not in sealed
    attempts._store.keep_state(SPEC.job, STEP.id, 2, sealed, oldest=1)
    with pytest.raises(SealBroken):
        make(0, None).checkpoints(FIRST)


def test_checkpoints_go_when_the_step_ends(make: Make) -> None:
    keep(make, 0, 1, 2)
    make(0, None).end()
    assert make(0, None).checkpoints(FIRST).held == {}


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (ChannelBroken("gone"), True),
        (TooFewParties(3, 2), True),
        (PeerAborted("mpc.channel-broken"), True),
        (PeerAborted("mpc.too-few-parties"), True),
        (PeerAborted("mpc.models-disagree"), False),
        (PeerAborted("mpc.dropped-out"), False),
        (ChannelTimeout("silent"), False),
        (ModelsDisagree("other"), False),
        (MalformedMessage("short"), False),
        (TranscriptMismatch("other"), False),
    ],
)
def test_only_a_lost_party_is_followed_by_another_attempt(failure: Exception, expected: bool) -> None:
    assert is_interruption(failure) == expected
