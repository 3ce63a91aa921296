"""The owner's gate: cohorts, earlier releases, lost memory, reviews; over a real store and a given ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from exchange.jobs.component import Outcome
from exchange.jobs.disclosure import CohortDiffers, MemoryLost, ReleaseWithheld, RowLevel, SmallCohort
from exchange.jobs.registry import built_in
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import ANALYST, LENDER, example_spec
from exchange.node import releases
from exchange.node.approvals import RequestState, Standing
from exchange.node.releases import ReleaseGate
from exchange.store import NodeStore, ReleaseState, open_node_store
from ledger import canonical
from ledger.state import State

NOW = datetime(2026, 11, 26, tzinfo=UTC)
ROWS = 40


@dataclass
class Node:
    """One owner's node as the gate sees it; ``people`` are its identifiers by row."""

    store: NodeStore
    people: list[str]
    state: State = field(default_factory=State)
    written: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    standing: Standing | None = None
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def job(self, number: int) -> str:
        return f"job-{number:026d}"

    def gate(self, number: int, minimum: int = 10, privacy: object = None) -> tuple[ReleaseGate, Any]:
        value = example_spec() | {"job": self.job(number)}
        if privacy is not None:
            value["steps"][1]["params"]["privacy"] = privacy
        spec = JobSpec.from_json(value)
        if self.state.get("jobs", spec.job) is None:
            row = {"submitter": ANALYST, "starts": {LENDER: ["agreement-1"]}, "holds": {}, "recipients": {}}
            self.state = self.state.put("jobs", spec.job, row, index=number)
        return ReleaseGate(self.services, spec, minimum), spec.step("stats")

    def finished(self, number: int, rows: range, **changes: Any) -> tuple[ReleaseGate, Any]:
        gate, step = self.gate(number)
        values: dict[str, Any] = {"local": b"", "release": b"%d" % number, "cohort": 20, "figures": 1}
        values |= {"rows": np.array(rows), "groups": np.zeros(len(rows), dtype=np.int64)}
        gate.finish(step, "measure_holder", Outcome(**(values | changes)))
        return gate, step

    def admitted(self, number: int, rows: range, **changes: Any) -> bool:
        gate, step = self.finished(number, rows, **changes)
        return gate.admit(step, "measure_holder").may_leave

    def hold(self, number: int) -> None:
        row = self.state.rows("jobs")[self.job(number)]
        held = {**row, "holds": {"stats": {LENDER: "txid"}}}
        self.state = self.state.put("jobs", self.job(number), held, index=99)

    @property
    def services(self) -> Any:
        node = self

        class Ledger:
            state = property(lambda _: node.state)

            def final(self, table: str, key: str) -> Any:
                return node.state.get(table, key)

            def write(self, kind: str, body: dict[str, Any]) -> None:
                node.written.append((kind, body))
                node.hold(int(body["job"].removeprefix("job-")))

        class Assets:
            @contextmanager
            def open(self, asset: str, use: object) -> Iterator[Any]:
                batch = pa.record_batch({"customer_id": node.people})
                yield SimpleNamespace(batches=lambda names: iter([batch]))

        return SimpleNamespace(
            keys=SimpleNamespace(did=LENDER, storage_key=lambda use: use.ljust(32)[:32]),
            store=self.store,
            ledger=Ledger(),
            assets=Assets(),
            registry=built_in(),
            clock=lambda: NOW,
            approvals=SimpleNamespace(
                standing=lambda kind, subject, digest: self.standing,
                open=lambda kind, subject, *rest: self.asked.append((subject, rest)),
            ),
        )


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    store = open_node_store(
        f"sqlite:///{tmp_path}/node.sqlite", clock=lambda: NOW, decision_key=b"d" * 32, cohort_key=b"c" * 32
    )
    made = Node(store, [f"person {number}" for number in range(ROWS + 20)])
    schema = [{"name": "customer_id", "role": "identifier"}]
    made.state = made.state.put("assets", "lender/loans", {"owner": LENDER, "schema": schema}, index=0)
    agreement = {"asset": "lender/loans", "negotiation": "negotiation-1"}
    made.state = made.state.put("agreements", "agreement-1", agreement, index=0)
    yield made
    store.close()


def test_too_few_people_and_rows_for_figures_are_refused(node: Node) -> None:
    with pytest.raises(SmallCohort, match="agreed 10"):
        node.finished(1, range(20), cohort=9)
    with pytest.raises(RowLevel):
        node.finished(2, range(20), figures=20)
    assert node.store.releases.latest(9) == []


@pytest.mark.parametrize(("more", "fine"), [(0, True), (1, False), (9, False), (10, True)])
def test_cohorts_differ_by_nobody_or_by_a_cohort(node: Node, more: int, fine: bool) -> None:
    assert node.admitted(1, range(30))
    if fine:
        assert node.admitted(2, range(30 + more))
        return
    with pytest.raises(CohortDiffers, match="fewer than 10"):
        node.admitted(2, range(30 + more))
    kept = node.store.releases.find(node.job(2), "stats")
    assert kept is not None
    assert kept.state is ReleaseState.FINISHED


def test_people_are_the_same_in_another_order_of_the_data(node: Node) -> None:
    assert node.admitted(1, range(30))
    node.people.reverse()
    last = len(node.people)
    assert node.admitted(2, range(last - 30, last))
    with pytest.raises(CohortDiffers):
        node.admitted(3, range(last - 31, last))


def test_noise_and_what_was_withheld_are_not_compared(node: Node) -> None:
    assert node.admitted(1, range(30))
    assert node.admitted(2, range(31), is_exact=False)
    node.store.releases.move(
        node.job(1), "stats", node.store.releases.find(node.job(1), "stats").state.WITHHELD
    )  # type: ignore[union-attr]
    assert node.admitted(3, range(31))


def test_the_larger_minimum_of_two_releases_counts(node: Node) -> None:
    assert node.admitted(1, range(30))
    gate, step = node.gate(2, minimum=5)
    rows = np.arange(37)
    outcome = Outcome(b"", b"x", 20, {}, 1, rows, np.zeros(37, dtype=np.int64))
    gate.finish(step, "measure_holder", outcome)
    with pytest.raises(CohortDiffers, match="fewer than 10"):
        gate.admit(step, "measure_holder")


def test_a_release_that_only_the_ledger_remembers_stops_exact_ones(node: Node) -> None:
    row = {"submitter": ANALYST, "starts": {LENDER: ["agreement-1"]}, "holds": {}}
    row["recipients"] = {"stats": {LENDER: ANALYST}}
    node.state = node.state.put("jobs", node.job(7), row, index=7)
    assert node.admitted(1, range(30), is_exact=False)
    with pytest.raises(MemoryLost, match=node.job(7)):
        node.admitted(2, range(30))


def test_an_output_without_a_person_to_review_it_waits(node: Node) -> None:
    node.store.releases.set_rules("lender/loans", {"review": True}, "steward")
    gate, step = node.finished(1, range(30))
    assert not gate.admit(step, "measure_holder").may_leave
    assert node.written == [("job.hold", {"job": node.job(1), "step": "stats"})]
    assert node.asked == []


def reviewed(node: Node, state: RequestState) -> None:
    decision = SimpleNamespace(approver="bob", role="approver", reason="fine")
    request = SimpleNamespace()
    node.standing = Standing(request, state, (decision,), {}, "why")  # type: ignore[arg-type]  # what is read


def test_a_review_counts_after_a_crash_between_admitting_and_releasing(node: Node) -> None:
    node.store.releases.set_rules("lender/loans", {"review": True}, "steward")
    gate, step = node.finished(1, range(30))
    reviewed(node, RequestState.PENDING)
    assert not gate.admit(step, "measure_holder").may_leave
    reviewed(node, RequestState.APPROVED)
    for _ in range(2):  # the second time the store says that it was admitted already
        admission = gate.admit(step, "measure_holder")
        assert admission.may_leave
        assert admission.review == {"reviewer": "bob", "role": "approver", "reason": "fine"}
    node.store.releases.set_rules("lender/loans", {}, "steward")
    assert gate.admit(step, "measure_holder").review is not None
    gate.released(step)
    assert not node.store.releases.owed(node.job(1))


@pytest.mark.parametrize("state", [RequestState.REJECTED, RequestState.EXPIRED, RequestState.WITHDRAWN])
def test_what_nobody_lets_go_is_withheld(node: Node, state: RequestState) -> None:
    node.store.releases.set_rules("lender/loans", {"review": True}, "steward")
    gate, step = node.finished(1, range(30))
    reviewed(node, state)
    with pytest.raises(ReleaseWithheld, match="why"):
        gate.admit(step, "measure_holder")
    assert not node.store.releases.owed(node.job(1))


def test_a_released_total_makes_suppression_complementary(node: Node) -> None:
    value = example_spec()
    value["steps"][0]["recipients"] = [ANALYST]
    spec = JobSpec.from_json(value)
    gate = ReleaseGate(node.services, spec, 10)
    assert gate.rules(spec.step("stats"), "measure_holder").complementary
    assert not gate.rules(spec.step("match"), "left").complementary


@pytest.mark.parametrize(
    "columns",
    [
        [["jane", "o'hara & sons", ""]],
        [["a", "b", ""], ["1", "~ !", "[]"]],
        [["a", 'b"', "c"], ["1", "2", "3"]],
        [["back\\slash", "b", "c"]],
        [["line\nbreak", "b", "c"]],
        [["ends in a line\n", "b", "c"]],
        [["张三", "b", "c"]],
        [["a", None, "c"]],
        [[1, 2, -3], ["x", "y", "z"]],
    ],
)
def test_people_are_named_by_the_canonical_list_of_their_texts(columns: list[list[Any]]) -> None:
    named = releases._people([pa.array(column) for column in columns])
    expected = [canonical.encode([str(part) for part in row]) for row in zip(*columns, strict=True)]
    assert (named.to_pylist() if isinstance(named, pa.Array) else named) == expected
