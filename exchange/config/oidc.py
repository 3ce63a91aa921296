"""The settings of a node about an OpenID provider by which its people sign in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from exchange.config import kinds
from exchange.config.fields import Field
from exchange.config.people import ROLES
from exchange.config.problems import Unfit, found

__all__ = ["OIDC_FIELDS"]

_PRINTABLE = re.compile(r"[!-~]{1,255}")


def issuer(value: Any, _: Path) -> str:  # noqa: ANN401
    """An issuer as the provider writes it: https, perhaps with a path, nothing after it."""
    parts = urlsplit(value) if isinstance(value, str) else urlsplit("")
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        raise Unfit(
            "an address of the form https://host/path, exactly as the provider states it", found(value)
        )
    return str(value)


def texts(value: Any, _: Path) -> tuple[str, ...]:  # noqa: ANN401
    """A list of texts; in a variable, with commas between."""
    given = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(given, list | tuple) or not all(isinstance(one, str) and one for one in given):
        raise Unfit("a list of texts", found(value))
    return tuple(given)


def group_roles(value: Any, directory: Path) -> tuple[tuple[str, str], ...]:  # noqa: ANN401
    """A list of texts ``group=role``."""
    pairs = tuple(item.rpartition("=")[::2] for item in texts(value, directory))
    for group, role in pairs:
        if not group or role not in ROLES:
            raise Unfit(f"a group and one of {', '.join(ROLES)} with = between", found(f"{group}={role}"))
    return pairs


def factors(value: Any, directory: Path) -> tuple[tuple[str, str], ...]:  # noqa: ANN401
    """A list of texts ``acr=value`` or ``amr=value``."""
    pairs = tuple(item.partition("=")[::2] for item in texts(value, directory))
    for claim, accepted in pairs:
        if claim not in ("acr", "amr") or not accepted:
            raise Unfit("acr or amr and a value with = between", found(f"{claim}={accepted}"))
    return pairs


OIDC_FIELDS: tuple[Field, ...] = (
    Field("oidc_issuer", issuer, None, "issuer of an OpenID provider by which people may sign in"),
    Field(
        "oidc_client_id",
        kinds.text("printable characters without spaces, at most 255", _PRINTABLE),
        None,
        "under which name the provider knows this node",
    ),
    Field(
        "oidc_client_secret",
        kinds.path,
        None,
        "file with the secret it gave this node, closed to others; none for a public client",
    ),
    Field(
        "oidc_ca",
        kinds.path,
        None,
        "file with the authority of the provider's certificate, if not a public one",
    ),
    Field(
        "oidc_account_claim",
        kinds.text("printable characters without spaces, at most 255", _PRINTABLE),
        "sub",
        "claim whose value is linked to an account by `parley people link`",
    ),
    Field(
        "oidc_groups_claim",
        kinds.text("printable characters without spaces, at most 255", _PRINTABLE),
        "groups",
        "claim that lists a person's groups",
    ),
    Field(
        "oidc_group_roles",
        group_roles,
        [],
        "texts `group=role`: a session has the account's roles that a group gives; none: all of them",
    ),
    Field(
        "oidc_create_accounts",
        kinds.yes_or_no,
        False,
        "whether somebody without an account gets one with the roles of the groups",
    ),
    Field(
        "oidc_second_factor",
        factors,
        [],
        "texts `acr=value` or `amr=value` that count as second factor; else this node asks for its code",
    ),
)
