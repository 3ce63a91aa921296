"""Publishing in two acts, versions, withdrawal, and the catalog of it at another member's node."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest

from exchange.sdk import NodeClient
from exchange.sdk.problems import NodeProblem
from exchange.testing import ConsortiumInProcess

CANARY = "13912345678"
PURPOSE = "dpv:CustomerSolvencyMonitoring"
TERMS = {
    "purposes": [PURPOSE],
    "operations": ["psi/ecdh"],
    "columns": ["mobile", "band"],
    "uses": 3,
    "expires": "2099-01-01T00:00:00Z",
    "min_cohort": 10,
    "output_types": ["aggregate"],
}


def write_people(path: Path, rows: int = 200) -> None:
    mobiles = [f"138{i:08d}" for i in range(rows)]
    mobiles[7] = CANARY
    bands = [("low", "mid", "high")[i % 3] for i in range(rows)]
    table = {"mobile": mobiles, "band": bands, "balance": [1000.5 + i for i in range(rows)]}
    pyarrow.csv.write_csv(pa.table(table), path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    write_people(folder / "people.csv")
    return folder


@pytest.fixture(scope="module")
def running(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    root = tmp_path_factory.mktemp("consortium")
    with ConsortiumInProcess(root, names=("lender", "analyst"), sources=[data]) as started:
        yield started


@pytest.fixture(scope="module")
def lender(running: ConsortiumInProcess) -> NodeClient:
    return running.client("lender")


@pytest.fixture(scope="module")
def analyst(running: ConsortiumInProcess) -> NodeClient:
    return running.client("analyst")


def problem(act: Callable[[], object]) -> NodeProblem:
    with pytest.raises(NodeProblem) as caught:
        act()
    return caught.value


def until(holds: Callable[[], bool]) -> None:
    """Wait for what is final at its writer's node to be so at another."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def source(data: Path) -> dict[str, Any]:
    return {"kind": "file", "location": str(data / "people.csv")}


def confirmation(**changes: Any) -> dict[str, Any]:
    chosen = [{"name": "mobile"}, {"name": "band", "sensitivity": "public"}]
    return {"title": "People", "columns": chosen, "terms": TERMS, **changes}


def test_a_draft_suggests_and_publishes_nothing(lender: NodeClient, data: Path) -> None:
    drafted = lender.draft("people", source(data))
    suggested = {one["name"]: one for one in drafted["suggestions"]}
    assert (suggested["mobile"]["role"], suggested["mobile"]["sensitivity"]) == ("identifier", "confidential")
    assert suggested["mobile"]["reasons"][0] == {
        "code": "valid-share",
        "content": "phone",
        "share": 1_000_000,
        "text": "100.0 % of the sample are valid telephone numbers",
    }
    assert drafted["quality"]["value"] == 1_000_000
    assert CANARY not in json.dumps(drafted)
    assert lender.assets() == []
    assert [one["asset"] for one in lender.drafts()] == ["lender/people"]


def test_only_a_steward_drafts_and_reads_drafts(running: ConsortiumInProcess, data: Path) -> None:
    analyst = running.profiles["lender"].tokens["analyst"]
    headers = {"Authorization": f"Bearer {analyst}"}
    client = running.client("lender")
    for method, path in (
        ("GET", "/v1/assets/drafts"),
        ("POST", "/v1/assets/drafts"),
        ("GET", "/v1/assets/drafts/lender/people"),
        ("DELETE", "/v1/assets/drafts/lender/people"),
        ("POST", "/v1/assets/drafts/lender/people/confirm"),
        ("GET", "/v1/assets/lender/people/review"),
    ):
        assert client._http.request(method, path, headers=headers).status_code == 403, path


def test_a_steward_confirms_with_an_override_which_is_kept(lender: NodeClient, analyst: NodeClient) -> None:
    wrong = problem(lambda: lender.confirm("lender/people", confirmation(columns=[{"name": "salary"}])))
    assert "columns[0].name" in str(wrong)
    assert "salary" in str(wrong)
    assert "missing" in str(problem(lambda: lender.confirm("lender/missing", confirmation())))
    made = lender.confirm("lender/people", confirmation())
    assert (made["version"], made["rows"], made["quality"]["value"]) == (1, 200, 1_000_000)
    assert lender.drafts() == []
    reviewed = lender.review("lender/people")
    assert {one["name"]: one["overridden"] for one in reviewed["columns"]} == {
        "mobile": [],
        "band": ["sensitivity"],
    }
    assert reviewed["confirmed_by"] == reviewed["drafted_by"] == "steward"
    until(lambda: analyst.catalog("people")["parley:total"] == 1)
    found = analyst.catalog("people", facets=True)
    assert found["parley:facets"]["owner"] == [{"value": "lender", "count": 1}]
    assert found["parley:facets"]["grade"] == [{"value": "confidential", "count": 1}]


def test_a_draft_of_data_that_changed_since_is_not_confirmed(lender: NodeClient, data: Path) -> None:
    lender.draft("people", source(data))
    write_people(data / "people.csv", rows=210)
    changed = problem(lambda: lender.confirm("lender/people", confirmation()))
    assert changed.face.code == "request.conflict"
    assert [one["version"] for one in lender.versions("lender/people")] == [1]
    lender.draft("people", source(data))
    assert lender.confirm("lender/people", confirmation(title="More people"))["version"] == 2


def test_versions_are_listed_at_any_member_and_an_old_agreement_is_not_on_the_new_one(
    lender: NodeClient, analyst: NodeClient
) -> None:
    until(lambda: analyst.dataset("lender/people")["dcat:version"] == "2")
    listed = analyst.versions("lender/people")
    assert [(one["version"], one["state"], one["rows"]) for one in listed] == [
        (1, "replaced", 200),
        (2, "current", 210),
    ]
    assert listed[0]["root"] != listed[1]["root"]
    assert [one["state"] for one in lender.assets()] == ["updated"]
    assert problem(lambda: analyst.versions("lender/nothing")).face.status == 404


def test_the_catalog_is_filtered_and_paged_over_http(analyst: NodeClient) -> None:
    for filters, total in (
        ({"owner": ["lender"]}, 1),
        ({"owner": ["analyst"]}, 0),
        ({"purpose": "dpv:CustomerSolvencyMonitoring"}, 1),
        ({"purpose": "dpv:LegalCompliance"}, 0),
        ({"column": ["band"], "kind": "table", "grade": "confidential", "max_price": 0}, 1),
        ({"min_rows": 211}, 0),
    ):
        assert analyst.catalog("", **filters)["parley:total"] == total, filters
    assert problem(lambda: analyst.catalog("", sort="odd")).face.status == 422
    assert problem(lambda: analyst.catalog("", limit=101)).face.status == 422


ODD = ["\ud800", "\x00", "a\x1b[31mb", "a/b", "../people", "x" * 300]


@pytest.mark.parametrize("odd", ODD)
def test_odd_names_and_texts_are_refused_without_harm(
    lender: NodeClient, analyst: NodeClient, data: Path, odd: str
) -> None:
    sent = odd.encode(errors="replace").decode()
    for act in (
        lambda: lender.discard(f"lender/{sent}"),
        lambda: lender.confirm(f"lender/{sent}", confirmation()),
        lambda: analyst.versions(f"lender/{sent}"),
    ):
        assert problem(act).face.status in (404, 405), odd
    lender.draft("odd", source(data))
    bodies = [
        ("/v1/assets/drafts", {"name": odd, "source": source(data)}),
        ("/v1/assets/drafts", {"name": "fine", "source": {"kind": "file", "location": f"/{odd}.csv"}}),
    ]
    if not odd.isprintable():
        bodies.append(("/v1/assets/drafts/lender/odd/confirm", confirmation(title=odd)))
        bodies.append(("/v1/assets/drafts/lender/odd/confirm", confirmation(keywords=["fine", odd])))
    headers = {**lender._authorization("steward"), "Content-Type": "application/json"}
    for path, sent_body in bodies:
        answer = lender._http.post(path, content=json.dumps(sent_body).encode(), headers=headers)
        assert answer.status_code in (403, 422), (path, answer.text)
    lender.discard("lender/odd")


def test_a_withdrawn_asset_is_gone_from_the_search_and_its_history_stays(
    lender: NodeClient, analyst: NodeClient
) -> None:
    lender.withdraw("lender/people", "no longer kept")
    assert lender.catalog("people")["parley:total"] == 0
    assert [one["state"] for one in lender.versions("lender/people")] == ["replaced", "withdrawn"]
    assert [one["state"] for one in lender.assets()] == ["withdrawn"]
    until(lambda: analyst.catalog("people")["parley:total"] == 0)
    assert analyst.dataset("lender/people")["dcat:version"] == "2"
