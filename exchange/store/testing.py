"""Throw-away databases for tests, one of each kind the product runs on."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import make_url, text

from exchange.store.engine import open_engine

__all__ = ["postgresql_schema"]


@contextmanager
def postgresql_schema(url: str) -> Iterator[str]:
    """Make an empty schema on a PostgreSQL server, give the URL that lands in it, and drop it at the end."""
    name = f"parley_{secrets.token_hex(8)}"
    engine = open_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {name}"))
        inside = make_url(url).update_query_dict({"options": f"-csearch_path={name}"})
        yield inside.render_as_string(hide_password=False)
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA IF EXISTS {name} CASCADE"))
        engine.dispose()
