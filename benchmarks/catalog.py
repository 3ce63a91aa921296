"""The catalog's search: 50 readers at a real node over HTTPS, and the index beside a scan and SQLite's FTS5.

The node runs in a process of its own, with everything it has; only the state that it searches is put in
place, because sequencing 100,000 entries would take minutes. The peers search the same texts in this process.
``--quick`` measures the same on fewer assets.
"""

from __future__ import annotations

import http.client
import json
import sqlite3
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np

from exchange.catalog import CatalogIndex, CatalogQuery
from exchange.catalog.words import words
from exchange.node.ledger_client import LedgerClient
from exchange.testing import ConsortiumInProcess
from exchange.tls import to_pem
from ledger.tables import State, Table

READERS = 50
PAUSE_S = 1.0
"""What a reader thinks about between two searches."""

_SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "zu")
_HAN = "数据信用银行税务贷款个人企业医疗教育水电能源交通农业社会保障统计登记收入支出区域人口年度"
_OWNERS = 40
_WORDS = 6000

Row = dict[str, object]


def rows(quick: bool) -> Iterator[Row]:
    assets = 3_000 if quick else 100_000
    with serving(assets) as reader:
        asked = queries(assets, 400 if quick else 3_000)
        yield from over_http(reader, asked, 2.0 if quick else 20.0)
    yield from in_process(assets, queries(assets, 60 if quick else 300))


# --- what is searched


def vocabulary() -> list[str]:
    rng = np.random.default_rng(1)
    return [
        "".join(_SYLLABLES[i] for i in rng.integers(0, len(_SYLLABLES), 2 + n % 3)) for n in range(_WORDS)
    ]


def made(assets: int) -> Iterator[dict[str, Any]]:
    """Rows as the ledger has them; words by Zipf's law, a third of the titles in Chinese."""
    rng = np.random.default_rng(2)
    known = vocabulary()
    grades = ("public", "internal", "confidential", "secret")
    for number in range(assets):
        drawn = [known[i] for i in np.minimum(rng.zipf(1.3, 20) - 1, _WORDS - 1)]
        han = "".join(_HAN[i] for i in rng.integers(0, len(_HAN), 12))
        purpose = ("dpv:FraudPreventionAndDetection", "dpv:LegalCompliance")[number % 2]
        constraint = [{"leftOperand": "purpose", "operator": "isA", "rightOperand": purpose}]
        yield {
            "asset": f"member{number % _OWNERS}/{drawn[0]}-{number}",
            "version": 1,
            "kind": ("table", "table", "api", "list", "stream")[number % 5],
            "title": f"{han[:6]} {drawn[1]}" if number % 3 == 0 else " ".join(drawn[1:4]),
            "description": " ".join(drawn[4:12]) + han[6:],
            "keywords": list(dict.fromkeys(drawn[12:15])),
            "schema": [
                {
                    "name": f"{drawn[12 + n]}_{n}",
                    "type": "int64",
                    "role": "measure",
                    "sensitivity": grades[(number + n) % 4 if n == 0 else 0],
                    "control": "AFTER_AGGREGATE",
                }
                for n in range(8)
            ],
            "rows": number * 7,
            "root": f"{number:064x}",
            "offer": {"@type": "Offer", "permission": [{"action": "use", "constraint": constraint}]},
            "profile": "ab" * 32,
            "distribution": ["ComputeJob-PSI"],
            "owner": f"did:key:zMember{number % _OWNERS}",
            "status": "published",
            "index": number,
        }


def queries(assets: int, number: int) -> list[dict[str, Any]]:
    """What people ask: one or two words, Chinese, a beginning, filters, sometimes with facets."""
    rng = np.random.default_rng(3)
    known = vocabulary()
    asked: list[dict[str, Any]] = []
    for n in range(number):
        first, second = (known[i] for i in np.minimum(rng.zipf(1.3, 2) - 1, _WORDS - 1))
        at = int(rng.integers(0, len(_HAN) - 1))
        han = _HAN[at] + _HAN[int(rng.integers(0, len(_HAN)))]
        asked.append(
            (
                {"q": first},
                {"q": f"{first} {second}"},
                {"q": han},
                {"q": first[:4], "kind": "api"},
                {"q": second, "owner": f"did:key:zMember{n % _OWNERS}"},
                {"q": first, "facets": "true"},
                {"tag": second, "grade": "confidential", "sort": "newest"},
                {"q": han[0], "purpose": "dpv:CounterMoneyLaundering"},
            )[n % 8]
        )
    return asked


# --- a node with its HTTPS server


class Reader:
    """One reader's connection; keeps it open like a browser."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        context = ssl.create_default_context(cadata=about["certificate"])
        context.check_hostname = False
        self._http = http.client.HTTPSConnection(about["host"], timeout=30, context=context)
        self._headers = {"Authorization": f"Bearer {about['token']}"}

    def close(self) -> None:
        self._http.close()

    def search(self, asked: Mapping[str, Any]) -> tuple[float, int]:
        """Return milliseconds and how many assets were found."""
        started = time.perf_counter()
        self._http.request("GET", f"/v1/catalog?{urlencode(asked)}", headers=self._headers)
        answer = self._http.getresponse()
        body = answer.read()
        taken = (time.perf_counter() - started) * 1000
        assert answer.status == 200, body
        return taken, int(json.loads(body)["parley:total"])


@contextmanager
def serving(assets: int) -> Iterator[Callable[[], Reader]]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", __file__, "serve", folder, str(assets)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
            assert node.stdin is not None
            assert node.stdout is not None
            try:
                about = json.loads(node.stdout.readline())
                yield lambda: Reader(about)
            finally:
                node.stdin.close()
                node.wait(90)


def serve(folder: str, assets: int) -> None:
    """Run a hub and a node, put the state in place, say where it is, end with standard input."""
    with ConsortiumInProcess(Path(folder), names=("lender",)) as running:
        real = running.nodes["lender"].services.ledger.state
        owners = {
            f"did:key:zMember{n}": {
                "did": f"did:key:zMember{n}",
                "name": f"member{n}",
                "title": f"Member {n}",
                "endpoint": f"member{n}.example:7000",
                "status": "active",
                "index": 0,
            }
            for n in range(_OWNERS)
        }
        table = Table.of({str(row["asset"]): row for row in made(assets)})
        state = State({"assets": table, "members": Table.of({**dict(real.rows("members")), **owners})})
        LedgerClient.state = property(lambda _: state)  # type: ignore[method-assign, assignment]
        profile = running.profiles["lender"]
        about = {
            "host": profile.url.removeprefix("https://"),
            "certificate": to_pem(profile.certificate).decode(),
            "token": profile.tokens["analyst"],
        }
        first = Reader(about)
        first.search({"q": ""})  # makes the index
        first.close()
        print(json.dumps(about), flush=True)
        sys.stdin.read()


def over_http(reader: Callable[[], Reader], asked: Sequence[dict[str, Any]], seconds: float) -> Iterator[Row]:
    paced = all_readers(reader, asked, seconds, PAUSE_S)
    yield at_most("search over HTTPS, 50 readers who ask each second, p99", quantile(paced, 0.99), 50.0)
    yield at_most("search over HTTPS, 50 readers who ask each second, median", statistics.median(paced))
    hurried = all_readers(reader, asked, seconds / 4, 0.0)
    rate = len(hurried) / (seconds / 4)
    yield {"metric": "search over HTTPS, 50 readers without a pause", "value": rate, "unit": "per second"}
    yield at_most("search over HTTPS, 50 readers without a pause, p99", quantile(hurried, 0.99))


def all_readers(
    reader: Callable[[], Reader], asked: Sequence[dict[str, Any]], seconds: float, pause_s: float
) -> list[float]:
    """Milliseconds of every search; readers begin spread over one pause."""
    taken: list[float] = []
    ready = threading.Barrier(READERS)

    def read(number: int) -> None:
        mine = reader()
        mine.search(asked[number % len(asked)])  # the handshake is no search
        ready.wait()
        begin = time.perf_counter() + pause_s * number / READERS
        stop, turn = begin + seconds, 0
        while True:
            wait = begin + turn * pause_s - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            if time.perf_counter() >= stop:
                mine.close()
                return
            taken.append(mine.search(asked[(number * 61 + turn) % len(asked)])[0])
            turn += 1

    threads = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


# --- the index and its peers, one reader, no HTTP


def in_process(assets: int, asked: Sequence[dict[str, Any]]) -> Iterator[Row]:
    table = Table.of({str(row["asset"]): row for row in made(assets)})
    index = CatalogIndex()
    built = milliseconds(lambda: index.rebuild(table)) / 1000
    yield {"metric": f"index made from {assets:,} assets", "value": built, "unit": "s"}
    changed = {**next(made(1)), "index": assets, "title": "another title"}
    followed = table.put(changed["asset"], changed)
    yield at_most(
        "a changed asset taken in, and the next search", milliseconds(lambda: follow(index, followed))
    )
    texts = [searchable(row) for row in table.values()]
    plain = [one["q"] for one in asked if set(one) == {"q"}]
    queries_ = [CatalogQuery(words=text) for text in plain]
    ours = [milliseconds(lambda query=query: index.search(query)) for query in queries_]
    scanned = [milliseconds(lambda text=text: scan(texts, text)) for text in plain[:20]]
    yield beside(
        "search, words alone, p99", quantile(ours, 0.99), "scan of all texts", quantile(scanned, 0.99)
    )
    with fts5(texts) as database:
        theirs = [milliseconds(lambda text=text: full_text(database, text)) for text in plain]
        found = [
            (index.search(query).total, full_text(database, text))
            for query, text in zip(queries_, plain, strict=True)
        ]
    assert all(mine == their for mine, their in found)
    yield beside(
        "search, words alone, p99",
        quantile(ours, 0.99),
        "SQLite FTS5, page and count",
        quantile(theirs, 0.99),
    )
    yield beside(
        "search, words alone, median",
        statistics.median(ours),
        "SQLite FTS5, page and count",
        statistics.median(theirs),
    )
    counted = [milliseconds(lambda query=query: index.search(query, facets=True)) for query in queries_]
    yield at_most("search with five facets, p99", quantile(counted, 0.99))


def follow(index: CatalogIndex, table: Table) -> None:
    index.follow(table)
    index.search(CatalogQuery(words="title"))


def searchable(row: Mapping[str, Any]) -> str:
    columns = [column["name"] for column in row["schema"]]
    return "\n".join([row["asset"], row["title"], row["description"], *row["keywords"], *columns])


def scan(texts: Sequence[str], text: str) -> int:
    wanted = text.casefold().split()
    return sum(all(word in one.casefold() for word in wanted) for one in texts)


@contextmanager
def fts5(texts: Sequence[str]) -> Iterator[sqlite3.Connection]:
    """The same words in a bare FTS5 table, Chinese cut into characters and pairs as the index does."""
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite3.connect(Path(folder) / "fts.sqlite")
        try:
            database.execute("CREATE VIRTUAL TABLE texts USING fts5(body, content='', prefix='2 3')")
            lines = ((number, " ".join(words(text))) for number, text in enumerate(texts, 1))
            with database:
                database.executemany("INSERT INTO texts (rowid, body) VALUES (?, ?)", lines)
            yield database
        finally:
            database.close()


def full_text(database: sqlite3.Connection, text: str) -> int:
    from exchange.catalog.words import asked

    whole, beginnings = asked(text)
    match = " ".join([*(f'"{word}"' for word in whole), *(f'"{word}" *' for word in beginnings)])
    page = "SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rowid DESC LIMIT 20"
    database.execute(page, (match,)).fetchall()
    return int(database.execute("SELECT count(*) FROM texts WHERE texts MATCH ?", (match,)).fetchone()[0])


# --- rows


def milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share))


def at_most(metric: str, value: float, target: float | None = None) -> Row:
    met = None if target is None else value <= target
    return {"metric": metric, "value": value, "unit": "ms", "target": target, "met": met}


def beside(metric: str, value: float, peer: str, than: float) -> Row:
    ratio = value / than
    return {"metric": metric, "value": value, "unit": "ms", "peer": peer, "peer_value": than, "ratio": ratio}


if __name__ == "__main__":
    serve(sys.argv[2], int(sys.argv[3]))
