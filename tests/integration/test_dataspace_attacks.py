"""A connector against hostile members, strangers and bytes: nothing changes, and no address is believed."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from exchange.cli.application import main
from exchange.dataspace import catalog
from exchange.dataspace.testing import Kit, Stand, on_the_wire, terms_of
from exchange.dataspace.vocabulary import CONTEXT
from exchange.tls import client_context, self_signed
from ledger import base64url
from ledger.entries import new_id
from ledger.times import system_clock
from policies import terms

pytestmark = pytest.mark.xdist_group("dataspace")

ASSET = "lender/loans"


def request_body(stand: Stand, kit: Kit, negotiation: str, uses: int) -> dict[str, Any]:
    asked = terms_of(uses)
    return {
        "negotiation": negotiation,
        "asset": ASSET,
        "version": 1,
        "provider": stand.did("lender"),
        "offer": terms.to_offer(asked, stand.did("lender"), kit.did, ASSET),
        "limits": asked.limits(),
    }


def request_message(stand: Stand, kit: Kit, negotiation: str, uses: int, **changes: Any) -> dict[str, Any]:
    offer = on_the_wire(terms.to_offer(terms_of(uses), stand.did("lender"), kit.did, ASSET))
    return {
        "@context": [CONTEXT],
        "@type": "ContractRequestMessage",
        "consumerPid": negotiation,
        "callbackAddress": kit.base,
        "offer": {**offer, "@id": f"urn:parley:offer:{ASSET}:1"},
        **changes,
    }


def begun(stand: Stand, kit: Kit, uses: int = 4) -> str:
    """A negotiation that both sides know of."""
    negotiation = new_id("negotiation", system_clock)
    kit.write("negotiation.request", request_body(stand, kit, negotiation, uses))
    message = request_message(stand, kit, negotiation, uses)
    assert kit.post(stand.did("lender"), "negotiations/request", message).status_code == 201
    return negotiation


def test_a_message_without_an_entry_is_refused_and_leaves_nothing(dataspace: tuple[Stand, Kit]) -> None:
    stand, kit = dataspace
    negotiation = new_id("negotiation", system_clock)
    message = request_message(stand, kit, negotiation, 4)
    answer = kit.post(stand.did("lender"), "negotiations/request", message)
    assert (answer.status_code, answer.json()["code"]) == (400, "dataspace.contradicts-ledger")
    assert kit.get(stand.did("lender"), f"negotiations/{negotiation}").status_code == 404
    assert stand.nodes["lender"].services.store.dataspace.find("negotiation", negotiation) is None


def test_a_message_that_says_more_than_its_entry_is_refused(dataspace: tuple[Stand, Kit]) -> None:
    stand, kit = dataspace
    negotiation = new_id("negotiation", system_clock)
    kit.write("negotiation.request", request_body(stand, kit, negotiation, 4))
    for message in (
        request_message(stand, kit, negotiation, 5),
        request_message(stand, kit, negotiation, 4, offer={"@type": "Offer", "@id": "x", "permission": [{}]}),
    ):
        answer = kit.post(stand.did("lender"), "negotiations/request", message)
        assert (answer.status_code, answer.json()["code"]) == (400, "dataspace.contradicts-ledger")
        assert "offer" in answer.json()["reason"][0]
    assert kit.state(stand.did("lender"), f"negotiations/{negotiation}") == ""
    message = request_message(stand, kit, negotiation, 4)
    assert kit.post(stand.did("lender"), "negotiations/request", message).status_code == 201


def test_a_repeated_message_with_other_content_is_refused(dataspace: tuple[Stand, Kit]) -> None:
    stand, kit = dataspace
    negotiation = begun(stand, kit)
    answer = kit.post(
        stand.did("lender"), "negotiations/request", request_message(stand, kit, negotiation, 9)
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "dataspace.illegal-transition")


def test_one_message_sent_many_times_at_once_counts_once(dataspace: tuple[Stand, Kit]) -> None:
    stand, kit = dataspace
    negotiation = new_id("negotiation", system_clock)
    kit.write("negotiation.request", request_body(stand, kit, negotiation, 4))
    message = request_message(stand, kit, negotiation, 4)
    with ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(lambda _: kit.post(stand.did("lender"), "negotiations/request", message), range(6))
        )
    assert {(answer.status_code, answer.text) for answer in answers} == {(201, answers[0].text)}
    kept = stand.nodes["lender"].services.store.dataspace.find("negotiation", negotiation)
    assert kept is not None
    assert (kept.position, kept.state) == (1, "REQUESTED")


@pytest.mark.parametrize(
    "address",
    [
        "https://169.254.169.254/2025-1",
        "https://127.0.0.1:1/2025-1",
        "http://127.0.0.1/",
        "file:///etc/passwd",
        "https://user:word@127.0.0.1/",
    ],
)
def test_a_callback_address_of_the_callers_choosing_is_refused(
    dataspace: tuple[Stand, Kit], address: str
) -> None:
    stand, kit = dataspace
    negotiation = new_id("negotiation", system_clock)
    message = request_message(stand, kit, negotiation, 4, callbackAddress=address)
    answer = kit.post(stand.did("lender"), "negotiations/request", message)
    assert (answer.status_code, answer.json()["code"]) == (400, "dataspace.malformed")
    assert address not in answer.text


def test_a_member_cannot_see_or_move_the_negotiations_of_others(dataspace: tuple[Stand, Kit]) -> None:
    stand, kit = dataspace
    asked = {
        "asset": ASSET,
        "purpose": "dpv:CustomerSolvencyMonitoring",
        "operations": ["psi/ecdh"],
        "columns": ["balance", "customer_id"],
        "uses": 1,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": 10,
    }
    negotiation = stand.client("analyst").request_agreement(asked)["negotiation"]
    lender = stand.nodes["lender"].services
    deadline = time.monotonic() + 10
    while lender.store.dataspace.find("negotiation", negotiation) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    unknown = new_id("negotiation", system_clock)
    answers = [
        (kit.get(stand.did("lender"), f"negotiations/{pid}"), end(kit, stand.did("lender"), pid))
        for pid in (negotiation, unknown)
    ]
    for seen, moved in answers:
        assert (seen.status_code, moved.status_code) == (404, 404)
        assert seen.json()["code"] == moved.json()["code"] == "dataspace.unknown"
    assert answers[0][0].json()["reason"] == answers[1][0].json()["reason"]


def end(kit: Kit, did: str, pid: str) -> httpx.Response:
    content = {"@context": [CONTEXT], "@type": "ContractNegotiationTerminationMessage"}
    return kit.post(
        did, f"negotiations/{pid}/termination", {**content, "consumerPid": pid, "providerPid": pid}
    )


def test_strangers_read_the_version_and_nothing_else(dataspace: tuple[Stand, Kit]) -> None:
    stand, kit = dataspace
    lender = stand.did("lender")
    assert kit.anonymous(lender, "/.well-known/dspace-version").status_code == 200
    for path in ("catalog/datasets/lender/loans", "negotiations/x", "transfers/x"):
        answer = kit.anonymous(lender, f"/2025-1/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "dataspace.unknown")
    key, certificate = self_signed("stranger.example", now=system_clock())
    row = kit.node.services.ledger.state.rows("members")[lender]
    context = client_context(key, certificate, base64url.decode(row["tls"]))
    with (
        httpx.Client(verify=context, trust_env=False) as client,
        pytest.raises((httpx.HTTPError, ssl.SSLError)),
    ):
        client.get(f"{row['dataspace']}/catalog/datasets/lender/loans")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b'{"@context": NaN}',
        b'{"a": 1, "a": 2}',
        b'{"a": 1.5}',
        b'{"a":' + b"[" * 100 + b"]" * 100 + b"}",
        b"[" * 100_000,
        b'{"a": "' + b"x" * 5000 + b'"}',
        json.dumps({"@context": "https://w3id.org/dspace/2025/1/context.jsonld"}).encode(),
        json.dumps({"@context": [CONTEXT, "https://attacker.example/context.jsonld"]}).encode(),
        json.dumps({"@context": [{"@import": "https://attacker.example/"}]}).encode(),
        json.dumps({"@context": [CONTEXT], "@type": ["ContractRequestMessage"]}).encode(),
        json.dumps({"@context": [CONTEXT], "@type": "ContractOfferMessage"}).encode(),
    ],
    ids=range(14),
)
def test_hostile_bytes_are_refused(dataspace: tuple[Stand, Kit], raw: bytes) -> None:
    stand, kit = dataspace
    answer = kit.post(stand.did("lender"), "negotiations/request", raw)
    assert (answer.status_code, answer.json()["code"]) == (400, "dataspace.malformed")
    assert answer.json()["@type"] == "ContractNegotiationError"
    assert b"attacker" not in answer.content


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"consumerPid": None}, "consumerPid"),
        ({"consumerPid": 7}, "consumerPid"),
        ({"callbackAddress": None}, "callbackAddress"),
        ({"providerPid": "negotiation-x"}, "callbackAddress"),
        ({"offer": "all"}, "offer"),
        ({"offer": {"@type": "Agreement", "@id": "x"}}, "offer.@type"),
        ({"offer": {"@type": "Offer"}}, "offer.@id"),
        ({"offer": {"@type": "Offer", "@id": "x", "permission": []}}, "offer.permission"),
    ],
    ids=str,
)
def test_a_message_that_lacks_a_member_is_refused_by_name(
    dataspace: tuple[Stand, Kit], changes: Mapping[str, Any], place: str
) -> None:
    stand, kit = dataspace
    message = request_message(stand, kit, new_id("negotiation", system_clock), 4, **changes)
    message = {name: value for name, value in message.items() if value is not None}
    answer = kit.post(stand.did("lender"), "negotiations/request", message)
    assert (answer.status_code, answer.json()["code"]) == (400, "dataspace.malformed")
    assert answer.json()["reason"][0].startswith(place)


def test_members_that_the_schema_does_not_know_are_skipped(dataspace: tuple[Stand, Kit]) -> None:
    stand, kit = dataspace
    negotiation = new_id("negotiation", system_clock)
    kit.write("negotiation.request", request_body(stand, kit, negotiation, 4))
    message = request_message(stand, kit, negotiation, 4, somethingElse={"a": ["b"]})
    assert kit.post(stand.did("lender"), "negotiations/request", message).status_code == 201


def test_a_catalog_filter_is_refused_because_none_is_supported(dataspace: tuple[Stand, Kit]) -> None:
    stand, kit = dataspace
    asked = {"@context": [CONTEXT], "@type": "CatalogRequestMessage", "filter": [{"q": "x"}]}
    answer = kit.post(stand.did("lender"), "catalog/request", asked)
    assert (answer.status_code, answer.json()["@type"]) == (400, "CatalogError")


def test_the_command_shows_processes_and_catalogs(
    dataspace: tuple[Stand, Kit], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand, kit = dataspace
    negotiation = begun(stand, kit)
    for name in ("lender", "analyst"):
        stand.profiles[name].save(tmp_path)
    call = ["--home", str(tmp_path), "--format", "json"]
    assert main(["dataspace", "show", "--org", "lender", *call]) == 0
    shown = json.loads(capsys.readouterr().out)["data"]
    member = kit.node.services.ledger.state.rows("members")[stand.did("lender")]
    assert shown["address"] == member["dataspace"]
    one = next(one for one in shown["processes"] if one["pid"] == negotiation)
    assert (one["state"], one["peer"], one["steps"], one["problem"]) == ("REQUESTED", "kit", 1, None)
    assert main(["dataspace", "catalog", "lender", "--org", "analyst", *call]) == 0
    found = json.loads(capsys.readouterr().out)["data"]
    assert ASSET in [row["@id"] for row in found["dataset"]]
    assert main(["dataspace", "catalog", "nobody", "--org", "analyst", *call]) == 4


def test_a_guest_reads_the_catalog_and_does_no_more(dataspace: tuple[Stand, Kit]) -> None:
    stand, kit = dataspace
    assert stand.guest is not None
    row = kit.row("members", stand.did("lender"))
    context = client_context(*stand.guest, base64url.decode(row["tls"]))
    negotiation = new_id("negotiation", system_clock)
    with httpx.Client(verify=context, trust_env=False, base_url=row["dataspace"]) as client:
        assert client.get("/catalog/datasets/lender/loans").status_code == 200
        asked = {"@context": [CONTEXT], "@type": "CatalogRequestMessage"}
        assert client.post("/catalog/request", json=asked).status_code == 200
        message = request_message(stand, kit, negotiation, 4)
        answer = client.post("/negotiations/request", json=message)
        assert (answer.status_code, answer.json()["code"]) == (404, "dataspace.unknown")


def test_a_catalog_has_pages_that_lead_to_each_other(
    dataspace: tuple[Stand, Kit], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand, kit = dataspace
    monkeypatch.setattr(catalog, "PAGE", 1)
    asked = {"@context": [CONTEXT], "@type": "CatalogRequestMessage"}
    lender = stand.did("lender")
    first = kit.post(lender, "catalog/request", asked)
    assert len(first.json()["dataset"]) == 1
    following = first.links["next"]["url"].rpartition("/")[2]
    second = kit.post(lender, f"catalog/{following}", asked)
    assert second.links["previous"]["url"].endswith("page=1")
    whole = stand.nodes["analyst"]._connector
    assert whole is not None
    found = [one["@id"] for one in whole.connectors.catalog(lender)["dataset"]]
    assert sorted(found) == found
    assert {first.json()["dataset"][0]["@id"], second.json()["dataset"][0]["@id"]} <= set(found)
    for page in ("0", "x", "1000000000"):
        assert kit.post(lender, f"catalog/request?page={page}", asked).status_code == 400
