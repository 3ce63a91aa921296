"""The ledger explorer: search by any criteria, entries, batches, proofs, checkpoint, members, standing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, request
from werkzeug.datastructures import MultiDict

from exchange.errors import NotFound
from exchange.node.api.access import Access
from exchange.node.explorer import Explorer
from exchange.node.people import Role
from exchange.web.fields import TIME, Rule, query, unix_time
from exchange.web.openapi import describe
from ledger.search import Query

__all__ = ["explorer_blueprint"]

_PLACE = re.compile(r"0|[1-9][0-9]{0,17}|[0-9a-f]{64}")
_TAGS = ("ledger",)

_Type = Annotated[str, Rule("an entry type, or job.* for all that begin so", pattern=r"[a-z.-]{0,64}\*?")]
_Id = Annotated[str | None, Rule("an id", maximum=256)]
_Moment = Annotated[str | None, TIME]


@dataclass(frozen=True)
class CountsQuery:
    """What to look for; all conditions must hold, of several types any.

    ``subject`` is any DID or id, and may be given several times. ``since`` is inclusive, ``until`` is not;
    both are compared with the time of an entry's batch.
    """

    type: tuple[_Type, ...] = ()
    actor: _Id = None
    participant: _Id = None
    asset: _Id = None
    negotiation: _Id = None
    agreement: _Id = None
    job: _Id = None
    proposal: _Id = None
    subject: tuple[str, ...] = ()
    refused: bool = False
    code: _Id = None
    since: _Moment = None
    until: _Moment = None


@dataclass(frozen=True)
class EntriesQuery(CountsQuery):
    """As for counts; the page begins behind ``cursor``, which a ``Link`` header names."""

    order: Literal["oldest", "newest"] = "oldest"
    cursor: Annotated[int | None, Rule("index of the last entry looked at", minimum=0)] = None
    limit: Annotated[int, Rule("1 to 1,000", minimum=1, maximum=1000)] = 100


def explorer_blueprint(access: Access, explorer: Explorer) -> Blueprint:
    """Routes below ``/v1/ledger`` that read this node's own copy."""
    bp = Blueprint("explorer", __name__, url_prefix="/v1/ledger")

    @bp.get("/entries")
    @describe(
        "Search the final entries; a page may hold fewer than asked for and still have a next one",
        role="auditor",
        query=EntriesQuery,
        response={"type": "object"},
        tags=_TAGS,
    )
    def entries() -> Response:
        access.require(Role.AUDITOR)
        asked = query(EntriesQuery)
        found, cursor = explorer.page(
            _query(explorer, asked),
            cursor=asked.cursor,
            newest_first=asked.order == "newest",
            limit=asked.limit,
        )
        response = jsonify(entries=found, cursor=cursor)
        response.headers["Link"] = ", ".join(_links(cursor))
        return response

    @bp.get("/counts")
    @describe(
        "How many final entries there are, by type",
        role="auditor",
        query=CountsQuery,
        response={"type": "object"},
        tags=_TAGS,
    )
    def counts() -> Response:
        access.require(Role.AUDITOR)
        return jsonify(counts=explorer.counts(_query(explorer, query(CountsQuery))))

    @bp.get("/entries/<place>")
    @describe(
        "One entry by index or txid, with its batch; also before it is final",
        role="auditor",
        response={"type": "object"},
        tags=_TAGS,
    )
    def entry(place: str) -> Response:
        access.require(Role.AUDITOR)
        return jsonify(explorer.entry(_place(place)))

    @bp.get("/entries/<place>/proof")
    @describe(
        "Proof (C2SP tlog-proof) that a final entry is in the log, with the entry's bytes as its extra",
        role="auditor",
        media="text/plain",
        tags=_TAGS,
    )
    def proof(place: str) -> Response:
        access.require(Role.AUDITOR)
        return _text(explorer.proof(_place(place)))

    @bp.get("/batches/<int:height>")
    @describe(
        "The batch at a height, as its seal states it",
        role="auditor",
        response={"type": "object"},
        tags=_TAGS,
    )
    def batch(height: int) -> Response:
        access.require(Role.AUDITOR)
        return jsonify(explorer.batch(height))

    @bp.get("/checkpoint")
    @describe("The final checkpoint with its cosignatures", role="auditor", media="text/plain", tags=_TAGS)
    def checkpoint() -> Response:
        access.require(Role.AUDITOR)
        return _text(explorer.checkpoint())

    @bp.get("/policy")
    @describe(
        "Whose signatures make a checkpoint final (C2SP tlog-policy)",
        role="auditor",
        media="text/plain",
        tags=_TAGS,
    )
    def policy() -> Response:
        access.require(Role.AUDITOR)
        return _text(explorer.policy())

    @bp.get("/members")
    @describe(
        "Members with their keys and since when these count",
        role="any",
        response={"type": "object"},
        tags=_TAGS,
    )
    def members() -> Response:
        access.require()
        return jsonify(members=explorer.members())

    @bp.get("/status")
    @describe(
        "How this node's copy of the ledger stands", role="any", response={"type": "object"}, tags=_TAGS
    )
    def status() -> Response:
        access.require()
        return jsonify(explorer.status())

    return bp


def _query(explorer: Explorer, asked: CountsQuery) -> Query:
    participant = None if asked.participant is None else explorer.resolved(asked.participant)
    named = (participant, asked.asset, asked.negotiation, asked.agreement, asked.job, asked.proposal)
    return Query(
        types=asked.type,
        actor=None if asked.actor is None else explorer.resolved(asked.actor),
        concerning=tuple(one for one in (*named, *asked.subject) if one is not None),
        is_refused=asked.refused,
        code=asked.code,
        since=unix_time("since", asked.since),
        until=unix_time("until", asked.until),
    )


def _links(cursor: int | None) -> list[str]:
    """The first and the next page of the present search, in the form of RFC 8288."""
    first = MultiDict(request.args)
    first.poplist("cursor")
    links = [f'<{_address(first)}>; rel="first"']
    if cursor is not None:
        following = MultiDict(first)
        following["cursor"] = str(cursor)
        links.append(f'<{_address(following)}>; rel="next"')
    return links


def _address(arguments: MultiDict[str, str]) -> str:
    asked = urlencode(list(arguments.items(multi=True)))
    return request.path + (f"?{asked}" if asked else "")


def _place(place: str) -> str:
    if _PLACE.fullmatch(place) is None:
        raise NotFound("expected an index or a txid")
    return place


def _text(content: bytes) -> Response:
    return Response(content, content_type="text/plain; charset=utf-8")
