"""Where a person's access to the own node is kept: address, certificate and one token per role.

A profile is a file of mode 0600 in a directory of mode 0700. Whoever reads it can act in the roles whose
tokens it holds, so a profile that others may read is refused.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from exchange.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from exchange.sdk.client import NodeClient

__all__ = ["ROLES", "Profile", "default_home", "unpadded", "unpadded_decode"]


def default_home(environment: Mapping[str, str]) -> Path:
    """Return ``PARLEY_HOME``, or ``.parley`` in the working directory."""
    return Path(environment.get("PARLEY_HOME") or ".parley")


def unpadded(data: bytes) -> str:
    """Encode as base64url without padding, as keys and certificates are written everywhere."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unpadded_decode(text: str) -> bytes:
    """Decode base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


ROLES = ("steward", "approver", "analyst", "auditor", "administrator")
"""The roles of people at a node."""


@dataclass(frozen=True)
class Profile:
    """Access of one organisation's people to their node.

    Attributes:
        org: the organisation's short name.
        url: the node's API.
        certificate: DER; two of them, one after the other, while the node changes its own.
        tokens: by role.
        session: of a person who signed in; while there is one, it is shown instead of the tokens.
    """

    org: str
    url: str
    certificate: bytes
    tokens: Mapping[str, str]
    session: str = ""

    def __repr__(self) -> str:
        return f"Profile(org={self.org!r}, url={self.url!r}, roles={sorted(self.tokens)})"

    @staticmethod
    def path(home: Path, org: str) -> Path:
        """Return the place of an organisation's profile under ``home``."""
        return home / "profiles" / f"{org}.json"

    @classmethod
    def load(cls, home: Path, org: str) -> Profile:
        """Read a profile.

        Raises:
            NotFound: there is none; names those that exist.
            InvalidRequest: others may read the file, or it does not have a profile's form.
        """
        path = cls.path(home, org)
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            known = ", ".join(sorted(found.stem for found in path.parent.glob("*.json"))) or "none"
            raise NotFound(f"expected a profile for {org!r} in {path.parent}, found: {known}") from None
        if mode & 0o077:
            raise InvalidRequest(str(path), "file mode 0600", f"{mode:04o}")
        try:
            loaded = json.loads(text)
            return cls(
                org=str(loaded["org"]),
                url=str(loaded["url"]),
                certificate=unpadded_decode(loaded["certificate"]),
                tokens={str(role): str(token) for role, token in loaded["tokens"].items()},
                session=str(loaded.get("session", "")),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            expected = "JSON with org, url, certificate, tokens"
            raise InvalidRequest(str(path), expected, type(error).__name__) from error

    def save(self, home: Path) -> Path:
        """Write the profile, replacing an older one at once."""
        path = self.path(home, self.org)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        document = {
            "org": self.org,
            "url": self.url,
            "certificate": unpadded(self.certificate),
            "tokens": dict(self.tokens),
        }
        if self.session:
            document["session"] = self.session
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            json.dump(document, stream, indent=1, sort_keys=True)
        fresh.replace(path)
        return path

    def of_token(self, token: str) -> Profile:
        """Return the profile of somebody who has this one token, whatever roles it is good for."""
        return replace(self, tokens=dict.fromkeys(ROLES, token), session="")

    def of_session(self, secret: str) -> Profile:
        """Return the profile with the session of a person who signed in; "" for none."""
        return replace(self, session=secret)

    def trusting(self, certificate: bytes) -> Profile:
        """Return the profile for a node that will change its certificate: both are accepted."""
        known = self.certificate if certificate in self.certificate else self.certificate + certificate
        return replace(self, certificate=known)

    def client(self, *, timeout_s: float = 60.0) -> NodeClient:
        """Return a client of this node."""
        from exchange.sdk.client import NodeClient

        return NodeClient(self, timeout_s=timeout_s)
