"""Drafts: an asset that was examined and suggested for, and that no steward has confirmed yet.

A draft stays at this node: its source is kept sealed like that of a published version, and nothing of it is
on the ledger before ``confirm``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from connectors.spec import SourceSpec
from exchange.config import NodeSettings
from exchange.errors import Conflict, InvalidRequest, NotFound
from exchange.node.asset_requests import (
    AssetRequest,
    ColumnChoice,
    ColumnRequest,
    Confirmation,
    check_name,
    is_name,
)
from exchange.node.assets import Assets, Published
from exchange.node.examination import examine
from exchange.store import AssetBinding, AssetPaper, NodeStore, PaperKind
from ledger import canonical
from ledger.times import format_time

__all__ = ["Drafts"]


class Drafts:
    """Drafting and confirming this owner's assets."""

    def __init__(
        self, settings: NodeSettings, store: NodeStore, assets: Assets, clock: Callable[[], datetime]
    ) -> None:
        self._settings, self._store, self._assets, self._clock = settings, store, assets, clock

    def draft(self, name: str, source: SourceSpec, by: str) -> dict[str, Any]:
        """Examine a source: profile, suggestions for every column, quality report as if they were taken.

        A new draft takes the place of an earlier one of the same name.

        Raises:
            InvalidRequest: the name has another form. SourceUnreachable, EmptyTable, UnsupportedColumn: the
            source cannot be examined.
        """
        check_name(name)
        asset = f"{self._settings.name}/{name}"
        version = self._assets.next_version(asset)
        with self._assets.connect(source) as connector:
            found = examine(connector)
        roles = {one.column: one.role.value for one in found.suggestions}
        document: dict[str, Any] = {
            "asset": asset,
            "version": version,
            "by": by,
            "drafted": format_time(self._clock()),
            "profile": found.profile.as_json(),
            "quality": found.report(roles, self._clock().date()).as_json(),
            "suggestions": [one.as_json() for one in found.suggestions],
        }
        # A draft has no fingerprint, so the salt is drawn when it is confirmed.
        self._store.assets.bind(AssetBinding(asset, version, source, b"", tuple(roles), ()))
        self._store.asset_papers.put(AssetPaper(asset, version, PaperKind.DRAFT, canonical.encode(document)))
        return document

    def all(self) -> list[dict[str, Any]]:
        """List the drafts whose version has not been published."""
        kept = self._store.asset_papers.all(PaperKind.DRAFT)
        return [_read(paper) for paper in kept if paper.version == self._assets.next_version(paper.asset)]

    def find(self, asset: str) -> dict[str, Any]:
        """Return the draft of an asset's next version.

        Raises:
            NotFound: there is none.
        """
        if not asset.startswith(f"{self._settings.name}/") or not is_name(asset.partition("/")[2]):
            raise NotFound(f"no draft of {asset[:200]!r}")
        paper = self._store.asset_papers.get(asset, self._assets.next_version(asset), PaperKind.DRAFT)
        if paper is None:
            raise NotFound(f"no draft of {asset} for its next version")
        return _read(paper)

    def discard(self, asset: str) -> None:
        """Drop a draft.

        Raises:
            NotFound: there is none.
        """
        self._store.asset_papers.drop(asset, int(self.find(asset)["version"]), PaperKind.DRAFT)

    def confirm(self, asset: str, confirmation: Confirmation, by: str) -> Published:
        """Publish a draft as suggested, or as the steward chooses; what was overridden is kept.

        Raises:
            NotFound: there is no draft. InvalidRequest: a choice names a column that was not drafted, or a
            role, grade or level that does not exist. Conflict: the data has changed since.
        """
        drafted = self.find(asset)
        version = int(drafted["version"])
        binding = self._store.assets.binding(asset, version)
        if binding is None:
            raise Conflict(f"this node does not know where the draft of {asset} lies; draft it again")
        request = AssetRequest(
            name=asset.partition("/")[2],
            title=confirmation.title,
            description=confirmation.description,
            keywords=confirmation.keywords,
            source=binding.source,
            columns=_chosen(confirmation.columns, drafted["suggestions"]),
            terms=confirmation.terms,
            kind=confirmation.kind,
        )
        published = self._assets.publish(request, by, drafted=drafted)
        self._store.asset_papers.drop(asset, version, PaperKind.DRAFT)
        return published


def _chosen(
    choices: Sequence[ColumnChoice], suggestions: Sequence[Mapping[str, Any]]
) -> tuple[ColumnRequest, ...]:
    suggested = {str(one["name"]): one for one in suggestions}
    taken = choices or tuple(ColumnChoice(name) for name in suggested)
    columns = []
    for i, choice in enumerate(taken):
        proposal = suggested.get(choice.name)
        if proposal is None:
            raise InvalidRequest(
                f"columns[{i}].name", f"one of {', '.join(suggested)}", repr(choice.name)[:80]
            )
        columns.append(
            ColumnRequest(
                choice.name,
                choice.role or proposal["role"],
                choice.sensitivity or proposal["sensitivity"],
                choice.control or proposal["control"],
                choice.controls,
                choice.description,
            )
        )
    return tuple(columns)


def _read(paper: AssetPaper) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(paper.content)
    return document
