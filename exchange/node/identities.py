"""How this node finds out whose key is whose: its own copy of the ledger, then the web hosts it trusts.

A status list is fetched from the node of its issuer, over TLS pinned to the certificate that the ledger has
of that member. An address that leads to anybody else fails in the handshake, before a request is sent.
"""

from __future__ import annotations

from exchange.credentials import documents
from exchange.credentials.dids import host_of
from exchange.credentials.documents import Document
from exchange.credentials.errors import CredentialInvalid, DidUnresolved
from exchange.credentials.resolution import Resolver, WebHosts
from exchange.node.services import NodeServices
from exchange.tls import client_context
from ledger import base64url

__all__ = ["fetch_status_list", "resolver"]


def resolver(services: NodeServices) -> Resolver:
    """Return a resolver over the state that counts now."""
    hosts = services.settings.did_hosts
    fetch = WebHosts.with_public_roots([host_of(url) for url in hosts]) if hosts else None
    return Resolver(services.ledger.next_state, fetch=fetch)


def fetch_status_list(services: NodeServices, issuer: str, address: str) -> Document:
    """Get a status list from its issuer's node.

    Raises:
        CredentialInvalid: the issuer is no member, or its node does not answer with a list.
    """
    member = services.ledger.next_state.get("members", issuer)
    if member is None:
        raise CredentialInvalid("status-unknown", "expected the status list of an issuer that is no member")
    host = address.removeprefix("https://").partition("/")[0]
    context = client_context(None, None, base64url.decode(member["tls"]))
    try:
        return documents.read(WebHosts({host: context})(address))
    except DidUnresolved as error:
        raise CredentialInvalid("status-unknown", f"the issuer's status list: {error}") from error
