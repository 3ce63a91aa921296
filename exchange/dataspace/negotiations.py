"""Contract negotiations as courses: each ledger entry of a negotiation is one message of the protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from exchange.dataspace.courses import Course, Step
from exchange.dataspace.messages import message, wire_policy
from exchange.dataspace.vocabulary import Kind, Role
from exchange.node import rounds
from exchange.node.ledger_client import LedgerClient
from ledger.rules.negotiation import NegotiationEvent as Event

__all__ = ["NegotiationCourses", "offer_id"]


_FIRST: Final[Mapping[str, str]] = {
    Event.REQUEST: "negotiations/request",
    Event.OFFER: "negotiations/offers",
}
"""What begins a negotiation, and where the message about it goes."""


class NegotiationCourses:
    """The negotiations of one participant."""

    kind: Kind = "negotiation"

    def __init__(self, ledger: LedgerClient, did: str) -> None:
        self._ledger, self._did = ledger, did

    def course(self, pid: str) -> Course | None:
        """Return a negotiation with every final entry of it.

        None where it was begun in the log of an earlier epoch: its messages end with that log.
        """
        row = self._ledger.final("negotiations", pid)
        if row is None:
            return None
        sides = {row["consumer"]: Role.CONSUMER, row["provider"]: Role.PROVIDER}
        steps = tuple(
            _step(entry, sides[entry.actor], pid, is_first=number == 0 and entry.event in _FIRST)
            for number, entry in enumerate(rounds.steps(self._ledger.mirror, pid))
        )
        if not steps or not steps[0].is_first:
            return None
        return Course("negotiation", pid, row["consumer"], row["provider"], steps)

    def changed(self, since: int) -> Iterator[tuple[str, bool]]:
        """Yield own negotiations that moved, and whether each is over."""
        for key, row in self._ledger.state.rows("negotiations").items():
            if row["index"] >= since and self._did in (row["consumer"], row["provider"]):
                yield key, row["state"] in ("FINALIZED", "TERMINATED")


def offer_id(asset: str, version: int) -> str:
    """Name the offer that a version of an asset was published with."""
    return f"urn:parley:offer:{asset}:{version}"


def _step(entry: rounds.Step, role: Role, pid: str, *, is_first: bool) -> Step:
    event, body = Event(entry.event), entry.body
    other = "providerPid" if role is Role.CONSUMER else "consumerPid"
    own = "consumerPid" if role is Role.CONSUMER else "providerPid"
    pids = {own: pid} if is_first else {own: pid, other: pid}
    kind, path, members = _told(event, role, body, pid)
    return Step(
        event=event.value,
        senders=frozenset({role}),
        path=_FIRST[event] if is_first else f"negotiations/{pid}/{path}",
        message=message(kind, **pids, **members),
        is_first=is_first,
    )


def _told(event: Event, role: Role, body: Mapping[str, Any], pid: str) -> tuple[str, str, dict[str, Any]]:
    """Return type, path below the process, and content of the message about an entry."""
    match event:
        case Event.REQUEST:
            return "ContractRequestMessage", "request", {"offer": _offer(body, role, pid)}
        case Event.OFFER:
            return "ContractOfferMessage", "offers", {"offer": _offer(body, role, pid)}
        case Event.ACCEPT:
            return "ContractNegotiationEventMessage", "events", {"eventType": "ACCEPTED"}
        case Event.AGREE:
            policy = wire_policy(body["agreement"]["policy"])
            return "ContractAgreementMessage", "agreement", {"agreement": policy}
        case Event.VERIFY:
            return "ContractAgreementVerificationMessage", "agreement/verification", {}
        case Event.FINALIZE:
            return "ContractNegotiationEventMessage", "events", {"eventType": "FINALIZED"}
        case Event.TERMINATE:
            return "ContractNegotiationTerminationMessage", "termination", {"reason": [body["reason"]]}


def _offer(body: Mapping[str, Any], role: Role, pid: str) -> dict[str, Any]:
    """A consumer's first request answers the published offer; any later proposal is an offer of its own."""
    number = body.get("round", 1)
    answers_catalog = role is Role.CONSUMER and number == 1
    uid = offer_id(body["asset"], body["version"]) if answers_catalog else f"urn:parley:offer:{pid}:{number}"
    return wire_policy(body["offer"], uid)
