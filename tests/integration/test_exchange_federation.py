"""Quality reports and twins from their owners' nodes: fetched over mutual TLS, compared with the ledger."""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from exchange.errors import NotFound
from exchange.identity import NodeKeys
from exchange.rpc import papers as rpc
from exchange.rpc.errors import PeerRefused, PeerUnreachable
from exchange.sdk import NodeClient
from exchange.sdk.problems import NodeProblem
from exchange.store import AssetPaper, PaperKind
from exchange.testing import ConsortiumInProcess

CANARY = "7340033.25"
TERMS = {
    "purposes": ["dpv:CustomerSolvencyMonitoring"],
    "operations": ["psi/ecdh"],
    "columns": ["code", "income"],
    "uses": 3,
    "expires": "2099-01-01T00:00:00Z",
    "min_cohort": 10,
    "output_types": ["aggregate"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    income = [1000.25 + 7 * i for i in range(300)]
    income[5] = float(CANARY)
    table = {"code": [f"K{i:05d}" for i in range(300)], "income": income}
    pyarrow.csv.write_csv(pa.table(table), folder / "people.csv")
    return folder


@pytest.fixture(scope="module")
def deaf() -> Iterator[str]:
    """The address of a node that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(8)
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture(scope="module")
def running(data: Path, deaf: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    names = ("lender", "bureau", "analyst")
    root = tmp_path_factory.mktemp("consortium")
    with ConsortiumInProcess(root, names=names, sources=[data], endpoints={"bureau": deaf}) as started:
        for name in ("lender", "bureau"):
            client = started.client(name)
            client.draft("people", {"kind": "file", "location": str(data / "people.csv")})
            client.confirm(f"{name}/people", {"title": f"People of the {name}", "terms": TERMS})
        until(lambda: started.client("analyst").catalog()["parley:total"] == 2)
        yield started


@pytest.fixture(scope="module")
def lender(running: ConsortiumInProcess) -> NodeClient:
    return running.client("lender")


@pytest.fixture(scope="module")
def analyst(running: ConsortiumInProcess) -> NodeClient:
    return running.client("analyst")


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def problem(act: Callable[[], object]) -> NodeProblem:
    with pytest.raises(NodeProblem) as caught:
        act()
    return caught.value


def ask(running: ConsortiumInProcess, keys: NodeKeys, request: object) -> bytes:
    lender = running.nodes["lender"].services
    return rpc.fetch(
        lender.settings.party_endpoint,
        keys,
        lender.keys.did,
        lender.keys.tls_cert,
        json.dumps(request).encode(),
        timeout_s=10,
        limit=1_000_000,
    )


def test_an_analyst_reads_the_report_at_the_owners_node(analyst: NodeClient, lender: NodeClient) -> None:
    found = analyst.quality("lender/people")
    assert found == lender.quality("lender/people")
    assert (found["rows"], found["value"]) == (300, 1_000_000)
    assert CANARY not in json.dumps(found)


def test_a_twin_is_drawn_at_the_owner_and_fetched_by_the_analyst(
    analyst: NodeClient, lender: NodeClient
) -> None:
    assert problem(lambda: analyst.twin("lender/people")).face.status == 404
    made = lender.make_twin("lender/people", rows=120)
    until(lambda: analyst.versions("lender/people")[0]["twin"] == made["digest"])
    content = analyst.twin("lender/people")
    assert len(content) == made["bytes"]
    table = pyarrow.parquet.read_table(io.BytesIO(content))
    assert (table.num_rows, table.column_names) == (120, ["code", "income"])
    assert not {f"K{i:05d}" for i in range(300)} & set(table.column("code").to_pylist())
    assert max(table.column("income").to_pylist()) < float(CANARY) / 10
    labels = [one["dct:format"]["rdfs:label"] for one in shown(analyst, "lender/people")["dcat:distribution"]]
    assert labels[-1] == "application/vnd.apache.parquet"


def shown(client: NodeClient, asset: str) -> dict[str, Any]:
    return client.dataset(asset)


def test_a_search_tells_which_members_answered(analyst: NodeClient) -> None:
    found = analyst.catalog("people", federated=True)
    assert found["parley:members"] == {
        "asked": 2,
        "answered": 1,
        "silent": [{"member": "bureau", "reason": "it gave no answer in time"}],
    }
    reports = {one["@id"]: one.get("parley:quality") for one in found["dcat:dataset"]}
    assert reports["lender/people"]["rows"] == 300
    assert reports["bureau/people"] is None
    assert "parley:members" not in analyst.catalog("people")


def test_a_search_that_finds_nothing_asks_nobody(analyst: NodeClient) -> None:
    assert analyst.catalog("nothing", federated=True)["parley:members"]["asked"] == 0


def test_papers_are_for_members_of_published_assets_only(running: ConsortiumInProcess, data: Path) -> None:
    member, stranger = running.nodes["analyst"].services.keys, NodeKeys.generate("analyst", "x", "127.0.0.1")
    good = {"ask": "quality", "assets": ["lender/people"]}
    assert json.loads(ask(running, member, good))["rows"] == 300
    with pytest.raises((PeerUnreachable, PeerRefused)):
        ask(running, stranger, good)
    running.client("lender").draft("secrets", {"kind": "file", "location": str(data / "people.csv")})
    for asset in ("lender/secrets", "bureau/people", "lender/nothing", "../people"):
        with pytest.raises(NotFound):
            ask(running, member, {"ask": "quality", "assets": [asset]})
    for odd in (
        {"ask": "draft", "assets": ["lender/people"]},
        {"ask": "review", "assets": ["lender/people"]},
    ):
        with pytest.raises(PeerRefused, match=r"request\.invalid"):
            ask(running, member, odd)
    for odd in ([], {"ask": "quality"}, {"ask": "quality", "assets": []}, {**good, "more": 1}, "x" * 100_000):
        with pytest.raises(PeerRefused):
            ask(running, member, odd)


def test_a_paper_without_the_ledgers_digest_is_thrown_away(
    running: ConsortiumInProcess, analyst: NodeClient
) -> None:
    services = running.nodes["lender"].services
    kept = services.store.asset_papers
    sound = kept.get("lender/people", 1, PaperKind.QUALITY)
    assert sound is not None
    better = json.loads(sound.content) | {"value": 999_999}
    forged = json.dumps(better).encode()
    papers = running.nodes["analyst"].services.papers
    kept.put(AssetPaper("lender/people", 1, PaperKind.QUALITY, forged))
    try:
        assert problem(lambda: analyst.quality("lender/people")).face.code.startswith("peer.")
        lying = services.papers._checked
        services.papers._checked = lambda row, kind, content: content  # type: ignore[method-assign]
        try:
            assert "digest on the ledger" in str(problem(lambda: analyst.quality("lender/people")))
            found, asked, silent = papers.reports(["lender/people"])
            assert (found, asked) == ({}, 1)
            assert "digest on the ledger" in silent[0].reason
        finally:
            services.papers._checked = lying  # type: ignore[method-assign]
    finally:
        kept.put(sound)
    assert analyst.quality("lender/people")["value"] == 1_000_000


def test_a_document_without_end_is_cut_off(running: ConsortiumInProcess) -> None:
    lender, keys = running.nodes["lender"].services, running.nodes["analyst"].services.keys
    request = json.dumps({"ask": "quality", "assets": ["lender/people"]}).encode()
    with pytest.raises(PeerUnreachable, match="more than 10 bytes"):
        rpc.fetch(
            lender.settings.party_endpoint,
            keys,
            lender.keys.did,
            lender.keys.tls_cert,
            request,
            timeout_s=10,
            limit=10,
        )


def test_a_peer_with_another_certificate_is_not_asked(running: ConsortiumInProcess) -> None:
    lender, analyst = (running.nodes[name].services for name in ("lender", "analyst"))
    with pytest.raises(PeerUnreachable):
        rpc.fetch(
            lender.settings.party_endpoint,
            analyst.keys,
            lender.keys.did,
            analyst.keys.tls_cert,
            b"{}",
            timeout_s=5,
            limit=10,
        )


def test_a_withdrawn_assets_papers_are_not_handed_out(
    running: ConsortiumInProcess, lender: NodeClient, analyst: NodeClient
) -> None:
    lender.withdraw("lender/people", "a test")
    assert problem(lambda: lender.quality("lender/people")).face.status == 404
    until(lambda: analyst.catalog()["parley:total"] == 1)
    assert problem(lambda: analyst.quality("lender/people")).face.status == 404
    assert problem(lambda: lender.make_twin("lender/people")).face.code == "request.conflict"
