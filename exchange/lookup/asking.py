"""The asking side: one call to each of several services, of one owner or of many, all at once.

A service that refuses, fails or does not answer is told as such; the others' answers stand. What is asked is
in this process's memory alone: what leaves it is blinded or encrypted, and what is kept is who asked whom how
often.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from connectors.errors import ConnectorError
from exchange.errors import ExchangeError, InvalidRequest
from exchange.identity import NodeKeys
from exchange.lookup.admission import TECHNIQUE
from exchange.lookup.encoding import Value
from exchange.lookup.errors import LookupFailed, LookupRefused
from exchange.lookup.hints import Held, Hints, Peer
from exchange.lookup.tickets import request_digest, sign_ticket
from exchange.node.ledger_client import LedgerClient
from exchange.rpc.lookups import MESSAGE_LIMIT, LookupLinks
from exchange.store import LookupRepository, Question
from ledger import base64url, canonical
from ledger.rules.lookups import MAX_QUERIES, price_of
from ledger.times import parse_time
from mpc.errors import MpcError
from policies.purposes import is_a, is_known
from policies.terms import Terms, read

if TYPE_CHECKING:
    from mpc.oprf.rfc9497 import Blinding

__all__ = ["Answer", "Asked", "Asking", "Target"]

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 16
_MOST_SERVICES: Final = 32
_TRIES: Final = 3
_SUPERSEDED: Final = frozenset({"lookup.wrong-release", "ticket.wrong-fee"})
_GROUP_BYTES: Final = MESSAGE_LIMIT - 64 * 1024

Record = Mapping[str, Value] | None
"""The record of a key; None: the list has no such key."""


@dataclass(frozen=True)
class Target:
    """A service, and the agreement under which it is asked; None: the first that covers the purpose."""

    service: str
    agreement: str | None = None


@dataclass(frozen=True)
class Asked:
    """A question.

    Attributes:
        targets: whom to ask.
        keys: for each key, its values in the order of the services' key columns.
        purpose: a DPV term.
        person: who asks; kept at this node.
    """

    targets: tuple[Target, ...]
    keys: tuple[tuple[str, ...], ...] = field(repr=False)
    purpose: str
    person: str


@dataclass(frozen=True)
class Answer:
    """What one service answered.

    Attributes:
        service: its id.
        outcome: ``answered``, ``refused`` by the owner or by this node, ``failed`` or ``unreachable``.
        codes: why it is not answered.
        detail: the same in words.
        release: which release answered; 0 where none did.
        version: of the asset, that the release was made from.
        agreement: under which it was asked.
        ticket: of the call; empty where none was signed.
        fee: points that the ticket offered.
        records: one for each key, in order; empty where it is not answered.
        duration_ms: from the call to the last answer.
    """

    service: str
    outcome: str
    codes: tuple[str, ...] = ()
    detail: str = ""
    release: int = 0
    version: int = 0
    agreement: str = ""
    ticket: str = ""
    fee: int = 0
    records: tuple[Record, ...] = field(default=(), repr=False)
    duration_ms: int = 0


class Asking:
    """Asks services. Thread-safe.

    Args:
        ledger: this node's view of the ledger.
        kept: what this member has signed for, and its questions.
        hints: of services that were asked before.
        links: to the owners.
        keys: this node's.
        net: the network.
        clock: aware time in UTC.
    """

    def __init__(
        self,
        ledger: LedgerClient,
        kept: LookupRepository,
        hints: Hints,
        links: LookupLinks,
        keys: NodeKeys,
        net: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger, self._kept, self._hints, self._links = ledger, kept, hints, links
        self._keys, self._net, self._clock = keys, net, clock
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="lookup")
        self._refreshing: set[str] = set()
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Ask nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def ask(self, asked: Asked) -> list[Answer]:
        """Ask every service; an answer for each, in order.

        Raises:
            InvalidRequest: there is nothing to ask, too much of it, or for no known purpose.
        """
        if not 1 <= len(asked.keys) <= MAX_QUERIES:
            raise InvalidRequest("keys", f"1 to {MAX_QUERIES} keys", str(len(asked.keys)))
        if not 1 <= len(asked.targets) <= _MOST_SERVICES:
            raise InvalidRequest("services", f"1 to {_MOST_SERVICES} services", str(len(asked.targets)))
        if not is_known(asked.purpose):
            raise InvalidRequest("purpose", "a term that the profile knows", repr(asked.purpose)[:80])
        if len(asked.targets) == 1:
            return [self._told(asked.targets[0], asked)]
        return list(self._pool.map(lambda target: self._told(target, asked), asked.targets))

    def _told(self, target: Target, asked: Asked) -> Answer:
        try:
            return self._retried(target, asked)
        except LookupRefused as error:
            return Answer(target.service, "refused", error.codes, str(error))
        except LookupFailed as error:
            return Answer(target.service, "failed", (error.code,), str(error))
        except (InvalidRequest, ConnectorError) as error:
            return Answer(target.service, "refused", (error.code,), str(error))
        except ExchangeError as error:
            return Answer(target.service, "unreachable", (error.code,), str(error))

    def _retried(self, target: Target, asked: Asked) -> Answer:
        """Ask; where the release held is gone or priced anew, the present one is fetched and asked."""
        begun = time.monotonic()
        row = self._service(target.service)
        agreement = self._agreement(target, row, asked.purpose)
        peer = self._peer(str(row["owner"]))
        held = self._hints.held(row)
        if held is None:
            held = self._hints.present(row, peer)
        elif held.row["release"] != row["release"]:
            self._refresh(row, peer)
        try:
            return self._asked(held, agreement, peer, asked, begun)
        except LookupRefused as error:
            if held.row["release"] == row["release"] or not _SUPERSEDED & set(error.codes):
                raise
        held = self._hints.present(self._service(target.service), peer)
        return self._asked(held, agreement, peer, asked, begun)

    def _asked(
        self, held: Held, agreement: Mapping[str, Any], peer: Peer, asked: Asked, begun: float
    ) -> Answer:
        from mpc.randomness import SystemRandomness

        keys, rng = _encoded(asked.keys, held.row), SystemRandomness()
        blinding, message = held.client.blind(keys, rng)
        blinded = message.encode()
        fee = len(keys) * price_of(agreement, held.row)
        ticket = sign_ticket(
            self._keys,
            self._net,
            self._kept,
            self._clock,
            service=str(held.row["service"]),
            release=int(held.row["release"]),
            agreement=str(agreement["agreement"]),
            purpose=asked.purpose,
            count=len(keys),
            fee=fee,
            request=request_digest(blinded),
        )
        self._kept.add_question(
            Question(
                ticket=ticket["ticket"],
                service=ticket["service"],
                agreement=ticket["agreement"],
                purpose=asked.purpose,
                release=ticket["release"],
                count=len(keys),
                fee=fee,
                person=asked.person,
                asked=self._clock(),
            )
        )
        found = self._played(held, (canonical.encode(ticket), blinded), blinding, peer)
        columns = self._columns(held.row)
        return Answer(
            service=ticket["service"],
            outcome="answered",
            release=ticket["release"],
            version=int(held.row["version"]),
            agreement=ticket["agreement"],
            ticket=ticket["ticket"],
            fee=fee,
            records=tuple(None if record is None else _decoded(record, columns) for record in found),
            duration_ms=round(1000 * (time.monotonic() - begun)),
        )

    def _played(
        self,
        held: Held,
        opening: tuple[bytes, bytes],
        blinding: Blinding,
        peer: Peer,
    ) -> list[bytes | None]:
        """Play the protocol. A broken connection is tried again with the same ticket, which counts once."""
        for left in reversed(range(_TRIES)):
            try:
                return self._once(held, opening, blinding, peer)
            except MpcError as error:
                raise LookupFailed("the answer is not of the release that the ledger names") from error
            except ExchangeError as error:
                if isinstance(error, LookupRefused | LookupFailed) or not left:
                    raise
        raise AssertionError("the last try returns or raises")

    def _once(
        self,
        held: Held,
        opening: tuple[bytes, bytes],
        blinding: Blinding,
        peer: Peer,
    ) -> list[bytes | None]:
        from mpc.pir.keyword import BLOCK_KEYS
        from mpc.pir.messages import ANSWER_WORD_BYTES, QUERY_WORD_BYTES, Answers, EvaluatedKeys
        from mpc.randomness import SystemRandomness

        client, rng = held.client, SystemRandomness()
        shape = client.manifest.shape
        width = max(QUERY_WORD_BYTES * shape.columns, ANSWER_WORD_BYTES * shape.rows)
        group = max(1, min(BLOCK_KEYS, _GROUP_BYTES // width))
        found: list[bytes | None] = []
        with self._links.call(peer, *opening) as call:
            evaluated = EvaluatedKeys.decode(call.receive(), len(blinding.inputs))
            labels = client.labels(blinding, evaluated)
            for start in range(0, len(labels), group):
                pending, queries = client.query(labels[start : start + group], rng)
                call.send(queries.encode())
                count = min(group, len(labels) - start)
                found += client.recover(pending, Answers.decode(call.receive(), client.manifest, count))
        return found

    def _service(self, service: str) -> Mapping[str, Any]:
        row = self._ledger.final("lookups", service)
        if row is None:
            raise LookupRefused(("lookup.unknown",), f"no lookup service {service} on the ledger")
        if row["status"] != "open":
            raise LookupRefused(("lookup.withdrawn",), f"lookup service {service} is withdrawn")
        if row["owner"] == self._keys.did:
            raise LookupRefused(("lookup.own-service",), f"{service} is this participant's own list")
        if row["protocol"]["name"] != TECHNIQUE:
            raise LookupRefused(("lookup.unknown-protocol",), "this build does not know its protocol")
        return row

    def _agreement(self, target: Target, row: Mapping[str, Any], purpose: str) -> Mapping[str, Any]:
        """The agreement named, or the first of this member's that is good for the purpose."""
        if target.agreement is not None:
            named = self._ledger.awaited("agreements", target.agreement)
            if named is None or named["consumer"] != self._keys.did or named["asset"] != row["asset"]:
                text = f"no agreement {target.agreement} of this participant on {row['asset']}"
                raise LookupRefused(("agreement.missing",), text)
            return named
        for one, terms in self.agreements(str(row["asset"])):
            if terms is None or any(is_a(purpose, other) for other in terms.purposes):
                return one
        text = f"no agreement on {row['asset']} covers {TECHNIQUE} for {purpose}"
        raise LookupRefused(("agreement.missing",), text)

    def agreements(self, asset: str) -> Iterator[tuple[Mapping[str, Any], Terms | None]]:
        """This member's final agreements on an asset that cover lookups, and their terms.

        None: the policy says what no terms can; whether it covers them is for the owner's node to decide.
        """
        now = self._clock()
        for row in self._ledger.final_rows("agreements"):
            is_ours = row["consumer"] == self._keys.did and row["asset"] == asset
            if is_ours and row["status"] == "final" and now < parse_time(row["limits"]["expires"]):
                terms = read(row["policy"])
                if terms is None or TECHNIQUE in terms.operations:
                    yield row, terms

    def _peer(self, did: str) -> Peer:
        member = self._ledger.final("members", did)
        if member is None or member["status"] != "active":
            raise LookupRefused(("member.not-active",), f"{did} is no active member")
        return did, str(member["endpoint"]), base64url.decode(member["tls"])

    def _columns(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Types of the record's columns."""
        asset = self._ledger.final("assets", str(row["asset"]))
        kinds = {} if asset is None else {column["name"]: str(column["type"]) for column in asset["schema"]}
        return {name: kinds.get(name, "string") for name in row["record"]}

    def _refresh(self, row: Mapping[str, Any], peer: Peer) -> None:
        """Fetch the present release apart, while the one before is asked."""
        service = str(row["service"])
        with self._lock:
            if service in self._refreshing:
                return
            self._refreshing.add(service)

        def fetch() -> None:
            try:
                self._hints.present(row, peer)
            except ExchangeError as error:
                _log.warning("the hint of %s is not fetched: %s", service, error.code)
            finally:
                self._refreshing.discard(service)

        self._pool.submit(fetch)


def _encoded(keys: Sequence[Sequence[str]], row: Mapping[str, Any]) -> list[bytes]:
    """Bring keys to the form of a service.

    Raises:
        InvalidRequest: a key lacks a part, or has too many; it says which, not what.
    """
    import pyarrow as pa

    from exchange.lookup.encoding import encode_keys
    from exchange.lookup.requests import KeyColumn

    parts = [KeyColumn(key["column"], tuple(key["rules"])) for key in row["keys"]]
    names = ", ".join(part.column for part in parts)
    for number, key in enumerate(keys):
        if len(key) != len(parts):
            raise InvalidRequest(f"keys[{number}]", f"values of {names}", f"{len(key)} values")
    columns = [pa.array([key[place] for key in keys], pa.string()) for place in range(len(parts))]
    encoded: list[bytes | None] = encode_keys(columns, parts).to_pylist()
    whole = []
    for number, item in enumerate(encoded):
        if item is None:
            raise InvalidRequest(f"keys[{number}]", f"values of {names}", "an empty one")
        whole.append(item)
    return whole


def _decoded(record: bytes, columns: Mapping[str, str]) -> Mapping[str, Value]:
    from exchange.lookup.encoding import decode_record

    return decode_record(record, columns)
