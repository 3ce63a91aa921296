"""The settings of a node about its people: roles that are kept apart, tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exchange.config import kinds
from exchange.config.fields import Field
from exchange.config.problems import Unfit, found

__all__ = ["PEOPLE_FIELDS", "ROLES"]

ROLES = ("steward", "approver", "analyst", "auditor", "administrator")


def role_pairs(value: Any, _: Path) -> tuple[frozenset[str], ...]:  # noqa: ANN401
    """A list of pairs ``analyst+approver``; in a variable, with commas between."""
    given = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(given, list | tuple):
        raise Unfit("a list of pairs of roles", found(value))
    return tuple(_pair(item) for item in given)


def _pair(item: Any) -> frozenset[str]:  # noqa: ANN401
    pair = frozenset(item.split("+")) if isinstance(item, str) else frozenset()
    if len(pair) != 2 or not pair <= set(ROLES):
        raise Unfit(f"two of {', '.join(ROLES)} with + between", found(item))
    return pair


PEOPLE_FIELDS: tuple[Field, ...] = (
    Field(
        "separate_roles",
        role_pairs,
        [],
        "pairs of roles that no account may hold together, such as `analyst+approver`",
    ),
    Field(
        "password_memory_kib",
        kinds.number(19_456, 1_048_576),
        65_536,
        "memory of a password's hash (Argon2id), in KiB; hashes are renewed at the next sign-in",
    ),
    Field("password_passes", kinds.number(2, 20), 3, "passes of a password's hash"),
    Field("password_min_length", kinds.number(8, 64), 12, "least length of a password, in characters"),
    Field(
        "totp_required",
        kinds.yes_or_no,
        True,
        "whether a person who signs in without a one-time code can do nothing but enrol one",
    ),
    Field("session_idle_s", kinds.seconds, 1800, "how long a session may go unused, in seconds"),
    Field("session_max_s", kinds.seconds, 43_200, "how long a session may last in all, in seconds"),
    Field(
        "signin_free_failures",
        kinds.number(1, 20),
        5,
        "sign-ins that may fail in a row before a wait, under one name; ten times as many from one address",
    ),
    Field("signin_wait_max_s", kinds.seconds, 900, "how long such a wait may become, in seconds"),
    Field(
        "signin_lock_after",
        kinds.number(10, 100),
        50,
        "sign-ins that may fail in a row before only an administrator opens the account again",
    ),
    Field("invitation_hours", kinds.number(1, 720), 72, "how long an invitation is good for, in hours"),
    Field("token_max_days", kinds.number(1, 3650), 365, "how long a bearer token may be good for, in days"),
)
