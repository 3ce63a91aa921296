"""What two specifications have in common, and in what they differ.

The *shape* of a specification is everything that decides what is computed for whom: purpose, agreements,
steps with their columns, techniques, parameters, parties and recipients. Only the job's id and its title,
which is the submitter's words, are not part of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from exchange.jobs.spec import JobSpec
from ledger import canonical

__all__ = ["Difference", "differences", "shape_digest"]

_NOT_SHAPE = ("job", "title")


@dataclass(frozen=True)
class Difference:
    """A field that two specifications state differently; None where one has no such field."""

    field: str
    before: str | None
    now: str | None


def shape_digest(spec: JobSpec) -> str:
    """SHA-256 of the canonical shape, lower-case hex; repetitions of a job have the same."""
    plain = cast("dict[str, Any]", canonical.decode(spec.encode()))
    shape = {name: value for name, value in plain.items() if name not in _NOT_SHAPE}
    return hashlib.sha256(canonical.encode(shape)).hexdigest()


def differences(before: JobSpec, now: JobSpec) -> list[Difference]:
    """Every field in which ``now`` differs from ``before``, apart from the job's id, by its path."""
    old, new = _leaves(before), _leaves(now)
    return [
        Difference(field, old.get(field), new.get(field))
        for field in sorted(old.keys() | new.keys())
        if old.get(field) != new.get(field)
    ]


def _leaves(spec: JobSpec) -> dict[str, str]:
    plain = cast("dict[str, Any]", canonical.decode(spec.encode()))
    del plain["job"]
    return dict(_flat(plain, ""))


def _flat(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Paths and values; items of a list go by their id or name where they have one."""
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _flat(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for position, item in enumerate(value):
            key = item.get("id") or item.get("name") if isinstance(item, dict) else None
            yield from _flat(item, f"{path}[{key or position}]")
    else:
        yield path, canonical.encode(value).decode()
