"""Time stamps by an outside authority on this node's final checkpoint (RFC 3161 over HTTP)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import httpx

from exchange.errors import AuthorityUnreachable, Conflict, InvalidRequest
from exchange.node.services import NodeServices
from ledger.checkpoints import Checkpoint
from ledger.errors import StaleHead
from ledger.membership import Network
from ledger.timestamp_store import TimestampStore
from ledger.timestamps import MAX_RESPONSE_SIZE, Stamp, check, load_certificates, request

__all__ = ["Timestamps"]

_TIMEOUT_S = 20.0
_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"


class Timestamps:
    """Asks authorities, checks what they answer, keeps it."""

    def __init__(self, services: NodeServices, transport: httpx.BaseTransport | None = None) -> None:
        self._services, self._transport = services, transport
        self._store = TimestampStore(services.ledger.mirror.store)

    def stamp(self, authority: str, certificates: bytes) -> dict[str, Any]:
        """Have the checkpoint of the final size stamped.

        Args:
            authority: where to send the request; an http or https address.
            certificates: the authority's root certificate and any between it and the signer, PEM.

        Raises:
            InvalidRequest: the address is no such one, or no certificate is a root.
            Conflict: nothing is final yet, or this authority has stamped this size already.
            AuthorityUnreachable: it did not answer with a time stamp.
            InvalidTimestamp: its answer does not verify; nothing is kept.
        """
        parts = urlsplit(authority)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.username
            or len(authority) > 256
        ):
            raise InvalidRequest("authority", "an http or https address without credentials", "another text")
        given = load_certificates(certificates)
        roots = [one for one in given if one.subject == one.issuer]
        if not roots:
            raise InvalidRequest("certificates", "the authority's root certificate among them", "none")
        size, text = self._checkpoint()
        made = request(text)
        response = self._ask(authority, made.body)
        stamped = check(text, response, roots, others=given, nonce=made.nonce)
        try:
            self._store.add(Stamp(size, authority, response, certificates))
        except StaleHead:
            raise Conflict(f"expected a size without a stamp by this authority, {size} has one") from None
        return {
            "size": size,
            "authority": stamped.authority,
            "time": stamped.time.isoformat(),
            "url": authority,
        }

    def stamps(self) -> list[Stamp]:
        """All stamps kept here, by size."""
        return self._store.all()

    def _checkpoint(self) -> tuple[int, str]:
        ledger = self._services.ledger
        size, state = ledger.mirror.final
        network = Network.of(state)
        if network is None:
            raise Conflict("expected a final checkpoint to stamp, there is none yet")
        return size, Checkpoint(network.origin, size, ledger.mirror.tree.root(size)).encode()

    def _ask(self, authority: str, body: bytes) -> bytes:
        headers = {"Content-Type": _QUERY, "Accept": _REPLY}
        try:
            with (
                httpx.Client(timeout=_TIMEOUT_S, trust_env=False, transport=self._transport) as client,
                client.stream("POST", authority, content=body, headers=headers) as answer,
            ):
                content = b""
                for part in answer.iter_bytes():
                    content += part
                    if len(content) > MAX_RESPONSE_SIZE:
                        raise AuthorityUnreachable(f"expected at most {MAX_RESPONSE_SIZE} bytes, got more")
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise AuthorityUnreachable(
                f"expected an answer of the time stamp authority, got none ({type(exc).__name__})"
            ) from exc
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        if answer.status_code != httpx.codes.OK or kind != _REPLY:
            raise AuthorityUnreachable(
                f"expected 200 and {_REPLY}, got {answer.status_code} and another type"
            )
        return content
