"""This owner's assets: profiled, fingerprinted and published; opened again when a job may read them.

Where the data lies, and the salt of its fingerprint, stay in this node's store. The ledger gets the
description, the column roles and levels, the row count and the salted Merkle root.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from connectors import columns, fingerprints, identifiers, open_source, profiles
from connectors.connector import Connector, require_columns
from connectors.profiles import Role as ColumnRole
from connectors.spec import SourceSpec
from exchange.config import NodeSettings
from exchange.errors import Conflict, InvalidRequest, NotFound
from exchange.node.ledger_client import FinalEntry, LedgerClient
from exchange.store import AssetBinding, NodeStore
from ledger import canonical
from policies.approvals import Sensitivity
from policies.column_control import Level
from policies.terms import Terms, to_offer

__all__ = ["AssetRequest", "Assets", "ColumnRequest", "Published"]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_FORMATS = ("ComputeJob-PSI", "ComputeJob-MPC")


@dataclass(frozen=True)
class ColumnRequest:
    """One column as the steward describes it."""

    name: str
    role: str
    sensitivity: str
    control: str


@dataclass(frozen=True)
class AssetRequest:
    """What a steward asks to publish."""

    name: str
    title: str
    description: str
    keywords: tuple[str, ...]
    source: SourceSpec
    columns: tuple[ColumnRequest, ...]
    terms: Terms


@dataclass(frozen=True)
class Published:
    """A version of an asset that is final on the ledger."""

    asset: str
    version: int
    rows: int
    root: str
    entry: FinalEntry
    profile: Mapping[str, Any]


class Assets:
    """Publishing, withdrawing and opening this owner's assets."""

    def __init__(self, settings: NodeSettings, store: NodeStore, ledger: LedgerClient, did: str) -> None:
        self._settings, self._store, self._ledger, self._did = settings, store, ledger, did

    def publish(self, request: AssetRequest) -> Published:
        """Profile and fingerprint the source, then put the description on the ledger.

        Raises:
            InvalidRequest: a name, role or level is not one of those that exist. SourceUnreachable,
            MissingColumn, EmptyTable, EmptyIdentifiers, DuplicateIdentifiers: the data is not
                what the request says; nothing is published.
        """
        _check_columns(request.columns)
        if not _NAME.fullmatch(request.name):
            raise InvalidRequest(
                "name", "lower-case letters, digits and hyphens, at most 63", repr(request.name)
            )
        asset = f"{self._settings.name}/{request.name}"
        before = self._ledger.final("assets", asset)
        version = 1 if before is None else int(before["version"]) + 1
        salt = secrets.token_bytes(32)
        names = [column.name for column in request.columns]
        text = tuple(column.name for column in request.columns if column.role == "identifier")
        with self._connect(request.source, text) as connector:
            require_columns(names, connector.schema())
            roles = {column.name: column.role for column in request.columns}
            profile = profiles.profile(connector, roles=roles)
            for name in text:
                values = columns.column_array(connector.batches([name]), name)
                identifiers.check(identifiers.normalise(values, ["trim"], name), name)
            dataset = fingerprints.dataset_version(connector, salt, names)
        types = {column.name: column.type for column in profile.columns}
        body: dict[str, object] = {
            "asset": asset,
            "version": version,
            "kind": "table",
            "title": request.title,
            "description": request.description,
            "keywords": list(request.keywords),
            "schema": [
                {
                    "name": column.name,
                    "type": types[column.name],
                    "role": column.role,
                    "sensitivity": column.sensitivity,
                    "control": column.control,
                }
                for column in request.columns
            ],
            "rows": dataset.rows,
            "root": dataset.root,
            "offer": to_offer(request.terms, self._did, None, asset),
            "profile": hashlib.sha256(canonical.encode(profile.as_json())).hexdigest(),
            "distribution": list(_FORMATS),
        }
        self._store.assets.bind(AssetBinding(asset, version, request.source, salt, tuple(names), text))
        entry = self._ledger.write("asset.publish", body)
        return Published(asset, version, dataset.rows, dataset.root, entry, profile.as_json())

    def withdraw(self, asset: str, reason: str) -> FinalEntry:
        """Take an asset out of the catalog: no new job may use it; history stays.

        Raises:
            NotFound: this participant has not published it.
        """
        row = self._own(asset)
        if row["status"] != "published":
            raise Conflict(f"asset {asset} is {row['status']}")
        return self._ledger.write("asset.withdraw", {"asset": asset, "reason": reason})

    @contextmanager
    def open(self, asset: str) -> Iterator[Connector]:
        """Open the source of the published version."""
        binding = self._binding(asset)
        with self._connect(binding.source, binding.text_columns) as connector:
            yield connector

    def verify_version(self, asset: str) -> dict[str, object]:
        """Fingerprint the source again and compare with the published root.

        Raises:
            DatasetChanged: the rows are not those that were published.
        """
        row, binding = self._own(asset), self._binding(asset)
        with self.open(asset) as connector:
            fingerprints.check_version(connector, binding.salt, row["root"], binding.columns)
        return {"asset": asset, "version": row["version"], "root": row["root"]}

    def _own(self, asset: str) -> Mapping[str, Any]:
        row = self._ledger.final("assets", asset)
        if row is None or row["owner"] != self._did:
            raise NotFound(f"this participant has no asset {asset}")
        return row

    def _binding(self, asset: str) -> AssetBinding:
        binding = self._store.assets.binding(asset, int(self._own(asset)["version"]))
        if binding is None:
            raise NotFound(f"this node does not know where asset {asset} lies")
        return binding

    @contextmanager
    def _connect(self, source: SourceSpec, text_columns: Sequence[str]) -> Iterator[Connector]:
        connector = open_source(source, roots=self._settings.source_roots, text_columns=tuple(text_columns))
        try:
            yield connector
        finally:
            connector.close()


def _check_columns(asked: Sequence[ColumnRequest]) -> None:
    if not asked:
        raise InvalidRequest("columns", "at least one column", "none")
    for i, column in enumerate(asked):
        if column.role not in set(ColumnRole):
            raise InvalidRequest(f"columns[{i}].role", f"one of {', '.join(ColumnRole)}", repr(column.role))
        if column.sensitivity not in set(Sensitivity):
            expected = f"one of {', '.join(Sensitivity)}"
            raise InvalidRequest(f"columns[{i}].sensitivity", expected, repr(column.sensitivity))
        if column.control not in set(Level):
            raise InvalidRequest(f"columns[{i}].control", f"one of {', '.join(Level)}", repr(column.control))
    names = [column.name for column in asked]
    if len(set(names)) != len(names):
        raise InvalidRequest("columns", "each column once", "a column named twice")
