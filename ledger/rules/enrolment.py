"""Enrolment requests: who a new member says it is, proved with the keys it names."""

from __future__ import annotations

from typing import Any

from ledger import base64url, canonical
from ledger.algorithms import ALGORITHMS, EDDSA
from ledger.errors import InvalidSignature, MalformedKey, Refusal
from ledger.keys import PUBLIC_SIZE, did_key, verify_signature
from ledger.membership import KEY_USES, NETWORK_KEY
from ledger.notes import COSIGNATURE_V1, Vkey
from ledger.rules import shapes
from ledger.rules.act import require
from ledger.tables import Row, State

__all__ = [
    "ENROLMENT",
    "KEY",
    "check_cosigning_key",
    "check_enrolment",
    "check_key",
    "check_new",
    "check_unused",
    "enrolment_message",
]

KEY = shapes.record({"kid": shapes.SENTENCE, "alg": shapes.one_of(*ALGORITHMS), "public": shapes.BYTES})
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
_DUPLICATE = "member.duplicate"


def enrolment_message(member: Row) -> bytes:
    """Return what both keys of an enrolment sign."""
    return b"parley-enrolment/v1\n" + canonical.encode(dict(member))


def check_key(did: str, key: Row) -> bytes:
    """Check that ``key`` is the first entry key of ``did``, an Ed25519 key; return the public key."""
    require(key["alg"] == EDDSA, _CODE, f"expected a first key of {EDDSA}, which names the DID")
    public = base64url.decode(key["public"])
    require(len(public) == PUBLIC_SIZE, _CODE, f"expected a key of {PUBLIC_SIZE} bytes, got {len(public)}")
    require(did == did_key(public), _CODE, "expected the DID of the entry key")
    require(key["kid"] == f"{did}#tx-1", _CODE, "expected the key id <did>#tx-1")
    return public


def check_cosigning_key(net: str, name: str, text: str, code: str) -> Vkey:
    """Check that ``text`` is a cosigning key named after network and member, or refuse with ``code``."""
    try:
        cosign = Vkey.parse(text)
    except MalformedKey as exc:
        raise Refusal(code, f"cosign: {exc}") from exc
    require(cosign.type == COSIGNATURE_V1, code, "expected a cosigning key of type cosignature/v1")
    require(cosign.name == f"{net}/{name}", code, f"expected the cosigning key's name {net}/{name}")
    return cosign


def check_enrolment(net: str, enrolment: dict[str, Any]) -> dict[str, Any]:
    """Check a well-formed enrolment for the network ``net``; return the member record."""
    member: dict[str, Any] = enrolment["member"]
    public = check_key(member["did"], member["tx"])
    cosign = check_cosigning_key(net, member["name"], member["cosign"], _CODE)
    require(len(base64url.decode(member["seal"])) == PUBLIC_SIZE, _CODE, "expected a 32-byte sealing key")
    message = enrolment_message(member)
    for name, key in (("tx", public), ("cosign", cosign.public)):
        try:
            verify_signature(key, message, base64url.decode(enrolment["proofs"][name]))
        except InvalidSignature as exc:
            raise Refusal(_CODE, f"the proof by the {name} key does not verify") from exc
    return member


def check_new(state: State, member: Row) -> None:
    """Refuse a record that shares name, DID or a key with a member or the hub, present or past."""
    hub = state.rows("params")[NETWORK_KEY]["hub"]
    taken = [hub, *state.rows("members").values()]
    for name in ("did", "name"):
        in_use = any(other[name] == member[name] for other in taken)
        require(not in_use, _DUPLICATE, f"the {name} is already in use")
    check_unused(state, {use: member[use] for use in KEY_USES})


def check_unused(state: State, keys: Row) -> None:
    """Refuse keys that serve, or ever served, anybody in this network; each must serve one use."""
    network = state.rows("params")[NETWORK_KEY]
    hub = {"tx": network["hub"]["tx"], "tls": network["hub"]["tls"], "cosign": network["log"]}
    taken = {_public(use, key) for use, key in hub.items()}
    taken |= {_public(row["use"], row["key"]) for row in state.rows("keys").values()}
    for use, key in keys.items():
        public = _public(use, key)
        require(public not in taken, _DUPLICATE, f"the {use} key is already in use")
        taken.add(public)


def _public(use: str, key: Any) -> bytes:  # noqa: ANN401 - as the record holds it
    if use == "cosign":
        return Vkey.parse(key).public
    return base64url.decode(key["public"] if use == "tx" else key)
