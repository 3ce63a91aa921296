"""The catalog's search index: an inverted index over the published assets of one state of the ledger.

It is derived from the state and holds nothing else, so it is never repaired: ``follow`` takes in what differs
between the state it has and the one it is given, at the cost of what differs, and ``rebuild`` starts over. A
changed asset gets a new number and its old one dies, so numbers stand in the order of the ledger and every
list of numbers is sorted. Searches run on arrays of numbers; docs/decisions/0018-catalog-index.md says why.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from exchange.catalog.offers import price, stated_purposes
from exchange.catalog.words import asked, words
from ledger.tables import State, Table, changes
from policies import purposes
from policies.approvals import Sensitivity

__all__ = ["FACETS", "CatalogIndex", "CatalogQuery", "Found", "Sort"]

Sort = Literal["relevance", "newest", "asset", "price", "rows"]
Numbers = NDArray[np.int32]
Keys = NDArray[np.int64]

FACETS: Final = ("kind", "owner", "grade", "tag", "purpose")
_GRADES: Final = tuple(Sensitivity)
_FACET_VALUES: Final = 20
_HEADING: Final = "\x01"
"""Begins the words of id, title and tags, which count more than those of descriptions and columns."""
_DENSE: Final = 4096
"""From so many numbers on it is faster to mark the others than to look each number up."""
_MOST_DEAD: Final = 2
_MOST_KEPT: Final = 512
"""Lists of numbers that searches share; whoever searches chooses the words, so there must be an end."""
_LAST: Final = "\U0010ffff"


@dataclass(frozen=True, kw_only=True)
class CatalogQuery:
    """What to look for; all of it must hold.

    Attributes:
        words: each must occur in id, title, description, tags, columns or column descriptions; a word of
            letters is found by its beginning.
        tags: each must be one of the asset's.
        columns: each must be the name of one of its columns.
        purpose: it is offered for this purpose or a broader one.
        owners: DIDs, one of which owns it; empty for any.
        kind: of asset.
        grade: the highest sensitivity of its columns.
        max_price: points for one use, at most.
        min_rows: rows, at least.
    """

    words: str = ""
    tags: Sequence[str] = ()
    columns: Sequence[str] = ()
    purpose: str | None = None
    owners: Sequence[str] = ()
    kind: str | None = None
    grade: str | None = None
    max_price: int | None = None
    min_rows: int | None = None


@dataclass(frozen=True)
class Found:
    """One page of what was found.

    Attributes:
        total: assets found in all.
        assets: ids of this page.
        facets: for each facet the most frequent values and in how many of all found assets they occur.
    """

    total: int
    assets: tuple[str, ...]
    facets: Mapping[str, tuple[tuple[str, int], ...]]


class _Labels:
    """A facet: values of assets, several per asset, as pairs of number and code."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._codes: dict[str, int] = {}
        self._pairs = (array("i"), array("i"))

    def add(self, number: int, values: Sequence[str]) -> None:
        for value in values:
            code = self._codes.setdefault(value, len(self.names))
            if code == len(self.names):
                self.names.append(value)
            self._pairs[0].append(number)
            self._pairs[1].append(code)

    def arrays(self) -> tuple[Numbers, Numbers]:
        return _copied(self._pairs[0]), _copied(self._pairs[1])


class _Frozen:
    """The numeric columns of one moment; searches share it until the next change."""

    def __init__(self, of: CatalogIndex) -> None:
        self.assets = list(of._assets)
        self.live = np.frombuffer(bytes(of._live), dtype=np.bool_)
        self.prices = np.array(of._prices, dtype=np.int64)
        self.rows = np.array(of._rows, dtype=np.int64)
        self.facets = {name: (*labels.arrays(), list(labels.names)) for name, labels in of._labels.items()}
        self.postings: dict[str, Numbers] = {}
        self._ranks: Keys | None = None

    def keep(self, term: str, numbers: Numbers) -> Numbers:
        """Let the next searches for a term have its numbers."""
        if len(self.postings) >= _MOST_KEPT:
            self.postings.clear()
        self.postings[term] = numbers
        return numbers

    @property
    def ranks(self) -> Keys:
        """The place of each number in the order of ids."""
        if self._ranks is None:
            order = sorted(range(len(self.assets)), key=self.assets.__getitem__)
            ranks = np.empty(len(order), dtype=np.int64)
            ranks[np.asarray(order, dtype=np.int64)] = np.arange(len(order))
            self._ranks = ranks
        return self._ranks


class CatalogIndex:
    """Follows the assets of a state and is searched. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frozen: _Frozen | None = None
        self._clear()

    def follow(self, assets: Table) -> None:
        """Take in what has changed since the table that was followed last; an older table changes nothing."""
        if assets is self._seen:
            return
        with self._lock:
            if assets is self._seen:
                return
            old, new = State({"assets": self._seen}), State({"assets": assets})
            changed = sorted((row for _, _, row in changes(old, new)), key=lambda row: int(row["index"]))
            if len(self._number_of) + len(changed) > _MOST_DEAD * max(len(assets), 1024):
                self._clear()
                changed = sorted(assets.values(), key=lambda row: int(row["index"]))
            for row in changed:
                self._take(row)
            self._finish(assets)

    def has(self, assets: Table) -> bool:
        """Whether this table was followed last."""
        return assets is self._seen

    def rebuild(self, assets: Table) -> int:
        """Forget everything and index this table; returns how many published assets it has."""
        with self._lock:
            self._clear()
            for row in sorted(assets.values(), key=lambda row: int(row["index"])):
                self._take(row)
            self._finish(assets)
            return sum(self._live)

    def search(
        self,
        query: CatalogQuery,
        *,
        sort: Sort = "relevance",
        offset: int = 0,
        limit: int = 20,
        facets: bool = False,
    ) -> Found:
        """Find published assets.

        Args:
            query: what must hold.
            sort: ``relevance`` puts those first that have more of the words in id, title or tags, then the
                newest; ``newest`` by place on the ledger; ``asset`` by id; ``price`` and ``rows`` cheapest
                and largest first.
            offset: how many to skip.
            limit: how many to return.
            facets: count values too.
        """
        with self._lock:
            if self._frozen is None:
                self._frozen = _Frozen(self)
            frozen = self._frozen
            hits, scores = self._matching(frozen, query)
        keep = frozen.live[hits]
        if query.max_price is not None:
            keep &= frozen.prices[hits] <= query.max_price
        if query.min_rows is not None:
            keep &= frozen.rows[hits] >= query.min_rows
        hits, scores = hits[keep], scores[keep]
        chosen = hits[_page(frozen, sort, hits, scores, offset + limit)[offset:]]
        return Found(
            len(hits),
            tuple(frozen.assets[number] for number in chosen),
            _counted(frozen, hits) if facets else {},
        )

    def _matching(self, frozen: _Frozen, query: CatalogQuery) -> tuple[Numbers, Keys]:
        """The numbers with all words and labels, ascending, and how many of the words stand in a heading."""
        whole, beginnings = asked(query.words)
        labels = [("tag", tag) for tag in query.tags] + [("column", column) for column in query.columns]
        labels += [("kind", query.kind)] if query.kind is not None else []
        labels += [("grade", query.grade)] if query.grade is not None else []
        wanted = [self._numbers(frozen, word) for word in whole]
        wanted += [self._beginning(frozen, word) for word in beginnings]
        wanted += [self._numbers(frozen, _label(name, value)) for name, value in labels]
        if query.owners:
            wanted.append(self._any(frozen, [_label("owner", owner) for owner in query.owners]))
        if query.purpose is not None:
            broader = purposes.broader(query.purpose)
            wanted.append(self._any(frozen, [_label("purpose", purpose) for purpose in broader]))
        hits = _in_all(wanted) if wanted else np.arange(len(frozen.assets), dtype=np.int32)
        scores = np.zeros(len(hits), dtype=np.int64)
        for word in whole:
            scores += _is_in(hits, self._numbers(frozen, _HEADING + word))
        for word in beginnings:
            scores += _is_in(hits, self._beginning(frozen, _HEADING + word))
        return hits, scores

    def _numbers(self, frozen: _Frozen, term: str) -> Numbers:
        found = frozen.postings.get(term)
        if found is None:
            found = frozen.keep(term, _copied(self._postings.get(term, array("i"))))
        return found

    def _any(self, frozen: _Frozen, terms: Sequence[str]) -> Numbers:
        if len(terms) == 1:
            return self._numbers(frozen, terms[0])
        parts = [self._numbers(frozen, term) for term in terms]
        mask = np.zeros(len(frozen.assets), dtype=np.bool_)
        for part in parts:
            mask[part] = True
        return np.flatnonzero(mask).astype(np.int32)

    def _beginning(self, frozen: _Frozen, word: str) -> Numbers:
        key = word + "*"  # no term ends so
        found = frozen.postings.get(key)
        if found is None:
            first, last = bisect_left(self._vocabulary, word), bisect_left(self._vocabulary, word + _LAST)
            found = frozen.keep(key, self._any(frozen, self._vocabulary[first:last]))
        return found

    def _clear(self) -> None:
        self._seen = Table()
        self._frozen = None
        self._assets: list[str] = []
        self._live: bytearray = bytearray()
        self._prices: array[int] = array("q")
        self._rows: array[int] = array("q")
        self._labels: dict[str, _Labels] = {name: _Labels() for name in FACETS}
        self._number_of: dict[str, int] = {}
        self._taken: dict[str, int] = {}
        self._postings: dict[str, array[int]] = {}
        self._vocabulary: list[str] = []
        self._new_terms: list[str] = []

    def _take(self, row: Mapping[str, Any]) -> None:
        asset = str(row["asset"])
        if int(row["index"]) <= self._taken.get(asset, -1):
            return  # of a state before the one that was followed last
        self._taken[asset] = int(row["index"])
        before = self._number_of.pop(asset, None)
        if before is not None:
            self._live[before] = False
        if row["status"] != "published":
            return
        number = self._number_of[asset] = len(self._assets)
        self._assets.append(asset)
        self._live.append(True)
        self._prices.append(price(row["offer"]))
        self._rows.append(int(row["rows"]))
        labels = _labels_of(row)
        for facet in FACETS:
            self._labels[facet].add(number, labels[facet])
        heading = words("\n".join([asset, row["title"], *row["keywords"]]))
        columns = [
            text for column in row["schema"] for text in (column["name"], column.get("description", ""))
        ]
        terms = heading | words("\n".join([row["description"], *columns]))
        terms.update(_HEADING + word for word in heading)
        terms.update(_label(name, value) for name, values in labels.items() for value in values)
        for term in terms:
            postings = self._postings.get(term)
            if postings is None:
                postings = self._postings[term] = array("i")
                self._new_terms.append(term)
            postings.append(number)

    def _finish(self, assets: Table) -> None:
        if len(self._new_terms) > 1000:
            self._vocabulary = sorted(self._postings)
        else:
            for term in self._new_terms:
                insort(self._vocabulary, term)
        self._new_terms = []
        self._frozen, self._seen = None, assets


def _labels_of(row: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    grades = {str(column["sensitivity"]) for column in row["schema"]}
    known = [grade.value for grade in _GRADES if grade in grades]
    return {
        "kind": (str(row["kind"]),),
        "owner": (str(row["owner"]),),
        "grade": (known[-1] if known else "",),
        "tag": tuple(dict.fromkeys(str(word) for word in row["keywords"])),
        "purpose": stated_purposes(row["offer"]),
        "column": tuple(dict.fromkeys(str(column["name"]) for column in row["schema"])),
    }


def _label(name: str, value: str) -> str:
    return f"\x02{name}\x02{value.casefold()}"


def _copied(numbers: array[int]) -> Numbers:
    return np.array(numbers, dtype=np.int32)


def _is_in(numbers: Numbers, among: Numbers) -> NDArray[np.bool_]:
    """Whether each of some sorted numbers is among others, sorted too."""
    if not len(among) or not len(numbers):
        return np.zeros(len(numbers), dtype=np.bool_)
    if len(numbers) > _DENSE:
        mask = np.zeros(int(max(numbers[-1], among[-1])) + 1, dtype=np.bool_)
        mask[among] = True
        return mask[numbers]
    places = np.searchsorted(among, numbers)
    places[places == len(among)] = 0
    return np.asarray(among[places] == numbers, dtype=np.bool_)


def _in_all(lists: Sequence[Numbers]) -> Numbers:
    shortest, *others = sorted(lists, key=len)
    for other in others:
        shortest = shortest[_is_in(shortest, other)]
    return shortest


def _page(frozen: _Frozen, sort: Sort, hits: Numbers, scores: Keys, stop: int) -> Keys:
    """The places in ``hits`` of the first ``stop`` in the order asked for."""
    newest = len(frozen.assets) - 1 - hits.astype(np.int64)
    width = max(len(frozen.assets), 1)
    match sort:
        case "newest":
            key = newest
        case "asset":
            key = frozen.ranks[hits]
        case "price":
            key = np.minimum(frozen.prices[hits], 1 << 40) * width + newest
        case "rows":
            key = -np.minimum(frozen.rows[hits], 1 << 40) * width + newest
        case _:
            key = -scores * width + newest
    if stop < len(hits):
        first = np.argpartition(key, stop)[:stop]
        return np.asarray(first[np.argsort(key[first])], dtype=np.int64)
    return np.asarray(np.argsort(key), dtype=np.int64)


def _counted(frozen: _Frozen, hits: Numbers) -> dict[str, tuple[tuple[str, int], ...]]:
    chosen = np.zeros(len(frozen.assets), dtype=np.bool_)
    chosen[hits] = True
    counted: dict[str, tuple[tuple[str, int], ...]] = {}
    for facet, (numbers, codes, names) in frozen.facets.items():
        counts = np.bincount(codes[chosen[numbers]], minlength=len(names)) if names else np.zeros(0, np.int64)
        order = sorted(np.flatnonzero(counts), key=lambda code: (-int(counts[code]), names[code]))
        counted[facet] = tuple((names[code], int(counts[code])) for code in order[:_FACET_VALUES])
    return counted
