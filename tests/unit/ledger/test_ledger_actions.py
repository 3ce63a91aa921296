"""What proposals may do: each action, when it takes effect, and every unsafe change that is refused."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger import base64url
from ledger.algorithms import SM2_SM3, Sm2Key
from ledger.entries import Draft, Entry, new_id, subjects
from ledger.errors import Refusal
from ledger.keys import SigningKey
from ledger.membership import (
    Network,
    VotingRule,
    active_members,
    allowed_algorithms,
    electorate,
    key_at,
    member_key,
    passes,
)
from ledger.notes import COSIGNATURE_V1, Vkey
from ledger.rules.actions import ACTIONS
from ledger.rules.proposals import MAX_EFFECTIVE_AFTER
from ledger.state import settle
from ledger.testing import NET, ORIGIN, START, Member, Stage, draft_entry, make_member, rotate_member

NAMES = ("lender", "bureau", "analyst", "regulator")
HEX = "ab" * 32


@pytest.fixture
def stage() -> Stage:
    return Stage(*NAMES, roles={"regulator": "regulator"})


def refused(code: str, act: Callable[[], object]) -> None:
    with pytest.raises(Refusal) as caught:
        act()
    assert caught.value.code == code, str(caught.value)


def ident(number: int) -> str:
    return new_id("proposal", lambda: START, lambda n: bytes([number] * n))


def propose(stage: Stage, *actions: dict[str, Any], number: int = 1, by: str = "lender", **more: Any) -> str:
    proposal = ident(number)
    stage.act(by, "gov.propose", {"proposal": proposal, "actions": list(actions), **more})
    return proposal


def decide(stage: Stage, *actions: dict[str, Any], number: int = 1, **more: Any) -> str:
    """Propose, approve by everybody active and execute, without letting it take effect."""
    by = next(name for name in stage.members if status(stage, name) == "active")
    proposal = propose(stage, *actions, number=number, by=by, **more)
    for name, member in stage.members.items():
        if name != by and member.did in active_members(stage.state):
            stage.act(name, "gov.vote", {"proposal": proposal, "approve": True})
    stage.act(by, "gov.execute", {"proposal": proposal})
    return proposal


def enact(stage: Stage, *actions: dict[str, Any], number: int = 1) -> str:
    proposal = decide(stage, *actions, number=number)
    stage.settle()
    return proposal


def status(stage: Stage, name: str) -> str:
    found: str = stage.state.rows("members")[stage.did(name)]["status"]
    return found


def on(kind: str, stage: Stage, name: str) -> dict[str, Any]:
    return {"action": kind, "member": stage.did(name)}


def params(**values: Any) -> dict[str, Any]:
    return {"action": "params.set", **values}


def rotation(stage: Stage, name: str, *uses: str, **changes: Any) -> tuple[Member, dict[str, Any]]:
    rotated, signed = rotate_member(stage.members[name], *uses, **changes)
    return rotated, {"action": "key.rotate", "rotation": signed}


def enact_rotation(stage: Stage, name: str, *uses: str, number: int = 1, **changes: Any) -> None:
    """Rotate keys of a member, who signs with the new ones from then on."""
    rotated, action = rotation(stage, name, *uses, **changes)
    enact(stage, action, number=number)
    stage.members[name] = rotated


# --- form -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action",
    [
        {},
        {"action": 7},
        {"action": "member.promote", "member": "did:key:z6Mk"},
        {"action": "member.suspend"},
        {"action": "member.suspend", "member": "nobody"},
        {"action": "member.suspend", "member": "did:key:z6Mk", "reason": "x"},
        {"action": "params.set"},
        {"action": "params.set", "quorum": 0},
        {"action": "params.set", "regulator_veto": "some"},
        {"action": "params.set", "quorum": True},
        {"action": "algorithm.allow", "algorithm": "none"},
        {"action": "engine.switch", "engine": "cometbft"},
        {"action": "key.rotate", "rotation": {}},
        "member.add",
    ],
    ids=repr,
)
def test_only_the_closed_set_of_actions_is_proposed(stage: Stage, action: Any) -> None:
    refused("entry.malformed-body", lambda: propose(stage, action))


@pytest.mark.parametrize("tls", ["not base64!", "", 7, "AA=="])
def test_certificates_are_base64url(stage: Stage, tls: Any) -> None:
    enrolment = make_member("newbank").enrolment
    altered = {**enrolment, "member": {**enrolment["member"], "tls": tls}}
    action = {"action": "member.add", "enrolment": altered}
    refused("entry.malformed-body", lambda: propose(stage, action))
    refused("entry.malformed-body", lambda: propose(stage, "approve"))


def test_a_vote_is_true_or_false(stage: Stage) -> None:
    proposal = propose(stage, params(max_clock_skew_s=60))
    body = {"proposal": proposal, "approve": "yes"}
    refused("entry.malformed-body", lambda: stage.act("bureau", "gov.vote", body))


def test_proposals_are_found_by_the_members_they_are_about(stage: Stage) -> None:
    _, rotated = rotation(stage, "analyst", "tx")
    propose(stage, on("member.suspend", stage, "bureau"), rotated)
    member = stage.members["lender"]
    actions = stage.state.rows("proposals")[ident(1)]["actions"]
    draft = draft_entry(member, "gov.propose", {"proposal": ident(1), "actions": actions})
    named = subjects(Entry.parse(draft.sign(member.kid, member.tx).encode()))
    assert {stage.did(name) for name in ("lender", "bureau", "analyst")} <= named


def test_a_proposal_names_at_most_eight_actions_and_a_bounded_delay(stage: Stage) -> None:
    refused("entry.malformed-body", lambda: propose(stage))
    many = [{"action": "member.suspend", "member": f"did:key:z{number}"} for number in range(9)]
    refused("entry.malformed-body", lambda: propose(stage, *many))
    action = on("member.suspend", stage, "bureau")
    late = MAX_EFFECTIVE_AFTER + 1
    refused("proposal.effective-too-late", lambda: propose(stage, action, effective_after=late))
    refused("entry.malformed-body", lambda: propose(stage, action, effective_after=-1))
    propose(stage, action, effective_after=MAX_EFFECTIVE_AFTER, reason="its key was stolen")
    assert stage.state.rows("proposals")[ident(1)]["reason"] == "its key was stolen"


# --- when a change takes effect ---------------------------------------------------------------------------


def test_the_old_members_decide_until_the_batch_in_which_the_change_takes_effect(stage: Stage) -> None:
    before = electorate(stage.state)
    proposal = decide(stage, on("member.suspend", stage, "bureau"), effective_after=5)
    executed = stage.index
    row = stage.state.rows("proposals")[proposal]
    assert (row["status"], row["effective"]) == ("executed", executed + 6)
    assert electorate(stage.state) == before
    assert settle(stage.state, executed + 5) is stage.state
    stage.settle(entries=4)
    assert status(stage, "bureau") == "active"
    stage.settle(entries=1)
    assert status(stage, "bureau") == "suspended"
    row = stage.state.rows("proposals")[proposal]
    assert (row["status"], row["effective"], row["index"]) == ("effective", executed + 6, executed + 6)
    assert len(electorate(stage.state).vkeys) == 3


def test_settling_is_the_same_in_one_step_or_in_many(stage: Stage) -> None:
    decide(stage, on("member.suspend", stage, "bureau"), effective_after=3)
    decide(stage, params(max_clock_skew_s=60), number=2, effective_after=1)
    once = settle(stage.state, stage.index + 50)
    assert settle(settle(stage.state, stage.index), stage.index + 50).root() == once.root()
    assert settle(once, stage.index + 50) is once


def test_changes_take_effect_in_the_order_of_their_indexes(stage: Stage) -> None:
    decide(stage, params(max_clock_skew_s=60), effective_after=9)
    decide(stage, params(max_clock_skew_s=30), number=2)
    stage.settle(entries=20)
    network = Network.of(stage.state)
    assert network is not None
    assert network.max_clock_skew_s == 60


def test_what_became_impossible_lapses_whole(stage: Stage) -> None:
    suspend = on("member.suspend", stage, "bureau")
    allow = {"action": "algorithm.allow", "algorithm": SM2_SM3}
    first = decide(stage, allow, suspend, effective_after=40)
    second = decide(stage, on("member.remove", stage, "bureau"), number=2)
    refused("member.wrong-status", lambda: propose(stage, suspend, number=3, by="analyst"))
    stage.settle(entries=60)
    rows = stage.state.rows("proposals")
    assert rows[second]["status"] == "effective"
    assert (rows[first]["status"], rows[first]["code"]) == ("lapsed", "member.wrong-status")
    assert SM2_SM3 not in allowed_algorithms(stage.state)


def test_votes_of_members_that_are_out_do_not_count(stage: Stage) -> None:
    proposal = propose(stage, params(max_clock_skew_s=60), number=2, by="bureau")
    stage.act("analyst", "gov.vote", {"proposal": proposal, "approve": True})
    enact(stage, on("member.suspend", stage, "bureau"))
    stage.act("lender", "gov.vote", {"proposal": proposal, "approve": True})
    refused("proposal.no-quorum", lambda: stage.act("lender", "gov.execute", {"proposal": proposal}))
    stage.act("regulator", "gov.vote", {"proposal": proposal, "approve": True})
    stage.act("lender", "gov.execute", {"proposal": proposal})


# --- members ----------------------------------------------------------------------------------------------


def test_a_suspended_member_acts_no_more_until_it_is_resumed(stage: Stage) -> None:
    enact(stage, on("member.suspend", stage, "bureau"))
    update = {"endpoint": "bureau.example:1"}
    refused("entry.actor-not-active", lambda: stage.act("bureau", "member.update", update))
    refused("entry.actor-not-admitted", lambda: stage.act("bureau", "member.ack", {}))
    refused("member.wrong-status", lambda: decide(stage, on("member.suspend", stage, "bureau"), number=2))
    enact(stage, on("member.resume", stage, "bureau"), number=3)
    stage.act("bureau", "member.update", update)
    refused("member.wrong-status", lambda: propose(stage, on("member.resume", stage, "bureau"), number=4))


def test_a_removed_member_does_not_come_back(stage: Stage) -> None:
    enact(stage, on("member.remove", stage, "bureau"))
    assert status(stage, "bureau") == "removed"
    refused("entry.actor-not-active", lambda: stage.act("bureau", "member.update", {"endpoint": "x:1"}))
    for kind in ("member.resume", "member.remove", "member.suspend"):
        refused("member.wrong-status", lambda kind=kind: propose(stage, on(kind, stage, "bureau"), number=2))
    again = {"action": "member.add", "enrolment": make_member("bureau").enrolment}
    refused("member.duplicate", lambda: propose(stage, again, number=2))
    reused = make_member("newbank", seal=stage.members["bureau"].record["seal"])
    action = {"action": "member.add", "enrolment": reused.enrolment}
    refused("member.duplicate", lambda: propose(stage, action, number=2))


def test_an_admitted_member_may_be_removed_before_it_acknowledges(stage: Stage) -> None:
    newbank = stage.members["newbank"] = make_member("newbank")
    enact(stage, {"action": "member.add", "enrolment": newbank.enrolment})
    refused("member.wrong-status", lambda: propose(stage, on("member.suspend", stage, "newbank"), number=2))
    enact(stage, on("member.remove", stage, "newbank"), number=3)
    refused("entry.actor-not-admitted", lambda: stage.act("newbank", "member.ack", {}))


def test_strangers_are_neither_suspended_nor_removed(stage: Stage) -> None:
    stranger = {"action": "member.suspend", "member": "did:key:z6MkStranger"}
    refused("member.unknown", lambda: propose(stage, stranger))


def test_the_last_active_member_stays() -> None:
    alone = Stage("lender")
    for kind in ("member.suspend", "member.remove"):
        refused("governance.no-member", lambda kind=kind: propose(alone, on(kind, alone, "lender")))


# --- keys -------------------------------------------------------------------------------------------------


UPDATE = {"endpoint": "bureau.example:1"}


def test_a_rotated_key_signs_from_its_index_on_and_the_old_one_no_more(stage: Stage) -> None:
    old = stage.members["bureau"]
    new, action = rotation(stage, "bureau", "tx", "cosign", "tls", "seal")
    decide(stage, action, effective_after=2)
    stage.act("bureau", "member.update", UPDATE)
    stage.settle(entries=2)
    effective = stage.index + 1
    refused("entry.key-retired", lambda: stage.act("bureau", "member.update", UPDATE))
    stage.members["bureau"] = new
    assert (new.did, new.kid) == (old.did, f"{old.did}#tx-2")
    stage.act("bureau", "member.update", UPDATE)
    row = stage.state.rows("members")[new.did]
    assert {use: row[use] for use in ("tx", "cosign", "tls", "seal")} == action["rotation"]["new"]
    keys = [key_at(stage.state, new.did, index) for index in (0, effective - 1, effective, 10**6)]
    assert [None if key is None else key.kid for key in keys] == [old.kid, old.kid, new.kid, new.kid]
    assert key_at(stage.state, "did:key:zNobody", 0) is None
    history = stage.state.rows("keys")[f"{new.did}#cosign-1"]
    assert (history["from"], history["until"], history["key"]) == (0, effective, old.record["cosign"])
    names = {vkey.encode() for vkey in electorate(stage.state).vkeys}
    assert new.record["cosign"] in names
    assert old.record["cosign"] not in names


def test_keys_are_rotated_again_and_one_at_a_time(stage: Stage) -> None:
    for number, uses in enumerate([("tx",), ("cosign",), ("tls", "seal"), ("tx", "cosign")], start=1):
        enact_rotation(stage, "bureau", *uses, number=number)
        stage.act("bureau", "member.update", UPDATE)
    bureau = stage.members["bureau"]
    assert bureau.kid.endswith("#tx-3")
    numbers = {"tx": 3, "cosign": 3, "tls": 2, "seal": 2}
    assert {key for key in stage.state.rows("keys") if key.startswith(bureau.did)} == {
        f"{bureau.did}#{use}-{number}" for use, last in numbers.items() for number in range(1, last + 1)
    }


def test_a_rotation_is_carried_out_once(stage: Stage) -> None:
    _, action = rotation(stage, "bureau", "tx")
    decide(stage, action)
    refused("rotation.stale", lambda: propose(stage, action, number=2))
    stage.settle()
    refused("rotation.stale", lambda: propose(stage, action, number=2))


def test_a_stolen_key_is_stopped_and_replaced(stage: Stage) -> None:
    enact(stage, on("member.suspend", stage, "bureau"))
    refused("entry.actor-not-active", lambda: stage.act("bureau", "member.update", UPDATE))
    new, action = rotation(stage, "bureau", "tx", "cosign")
    enact(stage, action, on("member.resume", stage, "bureau"), number=2)
    refused("entry.key-retired", lambda: stage.act("bureau", "member.update", UPDATE))
    stage.members["bureau"] = new
    stage.act("bureau", "member.update", UPDATE)


def test_the_keys_of_a_removed_member_end(stage: Stage) -> None:
    bureau = stage.members["bureau"]
    enact_rotation(stage, "bureau", "tx")
    enact(stage, on("member.remove", stage, "bureau"), number=2)
    gone = stage.index + 1
    assert key_at(stage.state, bureau.did, gone) is None
    last = key_at(stage.state, bureau.did, gone - 1)
    assert last is not None
    assert last.kid.endswith("#tx-2")
    _, action = rotation(stage, "bureau", "tx")
    refused("member.wrong-status", lambda: propose(stage, action, number=3))


def broken(stage: Stage, kind: str) -> dict[str, Any]:
    """A rotation of the bureau's keys with one thing wrong."""
    bureau, analyst = stage.members["bureau"], stage.members["analyst"]
    _, good = rotate_member(bureau, "tx", "cosign")
    new = good["new"]
    other = Vkey(f"{NET}/analyst", COSIGNATURE_V1, SigningKey.from_seed(bytes([9] * 32)).public).encode()
    changes: dict[str, dict[str, Any]] = {
        "net": {"net": "example/other"},
        "nothing": {"new": {}},
        "kid": {"new": {**new, "tx": {**new["tx"], "kid": f"{bureau.did}#tx-7"}}},
        "size": {"new": {**new, "tx": {**new["tx"], "public": "AAAA"}}},
        "algorithm": {"new": {**new, "tx": {**new["tx"], "alg": SM2_SM3}}},
        "cosign-name": {"new": {**new, "cosign": other}},
        "cosign-form": {"new": {**new, "cosign": "nonsense"}},
        "seal": {"new": {**new, "seal": "AAAA"}},
        "own-old-key": {"new": {**new, "cosign": bureau.record["cosign"]}},
        "foreign-key": {"new": {**new, "tx": {**new["tx"], "public": analyst.record["tx"]["public"]}}},
        "foreign-tls": {"new": {**new, "tls": analyst.record["tls"]}},
        "stranger": {"did": "did:key:z6MkStranger"},
        "stale": {"old": {"kid": f"{bureau.did}#tx-0", "cosign": bureau.record["cosign"]}},
    }
    if kind in changes:
        return rotate_member(bureau, "tx", "cosign", **changes[kind])[1]
    proofs = good["proofs"]
    return {
        **good,
        "proofs": {
            "tx-proof": {**proofs, "tx": proofs["cosign"]},
            "cosign-proof": {**proofs, "cosign": proofs["tx"]},
            "proof-missing": {"tx": proofs["tx"]},
        }[kind],
    }


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("net", "rotation.invalid"),
        ("nothing", "rotation.invalid"),
        ("kid", "rotation.invalid"),
        ("size", "rotation.invalid"),
        ("algorithm", "algorithm.not-allowed"),
        ("cosign-name", "rotation.invalid"),
        ("cosign-form", "rotation.invalid"),
        ("seal", "rotation.invalid"),
        ("own-old-key", "member.duplicate"),
        ("foreign-key", "member.duplicate"),
        ("foreign-tls", "member.duplicate"),
        ("stranger", "member.unknown"),
        ("stale", "rotation.stale"),
        ("tx-proof", "rotation.invalid"),
        ("cosign-proof", "rotation.invalid"),
        ("proof-missing", "rotation.invalid"),
    ],
)
def test_a_rotation_is_proved_by_the_new_keys_and_fits_the_member(stage: Stage, kind: str, code: str) -> None:
    action = {"action": "key.rotate", "rotation": broken(stage, kind)}
    refused(code, lambda: propose(stage, action))


def test_one_key_for_two_uses_is_refused(stage: Stage) -> None:
    bureau = stage.members["bureau"]
    _, good = rotate_member(bureau, "tx")
    public = base64url.decode(good["new"]["tx"]["public"])
    both = {**good["new"], "cosign": Vkey(f"{NET}/bureau", COSIGNATURE_V1, public).encode()}
    action = {"action": "key.rotate", "rotation": rotate_member(bureau, "tx", new=both)[1]}
    refused("member.duplicate", lambda: propose(stage, action))


def test_the_hubs_keys_are_nobody_elses(stage: Stage) -> None:
    log = Vkey(f"{NET}/newbank", COSIGNATURE_V1, stage.hub.cosign.public).encode()
    _, signed = rotate_member(stage.members["bureau"], "tx")
    hub_key = {**signed["new"]["tx"], "public": stage.hub.record["tx"]["public"]}
    rotated = rotate_member(stage.members["bureau"], "tx", new={"tx": hub_key})[1]
    refused("member.duplicate", lambda: propose(stage, {"action": "key.rotate", "rotation": rotated}))
    newcomer = Member("newbank", stage.hub.tx, stage.hub.cosign, {}, {})
    enrolment = make_member("newbank", cosign_key=newcomer.cosign, cosign=log).enrolment
    refused("member.duplicate", lambda: propose(stage, {"action": "member.add", "enrolment": enrolment}))


# --- parameters -------------------------------------------------------------------------------------------


def test_the_quorum_is_raised_and_never_falls_below_two_thirds(stage: Stage) -> None:
    refused("params.quorum-too-low", lambda: propose(stage, params(quorum=2)))
    refused("governance.quorum-unreachable", lambda: propose(stage, params(quorum=5)))
    enact(stage, params(quorum=4))
    assert electorate(stage.state).quorum == 4
    proposal = propose(stage, params(quorum=3), number=2)
    for name in ("bureau", "analyst"):
        stage.act(name, "gov.vote", {"proposal": proposal, "approve": True})
    refused("proposal.no-quorum", lambda: stage.act("lender", "gov.execute", {"proposal": proposal}))
    suspend = on("member.suspend", stage, "bureau")
    refused("governance.quorum-unreachable", lambda: propose(stage, suspend, number=3))
    together = [params(quorum=3), suspend]
    enact(stage, *together, number=4)
    assert (electorate(stage.state).quorum, len(electorate(stage.state).vkeys)) == (3, 3)


def test_the_clock_skew_is_bounded(stage: Stage) -> None:
    refused("params.invalid-skew", lambda: propose(stage, params(max_clock_skew_s=3601)))
    enact(stage, params(max_clock_skew_s=3600))
    network = Network.of(stage.state)
    assert network is not None
    assert network.max_clock_skew_s == 3600


@pytest.mark.parametrize("veto", ["any-regulator", "all-regulators"])
def test_a_veto_makes_regulators_needed_for_checkpoints_and_proposals(stage: Stage, veto: str) -> None:
    enact(stage, params(regulator_veto=veto))
    voters = electorate(stage.state)
    by_name = {vkey.name.rpartition("/")[2]: vkey for vkey in voters.vkeys}
    assert not voters.is_final(by_name[name] for name in ("lender", "bureau", "analyst"))
    assert voters.is_final(by_name[name] for name in ("lender", "bureau", "regulator"))
    assert not voters.is_final([by_name["regulator"]])
    proposal = propose(stage, params(max_clock_skew_s=60), number=2)
    for name in ("bureau", "analyst"):
        stage.act(name, "gov.vote", {"proposal": proposal, "approve": True})
    refused("proposal.no-regulator", lambda: stage.act("lender", "gov.execute", {"proposal": proposal}))
    stage.act("regulator", "gov.vote", {"proposal": proposal, "approve": True})
    stage.act("lender", "gov.execute", {"proposal": proposal})


def test_one_or_all_of_two_regulators() -> None:
    rule = VotingRule(veto="any-regulator")
    members, regulators = frozenset("abcd"), frozenset("cd")
    assert rule.is_met("abc", members, regulators)
    assert not VotingRule(veto="all-regulators").is_met("abc", members, regulators)
    assert VotingRule(veto="all-regulators").is_met("acd", members, regulators)
    assert not VotingRule(veto="all-regulators").is_met("abcd", members, frozenset())
    assert not rule.is_met("", frozenset[str](), frozenset())


def test_a_veto_needs_somebody_who_can_exercise_it(stage: Stage) -> None:
    without = Stage(*NAMES)
    refused("governance.no-regulator", lambda: propose(without, params(regulator_veto="any-regulator")))
    enact(stage, params(regulator_veto="any-regulator"))
    for kind in ("member.suspend", "member.remove"):
        refused(
            "governance.no-regulator",
            lambda kind=kind: propose(stage, on(kind, stage, "regulator"), number=2),
        )
    enact(stage, params(regulator_veto="none"), on("member.remove", stage, "regulator"), number=3)
    assert VotingRule.of(stage.state).veto == "none"


# --- algorithms and engines -------------------------------------------------------------------------------


def test_an_algorithm_is_allowed_and_forbidden(stage: Stage) -> None:
    allow = {"action": "algorithm.allow", "algorithm": SM2_SM3}
    forbid = {"action": "algorithm.forbid", "algorithm": SM2_SM3}
    refused("algorithm.unchanged", lambda: propose(stage, {**allow, "algorithm": "EdDSA"}))
    refused("algorithm.unchanged", lambda: propose(stage, forbid))
    refused("algorithm.in-use", lambda: propose(stage, {**forbid, "algorithm": "EdDSA"}))
    enact(stage, allow)
    assert allowed_algorithms(stage.state) == {"EdDSA", SM2_SM3}
    enact(stage, forbid, number=2)
    assert allowed_algorithms(stage.state) == {"EdDSA"}


@pytest.mark.skipif(importlib.util.find_spec("gmssl_pyx") is None, reason="no provider of SM2-SM3")
def test_a_member_signs_with_sm2_while_that_is_allowed(stage: Stage) -> None:
    enact(stage, {"action": "algorithm.allow", "algorithm": SM2_SM3})
    enact_rotation(stage, "bureau", "tx", number=2, tx=Sm2Key.generate())
    stage.act("bureau", "member.update", UPDATE)
    key = member_key(stage.state, stage.did("bureau"))
    assert key is not None
    assert key.alg == SM2_SM3
    enact(stage, {"action": "algorithm.forbid", "algorithm": SM2_SM3}, number=3)
    refused("entry.algorithm-not-allowed", lambda: stage.act("bureau", "member.update", UPDATE))


@pytest.mark.skipif(importlib.util.find_spec("gmssl_pyx") is None, reason="no provider of SM2-SM3")
def test_an_algorithm_stays_while_a_quorum_needs_it(stage: Stage) -> None:
    enact(stage, {"action": "algorithm.allow", "algorithm": SM2_SM3})
    for number, name in enumerate(("bureau", "analyst"), start=2):
        enact_rotation(stage, name, "tx", number=number, tx=Sm2Key.generate())
    forbid = {"action": "algorithm.forbid", "algorithm": SM2_SM3}
    refused("governance.algorithm-needed", lambda: propose(stage, forbid, number=4))


def test_the_engine_is_switched(stage: Stage) -> None:
    refused("engine.unchanged", lambda: propose(stage, {"action": "engine.switch", "engine": "sql"}))
    enact(stage, {"action": "engine.switch", "engine": "etcd"})
    network = Network.of(stage.state)
    assert network is not None
    assert (network.engine, network.origin) == ("etcd", ORIGIN)


# --- joint statements -------------------------------------------------------------------------------------


def statement(stage: Stage, *names: str, signed: tuple[str, ...] = (), **changes: Any) -> Entry:
    """A statement by the lender with these parties, signed by them or by others."""
    parties = [stage.did(name) for name in names]
    body = {"parties": parties, "subject": "joint report", "digest": HEX, **changes}
    draft = draft_entry(stage.members["lender"], "evidence.statement", body)
    for name in signed or names:
        draft = draft.sign(stage.members[name].kid, stage.members[name].tx)
    return Entry.parse(draft.encode())


def test_a_joint_statement_is_signed_by_all_its_parties(stage: Stage) -> None:
    before = stage.state
    stage.apply(statement(stage, "lender", "bureau", "analyst"))
    stage.apply(statement(stage, "bureau", "lender", signed=("lender", "bureau")))
    assert stage.state.root() == before.root()


@pytest.mark.parametrize(
    ("signed", "code"),
    [
        (("lender",), "entry.wrong-signers"),
        (("bureau",), "entry.wrong-signers"),
        (("lender", "bureau", "analyst"), "entry.wrong-signers"),
        (("lender", "analyst"), "entry.wrong-signers"),
    ],
)
def test_nobody_is_left_out_or_added(stage: Stage, signed: tuple[str, ...], code: str) -> None:
    refused(code, lambda: stage.apply(statement(stage, "lender", "bureau", signed=signed)))


def test_statements_have_their_shape(stage: Stage) -> None:
    refused("entry.malformed-body", lambda: stage.apply(statement(stage, "lender")))
    twice = statement(stage, "lender", "lender", signed=("lender",))
    refused("entry.malformed-body", lambda: stage.apply(twice))
    refused("entry.malformed-body", lambda: stage.apply(statement(stage, "lender", "bureau", digest="x")))
    refused("evidence.actor-not-a-party", lambda: stage.apply(statement(stage, "bureau", "analyst")))
    stranger = {"parties": [stage.did("lender"), "did:key:z6MkStranger"]}
    refused("entry.unknown-actor", lambda: stage.apply(statement(stage, "lender", **stranger)))


def test_every_signature_of_a_statement_must_verify(stage: Stage) -> None:
    good = statement(stage, "lender", "bureau")
    draft = Draft(good.net, good.type, good.actor, good.body, good.exp, good.seq)
    draft = draft.sign(stage.members["lender"].kid, stage.members["lender"].tx)
    draft = draft.sign(stage.members["bureau"].kid, stage.members["lender"].tx)
    refused("entry.bad-signature", lambda: stage.apply(Entry.parse(draft.encode())))


def test_every_party_of_a_statement_is_active(stage: Stage) -> None:
    enact(stage, on("member.suspend", stage, "bureau"))
    refused("entry.actor-not-active", lambda: stage.apply(statement(stage, "lender", "bureau")))


def test_proposals_pass_by_the_rule_of_checkpoints(stage: Stage) -> None:
    dids = [stage.did(name) for name in ("lender", "bureau", "analyst")]
    assert passes(stage.state, dids)
    assert not passes(stage.state, [*dids[:2], "did:key:zStranger"])


def test_every_action_is_tested() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{kind}"' in text for kind in ACTIONS)
