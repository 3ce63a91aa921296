"""Attacks on anonymous lookups over real nodes: what owner and hub see, tickets, answers, restarts."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from exchange.lookup import asking
from exchange.lookup.errors import LookupFailed, LookupRefused
from exchange.lookup.tickets import LIFE_S, request_digest, sign_ticket
from exchange.rpc import lookups as rpc
from exchange.rpc.errors import PeerUnreachable
from exchange.testing import ConsortiumInProcess
from ledger import canonical
from mpc.pir.messages import Answers, EvaluatedKeys
from mpc.pir.server import ListServer
from mpc.randomness import SystemRandomness

pytestmark = pytest.mark.xdist_group("lookup-attacks")

NAMES = ("bureau", "analyst", "lender")
PURPOSE = "dpv:FraudPreventionAndDetection"
SERVICE = "bureau/mules"
LISTED, ABSENT = "62229990000077", "62229990099999"
COLUMNS = [("account", "identifier", "AFTER_JOIN"), ("reason", "text", "AS_JOIN_PAYLOAD")]
TERMS = {
    "operations": ["pir/keyword"],
    "columns": ["account", "reason"],
    "uses": 100_000,
    "expires": "2099-01-01T00:00:00Z",
    "min_cohort": 1,
    "output_types": ["lookup/record"],
}


def rows(numbers: Sequence[int]) -> str:
    return "account,reason\n" + "".join(f"6222999{number:07d},case {number}\n" for number in numbers)


class Desk:
    """An owner with a list, and a member that asks it; every message between them is recorded."""

    def __init__(self, running: ConsortiumInProcess, data: Path) -> None:
        self.running, self.data = running, data
        self.at_owner: list[bytes] = []
        self.at_asker: list[bytes] = []

    def publish(self, numbers: Sequence[int]) -> None:
        path = self.data / "mules.csv"
        path.write_text(rows(numbers), encoding="utf-8")
        columns = [
            {"name": name, "role": role, "sensitivity": "internal", "control": control}
            for name, role, control in COLUMNS
        ]
        options = {"colour": "black", "identifier": "account", "attributes": ["reason"]}
        self.running.client("bureau").publish(
            {
                "name": "mules",
                "title": "Mules",
                "source": {"kind": "list", "location": str(path), "options": options},
                "columns": columns,
                "terms": {"purposes": [PURPOSE], **TERMS},
            }
        )

    def open(self) -> None:
        keys = [{"column": "account", "rules": ["remove-spaces"]}]
        body = {"service": SERVICE, "asset": SERVICE, "keys": keys, "record": ["reason"], "price": 1}
        self.running.client("bureau").open_lookup({**body, "purposes": [PURPOSE]}, timeout_s=120)

    def agree(self, **changes: Any) -> str:
        asked = {"asset": SERVICE, "purpose": PURPOSE, **TERMS, "uses": 1000, **changes}
        made = self.running.client("analyst").request_agreement(asked)["negotiation"]
        return str(self.running.client("bureau").approve(made, "a test")["agreement"])

    def ask(self, *keys: str, agreement: str | None = None) -> dict[str, Any]:
        named = [SERVICE] if agreement is None else {SERVICE: agreement}
        return dict(self.running.client("analyst").lookup(named, list(keys), PURPOSE)[0])

    def lookups(self, name: str) -> Any:
        return self.running.nodes[name]._lookups

    def held(self) -> Any:
        row = self.running.nodes["analyst"].services.ledger.final("lookups", SERVICE)
        asking_side = self.lookups("analyst").asking
        return asking_side._hints.present(row, asking_side._peer(self.running.did("bureau")))

    def ticket(self, count: int = 1, **changes: Any) -> tuple[bytes, bytes, Any]:
        """A ticket of the analyst's, the blinded keys that go with it, and what unblinds them."""
        node, held = self.running.nodes["analyst"].services, self.held()
        blinding, message = held.client.blind([LISTED.encode()] * count, SystemRandomness())
        blinded = message.encode()
        stated: dict[str, Any] = {
            "service": SERVICE,
            "release": held.row["release"],
            "agreement": changes.pop("agreement"),
            "purpose": PURPOSE,
            "count": count,
            "fee": count,
            "request": request_digest(blinded),
        }
        clock = changes.pop("clock", node.clock)
        made = sign_ticket(node.keys, node.net, node.store.lookups, clock, **(stated | changes))
        return canonical.encode(made), blinded, blinding

    def call(self, ticket: bytes, blinded: bytes, caller: str = "analyst") -> Any:
        """What the owner's node answers first."""
        answering = self.lookups("bureau").desk.call(self.running.did(caller), ticket, blinded)
        return next(answering), answering

    def refused(self, ticket: bytes, blinded: bytes, caller: str = "analyst") -> tuple[str, ...]:
        with pytest.raises(LookupRefused) as caught:
            self.call(ticket, blinded, caller)
        return caught.value.codes


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    data = tmp_path_factory.mktemp("lists")
    with ConsortiumInProcess(tmp_path_factory.mktemp("lookup"), NAMES, sources=[data]) as running:
        made = Desk(running, data)
        made.publish(range(50, 250))
        made.open()
        made.agree()
        made.ask(LISTED)
        yield made


@pytest.fixture
def recorded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Messages of calls, whole, as each side receives them."""
    whole = rpc._whole
    desk.at_owner, desk.at_asker = [], []

    def told(parts: Any) -> Iterator[bytes]:
        place = desk.at_asker if isinstance(parts, grpc.Future) else desk.at_owner
        for message in whole(parts):
            place.append(message)
            yield message

    monkeypatch.setattr(rpc, "_whole", told)
    return desk


def forms(key: str) -> list[bytes]:
    """A key as it might be seen."""
    digest = hashlib.sha256(key.encode())
    return [key.encode(), key.encode().hex().encode(), digest.digest(), digest.hexdigest().encode()]


def test_no_key_reaches_the_owner_the_hub_a_log_or_a_disk(
    recorded: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    to_hub: list[bytes] = []
    send, port = httpx.Client.send, recorded.running.hub.member_port

    def sent(self: httpx.Client, request: httpx.Request, **more: Any) -> httpx.Response:
        if request.url.port == port:
            to_hub.append(str(request.url).encode() + request.read())
        return send(self, request, **more)

    monkeypatch.setattr(httpx.Client, "send", sent)
    assert [one["found"] for one in recorded.ask(LISTED, ABSENT)["records"]] == [True, False]
    recorded.ask(ABSENT + "x" * 9)
    with pytest.raises(Exception, match="keys"):
        recorded.running.client("analyst").lookup([SERVICE], [[ABSENT] * 9], PURPOSE)
    recorded.lookups("bureau").reporter.report()
    assert to_hub
    assert recorded.at_owner
    seen = b"".join([*to_hub, *recorded.at_owner]) + caplog.text.encode()
    for key in (LISTED, ABSENT):
        assert not any(form in seen for form in forms(key))
    for folder in ("hub", "analyst", "bureau", "lender"):
        for path in (recorded.running.root / folder).rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert not any(form in content for form in forms(ABSENT)), path.name


def test_a_hit_and_a_miss_look_alike(recorded: Desk) -> None:
    transcripts = []
    for key in (LISTED, ABSENT):
        recorded.at_owner.clear()
        recorded.at_asker.clear()
        recorded.ask(key)
        to_owner = [len(one) for one in recorded.at_owner[1:]]  # the ticket's length is its numbers' own
        transcripts.append((to_owner, [len(one) for one in recorded.at_asker]))
    assert transcripts[0] == transcripts[1]
    assert [len(one) for one in transcripts[0]] == [2, 2]


def test_blinded_keys_of_one_key_never_repeat(recorded: Desk) -> None:
    for _ in range(3):
        recorded.ask(LISTED)
    blinded = [one for one in recorded.at_owner if len(one) < 2000]
    assert len(set(blinded)) == len(blinded)


def test_a_ticket_serves_one_call_of_its_signer(desk: Desk) -> None:
    agreement = desk.agree()
    ticket, blinded, _ = desk.ticket(agreement=agreement)
    first, _ = desk.call(ticket, blinded)
    assert desk.call(ticket, blinded)[0] != first  # the same call again: its caller lost the answer
    other = desk.held().client.blind([ABSENT.encode()], SystemRandomness())[1].encode()
    assert "ticket.wrong-request" in desk.refused(ticket, other)
    assert "ticket.wrong-consumer" in desk.refused(ticket, blinded, caller="lender")
    assert desk.lookups("bureau")._services.store.lookups.unreported(agreement) == (1, 1)


@pytest.mark.parametrize(
    "changes",
    [{"count": 2}, {"fee": 0}, {"purpose": "dpv:PublicBenefit"}, {"release": 2}, {"total": 9}, {"owed": 0}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_ticket_that_was_changed_is_refused(desk: Desk, changes: dict[str, Any]) -> None:
    ticket, blinded, _ = desk.ticket(agreement=desk.agree())
    altered: Any = canonical.decode(ticket)
    codes = desk.refused(canonical.encode(altered | changes), blinded)
    assert codes[0] in {"ticket.bad-signature", "ticket.wrong-total", "ticket.wrong-release"}


def test_a_place_in_the_total_is_answered_once(desk: Desk) -> None:
    agreement, kept = desk.agree(), desk.running.nodes["analyst"].services.store.lookups
    desk.call(*desk.ticket(count=3, agreement=agreement)[:2])
    account = f"{agreement} {SERVICE} {PURPOSE}"
    kept.sign_for(account, -3, -3)  # a node set back to an older copy of its database
    assert desk.refused(*desk.ticket(agreement=agreement)[:2]) == ("ticket.replayed",)
    desk.lookups("bureau").reporter.report()
    assert desk.refused(*desk.ticket(agreement=agreement)[:2]) == ("ticket.replayed",)


def test_a_ticket_from_another_time_or_with_another_fee_is_refused(desk: Desk) -> None:
    agreement, clock = desk.agree(), desk.running.nodes["analyst"].services.clock
    for shift in (-LIFE_S - 5, LIFE_S + 5):
        late = desk.ticket(agreement=agreement, clock=lambda shift=shift: clock() + timedelta(seconds=shift))
        assert "ticket.stale" in desk.refused(*late[:2])
    assert "ticket.wrong-fee" in desk.refused(*desk.ticket(agreement=agreement, fee=0)[:2])


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"\xff", b'{"v":1}', b"[" * 5000], ids=range(6))
def test_what_is_no_ticket_is_refused(desk: Desk, raw: bytes) -> None:
    assert desk.refused(raw, b"")[0] in {"ticket.malformed", "entry.malformed-body"}


def test_no_more_is_answered_than_keys_were_paid_for(desk: Desk) -> None:
    ticket, blinded, blinding = desk.ticket(agreement=desk.agree())
    client, rng = desk.held().client, SystemRandomness()
    evaluated, answering = desk.call(ticket, blinded)
    labels = client.labels(blinding, EvaluatedKeys.decode(evaluated, 1))
    answering.send(client.query(labels, rng)[1].encode())
    with pytest.raises(StopIteration):
        answering.send(client.query(labels, rng)[1].encode())
    _, answering = desk.call(*desk.ticket(agreement=desk.agree())[:2])
    double = np.repeat(client.query(labels, rng)[1].vectors, 2, axis=0)
    with pytest.raises(LookupRefused) as caught:
        answering.send(type(client.query(labels, rng)[1])(client.manifest.digest, double).encode())
    assert caught.value.codes == ("lookup.too-many",)


def test_a_ticket_for_fewer_keys_than_are_blinded_is_refused(desk: Desk) -> None:
    agreement = desk.agree()
    blinded = desk.ticket(count=3, agreement=agreement)[1]
    ticket = desk.ticket(agreement=agreement, request=request_digest(blinded))[0]
    assert desk.refused(ticket, blinded) == ("ticket.wrong-count",)


def flipped(message: bytes) -> bytes:
    return message[:-1] + bytes([message[-1] ^ 1])


@pytest.mark.parametrize(
    "change", [flipped, lambda m: m[:-1], lambda m: m + b"\0", lambda _: b""], ids=range(4)
)
@pytest.mark.parametrize("message", ["evaluated", "answer"])
def test_an_altered_message_gives_no_record(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, message: str, change: Callable[[bytes], bytes]
) -> None:
    kind = EvaluatedKeys if message == "evaluated" else Answers
    encode = kind.encode
    monkeypatch.setattr(kind, "encode", lambda self: change(encode(self)))
    answer = desk.ask(LISTED)
    assert (answer["outcome"], answer["records"]) == ("failed", [])


def test_an_answer_from_another_matrix_gives_no_record(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ListServer.answer

    def other(self: ListServer, request: Any) -> Answers:
        return Answers(np.roll(answer(self, request).vectors, 7))

    monkeypatch.setattr(ListServer, "answer", other)
    found = desk.ask(LISTED)
    assert (found["outcome"], found["codes"], found["records"]) == ("failed", ["lookup.failed"], [])


@pytest.mark.parametrize("name", ["manifest", "hint", "stash"])
def test_a_file_without_the_ledgers_digest_is_thrown_away(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    whole = desk.lookups("bureau").desk.file

    def altered(service: str, release: int, wanted: str) -> Path | None:
        path: Path | None = whole(service, release, wanted)
        if wanted != name or path is None:
            return path
        (tmp_path / name).write_bytes(flipped(path.read_bytes()) if path.stat().st_size else b"x")
        return tmp_path / name

    with monkeypatch.context() as patch, fresh(desk) as hints:
        patch.setattr(desk.lookups("bureau").desk, "file", altered)
        answer = desk.ask(LISTED)
        assert answer["outcome"] == "failed"
        assert "ledger" in answer["detail"]
        assert not hints._open
        patch.setattr(desk.lookups("bureau").desk, "file", whole)
        assert desk.ask(LISTED)["records"][0]["found"] is True


def test_a_hint_goes_on_where_it_broke(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = rpc.LookupLinks.fetch
    offsets: list[int] = []

    def broken(self: Any, peer: Any, service: str, release: int, file: str, offset: int) -> Iterator[bytes]:
        pieces = fetch(self, peer, service, release, file, offset)
        offsets.extend([offset] if file == "hint" else [])
        if file == "hint" and len(offsets) < 3:
            yield next(pieces)[:1000]
            raise PeerUnreachable("did:key:zBureau", "127.0.0.1:1", "the connection failed")
        yield from pieces

    monkeypatch.setattr(rpc.LookupLinks, "fetch", broken)
    with fresh(desk):
        assert desk.ask(LISTED)["records"][0]["found"] is True
    assert offsets == [0, 1000, 2000]


class fresh:  # noqa: N801 - reads as a word of a test
    """The asking node without any hint; what it had is back afterwards."""

    def __init__(self, desk: Desk) -> None:
        self._hints = desk.lookups("analyst").asking._hints

    def __enter__(self) -> Any:
        import shutil

        self._hints._open.clear()
        shutil.rmtree(self._hints._folders.root, ignore_errors=True)
        return self._hints

    def __exit__(self, *_: object) -> None:
        return None


def test_a_call_that_breaks_is_made_again_with_the_same_ticket(
    recorded: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreement, once = recorded.agree(), asking.Asking._once
    breaks = iter([True])

    def breaking(self: Any, held: Any, opening: Any, blinding: Any, peer: Any) -> Any:
        found = once(self, held, opening, blinding, peer)
        if next(breaks, False):
            raise PeerUnreachable("did:key:zBureau", "127.0.0.1:1", "the connection failed")
        return found

    monkeypatch.setattr(asking.Asking, "_once", breaking)
    assert recorded.ask(LISTED, agreement=agreement)["outcome"] == "answered"
    assert len({one for one in recorded.at_owner if b"ticket" in one}) == 1
    assert recorded.lookups("bureau")._services.store.lookups.unreported(agreement) == (1, 1)


def test_an_owner_that_does_not_answer_is_told_as_such(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = (desk.running.did("bureau"), "127.0.0.1:1", desk.running.nodes["bureau"].services.keys.tls_cert)
    monkeypatch.setattr(desk.lookups("analyst").asking, "_peer", lambda _: peer)
    assert desk.ask(LISTED)["outcome"] == "unreachable"


def restart(desk: Desk, name: str) -> None:
    desk.running.nodes[name].stop()
    desk.running.nodes[name] = desk.running._stack.enter_context(desk.running.open_node(name))


def test_neither_nodes_restart_loses_a_ticket_a_quota_or_a_hint(desk: Desk) -> None:
    agreement = desk.agree(uses=2)
    opening = desk.ticket(agreement=agreement)
    first, _ = desk.call(*opening[:2])
    restart(desk, "bureau")
    ledger = desk.running.nodes["bureau"].services.ledger
    ledger.wait_until(lambda: True if ledger.is_caught_up else None, 30, "the ledger")
    again, answering = desk.call(*opening[:2])
    client = desk.held().client
    labels = client.labels(opening[2], EvaluatedKeys.decode(again, 1))
    pending, queries = client.query(labels, SystemRandomness())
    answers = Answers.decode(answering.send(queries.encode()), client.manifest, 1)
    assert client.recover(pending, answers)[0] is not None
    restart(desk, "analyst")
    with suppress(LookupFailed):
        assert desk.ask(LISTED, agreement=agreement)["outcome"] == "answered"
    assert "agreement.uses-exhausted" in desk.ask(LISTED, agreement=agreement)["codes"]
    desk.lookups("bureau").reporter.report()
    row = ledger.final("lookup_accounts", f"{agreement} {SERVICE} {PURPOSE}")
    assert (row["queries"], row["tickets"], row["fee"]) == (2, 2, 2)
    assert first != again
