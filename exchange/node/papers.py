"""Papers about assets between members: quality reports and twins, kept at their owners' nodes.

The ledger has their digests. A node hands its own to any active member, and fetches those of others from the
owner over mutual TLS; what does not have the ledger's digest is thrown away.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Literal

from exchange.errors import ExchangeError, InvalidRequest, NotFound, TimedOut
from exchange.identity import NodeKeys
from exchange.node.ledger_client import LedgerClient
from exchange.rpc import papers as rpc
from exchange.rpc.errors import PeerUnreachable
from exchange.store import AssetPaperRepository, PaperKind
from exchange.web.fields import parse
from ledger import base64url, canonical

__all__ = ["PAPER_LIMIT", "Papers", "Silence"]

PAPER_LIMIT: Final = 32 * 1024 * 1024
"""Largest paper that is kept or taken, in bytes."""

_FETCH_S: Final = 60.0
_ASK_S: Final = 3.0
_MOST_ASSETS: Final = 100
_MOST_AT_ONCE: Final = 16


@dataclass(frozen=True)
class _Request:
    """What a member asks for: one paper, or the quality reports of several assets."""

    ask: Literal["quality", "twin", "reports"]
    assets: tuple[str, ...]


@dataclass(frozen=True)
class Silence:
    """A member that did not answer, and why not."""

    member: str
    reason: str


class Papers:
    """Handing out and fetching. Safe to use from several threads.

    Args:
        kept: this owner's papers.
        ledger: this node's view of the ledger.
        keys: this node's.
        ask_s: how long one member may take when several are asked.
    """

    def __init__(
        self, kept: AssetPaperRepository, ledger: LedgerClient, keys: NodeKeys, *, ask_s: float = _ASK_S
    ) -> None:
        self._kept, self._ledger, self._keys, self._ask_s = kept, ledger, keys, ask_s

    def answer(self, did: str, raw: bytes) -> bytes:
        """Answer a member that asks.

        Raises:
            InvalidRequest: what it asks for has no form. NotFound: there is no such paper of a published
            version of this owner.
        """
        try:
            asked = parse(_Request, json.loads(raw))
        except (ValueError, RecursionError):
            raise InvalidRequest("request", "a JSON object", f"{len(raw)} bytes of something else") from None
        if not 1 <= len(asked.assets) <= _MOST_ASSETS:
            raise InvalidRequest("assets", f"1 to {_MOST_ASSETS}", str(len(asked.assets)))
        if asked.ask != "reports":
            return self._own(asked.assets[0], PaperKind(asked.ask))
        found: dict[str, object] = {}
        for asset in asked.assets:
            try:
                found[asset] = json.loads(self._own(asset, PaperKind.QUALITY))
            except NotFound:
                continue
        return canonical.encode(found)

    def fetch(self, asset: str, kind: PaperKind) -> bytes:
        """Get a paper, from this node's store or from its owner's node, and compare it with the ledger.

        Raises:
            NotFound: the asset is not published, or without such a paper. TimedOut, PeerUnreachable,
            PeerRefused: the owner's node does not give it.
        """
        row = self._published(asset)
        if row["owner"] == self._keys.did:
            return self._own(asset, kind)
        self._digest(row, kind)
        request = canonical.encode({"ask": kind.value, "assets": [asset]})
        return self._checked(row, kind, self._call(row["owner"], request, _FETCH_S))

    def reports(self, assets: Sequence[str]) -> tuple[dict[str, Any], int, list[Silence]]:
        """Ask the owners of assets for their quality reports, all at once.

        Returns:
            The reports by asset; how many members were asked; those that did not answer.
        """
        rows = {asset: row for asset in assets if (row := self._ledger.final("assets", asset)) is not None}
        by_owner: dict[str, list[str]] = {}
        for asset, row in rows.items():
            by_owner.setdefault(str(row["owner"]), []).append(asset)
        found: dict[str, Any] = {}
        silent: list[Silence] = []
        if not by_owner:
            return found, 0, silent
        with ThreadPoolExecutor(min(len(by_owner), _MOST_AT_ONCE), thread_name_prefix="papers") as pool:
            calls = {owner: pool.submit(self._ask, owner, mine) for owner, mine in by_owner.items()}
            for owner, call in calls.items():
                try:
                    answered = call.result()
                except ExchangeError as error:
                    silent.append(Silence(self._name(owner), _reason(error)))
                    continue
                for asset in by_owner[owner]:
                    if asset in answered:
                        found[asset] = answered[asset]
        return found, len(by_owner), silent

    def _ask(self, owner: str, assets: Sequence[str]) -> dict[str, Any]:
        request = canonical.encode({"ask": "reports", "assets": list(assets)})
        if owner == self._keys.did:
            raw = self.answer(owner, request)
        else:
            raw = self._call(owner, request, self._ask_s)
        try:
            answered = json.loads(raw)
        except (ValueError, RecursionError):
            answered = None
        if not isinstance(answered, dict):
            raise PeerUnreachable(owner, self._endpoint(owner), "it answers with no JSON object")
        checked: dict[str, Any] = {}
        for asset in assets:
            row = self._ledger.final("assets", asset)
            if row is None or row["owner"] != owner or asset not in answered or "quality" not in row:
                continue
            self._checked(row, PaperKind.QUALITY, canonical.encode(answered[asset]))
            checked[asset] = answered[asset]
        return checked

    def _call(self, owner: str, request: bytes, timeout_s: float) -> bytes:
        member = self._ledger.final("members", owner)
        if member is None or member["status"] != "active":
            raise NotFound(f"{owner} is no active member")
        certificate = base64url.decode(member["tls"])
        return rpc.fetch(
            member["endpoint"],
            self._keys,
            owner,
            certificate,
            request,
            timeout_s=timeout_s,
            limit=PAPER_LIMIT,
        )

    def _own(self, asset: str, kind: PaperKind) -> bytes:
        row = self._published(asset)
        if row["owner"] != self._keys.did:
            raise NotFound(f"asset {asset} is not this participant's")
        paper = self._kept.get(asset, int(row["version"]), kind)
        if paper is None:
            raise NotFound(f"no {kind.value} of {asset} at this node")
        return self._checked(row, kind, paper.content)

    def _published(self, asset: str) -> Mapping[str, Any]:
        row = self._ledger.final("assets", asset)
        if row is None or row["status"] != "published":
            raise NotFound(f"no published asset {asset}")
        return row

    def _digest(self, row: Mapping[str, Any], kind: PaperKind) -> str:
        known = {
            PaperKind.QUALITY: row.get("quality", {}).get("report"),
            PaperKind.TWIN: row.get("twin", {}).get("digest"),
        }.get(kind)
        if known is None:
            raise NotFound(f"asset {row['asset']} was published without {kind.value}")
        return str(known)

    def _checked(self, row: Mapping[str, Any], kind: PaperKind, content: bytes) -> bytes:
        if hashlib.sha256(content).hexdigest() != self._digest(row, kind):
            owner = str(row["owner"])
            reason = f"its {kind.value} of {row['asset']} does not have the digest on the ledger"
            raise PeerUnreachable(owner, self._endpoint(owner), reason)
        return content

    def _endpoint(self, did: str) -> str:
        member = self._ledger.final("members", did)
        return "" if member is None else str(member["endpoint"])

    def _name(self, did: str) -> str:
        member = self._ledger.final("members", did)
        return did if member is None else str(member["name"])


def _reason(error: ExchangeError) -> str:
    if isinstance(error, TimedOut):
        return "it gave no answer in time"
    return error.reason if isinstance(error, PeerUnreachable) else error.code
