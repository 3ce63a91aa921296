"""Roles that stand for several parties, helpers without data, engines, and the reader of results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from exchange.errors import InvalidRequest
from exchange.jobs.component import Component, Outcome, RoleInput, StepContext
from exchange.jobs.engines import OWN, Engine
from exchange.jobs.results import ResultTable
from exchange.jobs.results_reader import reader_of
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import JOB, nothing_lent
from ledger import canonical
from mpc.randomness import SystemRandomness
from mpc.spec import Adversary, ProtocolSpec
from mpc.testing import channel_pair
from policies.column_control import Level

PROTOCOL = ProtocolSpec(
    name="test/many",
    version=1,
    roles=("owner", "helper"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of three",
    leaks={"owner": (), "helper": ()},
    cost="",
    source="",
    summary="",
)


def _never(context: StepContext) -> Outcome:
    raise AssertionError(context)


MANY = Component(
    name="test/many",
    version=1,
    summary="",
    roles={"owner": RoleInput(1, 1, frozenset({"measure"}), Level.AFTER_AGGREGATE), "helper": None},
    params={},
    output_type="figures",
    needs=frozenset(),
    protocol=PROTOCOL,
    run=_never,
    repeated={"owner": (2, 3), "helper": (0, 1)},
    helpers=frozenset({"helper"}),
    releasing=frozenset({"owner"}),
    open_result=lambda step, released: ResultTable(
        ("role", "said"), tuple((r, v.decode()) for r, v in released.items())
    ),
)


def spec_of(*roles: str, alter: Callable[[Any], object] = lambda step: None) -> JobSpec:
    step: dict[str, Any] = {
        "id": "many",
        "component": "test/many",
        "version": 1,
        "parties": {role: f"did:key:z{role}" for role in roles},
        "inputs": {
            role: {"asset": f"{role}/data", "columns": [{"name": "x", "decimals": 0}]}
            for role in roles
            if role.startswith("owner")
        },
        "after": [],
        "params": {},
        "recipients": [],
    }
    alter(step)
    return JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": [step]}
    )


@pytest.mark.parametrize("owners", [2, 3])
@pytest.mark.parametrize("helper", [True, False])
def test_a_repeated_role_stands_for_as_many_parties_as_are_named(owners: int, helper: bool) -> None:
    roles = [f"owner-{number}" for number in range(owners, 0, -1)] + ["helper-1"] * helper
    spec = spec_of(*roles)
    MANY.check(spec, spec.steps[0])
    assert MANY.ranks(spec.steps[0]) == tuple(sorted(roles, key=lambda role: (role[0] == "h", role)))
    assert {MANY.declared(role) for role in roles} == {"owner", "helper"} - (
        {"helper"} if not helper else set()
    )
    assert MANY.releasing_in(spec.steps[0]) == tuple(sorted(r for r in roles if r.startswith("owner")))


@pytest.mark.parametrize(
    "roles",
    [
        ("owner-1",),
        ("owner-1", "owner-2", "owner-3", "owner-4"),
        ("owner-1", "owner-3"),
        ("owner-0", "owner-1"),
        ("owner-1", "owner-02"),
        ("owner-1", "owner-2", "other"),
        ("owner-1", "owner-2", "helper"),
        ("owner", "owner-1", "owner-2"),
        ("owner-1", "owner-2", "helper-1", "helper-2"),
    ],
)
def test_other_roles_are_refused_by_name(roles: tuple[str, ...]) -> None:
    spec = spec_of(*roles)
    with pytest.raises(InvalidRequest, match=r"steps\.many\.parties"):
        MANY.check(spec, spec.steps[0])


def test_each_party_of_a_repeated_role_reads_something() -> None:
    spec = spec_of("owner-1", "owner-2", alter=lambda step: step["inputs"].pop("owner-2"))
    with pytest.raises(InvalidRequest, match=r"inputs\.owner-2"):
        MANY.check(spec, spec.steps[0])


def test_a_helper_reads_nothing() -> None:
    def alter(step: Any) -> None:
        step["inputs"]["helper-1"] = step["inputs"]["owner-1"]

    spec = spec_of("owner-1", "owner-2", "helper-1", alter=alter)
    with pytest.raises(InvalidRequest, match=r"inputs\.helper-1"):
        MANY.check(spec, spec.steps[0])


def context_of(role: str, ranks: tuple[str, ...], **more: Any) -> StepContext:
    given: dict[str, Any] = {
        "step": spec_of("owner-1", "owner-2", "helper-1").steps[0],
        "role": role,
        "ranks": ranks,
        "session": b"one for all",
        "minimum_cohort": 0,
        "read": lambda name: iter(()),
        "channel": lambda other: channel_pair()[0],
        "before": {},
        "earlier": {},
        "released": {},
        "rng": SystemRandomness(),
        "progress": lambda done, total: None,
        "hand_over": nothing_lent(),
    }
    return StepContext(**{**given, **more})


def test_a_party_finds_its_place_among_the_others() -> None:
    mesh = context_of("owner-2", ("owner-1", "owner-2", "helper-1")).mesh()
    assert (mesh.rank, mesh.size, mesh.session) == (1, 3, b"one for all")
    assert sorted(mesh.channels) == [0, 2]


def test_the_reader_opens_what_the_step_before_it_states() -> None:
    reader = reader_of([MANY])
    assert reader.needs == {"test/many"}
    step = spec_of("owner-1", "owner-2").steps[0]
    reading = JobSpec.from_json(
        {
            "v": 1,
            "job": JOB,
            "title": "t",
            "purpose": "p",
            "agreements": {},
            "steps": [
                {**_plain(step), "recipients": ["did:key:zme"]},
                {
                    "id": "read",
                    "component": "report/result",
                    "version": 1,
                    "parties": {"reader": "did:key:zme"},
                    "inputs": {},
                    "after": ["many"],
                    "params": {},
                    "recipients": [],
                },
            ],
        }
    )
    reader.check(reading, reading.steps[1])
    released = {"many": {"owner-1": b"one", "owner-2": b"=two"}}
    context = context_of(
        "reader", ("reader",), step=reading.steps[1], before={"many": step}, released=released
    )
    files = reader.run(context).files
    assert canonical.decode(files["result.json"]) == {
        "columns": ["role", "said"],
        "facts": {},
        "rows": [["owner-1", "one"], ["owner-2", "=two"]],
    }
    assert files["table.csv"] == b"role,said\r\nowner-1,one\r\nowner-2,=two\r\n"


def test_rows_of_another_width_are_no_result() -> None:
    with pytest.raises(ValueError, match="1 rows have another number of cells than 2"):
        ResultTable(("a", "b"), ((1,),))


def test_an_engine_is_named_with_its_version_or_absent() -> None:
    assert OWN.stated().startswith("parley 0.")
    assert Engine("none", "no-such-distribution", "pip install no-such").version() is None


def _plain(step: Any) -> dict[str, Any]:
    import dataclasses
    import json

    return dict(json.loads(json.dumps(dataclasses.asdict(step))))
