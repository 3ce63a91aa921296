"""The page on which a person looks keys up: one form, without a script. Nothing that is typed is kept."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final

from flask import Blueprint, Response

from exchange.errors import ExchangeError, InvalidRequest, Unauthenticated, public_face
from exchange.lookup.asking import Answer, Asked, Target
from exchange.lookup.lookups import Lookups
from exchange.node.api.access import Access
from exchange.node.api.account_desk import moved
from exchange.node.people import Role
from exchange.node.people.sessions import csrf_token
from exchange.web.fields import Rule, form
from exchange.web.openapi import describe
from exchange.web.pages import Language, language, render

__all__ = ["lookup_page_blueprint"]

_TAGS = ("lookups",)
_HTML = "text/html"
_MOST_KEYS: Final = 100

WORDS: Final[Mapping[Language, Mapping[str, str]]] = MappingProxyType(
    {
        "en": {
            "account": "Account",
            "answers": "Answers",
            "ask": "Look up",
            "entries": "entries",
            "failed": "The answer was not the list's, and is not shown",
            "fee": "Points",
            "found": "On the list",
            "key": "Key",
            "keys": "Keys, one a line",
            "keys_of": "by",
            "no": "no",
            "none": "No service can be asked: there is no agreement on one.",
            "note": "The owner of a list learns that you ask, how often and for what purpose. It does not "
            "learn the key.",
            "purpose": "Purpose",
            "queries": "Queries",
            "record": "Record",
            "refused": "Refused",
            "release": "Release",
            "service": "Service",
            "services": "Services",
            "statement": "Asked so far",
            "title": "Anonymous lookup",
            "unreachable": "No answer",
            "yes": "yes",
        },
        "zh": {
            "account": "账户",
            "answers": "查询结果",
            "ask": "查询",
            "entries": "条",
            "failed": "应答与名单不符,不予显示",
            "fee": "积分",
            "found": "是否命中",
            "key": "键",
            "keys": "查询键,每行一个",
            "keys_of": "键列:",
            "no": "否",
            "none": "没有可查询的服务:尚无有关协议。",
            "note": "名单所有者知道您在查询、查询次数和目的,但不知道您查询的键。",
            "purpose": "目的",
            "queries": "查询次数",
            "record": "记录",
            "refused": "已拒绝",
            "release": "版本",
            "service": "服务",
            "services": "服务",
            "statement": "累计查询",
            "title": "匿名查询",
            "unreachable": "无应答",
            "yes": "是",
        },
    }
)


@dataclass(frozen=True, repr=False)
class LookupForm:
    """What a person types: keys line by line, the parts of one separated by commas."""

    csrf: Annotated[str, Rule("the value of the page's form", maximum=100)]
    purpose: Annotated[str, Rule("a DPV term", minimum=1, maximum=256)]
    keys: Annotated[str, Rule("keys", minimum=1, maximum=100_000)]
    services: Annotated[tuple[Annotated[str, Rule("a service", maximum=200)], ...], Rule("services")] = ()


def lookup_page_blueprint(access: Access, lookups: Lookups, organisation: str) -> Blueprint:
    """The page for lookups."""
    bp = Blueprint("lookup-page", __name__)

    @bp.errorhandler(Unauthenticated)
    def ended(_: Unauthenticated) -> Response:
        return moved("/sign-in")

    @bp.get("/lookups")
    @describe("The page to look keys up on", role="analyst", media=_HTML, tags=_TAGS)
    def page() -> Response:
        access.require(Role.ANALYST)
        return _rendered(access, lookups, organisation)

    @bp.post("/lookups")
    @describe(
        "Look keys up",
        role="analyst",
        request=LookupForm,
        request_media="application/x-www-form-urlencoded",
        media=_HTML,
        tags=_TAGS,
    )
    def ask() -> Response:
        person = access.require(Role.ANALYST)
        asked: LookupForm | None = None
        try:
            asked = form(LookupForm)
            keys = _keys(asked.keys)
            targets = tuple(Target(service) for service in asked.services)
            answers = lookups.asking.ask(Asked(targets, keys, asked.purpose, person.name))
        except ExchangeError as error:
            answer = _rendered(access, lookups, organisation, asked=asked, message=public_face(error).detail)
            answer.status_code = public_face(error).status
            return answer
        return _rendered(access, lookups, organisation, asked=asked, answers=_shown(keys, answers))

    return bp


def _rendered(
    access: Access,
    lookups: Lookups,
    organisation: str,
    *,
    asked: LookupForm | None = None,
    answers: tuple[dict[str, Any], ...] = (),
    message: str = "",
) -> Response:
    lang, covered = language(), lookups.covered()
    answer = render(
        "lookups.html",
        lang=lang,
        words=WORDS[lang],
        organisation=organisation,
        csrf=csrf_token(access.caller().secret),
        services=[{**row, "keys": ", ".join(key["column"] for key in row["keys"])} for row, _ in covered],
        purposes=sorted({purpose for _, purposes in covered for purpose in purposes}),
        chosen=() if asked is None else asked.services,
        purpose="" if asked is None else asked.purpose,
        accounts=lookups.statement(),
        answers=answers,
        message=message,
    )
    answer.headers["Referrer-Policy"] = "same-origin"  # without it a browser sends its forms from "null"
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _keys(text: str) -> tuple[tuple[str, ...], ...]:
    lines = [line for line in text.splitlines() if line.strip()]
    if not 1 <= len(lines) <= _MOST_KEYS:
        raise InvalidRequest("keys", f"1 to {_MOST_KEYS} lines", str(len(lines)))
    return tuple(tuple(parts) for parts in csv.reader(lines, skipinitialspace=True))


def _shown(keys: tuple[tuple[str, ...], ...], answers: list[Answer]) -> tuple[dict[str, Any], ...]:
    texts = [", ".join(key) for key in keys]
    return tuple({**vars(one), "lines": list(zip(texts, one.records, strict=False))} for one in answers)
