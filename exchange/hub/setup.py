"""Make a hub: its keys and settings, and the genesis of the consortium that it serves.

A genesis goes round as a draft: ``{"entry": <the entry without signatures>, "sigs": [...]}``. The hub signs
first, then every founder adds its own signature at its own node, and the hub installs the whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from exchange.config import HubSettings, OutsideCopy, amend, hub_settings, private_directory, save
from exchange.errors import Conflict, InvalidRequest
from exchange.hub.drafts import assembled, decode_draft, encode_draft
from exchange.hub.files import GENESIS_FILE, HUB_NAME, KEYS_FILE, RECORD_FILE
from exchange.identity import MODERATE, Cost, NodeKeys
from ledger import base64url
from ledger.entries import Draft, Entry, new_ulid
from ledger.errors import InvalidSignature, MalformedEntry, Refusal
from ledger.membership import KeyRecord, genesis_hash
from ledger.notes import ED25519, Vkey
from ledger.state import GENESIS, apply
from ledger.tables import State
from ledger.times import Clock, format_time, system_clock

__all__ = [
    "MAX_CLOCK_SKEW_S",
    "add_signature",
    "add_witness",
    "draft_genesis",
    "hub_record",
    "init",
    "install_genesis",
    "log_vkey",
    "write_file",
]

MAX_CLOCK_SKEW_S = 120
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
        "tx": {"kid": keys.kid, "alg": keys.tx.alg, "public": base64url.encode(keys.tx.public)},
        "tls": base64url.encode(keys.tls_cert),
        "log": log_vkey(keys, origin).encode(),
    }
    write_file(directory / RECORD_FILE, json.dumps(record, indent=1).encode())
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
    engine: str = "sql",
    clock: Clock = system_clock,
) -> bytes:
    """Write and sign the draft of a genesis with these founders, for a ledger that ``engine`` orders.

    Raises:
        InvalidRequest: an enrolment does not hold, or two share a name or a key; the reason is named.
    """
    settings = hub_settings(directory, os.environ)
    record = hub_record(directory)
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
            "engine": engine,
        },
        exp=format_time(clock() + _SIGNING_TIME),
        seq=new_ulid(clock),
    ).sign(keys.kid, keys.tx)
    _check_all_but_signatures(draft, clock)
    return encode_draft(draft)


def add_signature(draft: bytes, keys: NodeKeys) -> bytes:
    """Add a founder's signature to a drafted genesis. Doing it again changes nothing.

    Raises:
        InvalidRequest: the bytes are no draft, the hub's signature does not verify, or the draft does not
            list this node with exactly its keys.
    """
    parsed = decode_draft(draft, GENESIS)
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
    return encode_draft(parsed.sign(keys.kid, keys.tx))


def install_genesis(directory: Path, draft: bytes) -> bytes:
    """Check that a draft is signed by all and is this hub's, and install it as the log's first entry.

    Returns:
        The genesis entry, for every member.

    Raises:
        InvalidRequest: a signature is missing or wrong, or the draft is of another hub.
        Conflict: another genesis is installed already; nothing is changed.
    """
    settings, record, parsed = (
        hub_settings(directory, os.environ),
        hub_record(directory),
        decode_draft(draft, GENESIS),
    )
    _require_ours(parsed, settings, record)
    raw = assembled(parsed)
    try:
        apply(State(), Entry.parse(raw), index=0, time=system_clock())
    except (Refusal, MalformedEntry) as error:
        raise InvalidRequest("draft", "a genesis signed by the hub and every founder", str(error)) from error
    path = directory / GENESIS_FILE
    if path.exists() and path.read_bytes() != raw:
        installed = genesis_hash(path.read_bytes())
        raise Conflict(f"{directory} has another genesis already: {installed}")
    write_file(path, raw)
    return raw


def add_witness(directory: Path, record: Mapping[str, Any], url: str | None = None) -> tuple[str, ...]:
    """Write an outside witness into the settings, and its mirror if it is one; a restart takes them up.

    Args:
        directory: the hub's.
        record: what ``parley witness init`` wrote.
        url: its address, if another one than in the record.

    Returns:
        What was added: ``witness``, ``mirror`` or both.

    Raises:
        InvalidRequest: the record is not one.
        Conflict: its keys are in the settings already.
        ConfigError: address, certificate or a key cannot be used.
    """
    try:
        address, certificate = url or record["url"], record["tls"]
        given = {"witnesses": list(record["witness"]), "mirrors": list(record["mirror"])}
    except (KeyError, TypeError) as error:
        raise InvalidRequest("record", "what parley witness init wrote", "something else") from error
    settings = hub_settings(directory, {})
    changed: dict[str, list[str]] = {}
    for name, vkeys in given.items():
        if not vkeys:
            continue
        present: tuple[OutsideCopy, ...] = getattr(settings, name)
        if any(vkey.encode() in vkeys for copy in present for vkey in copy.vkeys):
            raise Conflict(f"expected keys that are not in the setting {name} yet")
        changed[name] = [_copy_line(copy) for copy in present] + [" ".join((address, certificate, *vkeys))]
    amend(directory, changed)
    return tuple({"witnesses": "witness", "mirrors": "mirror"}[name] for name in changed)


def _copy_line(copy: OutsideCopy) -> str:
    words = (copy.url, base64url.encode(copy.certificate), *(vkey.encode() for vkey in copy.vkeys))
    return " ".join(words)


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


def hub_record(directory: Path) -> dict[str, Any]:
    """Return what ``init`` wrote: the hub's public record.

    Raises:
        Conflict: there is no hub in ``directory``.
    """
    try:
        record: dict[str, Any] = json.loads((directory / RECORD_FILE).read_bytes())
    except FileNotFoundError:
        raise Conflict(
            f"expected a hub in {directory}, found none; make one with `parley hub init`"
        ) from None
    return record


def write_file(path: Path, content: bytes) -> None:
    """Write a private file of the hub, whole or not at all."""
    staged = path.with_name(path.name + ".new")
    staged.touch(mode=0o600)
    staged.write_bytes(content)
    staged.replace(path)
