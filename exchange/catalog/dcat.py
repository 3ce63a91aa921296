"""The catalog as DCAT: the ledger's asset rows written as ``dcat:Dataset`` (DCAT-AP 3).

Rows come from the caller's own copy of the ledger; nothing is looked up. A dataset names its offer (ODRL),
its columns (CSVW names, with role, sensitivity and control level), its quality (DQV) and the Merkle root of
its rows. Rows are never downloaded: the distributions are joint computations at the publisher's node, and a
synthetic twin where there is one. All terms expand to absolute IRIs by the context in the document itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from policies.vocabulary import context_document

__all__ = ["CONTEXT", "dataset", "document"]

Row = Mapping[str, Any]

_ODRL = "http://www.w3.org/ns/odrl/2/"
_REFERENCES = ("action", "leftOperand", "operator", "unit")
_IDS = ("assignee", "assigner", "profile", "target")


def _policy_context() -> dict[str, Any]:
    """ODRL's words and those of the profile, for what stands below ``odrl:hasPolicy``."""
    profile: dict[str, Any] = json.loads(context_document())["@context"]
    words: dict[str, Any] = {"@vocab": _ODRL, "uid": "@id"}
    words |= {name: {"@id": _ODRL + name, "@type": "@vocab"} for name in _REFERENCES}
    words |= {name: {"@id": _ODRL + name, "@type": "@id"} for name in _IDS}
    return words | {name: value for name, value in profile.items() if not name.startswith("@")}


CONTEXT: Final = MappingProxyType(
    {
        "@version": 1.1,
        "@base": "https://w3id.org/parley/asset/",
        "csvw": "http://www.w3.org/ns/csvw#",
        "dcat": "http://www.w3.org/ns/dcat#",
        "dct": "http://purl.org/dc/terms/",
        "dqv": "http://www.w3.org/ns/dqv#",
        "foaf": "http://xmlns.com/foaf/0.1/",
        "odrl": _ODRL,
        "odrl:hasPolicy": {"@id": f"{_ODRL}hasPolicy", "@type": "@id", "@context": _policy_context()},
        "parley": "https://w3id.org/parley/catalog/1#",
        "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
        "spdx": "http://spdx.org/rdf/terms#",
        "vcard": "http://www.w3.org/2006/vcard/ns#",
        "xsd": "http://www.w3.org/2001/XMLSchema#",
        **{
            f"parley:{name}": {"@id": f"https://w3id.org/parley/catalog/1#{name}", "@type": "@json"}
            for name in ("facets", "members", "quality")
        },
    }
)
_KEYWORDS: Final = frozenset({"@id", "@type", "@value", "@language"})
_DEEPEST: Final = 12
_NETS = "https://w3id.org/parley/net/"
_PARQUET = "application/vnd.apache.parquet"
_MEASURES = ("completeness", "validity", "uniqueness", "value")


def document(assets: Iterable[Row], members: Iterable[Row], net: str) -> dict[str, Any]:
    """Write a ``dcat:Catalog`` of these asset rows."""
    known = {str(row["did"]): row for row in members}
    return {
        "@context": dict(CONTEXT),
        "@id": f"{_NETS}{net}/catalog",
        "@type": "dcat:Catalog",
        "dct:title": f"Catalog of {net}",
        "dct:description": f"What the members of {net} offer for joint computation; no row leaves its owner.",
        "dct:publisher": {"@id": _NETS + net, "@type": "foaf:Agent", "foaf:name": net},
        "dcat:dataset": [_dataset(row, known) for row in assets],
    }


def dataset(asset: Row, members: Iterable[Row]) -> dict[str, Any]:
    """Write one asset row as a document of its own."""
    return {"@context": dict(CONTEXT), **_dataset(asset, {str(row["did"]): row for row in members})}


def _dataset(asset: Row, members: Mapping[str, Row]) -> dict[str, Any]:
    owner = members.get(asset["owner"])
    written: dict[str, Any] = {
        "@id": asset["asset"],
        "@type": "dcat:Dataset",
        "dct:identifier": asset["asset"],
        "dct:title": asset["title"],
        "dct:description": asset["description"] or asset["title"],
        "dct:publisher": _publisher(asset["owner"], owner),
        "dcat:keyword": list(asset["keywords"]),
        "dcat:version": str(asset["version"]),
        "odrl:hasPolicy": [_policy(asset["offer"])],
        "dcat:distribution": [_computation(form, asset["owner"], owner) for form in asset["distribution"]],
        "spdx:checksum": _checksum(asset["root"]),
        "csvw:tableSchema": {
            "@type": "csvw:Schema",
            "csvw:column": [_column(column) for column in asset["schema"]],
        },
        "parley:kind": asset["kind"],
        "parley:rows": asset["rows"],
        "parley:profile": asset["profile"],
        "parley:status": asset["status"],
        "parley:index": asset["index"],
    }
    if owner is not None:
        written["dcat:contactPoint"] = {"@type": "vcard:Kind", "vcard:fn": owner["title"]}
    if "quality" in asset:
        quality = asset["quality"]
        written["dqv:hasQualityMeasurement"] = [_measurement(name, quality[name]) for name in _MEASURES]
        written["parley:qualityReport"] = quality["report"]
    if "twin" in asset:
        written["dcat:distribution"].append(_twin(asset["twin"], asset["owner"], owner))
    return written


def _policy(offer: Row) -> dict[str, Any]:
    """The offer without any context of its own: that of the document holds below ``odrl:hasPolicy``.

    An offer is its owner's text. A context in it could name an address for a reader to fetch, or give words
    another meaning, so every keyword of JSON-LD but a few goes, wherever it stands.
    """
    found: dict[str, Any] = _without_keywords(offer, 0)
    return found


def _without_keywords(value: Any, depth: int) -> Any:  # noqa: ANN401 - JSON
    if depth > _DEEPEST:
        return None
    if isinstance(value, list):
        return [_without_keywords(part, depth + 1) for part in value]
    if isinstance(value, Mapping):
        return {
            name: _without_keywords(part, depth + 1)
            for name, part in value.items()
            if not name.startswith("@") or name in _KEYWORDS
        }
    return value


def _publisher(did: str, owner: Row | None) -> dict[str, str]:
    agent = {"@id": did, "@type": "foaf:Agent", "foaf:name": did}
    return agent if owner is None else {**agent, "foaf:name": owner["title"], "foaf:nick": owner["name"]}


def _address(did: str, owner: Row | None) -> dict[str, str]:
    return {"@id": did if owner is None else f"grpcs://{owner['endpoint']}", "@type": "rdfs:Resource"}


def _computation(form: str, did: str, owner: Row | None) -> dict[str, Any]:
    service: dict[str, Any] = {"@type": "dcat:DataService", "dct:title": "joint computation"}
    service["dcat:endpointURL"] = _address(did, owner)
    return {
        "@type": "dcat:Distribution",
        "dct:description": "Joint computation at the owner's node; rows are not delivered.",
        "dct:format": _format(form),
        "dcat:accessURL": _address(did, owner),
        "dcat:accessService": service,
    }


def _twin(twin: Row, did: str, owner: Row | None) -> dict[str, Any]:
    return {
        "@type": "dcat:Distribution",
        "dct:title": "synthetic twin",
        "dct:description": "Made-up rows with the same columns and, with noise, the same distributions.",
        "dct:format": _format(_PARQUET),
        "dcat:accessURL": _address(did, owner),
        "dcat:byteSize": {"@type": "xsd:nonNegativeInteger", "@value": str(twin["bytes"])},
        "spdx:checksum": _checksum(twin["digest"]),
        "parley:rows": twin["rows"],
        "parley:epsilonMicro": twin["epsilon_micro"],
    }


def _format(name: str) -> dict[str, str]:
    iri = f"https://w3id.org/parley/format/{name}"
    return {"@id": iri, "@type": "dct:MediaTypeOrExtent", "rdfs:label": name}


def _checksum(digest: str) -> dict[str, Any]:
    return {
        "@type": "spdx:Checksum",
        "spdx:algorithm": {"@id": "spdx:checksumAlgorithm_sha256", "@type": "spdx:ChecksumAlgorithm"},
        "spdx:checksumValue": {"@type": "xsd:hexBinary", "@value": digest},
    }


def _measurement(name: str, millionths: int) -> dict[str, Any]:
    return {
        "@type": "dqv:QualityMeasurement",
        "dqv:isMeasurementOf": {"@id": f"parley:{name}", "@type": "dqv:Metric"},
        "dqv:value": {"@type": "xsd:decimal", "@value": f"{millionths // 10**6}.{millionths % 10**6:06d}"},
    }


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
