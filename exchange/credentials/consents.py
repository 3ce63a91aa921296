"""Consent of data subjects: what they sign, and whose consent a use of an asset has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from exchange.credentials.errors import CredentialInvalid
from exchange.credentials.row_index import RowIndex
from ledger import base64url
from ledger.errors import InvalidSignature, MalformedKey
from ledger.keys import SigningKey, did_key, public_from_did_key, verify_signature
from ledger.rules.consent import GIVE_DOMAIN, WITHDRAW_DOMAIN, consent_message
from ledger.tables import State
from ledger.times import format_time
from policies.purposes import broader, canonical

__all__ = ["Signed", "check_identified", "consents", "give", "identify", "is_required", "withdraw"]

_IDENTIFY_DOMAIN = b"parley-subject/v1\n"
_BY_ASSET = RowIndex("consents", "asset")

Signed = dict[str, object]
"""The body of a consent entry: a statement, and its subject's signature."""


def give(
    key: SigningKey,
    *,
    net: str,
    consent: str,
    controller: str,
    asset: str,
    purpose: str,
    expires: datetime,
    columns: Sequence[str] = (),
) -> Signed:
    """Sign a consent as a data subject.

    Args:
        key: of the subject's pseudonym for this controller.
        net: the network's name.
        consent: a fresh id, ``new_id("consent", clock)``.
        controller: DID of the asset's owner.
        asset: what may be used.
        purpose: for what; narrower purposes are included.
        expires: until when.
        columns: of the asset; none: all of them.
    """
    statement: dict[str, object] = {
        "v": 1,
        "net": net,
        "consent": consent,
        "subject": did_key(key.public),
        "controller": controller,
        "asset": asset,
        "purpose": purpose,
        "expires": format_time(expires),
    }
    if columns:
        statement["columns"] = list(columns)
    return _signed(key, statement, GIVE_DOMAIN)


def withdraw(key: SigningKey, *, net: str, consent: str) -> Signed:
    """Sign, as its subject, that a consent is taken back."""
    statement: dict[str, object] = {"v": 1, "net": net, "consent": consent, "subject": did_key(key.public)}
    return _signed(key, statement, WITHDRAW_DOMAIN)


def identify(key: SigningKey, *, net: str, asset: str, identifier: str) -> Signed:
    """Tell an owner, as a data subject, which identifier in an asset is one's own; it goes to nobody else."""
    statement: dict[str, object] = {
        "v": 1,
        "net": net,
        "asset": asset,
        "identifier": identifier,
        "subject": did_key(key.public),
    }
    return _signed(key, statement, _IDENTIFY_DOMAIN)


def check_identified(signed: Mapping[str, object], net: str) -> tuple[str, str, str]:
    """Check what ``identify`` made: that the pseudonym's holder said it. That it is true is for the owner.

    Returns:
        Asset, identifier and subject.

    Raises:
        CredentialInvalid: it is of another form or for another network, or the signature does not verify.
    """
    statement, sig = signed.get("statement"), signed.get("sig")
    names = {"v", "net", "asset", "identifier", "subject"}
    if not isinstance(statement, dict) or set(statement) != names or not isinstance(sig, str):
        raise CredentialInvalid("malformed", "expected a statement of a data subject and its signature")
    asset, identifier, subject = (statement[name] for name in ("asset", "identifier", "subject"))
    if not all(isinstance(value, str) and value for value in (asset, identifier, subject)):
        raise CredentialInvalid("malformed", "expected texts in the statement of a data subject")
    if statement["v"] != 1 or statement["net"] != net:
        raise CredentialInvalid("wrong-network", "expected a statement for this network")
    try:
        public = public_from_did_key(subject)
        verify_signature(public, consent_message(statement, _IDENTIFY_DOMAIN), base64url.decode(sig))
    except (MalformedKey, InvalidSignature, ValueError) as error:
        raise CredentialInvalid("bad-signature", "the subject's signature does not verify") from error
    return asset, identifier, subject


def is_required(state: State, asset: str) -> bool:
    """Whether rows of an asset may be used only with the consent of whom they are about."""
    rule = state.get("consent_rules", asset)
    return rule is not None and bool(rule["required"])


def consents(
    state: State, asset: str, purpose: str, now: datetime, columns: Sequence[str] = ()
) -> frozenset[str]:
    """Return the pseudonymous DIDs of the subjects whose consent covers a use now.

    Args:
        state: the final state of one's own copy.
        asset: what is to be used.
        purpose: for what; a consent for a broader purpose covers it, and an unknown purpose has nobody's.
        now: aware time in UTC.
        columns: those to be used; a consent that names columns covers no other.
    """
    needed, broad, moment = set(columns), frozenset(broader(purpose)), format_time(now)
    return frozenset(
        row["subject"]
        for row in _BY_ASSET.rows(state, asset)
        if row["status"] == "given"
        and moment < row["expires"]
        and canonical(row["purpose"]) in broad
        and ("columns" not in row or (needed and needed <= set(row["columns"])))
    )


def _signed(key: SigningKey, statement: dict[str, object], domain: bytes) -> Signed:
    signature = key.sign(consent_message(statement, domain))
    return {"statement": statement, "sig": base64url.encode(signature)}
