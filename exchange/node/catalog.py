"""The catalog as this node sees it: searched in its own copy of the ledger, owners by name."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from exchange.catalog import CatalogIndex, CatalogQuery, Sort, dataset, document
from exchange.errors import NotFound
from exchange.node.ledger_client import LedgerClient
from exchange.node.papers import Papers
from ledger.state import State

__all__ = ["Catalog"]


class Catalog:
    """Search and records of everybody's published assets. Safe to use from several threads.

    The index follows the final state: at each change, so that a search finds it ready, and once more at each
    search, so that a search answers from the state of its own moment.
    """

    def __init__(self, ledger: LedgerClient, net: str, papers: Papers) -> None:
        self._ledger, self._net, self._papers = ledger, net, papers
        self._index = CatalogIndex()
        self._following = threading.Lock()
        ledger.on_change(self._follow)

    def search(
        self,
        query: CatalogQuery,
        *,
        sort: Sort = "relevance",
        offset: int = 0,
        limit: int = 20,
        facets: bool = False,
        federated: bool = False,
    ) -> dict[str, Any]:
        """Find assets; a ``dcat:Catalog`` with ``parley:total`` and, where asked for, ``parley:facets``.

        Args:
            query: what must hold; ``owners`` are names or DIDs.
            sort: the order.
            offset: how many to skip.
            limit: how many to return.
            facets: count the values of kind, owner, grade, tag and purpose among all that was found.
            federated: ask the owners of this page's assets for what only their nodes have, the quality
                reports; ``parley:members`` says how many answered, and which did not and why.
        """
        state = self._ledger.state
        self._index.follow(state.rows("assets"))
        names = {str(row["name"]): did for did, row in state.rows("members").items()}
        owners = tuple(names.get(owner, owner) for owner in query.owners)
        found = self._index.search(
            replace(query, owners=owners), sort=sort, offset=offset, limit=limit, facets=facets
        )
        rows = [state.rows("assets")[asset] for asset in found.assets]
        answer = document(rows, state.rows("members").values(), self._net)
        answer["parley:total"] = found.total
        if facets:
            answer["parley:facets"] = _shown(found.facets, state)
        if federated:
            self._ask_members(answer)
        return answer

    def record(self, asset: str) -> dict[str, Any]:
        """One asset as a ``dcat:Dataset``, withdrawn ones too.

        Raises:
            NotFound: it was never published.
        """
        row = self._ledger.awaited("assets", asset)
        if row is None:
            raise NotFound(f"no asset {asset} in the catalog")
        return dataset(row, self._ledger.state.rows("members").values())

    def rebuild(self) -> int:
        """Make the index anew; returns how many assets it has."""
        return self._index.rebuild(self._ledger.state.rows("assets"))

    def _ask_members(self, answer: dict[str, Any]) -> None:
        datasets = {record["@id"]: record for record in answer["dcat:dataset"]}
        reports, asked, silent = self._papers.reports(list(datasets))
        for asset, report in reports.items():
            datasets[asset]["parley:quality"] = report
        answer["parley:members"] = {
            "asked": asked,
            "answered": asked - len(silent),
            "silent": [{"member": one.member, "reason": one.reason} for one in silent],
        }

    def _follow(self) -> None:
        """Take a change in beside the thread that follows the ledger, which has cosigning to do."""
        if self._ledger.divergence is not None or self._following.locked():
            return
        assets = self._ledger.state.rows("assets")
        if not self._index.has(assets):
            threading.Thread(target=self._follow_now, name="catalog-index", daemon=True).start()

    def _follow_now(self) -> None:
        with self._following:
            if self._ledger.divergence is None:
                self._index.follow(self._ledger.state.rows("assets"))


def _shown(
    facets: Mapping[str, Sequence[tuple[str, int]]], state: State
) -> dict[str, list[dict[str, str | int]]]:
    members = state.rows("members")

    def name(facet: str, value: str) -> str:
        owner = members.get(value) if facet == "owner" else None
        return value if owner is None else str(owner["name"])

    return {
        facet: [{"value": name(facet, value), "count": count} for value, count in counts]
        for facet, counts in facets.items()
    }
