"""What an example works with: a consortium of three owners and an analyst, and the acts of their people."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from exchange.local import Consortium
from exchange.sdk import NodeClient
from ledger.entries import new_id
from ledger.times import system_clock

__all__ = ["ANALYST", "MIN_COHORT", "OWNERS", "PURPOSE", "REGULATOR", "Stage", "step"]

OWNERS = ("bank", "lender", "utility")
ANALYST, REGULATOR = "analyst", "regulator"
PURPOSE = "dpv:FraudPreventionAndDetection"
EXPIRES = "2099-01-01T00:00:00Z"
MIN_COHORT = 5
WAIT_S = 300.0


@dataclass
class Stage:
    """One local consortium in which examples run one after the other.

    Attributes:
        consortium: its processes.
        data: a folder for each organisation, which its node may read.
        apps: where all nodes look for apps; with real ones each has a folder of its own.
        components: what the jobs so far were made of; an example starts with none.
    """

    consortium: Consortium
    data: Path
    apps: Path
    components: set[str] = field(default_factory=set)
    open: ExitStack = field(default_factory=ExitStack)
    _clients: dict[str, NodeClient] = field(default_factory=dict)
    _dids: dict[str, str] = field(default_factory=dict)

    def at(self, org: str) -> NodeClient:
        """A client of an organisation's node, as its own people have it."""
        if org not in self._clients:
            self._clients[org] = self.open.enter_context(self.consortium.client(org))
        return self._clients[org]

    def did(self, org: str) -> str:
        """The DID of an organisation."""
        if not self._dids:
            self._dids = {str(row["name"]): str(row["did"]) for row in self.at(REGULATOR).members()}
        return self._dids[org]

    def publish(
        self,
        org: str,
        name: str,
        table: pa.Table,
        columns: Mapping[str, tuple[str, str]],
        terms: Mapping[str, object],
    ) -> str:
        """Write a table where the organisation's node may read it and publish it.

        Args:
            org: the owner.
            name: of the asset.
            table: its rows.
            columns: catalog role and column control of each column.
            terms: of the offer: ``operations``, ``output_types`` and what else differs from the usual.

        Returns:
            The asset's id.
        """
        path = self.data / org / f"{name}.parquet"
        pyarrow.parquet.write_table(table, path)
        return self.register(org, name, {"kind": "file", "location": str(path)}, columns, terms)

    def register(
        self,
        org: str,
        name: str,
        source: Mapping[str, object],
        columns: Mapping[str, tuple[str, str]],
        terms: Mapping[str, object],
    ) -> str:
        """Publish what is there already, at ``source``; the rest as ``publish``."""
        described = [
            {"name": column, "role": role, "sensitivity": "confidential", "control": control}
            for column, (role, control) in columns.items()
        ]
        offer = {**_usual(list(columns)), "purposes": [PURPOSE], **terms}
        self.at(org).publish(
            {"name": name, "title": name, "source": dict(source), "columns": described, "terms": offer}
        )
        return f"{org}/{name}"

    def install(self, source: bytes) -> str:
        """Put an app where the nodes of owners and analyst find it; returns its SHA-256."""
        digest = hashlib.sha256(source).hexdigest()
        (self.apps / f"{digest}.py").write_bytes(source)
        return digest

    def agree(
        self, asset: str, columns: Sequence[str], terms: Mapping[str, object], *, asker: str = ANALYST
    ) -> str:
        """Ask for an agreement as an organisation and have the owner's steward approve it; returns its id.

        Raises:
            TimedOut: it does not arrive at the asker's node.
        """
        asked = {"asset": asset, "purpose": PURPOSE, **_usual(list(columns)), **terms}
        negotiation = self.at(asker).request_agreement(asked)["negotiation"]
        agreement = str(self.at(asset.partition("/")[0]).approve(negotiation, "an example")["agreement"])
        self.at(asker).wait_agreement(agreement)
        return agreement

    def share(
        self,
        org: str,
        name: str,
        table: pa.Table,
        columns: Mapping[str, tuple[str, str]],
        terms: Mapping[str, object],
    ) -> tuple[str, str]:
        """Publish a table and agree on all of it; returns the asset and the agreement."""
        asset = self.publish(org, name, table, columns, terms)
        return asset, self.agree(asset, list(columns), terms)

    def run(
        self,
        title: str,
        agreements: Mapping[str, str],
        *steps: Mapping[str, Any],
        asker: str = ANALYST,
    ) -> Mapping[str, Any]:
        """Submit a job as an organisation, wait for it and return ``result.json``; empty where it has none.

        Raises:
            JobRefused, JobFailed: an owner refused it or it failed; the text says why.
        """
        spec = {
            "v": 1,
            "job": new_id("job", system_clock),
            "title": title,
            "purpose": PURPOSE,
            "agreements": dict(agreements),
            "steps": list(steps),
        }
        return self.answered(spec, asker=asker)

    def answered(self, spec: Mapping[str, Any], *, asker: str = ANALYST) -> Mapping[str, Any]:
        """Submit a specification; the rest as ``run``."""
        return self.at(asker).result(self.done(spec, asker=asker))[0]

    def done(self, spec: Mapping[str, Any], *, asker: str = ANALYST) -> str:
        """Submit a specification as an organisation and wait for its end; returns the job's id."""
        self.components.update(one["component"] for one in spec["steps"])
        job = str(self.at(asker).submit(spec)["job"])
        self.at(asker).wait_job(job, timeout_s=WAIT_S)
        return job


def step(name: str, component: str, parties: Mapping[str, str], **more: object) -> dict[str, Any]:
    """One step of a job; what is not given is empty."""
    empty: dict[str, object] = {"version": 1, "inputs": {}, "after": [], "params": {}, "recipients": []}
    return {"id": name, "component": component, "parties": dict(parties), **empty, **more}


def _usual(columns: list[str]) -> dict[str, object]:
    return {"columns": columns, "uses": 20, "expires": EXPIRES, "min_cohort": MIN_COHORT}
