"""Clauses of terms and levels of columns as options state them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import click

__all__ = ["clauses", "controlled"]


def clauses(given: Sequence[str]) -> dict[str, object]:
    """Read ``NAME=VALUE`` for the clauses that have no option of their own; a value is JSON or a text."""
    found: dict[str, object] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals:
            raise click.UsageError(f"--clause: expected NAME=VALUE, got {one!r}")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def controlled(columns: Sequence[Mapping[str, object]], given: Sequence[str]) -> list[dict[str, object]]:
    """Set the levels that ``COLUMN:LEVEL`` and, for one participant, ``COLUMN:LEVEL@DID`` state."""
    made = {str(column["name"]): dict(column) for column in columns}
    for one in given:
        stated, _, did = one.partition("@")
        name, _, level = stated.rpartition(":")
        if name not in made or not level:
            known = ", ".join(made)
            raise click.UsageError(
                f"--control: expected COLUMN:LEVEL or COLUMN:LEVEL@DID of {known}, got {one!r}"
            )
        if did:
            controls = dict(made[name].get("controls") or {})  # type: ignore[call-overload]  # set below
            made[name]["controls"] = {**controls, did: level}
        else:
            made[name]["control"] = level
    return list(made.values())
