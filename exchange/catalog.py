"""The catalog as DCAT: the ledger's asset rows written as ``dcat:Dataset`` (DCAT-AP 3), and searched.

Rows come from the caller's own copy of the ledger; nothing is looked up. A dataset names its offer (ODRL),
its columns (CSVW names, with role, sensitivity and control level) and the Merkle root of its rows. There is
no download: the only distributions are joint computations at the publisher's node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["dataset", "document", "search"]

Row = Mapping[str, Any]

_CONTEXT = {
    "@base": "https://w3id.org/parley/asset/",
    "csvw": "http://www.w3.org/ns/csvw#",
    "dcat": "http://www.w3.org/ns/dcat#",
    "dct": "http://purl.org/dc/terms/",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "odrl": "http://www.w3.org/ns/odrl/2/",
    "parley": "https://w3id.org/parley/catalog/1#",
    "spdx": "http://spdx.org/rdf/terms#",
}
_SHA256 = "http://spdx.org/rdf/terms#checksumAlgorithm_sha256"


def search(assets: Iterable[Row], words: str) -> list[Row]:
    """Published assets in which every word occurs, by id; without words, all of them.

    Words are looked for in id, title, description, keywords and column names; case makes no difference.
    """
    wanted = words.casefold().split()
    published = (row for row in assets if row["status"] == "published")
    return sorted(
        (row for row in published if all(word in _text(row) for word in wanted)),
        key=lambda row: str(row["asset"]),
    )


def document(assets: Iterable[Row], members: Iterable[Row], net: str) -> dict[str, Any]:
    """Write a ``dcat:Catalog`` of these asset rows."""
    known = list(members)
    return {
        "@context": _CONTEXT,
        "@type": "dcat:Catalog",
        "dct:title": f"Catalog of {net}",
        "dcat:dataset": [_dataset(row, known) for row in assets],
    }


def dataset(asset: Row, members: Iterable[Row]) -> dict[str, Any]:
    """Write one asset row as a document of its own."""
    return {"@context": _CONTEXT, **_dataset(asset, list(members))}


def _dataset(asset: Row, members: list[Row]) -> dict[str, Any]:
    owner = next((row for row in members if row["did"] == asset["owner"]), None)
    return {
        "@id": asset["asset"],
        "@type": "dcat:Dataset",
        "dct:identifier": asset["asset"],
        "dct:title": asset["title"],
        "dct:description": asset["description"],
        "dct:publisher": _publisher(asset["owner"], owner),
        "dcat:keyword": list(asset["keywords"]),
        "dcat:version": str(asset["version"]),
        "odrl:hasPolicy": [asset["offer"]],
        "dcat:distribution": [_distribution(form, owner) for form in asset["distribution"]],
        "spdx:checksum": {
            "@type": "spdx:Checksum",
            "spdx:algorithm": {"@id": _SHA256},
            "spdx:checksumValue": asset["root"],
        },
        "csvw:tableSchema": {
            "@type": "csvw:Schema",
            "csvw:column": [_column(column) for column in asset["schema"]],
        },
        "parley:rows": asset["rows"],
        "parley:profile": asset["profile"],
        "parley:status": asset["status"],
        "parley:index": asset["index"],
    }


def _publisher(did: str, owner: Row | None) -> dict[str, str]:
    agent = {"@id": did, "@type": "foaf:Agent"}
    return agent if owner is None else {**agent, "foaf:name": owner["title"], "foaf:nick": owner["name"]}


def _distribution(form: str, owner: Row | None) -> dict[str, Any]:
    service: dict[str, Any] = {"@type": "dcat:DataService", "dct:title": "joint computation"}
    if owner is not None:
        service["dcat:endpointURL"] = f"grpcs://{owner['endpoint']}"
    return {"@type": "dcat:Distribution", "dct:format": form, "dcat:accessService": service}


def _column(column: Row) -> dict[str, Any]:
    written = {
        "@type": "csvw:Column",
        "csvw:name": column["name"],
        "csvw:datatype": column["type"],
        "parley:role": column["role"],
        "parley:sensitivity": column["sensitivity"],
        "parley:control": column["control"],
    }
    return {**written, "dct:description": column["description"]} if "description" in column else written


def _text(asset: Row) -> str:
    parts = [asset["asset"], asset["title"], asset["description"], *asset["keywords"]]
    return "\n".join([*parts, *(column["name"] for column in asset["schema"])]).casefold()
