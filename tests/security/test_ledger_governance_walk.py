"""Members, keys and rules change while the log runs: who makes what final, and what a bundle shows of it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger import base64url, canonical
from ledger.bundle import export, verify
from ledger.checkpoints import cosign
from ledger.container import pack, unpack
from ledger.entries import Entry
from ledger.errors import InvalidBundle, Refusal
from ledger.membership import electorate, genesis_hash
from ledger.notes import Note
from ledger.search import Query
from ledger.sequencer import Placed
from ledger.testing import Consortium, Member, consortium, rotate_member
from ledger.trust import TrustPolicy

NAMES = ("lender", "bureau", "analyst", "regulator")
ROLES = {"regulator": "regulator"}

Members = dict[str, bytes]


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Consortium]:
    with consortium(tmp_path, *NAMES, roles=ROLES) as made:
        yield made


def update(exchange: Consortium, name: str = "lender", number: int = 1) -> Placed:
    return exchange.act(name, "member.update", {"endpoint": f"{name}.example:{number}"})


def on(exchange: Consortium, kind: str, name: str) -> dict[str, Any]:
    return {"action": kind, "member": exchange.members[name].did}


def rotate(exchange: Consortium, name: str, *uses: str) -> tuple[Member, dict[str, Any]]:
    rotated, signed = rotate_member(exchange.members[name], *uses)
    return rotated, {"action": "key.rotate", "rotation": signed}


def sync(exchange: Consortium, *names: str) -> None:
    for _ in range(2):
        for name in names:
            exchange.mirrors[name].sync()


def test_the_old_members_make_the_decision_final_and_the_new_ones_what_follows(exchange: Consortium) -> None:
    exchange.decide(on(exchange, "member.suspend", "analyst"), {"action": "params.set", "quorum": 3})
    decided = exchange.log.size
    sync(exchange, "lender", "bureau", "analyst")
    assert exchange.log.final_size == decided
    update(exchange)
    after = exchange.log.size
    sync(exchange, "lender", "bureau", "analyst")
    assert exchange.log.final_size == decided
    sync(exchange, "regulator", "lender")
    assert exchange.log.final_size == after
    mirror = exchange.mirrors["lender"]
    assert mirror.final_size == after
    shown = {line.name for line in Note.parse(exchange.log.checkpoint()).signatures}
    assert not any(name.endswith("/analyst") for name in shown)


def test_a_suspended_members_cosignature_is_not_taken(exchange: Consortium) -> None:
    exchange.decide(on(exchange, "member.suspend", "analyst"))
    update(exchange)
    note = Note.parse(exchange.log.checkpoint())
    analyst = exchange.members["analyst"]
    line = cosign(note.text, f"{analyst.record['cosign'].partition('+')[0]}", analyst.cosign, 1_800_000_000)
    with pytest.raises(Exception, match="active member"):
        exchange.log.add_cosignature(exchange.log.size, line.encode())


def test_a_stolen_key_stops_working_at_the_stated_entry(exchange: Consortium) -> None:
    exchange.decide(on(exchange, "member.suspend", "bureau"), effective_after=4)
    for number in range(2):
        assert update(exchange, "bureau", number + 1).code is None
    assert update(exchange, "bureau", 9).code == "entry.actor-not-active"
    bureau, action = rotate(exchange, "bureau", "tx", "cosign")
    exchange.decide(action, on(exchange, "member.resume", "bureau"))
    with pytest.raises(Refusal) as caught:
        update(exchange, "bureau", 10)
    assert caught.value.code == "entry.key-retired"
    exchange.members["bureau"] = bureau
    assert update(exchange, "bureau", 11).code is None


def test_a_member_with_both_keys_cosigns_on_both_sides_of_its_rotation(exchange: Consortium) -> None:
    old = exchange.members["lender"]
    new, action = rotate(exchange, "lender", "cosign")
    both = exchange.mirrors["lender"] = exchange.new_mirror("lender", cosigner=[old.cosign, new.cosign])
    exchange.decide(action, {"action": "params.set", "quorum": 4})
    decided = exchange.log.size
    exchange.settle()
    assert exchange.log.final_size == decided
    update(exchange, "bureau")
    exchange.settle()
    assert both.final_size == exchange.log.final_size == exchange.log.size
    mine = {vkey.encode() for vkey in electorate(exchange.log.state).vkeys}
    assert new.record["cosign"] in mine


def test_the_veto_of_a_regulator_holds_up_a_checkpoint(exchange: Consortium) -> None:
    exchange.decide({"action": "params.set", "regulator_veto": "all-regulators"})
    decided = exchange.log.size
    sync(exchange, "lender", "bureau", "analyst")
    assert exchange.log.final_size == decided
    update(exchange)
    sync(exchange, "lender", "bureau", "analyst")
    assert exchange.log.final_size == exchange.mirrors["lender"].final_size == decided
    sync(exchange, "regulator", "lender")
    assert exchange.log.final_size == exchange.mirrors["lender"].final_size == exchange.log.size


def test_a_restarted_member_still_knows_who_counted_when(exchange: Consortium) -> None:
    exchange.decide(on(exchange, "member.suspend", "analyst"))
    update(exchange)
    exchange.settle()
    lender = exchange.mirrors["lender"]
    again = exchange.new_mirror("lender", store=lender.store)
    assert (again.size, again.final_size) == (lender.size, lender.final_size)
    assert again.state.root() == lender.state.root()


# --- bundles ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    """A rotation, a suspension and a veto, each carried out in a batch without governance entries."""
    with consortium(tmp_path_factory.mktemp("walk"), *NAMES, roles=ROLES) as made:
        made.act("bureau", "asset.withdraw", {"asset": "bureau/none", "reason": "x"})
        rotated, action = rotate(made, "bureau", "tx", "cosign")
        made.decide(action, effective_after=1)
        for _ in range(2):
            made.act("lender", "asset.withdraw", {"asset": "lender/none", "reason": "y"})
        made.members["bureau"] = rotated
        made.mirrors["bureau"] = made.new_mirror("bureau")
        made.decide(
            on(made, "member.suspend", "analyst"),
            {"action": "params.set", "quorum": 3, "regulator_veto": "any-regulator"},
        )
        for name in ("lender", "bureau"):
            made.act(name, "asset.withdraw", {"asset": "bureau/none", "reason": "z"})
        made.settle()
        yield made


def exported(changed: Consortium) -> bytes:
    mirror, member = changed.mirrors["regulator"], changed.members["regulator"]
    size, state = mirror.final
    txids = [record.txid for record in mirror.found(Query(types=("asset.withdraw",)))]
    shown = {"did": member.did, "kid": member.kid, "key": member.tx}
    return export(mirror.store, size, txids, tree=mirror.tree, state=state, **shown)


@pytest.fixture(scope="module")
def data(changed: Consortium) -> bytes:
    return exported(changed)


def test_a_bundle_walks_across_rotation_suspension_and_veto(changed: Consortium, data: bytes) -> None:
    report = verify(data, genesis_hash(changed.genesis))
    assert report.members == ("bureau", "lender", "regulator")
    assert report.cosigners == report.members
    first, second = (key for key in report.keys if key.member == "bureau")
    assert (first.since, first.until, second.until) == (0, second.since, None)
    assert second.kid.endswith("#tx-2")
    policy = TrustPolicy.parse(unpack(data)["policy"])
    net = changed.members["lender"].record["cosign"].partition("/lender+")[0]
    assert not policy.is_met(f"{net}/{name}" for name in ("lender", "bureau"))
    assert policy.is_met(f"{net}/{name}" for name in ("lender", "bureau", "regulator"))


def resigned(changed: Consortium, members: Members) -> bytes:
    """Sign a bundle's manifest anew, as an exporter who cheats can."""
    member = changed.members["regulator"]
    files = {name: value for name, value in members.items() if not name.startswith("manifest.")}
    manifest = canonical.decode(members["manifest.json"])
    assert isinstance(manifest, dict)
    digests = {name: hashlib.sha256(value).hexdigest() for name, value in files.items()}
    content = canonical.encode({**manifest, "files": digests})
    signature = member.tx.sign(b"parley-bundle/v2\n" + content)
    return pack({**files, "manifest.json": content, "manifest.sig": base64url.encode(signature).encode()})


def entries(members: Members) -> dict[int, Entry]:
    found = {
        int(name.removeprefix("entries/").removesuffix(".json")): Entry.parse(raw)
        for name, raw in members.items()
        if name.startswith("entries/")
    }
    return dict(sorted(found.items()))


def without(members: Members, *indexes: int) -> Members:
    gone = {f"entries/{index}.json" for index in indexes}
    gone |= {f"proofs/{index}.tlog-proof" for index in indexes}
    return {name: value for name, value in members.items() if name not in gone}


def test_no_governance_entry_and_no_seal_at_which_one_took_effect_can_be_left_out(
    changed: Consortium, data: bytes
) -> None:
    members = unpack(data)
    shown = entries(members)
    seals = [index for index, entry in shown.items() if entry.type == "seal"]
    batches = {seal: range(entry.body["first"], seal) for seal, entry in shown.items() if seal in seals}
    for index, entry in shown.items():
        if index == 0 or not entry.type.startswith(("gov.", "member.")):
            continue
        seal = min(one for one in seals if one > index)
        with pytest.raises(InvalidBundle):
            verify(resigned(changed, without(members, index, *([seal] if len(batches[seal]) == 1 else []))))
    effects = {row["index"] for row in changed.log.state.rows("proposals").values()}
    for seal, batch in batches.items():
        if batch.start in effects:
            with pytest.raises(InvalidBundle):
                verify(resigned(changed, without(members, seal, *batch)))


def test_a_checkpoint_needs_the_electorate_that_the_walk_leads_to(changed: Consortium, data: bytes) -> None:
    members = unpack(data)
    note = Note.parse(members["checkpoint"])
    log, lines = note.signatures[0], {line.name.rpartition("/")[2]: line for line in note.signatures[1:]}
    analyst = changed.members["analyst"]
    stale = cosign(note.text, analyst.record["cosign"].partition("+")[0], analyst.cosign, 1_800_000_000)
    for chosen in (("lender", "bureau"), ("lender", "regulator")):
        kept = tuple(lines[name] for name in chosen)
        for signatures in ((log, *kept), (log, *kept, stale)):
            fewer = {**members, "checkpoint": Note(note.text, signatures).encode()}
            proofs = {
                name: value.replace(members["checkpoint"], fewer["checkpoint"])
                for name, value in members.items()
                if name.startswith("proofs/")
            }
            with pytest.raises(InvalidBundle) as caught:
                verify(resigned(changed, {**fewer, **proofs}))
            assert caught.value.member == "checkpoint"


def test_the_policy_of_other_rules_is_refused(changed: Consortium, data: bytes) -> None:
    members = unpack(data)
    relaxed = members["policy"].replace(b"group members 3", b"group members 2")
    assert relaxed != members["policy"]
    with pytest.raises(InvalidBundle) as caught:
        verify(resigned(changed, {**members, "policy": relaxed}))
    assert caught.value.member == "policy"
