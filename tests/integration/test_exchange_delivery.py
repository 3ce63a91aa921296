"""Deliveries between real nodes: under an agreement, in pieces, resumed after a kill, receipted, traced."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from PIL import Image

from connectors.documents import CONTENT
from exchange.delivery import receiving
from exchange.delivery.envelope import PIECE_SIZE, SEALED_SIZE
from exchange.errors import JobFailed, JobRefused
from exchange.jobs.disclosure import OutputRules
from exchange.node import hand_overs
from exchange.node.people import Person, Role
from exchange.node.releases import KIND
from exchange.rpc.envelopes import fetch
from exchange.rpc.errors import PeerRefused, PeerUnreachable
from exchange.sdk import NodeProblem, delivery_spec, marked
from exchange.sdk import file_spec as file_delivery
from exchange.testing import ConsortiumInProcess
from ledger import base64url
from ledger.entries import new_id
from ledger.times import system_clock
from policies.approvals import Verdict

pytestmark = pytest.mark.xdist_group("exchange-delivery")

PURPOSE = "dpv:CustomerSolvencyMonitoring"
COLUMNS = {"client": "identifier", "balance": "measure", "note": "text"}
ROWS = 20_000
SENDERS = ["delivery/marked-table", "delivery/table", "delivery/file"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("delivered")
    table = pa.table(
        {
            "client": [f"C{i:06d}" for i in range(ROWS)],
            "balance": [1000 + 37 * i for i in range(ROWS)],
            "note": [f"{i:x}" * 8 for i in range(ROWS)],
        }
    )
    pyarrow.parquet.write_table(table, folder / "loans.parquet")
    return folder


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Iterator[ConsortiumInProcess]:
    with ConsortiumInProcess(tmp_path_factory.mktemp("delivery"), sources=[source]) as started:
        publish(started, source)
        yield started


def publish(running: Any, source: Path) -> None:
    running.client("lender").publish(
        {
            "name": "loans",
            "title": "Loans",
            "source": {"kind": "file", "location": str(source / "loans.parquet")},
            "columns": [
                {
                    "name": name,
                    "role": role,
                    "sensitivity": "internal",
                    "control": "AFTER_AGGREGATE" if name == "note" else "PLAINTEXT",
                }
                for name, role in COLUMNS.items()
            ],
            "terms": {
                "purposes": [PURPOSE],
                "operations": SENDERS,
                "columns": list(COLUMNS),
                "uses": 99,
                "expires": "2099-01-01T00:00:00Z",
                "min_cohort": 5,
                "output_types": ["table/rows", "file"],
            },
        }
    )


def agree(running: Any, consumer: str, *, operations: list[str] | None = None) -> Any:
    asked = running.client(consumer).request_agreement(
        {
            "asset": "lender/loans",
            "purpose": PURPOSE,
            "operations": operations or SENDERS,
            "columns": list(COLUMNS),
            "output_types": ["table/rows", "file"],
            "uses": 9,
            "expires": "2099-01-01T00:00:00Z",
            "min_cohort": 5,
        }
    )
    given = running.client("lender").approve(asked["negotiation"], "a test")
    return running.client(consumer).wait_agreement(given["agreement"])


def asked(running: Any, consumer: str, agreement: Any, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "job": new_id("job", system_clock),
        "title": "delivery",
        "purpose": PURPOSE,
        "receiver": running.did(consumer),
        "agreement": agreement,
        "columns": {"client": 0, "balance": 0},
        "name": "loans",
        "kind": "parquet",
        "marks": marked("client", ["balance"], 5),
    }
    return delivery_spec(**(arguments | changes))


def deliver(running: Any, consumer: str, spec: dict[str, Any]) -> str:
    client = running.client(consumer)
    job = str(client.submit(spec)["job"])
    client.wait_job(job, timeout_s=60)
    return job


@pytest.fixture(scope="module")
def received(running: Any, source: Path) -> dict[str, tuple[str, Path]]:
    """A marked table for each of two members."""
    found = {}
    for consumer in ("bureau", "analyst"):
        job = deliver(running, consumer, asked(running, consumer, agree(running, consumer)))
        path = source / f"{consumer}.parquet"
        running.client(consumer).open_delivery(job, path)
        found[consumer] = (job, path)
    return found


def test_the_receiver_opens_the_agreed_columns(received: dict[str, tuple[str, Path]]) -> None:
    table = pyarrow.parquet.read_table(received["analyst"][1])
    assert table.schema.names == ["client", "balance"]
    assert table["client"].to_pylist() == [f"C{i:06d}" for i in range(ROWS)]
    changes = [abs(value - 1000 - 37 * i) for i, value in enumerate(table["balance"].to_pylist())]
    assert max(changes) == 1
    assert 0 < sum(changes) < ROWS / 5


def test_a_found_copy_is_traced_to_its_receiver(running: Any, received: Any) -> None:
    job, path = received["bureau"]
    copy = pyarrow.parquet.read_table(path).slice(3000, 4000)
    pyarrow.csv.write_csv(copy, path.with_name("found.csv"))
    traces = running.client("lender").trace_copy("lender/loans", str(path.with_name("found.csv")))
    assert [(trace["job"], trace["is_source"]) for trace in traces] == [
        (job, True),
        (received["analyst"][0], False),
    ]


def test_the_original_is_traced_to_nobody(running: Any, received: Any, source: Path) -> None:
    traces = running.client("lender").trace_copy("lender/loans", str(source / "loans.parquet"))
    assert [trace["is_source"] for trace in traces] == [False, False]


def test_a_copy_outside_the_nodes_folders_is_not_read(running: Any, received: Any) -> None:
    with pytest.raises(NodeProblem) as caught:
        running.client("lender").trace_copy("lender/loans", "/etc/passwd")
    assert "passwd" not in str(caught.value).replace("/etc/passwd", "")


def test_both_ends_sign_receipts_and_a_use_is_spent(running: Any, received: Any) -> None:
    job, _ = received["analyst"]
    entries = list(running.client("regulator").entries(job=job))
    steps = [(e["name"], e["body"]["step"]) for e in entries if e["type"] == "receipt.step"]
    assert sorted(steps) == [("analyst", "receive"), ("lender", "send")]
    used = running.client("analyst").agreements()
    assert [row["uses"] for row in used] == [1]


def test_no_row_and_no_key_is_at_the_hub_or_on_the_ledger(running: Any, received: Any) -> None:
    shown = b"".join(path.read_bytes() for path in (running.root / "hub").rglob("*") if path.is_file())
    assert b"C000123" not in shown
    assert all(
        "C000123" not in str(entry)
        for entry in running.client("regulator").entries(job=received["analyst"][0])
    )


def test_deliveries_are_listed_at_both_ends(running: Any, received: Any) -> None:
    given = running.client("lender").deliveries()
    taken = running.client("analyst").deliveries()
    assert received["analyst"][0] in {row["job"] for row in given if row["state"] == "COMPLETED"}
    assert {row["job"] for row in taken} >= {received["analyst"][0]}
    assert received["bureau"][0] not in {row["job"] for row in taken}


def test_a_delivery_that_the_agreement_does_not_name_is_refused(running: Any) -> None:
    agreement = agree(running, "analyst", operations=["delivery/marked-table"])
    with pytest.raises(JobRefused) as caught:
        deliver(running, "analyst", asked(running, "analyst", agreement, marks=None))
    assert "policy.technique" in caught.value.codes


def test_a_column_below_plaintext_is_not_delivered(running: Any) -> None:
    columns = {"client": 0, "balance": 0, "note": 0}
    with pytest.raises(JobRefused) as caught:
        deliver(running, "analyst", asked(running, "analyst", agree(running, "analyst"), columns=columns))
    assert any("column" in code for code in caught.value.codes)


def test_a_mark_in_a_text_column_fails_the_job_and_delivers_nothing(running: Any) -> None:
    spec = asked(running, "analyst", agree(running, "analyst"), marks=marked("client", ["client"], 5))
    with pytest.raises(JobFailed):
        deliver(running, "analyst", spec)
    assert not list((running.root / "analyst" / "envelopes").rglob(f"{spec['job']}/receive/received"))
    with pytest.raises(NodeProblem):
        running.client("analyst").open_delivery(spec["job"], running.root / "nothing")
    assert not (running.root / "nothing").exists()


def test_another_member_cannot_fetch_an_envelope(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is being fetched by its receiver, others are told that there is none."""
    reached, go_on = threading.Event(), threading.Event()
    original = receiving._keep_good

    def wait(*arguments: Any) -> int:
        reached.set()
        go_on.wait(30)
        return original(*arguments)

    monkeypatch.setattr(receiving, "_keep_good", wait)
    client, spec = running.client("analyst"), asked(running, "analyst", agree(running, "analyst"))
    job = client.submit(spec)["job"]
    assert reached.wait(30)
    lender = running.nodes["regulator"].services.ledger.final("members", running.did("lender"))
    certificate = base64url.decode(lender["tls"])
    for name, step, expected in (
        ("regulator", "send", False),
        ("analyst", "receive", False),
        ("analyst", "send", True),
    ):
        keys = running.nodes[name].services.keys
        pieces = fetch(lender["endpoint"], keys, running.did("lender"), certificate, (job, step, 0), 20)
        if expected:
            assert len(next(pieces)) > 100
            pieces.close()
        else:
            with pytest.raises(PeerRefused):
                next(pieces)
    go_on.set()
    client.wait_job(job, timeout_s=60)


def test_a_receiver_that_was_stopped_goes_on_behind_the_last_piece(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first connection breaks after a piece, then the node stops; started again, it fetches the rest."""
    agreement = agree(running, "analyst")
    columns = {"client": 0, "balance": 0}
    spec = asked(running, "analyst", agreement, columns=columns, kind="csv")
    asked_from: list[int] = []
    served = threading.Event()

    def broken(*arguments: Any) -> Iterator[bytes]:
        asked_from.append(arguments[4][2])
        if len(asked_from) == 1:
            yield next(fetch(*arguments))
        served.set()
        raise PeerUnreachable("somebody", "somewhere", "the connection failed")

    monkeypatch.setattr(hand_overs, "fetch", broken)
    client = running.client("analyst")
    job = client.submit(spec)["job"]
    assert served.wait(30)
    running.nodes["analyst"].stop()
    partial = running.root / "analyst" / "envelopes" / job / "receive" / "received"
    assert 0 < partial.stat().st_size <= SEALED_SIZE
    assert asked_from[:2] in ([0], [0, 1])
    monkeypatch.setattr(hand_overs, "fetch", lambda *given: again.append(given[4][2]) or fetch(*given))
    again: list[int] = []
    restarted = running.open_node("analyst")
    with restarted:
        running.client("analyst").wait_job(job, timeout_s=60)
        found = running.client("analyst").open_delivery(job, running.root / "again.csv")
    assert again == [1]
    assert found["size"] > PIECE_SIZE
    assert pyarrow.csv.read_csv(running.root / "again.csv").num_rows == ROWS
    running.nodes["analyst"] = running.open_node("analyst")
    running.nodes["analyst"].start()
    running._stack.callback(running.nodes["analyst"].stop)


def test_an_owner_that_sends_other_bytes_is_found_out(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def lying(*arguments: Any) -> Iterator[bytes]:
        for piece in fetch(*arguments):
            yield bytes([piece[0] ^ 1]) + piece[1:]

    monkeypatch.setattr(hand_overs, "fetch", lying)
    with pytest.raises(JobFailed, match="another piece than it sealed"):
        deliver(running, "bureau", asked(running, "bureau", agree(running, "bureau")))


def publish_document(running: Any, path: Path, name: str) -> Any:
    """Publish a file, and agree with the analyst that it is delivered."""
    running.client("lender").publish(
        {
            "name": name,
            "title": name,
            "source": {"kind": "document", "location": str(path)},
            "columns": [{"name": CONTENT, "role": "text", "sensitivity": "internal", "control": "PLAINTEXT"}],
            "terms": {
                "purposes": [PURPOSE],
                "operations": ["delivery/file"],
                "columns": [CONTENT],
                "uses": 9,
                "expires": "2099-01-01T00:00:00Z",
                "min_cohort": 1,
                "output_types": ["file"],
            },
        }
    )
    wanted = {
        "asset": f"lender/{name}",
        "purpose": PURPOSE,
        "operations": ["delivery/file"],
        "columns": [CONTENT],
        "output_types": ["file"],
        "uses": 9,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": 1,
    }
    request = running.client("analyst").request_agreement(wanted)
    given = running.client("lender").approve(request["negotiation"], "a test")
    return running.client("analyst").wait_agreement(given["agreement"])


def asked_file(running: Any, agreement: Any, name: str, column: str = CONTENT) -> dict[str, Any]:
    return file_delivery(
        job=new_id("job", system_clock),
        title="x",
        purpose=PURPOSE,
        receiver=running.did("analyst"),
        agreement=agreement,
        column=column,
        name=name,
    )


def test_any_file_arrives_as_it_is(running: Any, source: Path) -> None:
    content = bytes(i * i % 251 for i in range(3 * PIECE_SIZE + 17))
    (source / "contract.pdf").write_bytes(content)
    agreement = publish_document(running, source / "contract.pdf", "contract")
    job = deliver(running, "analyst", asked_file(running, agreement, "contract.pdf"))
    found = running.client("analyst").open_delivery(job, source / "received.pdf")
    assert (source / "received.pdf").read_bytes() == content
    assert found["size"] == len(content)
    summary, _ = running.client("analyst").result(job)
    assert summary["mark"] == "none"


def test_an_image_arrives_with_a_mark_that_its_owner_finds(running: Any, source: Path) -> None:
    y, x = np.mgrid[0:240, 0:320]
    noise = np.random.default_rng(11).normal(0, 6, y.shape)
    grey = (128 + 50 * np.sin(x / 19) + 40 * np.cos(y / 13) + noise).clip(0, 255).astype(np.uint8)
    Image.fromarray(grey).save(source / "licence.png")
    agreement = publish_document(running, source / "licence.png", "licence")
    job = deliver(running, "analyst", asked_file(running, agreement, "licence"))
    running.client("analyst").open_delivery(job, source / "received.png")
    assert (source / "received.png").read_bytes() != (source / "licence.png").read_bytes()
    Image.open(source / "received.png").save(source / "shared.jpg", quality=70)
    (found,) = running.client("lender").trace_copy("lender/licence", str(source / "shared.jpg"))
    assert (found["job"], found["is_source"]) == (job, True)
    (other,) = running.client("lender").trace_copy("lender/licence", str(source / "licence.png"))
    assert not other["is_source"]


def test_a_table_is_no_file(running: Any) -> None:
    spec = asked_file(running, agree(running, "analyst"), "x", column="client")
    with pytest.raises((JobFailed, JobRefused)):
        deliver(running, "analyst", spec)


def test_a_delivery_waits_for_the_review_that_its_owner_asks_for(running: Any) -> None:
    lender, client = running.client("lender"), running.client("analyst")
    lender.set_output_rules("lender/loans", {"review": True})
    try:
        job = client.submit(asked(running, "analyst", agree(running, "analyst")))["job"]
        approvals = running.nodes["lender"].services.approvals
        deadline = time.monotonic() + 30
        while not (waiting := approvals.listed(pending=True, kind=KIND)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert client.job(job)["state"] in ("RUNNING", "RELEASE_REVIEW")
        assert client.job(job)["releases"] == []
        (standing,) = waiting
        reviewer = Person(next(iter(standing.request.rule.stages[0].approvers)), frozenset({Role.APPROVER}))
        approvals.decide(standing.request.request, reviewer, Verdict.APPROVE, "as agreed")
        client.wait_job(job, timeout_s=60)
    finally:
        lender.set_output_rules("lender/loans", OutputRules.NONE.as_json())
    assert client.open_delivery(job, running.root / "reviewed")["size"] > 0
