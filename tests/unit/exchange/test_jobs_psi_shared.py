"""An intersection that nobody learns, and a query over its rows: equal to plaintext, refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import Component, Outcome, StepContext
from exchange.jobs.disclosure import OutputRules
from exchange.jobs.registry import built_in
from exchange.jobs.results import ResultTable
from exchange.jobs.secret_columns import figures
from exchange.jobs.secret_columns.hidden import Part
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import JOB, nothing_lent
from exchange.node.costs import Costs
from exchange.store import open_node_store
from ledger.state import State
from mpc.channel import Channel
from mpc.circuit_psi.protocol import SharedRows
from mpc.errors import CohortTooSmall, MalformedMessage
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_outcomes, run_mesh
from policies import column_control
from policies.errors import ColumnControlExceeded

RNG = np.random.default_rng(31)
LEFT = pa.table(
    {
        "person": [f"p{i:03d}" for i in range(90)],
        "debt": RNG.integers(-500, 9_000, 90),
        "late": RNG.random(90) < 0.4,
    }
)
RIGHT = pa.table(
    {
        "id": [f"p{i:03d}" for i in RNG.permutation(range(20, 120))],
        "income": RNG.integers(0, 5_000, 100),
        "region": RNG.choice(["north", "south", "west"], 100),
    }
)
TABLES = {"left": LEFT, "right": RIGHT}
KINDS: dict[str, dict[str, Any]] = {
    "debt": {"kind": "number", "lower": "-500", "upper": "9000"},
    "late": {"kind": "truth"},
    "income": {"kind": "number", "lower": "0", "upper": "5000"},
    "region": {"kind": "category", "labels": ["north", "south", "west"]},
}
SHARED = {f"{side}.{name}": KINDS[name] for side in TABLES for name in TABLES[side].column_names[1:]}
RECIPIENT = "did:key:zAnalyst"
PARTIES = {"left": "did:key:zL", "right": "did:key:zR", "helper": "did:key:zH"}
COMPUTING = {"owner-1": "left", "owner-2": "right", "helper-1": "helper"}


def plain(query: dict[str, Any] | None = None, **shared: Any) -> dict[str, Any]:
    """Sharing and a query over all shared columns, as plain JSON values to alter."""
    inputs = {
        side: {
            "asset": f"{side}/t",
            "columns": [{"name": name, "decimals": 0} for name in table.column_names],
        }
        for side, table in TABLES.items()
    }
    match = {
        "id": "match",
        "component": "psi/shared",
        "version": 1,
        "parties": PARTIES,
        "inputs": inputs,
        "after": [],
        "params": {"normalise": {"left": [], "right": []}, "columns": SHARED, "minimum_matches": 5} | shared,
        "recipients": [],
    }
    params: dict[str, Any] = {
        "columns": {
            f"{role.replace('-', '')}.{name}": KINDS[name]
            for role, side in (("owner-1", "left"), ("owner-2", "right"))
            for name in TABLES[side].column_names[1:]
        },
        "min_cohort": 3,
    }
    ask = {
        "id": "query",
        "component": "compute/expression",
        "version": 1,
        "parties": {role: PARTIES[side] for role, side in COMPUTING.items()},
        "inputs": {
            role: inputs[side] | {"columns": inputs[side]["columns"][1:]}
            for role, side in list(COMPUTING.items())[:2]
        },
        "after": ["match"],
        "params": params | (query or {}),
        "recipients": [RECIPIENT],
    }
    head = {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}}
    return head | {"steps": [match, ask]}


def checked(value: dict[str, Any]) -> JobSpec:
    spec = JobSpec.from_json(value)
    built_in().check(spec)
    return spec


def roles_of(
    spec: JobSpec,
    name: str,
    earlier: dict[str, Outcome] | None = None,
    rules: OutputRules = OutputRules.NONE,
) -> tuple[Component, list[Callable[[Mesh], Outcome]]]:
    """A step's component and its roles, each to be called with its mesh."""
    step = spec.step(name)
    component = built_in().get(step.component)
    ranks = component.ranks(step)

    def play(mesh: Mesh) -> Outcome:
        role = ranks[mesh.rank]
        side = COMPUTING.get(role, role)

        def read(column: str) -> Any:
            assert earlier is None, "shared columns are not read again"
            return iter(TABLES[side].select([column]).to_batches())

        def channel(other: str) -> Channel:
            return mesh.channels[ranks.index(other)]

        return component.run(
            StepContext(
                step=step,
                role=role,
                ranks=ranks,
                session=mesh.session,
                minimum_cohort=2,
                read=read,
                channel=channel,
                before={one: spec.step(one) for one in step.after},
                earlier={"match": earlier[side].local} if earlier is not None else {},
                released={},
                rng=SystemRandomness(),
                progress=lambda done, total: None,
                hand_over=nothing_lent(),
                rules=rules if side == "left" else OutputRules.NONE,
            )
        )

    return component, [play] * len(ranks)


def shared(spec: JobSpec) -> dict[str, Outcome]:
    component, roles = roles_of(spec, "match")
    return dict(zip(component.ranks(spec.step("match")), run_mesh(roles), strict=True))


def ask(query: dict[str, Any]) -> ResultTable:
    spec = checked(plain(query))
    component, roles = roles_of(spec, "query", shared(spec))
    step = spec.step("query")
    outcomes = dict(zip(component.ranks(step), run_mesh(roles), strict=True))
    assert component.open_result is not None
    return component.open_result(step, {role: one.release or b"" for role, one in outcomes.items()})


def plaintext(sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as database:
        database.register("l", LEFT)
        database.register("r", RIGHT)
        database.execute("create view t as select * from l join r on person = id")
        return database.sql(sql).fetchall()


QUERY: dict[str, Any] = {
    "where": "(debt > income or late) and debt != 7",
    "by": [{"name": "place", "of": "region"}],
    "figures": [
        {"name": "late", "figure": "sum", "of": "late"},
        {"name": "owed", "figure": "sum", "of": "debt - income"},
        {"name": "mean", "figure": "mean", "of": "debt * 2"},
        {"name": "spread", "figure": "variance", "of": "debt"},
        {"name": "least", "figure": "minimum", "of": "income"},
        {"name": "most", "figure": "maximum", "of": "debt"},
        {"name": "half", "figure": "quantile", "part": "0.5", "of": "debt"},
        {"name": "link", "figure": "correlation", "of": ["debt", "income"]},
    ],
}
PLAINTEXT = """select region, count(*), sum(late::int), sum(debt - income), avg(debt * 2), var_samp(debt),
     min(income), max(debt), quantile_disc(debt, 0.5), corr(debt, income)
   from t where (debt > income or late) and debt != 7 group by 1 having count(*) >= 3 order by 1"""


def assert_equal(table: ResultTable, expected: list[tuple[Any, ...]]) -> None:
    shown = [row for row in table.rows if row[1] is not None]
    assert len(shown) == len(expected) > 0
    for got, want in zip(shown, expected, strict=True):
        assert got[:2] == want[:2]
        for one, other in zip(got[2:], want[2:], strict=True):
            assert float(str(one)) == pytest.approx(float(other), abs=2e-6, rel=1e-6)


def test_every_figure_over_hidden_rows_equals_duckdb() -> None:
    assert_equal(ask(QUERY), plaintext(PLAINTEXT))


def test_blocks_of_hidden_rows_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "BLOCK_VALUES", 70)
    assert_equal(ask(QUERY), plaintext(PLAINTEXT))


def test_without_groups_and_conditions_only_rows_that_match_count() -> None:
    (row,) = ask(
        {
            "figures": [
                {"name": "shifted", "figure": "sum", "of": "debt + 1000"},
                {"name": "most", "figure": "minimum", "of": "debt"},
            ]
        }
    ).rows
    ((count, total, least),) = plaintext("select count(*), sum(debt + 1000)::bigint, min(debt) from t")
    assert (row[0], int(str(row[1])), int(str(row[2]))) == (count, total, least)
    assert count == 70


def test_groups_by_a_truth_value_and_small_groups_are_left_out() -> None:
    table = ask({"by": [{"name": "late", "of": "late"}], "min_cohort": 35, "where": "debt > -501"})
    counts = dict(plaintext("select late::text, count(*) from t group by 1"))
    shown = {row[0]: row[1] for row in table.rows}
    assert shown == {name: n if n >= 35 else None for name, n in counts.items()}
    assert None in shown.values()


def test_nobody_learns_which_rows_match_and_the_helper_tells_how_many() -> None:
    spec = checked(plain())
    outcomes = shared(spec)
    assert [outcomes[side].release for side in ("left", "right")] == [None, None]
    component = built_in().get("psi/shared")
    assert component.open_result is not None
    told = component.open_result(spec.step("match"), {"helper": outcomes["helper"].release or b""})
    assert told.rows == ((70,),)
    parts = {side: Part.decode(one.local) for side, one in outcomes.items()}
    assert [one.entries for one in parts.values()] == [90, 90, 90]
    assert [one.own_rows for one in parts.values()] == [90, 100, 0]
    assert [one.shares.is_member is not None for one in parts.values()] == [False, False, True]
    assert all(one.shares.order is None for one in parts.values())
    for side in TABLES:
        own = getattr(parts[side].shares, side)
        # Uniform words: far more different ones than the few thousand values that a column has.
        assert len(np.unique(own)) == own.size


def test_a_part_is_read_strictly_and_never_printed() -> None:
    part = Part(2, 2, SharedRows(left=np.ones((2, 1), np.uint64)))
    assert "array" not in repr(part)
    local = part.encode()
    assert Part.decode(local).shares.right is None
    for bad in (b"", local[:-1], local + b"\0"):
        with pytest.raises(MalformedMessage):
            Part.decode(bad)
    with pytest.raises(JobFailed, match="format 1, got 2"):
        Part.decode(b"\x02" + local[1:])


def test_the_estimate_is_what_a_query_over_hidden_rows_sends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a row for each of the left's, which are more than the right's here."""
    monkeypatch.setattr(figures, "BLOCK_VALUES", 70)
    monkeypatch.setitem(TABLES, "right", RIGHT.slice(0, 60))
    spec = checked(plain(QUERY))
    component, roles = roles_of(spec, "query", shared(spec))

    def counted(role: Callable[[Mesh], Outcome]) -> Callable[[Mesh], int]:
        def run(mesh: Mesh) -> int:
            role(mesh)
            return sum(channel.stats.bytes_sent for channel in mesh.channels.values())

        return run

    sent = run_mesh([counted(role) for role in roles])
    state = State()
    for side, table in TABLES.items():
        asset = f"{side}/t"
        state = state.put("assets", asset, {"asset": asset, "rows": len(table)}, index=1)
    store = open_node_store(f"sqlite:///{tmp_path}/node.sqlite")
    found = Costs(store.step_costs, built_in()).estimates(spec, state)
    store.close()
    estimates = {one["role"]: one["sent_bytes"] for one in found if one["step"] == "query"}
    assert [estimates[role] for role in component.ranks(spec.step("query"))] == sent


def test_too_few_matches_end_the_step() -> None:
    spec = checked(plain(minimum_matches=71))
    ends = mesh_outcomes(roles_of(spec, "match")[1])
    assert isinstance(ends[2], CohortTooSmall)
    assert all(isinstance(end, Exception) for end in ends)


def test_values_out_of_bounds_and_rules_that_nobody_can_check_end_the_step() -> None:
    narrow = SHARED | {"left.debt": KINDS["debt"] | {"upper": "10"}}
    query = {"columns": plain()["steps"][1]["params"]["columns"] | {"owner1.debt": narrow["left.debt"]}}
    ends = mesh_outcomes(roles_of(checked(plain(query, columns=narrow)), "match")[1])
    assert isinstance(ends[0], JobFailed)
    assert "declared bounds" in str(ends[0])
    spec = checked(plain())
    ends = mesh_outcomes(roles_of(spec, "match", rules=OutputRules(dominance_percent=80))[1])
    assert "dominance" in str(ends[0])
    ends = mesh_outcomes(roles_of(spec, "query", shared(spec), rules=OutputRules(p_percent=10))[1])
    assert "p-percent" in str(ends[0])


def test_bounds_that_leave_out_0_are_refused_by_name() -> None:
    above = SHARED | {"right.income": KINDS["income"] | {"lower": "1"}}
    with pytest.raises(InvalidRequest, match=r"params\.columns\.right\.income: expected bounds that include"):
        checked(plain(columns=above))
    with pytest.raises(
        InvalidRequest, match=r"params\.columns: expected a declaration of each of left\.debt"
    ):
        checked(plain(columns={"left.debt": KINDS["debt"]}))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("component",), "compute/expression-aby3", r"query\.after: expected a step of psi/ecdh, psi/many"),
        (("parties", "owner-1"), PARTIES["helper"], r"parties\.owner-1: expected did:key:zL, who is left"),
        (("parties", "helper-1"), RECIPIENT, r"parties\.helper-1: expected did:key:zH, who is helper"),
        (("inputs", "owner-1", "asset"), "left/u", r"inputs\.owner-1\.asset: expected left/t, as in step"),
        (
            ("inputs", "owner-1", "columns", 0, "decimals"),
            1,
            r"owner-1\.columns: expected 0 decimals of debt",
        ),
        (
            ("params", "columns", "owner1.debt", "upper"),
            "9001",
            r"owner1\.debt: expected what step match declares of left\.debt",
        ),
    ],
)
def test_a_query_of_other_parties_or_columns_is_refused_by_name(
    path: tuple[Any, ...], value: object, words: str
) -> None:
    spec = plain()
    step = spec["steps"][1]
    step["params"]["columns"] = {name: dict(one) for name, one in step["params"]["columns"].items()}
    step["inputs"]["owner-1"]["columns"] = [dict(one) for one in step["inputs"]["owner-1"]["columns"]]
    if path[:2] == ("parties", "owner-1"):
        step["parties"]["helper-1"] = PARTIES["left"]
    place = step
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(InvalidRequest, match=words):
        checked(spec)


def test_a_query_over_a_column_that_was_not_shared_is_refused_by_name() -> None:
    spec = plain()
    step = spec["steps"][1]
    step["inputs"]["owner-2"]["columns"] = [{"name": "age", "decimals": 0}]
    columns = {name: one for name, one in step["params"]["columns"].items() if "owner1" in name}
    step["params"]["columns"] = columns | {"owner2.age": KINDS["income"]}
    with pytest.raises(InvalidRequest, match=r"columns that step match shares: income, region, got age"):
        checked(spec)


def test_a_query_may_use_some_of_the_shared_columns() -> None:
    spec = plain()
    step = spec["steps"][1]
    step["inputs"]["owner-1"]["columns"] = step["inputs"]["owner-1"]["columns"][1:]
    del step["params"]["columns"]["owner1.debt"]
    assert checked(spec).step("query").inputs["owner-1"].columns[0].name == "late"


@pytest.mark.parametrize(
    ("levels", "admitted"),
    [
        ({"person": "AFTER_AGGREGATE", "debt": "ENCRYPTED_ONLY", "late": "ENCRYPTED_ONLY"}, True),
        ({"person": "ENCRYPTED_ONLY", "debt": "ENCRYPTED_ONLY", "late": "ENCRYPTED_ONLY"}, False),
    ],
)
def test_sharing_shows_nothing_but_how_many_rows_match(levels: dict[str, str], admitted: bool) -> None:
    step = checked(plain()).step("match")
    uses = [use for use in built_in().get("psi/shared").uses(step) if use.asset == "left/t"]
    assert {use.column for use in uses} == set(levels)
    assert {use.viewer for use in uses} <= {"", PARTIES["helper"]}
    try:
        column_control.check(uses, {name: {"*": level} for name, level in levels.items()})
    except ColumnControlExceeded:
        assert not admitted
    else:
        assert admitted


def test_the_estimate_is_of_every_role_and_grows_with_the_rows() -> None:
    component, step = built_in().get("psi/shared"), checked(plain()).step("match")
    assert component.estimate is not None
    few, many = (component.estimate(step, dict.fromkeys(TABLES, rows)) for rows in (10, 100))
    assert set(few) == set(step.parties)
    assert all(few[role].sent_bytes < many[role].sent_bytes for role in few)
    assert all(few[role].work_ns < many[role].work_ns for role in few)
