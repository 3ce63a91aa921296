from collections.abc import Iterator

import pytest

from ledger.batches import Batch
from ledger.bundle.exporting import cosigned
from ledger.errors import InvalidBatch, UnverifiedNote
from ledger.membership import genesis_hash
from ledger.recompute import Compared, recompute
from ledger.testing import Consortium, consortium


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    with consortium(tmp_path_factory.mktemp("recompute"), "lender", "bureau", "analyst") as made:
        for number in range(5):
            made.act("lender", "member.update", {"endpoint": f"host{number}:1"})
        made.act("lender", "asset.withdraw", {"asset": "lender/x", "reason": "refused"})
        made.settle()
        yield made


@pytest.fixture
def raws(exchange: Consortium) -> list[bytes]:
    return exchange.hub_store.raws(0, exchange.log.size)


@pytest.fixture
def checkpoint(exchange: Consortium) -> bytes:
    mirror = exchange.mirrors["lender"]
    return cosigned(mirror.store, mirror.final_size).encode()


def test_an_honest_log_leads_to_its_roots(exchange: Consortium, raws: list[bytes], checkpoint: bytes) -> None:
    seen: list[Batch] = []
    pages = [raws[start : start + 3] for start in range(0, len(raws), 3)]
    found = recompute(pages, genesis=genesis_hash(exchange.genesis), on_batch=seen.append)
    assert found.head.size == exchange.log.size == len(raws)
    assert found.head.state.root() == exchange.log.state.root()
    assert [batch.head.height for batch in seen] == list(range(1, found.head.height + 1))
    assert (found.refused, found.genesis) == (1, genesis_hash(exchange.genesis))
    assert found.compare(checkpoint) == Compared(len(raws), 3, True)
    bare = exchange.hub_store.checkpoint(len(raws))
    assert bare is not None
    assert found.compare(bare) == Compared(len(raws), 0, False)


def test_a_checkpoint_of_another_history_is_named(raws: list[bytes], checkpoint: bytes) -> None:
    shorter = recompute([raws[:-2]])
    with pytest.raises(InvalidBatch, match=f"checkpoint: expected {len(raws)} entries"):
        shorter.compare(checkpoint)
    with pytest.raises(UnverifiedNote):
        recompute([raws]).compare(checkpoint.replace(f"\n{len(raws)}\n".encode(), b"\n7\n", 1))


def test_the_first_difference_is_named(raws: list[bytes]) -> None:
    for pages, index, what in (
        ([], 0, "batch"),
        ([raws[:5]], 5, "batch"),
        ([raws[:4], [raws[4][:-1]], raws[5:]], 4, "entry"),
        ([[*raws[:4], *raws[6:]]], 5, "seal height"),
        ([[*raws[:4], raws[2], *raws[5:]]], 4, "txid"),
        ([[raws[2], *raws[1:]]], 0, "batch"),
    ):
        with pytest.raises(InvalidBatch) as caught:
            recompute(pages)
        assert (caught.value.index, what) == (index, caught.value.what), caught.value


def test_another_genesis_is_named_first(raws: list[bytes]) -> None:
    with pytest.raises(InvalidBatch, match="entry 0: genesis"):
        recompute([raws], genesis="00" * 32)
