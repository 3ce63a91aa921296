"""Anonymous lookups: the services that owners open on their lists, and what was asked of them.

A query itself never comes here. The consumer's node signs a ticket for each call: which service, under which
agreement, for what purpose, how many queries, what they cost, and what it has asked for and owes in this
account altogether. The owner's node answers tickets at once and reports them now and then in one receipt,
which holds the number of queries, the fee, the Merkle root of the tickets, and the last ticket whole. As that
ticket's running totals are signed by the consumer, a receipt can charge for no query that the consumer did
not sign for, and for no ticket twice. Neither has a place for a key.

An account is one agreement, one service and one purpose.
"""

from __future__ import annotations

from typing import Any

from ledger import algorithms, base64url, canonical
from ledger.errors import InvalidSignature, Refusal
from ledger.membership import NETWORK_KEY, allowed_algorithms, member_key
from ledger.rules import budgets, shapes
from ledger.rules.act import Act, existing, require
from ledger.tables import Row, State
from ledger.times import parse_time

__all__ = [
    "MAX_QUERIES",
    "TICKET",
    "account",
    "check_ticket",
    "open_service",
    "price_of",
    "report",
    "ticket_message",
    "withdraw",
]

MAX_QUERIES = 10_000
"""Queries of one ticket."""

_MIN_RECORD, _MAX_RECORD = 16, 256
_DOMAIN = b"parley-lookup-ticket/v1\n"


_KEY = shapes.record(
    {"column": shapes.SENTENCE, "rules": shapes.list_of(shapes.WORD, most=16, distinct=False)}
)
_SERVICE = shapes.record(
    {
        "service": shapes.ASSET_ID,
        "release": shapes.POSITIVE,
        "asset": shapes.ASSET_ID,
        "version": shapes.POSITIVE,
        "keys": shapes.list_of(_KEY, least=1, most=8),
        "record": shapes.list_of(shapes.SENTENCE, most=64),
        "record_bytes": shapes.between(_MIN_RECORD, _MAX_RECORD),
        "entries": shapes.COUNT,
        "protocol": shapes.record({"name": shapes.WORD, "version": shapes.POSITIVE}),
        "epoch": shapes.POSITIVE,
        "manifest": shapes.DIGEST,
        "hint": shapes.record({"digest": shapes.DIGEST, "bytes": shapes.POSITIVE}),
        "price": shapes.COUNT,
        "rates": shapes.record({}, extra={"minute": shapes.POSITIVE, "day": shapes.POSITIVE}),
        "purposes": shapes.list_of(shapes.SENTENCE, least=1, most=32),
    }
)
_WITHDRAW = shapes.record({"service": shapes.ASSET_ID, "reason": shapes.REASON})

TICKET = shapes.record(
    {
        "v": shapes.constant(1),
        "net": shapes.SENTENCE,
        "ticket": shapes.identifier("ticket"),
        "service": shapes.ASSET_ID,
        "release": shapes.POSITIVE,
        "agreement": shapes.identifier("agreement"),
        "purpose": shapes.SENTENCE,
        "count": shapes.between(1, MAX_QUERIES),
        "total": shapes.POSITIVE,
        "fee": shapes.COUNT,
        "owed": shapes.COUNT,
        "request": shapes.DIGEST,
        "time": shapes.TIME,
        "sig": shapes.BYTES,
    }
)
_RECEIPT = shapes.record(
    {
        "service": shapes.ASSET_ID,
        "agreement": shapes.identifier("agreement"),
        "recipient": shapes.DID,
        "purpose": shapes.SENTENCE,
        "count": shapes.POSITIVE,
        "fee": shapes.COUNT,
        "tickets": shapes.POSITIVE,
        "root": shapes.DIGEST,
        "last": TICKET,
    }
)


def ticket_message(ticket: Row) -> bytes:
    """Return what the consumer signs: the ticket without its signature, under its own domain."""
    return _DOMAIN + canonical.encode({name: value for name, value in ticket.items() if name != "sig"})


def account(ticket: Row) -> str:
    """Return the key of the account that a ticket, or a receipt, belongs to."""
    return f"{ticket['agreement']} {ticket['service']} {ticket['purpose']}"


def price_of(agreement: Row, service: Row) -> int:
    """Return the points that one query costs: as agreed, or where that states no price, the service's."""
    return int(agreement["limits"].get("price", service["price"]))


def check_ticket(state: State, ticket: object, consumer: str) -> dict[str, Any]:
    """Check form, network, sides and signature of a ticket, for the owner's node and for the ledger alike.

    Args:
        state: has the agreement and the service.
        ticket: as received.
        consumer: the member that should have signed it, with the key that is valid now.

    Raises:
        Refusal: what differs.
    """
    checked: dict[str, Any] = TICKET(ticket, "ticket")
    net = state.rows("params")[NETWORK_KEY]["name"]
    require(checked["net"] == net, "ticket.wrong-net", "expected a ticket for this network")
    service = existing(state, "lookups", checked["service"], "lookup.unknown")
    agreement = existing(state, "agreements", checked["agreement"], "agreement.unknown")
    require(agreement["consumer"] == consumer, "ticket.wrong-consumer", "expected the agreement's consumer")
    require(agreement["asset"] == service["asset"], "ticket.wrong-asset", "expected the service's asset")
    require(checked["release"] <= service["release"], "ticket.wrong-release", "expected a known release")
    within = checked["count"] <= checked["total"] and checked["fee"] <= checked["owed"]
    require(within, "ticket.wrong-total", "expected totals with this ticket's count and fee")
    key = member_key(state, consumer)
    allowed = key is not None and key.alg in allowed_algorithms(state)
    if key is None or not allowed:
        raise Refusal("ticket.bad-signature", "expected a member's key of an allowed algorithm")
    try:
        algorithms.verify(key.alg, key.public, ticket_message(checked), base64url.decode(checked["sig"]))
    except InvalidSignature as exc:
        raise Refusal("ticket.bad-signature", "the consumer's signature does not verify") from exc
    return checked


def open_service(state: State, act: Act) -> State:
    """Open a lookup service on an asset's present version, or the next release of one."""
    body = _SERVICE(act.entry.body, "body")
    owner = existing(state, "members", act.actor, "entry.unknown-actor")["name"]
    require(body["service"].startswith(owner + "/"), "lookup.foreign-name", f"expected an id below {owner}/")
    asset = existing(state, "assets", body["asset"], "asset.unknown")
    require(asset["owner"] == act.actor, "entry.not-permitted", "expected the asset's owner")
    require(asset["status"] == "published", "asset.withdrawn", "the asset is withdrawn")
    current = asset["version"]
    require(body["version"] == current, "asset.version-not-current", f"expected version {current}")
    columns = {column["name"] for column in asset["schema"]}
    named = {key["column"] for key in body["keys"]} | set(body["record"])
    require(named <= columns, "lookup.unknown-column", "expected columns of the asset")
    previous = state.get("lookups", body["service"])
    expected = 1 if previous is None else previous["release"] + 1
    require(body["release"] == expected, "lookup.wrong-release", f"expected release {expected}")
    if previous is not None:
        require(body["asset"] == previous["asset"], "lookup.wrong-asset", "expected the service's asset")
        epoch = previous["epoch"]
        require(body["epoch"] >= epoch, "lookup.wrong-epoch", f"expected epoch {epoch} or a later one")
    row = {**body, "owner": act.actor, "status": "open"}
    return act.put(state, "lookups", body["service"], row)


def withdraw(state: State, act: Act) -> State:
    """Close a service, as its owner. What was asked of it stays on record and may still be reported."""
    body = _WITHDRAW(act.entry.body, "body")
    row = existing(state, "lookups", body["service"], "lookup.unknown")
    require(row["owner"] == act.actor, "entry.not-permitted", "expected the owner")
    require(row["status"] == "open", "lookup.withdrawn", "the service is already withdrawn")
    row = {**row, "status": "withdrawn", "reason": body["reason"]}
    return act.put(state, "lookups", body["service"], row)


def report(state: State, act: Act) -> State:
    """Report the tickets answered since the last receipt of an account, and charge for them.

    An agreement that was revoked meanwhile, or a service that was withdrawn, changes nothing about queries
    that were answered before, so neither is asked about here; the owner's node asks before it answers.
    """
    body = _RECEIPT(act.entry.body, "body")
    row = existing(state, "agreements", body["agreement"], "agreement.unknown")
    require(row["provider"] == act.actor, "entry.not-permitted", "expected the agreement's provider")
    require(body["recipient"] == row["consumer"], "ticket.wrong-consumer", "expected the consumer")
    last = check_ticket(state, body["last"], row["consumer"])
    require(account(last) == account(body), "ticket.wrong-account", "expected a ticket of this account")
    expired = parse_time(last["time"]) >= parse_time(row["limits"]["expires"])
    require(not expired, "agreement.expired", "the ticket is later than the agreement")
    before = state.get("lookup_accounts", account(body)) or _new_account(body, row)
    signed = last["total"] - before["total"]
    require(signed > 0, "ticket.stale", f"expected a total above {before['total']}")
    within = last["count"] <= body["count"] <= signed
    require(within, "lookup.wrong-count", f"expected {last['count']} to {signed} queries")
    few = 1 <= body["tickets"] <= body["count"]
    require(few, "lookup.wrong-count", "expected at most one ticket for a query")
    owed = last["owed"] - before["owed"]
    within = last["fee"] <= body["fee"] <= owed
    require(within, "lookup.wrong-fee", f"expected a fee of {last['fee']} to {owed}")
    state = budgets.spend_queries(state, act, body["agreement"], body["count"], body["fee"])
    after = {
        **before,
        "total": last["total"],
        "owed": last["owed"],
        "queries": before["queries"] + body["count"],
        "tickets": before["tickets"] + body["tickets"],
        "fee": before["fee"] + body["fee"],
        "receipts": before["receipts"] + 1,
    }
    return act.put(state, "lookup_accounts", account(body), after)


def _new_account(body: Row, agreement: Row) -> dict[str, Any]:
    about = {name: body[name] for name in ("agreement", "service", "purpose")}
    sides = {name: agreement[name] for name in ("provider", "consumer")}
    counts = dict.fromkeys(("total", "owed", "queries", "tickets", "fee", "receipts"), 0)
    return {**about, **sides, **counts}
