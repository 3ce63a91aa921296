"""Enrolment requests: who a new member says it is, proved with the keys it names."""

from __future__ import annotations

from typing import Any

from ledger import base64url, canonical
from ledger.errors import InvalidSignature, MalformedKey, Refusal
from ledger.keys import PUBLIC_SIZE, did_key, verify_signature
from ledger.notes import COSIGNATURE_V1, Vkey
from ledger.rules import shapes
from ledger.rules.act import require
from ledger.tables import Row, State

__all__ = ["ENROLMENT", "KEY", "check_enrolment", "check_key", "check_new", "enrolment_message"]

KEY = shapes.record({"kid": shapes.SENTENCE, "alg": shapes.constant("EdDSA"), "public": shapes.BYTES})
_MEMBER = shapes.record(
    {
        "did": shapes.DID,
        "name": shapes.NAME,
        "title": shapes.SENTENCE,
        "role": shapes.one_of("participant", "regulator"),
        "tx": KEY,
        "cosign": shapes.text(400),
        "tls": shapes.BYTES,
        "seal": shapes.BYTES,
        "endpoint": shapes.ENDPOINT,
    }
)
ENROLMENT = shapes.record(
    {
        "v": shapes.constant(1),
        "member": _MEMBER,
        "proofs": shapes.record({"tx": shapes.BYTES, "cosign": shapes.BYTES}),
    }
)

_CODE = "member.invalid-enrolment"


def enrolment_message(member: Row) -> bytes:
    """Return what both keys of an enrolment sign."""
    return b"parley-enrolment/v1\n" + canonical.encode(dict(member))


def check_key(did: str, key: Row) -> bytes:
    """Check that ``key`` is the first entry key of ``did``; return the public key."""
    public = base64url.decode(key["public"])
    require(len(public) == PUBLIC_SIZE, _CODE, f"expected a key of {PUBLIC_SIZE} bytes, got {len(public)}")
    require(did == did_key(public), _CODE, "expected the DID of the entry key")
    require(key["kid"] == f"{did}#tx-1", _CODE, "expected the key id <did>#tx-1")
    return public


def check_enrolment(net: str, enrolment: dict[str, Any]) -> dict[str, Any]:
    """Check a well-formed enrolment for the network ``net``; return the member record."""
    member: dict[str, Any] = enrolment["member"]
    public = check_key(member["did"], member["tx"])
    try:
        cosign = Vkey.parse(member["cosign"])
    except MalformedKey as exc:
        raise Refusal(_CODE, f"cosign: {exc}") from exc
    expected = f"{net}/{member['name']}"
    require(cosign.type == COSIGNATURE_V1, _CODE, "expected a cosigning key of type cosignature/v1")
    require(cosign.name == expected, _CODE, f"expected the cosigning key's name {expected}")
    require(cosign.public != public, _CODE, "expected separate keys for entries and cosignatures")
    require(len(base64url.decode(member["seal"])) == PUBLIC_SIZE, _CODE, "expected a 32-byte sealing key")
    message = enrolment_message(member)
    for name, key in (("tx", public), ("cosign", cosign.public)):
        try:
            verify_signature(key, message, base64url.decode(enrolment["proofs"][name]))
        except InvalidSignature as exc:
            raise Refusal(_CODE, f"the proof by the {name} key does not verify") from exc
    return member


def check_new(state: State, member: Row) -> None:
    """Refuse a record that shares name, DID, certificate or cosigning key with a member or the hub."""
    hub = state.rows("params")["network"]["hub"]
    taken = [{"did": hub["did"], "name": hub["name"], "tls": hub["tls"]}, *state.rows("members").values()]
    for name in ("did", "name", "tls", "cosign"):
        in_use = any(other.get(name) == member[name] for other in taken)
        require(not in_use, "member.duplicate", f"the {name} is already in use")
