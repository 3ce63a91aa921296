"""Tables behind a JSON API over HTTP: pages of records, read one after the other.

The columns are declared, not guessed, and every page is checked against them. One page is in memory at a
time. An API has no projection or filter that all of them share, so both are done here, page by page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

import pyarrow as pa

from connectors.api_client import ApiClient, Clock, Page
from connectors.api_hosts import Hosts, parse_api_url
from connectors.api_options import ApiOptions, pointed
from connectors.api_records import decode, record_batch, records_of
from connectors.arrow_filters import to_arrow
from connectors.connector import BATCH_ROWS, rebatch, require_columns
from connectors.errors import InvalidValues, LimitExceeded
from connectors.filters import Filter, check

__all__ = ["ApiConnector"]


class ApiConnector:
    """One table behind an API."""

    def __init__(self, location: str, options: ApiOptions, hosts: Hosts, clock: Clock | None = None) -> None:
        """Check the description; no request is made before rows are read.

        Args:
            location: the address of the first page.
            options: how it is read.
            hosts: what the operator allows.
            clock: where time comes from.

        Raises:
            InvalidSource: the location is not the address of an API.
            HostNotAllowed: the operator does not allow this host.
        """
        self._url = hosts.check(parse_api_url(location))
        self._options, self._hosts, self._clock = options, hosts, clock or Clock()
        self._schema = options.schema

    def __repr__(self) -> str:
        return f"ApiConnector({self._url.display!r})"

    def schema(self) -> pa.Schema:
        """The declared columns."""
        return self._schema

    def batches(
        self, columns: Sequence[str], *, where: Filter | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Read some columns of every record, or of those a filter keeps, in the API's order."""
        chosen = require_columns(columns, self._schema)
        kept = None if where is None else to_arrow(check(where, self._schema), self._schema)
        found = (batch if kept is None else batch.filter(kept) for batch in self._pages())
        return rebatch((batch.select(list(chosen)) for batch in found), batch_rows)

    def close(self) -> None:
        """Nothing to do: each read opens its connections and closes them."""

    def _pages(self) -> Iterator[pa.RecordBatch]:
        options, number, read = self._options, 0, 0
        target: str | None = self._first()
        seen: set[str] = set()
        with closing(ApiClient(self._url, options, self._hosts, self._clock)) as client:
            while target is not None:
                number += 1
                place = f"{self._url.display}, page {number}"
                if number > options.limits.pages:
                    raise LimitExceeded(self._url.display, f"at most {options.limits.pages} pages")
                if target in seen:
                    raise InvalidValues(place, "a page that was not read before", "one that was")
                seen.add(target)
                page = client.get(target)
                document = decode(page.body, place)
                records = records_of(document, options.records, place)
                yield record_batch(records, options.columns, place)
                read += len(records)
                target = self._next(client, page, document, _Progress(target, number, read, len(records)))

    def _first(self) -> str:
        paging = self._options.paging
        target = self._url.target
        if paging.style == "page":
            target = _with(target, paging.parameter, str(paging.first))
        elif paging.style == "offset":
            target = _with(target, paging.parameter, "0")
        if paging.size_parameter:
            target = _with(target, paging.size_parameter, str(paging.size))
        return target

    def _next(self, client: ApiClient, page: Page, document: object, so_far: _Progress) -> str | None:
        """The target of the page after this one; None after the last."""
        paging = self._options.paging
        match paging.style:
            case "link":
                return None if page.link is None else client.follow(page.link, so_far.target)
            case "cursor":
                cursor = pointed(document, paging.next)
                if cursor is None or cursor == "":
                    return None
                if isinstance(cursor, bool) or not isinstance(cursor, str | int):
                    place = f"{self._url.display}, page {so_far.number}, {paging.next}"
                    raise InvalidValues(place, "a text or an integer", "another value")
                return _with(so_far.target, paging.parameter, str(cursor))
            case "page" | "offset" if so_far.last_records:
                after = paging.first + so_far.number if paging.style == "page" else so_far.records
                return _with(so_far.target, paging.parameter, str(after))
            case _:
                return None


@dataclass(frozen=True)
class _Progress:
    """The page just read: its target and number, the records of all pages and of this one."""

    target: str
    number: int
    records: int
    last_records: int


def _with(target: str, name: str, value: str) -> str:
    """Set one parameter of a target's query."""
    path, _, query = target.partition("?")
    given = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] != name]
    return f"{path}?{urlencode([*given, (name, value)])}"
