"""Evidence bundles of a later epoch: what they show by themselves, and how they lead back to the genesis."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ledger import bundle, canonical
from ledger.bundle.files import CARRIED, EPOCH_TABLES, sign_manifest
from ledger.container import pack, unpack
from ledger.entries import Entry
from ledger.epochs import last_final
from ledger.errors import InvalidBundle
from ledger.membership import genesis_hash
from ledger.mirror import Mirror
from ledger.offline import Shown
from ledger.testing import Consortium, consortium
from ledger.testing.epochs import NextEpoch

NAMES = ("lender", "bureau", "analyst", "regulator")


@dataclass
class Logs:
    """Bundles of three logs of one network, each following the one before."""

    exchange: Consortium
    bundles: list[bytes]
    hashes: list[str]
    earlier: bytes


def exported(exchange: Consortium, mirror: Mirror, *txids: str, everything: bool = False) -> bytes:
    lender = exchange.members["lender"]
    size, state = mirror.final
    return bundle.export(
        mirror.store,
        size,
        txids,
        tree=mirror.tree,
        state=state,
        did=lender.did,
        kid=lender.kid,
        key=lender.tx,  # type: ignore[arg-type]  # an Ed25519 key
        everything=everything,
    )


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logs]:
    folder = tmp_path_factory.mktemp("epoch-bundles")
    with consortium(folder, *NAMES) as made:
        mirror = made.mirrors["lender"]
        made.settle()
        earlier = exported(made, mirror)
        made.act("lender", "asset.withdraw", {"asset": "lender/loans", "reason": "refused, and recorded"})
        made.decide({"action": "params.set", "max_clock_skew_s": 300})
        made.act("bureau", "member.update", {"endpoint": "one:1"})
        made.settle()
        bundles, hashes = [exported(made, mirror, everything=True)], [genesis_hash(made.genesis)]
        made.log.close()
        for number in (2, 3):
            begun = NextEpoch(made, folder, NAMES[:3], number=number)
            raw = begun.entry("bureau", lifetime_s=86_400, endpoint=f"epoch{number}:1")
            assert begun.log.submit(raw).code is None
            begun.settle()
            txid = Entry.parse(raw).txid
            bundles.append(exported(made, begun.mirrors["lender"], txid, everything=True))
            hashes.append(genesis_hash(begun.genesis))
            begun.log.close()
        yield Logs(made, bundles, hashes, earlier)


def altered(logs: Logs, number: int, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """Change files of a bundle and sign the manifest again, as its exporter could."""
    members = dict(unpack(logs.bundles[number]))
    manifest = canonical.decode(members.pop("manifest.json"))
    assert isinstance(manifest, dict)
    members.pop("manifest.sig")
    change(members)
    lender = logs.exchange.members["lender"]
    size: Any = manifest["size"]
    return pack(
        sign_manifest(
            members,
            str(manifest["genesis"]),
            size,
            did=lender.did,
            kid=lender.kid,
            key=lender.tx,  # type: ignore[arg-type]  # an Ed25519 key
        )
    )


def test_a_later_epoch_verifies_for_who_pins_its_first_entry(logs: Logs) -> None:
    for number in (1, 2):
        report = bundle.verify(logs.bundles[number], logs.hashes[number], replayed=True)
        assert (report.pinned, report.epoch, report.follows) == (True, number + 1, None)
        assert report.members == tuple(sorted(NAMES))
    assert bundle.verify(logs.bundles[0], logs.hashes[0]).epoch == 1


def test_the_first_genesis_alone_is_not_enough(logs: Logs) -> None:
    with pytest.raises(InvalidBundle, match="of a later epoch") as caught:
        bundle.verify(logs.bundles[1], logs.hashes[0])
    assert caught.value.member == "entries/0.json"


def test_bundles_of_the_logs_before_lead_back_to_the_genesis(logs: Logs) -> None:
    first, second, third = logs.bundles
    report = bundle.verify(second, logs.hashes[0], previous=[first])
    assert (report.genesis, report.follows, report.pinned) == (logs.hashes[1], logs.hashes[0], True)
    report = bundle.verify(third, logs.hashes[0], previous=[second, first])
    assert (report.epoch, report.follows) == (3, logs.hashes[0])
    assert bundle.verify(third, logs.hashes[1], previous=[second]).follows == logs.hashes[1]
    assert not bundle.verify(second, previous=[first]).pinned


def test_other_logs_before_are_refused(logs: Logs) -> None:
    first, second, third = logs.bundles
    cases: list[tuple[bytes, str, list[bytes], str, str]] = [
        (third, logs.hashes[0], [first], "entries/0.json", "it follows the log of genesis"),
        (third, logs.hashes[0], [first, second], "previous/entries/0.json", "began with a genesis"),
        (third, logs.hashes[0], [second], "previous/entries/0.json", "of a later epoch"),
        (first, logs.hashes[0], [first], "entries/0.json", "began with a genesis"),
        (second, "0" * 64, [first], "previous/entries/0.json", "expected the genesis 0000"),
        (
            second,
            logs.hashes[0],
            [logs.earlier],
            "entries/0.json",
            "expected a bundle of the log before with",
        ),
    ]
    for data, genesis, previous, member, reason in cases:
        with pytest.raises(InvalidBundle, match=reason) as caught:
            bundle.verify(data, genesis, previous=previous)
        assert caught.value.member == member


def test_an_epoch_that_drops_final_entries_is_shown(tmp_path: Path) -> None:
    """A quorum that begins an epoch below what a quorum cosigned is convicted by a bundle of the old log."""
    with consortium(tmp_path, *NAMES) as made:
        made.settle()
        early = last_final(made.hub_store)
        made.act("lender", "member.update", {"endpoint": "dropped:1"})
        made.settle()
        late = exported(made, made.mirrors["lender"])
        made.log.close()
        begun = NextEpoch(made, tmp_path, NAMES[:3], final=early)
        data = exported(made, begun.mirrors["lender"])
        begun.log.close()
        with pytest.raises(InvalidBundle, match=r"a quorum cosigned .* the epoch begins at"):
            bundle.verify(data, genesis_hash(made.genesis), previous=[late])


def _tables(members: dict[str, bytes]) -> Any:
    return canonical.decode(members[EPOCH_TABLES])


def _without(members: dict[str, bytes]) -> None:
    del members[EPOCH_TABLES]


def _forged_row(members: dict[str, bytes]) -> None:
    value = _tables(members)
    name, pairs = value[0][1]
    assert name == "members"
    pairs[0][1]["role"] = "regulator"
    members[EPOCH_TABLES] = canonical.encode(value)


def _dropped_row(members: dict[str, bytes]) -> None:
    value = _tables(members)
    value[0][1][1].pop()
    members[EPOCH_TABLES] = canonical.encode(value)


def _other_root(members: dict[str, bytes]) -> None:
    value = _tables(members)
    value[1]["assets"] = "0" * 64
    members[EPOCH_TABLES] = canonical.encode(value)


def _governed_root(members: dict[str, bytes]) -> None:
    value = _tables(members)
    value[1]["members"] = "0" * 64
    members[EPOCH_TABLES] = canonical.encode(value)


def _other_form(members: dict[str, bytes]) -> None:
    members[EPOCH_TABLES] = b"{}"


def _short_root(members: dict[str, bytes]) -> None:
    value = _tables(members)
    value[1]["assets"] = "00"
    members[EPOCH_TABLES] = canonical.encode(value)


@pytest.mark.parametrize(
    ("change", "member", "reason"),
    [
        (_without, EPOCH_TABLES, "expected this file"),
        (_forged_row, "entries/0.json", "refused"),
        (_dropped_row, "entries/0.json", "refused"),
        (_other_root, "entries/0.json", "refused"),
        (_governed_root, EPOCH_TABLES, "expected the governed tables"),
        (_other_form, EPOCH_TABLES, "expected the rows"),
        (_short_root, EPOCH_TABLES, "32 bytes"),
    ],
)
def test_what_a_log_began_with_cannot_be_forged(
    logs: Logs, change: Callable[[dict[str, bytes]], None], member: str, reason: str
) -> None:
    with pytest.raises(InvalidBundle, match=reason) as caught:
        bundle.verify(altered(logs, 1, change), logs.hashes[1])
    assert caught.value.member == member


def test_a_forged_carried_state_is_not_replayed(logs: Logs) -> None:
    def forge(members: dict[str, bytes]) -> None:
        members[CARRIED] = members[CARRIED].replace(b'"lender"', b'"lander"')

    def drop(members: dict[str, bytes]) -> None:
        del members[CARRIED]

    for change in (forge, drop):
        data = altered(logs, 1, change)
        assert bundle.verify(data, logs.hashes[1]).epoch == 2
        with pytest.raises(InvalidBundle) as caught:
            bundle.verify(data, logs.hashes[1], replayed=True)
        assert caught.value.member == CARRIED


def test_a_first_log_shows_no_carried_tables(logs: Logs) -> None:
    def add(members: dict[str, bytes]) -> None:
        members[EPOCH_TABLES] = b"[[],{}]"

    with pytest.raises(InvalidBundle, match="begins with a genesis") as caught:
        bundle.verify(altered(logs, 0, add), logs.hashes[0])
    assert caught.value.member == EPOCH_TABLES


def test_a_bundle_of_a_later_epoch_can_be_searched_offline(logs: Logs) -> None:
    shown = Shown.open(logs.bundles[1], logs.hashes[1])
    (found,) = shown.of_type("member.update")
    assert found.entry.body == {"endpoint": "epoch2:1"}
    assert shown.state.rows("members")[logs.exchange.members["bureau"].did]["endpoint"] == "epoch2:1"
