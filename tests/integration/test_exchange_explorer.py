"""The ledger explorer of a running node: search, paging, entries, batches, proofs, checkpoint, standing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from exchange.errors import Unauthenticated
from exchange.sdk import NodeClient, NodeProblem
from exchange.sdk.connection import Json
from exchange.testing import ConsortiumInProcess
from ledger.bundle import verify
from ledger.checkpoints import open_checkpoint
from ledger.errors import InvalidInclusionProof
from ledger.merkle import leaf_hash
from ledger.proofs import Proof, verify_proof
from ledger.times import parse_time
from ledger.trust import TrustPolicy


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]
) -> Iterator[ConsortiumInProcess]:
    question = make_question(tmp_path_factory.mktemp("explorer"))
    with question.running:
        question.publish()
        question.agree()
        write_refused(question.running)
        yield question.running


def write_refused(running: ConsortiumInProcess) -> None:
    """An entry that the validity function refuses: nobody has this asset."""
    ledger = running.nodes["lender"].services.ledger
    with pytest.raises(Exception, match="refused"):
        ledger.write("asset.withdraw", {"asset": "lender/nothing", "reason": "to be refused"})


@pytest.fixture(scope="module")
def regulator(running: ConsortiumInProcess) -> NodeClient:
    client = running.client("regulator")
    final = running.nodes["lender"].services.ledger.final_size
    running.nodes["regulator"].services.ledger.wait_until(
        lambda: client.ledger_status()["final_size"] >= final or None, 20, "the last entry"
    )
    return client


@pytest.fixture(scope="module")
def everything(regulator: NodeClient) -> list[Json]:
    return list(regulator.entries(until="2099-01-01T00:00:00Z"))


def get(client: NodeClient, path: str, role: str = "auditor", **params: Any) -> Any:
    return client._send("GET", path, role=role, params=params or None)


def test_the_whole_trail_comes_in_order(everything: list[Json], regulator: NodeClient) -> None:
    indexes = [entry["index"] for entry in everything]
    assert indexes == list(range(len(indexes)))
    assert everything[0]["type"] == "gov.genesis"
    newest = [entry["index"] for entry in regulator.entries(order="newest")]
    assert newest[-len(indexes) :] == indexes[::-1]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"type_": "asset.publish"}, lambda e: e["type"] == "asset.publish"),
        ({"type_": "negotiation.*"}, lambda e: e["type"].startswith("negotiation.")),
        ({"type_": ["asset.*", "seal"]}, lambda e: re.match("asset|seal", e["type"])),
        ({"actor": "lender"}, lambda e: e["name"] == "lender"),
        ({"asset": "lender/loans"}, lambda e: e["body"].get("asset") == "lender/loans"),
        ({"asset": "lender/loans", "actor": "lender"}, None),
        ({"refused": True}, lambda e: e["code"] is not None),
        ({"code": "asset.unknown"}, lambda e: e["code"] == "asset.unknown"),
        ({"code": "no.such"}, lambda e: False),
        ({"subjects": ["lender/nothing"]}, lambda e: e["body"].get("asset") == "lender/nothing"),
        ({"job": "job-none"}, lambda e: False),
    ],
)
def test_each_condition_finds_what_it_says(
    everything: list[Json],
    regulator: NodeClient,
    asked: dict[str, Any],
    expected: Callable[[Json], bool] | None,
) -> None:
    def wanted(entry: Json) -> bool:
        return entry["name"] == "lender" and entry["body"].get("asset") == "lender/loans"

    found = list(regulator.entries(**asked, until="2099-01-01T00:00:00Z"))
    assert found == [entry for entry in everything if (expected or wanted)(entry)]


def test_a_time_window_holds_whole_batches(everything: list[Json], regulator: NodeClient) -> None:
    moment = everything[len(everything) // 2]["time"]
    later = list(regulator.entries(since=moment))
    assert later[: len(everything)] == [e for e in everything if e["time"] >= moment]
    earlier = list(regulator.entries(until=moment))
    assert earlier == [e for e in everything if e["time"] < moment]


def test_pages_are_linked(everything: list[Json], regulator: NodeClient) -> None:
    seen, address = [], "/v1/ledger/entries?type=seal&type=asset.*&limit=2"
    while True:
        answer = get(regulator, address)
        page, links = answer.json(), answer.headers["Link"]
        assert len(page["entries"]) <= 2
        assert "type=seal" in links
        assert 'rel="first"' in links
        seen += page["entries"]
        following = re.search(r'<([^>]*)>; rel="next"', links)
        if following is None:
            break
        address = following[1]
    assert page["cursor"] is None
    expected = [e for e in everything if e["type"] == "seal" or e["type"].startswith("asset.")]
    assert seen[: len(expected)] == expected


def test_counts_are_those_of_the_trail(everything: list[Json], regulator: NodeClient) -> None:
    until = everything[-1]["time"]
    window = [e for e in everything if e["time"] < until]
    for asked, wanted in (
        ({}, lambda e: True),
        ({"actor": "lender"}, lambda e: e["name"] == "lender"),
        ({"type": ["asset.*"]}, lambda e: e["type"].startswith("asset.")),
        (
            {"asset": "lender/loans", "actor": "lender"},
            lambda e: e["name"] == "lender" and e["body"].get("asset") == "lender/loans",
        ),
    ):
        counts = Counter(e["type"] for e in window if wanted(e))
        found = regulator.counts(until=until, **asked)
        assert found == [{"type": t, "count": counts[t], "exact": True} for t in sorted(counts)]


def test_an_entry_shows_its_batch_by_index_and_by_txid(everything: list[Json], regulator: NodeClient) -> None:
    for shown in everything:
        entry = regulator.entry(shown["index"])
        assert {name: entry[name] for name in shown} == shown
        assert regulator.entry(shown["txid"]) == entry
        assert entry["final"] is True
        assert entry["signatures"]
        batch = regulator.batch(entry["batch"]["height"])
        assert batch["first"] <= shown["index"] <= batch["seal"] == batch["first"] + batch["count"]
        assert (shown["index"] in [one["index"] for one in batch["refused"]]) == (shown["code"] is not None)


@pytest.mark.parametrize("place", ["999999", "aa" * 32])
def test_what_is_not_there_is_not_found(regulator: NodeClient, place: str) -> None:
    for call in (regulator.entry, regulator.proof):
        with pytest.raises(NodeProblem) as caught:
            call(place)
        assert caught.value.status == 404
    with pytest.raises(NodeProblem, match="no batch"):
        regulator.batch(999_999)


@pytest.mark.parametrize("place", ["-1", "01", "x", "AA" * 32, "9" * 19, "%00", "1/2"])
def test_what_is_no_place_is_not_found(regulator: NodeClient, place: str) -> None:
    with pytest.raises(NodeProblem) as caught:
        get(regulator, f"/v1/ledger/entries/{place}")
    assert caught.value.status == 404


@pytest.mark.parametrize(
    "asked",
    [
        {"since": "yesterday"},
        {"since": "2026-13-40T00:00:00Z"},
        {"order": "random"},
        {"limit": "0"},
        {"limit": "1001"},
        {"cursor": "-1"},
        {"type": "UPPER"},
        {"type": "a*b"},
        {"refused": "perhaps"},
        {"asset": "x" * 257},
        {"unknown": "1"},
    ],
)
def test_a_search_of_another_form_is_refused(regulator: NodeClient, asked: dict[str, str]) -> None:
    with pytest.raises(NodeProblem) as caught:
        get(regulator, "/v1/ledger/entries", **asked)
    assert (caught.value.status, caught.value.code) == (422, "request.invalid")


def test_only_auditors_search(running: ConsortiumInProcess) -> None:
    client = running.client("lender")
    for path in ("entries", "counts", "entries/0", "entries/0/proof", "batches/0", "checkpoint", "policy"):
        with pytest.raises(NodeProblem) as caught:
            get(client, f"/v1/ledger/{path}", role="steward")
        assert caught.value.status == 403
        with pytest.raises((NodeProblem, Unauthenticated)):
            get(client, f"/v1/ledger/{path}", role="nobody")


def test_a_proof_verifies_offline_against_the_policy(everything: list[Json], regulator: NodeClient) -> None:
    policy = TrustPolicy.parse(regulator.policy())
    for shown in everything[:4]:
        proof = Proof.parse(regulator.proof(shown["txid"]))
        assert proof.extra is not None
        endorsed = verify_proof(proof, leaf_hash(proof.extra), policy)
        assert endorsed.checkpoint.size > shown["index"]
        assert len(endorsed.times) >= 3
    with pytest.raises(InvalidInclusionProof):
        verify_proof(proof, leaf_hash(b"another"), policy)


def test_the_checkpoint_is_the_logs_and_final(running: ConsortiumInProcess, regulator: NodeClient) -> None:
    mirror = running.nodes["regulator"].services.ledger.mirror
    checkpoint, note = open_checkpoint(regulator.checkpoint(), mirror.network.log)
    assert checkpoint.size <= mirror.final_size
    assert TrustPolicy.parse(regulator.policy()).check(note).checkpoint == checkpoint


def test_the_standing_names_who_cosigned(running: ConsortiumInProcess, regulator: NodeClient) -> None:
    found = regulator.ledger_status()
    assert found["size"] - found["lag"] == found["final_size"]
    assert (found["quorum"], found["engine"], found["divergence"]) == (3, "sql", None)
    assert [one["name"] for one in found["cosigners"]] == [
        f"test.parley/{name}" for name in ("analyst", "bureau", "lender", "regulator")
    ]
    assert sum(one["is_on_final"] for one in found["cosigners"]) >= 3
    assert all(parse_time(one["time"]) and 0 <= one["age_s"] < 600 for one in found["cosigners"])
    assert found["height"] == regulator.entry(found["size"] - 1)["batch"]["height"] + 1


def test_members_are_shown_with_their_keys(running: ConsortiumInProcess, regulator: NodeClient) -> None:
    rows = {row["name"]: row for row in regulator.ledger_members()}
    assert set(rows) == {"lender", "bureau", "analyst", "regulator"}
    lender = rows["lender"]
    assert (lender["since"], lender["status"], lender["role"]) == (0, "active", "participant")
    assert lender["kid"] == running.did("lender") + "#tx-1"
    assert lender["keys_since"] == dict.fromkeys(("tx", "cosign", "tls", "seal"), 0)
    assert rows["regulator"]["role"] == "regulator"


def test_a_far_behind_index_is_told_as_such(
    running: ConsortiumInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.node.explorer._MOST_BEHIND", -1)
    with pytest.raises(NodeProblem) as caught:
        next(running.client("lender").entries())
    assert (caught.value.status, caught.value.code) == (503, "search.not-ready")


def test_a_bundle_of_a_time_holds_what_happened_then(everything: list[Json], regulator: NodeClient) -> None:
    report = verify(regulator.export_bundle(assets=["lender/loans"], until="2099-01-01T00:00:00Z"))
    assert set(report.entries) >= {"asset.publish", "negotiation.request"}
    with pytest.raises(NodeProblem, match="no final entry concerns"):
        regulator.export_bundle(assets=["lender/loans"], until="2020-01-01T00:00:00Z")
