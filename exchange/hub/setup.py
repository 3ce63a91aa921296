"""Make a hub: its keys and settings, and the genesis of the consortium that it serves.

A genesis goes round as a draft: ``{"entry": <the entry without signatures>, "sigs": [...]}``. The hub signs
first, then every founder adds its own signature at its own node, and the hub installs the whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from exchange.config import HubSettings, hub_settings, private_directory, save
from exchange.errors import Conflict, InvalidRequest
from exchange.hub.files import GENESIS_FILE, HUB_NAME, KEYS_FILE, RECORD_FILE
from exchange.identity import MODERATE, Cost, NodeKeys
from ledger import base64url, canonical
from ledger.entries import ALGORITHM, Draft, Entry, new_ulid
from ledger.errors import InvalidSignature, LedgerError, MalformedEntry, NotCanonical, Refusal
from ledger.membership import KeyRecord, genesis_hash
from ledger.notes import ED25519, Vkey
from ledger.state import GENESIS, apply
from ledger.tables import State
from ledger.times import Clock, format_time, system_clock

__all__ = [
    "MAX_CLOCK_SKEW_S",
    "add_signature",
    "draft_genesis",
    "init",
    "install_genesis",
    "log_vkey",
]

MAX_CLOCK_SKEW_S = 120
_ENGINE = "sql"
_SIGNING_TIME = timedelta(days=30)
_UNSIGNED = "genesis.wrong-signers"


def init(
    directory: Path,
    *,
    net: str,
    origin: str,
    member_bind: str,
    operator_bind: str,
    host: str,
    passphrase: str,
    cost: Cost = MODERATE,
    clock: Clock = system_clock,
) -> dict[str, Any]:
    """Generate keys that never leave ``directory`` and write the settings.

    Args:
        directory: new or empty; becomes the hub's own.
        net: name of the network.
        origin: name of the log, as on its checkpoints.
        member_bind: ``host:port`` for members.
        operator_bind: ``host:port`` for the operator; on loopback.
        host: host name or address that goes into the TLS certificate.
        passphrase: encrypts the key file.
        cost: what guessing the passphrase costs.
        clock: the certificate's life begins now.

    Returns:
        The hub's public record: ``did``, ``name``, ``tx``, ``tls`` and the ``log``'s verifier key.

    Raises:
        Conflict: the directory holds a hub already; nothing is changed.
        ConfigError: a setting cannot be used; nothing is written.
    """
    private_directory(directory)
    if (directory / KEYS_FILE).exists():
        raise Conflict(f"{directory} holds a hub already")
    binds = {"member_bind": member_bind, "operator_bind": operator_bind}
    save(directory, "hub", {"net": net, "origin": origin, **binds})
    keys = NodeKeys.generate(HUB_NAME, net, host, clock=clock)
    keys.save(directory / KEYS_FILE, passphrase, cost=cost)
    record = {
        "did": keys.did,
        "name": HUB_NAME,
        "tx": {"kid": keys.kid, "alg": ALGORITHM, "public": base64url.encode(keys.tx.public)},
        "tls": base64url.encode(keys.tls_cert),
        "log": log_vkey(keys, origin).encode(),
    }
    _write(directory / RECORD_FILE, json.dumps(record, indent=1).encode())
    return record


def log_vkey(keys: NodeKeys, origin: str) -> Vkey:
    """The verifier key of the hub's log. A hub cosigns nothing, so its cosigning key is its log key."""
    return Vkey(origin, ED25519, keys.cosign.public)


def draft_genesis(
    directory: Path,
    enrolments: Sequence[Mapping[str, Any]],
    passphrase: str,
    *,
    max_clock_skew_s: int = MAX_CLOCK_SKEW_S,
    clock: Clock = system_clock,
) -> bytes:
    """Write and sign the draft of a genesis with these founders.

    Raises:
        InvalidRequest: an enrolment does not hold, or two share a name or a key; the reason is named.
    """
    settings = hub_settings(directory, os.environ)
    record = _record(directory)
    keys = NodeKeys.load(directory / KEYS_FILE, passphrase)
    draft = Draft(
        net=settings.net,
        type=GENESIS,
        actor=keys.did,
        body={
            "name": settings.net,
            "origin": settings.origin,
            "log": record["log"],
            "hub": {name: record[name] for name in ("did", "name", "tx", "tls")},
            "members": [dict(enrolment) for enrolment in enrolments],
            "params": {"max_clock_skew_s": max_clock_skew_s},
            "engine": _ENGINE,
        },
        exp=format_time(clock() + _SIGNING_TIME),
        seq=new_ulid(clock),
    ).sign(keys.kid, keys.tx)
    _check_all_but_signatures(draft, clock)
    return _encode(draft)


def add_signature(draft: bytes, keys: NodeKeys) -> bytes:
    """Add a founder's signature to a drafted genesis. Doing it again changes nothing.

    Raises:
        InvalidRequest: the bytes are no draft, the hub's signature does not verify, or the draft does not
            list this node with exactly its keys.
    """
    parsed = _decode(draft)
    _check_all_but_signatures(parsed, system_clock)
    hub = parsed.body["hub"]
    try:
        Entry.parse(parsed.encode()).verify(hub["tx"]["kid"], KeyRecord.of(hub["tx"]).public)
    except (InvalidSignature, MalformedEntry) as error:
        raise InvalidRequest("draft", "the hub's signature", str(error)) from error
    listed = [item["member"] for item in parsed.body["members"] if item["member"]["did"] == keys.did]
    if len(listed) != 1 or listed[0] != keys.member_record(
        listed[0]["role"], listed[0]["title"], listed[0]["endpoint"]
    ):
        raise InvalidRequest("draft", f"member {keys.name} with exactly its own keys", "another list")
    if any(signature.kid == keys.kid for signature in parsed.sigs):
        return draft
    return _encode(parsed.sign(keys.kid, keys.tx))


def install_genesis(directory: Path, draft: bytes) -> bytes:
    """Check that a draft is signed by all and is this hub's, and install it as the log's first entry.

    Returns:
        The genesis entry, for every member.

    Raises:
        InvalidRequest: a signature is missing or wrong, or the draft is of another hub.
        Conflict: another genesis is installed already; nothing is changed.
    """
    settings, record, parsed = hub_settings(directory, os.environ), _record(directory), _decode(draft)
    _require_ours(parsed, settings, record)
    in_order = tuple(sorted(parsed.sigs, key=lambda signature: signature.kid))
    try:
        raw = replace(parsed, sigs=in_order).encode()
        apply(State(), Entry.parse(raw), index=0, time=system_clock())
    except (Refusal, MalformedEntry) as error:
        raise InvalidRequest("draft", "a genesis signed by the hub and every founder", str(error)) from error
    path = directory / GENESIS_FILE
    if path.exists() and path.read_bytes() != raw:
        installed = genesis_hash(path.read_bytes())
        raise Conflict(f"{directory} has another genesis already: {installed}")
    _write(path, raw)
    return raw


def _check_all_but_signatures(draft: Draft, clock: Clock) -> None:
    try:
        apply(State(), Entry.parse(draft.encode()), index=0, time=clock())
    except (Refusal, MalformedEntry) as error:
        if error.code != _UNSIGNED:
            raise InvalidRequest("draft", "founders that can form a consortium", str(error)) from error


def _require_ours(draft: Draft, settings: HubSettings, record: Mapping[str, Any]) -> None:
    expected = {
        "name": settings.net,
        "origin": settings.origin,
        "log": record["log"],
        "hub": {name: record[name] for name in ("did", "name", "tx", "tls")},
    }
    for name, value in expected.items():
        if draft.body.get(name) != value:
            raise InvalidRequest(f"draft: {name}", "that of this hub", "another one")


def _encode(draft: Draft) -> bytes:
    envelope = canonical.decode(draft.signed_bytes().partition(b"\n")[2])
    sigs = [
        {"kid": signature.kid, "alg": ALGORITHM, "sig": base64url.encode(signature.value)}
        for signature in draft.sigs
    ]
    return canonical.encode({"entry": envelope, "sigs": sigs})


def _decode(raw: bytes) -> Draft:
    try:
        document = canonical.decode(raw)
        if not isinstance(document, dict) or set(document) != {"entry", "sigs"}:
            raise InvalidRequest("draft", "the members entry and sigs", "another form")
        entry, sigs = document["entry"], document["sigs"]
        if not isinstance(entry, dict) or "sigs" in entry:
            raise InvalidRequest("draft: entry", "an entry without signatures", "another form")
        parsed = Entry.parse(canonical.encode({**entry, "sigs": sigs}))
    except (NotCanonical, LedgerError) as error:
        raise InvalidRequest("draft", "a drafted genesis", str(error)) from error
    if parsed.type != GENESIS:
        raise InvalidRequest("draft: type", GENESIS, parsed.type)
    return Draft(
        parsed.net,
        parsed.type,
        parsed.actor,
        parsed.body,
        parsed.exp,
        parsed.seq,
        parsed.refs,
        sigs=parsed.sigs,
    )


def _record(directory: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((directory / RECORD_FILE).read_bytes())
    except FileNotFoundError:
        raise Conflict(
            f"expected a hub in {directory}, found none; make one with `parley hub init`"
        ) from None
    return record


def _write(path: Path, content: bytes) -> None:
    staged = path.with_name(path.name + ".new")
    staged.touch(mode=0o600)
    staged.write_bytes(content)
    staged.replace(path)
