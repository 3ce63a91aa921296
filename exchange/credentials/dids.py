"""DIDs (W3C DID Core 1.0) of the methods ``key`` and ``web``, and the documents they lead to.

A member of the exchange is known by the ``did:key`` of its first entry key, whichever key is in use now: the
ledger says which. Its document is therefore made from the ledger's rows. The same keys may also be found
under a ``did:web``, which names a web host; that document says of which member it is (``alsoKnownAs``).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from exchange.credentials.documents import Document
from exchange.credentials.errors import CredentialInvalid, DidUnresolved
from exchange.credentials.multibase import encode58, multikey, public_of
from ledger import base64url
from ledger.algorithms import EDDSA
from ledger.errors import MalformedKey
from ledger.keys import public_from_did_key

__all__ = [
    "CONTEXT",
    "DidDocument",
    "did_of",
    "host_of",
    "key_document",
    "member_document",
    "parse_document",
    "path_of_web",
    "url_of_web",
    "web_did",
    "web_did_at",
]

CONTEXT = ("https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1")
_DID = re.compile(r"did:[a-z0-9]+:[A-Za-z0-9._:%-]{1,400}", re.ASCII)
_WEB_PART = re.compile(r"[A-Za-z0-9._-]+(%3A[0-9]{1,5})?", re.ASCII)
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)", re.ASCII)
_X25519_MULTICODEC = b"\xec\x01"
_LONGEST_LIST = 64


@dataclass(frozen=True)
class DidDocument:
    """What this package believes of a DID document.

    Attributes:
        did: the DID it is about.
        also_known_as: other names that the document claims.
        methods: Ed25519 public keys by the URL of their verification method.
        purposes: for each verification relationship, the methods that count for it.
    """

    did: str
    also_known_as: tuple[str, ...]
    methods: Mapping[str, bytes]
    purposes: Mapping[str, frozenset[str]]

    def key(self, method: str, purpose: str) -> bytes:
        """Return the public key of a method that may be used for ``purpose``.

        Raises:
            DidUnresolved: there is none.
        """
        if method not in self.purposes.get(purpose, frozenset()) or method not in self.methods:
            raise DidUnresolved(
                f"expected a key of {self.did} for {purpose} under the method's name, got none"
            )
        return self.methods[method]


def did_of(method: str) -> str:
    """Return the DID of a verification method's URL.

    Raises:
        DidUnresolved: it is not a DID and a fragment.
    """
    did, mark, fragment = method.partition("#")
    if not mark or not fragment or len(method) > 600 or _DID.fullmatch(did) is None:
        raise DidUnresolved("expected a verification method of the form did:method:id#key")
    return did


def key_document(did: str) -> Document:
    """Return the document of a ``did:key``; nothing is asked from anybody.

    Raises:
        DidUnresolved: not the ``did:key`` of an Ed25519 key.
    """
    try:
        public = public_from_did_key(did)
    except MalformedKey as error:
        raise DidUnresolved(f"expected the did:key of an Ed25519 key: {error}") from error
    method = f"{did}#{did.removeprefix('did:key:')}"
    return _document(did, [], {method: multikey(public)}, {})


def member_document(member: Mapping[str, Any], did: str | None = None) -> Document:
    """Return the document of a member, from its row on the ledger.

    Args:
        member: the row.
        did: the name under which the document is shown, such as its ``did:web``; its DID on the ledger is
            then among the other names.

    Returns:
        The document. It has no assertion key where the member signs with another algorithm than Ed25519.
    """
    named, known_as = did or member["did"], [] if did in (None, member["did"]) else [member["did"]]
    fragment = member["tx"]["kid"].partition("#")[2]
    keys = {}
    if member["tx"]["alg"] == EDDSA:
        keys[f"{named}#{fragment}"] = multikey(base64url.decode(member["tx"]["public"]))
    seal = {f"{named}#seal": encode58(_X25519_MULTICODEC + base64url.decode(member["seal"]))}
    return _document(named, known_as, keys, seal)


def parse_document(document: Mapping[str, Any], did: str) -> DidDocument:
    """Read a document that somebody served for ``did``.

    Raises:
        DidUnresolved: it is about another DID, or not of the form that this package understands.
    """
    if document.get("id") != did:
        raise DidUnresolved(f"expected a document about {did}, got one about another DID")
    methods: dict[str, bytes] = {}
    for item in _list(document, "verificationMethod"):
        if not isinstance(item, dict) or item.get("type") != "Multikey" or item.get("controller") != did:
            continue
        name = item.get("id")
        if not isinstance(name, str) or did_of(name) != did or name in methods:
            raise DidUnresolved(f"expected distinct verification methods of {did}")
        try:
            methods[name] = public_of(item.get("publicKeyMultibase"))
        except CredentialInvalid:
            continue  # a key of another kind: it verifies nothing here
    purposes = {
        purpose: frozenset(item for item in _list(document, purpose) if isinstance(item, str))
        for purpose in ("assertionMethod", "authentication", "capabilityInvocation")
    }
    known_as = tuple(item for item in _list(document, "alsoKnownAs") if isinstance(item, str))
    return DidDocument(did, known_as, methods, purposes)


def web_did(host: str, *path: str) -> str:
    """Name a web host, with its port if it has one, and a path below it."""
    return ":".join(["did:web", quote(host, safe=""), *(quote(part, safe="") for part in path)])


def web_did_at(url: str | None, *path: str) -> str | None:
    """Name what is served at an address ``https://host:port``; None where that has no host name."""
    host = host_of(url or "")
    did = web_did(host, *path)
    try:
        _web_parts(did)
    except DidUnresolved:
        return None
    return did


def host_of(url: str) -> str:
    """Return the host of an ``https`` address as a ``did:web`` names it: without the port that HTTPS has."""
    return url.removeprefix("https://").removesuffix(":443")


def url_of_web(did: str) -> str:
    """Return the address of the document of a ``did:web`` (did:web method, section 2.5.2).

    Raises:
        DidUnresolved: another method, an address in place of a name, or a path that leads elsewhere.
    """
    host, path = _web_parts(did)
    return f"https://{host}{path}"


def path_of_web(did: str) -> str:
    """Return the path under which the document of a ``did:web`` is served."""
    return _web_parts(did)[1]


def _web_parts(did: str) -> tuple[str, str]:
    parts = did.removeprefix("did:web:").split(":")
    is_web = did.startswith("did:web:") and len(did) <= 400
    if not is_web or any(_WEB_PART.fullmatch(part) is None for part in parts):
        raise DidUnresolved("expected a DID like did:web:host%3Aport:path")
    if any("%" in part or not part.strip(".") for part in parts[1:]):
        raise DidUnresolved("expected a did:web whose path has plain names alone")
    host = unquote(parts[0])
    name = host.partition(":")[0]
    if not all(_LABEL.fullmatch(label) for label in name.split(".")) or _is_address(name):
        raise DidUnresolved("expected a did:web with a host name, not an address")
    return host, "/.well-known/did.json" if len(parts) == 1 else "/" + "/".join(parts[1:]) + "/did.json"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.replace(".", "").isdigit()
    return True


def _list(document: Mapping[str, Any], name: str) -> list[object]:
    found = document.get(name, [])
    if not isinstance(found, list) or len(found) > _LONGEST_LIST:
        raise DidUnresolved(f"expected a list of at most {_LONGEST_LIST} items as {name}")
    return found


def _document(did: str, known_as: list[str], keys: Mapping[str, str], seal: Mapping[str, str]) -> Document:
    methods = [
        {"id": name, "type": "Multikey", "controller": did, "publicKeyMultibase": key}
        for name, key in {**keys, **seal}.items()
    ]
    document: Document = {"@context": list(CONTEXT), "id": did}
    document |= {"alsoKnownAs": known_as} if known_as else {}
    document["verificationMethod"] = methods
    for purpose in ("authentication", "assertionMethod", "capabilityInvocation"):
        document[purpose] = list(keys)
    return document | ({"keyAgreement": list(seal)} if seal else {})
