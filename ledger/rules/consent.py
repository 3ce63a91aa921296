"""Consent of data subjects, signed by a pseudonymous ``did:key`` of theirs and carried by a member's entry.

Only members write to the ledger. So what the subject says stands inside the entry with a signature of its
own, bound to the network and to an id, and whoever carries it can neither alter it nor use it twice. Any
member may carry a withdrawal: the controller cannot hold it back.
"""

from __future__ import annotations

from ledger import base64url, canonical
from ledger.errors import InvalidSignature, MalformedKey, Refusal
from ledger.keys import public_from_did_key, verify_signature
from ledger.rules import shapes
from ledger.rules.act import Act, existing, require
from ledger.tables import Row, State
from ledger.times import parse_time

__all__ = ["GIVE_DOMAIN", "WITHDRAW_DOMAIN", "consent_message", "give", "require_consent", "withdraw"]

GIVE_DOMAIN = b"parley-consent/v1\n"
WITHDRAW_DOMAIN = b"parley-consent-withdrawal/v1\n"

_SAID = {
    "v": shapes.constant(1),
    "net": shapes.SENTENCE,
    "consent": shapes.identifier("consent"),
    "subject": shapes.DID,
}
_GIVEN = shapes.record(
    {
        **_SAID,
        "controller": shapes.DID,
        "asset": shapes.ASSET_ID,
        "purpose": shapes.SENTENCE,
        "expires": shapes.TIME,
    },
    extra={"columns": shapes.list_of(shapes.SENTENCE, least=1, most=512)},
)
_GIVE = shapes.record({"statement": _GIVEN, "sig": shapes.BYTES})
_WITHDRAW = shapes.record({"statement": shapes.record(_SAID), "sig": shapes.BYTES})

_REQUIRE = shapes.record(
    {
        "asset": shapes.ASSET_ID,
        "column": shapes.SENTENCE,
        "required": shapes.BOOLEAN,
        "reason": shapes.REASON,
    }
)


def consent_message(statement: Row, domain: bytes) -> bytes:
    """Return what a data subject signs."""
    return domain + canonical.encode(dict(statement))


def require_consent(state: State, act: Act) -> State:
    """Say, as its owner, whether an asset's rows may be used only with the consent of whom they are about.

    ``column`` is the identifier by which the owner finds a subject's row.
    """
    body = _REQUIRE(act.entry.body, "body")
    asset = existing(state, "assets", body["asset"], "asset.unknown")
    require(asset["owner"] == act.actor, "entry.not-permitted", "expected the owner")
    known = any(column["name"] == body["column"] for column in asset["schema"])
    require(known, "consent.unknown-column", "expected a column of the asset")
    return act.put(state, "consent_rules", body["asset"], dict(body))


def give(state: State, act: Act) -> State:
    """Record that a subject lets a controller use an asset for a purpose, until it expires."""
    body = _GIVE(act.entry.body, "body")
    said = _signed(act, body, GIVE_DOMAIN)
    require(state.get("consents", said["consent"]) is None, "consent.exists", "it is on record already")
    require(parse_time(said["expires"]) > act.time, "consent.expired", "expected a later expiry")
    asset = existing(state, "assets", said["asset"], "asset.unknown")
    require(asset["owner"] == said["controller"], "consent.wrong-controller", "expected the asset's owner")
    row = {**said, "carrier": act.actor, "status": "given"}
    return act.put(state, "consents", said["consent"], row)


def withdraw(state: State, act: Act) -> State:
    """Record that a subject takes its consent back; it counts from this entry on."""
    body = _WITHDRAW(act.entry.body, "body")
    said = _signed(act, body, WITHDRAW_DOMAIN)
    row = existing(state, "consents", said["consent"], "consent.unknown")
    require(row["subject"] == said["subject"], "consent.another-subject", "expected who gave it")
    require(row["status"] == "given", "consent.withdrawn", "it is withdrawn already")
    return act.put(state, "consents", said["consent"], {**row, "status": "withdrawn"})


def _signed(act: Act, body: Row, domain: bytes) -> Row:
    """Return the statement, which its subject signed for this network."""
    said: Row = body["statement"]
    require(said["net"] == act.entry.net, "consent.wrong-net", "expected a statement for this network")
    try:
        public = public_from_did_key(said["subject"])
        verify_signature(public, consent_message(said, domain), base64url.decode(body["sig"]))
    except (MalformedKey, InvalidSignature) as exc:
        raise Refusal("consent.bad-signature", "the subject's signature does not verify") from exc
    return said
