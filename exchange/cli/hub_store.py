"""Copy and check a hub's directory, as the hub's operator may while it runs or after it has stopped.

Neither needs the passphrase: a copy takes the encrypted key file as it is, a check needs public keys only.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from sqlalchemy import make_url

from exchange.config import hub_settings, private_directory
from exchange.errors import Conflict

__all__ = ["backup"]

_BESIDE = ("-wal", "-shm", "-journal")


def backup(directory: Path, out: Path, environment: Mapping[str, str]) -> Path:
    """Copy a hub's directory with a consistent snapshot of its SQLite database.

    Args:
        directory: the hub's.
        out: a new directory.
        environment: what else may set the hub's settings.

    Raises:
        Conflict: the database is not in SQLite, or ``out`` exists.
    """
    url = make_url(hub_settings(directory, environment).database)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise Conflict(
            f"expected a hub on SQLite, got one on {url.get_backend_name()}: use that database's own backup"
        )
    if out.exists():
        raise Conflict(f"expected a new directory, found {out}")
    database = Path(url.database)
    private_directory(out)
    skipped = {database.name, *(database.name + suffix for suffix in _BESIDE)}
    for path in directory.iterdir():
        if path.is_file() and path.name not in skipped:
            shutil.copy2(path, out / path.name)
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(out / database.name)) as copy:
        source.backup(copy)
    (out / database.name).chmod(0o600)
    return out
