"""Databases of a real hub and member with flipped bits or a cut-off end: named, refused, never believed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from ledger.errors import LedgerError, StoreCorrupt, StoreUnavailable
from ledger.fsck import check
from ledger.log import Log
from ledger.mirror import Mirror
from ledger.search import Query, Search
from ledger.store import LedgerStore, open_engine
from ledger.testing import Consortium, InMemorySource, consortium
from ledger.tiles import decode_entries

pytestmark = pytest.mark.slow

REGIONS = (0, 3, 8, 40, 0.25, 0.6, -1)
"""Places in a page: its header, its first pointers, its middle, its content, its end."""


@dataclass(frozen=True)
class Sound:
    """What both databases hold, and copies of their files."""

    exchange: Consortium
    raws: list[bytes]
    root: bytes
    state: bytes
    files: dict[str, Path]
    page: int


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sound]:
    folder = tmp_path_factory.mktemp("sound")
    with consortium(folder, "lender", "bureau") as exchange:
        for number in range(6):
            exchange.act("lender", "member.update", {"endpoint": f"host{number}:1"})
        exchange.act("lender", "asset.withdraw", {"asset": "lender/x", "reason": "refused"})
        exchange.settle()
        lender = exchange.mirrors["lender"]
        Search(lender.store).page(Query(), below=lender.size)
        files = {}
        for name, store in (("hub", exchange.hub_store), ("member", lender.store)):
            files[name] = folder / f"{name}-copy.sqlite"
            with store.engine.connect() as connection:
                page = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
                connection.exec_driver_sql(f"VACUUM INTO '{files[name]}'")
        raws = decode_entries(exchange.log.entry_bundle(0, exchange.log.size))
        yield Sound(exchange, raws, lender.tree.root(), lender.state.root(), files, page)


class Outcome:
    """What start-up and fsck say of a file. Anything but an error of the ledger's own fails the test."""

    def __init__(self, sound: Sound, kind: str, path: Path) -> None:
        self.started, self.problems = False, ["not read"]
        with ExitStack() as stack:
            engine = open_engine(f"sqlite:///{path}")
            stack.callback(engine.dispose)
            store = LedgerStore(engine)
            with suppress(LedgerError):
                self.raws, self.state = self._start(sound, kind, store, stack)
                self.started = True
            with suppress(StoreCorrupt, StoreUnavailable):
                self.problems = [str(problem) for problem in check(store, sound.exchange.genesis)]

    def _start(
        self, sound: Sound, kind: str, store: LedgerStore, stack: ExitStack
    ) -> tuple[list[bytes], bytes]:
        exchange = sound.exchange
        if kind == "hub":
            keys = (exchange.hub.cosign, exchange.hub.tx)
            log = stack.enter_context(Log.open(store, *keys, clock=exchange.clock, linger_s=0.0))
            return decode_entries(log.entry_bundle(0, log.size)), log.state.root()
        mirror: Mirror = exchange.new_mirror("lender", store=store, source=InMemorySource(exchange.log))
        return store.raws(0, mirror.size), mirror.state.root()

    def assert_honest(self, sound: Sound) -> None:
        """Whatever was started on shows what was signed; what fsck calls sound is so too."""
        if self.started:
            assert self.raws == sound.raws
            assert self.state == sound.state


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("kind", ["hub", "member"])
def test_no_flipped_bit_is_believed(sound: Sound, tmp_path: Path, kind: str, region: float) -> None:
    content = sound.files[kind].read_bytes()
    found = 0
    for number in range(len(content) // sound.page):
        place = int(region * sound.page) if isinstance(region, float) else region % sound.page
        position = number * sound.page + place
        path = tmp_path / f"{number}.sqlite"
        path.write_bytes(content)
        with path.open("r+b") as file:
            file.seek(position)
            file.write(bytes([content[position] ^ 1 << number % 8]))
        outcome = Outcome(sound, kind, path)
        outcome.assert_honest(sound)
        found += bool(outcome.problems)
        path.unlink()
    assert found or region not in (0, 3)


@pytest.mark.parametrize("kind", ["hub", "member"])
def test_no_cut_off_end_is_believed(sound: Sound, tmp_path: Path, kind: str) -> None:
    content = sound.files[kind].read_bytes()
    for pages in range(len(content) // sound.page):
        for beyond in (0, 1, sound.page - 1):
            path = tmp_path / f"{pages}-{beyond}.sqlite"
            path.write_bytes(content[: pages * sound.page + beyond])
            outcome = Outcome(sound, kind, path)
            assert not outcome.started or outcome.raws == sound.raws
            assert outcome.problems or outcome.started
            path.unlink()


@pytest.mark.parametrize("kind", ["hub", "member"])
def test_a_sound_copy_is_sound(sound: Sound, tmp_path: Path, kind: str) -> None:
    path = Path(shutil.copy(sound.files[kind], tmp_path / "copy.sqlite"))
    outcome = Outcome(sound, kind, path)
    assert (outcome.started, outcome.problems) == (True, [])
    outcome.assert_honest(sound)
