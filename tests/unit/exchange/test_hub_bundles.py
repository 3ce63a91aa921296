"""Handing in many entries at once, over the real interface."""

import threading
import time
from collections.abc import Iterator

import pytest

from exchange.errors import HubUnreachable, InvalidRequest
from exchange.hub.daemon import Hub
from exchange.hub.testing import Founded, found
from exchange.node.hub_client import HubClient
from ledger.errors import MalformedEntry, NotPublished, Refusal
from ledger.log import Placed
from ledger.tiles import decode_entries

NAMES = ("lender", "bureau")


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Founded:
    return found(tmp_path_factory.mktemp("hub"), *NAMES)


@pytest.fixture(scope="module")
def hub(founded: Founded) -> Iterator[Hub]:
    with founded.hub() as running:
        yield running


@pytest.fixture
def client(founded: Founded, hub: Hub) -> Iterator[HubClient]:
    connected = founded.connect(hub, "lender")
    yield connected
    connected.close()


def moved(founded: Founded, name: str, number: int) -> bytes:
    return founded.entry(name, "member.update", {"endpoint": f"h{number}:1"})


def test_each_entry_gets_its_own_answer(founded: Founded, hub: Hub, client: HubClient) -> None:
    good = [moved(founded, NAMES[number % 2], number) for number in range(300)]
    forged = good[0].replace(b'"endpoint":"h0:1"', b'"endpoint":"h9:1"')
    unknown = founded.entry("lender", "asset.burn", {})
    raws = [*good[:150], b"no entry", forged, *good[150:], unknown, good[3]]
    answers = client.submit_many(raws)
    placed = [answer for answer in answers if isinstance(answer, Placed)]
    assert len(placed) == 302
    assert isinstance(answers[150], MalformedEntry)
    assert isinstance(answers[151], Refusal)
    assert answers[151].code == "entry.bad-signature"
    assert isinstance(answers[-2], Placed)
    assert answers[-2].code == "entry.unknown-type"
    assert answers[-1] == answers[3]
    assert [answer.code for answer in placed[:300]] == [None] * 300
    indexes = [answer.index for answer in placed[:300]]
    assert indexes == sorted(indexes)
    for answer, raw in zip(placed[:300], good, strict=True):
        number, at = divmod(answer.index, 256)
        assert decode_entries(hub.services.log.entry_bundle(number, at + 1))[at] == raw
    assert client.submit_many(good[:3]) == answers[:3]


@pytest.mark.parametrize("count", [0, 1001])
def test_a_bundle_has_bounds(founded: Founded, client: HubClient, count: int) -> None:
    with pytest.raises(InvalidRequest, match="1 to 1000"):
        client.submit_many([moved(founded, "lender", 0)] * count)


def test_a_checkpoint_of_one_size(hub: Hub, client: HubClient) -> None:
    size = hub.services.log.size
    assert client.checkpoint_of(size).decode().split("\n")[1] == str(size)
    with pytest.raises(NotPublished):
        client.checkpoint_of(size + 1)


def test_a_connection_is_closed_when_nobody_waits_on_it(founded: Founded, hub: Hub) -> None:
    client = founded.connect(hub, "bureau")
    failed: list[Exception] = []

    def wait() -> None:
        try:
            client.checkpoint(known=(hub.services.log.size, 0), wait_s=1.0)
        except HubUnreachable as error:
            failed.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    while not client._in_flight:
        time.sleep(0.001)
    client.close()
    assert not client._http.is_closed
    with pytest.raises(HubUnreachable, match="is closed"):
        client.hub()
    waiter.join()
    assert client._http.is_closed
    assert len(failed) == 1
