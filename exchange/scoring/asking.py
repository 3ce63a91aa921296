"""The label holder's side: its own partial scores, those of the other owners, and their sum.

Of an owner that does not answer in time or has no row of a person the part's declared fallback stands in, and
the answer says so. An owner that refuses is no such case: then nobody is scored, and the reasons are told.
Identifiers are in this process's memory while the call lasts, and go to the owners of the model alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from exchange.errors import InvalidRequest, TimedOut
from exchange.identity import NodeKeys
from exchange.node.ledger_client import LedgerClient
from exchange.rpc.errors import PeerUnreachable
from exchange.rpc.scores import Peer, ScoreLinks
from exchange.scoring.admission import TECHNIQUE
from exchange.scoring.answers import ABSENT, Partial, read_answer
from exchange.scoring.errors import ScoreRefused
from exchange.scoring.registry import Models
from exchange.scoring.served import ServedPart
from exchange.scoring.serving import encode_call
from exchange.store import ScoreQuestion, ScoringRepository
from ledger import base64url
from ledger.rules.models import account, key_of, ticket_message
from ledger.state import State
from ledger.times import format_time, parse_time
from policies.purposes import is_a, is_known
from policies.terms import read

__all__ = ["MOST_WAIT_MS", "Asked", "Asking", "Reason", "Score", "combine"]

MOST_WAIT_MS: Final = 30_000


@dataclass(frozen=True)
class Asked:
    """A question.

    Attributes:
        model: its id.
        version: of the model; None: the latest that is published.
        persons: identifiers, of 1 to 1,000 persons.
        purpose: a DPV term.
        wait_ms: how long to wait for the other owners.
        person: who asks; kept at this node.
    """

    model: str
    version: int | None
    persons: tuple[str, ...] = field(repr=False)
    purpose: str
    wait_ms: int
    person: str


@dataclass(frozen=True)
class Reason:
    """A column that takes points off a person's score.

    Attributes:
        owner: its owner's name.
        column: its name.
        points: below 0.
    """

    owner: str
    column: str
    points: float = field(repr=False)


@dataclass(frozen=True)
class Score:
    """What came of one person.

    Attributes:
        score, probability: as `exchange.scoring.served.Reading`; None: not scored.
        fallbacks: names of the owners whose declared fallback stands in the sum.
        missing: names of the owners that have no answer and no fallback; then there is no score.
        reasons: of a scorecard, columns that take points off, the worst first.
    """

    score: float | None = field(repr=False)
    probability: float | None = field(repr=False)
    fallbacks: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = field(default=(), repr=False)


def combine(part: ServedPart, told: Mapping[str, Sequence[Partial]], fallback: set[str]) -> list[Score]:
    """Put the owners' parts of persons together.

    Args:
        part: the label holder's.
        told: of each owner by name, in the order of the model, the part of each person.
        fallback: the owners of whom a person at the mean of their columns stands for an absent part.

    Returns:
        The scores; where a part is absent whose owner has no fallback, nothing but whose it is.
    """
    persons = list(zip(*told.values(), strict=True))
    absent = [{name for name, one in zip(told, parts, strict=True) if one.value is None} for parts in persons]
    scored = [at for at, names in enumerate(absent) if names <= fallback]
    readings = dict(
        zip(scored, part.read([[own[at] for at in scored] for own in told.values()]), strict=True)
    )
    scores = []
    for at, parts in enumerate(persons):
        if at not in readings:
            scores.append(Score(None, None, missing=tuple(sorted(absent[at] - fallback))))
            continue
        named = (Reason(name, *why) for name, one in zip(told, parts, strict=True) for why in one.reasons)
        worst = tuple(sorted(named, key=lambda one: one.points))
        scores.append(Score(*readings[at], tuple(sorted(absent[at])), reasons=worst))
    return scores


@dataclass(frozen=True)
class _Owner:
    """Another owner, and the agreement by which it is asked."""

    name: str
    peer: Peer
    agreement: str
    expires: datetime


class Asking:
    """Scores persons. Thread-safe.

    Args:
        ledger: this node's view of the ledger.
        kept: what this member has signed for, and who asked.
        models: versions, and this owner's tables.
        links: to the other owners.
        keys: this node's.
        net: the network.
        clock: aware time in UTC.
    """

    def __init__(
        self,
        ledger: LedgerClient,
        kept: ScoringRepository,
        models: Models,
        links: ScoreLinks,
        keys: NodeKeys,
        net: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger, self._kept, self._models, self._links = ledger, kept, models, links
        self._keys, self._net, self._clock = keys, net, clock
        self._found: tuple[State | None, dict[tuple[str, str, str], _Owner]] = (None, {})

    def ask(self, asked: Asked) -> tuple[int, list[Score]]:
        """Score persons; the version that was used, and a score for each person in order.

        Security: semi-honest owners. Leaks: to this node, each owner's partial score of each person and
        whether it has a row of it; to each owner, whom this node asks about, when and for what. Cost: one
        message to each owner and one back.

        Raises:
            NotFound: there is no such model.
            ScoreRefused: this node, or an owner, has a reason not to score.
            ScoreFailed: what an owner's node sent is no answer.
            Conflict: this node's own table is not made.
            InvalidRequest: naming the field.
        """
        if not is_known(asked.purpose):
            raise InvalidRequest("purpose", "a term that the profile knows", repr(asked.purpose)[:80])
        row = self._version(asked.model, asked.version)
        if not any(is_a(asked.purpose, purpose) for purpose in row["purposes"]):
            raise ScoreRefused(("model.purpose",), "the purpose is none of the model's")
        owners = {did: self._owner(did, row, asked.purpose) for did in row["parties"][1:]}
        part, own = self._models.served(row), self._models.partials(row, asked.persons)
        told = dict.fromkeys([self._name(self._keys.did), *(owner.name for owner in owners.values())], own)
        pending = self._begun(list(owners.values()), row, asked)
        each = list(zip(owners.values(), part.splits(1 + len(owners))[1:], strict=True))
        for owner, count in reversed(each):  # the last one's call is made where its answer is read
            told[owner.name] = self._answered(owner, row, asked, pending[owner.name], count)
        fallback = {owner.name for did, owner in owners.items() if row["parts"][did]["fallback"] == "mean"}
        return row["version"], combine(part, told, fallback)

    def _begun(
        self, owners: list[_Owner], row: Mapping[str, Any], asked: Asked
    ) -> dict[str, Callable[[], bytes]]:
        """Sign a ticket for each owner and send it; that so much is signed for is kept before."""
        about = {"model": row["model"], "version": row["version"], "purpose": asked.purpose}
        named = [{**about, "agreement": owner.agreement} for owner in owners]
        now, count = self._clock(), len(asked.persons)
        question = ScoreQuestion(day=f"{now:%Y-%m-%d}", person=asked.person, calls=1, persons=count, **about)
        signed = self._kept.ask(question, [account(one) for one in named])
        pending = {}
        for owner, one, (number, total) in zip(owners, named, signed, strict=True):
            ticket: dict[str, Any] = {
                "v": 1,
                "net": self._net,
                **one,
                "number": number,
                "count": count,
                "total": total,
                "time": format_time(now),
            }
            ticket["sig"] = base64url.encode(self._keys.tx.sign(ticket_message(ticket)))
            call = encode_call(ticket, asked.persons)
            is_last = owner is owners[-1]
            pending[owner.name] = self._links.ask(owner.peer, call, asked.wait_ms / 1000, is_last=is_last)
        return pending

    def _answered(
        self,
        owner: _Owner,
        row: Mapping[str, Any],
        asked: Asked,
        answer: Callable[[], bytes],
        splits: int | None,
    ) -> list[Partial]:
        """An owner's partial scores; a ticket that a receipt has overtaken is signed anew, once."""
        filed = row["parts"][owner.peer[0]]
        stated = (len(asked.persons), filed["columns"], filed.get("reasons", 0), splits)
        try:
            try:
                return read_answer(answer(), *stated)
            except ScoreRefused as refused:
                if refused.codes != ("ticket.replayed",):
                    raise
            return read_answer(self._begun([owner], row, asked)[owner.name](), *stated)
        except (TimedOut, PeerUnreachable):
            return [ABSENT] * len(asked.persons)

    def _version(self, model: str, version: int | None) -> Mapping[str, Any]:
        if version is None:
            published = [
                row for row in self._models.all() if row["model"] == model and row["status"] == "published"
            ]
            if not published:
                raise ScoreRefused(("model.not-published",), f"no version of {model} is published")
            row = max(published, key=lambda one: int(one["version"]))
        else:
            row = self._models.row(model, version)
        if row["status"] != "published":
            raise ScoreRefused(("model.not-published",), f"version {row['version']} is {row['status']}")
        if row["parties"][0] != self._keys.did:
            raise ScoreRefused(("model.not-label-holder",), "the label holder alone asks for scores")
        return row

    def _owner(self, did: str, row: Mapping[str, Any], purpose: str) -> _Owner:
        """Where an owner answers, and by which agreement; found once for each state of the ledger."""
        state = self._ledger.state
        if self._found[0] is not state:
            self._found = (state, {})
        known, key = self._found[1], (did, key_of(row), purpose)
        owner = known.get(key)
        if owner is None or self._clock() >= owner.expires:
            owner = known[key] = self._search(did, row["parts"][did]["asset"], purpose, state)
        return owner

    def _search(self, did: str, asset: str, purpose: str, state: State) -> _Owner:
        member = state.get("members", did)
        if member is None or member["status"] != "active":
            raise ScoreRefused(("member.not-active",), f"{did} is no active member")
        now = self._clock()
        for one in self._ledger.final_rows("agreements"):
            expires = parse_time(one["limits"]["expires"])
            is_ours = one["consumer"] == self._keys.did and one["asset"] == asset
            if not is_ours or one["status"] != "final" or now >= expires:
                continue
            terms = read(one["policy"])
            if terms is None or (
                TECHNIQUE in terms.operations and any(is_a(purpose, other) for other in terms.purposes)
            ):
                peer = (did, str(member["endpoint"]), base64url.decode(member["tls"]))
                return _Owner(str(member["name"]), peer, str(one["agreement"]), expires)
        text = f"no agreement on {asset} covers {TECHNIQUE} for {purpose}"
        raise ScoreRefused(("agreement.missing",), text)

    def _name(self, did: str) -> str:
        member = self._ledger.final("members", did)
        return did if member is None else str(member["name"])
