"""A hub that lies, and what each process gets to see.

The hub here is the real one with its own checks taken out, or a relay that swaps what it relays. Nodes are
untouched: what refuses is the code that runs in production.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from exchange.errors import JobRefused
from exchange.jobs.releases import GroupRelease, MeasureRelease
from exchange.jobs.spec import JobSpec
from exchange.node.hub_client import HubClient
from exchange.node.runner import release_context
from exchange.sdk import NodeProblem
from ledger import batches, canonical
from ledger.entries import Draft, Entry, new_id
from ledger.keys import SigningKey
from ledger.merkle import leaf_hash
from ledger.times import format_time, system_clock
from mpc.stats.shares import GroupShares

pytestmark = pytest.mark.xdist_group("exchange-attacks")


class SwappingHub(HubClient):
    """Relays another specification than the submitter signed: one that asks for the smallest groups."""

    def get_spec(self, job: str) -> bytes:
        spec = canonical.decode(super().get_spec(job))
        assert isinstance(spec, dict)
        spec["steps"][1]["params"]["min_cohort"] = 1  # type: ignore[index, call-overload]
        return JobSpec.from_json(spec).encode()


def test_a_swapped_specification_is_refused_by_both_owners(
    tmp_path: Path, make_question: Callable[..., Any]
) -> None:
    swapping = {"connect": SwappingHub}
    asked = make_question(tmp_path, options={"lender": swapping, "bureau": swapping})
    with asked.running:
        asked.publish()
        agreements = asked.agree(uses=1)
        analyst = asked.client("analyst")
        job = analyst.submit(asked.spec(agreements))["job"]
        with pytest.raises(JobRefused):
            analyst.wait_job(job, timeout_s=60)
        refusals = _eventually(lambda: analyst.job(job)["refusals"], lambda found: len(found) == 2)
        assert {refusal["name"] for refusal in refusals} == {"lender", "bureau"}
        assert {refusal["code"] for refusal in refusals} == {"job.spec-mismatch"}
        assert _uses(analyst) == {0}


def test_an_approval_that_only_the_hub_claims_is_refused_by_both_owners(
    tmp_path: Path, make_question: Callable[..., Any]
) -> None:
    """The analyst asks, nobody approves, and the job names the agreements as if somebody had."""
    asked = make_question(tmp_path)
    with asked.running:
        asked.publish()
        analyst = asked.client("analyst")
        for asset, columns in (
            ("lender/loans", ["customer_id", "arrears", "balance"]),
            ("bureau/people", ["person_id", "band"]),
        ):
            analyst.request_agreement(asked.request(asset, columns))
        claimed = {asset: new_id("agreement", system_clock) for asset in ("lender/loans", "bureau/people")}
        job = analyst.submit(asked.spec(claimed))["job"]
        with pytest.raises(JobRefused):
            analyst.wait_job(job, timeout_s=60)
        refusals = _eventually(lambda: analyst.job(job)["refusals"], lambda found: len(found) == 2)
        assert {refusal["code"] for refusal in refusals} == {"agreement.missing"}


def test_an_approval_forged_into_the_log_stops_every_node(
    tmp_path: Path, make_question: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub sequences an approval that the owner never signed and seals it as valid."""
    asked = make_question(tmp_path)
    with asked.running as running:
        asked.publish()
        analyst = asked.client("analyst")
        request = analyst.request_agreement(
            asked.request("lender/loans", ["customer_id", "arrears", "balance"])
        )
        monkeypatch.setattr("ledger.sequencer.check_attributable", lambda state, entry: None)
        monkeypatch.setattr("ledger.log.seal_batch", _seal_everything_as_valid)
        lender = running.nodes["lender"].services.keys
        forged = Draft(
            net="test.parley",
            type="negotiation.agree",
            actor=lender.did,
            body={
                "negotiation": request["negotiation"],
                "agreement": {
                    "id": new_id("agreement", system_clock),
                    "policy": request["offer"] | {"@type": "Agreement"},
                    "limits": request["limits"],
                },
                "approvals": [
                    {"approver": "steward", "role": "steward", "decision": "approve", "reason": "forged"}
                ],
            },
            exp=format_time(system_clock() + timedelta(minutes=5)),
            seq=new_id("entry", system_clock),
        ).sign(lender.kid, SigningKey.generate())
        placed = running.hub.services.log.submit(forged.encode())
        assert placed.code is None, "the lying hub seals the forgery as valid"
        for owner in ("lender", "bureau"):
            client = asked.client(owner)
            named = _eventually(lambda client=client: client.node()["divergence"], bool)
            assert str(placed.index) in named
            with pytest.raises(NodeProblem, match="stopped trusting"):
                client.approve(request["negotiation"], "too late")
            evidence = list((tmp_path / owner / "evidence").iterdir())
            assert evidence, "the difference is filed"
        assert running.nodes["lender"].services.ledger.final_size <= placed.index


def _seal_everything_as_valid(
    head: batches.Head, entries: Sequence[Entry], **arguments: Any
) -> batches.Batch:
    honest = batches.seal_batch(head, entries, **arguments)
    body = {**honest.seal.body, "refused": []}
    seal = honest.seal
    lying = Draft(seal.net, seal.type, seal.actor, body, exp=seal.exp, seq=seal.seq)
    signed = Entry.parse(lying.sign(seal.sigs[0].kid, arguments["key"]).encode())
    return dataclasses.replace(
        honest,
        codes=(None,) * len(entries),
        seal=signed,
        head=dataclasses.replace(honest.head, prev_seal=leaf_hash(signed.raw).hex()),
    )


@dataclasses.dataclass(frozen=True)
class Recorded:
    """Every byte that each process received in a whole job, and the shares that the owners released."""

    received: dict[str, bytes]
    shares: dict[str, GroupShares]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]) -> Recorded:
    """What the hub, each owner and the analyst receive while a job runs."""
    received: dict[str, list[bytes]] = {"hub": [], "lender": [], "bureau": [], "analyst": []}

    def observe(name: str) -> dict[str, Any]:
        class Recording(HubClient):
            def _attempt(self, method: str, path: str, params: Any, content: Any, *rest: Any) -> bytes:
                received["hub"] += [path.encode(), repr(params).encode(), content or b""]
                answer = super()._attempt(method, path, params, content, *rest)
                received[name].append(answer)
                return answer

        def observer(direction: str, peer: str, frame: bytes) -> None:
            if direction == "received":
                received[name].append(frame)

        return {"connect": Recording, "observer": observer}

    asked = make_question(
        tmp_path_factory.mktemp("transcript"),
        options={name: observe(name) for name in ("lender", "bureau", "analyst")},
    )
    with asked.running:
        asked.publish()
        analyst = asked.client("analyst")
        job = analyst.submit(asked.spec(asked.agree(uses=1)))["job"]
        analyst.wait_job(job, timeout_s=60)
        answer = [
            (row["group"], row["count"], int(row["sums"]["arrears"]), int(row["sums"]["balance"]))
            for row in analyst.result(job)[0]["groups"]
        ]
        assert answer == asked.plaintext()
        parts = {name: b"\0".join(pieces) for name, pieces in received.items()}
        return Recorded(parts, _released_shares(asked, job))


def _released_shares(asked: Any, job: str) -> dict[str, GroupShares]:
    """Open, as the analyst, what each owner released."""
    services = asked.running.nodes["analyst"].services
    shares = {}
    for owner, kind in (("lender", MeasureRelease), ("bureau", GroupRelease)):
        sender, me = asked.running.did(owner), services.keys.did
        sealed = services.hub.get_result(job, "sums", sender, me)
        shares[owner] = kind.decode(
            services.keys.open_sealed(sealed, release_context(job, "sums", sender, me))
        ).shares
    return shares


@pytest.fixture
def transcript(recorded: Recorded) -> dict[str, bytes]:
    """The received bytes, by receiver."""
    return recorded.received


def _rows(tables: Path, file: str) -> list[dict[str, Any]]:
    found = duckdb.sql(f"select * from '{tables}/{file}'")  # noqa: S608 - a path of this test
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def _traces_of_identifier(identifier: str) -> list[bytes]:
    """The identifier, its normal form, and the plain hashes anyone would try first."""
    spellings = {identifier, identifier.upper(), identifier.upper().replace(" ", "")}
    traces = []
    for spelling in spellings:
        raw = spelling.encode()
        traces += [raw, hashlib.sha256(raw).digest(), hashlib.sha256(raw).hexdigest().encode()]
        traces += [hashlib.sha512(raw).digest(), hashlib.blake2b(raw).digest()]
    return traces


def _traces_of_number(value: int) -> list[bytes]:
    """A large number in decimal and as 8 bytes either way round, whole or without its lowest byte."""
    little = value.to_bytes(8, "little")
    return [str(value).encode(), little, little[::-1]]


def test_no_identifier_reaches_anybody_else(transcript: dict[str, bytes], tables: Path) -> None:
    owners = {"lender": ("loans.csv", "customer_id"), "bureau": ("people.parquet", "person_id")}
    for owner, (file, column) in owners.items():
        for row in _rows(tables, file):
            for trace in _traces_of_identifier(row[column]):
                for receiver, received in transcript.items():
                    if receiver != owner:
                        assert trace not in received, f"{owner}'s identifier reached {receiver}"


def test_no_row_value_reaches_anybody_else(transcript: dict[str, bytes], tables: Path) -> None:
    for row in _rows(tables, "loans.csv"):
        for trace in _traces_of_number(row["balance"]):
            for receiver in ("hub", "bureau", "analyst"):
                assert trace not in transcript[receiver], f"a balance reached {receiver}"


def test_no_sum_and_no_label_reaches_the_hub_or_the_other_owner(
    transcript: dict[str, bytes], tables: Path, make_question: Callable[..., Any], tmp_path: Path
) -> None:
    for band, _, _, balance in make_question(tmp_path).plaintext():
        for receiver in ("hub", "lender", "bureau"):
            for trace in _traces_of_number(balance):
                assert trace not in transcript[receiver], f"a sum reached {receiver}"
        for receiver in ("hub", "lender"):
            assert f'"{band}"'.encode() not in transcript[receiver], f"a group's label reached {receiver}"


def test_no_share_of_one_owner_reaches_the_hub_or_the_other_owner(recorded: Recorded) -> None:
    for owner, shares in recorded.shares.items():
        words = [int(word).to_bytes(8, "little") for word in shares.shares.ravel() if word]
        assert words
        for receiver in {"hub", "lender", "bureau"} - {owner}:
            assert not any(word in recorded.received[receiver] for word in words), (
                f"{owner}'s share at {receiver}"
            )


def test_the_recording_would_have_caught_a_leak(transcript: dict[str, bytes]) -> None:
    """The check itself: what everybody does receive is found in the recording."""
    for receiver in ("lender", "bureau", "analyst"):
        assert b"job.submit" in transcript[receiver]
    assert b"lender/loans" in transcript["hub"]
    assert len(transcript["bureau"]) > 100_000


def _uses(client: Any) -> set[int]:
    return {agreement["uses"] for agreement in client.agreements()}


def _eventually(look: Callable[[], Any], enough: Callable[[Any], bool], timeout_s: float = 20.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not enough(found := look()):
        assert time.monotonic() < deadline, f"still {found!r}"
        time.sleep(0.1)
    return found
