"""Copy a hub while it runs: a directory from which `parley hub run` starts the same log again."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import make_url

from exchange.config import FILE_NAME, hub_settings, private_directory
from exchange.errors import Conflict
from exchange.hub.files import GENESIS_FILE, KEYS_FILE, RECORD_FILE

__all__ = ["backup"]

_DATABASE = "hub.sqlite"


def backup(directory: Path, out: Path) -> None:
    """Copy database, keys, genesis and settings into ``out``, which must be new or empty.

    The keys stay encrypted under the same passphrase. The database is copied as of one moment, whatever is
    being written to it. Never run the copy beside the original: members see two logs and stop.

    Raises:
        Conflict: ``out`` is not empty, or the database is on a server, whose own tools copy it.
    """
    url = make_url(hub_settings(directory, os.environ).database)
    if url.get_backend_name() != "sqlite":
        raise Conflict("expected a SQLite database; copy one on a server with the server's tools (pg_dump)")
    private_directory(out)
    if any(out.iterdir()):
        raise Conflict(f"expected an empty directory, {out} has something in it")
    copy = out / _DATABASE
    copy.touch(mode=0o600)
    source = f"file:{url.database}?mode=ro"
    with closing(sqlite3.connect(source, uri=True)) as original, closing(sqlite3.connect(copy)) as target:
        original.backup(target)
    for name in (KEYS_FILE, RECORD_FILE, GENESIS_FILE):
        if (directory / name).exists():
            _write(out / name, (directory / name).read_bytes())
    settings = (directory / FILE_NAME).read_text(encoding="utf-8").splitlines(keepends=True)
    own = "".join(line for line in settings if not line.startswith("database ="))
    _write(out / FILE_NAME, own.encode())


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
