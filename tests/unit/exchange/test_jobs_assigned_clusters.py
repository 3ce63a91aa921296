"""Rows assigned to clusters as a step of a job: owner-1 alone reads them, bad input refused, costs known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from connectors.errors import MissingValues
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.assigned_clusters import COMPONENT
from exchange.jobs.own_clusters import OwnClusters
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import JOB, aligned_roles
from ledger import canonical
from mpc.errors import CohortTooSmall, InputsDisagree
from mpc.testing import mesh_of, mesh_outcomes, run_mesh
from policies.column_control import Level

Table = Mapping[str, Any]
ROWS = 90
RNG = np.random.default_rng(5)
FIRST: Table = {"debt": RNG.uniform(-500, 10_500, ROWS)}
SECOND: Table = {"age": RNG.integers(18, 80, ROWS), "income": RNG.uniform(0, 4000, ROWS)}
BOUNDS = {
    "owner-1": {"debt": {"lower": "0", "upper": "10000"}},
    "owner-2": {"age": {"lower": "0", "upper": "100"}, "income": {"lower": "0", "upper": "4000"}},
}
CENTRES = np.array([[1500.0, 30, 900], [5000, 70, 2500], [8000, 40, 800]])
NUMBERS = (1, 3, 4)


def part_of(places: slice, names: tuple[str, ...], numbers: tuple[int, ...] = NUMBERS) -> OwnClusters:
    own = CENTRES[: len(numbers), places]
    return OwnClusters(
        names, numbers, (20,) * len(numbers), ("1",) * len(numbers), tuple(map(repr, own.ravel().tolist())),
        1, 5, settled=False,
    )  # fmt: skip


PARTS = {"owner-1": part_of(slice(0, 1), ("debt",)), "owner-2": part_of(slice(1, 3), ("age", "income"))}


def spec_of(
    change: Mapping[str, Any] | None = None, clustering: Mapping[str, Any] | None = None, owners: int = 2
) -> JobSpec:
    columns = {"owner-1": ["debt"], **{f"owner-{i}": ["age", "income"] for i in range(2, owners + 1)}}
    roles = [*columns, *(["helper-1"] if owners == 2 else [])]
    step: dict[str, Any] = {
        "id": "assign",
        "component": COMPONENT.name,
        "version": 1,
        "parties": {role: f"did:key:z{role}" for role in roles},
        "inputs": {
            role: {"asset": f"{role}/t", "columns": [{"name": one, "decimals": 0} for one in names]}
            for role, names in columns.items()
        },
        "after": ["match", "group"],
        "params": {"min_cohort": 20},
        "recipients": ["did:key:zowner-1"],
    }
    bounds = {
        "owner-1": BOUNDS["owner-1"],
        **{role: BOUNDS["owner-2"] for role in columns if role != "owner-1"},
    }
    params = {"clusters": 4, "bounds": bounds, "seed": 1, "min_cohort": 20, "centres": "split"}
    group = step | {
        "id": "group",
        "component": "model/kmeans-columns",
        "after": ["match"],
        "params": params,
        "recipients": [],
    }
    match = step | {"id": "match", "component": "psi/ecdh", "after": [], "recipients": []}
    steps = [match, group | dict(clustering or {}), step | dict(change or {})]
    return JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": steps}
    )


def checked(*given: Any, **more: Any) -> JobSpec:
    spec = spec_of(*given, **more)
    COMPONENT.check(spec, spec.step("assign"))
    return spec


def play(
    spec: JobSpec,
    tables: Sequence[Table] = (FIRST, SECOND),
    parts: Mapping[str, OwnClusters] = PARTS,
    rows: Mapping[str, Any] | None = None,
    *,
    minimum: int = 2,
) -> list[Any]:
    """The roles of the step, each to be called with its mesh."""
    step = spec.step("assign")

    def earlier(rank: int, role: str) -> dict[str, bytes]:
        aligned = np.asarray((rows or {}).get(role, np.arange(ROWS)[::-1]))
        return {"match": aligned.astype("<i8").tobytes(), "group": parts[role].encode()}

    before = {name: spec.step(name) for name in step.after}
    return aligned_roles(COMPONENT, step, tables, earlier, before=before, minimum_cohort=minimum)


def test_owner_1_alone_reads_the_nearest_cluster_of_each_of_its_rows() -> None:
    (first, _), *others = run_mesh(play(checked()))
    assert all((one.files, one.release, one.local) == ({}, None, b"") for one, _ in others)
    shown = canonical.decode(first.files["result.json"])
    assert shown["columns"] == ["row", "cluster"]
    scale = np.array([10_000.0, 100, 4000])
    points = np.column_stack([np.clip(FIRST["debt"], 0, 10_000), SECOND["age"], SECOND["income"]])
    distances = (((points[:, None] - CENTRES[None]) / scale) ** 2).sum(axis=2)
    expected = np.array(NUMBERS)[distances.argmin(axis=1)]
    assert len(set(expected.tolist())) == 3
    assert shown["rows"] == [[row, int(number)] for row, number in enumerate(expected)]
    assert shown["facts"] == {"rows": ROWS, "clusters": 3}
    assert first.files["clusters.csv"].startswith(b"row,cluster\r\n0,")
    assert first.release is None


def test_rows_are_named_by_their_numbers_in_owner_1s_table() -> None:
    rows = {"owner-1": np.arange(40, 10, -1), "owner-2": np.arange(40, 10, -1)}
    (first, _), *_ = run_mesh(play(checked(), rows=rows))
    shown = canonical.decode(first.files["result.json"])
    (whole, _), *_ = run_mesh(play(checked()))
    assert shown["rows"] == canonical.decode(whole.files["result.json"])["rows"][11:41]


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"rows": {"owner-2": np.arange(ROWS - 1)}}, InputsDisagree, "aligned rows"),
        ({"minimum": ROWS + 1}, CohortTooSmall, str(ROWS + 1)),
        (
            {"parts": {**PARTS, "owner-2": part_of(slice(1, 3), ("age", "income"), (1, 3))}},
            InputsDisagree,
            "clusters",
        ),
        (
            {"parts": {**PARTS, "owner-1": part_of(slice(0, 1), ("debt",), ())}},
            JobFailed,
            "expected a cluster that step group tells, got none",
        ),
        ({"tables": ({"debt": pa.array([None, *FIRST["debt"][1:]])}, SECOND)}, MissingValues, "debt"),
        (
            {"tables": ({"debt": np.where(np.arange(ROWS) == 3, np.inf, FIRST["debt"])}, SECOND)},
            MissingValues,
            "debt",
        ),
    ],
    ids=["misaligned", "few rows", "other clusters", "no cluster", "missing", "infinite"],
)
def test_what_does_not_fit_ends_the_step_for_all(
    more: dict[str, Any], error: type[Exception], words: str
) -> None:
    ended = mesh_outcomes(play(checked(), **more), mesh_of(3, timeout_s=5))
    assert any(isinstance(end, error) and words in str(end) for end in ended), ended
    assert all(isinstance(end, Exception) for end in ended)


def columns_of(*names: str) -> dict[str, Any]:
    return {"asset": "owner-2/t", "columns": [{"name": one, "decimals": 0} for one in names]}


INPUTS = {
    "owner-1": {"asset": "owner-1/t", "columns": [{"name": "debt", "decimals": 0}]},
    "owner-2": columns_of("age", "income"),
}


@pytest.mark.parametrize(
    ("change", "clustering", "at"),
    [
        ({"recipients": []}, {}, "assign.recipients"),
        ({"recipients": ["did:key:zowner-2"]}, {}, "assign.recipients"),
        ({"after": ["group"]}, {}, "assign.after"),
        ({"after": ["group", "match"]}, {}, "assign.after[0]"),
        ({"params": {"min_cohort": 0}}, {}, "assign.params.min_cohort"),
        ({"inputs": {**INPUTS, "owner-2": columns_of("age")}}, {}, "assign.inputs.owner-2.columns"),
        ({"parties": {"owner-1": "did:key:zowner-1", "owner-2": "did:key:zowner-2"}}, {}, "assign.parties"),
        (
            {
                "parties": {
                    "owner-1": "did:key:zowner-1",
                    "owner-2": "did:key:zother",
                    "helper-1": "did:key:zh",
                }
            },
            {},
            "assign.parties.owner-2",
        ),
    ],
)
def test_a_step_that_does_not_fit_is_refused_by_name(change: Any, clustering: Any, at: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked(change, clustering)
    assert caught.value.field == f"steps.{at}"


def test_centres_that_went_to_recipients_assign_no_rows() -> None:
    spec = spec_of()
    group = spec.step("group")
    whole = replace(group, params={**group.params, "centres": "recipients"})
    assert COMPONENT.check_follows is not None
    with pytest.raises(InvalidRequest, match=r"steps\.group\.params\.centres: expected split"):
        COMPONENT.check_follows(spec.step("assign"), whole)


def test_the_plan_shows_owner_1_something_of_every_row_of_others() -> None:
    uses = [use for use in COMPONENT.uses(checked().step("assign")) if use.viewer]
    assert {(use.column, use.viewer) for use in uses} == {
        (name, "did:key:zowner-1") for name in ("age", "income")
    }
    assert all(use.after == {Level.AS_JOIN_PAYLOAD} for use in uses)


@pytest.mark.parametrize("owners", [2, 4])
def test_the_estimate_is_what_is_sent_of_as_many_clusters(
    owners: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.jobs.assigned_clusters._USUAL_CLUSTERS", len(NUMBERS))
    spec = checked(owners=owners)
    step = spec.step("assign")
    parts = {"owner-1": PARTS["owner-1"], **{f"owner-{i}": PARTS["owner-2"] for i in range(2, owners + 1)}}
    assert COMPONENT.estimate is not None
    expected = COMPONENT.estimate(step, dict.fromkeys(step.inputs, ROWS))
    outcomes = run_mesh(play(spec, (FIRST, *[SECOND] * (owners - 1)), parts))
    for role, (_, sent) in zip(COMPONENT.ranks(step), outcomes, strict=True):
        assert expected[role].sent_bytes == sent
        assert expected[role].work_ns > 0
