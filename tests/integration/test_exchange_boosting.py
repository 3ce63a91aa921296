"""Boosted trees over columns of two owners, encrypted or on shares, as a job through hub and nodes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from exchange.errors import JobRefused
from exchange.testing import ConsortiumInProcess
from federated import boosting
from federated.boosting import Objective, Settings, fixed_point
from ledger.entries import new_id
from ledger.times import system_clock
from mpc.mesh import Mesh, mesh_run
from mpc.randomness import SystemRandomness
from mpc.testing import run_mesh

pytest.importorskip("tenseal", reason="TenSEAL is an extra")

PURPOSE = "dpv:CustomerSolvencyMonitoring"
EXPIRES = "2099-01-01T00:00:00Z"
RNG = np.random.Generator(np.random.PCG64(9))
PEOPLE = 260
DEBT, INCOME, AGE = (
    RNG.normal(4_000, 1_500, PEOPLE),
    RNG.normal(2_500, 700, PEOPLE),
    RNG.integers(18, 80, PEOPLE),
)
FITTED = (DEBT - 4_000) / 1_500 - (INCOME - 2_500) / 700 + (AGE > 50)
LATE = (RNG.random(PEOPLE) < 1 / (1 + np.exp(-FITTED))).astype(np.int64)
KIND = np.digitize(FITTED, [-0.7, 0.7])
IDS = [f"p{i:03d}" for i in range(PEOPLE)]
TABLES = {
    "lender": pa.table({"person": IDS[:220], "late": LATE[:220], "kind": KIND[:220], "debt": DEBT[:220]}),
    "bureau": pa.table(
        {"id": IDS[40:], "income": INCOME[40:], "age": AGE[40:], "pay": INCOME[40:], "years": AGE[40:]}
    ),
}
CONTROLS = {
    "lender": {
        "person": ("identifier", "AFTER_JOIN"),
        "late": ("label", "AFTER_AGGREGATE"),
        "kind": ("label", "AFTER_AGGREGATE"),
        "debt": ("feature", "AFTER_AGGREGATE"),
    },
    "bureau": {
        "id": ("identifier", "AFTER_JOIN"),
        "income": ("feature", "AFTER_COMPARE"),
        "age": ("feature", "AFTER_COMPARE"),
        "pay": ("feature", "AFTER_AGGREGATE"),
        "years": ("feature", "AFTER_AGGREGATE"),
    },
}
NAMES = {"lender": "loans", "bureau": "people"}
BOTH = slice(40, 220)
GROWN = {"trees": 3, "depth": 2, "bins": 8}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    folder = tmp_path_factory.mktemp("columns")
    for owner, table in TABLES.items():
        pyarrow.csv.write_csv(table, folder / f"{owner}.csv")
    with ConsortiumInProcess(tmp_path_factory.mktemp("consortium"), sources=[folder]) as consortium:
        for owner, controls in CONTROLS.items():
            consortium.client(owner).publish(
                {
                    "name": NAMES[owner],
                    "title": NAMES[owner],
                    "source": {"kind": "file", "location": str(folder / f"{owner}.csv")},
                    "columns": [
                        {"name": name, "role": role, "sensitivity": "internal", "control": control}
                        for name, (role, control) in controls.items()
                    ],
                    "terms": _terms(list(controls)) | {"purposes": [PURPOSE], "uses": 50},
                }
            )
        yield consortium


def _terms(columns: list[str]) -> dict[str, Any]:
    return {
        "operations": ["psi/ecdh", "model/boosting", "model/boosting-shared", "model/score-trees"],
        "columns": columns,
        "uses": 20,
        "expires": EXPIRES,
        "min_cohort": 50,
        "output_types": ["aggregate", "cardinality", "scores"],
    }


def agreed(running: ConsortiumInProcess, submitter: str) -> dict[str, str]:
    found = {}
    for owner, controls in CONTROLS.items():
        if owner == submitter:
            continue
        asset = f"{owner}/{NAMES[owner]}"
        asked = {"asset": asset, "purpose": PURPOSE, **_terms(list(controls))}
        negotiation = running.client(submitter).request_agreement(asked)["negotiation"]
        found[asset] = str(running.client(owner).approve(negotiation, "a test")["agreement"])
    return found


def _step(id_: str, component: str, parties: dict[str, str], **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"inputs": {}, "after": [], "params": {}, "recipients": []}
    return {"id": id_, "component": component, "version": 1, "parties": parties, **empty, **more}


def _input(asset: str, *columns: str) -> dict[str, Any]:
    return {"asset": asset, "columns": [{"name": name, "decimals": 0} for name in columns]}


def train(
    at: ConsortiumInProcess,
    submitter: str,
    params: dict[str, Any],
    reader: str,
    component: str = "model/boosting",
) -> dict[str, Any]:
    lender, bureau, own = map(at.did, ("lender", "bureau", submitter))
    is_shared = component == "model/boosting-shared"
    helper = {"helper-1": at.did("regulator")} if is_shared else {}
    columns = ("pay", "years") if is_shared else ("income", "age")
    match = _step(
        "match",
        "psi/ecdh",
        {"left": lender, "right": bureau},
        inputs={"left": _input("lender/loans", "person"), "right": _input("bureau/people", "id")},
        params={"normalise": {"left": [], "right": []}, "minimum_matches": 50},
    )
    fit = _step(
        "train",
        component,
        {"owner-1": lender, "owner-2": bureau} | helper,
        inputs={
            "owner-1": _input("lender/loans", str(params.get("label", "late")), "debt"),
            "owner-2": _input("bureau/people", *columns),
        },
        after=["match"],
        params={"label": "late", "min_cohort": 50, **GROWN, **params},
        recipients=[own],
    )
    read = _step("read", reader, {"reader": own}, after=["train"])
    if reader == "model/score-trees":
        read = fit | {
            "id": "read",
            "component": reader,
            "after": ["match", "train"],
            "params": {"min_cohort": 50},
        }
    spec = {
        "v": 1,
        "job": new_id("job", system_clock),
        "title": "Who is late",
        "purpose": PURPOSE,
        "agreements": agreed(at, submitter),
        "steps": [match, fit, read],
    }
    job = at.client(submitter).submit(spec)["job"]
    at.client(submitter).wait_job(job, timeout_s=90)
    return {"job": job, **at.client(submitter).result(job)[0]}


def pooled() -> boosting.Ensemble:
    """The same trees from the matched rows, in memory."""
    settings = Settings(**GROWN)

    def play(mesh: Mesh) -> Any:
        columns = [DEBT] if mesh.rank == 0 else [INCOME, AGE.astype(float)]
        binned = boosting.bin_columns([one[BOTH] for one in columns], ["a", "b"][: len(columns)], 8)
        with mesh_run(mesh, boosting.SPEC) as peers:
            if mesh.rank:
                return boosting.feature_owner(peers, settings, binned, SystemRandomness())
            label = LATE[BOTH].astype(float)
            return boosting.label_holder(peers, settings, binned, label, SystemRandomness())

    return run_mesh([play, play])[0]  # type: ignore[no-any-return]


def test_the_one_who_asked_reads_how_the_loss_fell_on_the_matched_rows(running: ConsortiumInProcess) -> None:
    answer = train(running, "analyst", {"loss": "recipients"}, "report/result")
    expected = pooled()
    assert answer["facts"]["rows"] == 180
    assert [float(row[1]) for row in answer["rows"]] == pytest.approx(expected.losses, abs=1e-9)
    assert 0.7 < float(answer["facts"]["auc"]) < 1
    assert "debt" not in json.dumps(answer)
    shown = running.client("regulator").entries(job=answer["job"], type_="receipt.step")
    receipts = {(entry["name"], entry["body"]["step"]) for entry in shown}
    assert {("lender", "train"), ("bureau", "train")} <= receipts


def test_the_result_says_how_many_trees_the_rows_held_out_left(running: ConsortiumInProcess) -> None:
    # Which rows are held out is drawn anew in every job; two hundred deep trees overfit whichever they are.
    grown: dict[str, Any] = {
        "trees": 200,
        "depth": 4,
        "rate_micro": 1_000_000,
        "test_percent": 30,
        "patience": 1,
    }
    grown |= {"top_rate_micro": 400_000, "other_rate_micro": 300_000, "monotone": {"owner-1": {"debt": 1}}}
    answer = train(running, "analyst", {"loss": "recipients", **grown}, "report/result")
    facts, held_out = answer["facts"], [float(row[2]) for row in answer["rows"]]
    assert (facts["rows"], facts["held_out"]) == (126, 54)
    assert facts["trees"] == len(held_out) - 1 < 199
    assert min(held_out) == held_out[facts["trees"] - 1]
    assert float(answer["rows"][-1][1]) < np.log(2)


def test_trees_of_classes_are_told_apart(running: ConsortiumInProcess) -> None:
    classes = {
        "label": "kind",
        "objective": "softmax",
        "classes": 3,
        "test_percent": 30,
        "loss": "recipients",
    }
    answer = train(running, "analyst", classes, "report/result")
    assert (answer["facts"]["trees"], len(answer["rows"])) == (GROWN["trees"], GROWN["trees"])
    assert float(answer["rows"][-1][1]) < float(answer["rows"][0][1])
    assert float(answer["facts"]["accuracy"]) > 0.5
    assert [len(line) for line in answer["facts"]["held_out_confusion"]] == [3, 3, 3]


def test_the_label_holder_scores_the_matched_rows_by_the_trees_of_one_job(
    running: ConsortiumInProcess,
) -> None:
    answer = train(running, "lender", {}, "model/score-trees")
    expected = boosting.scores(pooled().margins, Objective.LOGISTIC)[0]
    assert [int(row) for row, _ in answer["rows"]] == list(range(40, 220))
    assert sorted(float(score) for _, score in answer["rows"]) == pytest.approx(sorted(expected), abs=1e-9)
    assert "income" not in json.dumps(answer)


def test_an_owner_that_asked_reads_the_structure_and_its_own_thresholds(running: ConsortiumInProcess) -> None:
    answer = train(running, "lender", {}, "model/trees")
    grown = pooled()
    assert len(answer["rows"]) == sum(len(tree.splits) + len(tree.leaves) for tree in grown.trees)
    assert {row[2] for row in answer["rows"] if row[2]} == {"owner-1", "owner-2"}
    assert {row[4] for row in answer["rows"] if row[4]} == {"debt"}
    assert "income" not in json.dumps(answer)


def test_trees_go_on_after_an_owner_was_restarted(
    running: ConsortiumInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, rounded = fixed_point.quantise, list[int]()
    reached, go_on = threading.Event(), threading.Event()

    def held(*given: Any) -> Any:
        rounded.append(len(rounded))
        if len(rounded) == 2:
            reached.set()
            assert go_on.wait(90)
        return real(*given)

    monkeypatch.setattr(fixed_point, "quantise", held)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(train, running, "analyst", {"loss": "recipients"}, "report/result")
        assert reached.wait(90)
        running.nodes["bureau"].stop()
        go_on.set()
        running.nodes["bureau"] = running._stack.enter_context(running.open_node("bureau"))
        answer = asked.result()
    # No tree's gradients were rounded anew.
    assert len(rounded) == GROWN["trees"]
    assert [float(row[1]) for row in answer["rows"]] == pytest.approx(pooled().losses, abs=1e-9)
    receipts = running.client("regulator").entries(job=answer["job"], type_="receipt.step")
    assert {one["body"]["attempt"] for one in receipts if one["body"]["step"] == "train"} == {2}


def test_trees_on_shares_are_those_of_the_matched_rows_and_the_analyst_alone_reads_them(
    running: ConsortiumInProcess,
) -> None:
    answer = train(running, "analyst", {"trees": 1, "depth": 1}, "report/result", "model/boosting-shared")
    assert answer["facts"]["rows"] == 180
    root, *leaves = answer["rows"]
    label, columns = LATE[BOTH], {"debt": DEBT[BOTH], "pay": INCOME[BOTH], "years": AGE[BOTH].astype(float)}
    g, h = label.mean() - label, label.mean() * (1 - label.mean())
    best, expected = 0.0, None
    for name, values in columns.items():
        for number, cut in enumerate(boosting.bin_columns([values], [name], 8).cuts[0], start=1):
            sides = [values <= cut, values > cut]
            gain = sum(g[side].sum() ** 2 / (h * side.sum() + 1) for side in sides)
            if min(side.sum() for side in sides) * h >= 50 / 4 and gain > best:
                weights = [-0.3 * g[side].sum() / (h * side.sum() + 1) for side in sides]
                best, expected = gain, (name, number, weights)
    assert expected is not None
    assert tuple(root[3:6]) == (*expected[:2], None)
    assert [float(leaf[6]) for leaf in leaves] == pytest.approx(expected[2], abs=0.02)
    shown = running.client("regulator").entries(job=answer["job"], type_="receipt.step")
    receipts = {(entry["name"], entry["body"]["step"]) for entry in shown}
    assert {(name, "train") for name in ("lender", "bureau", "regulator")} <= receipts


def test_thresholds_are_told_of_open_columns_alone_and_an_owner_reads_its_own_cuts(
    running: ConsortiumInProcess,
) -> None:
    small = {"trees": 1, "depth": 1}
    with pytest.raises(JobRefused, match="the job needs AS_JOIN_PAYLOAD"):
        train(
            running,
            "analyst",
            {**small, "thresholds": "recipients"},
            "report/result",
            "model/boosting-shared",
        )
    answer = train(running, "lender", small, "model/trees", "model/boosting-shared")
    cuts = boosting.bin_columns([DEBT[BOTH]], ["debt"], 8).cuts[0]
    assert answer["rows"] == [["debt", number, repr(float(cut))] for number, cut in enumerate(cuts, start=1)]
