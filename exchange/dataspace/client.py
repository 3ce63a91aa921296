"""Other members' connectors: where they are by the ledger, and how they are spoken to.

A connector is reached at the address that its owner has put into its own member record and nowhere else,
with mutual TLS pinned to the certificate in that record. So neither a ``callbackAddress`` nor a redirect
leads this node to an address of somebody's choosing: before a byte of a message is sent, the server there has
shown that it holds the member's key.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any, Final

import httpx

from exchange.dataspace.errors import ConnectorRefused, ConnectorUnreachable, MalformedMessage
from exchange.dataspace.messages import message
from exchange.identity import NodeKeys
from exchange.node.ledger_client import LedgerClient
from exchange.tls import client_context
from ledger import base64url

__all__ = ["Connectors"]

_TIMEOUT: Final = httpx.Timeout(20.0, connect=5.0)
_ANSWER_LIMIT: Final = 1024 * 1024
_MOST_PAGES: Final = 500
_MEDIA_TYPE: Final = "application/json"


class Connectors:
    """The connectors of the members, by DID. Safe to use from several threads."""

    def __init__(self, ledger: LedgerClient, keys: NodeKeys) -> None:
        self._ledger, self._keys = ledger, keys
        self._lock = threading.Lock()
        self._clients: dict[bytes, httpx.Client] = {}

    def address(self, did: str) -> str | None:
        """Return the base address that a member has put on the ledger, if it has and is active."""
        row = self._ledger.next_state.get("members", did)
        if row is None or row["status"] != "active":
            return None
        found = row.get("dataspace")
        return None if found is None else str(found)

    def addresses(self) -> dict[str, str]:
        """Return the base addresses of all active members that have one, by DID."""
        rows = self._ledger.next_state.rows("members").items()
        return {did: str(row["dataspace"]) for did, row in rows if self.address(did) is not None}

    def member_of(self, certificate: bytes) -> str | None:
        """Return the DID of the active member that a TLS certificate stands for."""
        for did, row in self._ledger.next_state.rows("members").items():
            if row["status"] == "active" and base64url.decode(row["tls"]) == certificate:
                return did
        return None

    def check_callback(self, did: str, address: str) -> None:
        """Check that a ``callbackAddress`` is the address that the ledger has of its sender.

        Raises:
            MalformedMessage: it is another one.
        """
        if address.rstrip("/") != self.address(did):
            raise MalformedMessage("callbackAddress", "the sender's address on the ledger", "another one")

    def post(self, did: str, path: str, content: Mapping[str, object]) -> None:
        """Send a message.

        Raises:
            ConnectorUnreachable: no address on the ledger, no connection, or an answer to try later.
            ConnectorRefused: the connector does not take the message.
        """
        body = json.dumps(content, ensure_ascii=False).encode()
        self._call(did, "POST", path, body)

    def state(self, did: str, path: str) -> str | None:
        """Ask for the state of a process; None where the other side tells none."""
        try:
            answer = json.loads(self._call(did, "GET", path, None))
        except (ConnectorRefused, ValueError):
            return None
        found = answer.get("state") if isinstance(answer, dict) else None
        return found if isinstance(found, str) else None

    def ask(self, did: str, path: str, content: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Ask for a document, such as a catalog.

        Raises:
            ConnectorUnreachable, ConnectorRefused: as for ``post``, or the answer is no JSON object.
        """
        body = None if content is None else json.dumps(content, ensure_ascii=False).encode()
        try:
            answer = json.loads(self._call(did, "GET" if body is None else "POST", path, body))
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ConnectorRefused("expected a JSON object from the other member's connector")
        return answer

    def catalog(self, did: str) -> dict[str, Any]:
        """Ask a member for its catalog, every page of it, as one document.

        Raises:
            ConnectorUnreachable, ConnectorRefused: as for ``post``, or the answer is no catalog.
        """
        asked = message("CatalogRequestMessage")
        found: dict[str, Any] = {}
        for page in range(1, _MOST_PAGES + 1):
            one = self.ask(did, f"catalog/request?page={page}", asked)
            datasets = one.get("dataset", [])
            if one.get("@type") != "Catalog" or not isinstance(datasets, list):
                raise ConnectorRefused("expected a catalog from the other member's connector")
            found = found or {**one, "dataset": []}
            found["dataset"] += datasets
            if not datasets:
                break
        return found

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _call(self, did: str, method: str, path: str, body: bytes | None) -> bytes:
        base = self.address(did)
        row = self._ledger.next_state.get("members", did)
        if base is None or row is None:
            raise ConnectorUnreachable("the other member has no connector on the ledger")
        headers = {"Accept": _MEDIA_TYPE} | ({} if body is None else {"Content-Type": _MEDIA_TYPE})
        try:
            with self._client(base64url.decode(row["tls"])).stream(
                method, f"{base}/{path}", content=body, headers=headers
            ) as response:
                answer = _read(response)
        except (httpx.HTTPError, OSError) as error:
            raise ConnectorUnreachable(
                f"{row['name']}'s connector does not answer: {type(error).__name__}"
            ) from error
        if response.is_success:
            return answer
        if response.status_code >= 500 or response.status_code == 429:
            raise ConnectorUnreachable(f"{row['name']}'s connector answered {response.status_code}")
        raise ConnectorRefused(f"{row['name']}'s connector answered {response.status_code}: {_code(answer)}")

    def _client(self, certificate: bytes) -> httpx.Client:
        with self._lock:
            if certificate not in self._clients:
                keys = self._keys
                self._clients[certificate] = httpx.Client(
                    verify=client_context(keys.tls_key, keys.tls_cert, certificate),
                    timeout=_TIMEOUT,
                    trust_env=False,
                )
            return self._clients[certificate]


def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    for piece in response.iter_raw():
        body += piece
        if len(body) > _ANSWER_LIMIT:
            raise httpx.ReadError(f"expected at most {_ANSWER_LIMIT} bytes")
    return bytes(body)


def _code(answer: bytes) -> str:
    """The code of an error object; the rest is the other side's and is not shown."""
    try:
        found = json.loads(answer).get("code")
    except (ValueError, AttributeError):
        return "no reason given"
    return found[:64] if isinstance(found, str) else "no reason given"
