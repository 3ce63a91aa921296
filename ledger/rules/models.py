"""Models that several owners trained together: versions, of which each owner files its part, and their use.

The label holder drafts a version on a completed job; every other owner of the trained columns files its own
part by its own signature; with the last part the version is published. What stands here of a part is a salted
commitment, never a coefficient. Any owner withdraws a version, at any time.

A person's score never comes here. The label holder's node signs a ticket for each call to another owner's
node, with a running number and the running total of persons it has asked about; the owner answers at once and
reports now and then how many were answered, with the last ticket whole. So a receipt can charge for nobody
that was not asked about, and for no ticket twice. Neither has a place for an identifier.

An account is one agreement, one version of a model and one purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ledger import algorithms, base64url, canonical
from ledger.errors import InvalidSignature, Refusal
from ledger.membership import NETWORK_KEY, allowed_algorithms, member_key
from ledger.rules import budgets, shapes
from ledger.rules.act import Act, existing, require
from ledger.rules.jobs import JobState, existing_job
from ledger.tables import Row, State
from ledger.times import parse_time

__all__ = [
    "COMPONENTS",
    "MAX_PERSONS",
    "MAX_REASONS",
    "account",
    "check_ticket",
    "draft",
    "file_part",
    "key_of",
    "price_of",
    "report",
    "ticket_message",
    "withdraw",
]

MAX_PERSONS = 1_000
"""Persons of one ticket."""

MAX_REASONS = 8
"""Columns that an owner names with a person's partial score, at most."""

COMPONENTS: Final = frozenset(
    {"model/boosting", "model/linear", "model/logistic", "model/poisson", "model/scorecard"}
)
"""What trains a model of which each owner keeps a part."""

_DOMAIN = b"parley-score-ticket/v1\n"
_NAMED: Mapping[str, shapes.Shape] = {"model": shapes.ASSET_ID, "version": shapes.POSITIVE}
_PART: Mapping[str, shapes.Shape] = {
    "part": shapes.DIGEST,
    "asset": shapes.ASSET_ID,
    "key": shapes.SENTENCE,
    "rules": shapes.list_of(shapes.WORD, most=16, distinct=False),
    "columns": shapes.list_of(shapes.SENTENCE, most=256),
    "fallback": shapes.one_of("mean", "none"),
    "rates": shapes.record({}, extra={"minute": shapes.POSITIVE, "day": shapes.POSITIVE}),
}
_OPTIONAL: Mapping[str, shapes.Shape] = {"reasons": shapes.between(1, MAX_REASONS)}
_DRAFT = shapes.record(
    {
        **_NAMED,
        **_PART,
        "job": shapes.identifier("job"),
        "step": shapes.WORD,
        "parties": shapes.list_of(shapes.DID, least=2, most=16),
        "purposes": shapes.list_of(shapes.SENTENCE, least=1, most=32),
    },
    extra=_OPTIONAL,
)
_FILED = shapes.record({**_NAMED, **_PART}, extra=_OPTIONAL)
_WITHDRAW = shapes.record({**_NAMED, "reason": shapes.REASON})
_TICKET = shapes.record(
    {
        **_NAMED,
        "v": shapes.constant(1),
        "net": shapes.SENTENCE,
        "agreement": shapes.identifier("agreement"),
        "purpose": shapes.SENTENCE,
        "number": shapes.POSITIVE,
        "count": shapes.between(1, MAX_PERSONS),
        "total": shapes.POSITIVE,
        "time": shapes.TIME,
        "sig": shapes.BYTES,
    }
)
_RECEIPT = shapes.record(
    {
        **_NAMED,
        "agreement": shapes.identifier("agreement"),
        "recipient": shapes.DID,
        "purpose": shapes.SENTENCE,
        "count": shapes.POSITIVE,
        "calls": shapes.POSITIVE,
        "since": shapes.TIME,
        "last": _TICKET,
    }
)


def key_of(named: Row) -> str:
    """Return the key of a version's row, from anything with ``model`` and ``version``."""
    return f"{named['model']} {named['version']}"


def account(ticket: Row) -> str:
    """Return the key of the account that a ticket, or a receipt, belongs to."""
    return f"{ticket['agreement']} {key_of(ticket)} {ticket['purpose']}"


def price_of(agreement: Row) -> int:
    """Return the points that a person's score costs: as agreed, or nothing."""
    return int(agreement["limits"].get("price", 0))


def ticket_message(ticket: Row) -> bytes:
    """Return what the label holder signs: the ticket without its signature, under its own domain."""
    return _DOMAIN + canonical.encode({name: value for name, value in ticket.items() if name != "sig"})


def draft(state: State, act: Act) -> State:
    """Draft a version of a model on a completed job, as the label holder, with its own part."""
    body = _DRAFT(act.entry.body, "body")
    owner = existing(state, "members", act.actor, "entry.unknown-actor")["name"]
    require(body["model"].startswith(owner + "/"), "model.foreign-name", f"expected an id below {owner}/")
    require(body["parties"][0] == act.actor, "entry.not-permitted", "expected the label holder first")
    job = existing_job(state, body["job"])
    require(job["state"] == JobState.COMPLETED.value, "model.job-not-completed", "expected a completed job")
    step = next((one for one in job["steps"] if one["id"] == body["step"]), None)
    if step is None or step["component"] not in COMPONENTS:
        raise Refusal("model.wrong-step", "expected a step that trained a model")
    known = set(body["parties"]) <= set(step["parties"])
    require(known, "model.unknown-party", "expected parties of the step")
    require(state.get("models", key_of(body)) is None, "model.exists", "the version is already there")
    before = {"model": body["model"], "version": body["version"] - 1}
    follows = body["version"] == 1 or state.get("models", key_of(before)) is not None
    require(follows, "model.wrong-version", "expected the version after the last")
    row = {name: body[name] for name in ("model", "version", "job", "step", "parties", "purposes")}
    row |= {"component": step["component"], "status": "draft", "parts": {act.actor: _part(state, act, body)}}
    return act.put(state, "models", key_of(body), row)


def file_part(state: State, act: Act) -> State:
    """File another owner's part of a draft; the last one publishes the version."""
    body = _FILED(act.entry.body, "body")
    row = existing(state, "models", key_of(body), "model.unknown")
    require(act.actor in row["parties"], "entry.not-permitted", "expected an owner of the model")
    require(act.actor not in row["parts"], "model.already-filed", "expected one part of each owner")
    require(row["status"] == "draft", "model.withdrawn", "the version is withdrawn")
    parts = {**row["parts"], act.actor: _part(state, act, body)}
    status = "published" if parts.keys() == set(row["parties"]) else "draft"
    return act.put(state, "models", key_of(body), {**row, "parts": parts, "status": status})


def withdraw(state: State, act: Act) -> State:
    """Withdraw a version, as any of its owners. What was asked of it stays on record."""
    body = _WITHDRAW(act.entry.body, "body")
    row = existing(state, "models", key_of(body), "model.unknown")
    require(act.actor in row["parties"], "entry.not-permitted", "expected an owner of the model")
    require(row["status"] != "withdrawn", "model.withdrawn", "the version is already withdrawn")
    row = {**row, "status": "withdrawn", "reason": body["reason"], "by": act.actor}
    return act.put(state, "models", key_of(body), row)


def check_ticket(state: State, ticket: object, consumer: str) -> dict[str, Any]:
    """Check form, network, sides and signature of a ticket, for the owner's node and for the ledger alike.

    Args:
        state: has the agreement and the model.
        ticket: as received.
        consumer: the member that should have signed it, with the key that is valid now.

    Raises:
        Refusal: what differs.
    """
    checked: dict[str, Any] = _TICKET(ticket, "ticket")
    net = state.rows("params")[NETWORK_KEY]["name"]
    require(checked["net"] == net, "ticket.wrong-net", "expected a ticket for this network")
    row = existing(state, "models", key_of(checked), "model.unknown")
    agreement = existing(state, "agreements", checked["agreement"], "agreement.unknown")
    require(agreement["consumer"] == consumer, "ticket.wrong-consumer", "expected the agreement's consumer")
    require(row["parties"][0] == consumer, "ticket.wrong-consumer", "expected the model's label holder")
    part = row["parts"].get(agreement["provider"], {"asset": None})
    require(agreement["asset"] == part["asset"], "ticket.wrong-asset", "expected the asset of the part")
    within = checked["count"] <= checked["total"] and checked["number"] <= checked["total"]
    require(within, "ticket.wrong-total", "expected a total with this ticket's count")
    key = member_key(state, consumer)
    if key is None or key.alg not in allowed_algorithms(state):
        raise Refusal("ticket.bad-signature", "expected a member's key of an allowed algorithm")
    try:
        algorithms.verify(key.alg, key.public, ticket_message(checked), base64url.decode(checked["sig"]))
    except InvalidSignature as exc:
        raise Refusal("ticket.bad-signature", "the label holder's signature does not verify") from exc
    return checked


def report(state: State, act: Act) -> State:
    """Report the persons answered since the last receipt of an account, and charge for them.

    As with lookups, nothing that ended meanwhile changes what was answered before; the owner's node asks.
    """
    body = _RECEIPT(act.entry.body, "body")
    row = existing(state, "agreements", body["agreement"], "agreement.unknown")
    require(row["provider"] == act.actor, "entry.not-permitted", "expected the agreement's provider")
    require(body["recipient"] == row["consumer"], "ticket.wrong-consumer", "expected the consumer")
    last = check_ticket(state, body["last"], row["consumer"])
    require(account(last) == account(body), "ticket.wrong-account", "expected a ticket of this account")
    expired = parse_time(last["time"]) >= parse_time(row["limits"]["expires"])
    require(not expired, "agreement.expired", "the ticket is later than the agreement")
    before = state.get("model_accounts", account(body)) or _new_account(body, row)
    asked, numbers = last["total"] - before["total"], last["number"] - before["number"]
    require(numbers > 0, "ticket.stale", f"expected a number above {before['number']}")
    within = last["count"] <= body["count"] <= asked
    require(within, "model.wrong-count", f"expected {last['count']} to {asked} persons")
    few = body["calls"] <= min(numbers, body["count"])
    require(few, "model.wrong-count", f"expected at most {numbers} calls")
    fee = body["count"] * price_of(row)
    state = budgets.spend_queries(state, act, body["agreement"], body["count"], fee)
    after = {
        **before,
        "number": last["number"],
        "total": last["total"],
        "persons": before["persons"] + body["count"],
        "calls": before["calls"] + body["calls"],
        "fee": before["fee"] + fee,
        "receipts": before["receipts"] + 1,
    }
    return act.put(state, "model_accounts", account(body), after)


def _part(state: State, act: Act, body: Row) -> dict[str, Any]:
    """The part that an owner files, of an asset that is its own and present."""
    asset = existing(state, "assets", body["asset"], "asset.unknown")
    require(asset["owner"] == act.actor, "entry.not-permitted", "expected the asset's owner")
    require(asset["status"] == "published", "asset.withdrawn", "the asset is withdrawn")
    columns = {column["name"] for column in asset["schema"]}
    named = {body["key"], *body["columns"]}
    require(named <= columns, "model.unknown-column", "expected columns of the asset")
    return {name: body[name] for name in (*_PART, *_OPTIONAL) if name in body}


def _new_account(body: Row, agreement: Row) -> dict[str, Any]:
    about = {name: body[name] for name in ("agreement", "model", "version", "purpose")}
    sides = {name: agreement[name] for name in ("provider", "consumer")}
    return {**about, **sides, **dict.fromkeys(("number", "total", "persons", "calls", "fee", "receipts"), 0)}
