"""The calls about the node's own assets, and about the catalog of everybody's."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from exchange.sdk.connection import Connection, Json

__all__ = ["AssetCalls"]

_READING_S = 3600.0  # a node answers when it has read the whole table


class AssetCalls(Connection):
    """Publishing, and finding what others publish."""

    def publish(self, asset: Mapping[str, object]) -> Json:
        """Profile a table at the node and publish it; the API documents the members of ``asset``."""
        return self._object("POST", "/v1/assets", role="steward", json=dict(asset), timeout=_READING_S)

    def draft(self, name: str, source: Mapping[str, object]) -> Json:
        """Examine a source: profile, quality report and a suggestion for each column; nothing is published.

        Args:
            name: of the asset.
            source: as in ``publish``.
        """
        body = {"name": name, "source": dict(source)}
        return self._object("POST", "/v1/assets/drafts", role="steward", json=body, timeout=_READING_S)

    def drafts(self) -> list[Json]:
        """List the drafts that no steward has confirmed."""
        return self._list("GET", "/v1/assets/drafts", "drafts", role="steward")

    def discard(self, asset: str) -> None:
        """Drop a draft."""
        self._send("DELETE", f"/v1/assets/drafts/{quote(asset)}", role="steward")

    def confirm(self, asset: str, confirmation: Mapping[str, object]) -> Json:
        """Publish a draft: ``title`` and ``terms``, and ``columns`` where not all are taken as suggested."""
        path = f"/v1/assets/drafts/{quote(asset)}/confirm"
        return self._object("POST", path, role="steward", json=dict(confirmation), timeout=_READING_S)

    def review(self, asset: str) -> Json:
        """Show what was suggested, chosen and overridden for the own asset's present version."""
        role = self._one_of("steward", "auditor")
        return self._object("GET", f"/v1/assets/{quote(asset)}/review", role=role)

    def make_twin(self, asset: str, *, rows: int = 1000, epsilon_micro: int = 5_000_000) -> Json:
        """Draw and publish a synthetic twin of the own asset's present version.

        Args:
            asset: its id.
            rows: how many to draw.
            epsilon_micro: noise of all columns together, in millionths; less is more noise.
        """
        body = {"rows": rows, "epsilon_micro": epsilon_micro}
        return self._object(
            "POST", f"/v1/assets/{quote(asset)}/twin", role="steward", json=body, timeout=_READING_S
        )

    def twin(self, asset: str) -> bytes:
        """Fetch the twin of any member's asset, a Parquet file with the digest on the ledger."""
        role = self._one_of("analyst", "steward", "auditor")
        return self._send("GET", f"/v1/catalog/{quote(asset)}/twin", role=role, timeout=90.0).content

    def quality(self, asset: str) -> Json:
        """Fetch the quality report of any member's asset, with the digest on the ledger."""
        role = self._one_of("analyst", "steward", "auditor")
        return self._object("GET", f"/v1/catalog/{quote(asset)}/quality", role=role, timeout=90.0)

    def versions(self, asset: str) -> list[Json]:
        """List every version of any member's asset, oldest first."""
        path = f"/v1/catalog/{quote(asset)}/versions"
        return self._list("GET", path, "versions", role=self._one_of("analyst", "steward", "auditor"))

    def assets(self) -> list[Json]:
        """List the node's own assets."""
        return self._list("GET", "/v1/assets", "assets", role="steward")

    def withdraw(self, asset: str, reason: str) -> Json:
        """Withdraw an asset: no new jobs; history stays."""
        path = f"/v1/assets/{quote(asset)}/withdraw"
        return self._object("POST", path, role="steward", json={"reason": reason})

    def catalog(self, words: str = "", **filters: object) -> Json:
        """Search the consortium's catalog; a DCAT document with ``parley:total``.

        Args:
            words: all must occur.
            filters: ``tag``, ``column``, ``owner`` (texts or lists), ``purpose``, ``kind``, ``grade``,
                ``max_price``, ``min_rows``, ``sort``, ``offset``, ``limit``, ``facets`` and ``federated``,
                as the API has them; None is left out.
        """
        params = {"q": words, **{name: value for name, value in filters.items() if value is not None}}
        return self._object("GET", "/v1/catalog", role="analyst", params=params)

    def dataset(self, asset: str) -> Json:
        """Show one asset's DCAT record."""
        return self._object("GET", f"/v1/catalog/{quote(asset)}", role="analyst")
