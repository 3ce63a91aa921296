from __future__ import annotations

import json
from typing import Any

from exchange import catalog

OWNER = {"did": "did:key:z6MkLender", "name": "lender", "title": "Lender plc", "endpoint": "lender.example:7"}
OFFER = {"@type": "Offer", "permission": []}


def row(asset: str = "lender/loans", **changes: Any) -> dict[str, Any]:
    return {
        "asset": asset,
        "version": 2,
        "kind": "table",
        "title": "Consumer loans",
        "description": "One row per borrower.",
        "keywords": ["credit", "default"],
        "schema": [
            {
                "name": "id",
                "type": "text",
                "role": "identifier",
                "sensitivity": "high",
                "control": "AFTER_JOIN",
            },
            {
                "name": "income_band",
                "type": "int64",
                "role": "group",
                "sensitivity": "low",
                "control": "PLAINTEXT",
                "description": "tenths",
            },
        ],
        "rows": 24_000,
        "root": "ab" * 32,
        "offer": OFFER,
        "profile": "cd" * 32,
        "distribution": ["ComputeJob-PSI", "ComputeJob-MPC"],
        "owner": OWNER["did"],
        "status": "published",
        "index": 7,
        **changes,
    }


def test_a_catalog_is_a_dcat_catalog_of_datasets() -> None:
    found = catalog.document([row()], [OWNER], "example")
    json.dumps(found)
    assert (found["@type"], found["dct:title"]) == ("dcat:Catalog", "Catalog of example")
    (dataset,) = found["dcat:dataset"]
    assert dataset["@id"] == dataset["dct:identifier"] == "lender/loans"
    assert dataset["@type"] == "dcat:Dataset"
    assert dataset["dct:publisher"] == {
        "@id": OWNER["did"],
        "@type": "foaf:Agent",
        "foaf:name": "Lender plc",
        "foaf:nick": "lender",
    }
    assert dataset["odrl:hasPolicy"] == [OFFER]
    assert dataset["spdx:checksum"]["spdx:checksumValue"]["@value"] == "ab" * 32
    assert (dataset["parley:rows"], dataset["dcat:version"]) == (24_000, "2")


def test_every_prefix_that_is_used_is_declared() -> None:
    found = catalog.document([row()], [OWNER], "example")
    declared = set(found["@context"])

    def names(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*(names(part) for part in value.values()))
        return set().union(*(names(part) for part in value)) if isinstance(value, list) else set()

    used = {name.split(":")[0] for name in names(found["dcat:dataset"]) if ":" in name and "/" not in name}
    assert used <= declared


def test_distributions_are_computations_at_the_owner_and_no_download() -> None:
    dataset = catalog.dataset(row(), [OWNER])
    formats = [one["dct:format"]["rdfs:label"] for one in dataset["dcat:distribution"]]
    assert formats == ["ComputeJob-PSI", "ComputeJob-MPC"]
    assert all("dcat:downloadURL" not in one for one in dataset["dcat:distribution"])
    service = dataset["dcat:distribution"][0]["dcat:accessService"]
    assert service["dcat:endpointURL"]["@id"] == "grpcs://lender.example:7"


def test_columns_carry_role_sensitivity_and_control() -> None:
    identifier, band = catalog.dataset(row(), [OWNER])["csvw:tableSchema"]["csvw:column"]
    assert (identifier["csvw:name"], identifier["parley:control"]) == ("id", "AFTER_JOIN")
    assert "dct:description" not in identifier
    assert (band["parley:role"], band["parley:sensitivity"], band["dct:description"]) == (
        "group",
        "low",
        "tenths",
    )


def test_an_owner_that_is_not_known_is_named_by_its_did_alone() -> None:
    dataset = catalog.dataset(row(), [])
    publisher = dataset["dct:publisher"]
    assert publisher == {"@id": OWNER["did"], "@type": "foaf:Agent", "foaf:name": OWNER["did"]}
    assert dataset["dcat:distribution"][0]["dcat:accessURL"]["@id"] == OWNER["did"]
    assert "dcat:contactPoint" not in dataset
