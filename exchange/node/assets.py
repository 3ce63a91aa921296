"""This owner's assets: profiled, fingerprinted and published; opened again when a job may read them.

Where the data lies, and the salt of its fingerprint, stay in this node's store. The ledger gets the
description, the column roles and levels, the row count and the salted Merkle root.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connectors import columns, fingerprints, identifiers, open_source
from connectors.connector import Connector, require_columns
from connectors.spec import SourceSpec, pinned
from exchange.config import NodeSettings
from exchange.errors import Conflict, NotFound
from exchange.node import asset_reviews
from exchange.node.asset_requests import (
    AssetRequest,
    ColumnRequest,
    check_columns,
    check_kind,
    check_name,
    check_texts,
)
from exchange.node.consented import ConsentGate, Use
from exchange.node.examination import counts, examine
from exchange.node.ledger_client import FinalEntry, LedgerClient
from exchange.node.stops import Watched
from exchange.publishing.quality import QualityReport
from exchange.store import AssetBinding, AssetPaper, NodeStore, PaperKind
from ledger import canonical
from ledger.commitments import check, commit
from policies.terms import to_offer

__all__ = ["Assets", "Published"]

_FORMATS = ("ComputeJob-PSI", "ComputeJob-MPC")


@dataclass(frozen=True)
class Published:
    """A version of an asset that is final on the ledger."""

    asset: str
    version: int
    rows: int
    root: str
    entry: FinalEntry
    profile: Mapping[str, Any]
    quality: Mapping[str, Any]


class Assets:
    """Publishing, withdrawing and opening this owner's assets."""

    def __init__(
        self,
        settings: NodeSettings,
        store: NodeStore,
        ledger: LedgerClient,
        did: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings, self._store, self._ledger, self._did = settings, store, ledger, did
        self._clock = clock
        self.consent = ConsentGate(store.vault, ledger, clock)

    def publish(
        self, request: AssetRequest, by: str, *, drafted: Mapping[str, Any] | None = None
    ) -> Published:
        """Examine and fingerprint the source, then put the description on the ledger.

        Args:
            request: what the steward says.
            by: the steward; the review that stays at this node names them.
            drafted: the draft whose suggestions the steward has seen; None: they are made now, and the
                request stands in their place.

        Raises:
            InvalidRequest: a name, role or level is not one of those that exist. SourceUnreachable,
            MissingColumn, EmptyTable, EmptyIdentifiers, DuplicateIdentifiers: the data is not
                what the request says. Conflict: the data is not what was drafted. Nothing is published.
        """
        check_columns(request.columns)
        check_texts(request.title, request.description, request.keywords, request.columns)
        check_name(request.name)
        kind = check_kind(request.kind, request.source)
        asset = f"{self._settings.name}/{request.name}"
        version = self.next_version(asset)
        salt = secrets.token_bytes(32)
        names = [column.name for column in request.columns]
        roles = {column.name: column.role for column in request.columns}
        text = tuple(name for name, role in roles.items() if role == "identifier")
        with self.connect(request.source, text) as connector:
            require_columns(names, connector.schema())
            found = examine(connector, names, roles)
            profile = found.profile.as_json()
            if drafted is not None:
                _require_same(profile, drafted["profile"], names)
            for name in text:
                values = columns.column_array(connector.batches([name]), name)
                identifiers.check(identifiers.normalise(values, ["trim"], name), name)
            dataset = fingerprints.dataset_version(connector, salt, names)
            source = pinned(request.source, connector)
        if dataset.rows != found.profile.rows:
            raise Conflict(f"the rows of {asset} changed while they were read; publish it again")
        report = found.report(roles, self._clock().date())
        suggested = (
            [one.as_json() for one in found.suggestions] if drafted is None else drafted["suggestions"]
        )
        review = asset_reviews.write(asset, version, request.columns, suggested, by, self._clock(), drafted)
        commitment, opening = commit(review)
        types = {column.name: column.type for column in found.profile.columns}
        body: dict[str, object] = {
            "asset": asset,
            "version": version,
            "kind": kind,
            "title": request.title,
            "description": request.description,
            "keywords": list(request.keywords),
            "schema": [_described(column, types[column.name]) for column in request.columns],
            "rows": dataset.rows,
            "root": dataset.root,
            "offer": to_offer(request.terms, self._did, None, asset),
            "profile": hashlib.sha256(canonical.encode(profile)).hexdigest(),
            "distribution": list(_FORMATS),
            "quality": _summary(report),
            "review": commitment,
        }
        self._store.assets.bind(AssetBinding(asset, version, source, salt, tuple(names), text))
        papers = self._store.asset_papers
        papers.put(AssetPaper(asset, version, PaperKind.QUALITY, canonical.encode(report.as_json())))
        papers.put(AssetPaper(asset, version, PaperKind.REVIEW, review, opening))
        entry = self._ledger.write("asset.publish", body)
        return Published(asset, version, dataset.rows, dataset.root, entry, profile, report.as_json())

    def next_version(self, asset: str) -> int:
        """The number that the next version of an asset gets."""
        before = self._ledger.final("assets", asset)
        return 1 if before is None else int(before["version"]) + 1

    def withdraw(self, asset: str, reason: str) -> FinalEntry:
        """Take an asset out of the catalog: no new job may use it; history stays.

        Raises:
            NotFound: this participant has not published it.
        """
        row = self.own(asset)
        if row["status"] != "published":
            raise Conflict(f"asset {asset} is {row['status']}")
        return self._ledger.write("asset.withdraw", {"asset": asset, "reason": reason})

    @contextmanager
    def open(self, asset: str, use: Use | None = None) -> Iterator[Connector]:
        """Open the source of the published version; of an asset that needs consent, the rows with consent.

        Raises:
            Conflict: it needs consent, and ``use`` does not say for what.
        """
        with self._opened(asset) as connector:
            yield self.consent.through(connector, asset, use)

    @contextmanager
    def _opened(self, asset: str) -> Iterator[Connector]:
        binding = self._binding(asset)
        with self.connect(binding.source, binding.text_columns) as connector:
            yield connector

    def verify_version(self, asset: str, look: Callable[[], None] = lambda: None) -> dict[str, object]:
        """Fingerprint the source again and compare with the published root; ``look`` before each batch.

        Raises:
            DatasetChanged: the rows are not those that were published.
        """
        row, binding = self.own(asset), self._binding(asset)
        with self._opened(asset) as connector:
            watched = Watched(connector, look)
            fingerprints.check_version(watched, binding.salt, row["root"], binding.columns)
        return {"asset": asset, "version": row["version"], "root": row["root"]}

    def review(self, asset: str) -> dict[str, Any]:
        """The steward's review of the present version, compared with the ledger's commitment.

        Raises:
            NotFound: it was published without one, or this node does not have it.
        """
        row = self.own(asset)
        paper = self._store.asset_papers.get(asset, int(row["version"]), PaperKind.REVIEW)
        if paper is None or "review" not in row:
            raise NotFound(f"no review of {asset} at this node")
        check(row["review"], paper.content, paper.salt)
        found: dict[str, Any] = json.loads(paper.content)
        return found

    def own(self, asset: str) -> Mapping[str, Any]:
        """The ledger's row of one of this owner's assets.

        Raises:
            NotFound: this participant has not published it.
        """
        row = self._ledger.final("assets", asset)
        if row is None or row["owner"] != self._did:
            raise NotFound(f"this participant has no asset {asset}")
        return row

    def _binding(self, asset: str) -> AssetBinding:
        binding = self._store.assets.binding(asset, int(self.own(asset)["version"]))
        if binding is None:
            raise NotFound(f"this node does not know where asset {asset} lies")
        return binding

    @contextmanager
    def connect(self, source: SourceSpec, text_columns: Sequence[str] = ()) -> Iterator[Connector]:
        """Open a source, and close it again."""
        connector = open_source(
            source,
            roots=self._settings.source_roots,
            text_columns=tuple(text_columns),
            hosts=self._settings.api_hosts,
        )
        try:
            yield connector
        finally:
            connector.close()


def _described(column: ColumnRequest, kind: str) -> dict[str, object]:
    described: dict[str, object] = {
        "name": column.name,
        "type": kind,
        "role": column.role,
        "sensitivity": column.sensitivity,
        "control": column.control,
    }
    described |= {"controls": dict(column.controls)} if column.controls else {}
    return described | ({"description": column.description} if column.description else {})


def _summary(report: QualityReport) -> dict[str, object]:
    return {
        "report": hashlib.sha256(canonical.encode(report.as_json())).hexdigest(),
        "completeness": report.completeness,
        "validity": report.validity,
        "uniqueness": report.uniqueness,
        "value": report.value,
    }


def _require_same(found: Mapping[str, Any], drafted: Mapping[str, Any], names: Sequence[str]) -> None:
    """A draft's suggestions are about the rows that were there; others need another draft."""
    now, then = counts(found), counts(drafted)
    retyped = {name for name in names if name in then and now[name][0] != then[name][0]}
    if any(now[name] != then.get(name) for name in ("", *names) if name not in retyped):
        raise Conflict("the data has changed since it was drafted; draft it again")
