"""Ask for a delivery, list deliveries, open what was received, tell whose copy was found."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from exchange.errors import InvalidRequest, SealBroken
from exchange.sdk.connection import Connection, Json
from policies.terms import from_policy

__all__ = ["DeliveryCalls", "delivery_spec", "file_spec", "marked"]


class DeliveryCalls(Connection):
    """Calls on deliveries."""

    def deliveries(self) -> list[Json]:
        """List the deliveries that this participant gave or asked for."""
        return self._list("GET", "/v1/deliveries", "deliveries", role=self._one_of("analyst", "steward"))

    def open_delivery(self, job: str, path: Path) -> Json:
        """Write what was received to ``path``, whole or not at all.

        Returns:
            Its size and SHA-256, compared with what the owner sealed.

        Raises:
            SealBroken: the content ended early, or is not the one that was sealed.
        """
        sealed = self._object("GET", f"/v1/jobs/{quote(job)}/result", role="analyst")["result"]
        unfinished = path.with_name(path.name + ".part")
        whole, size = hashlib.sha256(), 0
        try:
            with unfinished.open("wb") as file:
                for part in self._stream(f"/v1/deliveries/{quote(job)}/content", role="analyst"):
                    whole.update(part)
                    size += len(part)
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            if whole.hexdigest() != sealed["content"]:
                raise SealBroken(f"expected the {sealed['size']} bytes that were sealed, got others")
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return {"job": job, "path": str(path), "size": size, "content": whole.hexdigest()}

    def trace_copy(self, asset: str, location: str) -> list[Json]:
        """Compare a found copy of an own asset with the marks of its deliveries, likeliest first."""
        body = {"asset": asset, "location": location}
        answer = self._object("POST", "/v1/deliveries/trace", role="steward", json=body)
        return list(answer["traces"])


def marked(anchor: str, columns: Sequence[str], every: int) -> dict[str, object]:
    """The parameters of a marked table.

    Args:
        anchor: the column that names a row.
        columns: numbers whose last digit may change by one.
        every: one row in so many is marked.
    """
    return {"anchor": anchor, "marked": list(columns), "mark_every": every}


def delivery_spec(
    *,
    job: str,
    title: str,
    purpose: str,
    receiver: str,
    agreement: Mapping[str, Any],
    columns: Mapping[str, int],
    name: str,
    kind: str,
    marks: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """Ask an owner to deliver columns of a table.

    Args:
        job: id of the new job.
        title: what people see in lists.
        purpose: a DPV term.
        receiver: DID of the member who asks.
        agreement: the row of the agreement that covers it.
        columns: the columns, each with the decimal digits that count.
        name: file name, without ending.
        kind: ``csv`` or ``parquet``.
        marks: from ``marked``; without them the table is delivered as it is.
    """
    if not columns:
        raise InvalidRequest("columns", "at least one column", "none")
    params = {
        "format": kind,
        "min_cohort": from_policy(agreement["policy"]).min_cohort,
        "name": name,
        **(marks or {}),
    }
    component = "delivery/marked-table" if marks else "delivery/table"
    given = [{"name": column, "decimals": decimals} for column, decimals in columns.items()]
    return _spec((job, title, purpose, receiver), agreement, component, given, params)


def file_spec(
    *, job: str, title: str, purpose: str, receiver: str, agreement: Mapping[str, Any], column: str, name: str
) -> dict[str, Any]:
    """Ask an owner to deliver a file; arguments as in ``delivery_spec``, ``column`` is its content."""
    given = [{"name": column, "decimals": 0}]
    params = {"min_cohort": 1, "name": name}
    return _spec((job, title, purpose, receiver), agreement, "delivery/file", given, params)


def _spec(
    named: tuple[str, str, str, str],
    agreement: Mapping[str, Any],
    component: str,
    columns: list[dict[str, Any]],
    params: Mapping[str, object],
) -> dict[str, Any]:
    job, title, purpose, receiver = named
    owner, asset = str(agreement["provider"]), str(agreement["asset"])
    send = {
        "id": "send",
        "component": component,
        "version": 1,
        "parties": {"owner": owner},
        "inputs": {"owner": {"asset": asset, "columns": columns}},
        "after": [],
        "params": dict(params),
        "recipients": [receiver],
    }
    receive = {
        "id": "receive",
        "component": "delivery/receive",
        "version": 1,
        "parties": {"reader": receiver},
        "inputs": {},
        "after": ["send"],
        "params": {},
        "recipients": [receiver],
    }
    return {
        "v": 1,
        "job": job,
        "title": title,
        "purpose": purpose,
        "agreements": {asset: str(agreement["agreement"])},
        "steps": [send, receive],
    }
