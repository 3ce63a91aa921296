"""Throw-away databases for tests, one of each kind the ledger runs on."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import Engine, make_url, text

from ledger.store import open_engine, upgrade

__all__ = ["POSTGRESQL_VARIABLE", "DatabaseKind", "throw_away_engine"]

POSTGRESQL_VARIABLE = "PARLEY_TEST_POSTGRESQL"

DatabaseKind = Literal["sqlite", "postgresql"]


@contextmanager
def throw_away_engine(kind: DatabaseKind, folder: Path) -> Iterator[Engine]:
    """Open an empty database with the ledger's tables, and drop it at the end.

    SQLite lies in ``folder``. PostgreSQL gets a schema of its own on the server that
    ``PARLEY_TEST_POSTGRESQL`` names; without that variable the test is skipped.
    """
    if kind == "sqlite":
        with _engine(f"sqlite:///{folder}/ledger-{secrets.token_hex(4)}.sqlite") as engine:
            yield engine
        return
    server = os.environ.get(POSTGRESQL_VARIABLE)
    if not server:
        pytest.skip(f"{POSTGRESQL_VARIABLE} names no server")
    schema = f"parley_ledger_{secrets.token_hex(8)}"
    administration = open_engine(server)
    try:
        with administration.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {schema}"))
        url = make_url(server).update_query_dict({"options": f"-csearch_path={schema}"})
        with _engine(url.render_as_string(hide_password=False)) as engine:
            yield engine
    finally:
        with administration.begin() as connection:
            connection.execute(text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
        administration.dispose()


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    try:
        upgrade(engine)
        yield engine
    finally:
        engine.dispose()
