"""The calls about evidence: bundles, private content, time stamps, anchors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from exchange.sdk.connection import Connection, Json

__all__ = ["EvidenceCalls"]


class EvidenceCalls(Connection):
    """What an auditor asks a node for, and what outsiders vouch for."""

    def export_bundle(
        self,
        *,
        assets: Sequence[str] = (),
        participants: Sequence[str] = (),
        jobs: Sequence[str] = (),
        agreements: Sequence[str] = (),
        entries: Sequence[str] = (),
        disclose: Sequence[str] = (),
        earlier: Sequence[int] = (),
        everything: bool = False,
        negotiations: Sequence[str] = (),
        proposals: Sequence[str] = (),
        since: str | None = None,
        until: str | None = None,
    ) -> bytes:
        """Export an evidence bundle for what concerns the named things.

        ``entries`` are txids that it shows too, ``disclose`` those whose private content it shows, as far as
        the node has kept it, ``earlier`` sizes of checkpoints that it proves to be
        prefixes of its own, such as anchored ones. ``everything`` adds the whole log, so that a reader can
        replay all of it. ``since`` and ``until`` narrow what concerns the named things.
        """
        body = {
            "assets": list(assets),
            "participants": list(participants),
            "jobs": list(jobs),
            "agreements": list(agreements),
            "entries": list(entries),
            "disclose": list(disclose),
            "earlier": list(earlier),
            "everything": everything,
            "negotiations": list(negotiations),
            "proposals": list(proposals),
            "since": since,
            "until": until,
        }
        return self._send("POST", "/v1/audit/bundle", role="auditor", json=body).content

    def compare(self) -> Json:
        """Fetch the hub's whole log again and compare it with the node's own copy."""
        return self._object("POST", "/v1/audit/compare", role="auditor", json={})

    def private_entries(self) -> list[str]:
        """List the txids of the entries whose private content the node keeps."""
        return [str(txid) for txid in self._list("GET", "/v1/ledger/private", "txids", role="auditor")]

    def erase_private(self, txid: str) -> None:
        """Drop the private content behind an entry's commitment, for ever; the ledger stays whole."""
        self._send("DELETE", f"/v1/ledger/private/{quote(txid)}", role="steward")

    def timestamp(self, authority: str, certificates: str) -> Json:
        """Have the node's final checkpoint stamped by a time stamp authority; ``certificates`` are PEM."""
        body = {"authority": authority, "certificates": certificates}
        return self._object("POST", "/v1/ledger/timestamps", role="administrator", json=body)

    def timestamps(self) -> list[Json]:
        """List the time stamps that the node keeps."""
        return self._list("GET", "/v1/ledger/timestamps", "timestamps", role="auditor")

    def offer_anchor(self, after: int = 0) -> Json:
        """Return the node's final checkpoint for another ledger that has size ``after`` on record."""
        return self._object("GET", "/v1/ledger/anchor", role="auditor", params={"after": after})

    def anchor(self, offered: Mapping[str, object]) -> Json:
        """Put another ledger's checkpoint, from ``offer_anchor`` there, on record in this node's ledger."""
        body = {"anchor": dict(offered)}
        return self._object("POST", "/v1/ledger/anchors", role="administrator", json=body)

    def anchors(self) -> list[Json]:
        """List the latest checkpoint of each other ledger on record in this node's."""
        return self._list("GET", "/v1/ledger/anchors", "anchors", role="auditor")
