"""``parley eligibility``: is somebody old enough, poor enough, resident? Answered without the figure."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exchange.cli.access import client, home_option, person
from exchange.cli.assets import expiry
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows
from exchange.cli.wallets import changed, opened, wallet_options
from exchange.errors import InvalidRequest

if TYPE_CHECKING:
    from exchange.credentials.wallet import Wallet

__all__ = [
    "ask",
    "conclude",
    "define",
    "eligibility",
    "issue",
    "list_",
    "offer",
    "prove",
    "request",
    "retire",
    "store",
]

_HERE = "exchange.cli.eligibility"
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
_OUT = click.Path(path_type=Path, dir_okay=False)
_PREDICATE = re.compile(r"(definition-\w{26}):([a-z0-9][a-z0-9-]*)(>=|<=|>|<)(-?\d{1,10})", re.ASCII)
_REVEAL = re.compile(r"(definition-\w{26}):([a-z0-9][a-z0-9-]*)", re.ASCII)
_LINK = "link-secret"

eligibility = LazyGroup(
    "eligibility",
    {
        "define": f"{_HERE}:define",
        "offer": f"{_HERE}:offer",
        "request": f"{_HERE}:request",
        "issue": f"{_HERE}:issue",
        "store": f"{_HERE}:store",
        "ask": f"{_HERE}:ask",
        "prove": f"{_HERE}:prove",
        "conclude": f"{_HERE}:conclude",
        "list": f"{_HERE}:list_",
        "retire": f"{_HERE}:retire",
    },
    "eligibility",
)


@command("eligibility.define")
@click.argument("name")
@option("--attribute", "attributes", key="attribute", multiple=True, required=True)
@option("--version", key="attribute_version", default="1", show_default=True)
@person
@click.pass_context
def define(
    context: click.Context, name: str, attributes: tuple[str, ...], version: str, org: str, home: Path | None
) -> None:
    """Make a key for attributes, as their issuer."""
    with client(context, org, home) as node:
        made = node.define_attributes(name, version, attributes)
    shown = {field: made[field] for field in ("definition", "issuer", "name", "version", "attributes")}
    invocation(context).output.result(shown, fields(shown))


@command("eligibility.offer")
@click.argument("definition")
@option("--out", key="eligibility_out", required=True, type=_OUT)
@person
@click.pass_context
def offer(context: click.Context, definition: str, out: Path, org: str, home: Path | None) -> None:
    """Write an offer for a holder, as the issuer."""
    with client(context, org, home) as node:
        made = node.offer_attributes(definition)
    _write(out, made)
    invocation(context).output.result({"offer": made["offer"]}, fields({"offer": made["offer"]}))


@command("eligibility.request")
@click.argument("offered", metavar="OFFER", type=_FILE)
@option("--out", key="eligibility_out", required=True, type=_OUT)
@wallet_options
@click.pass_context
def request(
    context: click.Context, offered: Path, out: Path, wallet: Path, passphrase_file: Path | None
) -> None:
    """Answer an offer, as the holder."""
    from exchange.credentials import predicates

    before, secret = opened(context, wallet, passphrase_file)
    held, link = _linked(before)
    paper = _read(offered)
    definition = predicates.Definition.of(paper["definition"])
    wanted, kept = predicates.request_credential(definition, paper["offered"], link)
    pending = {"definition": paper["definition"], "kept": kept}
    changed(before, held.keeping(f"offer {paper['offer']}", json.dumps(pending)), wallet, secret)
    _write(out, {"offer": paper["offer"], "request": wanted})
    invocation(context).output.result({"offer": paper["offer"]}, fields({"offer": paper["offer"]}))


@command("eligibility.issue")
@click.argument("requested", metavar="REQUEST", type=_FILE)
@option("--value", "values", key="attribute_value", multiple=True, required=True)
@option("--valid", key="attribute_valid", default="365d", show_default=True)
@option("--out", key="eligibility_out", required=True, type=_OUT)
@person
@click.pass_context
def issue(
    context: click.Context,
    requested: Path,
    values: tuple[str, ...],
    valid: str,
    out: Path,
    org: str,
    home: Path | None,
) -> None:
    """Sign a holder's attributes, as the issuer."""
    paper = _read(requested)
    until = expiry(valid, datetime.now(UTC))
    with client(context, org, home) as node:
        made = node.issue_attributes(
            paper["offer"], paper["request"], dict(_value(value) for value in values), until
        )
    _write(out, made)
    invocation(context).output.result({"offer": made["offer"]}, fields({"offer": made["offer"]}))


@command("eligibility.store")
@click.argument("issued", metavar="CREDENTIAL", type=_FILE)
@wallet_options
@click.pass_context
def store(context: click.Context, issued: Path, wallet: Path, passphrase_file: Path | None) -> None:
    """Check a credential and keep it in the wallet, as the holder."""
    from exchange.credentials import predicates

    before, secret = opened(context, wallet, passphrase_file)
    paper = _read(issued)
    pending = json.loads(before.paper(f"offer {paper['offer']}"))
    definition = predicates.Definition.of(pending["definition"])
    found = predicates.store(definition, paper["credential"], pending["kept"], before.paper(_LINK))
    kept = {"definition": definition.as_json(), "credential": found.credential}
    after = before.without(f"offer {paper['offer']}")
    changed(before, after.keeping(f"attributes {definition.definition}", json.dumps(kept)), wallet, secret)
    shown = {"definition": definition.definition, "issuer": definition.issuer}
    invocation(context).output.result(shown, fields(shown))


@command("eligibility.ask")
@option("--purpose", key="purpose_one", required=True)
@option("--predicate", "predicates", key="predicate", multiple=True, required=True)
@option("--reveal", "reveal", key="reveal", multiple=True)
@option("--out", key="eligibility_out", required=True, type=_OUT)
@person
@click.pass_context
def ask(
    context: click.Context,
    purpose: str,
    predicates: tuple[str, ...],
    reveal: tuple[str, ...],
    out: Path,
    org: str,
    home: Path | None,
) -> None:
    """Ask for a proof, as the verifier."""
    asked = [_predicate(text) for text in predicates]
    shown = [_revealed(text) for text in reveal]
    with client(context, org, home) as node:
        made = node.ask_eligibility(purpose, asked, reveal=shown)
    _write(out, made)
    facts = {name: made[name] for name in ("eligibility", "purpose", "expires")}
    invocation(context).output.result(facts, fields(facts))


@command("eligibility.prove")
@click.argument("asked", metavar="REQUEST", type=_FILE)
@option("--out", key="eligibility_out", required=True, type=_OUT)
@option("--pseudonym", key="pseudonym_answer", is_flag=True)
@wallet_options
@option("--org", key="prove_org", envvar="PARLEY_ORG")
@home_option
@click.pass_context
def prove(
    context: click.Context,
    asked: Path,
    out: Path,
    pseudonym: bool,
    wallet: Path,
    passphrase_file: Path | None,
    org: str | None,
    home: Path | None,
) -> None:
    """Prove what is asked, as the holder; the file shows who asks, for what, and what is revealed."""
    from exchange.credentials import predicates
    from exchange.credentials.holders import check_asker, request_digest, sign_answer
    from ledger.keys import did_key
    from ledger.times import system_clock

    before, secret = opened(context, wallet, passphrase_file)
    paper = _read(asked)
    if org is not None:
        with client(context, org, home) as node:
            check_asker(paper, node.did_document(str(paper["verifier"])), system_clock())
    papers = [json.loads(text) for name, text in before.papers.items() if name.startswith("attributes ")]
    issued = [
        predicates.Issued(predicates.Definition.of(one["definition"]), one["credential"]) for one in papers
    ]
    presentation = predicates.prove(paper["request"], issued, before.paper(_LINK))
    answer: dict[str, Any] = {"eligibility": paper["eligibility"], "presentation": presentation}
    if pseudonym:
        held, key = before.known_to(paper["verifier"])
        answer |= {
            "holder": did_key(key.public),
            "sig": sign_answer(key, request_digest(paper), presentation),
        }
        changed(before, held, wallet, secret)
    _write(out, answer)
    shown = {name: paper[name] for name in ("eligibility", "verifier", "purpose")} | _told(paper["request"])
    invocation(context).output.result(shown, fields(shown))


@command("eligibility.conclude")
@click.argument("answered", metavar="ANSWER|ELIGIBILITY")
@person
@click.pass_context
def conclude(context: click.Context, answered: str, org: str, home: Path | None) -> None:
    """Check an answer and record pass or fail; given an id, record that no proof came."""
    is_id = re.fullmatch(r"eligibility-\w{26}", answered, re.ASCII) is not None
    unanswered: dict[str, Any] = {"eligibility": answered, "presentation": None}
    paper = unanswered if is_id else _read(Path(answered))
    with client(context, org, home) as node:
        made = node.conclude_eligibility(
            paper["eligibility"], paper["presentation"], holder=paper.get("holder"), sig=paper.get("sig")
        )
    invocation(context).output.result(made, fields(made))
    if made["outcome"] != "pass":
        context.exit(1)


@command("eligibility.list")
@option("--definitions", key="definitions", is_flag=True)
@person
@click.pass_context
def list_(context: click.Context, definitions: bool, org: str, home: Path | None) -> None:
    """List concluded checks, or the definitions on the ledger."""
    with client(context, org, home) as node:
        found = node.definitions() if definitions else node.eligibility()
    columns = (
        ["definition", "name", "version", "attributes", "issuer", "status"]
        if definitions
        else ["eligibility", "outcome", "purpose", "verifier", "holder"]
    )
    invocation(context).output.result(found, rows(found, columns))


@command("eligibility.retire")
@click.argument("definition")
@option("--reason", key="reason", required=True)
@person
@click.pass_context
def retire(context: click.Context, definition: str, reason: str, org: str, home: Path | None) -> None:
    """Take a key out of use, as its issuer."""
    with client(context, org, home) as node:
        made = node.retire_definition(definition, reason)
    invocation(context).output.result(made, fields(made))


def _linked(wallet: Wallet) -> tuple[Wallet, str]:
    from exchange.credentials.predicates import new_link_secret

    held = wallet if _LINK in wallet.papers else wallet.keeping(_LINK, new_link_secret())
    return held, held.paper(_LINK)


def _told(request: dict[str, Any]) -> dict[str, list[str]]:
    """What an answer tells the verifier, in words for its holder."""
    proved = [
        f"{one['name']} {one['p_type']} {one['p_value']}" for one in request["requested_predicates"].values()
    ]
    return {"proved": proved, "revealed": [one["name"] for one in request["requested_attributes"].values()]}


def _predicate(text: str) -> dict[str, object]:
    found = _PREDICATE.fullmatch(text)
    if found is None:
        raise InvalidRequest("--predicate", "DEFINITION:ATTRIBUTE>=NUMBER (or >, <=, <)", repr(text))
    definition, attribute, operator, value = found.groups()
    return {"definition": definition, "attribute": attribute, "operator": operator, "value": int(value)}


def _revealed(text: str) -> dict[str, object]:
    found = _REVEAL.fullmatch(text)
    if found is None:
        raise InvalidRequest("--reveal", "DEFINITION:ATTRIBUTE", repr(text))
    return {"definition": found[1], "attribute": found[2]}


def _value(text: str) -> tuple[str, int | str]:
    name, mark, value = text.partition("=")
    if not mark or not name or not value:
        raise InvalidRequest("--value", "ATTRIBUTE=VALUE", "another text")
    return name, int(value) if re.fullmatch(r"-?[1-9]\d{0,9}|0", value, re.ASCII) else value


def _read(path: Path) -> dict[str, Any]:
    try:
        paper = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        paper = None
    if not isinstance(paper, dict):
        raise InvalidRequest(path.name, "a file by `parley eligibility`", "another one, or none")
    return paper


def _write(path: Path, paper: object) -> None:
    path.touch(mode=0o600)
    path.write_text(json.dumps(paper, ensure_ascii=False) + "\n", encoding="utf-8")
