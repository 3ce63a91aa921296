"""Tickets: what a member signs for each call to a service. ``ledger.rules.lookups`` has their form."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from exchange.identity import NodeKeys
from exchange.store import LookupRepository
from ledger import base64url
from ledger.entries import new_id
from ledger.rules.lookups import account, ticket_message
from ledger.times import format_time

__all__ = ["LIFE_S", "request_digest", "sign_ticket"]

LIFE_S: Final = 600
"""Seconds before and after its time in which a ticket is answered: clocks differ, calls are retried."""


def request_digest(blinded: bytes) -> str:
    """The digest that ties a ticket to one call: over blinded keys, uniform whatever the keys are."""
    return hashlib.sha256(blinded).hexdigest()


def sign_ticket(
    keys: NodeKeys,
    net: str,
    kept: LookupRepository,
    clock: Callable[[], datetime],
    *,
    service: str,
    release: int,
    agreement: str,
    purpose: str,
    count: int,
    fee: int,
    request: str,
) -> dict[str, Any]:
    """Sign a ticket, and keep what this member has signed for before it leaves the node.

    Args:
        keys: the member's.
        net: the network.
        kept: counts what was signed for in each account.
        clock: aware time in UTC.
        service: whom to ask.
        release: the release whose hint the caller holds.
        agreement: which covers it.
        purpose: a DPV term.
        count: number of keys.
        fee: points for all of them.
        request: from ``request_digest``.
    """
    named = {"agreement": agreement, "service": service, "purpose": purpose}
    total, owed = kept.sign_for(account(named), count, fee)
    ticket: dict[str, Any] = {
        "v": 1,
        "net": net,
        "ticket": new_id("ticket", clock),
        **named,
        "release": release,
        "count": count,
        "total": total,
        "fee": fee,
        "owed": owed,
        "request": request,
        "time": format_time(clock()),
    }
    return {**ticket, "sig": base64url.encode(keys.tx.sign(ticket_message(ticket)))}
