"""Hostile text in every string of every request that a node's document describes, by somebody it lets in.

The walk is over the OpenAPI document, so a new route is attacked without being named here. One string of each
request is hostile and the rest is as it should be, so that the text gets past the checks of other fields.
"""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from exchange.tls import client_context
from ledger.entries import new_id
from ledger.times import system_clock

pytestmark = pytest.mark.xdist_group("exchange-hostile-text")

SQL = """x'; DROP TABLE node_accounts; DELETE FROM node_assets; --" OR '1'='1"""
OTHERS = (
    "a\x00b\r\nX-Injected: 1\x1b[2J",
    "\ud800 alone",
    "../" * 12 + "etc/passwd" + "Ж%_*" * 20_000,
)
TOLD = {"connectors.source-unreachable"}
"""There is no such file: this is said with this code and a status of 5xx."""
LONGEST_IN_AN_ADDRESS = 3000
LATE = re.compile(r"/(withdraw|withdrawals|revoke|reject|retire|stop|end|tokens|state|roles)")
"""These end what others need, so they come last."""
ROLES = ["steward", "approver", "analyst", "auditor", "administrator"]
SEARCHES = {"/v1/ledger/entries", "/v1/ledger/counts", "/v1/consents", "/v1/credentials", "/v1/reviews"}
"""Each says what it found for one exact id; of a hostile one there is nothing."""


STAY = {"node_accounts", "node_departments", "node_tokens", "node_sessions", "node_approval_rules"}
KEPT = {"node_assets", "node_people_record", "node_jobs", "ledger_entries", "ledger_checkpoints"}
"""Of these nothing is added, and of those nothing is taken away, by what was sent."""
NOT_LET_IN = {"sign_in.begin", "sign_in.accept"}
"""Routes that let somebody in: what is no name and no invitation is refused like a wrong one."""


@dataclass
class Walk:
    """One caller with every role at one node, and what its requests came to."""

    http: httpx.Client
    document: dict[str, Any]
    known: dict[str, Any]
    bodies: dict[str, dict[str, Any]]
    accepted: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def requests(self) -> Iterator[tuple[str, str, str, Any]]:
        """Method, address, operation and body of each, with one hostile string."""
        others = itertools.cycle(OTHERS)
        operations = [
            (method, path, described)
            for path, methods in self.document["paths"].items()
            for method, described in methods.items()
        ]
        for method, path, described in sorted(operations, key=lambda o: bool(LATE.search(o[1]))):
            name = described["operationId"]
            for text in (SQL, next(others)):
                for address in self._addresses(path, described.get("parameters", []), text):
                    yield method, address, name, self._body(described)
                for body in self._bodies(described, text):
                    yield method, self._address(path), name, body

    def send(self, method: str, address: str, name: str, body: Any) -> None:
        content = None if body is None else json.dumps(body).encode("ascii")
        headers = {"Content-Type": "application/json"} if content is not None else {}
        answer = self.http.request(method.upper(), address, content=content, headers=headers)
        what = f"{method} {address[:200]} {'' if content is None else content[:300]!r}: {answer.status_code}"
        refused = answer.status_code >= 400
        if answer.status_code == 401 and name not in NOT_LET_IN:
            self.faults.append(f"{what}: the caller was let in before")
        code = answer.json()["code"] if refused else ""
        if code == "exchange.internal" or (answer.status_code >= 500 and code not in TOLD):
            self.faults.append(f"{what} broke: {answer.text[:300]}")
        elif "X-Injected" in answer.headers or (refused and "\x1b" in answer.text):
            self.faults.append(f"{what} handed control characters on")
        elif not refused:
            self.accepted.add(name)
            if address.partition("?")[0] in SEARCHES and "?" in address and _finds(answer.json()):
                self.faults.append(f"{what} found {answer.text[:300]}")

    def _addresses(self, path: str, parameters: list[dict[str, Any]], text: str) -> Iterator[str]:
        said = _percent(text)
        for parameter in parameters:
            if parameter["in"] == "path":
                yield self._address(path.replace("{" + parameter["name"] + "}", said))
            elif _strings(parameter["schema"]):
                yield f"{self._address(path)}?{parameter['name']}={said}"

    def _address(self, path: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: _percent(str(self.known.get(found[1], "nothing"))), path)

    def _schema(self, described: dict[str, Any]) -> dict[str, Any] | None:
        found = described.get("requestBody", {}).get("content", {}).get("application/json")
        return None if found is None else found["schema"]

    def _body(self, described: dict[str, Any]) -> Any:
        schema = self._schema(described)
        return None if schema is None else self._plain(described, schema)

    def _plain(self, described: dict[str, Any], schema: dict[str, Any]) -> Any:
        given = self.bodies.get(described["operationId"])
        return _least(schema, self.known) if given is None else given

    def _bodies(self, described: dict[str, Any], text: str) -> Iterator[Any]:
        schema = self._schema(described)
        if schema is None:
            return
        plain = self._plain(described, schema)
        yield from _by_schema(schema, plain, text, self.known)
        if text is SQL and described["operationId"] in self.bodies:
            yield from _by_example(plain, text)


def _percent(text: str) -> str:
    return quote(
        text[:LONGEST_IN_AN_ADDRESS].encode("utf-8", "surrogatepass")[:LONGEST_IN_AN_ADDRESS], safe=""
    )


def _finds(answer: Any) -> bool:
    return any(isinstance(part, list) and part for part in answer.values())


def _strings(schema: dict[str, Any]) -> bool:
    options = schema.get("anyOf", [schema])
    return any(
        option.get("type") == "string" or _strings(option.get("items", {})) for option in options if option
    )


def _least(schema: dict[str, Any], known: dict[str, Any], name: str = "") -> Any:
    """The smallest value that fits, of known names where there are any."""
    if "anyOf" in schema:
        return _least(schema["anyOf"][0], known, name)
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        return {key: _least(schema["properties"][key], known, key) for key in schema.get("required", [])}
    if kind == "array":
        return [_least(schema.get("items", {}), known, name)] * schema.get("minItems", 1)
    if kind == "string":
        fits = re.compile(schema.get("pattern", ""))
        candidates = (known.get(name, "abc"), "abc", *map(str, known.values()))
        return next((one for one in candidates if fits.match(str(one))), "abc").ljust(
            schema.get("minLength", 0), "A"
        )
    return {"integer": schema.get("minimum", 1), "boolean": False}.get(str(kind), "x")


def _by_schema(schema: dict[str, Any], plain: Any, text: str, known: dict[str, Any]) -> Iterator[Any]:
    """``plain`` with each string that the schema declares, in turn, hostile."""
    for option in schema.get("anyOf", [schema]):
        kind = option.get("type")
        if kind == "string":
            yield text
        elif kind == "array":
            for item in _by_schema(option.get("items", {}), None, text, known):
                yield [item]
        elif kind == "object":
            whole = plain if isinstance(plain, dict) else _least(option, known)
            for name, part in option.get("properties", {}).items():
                for value in _by_schema(part, whole.get(name), text, known):
                    yield {**whole, name: value}
            if "additionalProperties" in option and option["additionalProperties"] is not False:
                yield from ({**whole, text: "x"}, {**whole, "x": text})


def _by_example(value: Any, text: str) -> Iterator[Any]:
    """The value with each string in it, at any depth, in turn hostile."""
    if isinstance(value, str):
        yield text
    elif isinstance(value, list):
        for place, item in enumerate(value):
            for other in _by_example(item, text):
                yield [*value[:place], other, *value[place + 1 :]]
    elif isinstance(value, dict):
        for name, item in value.items():
            for other in _by_example(item, text):
                yield {**value, name: other}


def rows(folder: Path) -> dict[str, Counter[str]]:
    """The tables of each database in a data directory, with their numbers of rows; all of them sound."""
    found = {}
    for path in sorted(folder.glob("*.sqlite")):
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            assert database.execute("pragma integrity_check").fetchone() == ("ok",)
            names = [
                name for (name,) in database.execute("select name from sqlite_master where type = 'table'")
            ]
            found[path.name] = Counter(
                {name: database.execute(f'select count(*) from "{name}"').fetchone()[0] for name in names}  # noqa: S608
            )
    return found


@pytest.fixture
def question(tmp_path: Path, make_question: Callable[..., Any]) -> Iterator[Any]:
    environ = {"PARLEY_PASSWORD_MEMORY_KIB": "19456", "PARLEY_PASSWORD_PASSES": "2"}
    asked = make_question(tmp_path, environ=environ)
    with asked.running:
        asked.publish()
        yield asked


@pytest.fixture
def made(question: Any) -> Iterator[Walk]:
    """A caller at the lender's node, with something of each kind for the requests to name."""
    lender, analyst = question.client("lender"), question.client("analyst")
    agreements = question.agree(uses=1)
    job = new_id("job", system_clock)
    spec = question.spec(agreements, job=job)
    columns = ["customer_id", "arrears", "balance"]
    pending = analyst.request_agreement(question.request("lender/loans", columns))
    made = lender.add_person("caller", ROLES, token_days=1)
    lender.add_person("victim", ["auditor"])
    lender.add_department("desk", "Desk")
    source = {"kind": "file", "location": str(question.data / "loans.csv")}
    lender.draft("drafted", source)
    asset: dict[str, Any] = {
        "name": "more",
        "title": "More",
        "source": source,
        "columns": [
            {"name": "customer_id", "role": "identifier", "sensitivity": "internal", "control": "AFTER_JOIN"}
        ],
        "terms": {
            "purposes": ["dpv:CustomerSolvencyMonitoring"],
            "operations": ["psi/ecdh"],
            "columns": ["customer_id"],
            "uses": 1,
            "expires": "2099-01-01T00:00:00Z",
            "min_cohort": 10,
            "output_types": ["cardinality"],
        },
    }
    ask = question.request("bureau/people", ["person_id", "band"])
    terms = asset["terms"]
    profile = question.running.profiles["lender"]
    http = httpx.Client(
        base_url=profile.url,
        verify=client_context(None, None, profile.certificate),
        trust_env=False,
        headers={"Authorization": f"Bearer {made['token']}"},
        timeout=60,
    )
    known = {
        "asset": "lender/loans",
        "agreement": agreements["lender/loans"],
        "negotiation": pending["negotiation"],
        "job": job,
        "name": "victim",
        "department": "desk",
        "did": question.running.did("bureau"),
        "consumer": "analyst",
        "member": "bureau",
        "place": "1",
        "height": "1",
        "kind": "party",
        "purpose": "dpv:CustomerSolvencyMonitoring",
        "event": "revoke",
        "time": "2099-01-01T00:00:00Z",
        "digest": "ab" * 32,
        "notarization": new_id("notarization", system_clock),
        "expires": "2099-01-01T00:00:00Z",
        "definition": "abc",
    }
    bodies = {
        "assets.publish": asset,
        "assets.draft": {"name": "again", "source": source},
        "assets.confirm": {"title": "Drafted", "terms": terms},
        "negotiations.ask": ask,
        "negotiations.offer": {"asset": "lender/loans", "consumer": "bureau", "terms": terms},
        "negotiations.counter": {"terms": {"uses": 2, "purposes": terms["purposes"]}},
        "jobs.submit": {"spec": spec},
        "policies.simulation": {"spec": spec, "language": "en"},
    }
    with http:
        yield Walk(http, http.get("/openapi.json").json(), known, bodies)


def test_hostile_text_in_every_field_is_stored_as_text_or_refused(
    question: Any, made: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.node.ledger_client._CATCH_UP_S", 0.0)
    monkeypatch.setattr("exchange.node.notarizations._CATCH_UP_S", 0.0)
    missing = set(made.bodies) - {
        described["operationId"]
        for methods in made.document["paths"].values()
        for described in methods.values()
    }
    assert not missing
    root = question.running.root
    before = {name: rows(root / name) for name in ("hub", "lender", "bureau")}
    attacked = set()
    for method, address, name, body in made.requests():
        attacked.add(name)
        made.send(method, address, name, body)
    assert len(attacked) > 90
    assert made.accepted >= {"assets.publish", "negotiations.ask", "jobs.submit", "policies.simulation"}
    assert not made.faults, "\n".join(made.faults[:10])
    after = {name: rows(root / name) for name in ("hub", "lender", "bureau")}
    assert {who: {name: set(found) for name, found in kept.items()} for who, kept in after.items()} == {
        who: {name: set(found) for name, found in kept.items()} for who, kept in before.items()
    }
    for who, databases in before.items():
        for name, tables in databases.items():
            for table in tables:
                rows_then, rows_now = tables[table], after[who][name][table]
                assert rows_now == rows_then or table not in STAY, table
                assert rows_now >= rows_then or table not in KEPT, table
    assert {one["name"] for one in question.client("lender").people()} >= {"caller", "victim", "steward"}
    assert question.client("lender").verify_people_record()["sound"] is True
    assert not question.client("bureau").node()["divergence"]
