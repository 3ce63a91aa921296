"""Jobs of three owners and a helper: a common intersection, people at k of n, sums over hidden matches."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from exchange.errors import JobFailed
from exchange.testing import ConsortiumInProcess
from ledger.entries import new_id
from ledger.times import system_clock

PURPOSE = "dpv:CustomerSolvencyMonitoring"
OPERATIONS = ["psi/many", "psi/over-threshold", "psi/sum"]
TABLES = ("people", "accounts")
Roles = dict[str, tuple[str, tuple[str, ...]]]
OWNERS = ("north", "south", "west")
PEOPLE = {"north": range(60), "south": range(20, 90), "west": range(40, 120)}
START = datetime(2026, 1, 1)  # noqa: DTZ001 - as a table without zones has it
CONTROLS = {"person": "AFTER_JOIN", "opened": "AFTER_COMPARE", "balance": "AFTER_AGGREGATE"}
ROLES = {"person": "identifier", "opened": "time", "balance": "measure"}
"""Of a table of people; in one of accounts people come several times."""


def opened(owner: str, person: int) -> datetime:
    """Every seventh person came after January, and a person of the south and the west comes a day later."""
    return START + timedelta(days=OWNERS.index(owner) + (40 if person % 7 == 0 else 0))


def balance(owner: str, person: int) -> int:
    return 1000 * OWNERS.index(owner) + 7 * person - 300


@dataclass(frozen=True)
class Asked:
    """A running consortium and the agreements of who asks, by owner and table."""

    running: ConsortiumInProcess
    agreements: dict[tuple[str, str], str]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """Three owners with people and accounts, of which a person may have several; and who asks."""
    folder, root = tmp_path_factory.mktemp("accounts"), tmp_path_factory.mktemp("many")
    with ConsortiumInProcess(root, (*OWNERS, "analyst"), sources=[folder]) as running:
        for owner in OWNERS:
            people = list(PEOPLE[owner])
            write(folder / f"{owner}-people.parquet", owner, people)
            write(folder / f"{owner}-accounts.parquet", owner, people + people[::3])
            for name in TABLES:
                publish(running, owner, name, folder / f"{owner}-{name}.parquet")
        yield Asked(
            running, {(owner, name): agree(running, owner, name) for owner in OWNERS for name in TABLES}
        )


def write(path: Path, owner: str, people: list[int]) -> None:
    table = {
        "person": [f" p{person:04d}" for person in people],
        "opened": [opened(owner, person) for person in people],
        "balance": [balance(owner, person) for person in people],
    }
    pyarrow.parquet.write_table(pa.table(table), path)


def publish(running: ConsortiumInProcess, owner: str, name: str, path: Path) -> None:
    roles = ROLES if name == "people" else ROLES | {"person": "feature"}
    terms = {
        "purposes": [PURPOSE],
        "operations": OPERATIONS,
        "columns": list(CONTROLS),
        "uses": 20,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": 5,
        "output_types": ["aggregate", "cardinality"],
    }
    running.client(owner).publish(
        {
            "name": name,
            "title": name.title(),
            "source": {"kind": "file", "location": str(path)},
            "columns": [
                {"name": column, "role": roles[column], "sensitivity": "internal", "control": control}
                for column, control in CONTROLS.items()
            ],
            "terms": terms,
        }
    )


def agree(running: ConsortiumInProcess, owner: str, name: str) -> str:
    """An agreement about everything in a table; its id."""
    asked = running.client("analyst").request_agreement(
        {
            "asset": f"{owner}/{name}",
            "purpose": PURPOSE,
            "operations": OPERATIONS,
            "columns": list(CONTROLS),
            "uses": 20,
            "expires": "2099-01-01T00:00:00Z",
            "min_cohort": 5,
        }
    )
    agreement: str = running.client(owner).approve(asked["negotiation"], "test")["agreement"]
    return agreement


def ask(asked: Asked, component: str, roles: Roles, *, names: tuple[str, ...], **params: Any) -> Any:
    """Run one step over the owners' tables and read its result."""
    running, analyst = asked.running, asked.running.client("analyst")
    agreements = {f"{owner}/{name}": asked.agreements[owner, name] for owner, (name, _) in roles.items()}
    inputs = {
        role: {
            "asset": f"{owner}/{asset}",
            "columns": [{"name": column, "decimals": 0} for column in columns],
        }
        for role, (owner, (asset, columns)) in zip(names, roles.items(), strict=False)
    }
    parties = dict(zip(names, map(running.did, (*roles, "analyst")), strict=False))
    step = {
        "id": "step",
        "component": component,
        "version": 1,
        "parties": parties,
        "inputs": inputs,
        "after": [],
        "params": {"normalise": {one: ["trim", "upper"] for one in inputs}} | params,
        "recipients": [running.did("analyst")],
    }
    reader = {
        "id": "read",
        "component": "report/result",
        "version": 1,
        "parties": {"reader": running.did("analyst")},
        "inputs": {},
        "after": ["step"],
        "params": {},
        "recipients": [],
    }
    spec = {
        "v": 1,
        "job": new_id("job", system_clock),
        "title": component,
        "purpose": PURPOSE,
        "agreements": agreements,
        "steps": [step, reader],
    }
    job = analyst.submit(spec)["job"]
    analyst.wait_job(job, timeout_s=60)
    return analyst.result(job)[0]


ALL = dict.fromkeys(OWNERS, ("people", ("person",)))
MANY = ("leader", "party-1", "party-2")
THRESHOLD = ("party-1", "party-2", "party-3", "aggregator")


@pytest.mark.parametrize("receivers", ["all", "leader"])
def test_people_whom_all_owners_know(asked: Asked, receivers: str) -> None:
    got = ask(asked, "psi/many", ALL, names=MANY, minimum_matches=5, receivers=receivers)
    assert got["columns"] == ["matched"]
    assert got["rows"] == [[len(set.intersection(*map(set, PEOPLE.values())))]]


def over(threshold: int, until: datetime) -> Counter[int]:
    known = Counter(
        person for owner in OWNERS for person in PEOPLE[owner] if START <= opened(owner, person) < until
    )
    return Counter(holders for holders in known.values() if holders >= threshold)


def test_people_at_two_or_more_owners_in_a_month(asked: Asked) -> None:
    roles = dict.fromkeys(OWNERS, ("accounts", ("person", "opened")))
    window = {"from": "2026-01-01T00:00:00Z", "until": "2026-01-31T00:00:00Z"}
    got = ask(
        asked,
        "psi/over-threshold",
        roles,
        names=THRESHOLD,
        threshold=2,
        capacity=120,
        minimum_matches=5,
        result="by-holders",
        window=window,
    )
    expected = over(2, START + timedelta(days=30))
    assert got["rows"] == [[holders, holders, expected[holders]] for holders in (2, 3)]
    assert got["facts"] == {"matched": expected.total(), "owners": 3, "threshold": 2}


def test_people_at_three_owners_without_a_window_are_counted(asked: Asked) -> None:
    params = {"threshold": 3, "capacity": 100, "minimum_matches": 5, "result": "count"}
    got = ask(asked, "psi/over-threshold", ALL, names=THRESHOLD, **params)
    assert got["rows"] == [[over(3, START + timedelta(days=365))[3]]]


def test_figures_over_people_whom_neither_owner_can_name(asked: Asked) -> None:
    roles = dict.fromkeys(("north", "south"), ("people", ("person", "balance")))
    names = ("left", "right", "helper")
    got = ask(asked, "psi/sum", roles, names=names, min_cohort=10, figures="variance")
    matched = sorted(set(PEOPLE["north"]) & set(PEOPLE["south"]))
    assert got["facts"] == {"matched": len(matched)}
    for side, owner, row in zip(names, roles, got["rows"], strict=False):
        values = [balance(owner, person) for person in matched]
        assert row[:3] == [side, "balance", str(sum(values))]
        assert float(row[3]) == pytest.approx(statistics.mean(values))
        assert float(row[4]) == pytest.approx(statistics.variance(values))


@pytest.mark.parametrize(
    "params",
    [
        {"threshold": 3, "capacity": 100, "minimum_matches": 21, "result": "count"},
        {"threshold": 2, "capacity": 79, "minimum_matches": 5, "result": "count"},
    ],
    ids=["few-over-the-threshold", "more-than-the-capacity"],
)
def test_a_job_below_its_minimum_or_above_its_capacity_releases_nothing(
    asked: Asked, params: dict[str, Any]
) -> None:
    before = released(asked)
    with pytest.raises(JobFailed):
        ask(asked, "psi/over-threshold", ALL, names=THRESHOLD, **params)
    assert released(asked) == before


def released(asked: Asked) -> int:
    return len(list(asked.running.client("analyst").entries(type_="job.release")))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threshold": 4}, "threshold"),
        ({"window": {"from": "2026-01-02", "until": "2026-01-03"}}, "window"),
        ({"window": {"from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}}, "window"),
        ({"window": {"from": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}}, "columns"),
        ({"normalise": {"party-1": ["trim"]}}, "normalise"),
        ({"normalise": {"party-1": ["trim"], "party-2": ["shout"], "party-3": []}}, "normalise"),
        ({"capacity": 0}, "capacity"),
        ({"result": "everything"}, "result"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_name(
    asked: Asked, change: dict[str, Any], words: str
) -> None:
    params = {"threshold": 3, "capacity": 100, "minimum_matches": 5, "result": "count"} | change
    with pytest.raises(Exception, match=words):
        ask(asked, "psi/over-threshold", ALL, names=THRESHOLD, **params)
