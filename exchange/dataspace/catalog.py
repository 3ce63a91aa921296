"""This participant's published assets as a catalog of the Dataspace Protocol.

Every distribution has a compute format, and none a ``HttpData`` one: that data never moves is visible to any
client of the protocol. Which version of the rows is meant is the digest in ``spdx:checksum``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from exchange.dataspace.messages import message, wire_policy
from exchange.dataspace.negotiations import offer_id
from exchange.dataspace.vocabulary import CONTEXT

__all__ = ["PAGE", "catalog", "dataset"]

PAGE: Final = 200
"""Datasets on one page."""

_SHA256: Final = "http://spdx.org/rdf/terms#checksumAlgorithm_sha256"
_SPDX: Final = "http://spdx.org/rdf/terms#"


def catalog(assets: Sequence[Mapping[str, Any]], did: str, name: str, base: str) -> dict[str, Any]:
    """Write one page of the catalog.

    Args:
        assets: the ledger's rows of own published assets.
        did: this participant.
        name: its short name.
        base: base address of its connector.
    """
    datasets = [_dataset(row, name) for row in assets]
    return {
        **message("Catalog", participantId=did),
        "@id": f"urn:parley:catalog:{name}",
        "dct:title": f"Catalog of {name}",
        "service": [_service(name, base)],
        **({"dataset": datasets} if datasets else {}),
    }


def dataset(asset: Mapping[str, Any], name: str, base: str) -> dict[str, Any]:
    """Write one dataset as a document of its own."""
    written = _dataset(asset, name)
    for distribution in written["distribution"]:
        distribution["accessService"] = _service(name, base)
    return {"@context": [CONTEXT], **written}


def _dataset(asset: Mapping[str, Any], name: str) -> dict[str, Any]:
    offer = wire_policy(asset["offer"], offer_id(asset["asset"], asset["version"]))
    offer.pop("target", None)  # an offer inside a dataset has none
    return {
        "@id": asset["asset"],
        "@type": "Dataset",
        "dct:title": asset["title"],
        "dct:description": asset["description"],
        "dcat:version": str(asset["version"]),
        f"{_SPDX}checksum": {
            f"{_SPDX}algorithm": {"@id": _SHA256},
            f"{_SPDX}checksumValue": asset["root"],
        },
        "hasPolicy": [offer],
        "distribution": [
            {"@type": "Distribution", "format": form, "accessService": _service_id(name)}
            for form in asset["distribution"]
        ],
    }


def _service(name: str, base: str) -> dict[str, str]:
    return {"@id": _service_id(name), "@type": "DataService", "endpointURL": base}


def _service_id(name: str) -> str:
    return f"urn:parley:connector:{name}"
