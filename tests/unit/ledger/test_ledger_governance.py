"""Genesis, proposals, votes and members."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ledger import base64url
from ledger.entries import Draft, Entry, new_id
from ledger.errors import Refusal
from ledger.keys import SigningKey
from ledger.membership import Network, active_members, electorate, genesis_hash, member_key, quorum_of
from ledger.notes import COSIGNATURE_V1, ED25519, Vkey
from ledger.state import apply
from ledger.tables import State
from ledger.testing import NET, ORIGIN, START, Stage, draft_entry, make_genesis, make_hub, make_member

NAMES = ("lender", "bureau", "analyst", "regulator")


@pytest.fixture
def stage() -> Stage:
    return Stage(*NAMES)


def refused(code: str, act: Callable[[], object]) -> None:
    with pytest.raises(Refusal) as caught:
        act()
    assert caught.value.code == code, str(caught.value)


def proposal_of(number: int = 1) -> str:
    return new_id("proposal", lambda: START, lambda n: bytes([number] * n))


def add(stage: Stage, name: str, **changes: Any) -> dict[str, Any]:
    return {"action": "member.add", "enrolment": make_member(name, **changes).enrolment}


def test_the_genesis_makes_founders_active_and_sets_the_network(stage: Stage) -> None:
    network = Network.of(stage.state)
    assert network is not None
    assert (network.name, network.origin, network.engine, network.max_clock_skew_s) == (
        NET,
        ORIGIN,
        "sql",
        120,
    )
    assert network.hub_did == stage.hub.did
    assert set(active_members(stage.state)) == {member.did for member in stage.members.values()}
    assert electorate(stage.state).quorum == 3
    assert member_key(stage.state, "did:key:zNobody") is None
    assert len(genesis_hash(stage.genesis)) == 64


@pytest.mark.parametrize(("members", "quorum"), [(1, 1), (2, 2), (3, 3), (4, 3), (7, 5), (10, 7)])
def test_quorum(members: int, quorum: int) -> None:
    assert quorum_of(members) == quorum


def founding(raw: bytes, index: int = 0) -> Callable[[], object]:
    return lambda: apply(State(), Entry.parse(raw), index=index, time=START)


MEMBERS = [make_member(name) for name in NAMES]
HUB = make_hub()


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("entry.wrong-net", {"name": "example/other"}),
        ("entry.malformed-body", {"params": {}}),
        ("entry.malformed-body", {"members": []}),
        ("entry.malformed-body", {"surprise": 1}),
        ("genesis.invalid-params", {"params": {"max_clock_skew_s": 3601}}),
        ("genesis.invalid-log-key", {"log": "nonsense"}),
        ("genesis.invalid-log-key", {"origin": "example.org/elsewhere"}),
        ("genesis.invalid-log-key", {"log": Vkey(ORIGIN, COSIGNATURE_V1, HUB.cosign.public).encode()}),
        ("genesis.wrong-actor", {"hub": make_hub("other").record}),
        ("member.invalid-enrolment", {"hub": {**HUB.record, "did": MEMBERS[0].did}}),
        ("genesis.wrong-signers", {"members": [MEMBERS[0].enrolment]}),
        (
            "member.duplicate",
            {
                "members": [
                    m.enrolment for m in (MEMBERS[0], make_member("twin", tls=MEMBERS[0].record["tls"]))
                ]
            },
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_other_geneses_are_refused(code: str, changes: dict[str, Any]) -> None:
    refused(code, founding(make_genesis(HUB, MEMBERS, **changes)))


def test_a_genesis_with_a_forged_founder_signature_is_refused() -> None:
    entry = Entry.parse(make_genesis(HUB, MEMBERS))
    draft = Draft(entry.net, entry.type, entry.actor, entry.body, entry.exp, entry.seq)
    for signer in (HUB, *MEMBERS):
        draft = draft.sign(signer.kid, signer.tx if signer.name != "bureau" else HUB.tx)
    refused("entry.bad-signature", founding(draft.encode()))


def test_a_second_genesis_is_refused(stage: Stage) -> None:
    refused("genesis.not-first", lambda: stage.apply(Entry.parse(stage.genesis)))
    refused("genesis.not-first", founding(stage.genesis, index=1))


def damaged_enrolment(kind: str) -> dict[str, Any]:
    member = make_member("newbank")
    other = SigningKey.from_seed(bytes([7] * 32))
    match kind:
        case "tx-proof":
            proofs = {**member.enrolment["proofs"], "tx": base64url.encode(bytes(64))}
            return {**member.enrolment, "proofs": proofs}
        case "cosign-proof":
            proofs = {**member.enrolment["proofs"], "cosign": member.enrolment["proofs"]["tx"]}
            return {**member.enrolment, "proofs": proofs}
        case "changed-record":
            return {**member.enrolment, "member": {**member.record, "title": "Another"}}
        case "did":
            return make_member("newbank", did=MEMBERS[0].did).enrolment
        case "kid":
            return make_member("newbank", tx={**member.record["tx"], "kid": member.did + "#tx-2"}).enrolment
        case "key-size":
            return make_member("newbank", tx={**member.record["tx"], "public": "AAAA"}).enrolment
        case "cosign-name":
            vkey = Vkey(NET + "/other", COSIGNATURE_V1, member.cosign.public)
            return make_member("newbank", cosign=vkey.encode()).enrolment
        case "cosign-type":
            return make_member(
                "newbank", cosign=Vkey(NET + "/newbank", ED25519, member.cosign.public).encode()
            ).enrolment
        case "cosign-form":
            return make_member("newbank", cosign="nonsense").enrolment
        case "same-key":
            vkey = Vkey(NET + "/newbank", COSIGNATURE_V1, member.tx.public)
            return make_member("newbank", cosign=vkey.encode()).enrolment
        case "foreign-cosign":
            vkey = Vkey(NET + "/newbank", COSIGNATURE_V1, other.public)
            return make_member("newbank", cosign=vkey.encode()).enrolment
        case _:
            return make_member("newbank", seal="AAAA").enrolment


@pytest.mark.parametrize(
    "kind",
    [
        "tx-proof",
        "cosign-proof",
        "changed-record",
        "did",
        "kid",
        "key-size",
        "cosign-name",
        "cosign-type",
        "cosign-form",
        "same-key",
        "foreign-cosign",
        "seal-size",
    ],
)
def test_enrolments_are_proved_by_their_own_keys(stage: Stage, kind: str) -> None:
    action = {"action": "member.add", "enrolment": damaged_enrolment(kind)}
    body = {"proposal": proposal_of(), "actions": [action]}
    refused("member.invalid-enrolment", lambda: stage.act("lender", "gov.propose", body))


@pytest.mark.parametrize("change", [{"tls": MEMBERS[1].record["tls"]}, {"tls": HUB.record["tls"]}])
def test_a_certificate_belongs_to_one_member(stage: Stage, change: dict[str, Any]) -> None:
    body = {"proposal": proposal_of(), "actions": [add(stage, "newbank", **change)]}
    refused("member.duplicate", lambda: stage.act("lender", "gov.propose", body))


def test_a_member_is_admitted_by_quorum_and_counts_after_its_acknowledgement(stage: Stage) -> None:
    proposal = proposal_of()
    newbank = make_member("newbank")
    stage.members["newbank"] = newbank
    refused("entry.unknown-actor", lambda: stage.act("newbank", "member.ack", {}))
    stage.act("lender", "gov.propose", {"proposal": proposal, "actions": [add(stage, "newbank")]})
    stage.act("bureau", "gov.vote", {"proposal": proposal, "approve": True})
    execute = {"proposal": proposal}
    refused("proposal.no-quorum", lambda: stage.act("lender", "gov.execute", execute))
    stage.act("analyst", "gov.vote", {"proposal": proposal, "approve": True})
    stage.act("bureau", "gov.vote", {"proposal": proposal, "approve": False})
    refused("proposal.no-quorum", lambda: stage.act("lender", "gov.execute", execute))
    stage.act("bureau", "gov.vote", {"proposal": proposal, "approve": True})
    stage.act("regulator", "gov.execute", execute)
    assert newbank.did not in stage.state.rows("members")
    stage.settle()
    assert stage.state.rows("members")[newbank.did]["status"] == "admitted"
    assert electorate(stage.state).quorum == 3
    refused("proposal.closed", lambda: stage.act("lender", "gov.execute", execute))
    refused("entry.actor-not-active", lambda: stage.act("newbank", "member.update", {"endpoint": "x:1"}))
    refused("entry.actor-not-admitted", lambda: stage.act("lender", "member.ack", {}))
    stage.act("newbank", "member.ack", {})
    assert electorate(stage.state).quorum == 4
    again = {"proposal": proposal_of(2), "actions": [add(stage, "newbank")]}
    refused("member.duplicate", lambda: stage.act("lender", "gov.propose", again))


def test_two_proposals_for_one_name_admit_one(stage: Stage) -> None:
    for number, voter in ((1, "lender"), (2, "bureau")):
        body = {"proposal": proposal_of(number), "actions": [add(stage, "newbank")]}
        stage.act(voter, "gov.propose", body)
        for other in ("analyst", "regulator"):
            stage.act(other, "gov.vote", {"proposal": proposal_of(number), "approve": True})
    stage.act("lender", "gov.execute", {"proposal": proposal_of(1)})
    refused("member.duplicate", lambda: stage.act("lender", "gov.execute", {"proposal": proposal_of(2)}))


def test_only_the_proposer_withdraws(stage: Stage) -> None:
    body = {"proposal": proposal_of(), "actions": [add(stage, "newbank")]}
    stage.act("lender", "gov.propose", body)
    refused("proposal.exists", lambda: stage.act("bureau", "gov.propose", body))
    refused("entry.not-permitted", lambda: stage.act("bureau", "gov.withdraw", {"proposal": proposal_of()}))
    stage.act("lender", "gov.withdraw", {"proposal": proposal_of()})
    refused(
        "proposal.closed",
        lambda: stage.act("bureau", "gov.vote", {"proposal": proposal_of(), "approve": True}),
    )
    refused("proposal.unknown", lambda: stage.act("bureau", "gov.withdraw", {"proposal": proposal_of(9)}))


def test_a_member_moves_its_own_endpoint(stage: Stage) -> None:
    stage.act("lender", "member.update", {"endpoint": "elsewhere.example:9000"})
    row = stage.state.rows("members")[stage.did("lender")]
    assert (row["endpoint"], row["status"], row["index"]) == ("elsewhere.example:9000", "active", 1)
    refused("entry.malformed-body", lambda: stage.act("lender", "member.update", {"endpoint": "nowhere"}))


def test_the_envelope_is_checked_before_the_rule(stage: Stage) -> None:
    lender, bureau = stage.members["lender"], stage.members["bureau"]
    good = draft_entry(lender, "member.update", {"endpoint": "x:1"})

    def apply_draft(draft: Draft) -> Callable[[], object]:
        return lambda: stage.apply(Entry.parse(draft.encode()))

    refused("entry.wrong-net", apply_draft(replace(good, net="example/other").sign(lender.kid, lender.tx)))
    refused("entry.unknown-actor", apply_draft(replace(good, actor="did:x:y").sign(lender.kid, lender.tx)))
    refused("entry.bad-signature", apply_draft(good.sign(lender.kid, bureau.tx)))
    refused("entry.wrong-signers", apply_draft(good.sign(bureau.kid, bureau.tx)))
    both = good.sign(lender.kid, lender.tx).sign(bureau.kid, bureau.tx)
    refused("entry.wrong-signers", apply_draft(both))
    refused("entry.unknown-type", lambda: stage.act("lender", "asset.burn", {}))
    refused("entry.unknown-type", lambda: stage.act("lender", "seal", {}))


@pytest.mark.parametrize(
    ("lifetime_s", "code"),
    [(-1, "entry.expired"), (0, None), (86_400, None), (86_401, "entry.expires-too-late")],
)
def test_an_entry_lives_at_most_a_day(stage: Stage, lifetime_s: float, code: str | None) -> None:
    member = stage.members["lender"]
    draft = draft_entry(member, "member.update", {"endpoint": "x:1"}, lifetime_s=lifetime_s)
    entry = Entry.parse(draft.sign(member.kid, member.tx).encode())
    if code is None:
        stage.apply(entry)
    else:
        refused(code, lambda: stage.apply(entry))
