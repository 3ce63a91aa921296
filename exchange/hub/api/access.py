"""Who the caller is, and how much of a body is read."""

from __future__ import annotations

from flask import request

from exchange.errors import InvalidRequest
from exchange.hub.members import Members
from exchange.web.server import PEER

__all__ = ["Access", "raw_body"]


class Access:
    """Names the member behind the present request."""

    def __init__(self, members: Members) -> None:
        self._members = members

    def caller(self) -> str:
        """The DID of the calling member.

        Raises:
            Forbidden: its certificate is no member's.
        """
        return self._members.by_certificate(request.environ.get(PEER))


def raw_body(what: str, limit: int) -> bytes:
    """Read the present request's body as it is.

    Raises:
        InvalidRequest: it is longer than ``limit`` bytes; nothing of it is read.
    """
    length = request.content_length or 0
    if length > limit:
        raise InvalidRequest(what, f"at most {limit} bytes", f"{length} bytes")
    return request.get_data(cache=False)
