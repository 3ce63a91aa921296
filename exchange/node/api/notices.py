"""Notices to people of this organisation: reading them, and waiting for the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify

from exchange.node.api.access import Access
from exchange.node.services import NodeServices
from exchange.store import Notice
from exchange.web.fields import Rule, body, query
from exchange.web.openapi import describe
from ledger.times import format_time

__all__ = ["notices_blueprint"]

_TAGS = ("notices",)


@dataclass(frozen=True)
class NoticesQuery:
    """Which notices, and how long to wait for the first."""

    after: Annotated[int, Rule("position of the last notice that is known", minimum=0, maximum=2**53 - 1)] = 0
    unread: Annotated[bool, Rule("only those that the caller has not read")] = False
    wait_s: Annotated[int, Rule("seconds to wait for one, at most 25", minimum=0, maximum=25)] = 0


@dataclass(frozen=True)
class NoticeAnswer:
    """A notice; ``facts`` holds names, ids and counts."""

    position: int
    notice: str
    kind: str
    subject: str
    to: str
    facts: object
    made: str
    is_read: bool


@dataclass(frozen=True)
class NoticesAnswer:
    """Notices, the oldest first."""

    notices: tuple[NoticeAnswer, ...]


@dataclass(frozen=True)
class ReadBody:
    """Which notices were read."""

    notices: Annotated[tuple[str, ...], Rule("ids of notices", minimum=1, maximum=200)]


def notices_blueprint(services: NodeServices, access: Access) -> Blueprint:
    """Routes for notices."""
    bp = Blueprint("notices", __name__, url_prefix="/v1/notices")
    notices = services.notices

    @bp.get("")
    @describe(
        "The caller's notices; with wait_s the answer comes when there is one",
        role="any",
        query=NoticesQuery,
        response=NoticesAnswer,
        tags=_TAGS,
    )
    def listed() -> Response:
        person, wanted = access.require(), query(NoticesQuery)
        if wanted.wait_s:
            notices.wait(person, wanted.after, wanted.wait_s)
        found = notices.of(person, after=wanted.after, unread=wanted.unread)
        return jsonify(notices=[_shown(one) for one in found])

    @bp.post("/read")
    @describe(
        "Note that the caller has read notices",
        role="any",
        request=ReadBody,
        media="text/plain",
        status=204,
        tags=_TAGS,
    )
    def read() -> tuple[str, int]:
        person = access.require()
        for notice in body(ReadBody).notices:
            notices.read(notice, person)
        return "", 204

    return bp


def _shown(one: Notice) -> dict[str, Any]:
    return {
        "position": one.position,
        "notice": one.notice,
        "kind": one.kind,
        "subject": one.subject,
        "to": one.person or one.role,
        "facts": dict(one.facts),
        "made": format_time(one.made),
        "is_read": one.is_read,
    }
