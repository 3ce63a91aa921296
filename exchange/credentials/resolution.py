"""From a verification method to a public key: by the ledger, by the DID itself, or by a host that is trusted.

Where a DID is a member's, the ledger alone decides which key counts. A ``did:key`` would otherwise go on
vouching for a key that its owner has replaced because somebody stole it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import httpx

from exchange.credentials import documents
from exchange.credentials.dids import (
    DidDocument,
    did_of,
    key_document,
    member_document,
    parse_document,
    url_of_web,
)
from exchange.credentials.documents import Document
from exchange.credentials.errors import CredentialInvalid, DidUnresolved
from ledger.algorithms import EDDSA
from ledger.membership import key_at
from ledger.tables import State

__all__ = ["Fetch", "Resolver", "WebHosts"]

Fetch = Callable[[str], bytes]
"""Gets the bytes at an ``https`` address, or raises ``DidUnresolved``."""

_LARGEST = 64 * 1024
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Resolver:
    """Finds keys and documents.

    Attributes:
        state: of the ledger; without one, no DID is a member's.
        at: index in the log at which a member's key must have counted; None: it counts now.
        fetch: how documents of ``did:web`` are got; without it there are none.
    """

    state: State | None = None
    at: int | None = None
    fetch: Fetch | None = None

    def __call__(self, method: str, purpose: str) -> bytes:
        """Return the Ed25519 public key of a verification method for a purpose.

        Raises:
            DidUnresolved: no such key counts.
        """
        did = did_of(method)
        if self.at is not None and self.state is not None and self.state.get("members", did) is not None:
            return self._former(did, method)
        return self._believed(did).key(method, purpose)

    def document(self, did: str) -> Document:
        """Return the document of a DID as it may be shown to others.

        Raises:
            DidUnresolved: it leads to none.
        """
        member = None if self.state is None else self.state.get("members", did)
        if member is not None:
            if member["status"] == "removed":
                raise DidUnresolved(f"{did} is no member any more")
            return member_document(member)
        if did.startswith("did:key:"):
            return key_document(did)
        if did.startswith("did:web:"):
            return self._from_web(did)
        raise DidUnresolved("expected a DID of the method key or web")

    def _believed(self, did: str) -> DidDocument:
        return parse_document(self.document(did), did)

    def _from_web(self, did: str) -> Document:
        if self.fetch is None:
            raise DidUnresolved("no host of a did:web is trusted here")
        try:
            document = documents.read(self.fetch(url_of_web(did)))
        except CredentialInvalid as error:
            raise DidUnresolved(f"{did}: {error}") from error
        self._check_against_ledger(parse_document(document, did))
        return document

    def _check_against_ledger(self, found: DidDocument) -> None:
        """A document that claims to be a member's shows the key that the ledger names, and no other."""
        for name in found.also_known_as:
            member = None if self.state is None else self.state.get("members", name)
            if member is None:
                continue
            own = parse_document(member_document(member, found.did), found.did)
            if dict(found.methods) != dict(own.methods) or found.purposes != own.purposes:
                raise DidUnresolved(f"{found.did} shows other keys than the ledger has of {name}")

    def _former(self, did: str, method: str) -> bytes:
        if self.state is None or self.at is None:
            raise DidUnresolved("expected a state and an index")
        key = key_at(self.state, did, self.at)
        if key is None or key.kid != method or key.alg != EDDSA:
            raise DidUnresolved(f"expected the key that {did} signed with at index {self.at}")
        return key.public


@dataclass(frozen=True)
class WebHosts:
    """Fetches from a closed set of hosts, over TLS that a pinned certificate or the public roots vouch for.

    Attributes:
        trusted: host, with its port if it has one, to the TLS context that vouches for it.
    """

    trusted: Mapping[str, ssl.SSLContext] = field(repr=False)
    transport: httpx.BaseTransport | None = field(default=None, repr=False)

    @classmethod
    def with_public_roots(cls, hosts: Collection[str]) -> WebHosts:
        """Trust these hosts with the certificates that the public authorities gave them."""
        return cls({host: ssl.create_default_context() for host in hosts})

    def __call__(self, url: str) -> bytes:
        """Get a document; no redirect, no proxy, at most 64 KiB.

        Raises:
            DidUnresolved: the host is not trusted, or did not answer with a document.
        """
        host = url.removeprefix("https://").partition("/")[0]
        context = self.trusted.get(host)
        if context is None or not url.startswith("https://"):
            raise DidUnresolved(f"expected a host of a did:web that is trusted here, got {host}")
        try:
            with (
                httpx.Client(
                    verify=context, timeout=_TIMEOUT_S, trust_env=False, transport=self.transport
                ) as client,
                client.stream("GET", url) as answer,
            ):
                if answer.status_code != httpx.codes.OK:
                    raise DidUnresolved(f"expected a DID document at {host}, got status {answer.status_code}")
                return _limited(answer)
        except httpx.HTTPError as error:
            raise DidUnresolved(f"{host} gave no DID document: {type(error).__name__}") from error


def _limited(answer: httpx.Response) -> bytes:
    body = b""
    for part in answer.iter_bytes():
        body += part
        if len(body) > _LARGEST:
            raise DidUnresolved(f"expected a DID document of at most {_LARGEST} bytes")
    return body
