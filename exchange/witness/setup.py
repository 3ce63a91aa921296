"""Make a witness: its keys, its settings, and the record that a log's operator needs of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from exchange.config import private_directory, save, witness_settings
from exchange.errors import Conflict, InvalidRequest
from exchange.identity import MODERATE, Cost
from exchange.witness.files import KEYS_FILE, RECORD_FILE
from exchange.witness.keys import WitnessKeys
from exchange.witness.logs import add_log
from ledger import base64url
from ledger.errors import MalformedKey
from ledger.notes import Vkey
from ledger.times import Clock, system_clock

__all__ = ["add", "init"]


def init(
    directory: Path,
    *,
    name: str,
    bind: str,
    host: str,
    mirror: bool,
    passphrase: str,
    cost: Cost = MODERATE,
    clock: Clock = system_clock,
) -> dict[str, Any]:
    """Generate keys that never leave ``directory`` and write the settings.

    Args:
        directory: new or empty; becomes the witness's own.
        name: name of its keys.
        bind: ``host:port`` to listen on.
        host: host name or address that goes into the TLS certificate.
        mirror: whether it will hold entries too.
        passphrase: encrypts the key file.
        cost: what guessing the passphrase costs.
        clock: the certificate's life begins now.

    Returns:
        The public record: ``name``, ``url``, ``tls``, and the verifier keys as ``witness`` and ``mirror``.

    Raises:
        Conflict: the directory holds a witness already; nothing is changed.
        ConfigError: a setting cannot be used; nothing is written.
    """
    private_directory(directory)
    if (directory / KEYS_FILE).exists():
        raise Conflict(f"{directory} holds a witness already")
    save(directory, "witness", {"name": name, "bind": bind, "mirror": mirror})
    keys = WitnessKeys.generate(name, host, clock=clock)
    keys.save(directory / KEYS_FILE, passphrase, cost=cost)
    record = {
        "name": name,
        "url": f"https://{host}:{bind.rpartition(':')[2]}",
        "tls": base64url.encode(keys.tls_cert),
        "witness": [cosigner.vkey.encode() for cosigner in keys.witness_cosigners],
        "mirror": [cosigner.vkey.encode() for cosigner in keys.mirror_cosigners] if mirror else [],
    }
    path = directory / RECORD_FILE
    path.touch(mode=0o600)
    path.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return record


def add(directory: Path, log: str, url: str | None = None) -> Vkey:
    """Make a log known to the witness in ``directory``.

    Args:
        directory: the witness's.
        log: the log's verifier key; its name is the origin.
        url: where the log is, for people.

    Raises:
        InvalidRequest: not a verifier key.
        Conflict: the log's key is known already.
    """
    witness_settings(directory, os.environ)
    try:
        vkey = Vkey.parse(log)
    except MalformedKey as error:
        raise InvalidRequest("log", "a verifier key", str(error)) from error
    add_log(directory, vkey, url)
    return vkey
