"""JSON APIs: pages, credentials, patience, limits, and what is said of a page that does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pyarrow as pa
import pytest

from connectors import (
    Connector,
    InvalidSource,
    InvalidValues,
    LimitExceeded,
    SourceSpec,
    SourceUnreachable,
    open_source,
)
from connectors.api import ApiConnector
from connectors.api_client import Clock
from connectors.api_hosts import Hosts
from connectors.api_options import ApiOptions
from connectors.filters import Compare
from connectors.testing_api import Answer, Asked, JsonApi

COLUMNS = [{"name": "person", "type": "text"}, {"name": "amount", "type": "integer"}]
ROWS = [{"person": f"p{n}", "amount": n} for n in range(7)]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class FakeTime:
    """A clock that only moves when somebody sleeps."""

    passed: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, wait_s: float) -> None:
        self.slept.append(wait_s)
        self.passed += wait_s

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.passed, self.sleep, lambda: NOW + timedelta(seconds=self.passed))


@contextmanager
def serving(
    answer: Callable[[Asked], Answer], options: Mapping[str, object], path: str = "/rows"
) -> Iterator[tuple[Connector, JsonApi, FakeTime]]:
    with JsonApi(answer, tls=False) as api:
        time, described = FakeTime(), ApiOptions.parse({"columns": COLUMNS, **options})
        yield ApiConnector(api.url + path, described, Hosts([api.place]), time.clock), api, time


def read(connector: Connector, **more: Any) -> list[dict[str, object]]:
    names = connector.schema().names
    return [row for batch in connector.batches(names, **more) for row in batch.to_pylist()]


def sliced(asked: Asked, start: int, size: int) -> list[dict[str, object]]:
    return ROWS[start : start + size]


class TestPaging:
    def test_one_page(self) -> None:
        with serving(lambda _: Answer(ROWS), {}) as (connector, api, _):
            assert read(connector) == ROWS
            assert len(api.asked) == 1

    def test_by_link_header(self) -> None:
        def answer(asked: Asked) -> Answer:
            start = int(asked.query.get("from", "0"))
            more = (
                {"Link": f'</rows?from={start + 3}>; rel="next", </rows>; rel="first"'}
                if start + 3 < 7
                else {}
            )
            return Answer({"data": {"items": sliced(asked, start, 3)}}, headers=more)

        options = {"records": "/data/items", "paging": {"style": "link"}}
        with serving(answer, options) as (connector, api, _):
            assert read(connector) == ROWS
            assert [asked.query.get("from") for asked in api.asked] == [None, "3", "6"]

    @pytest.mark.parametrize("last", [{}, {"next": None}, {"next": ""}])
    def test_by_cursor(self, last: dict[str, object]) -> None:
        def answer(asked: Asked) -> Answer:
            start = int(asked.query.get("after", "0"))
            return Answer({"rows": sliced(asked, start, 4), **({"next": start + 4} if start == 0 else last)})

        options = {"records": "/rows", "paging": {"style": "cursor", "parameter": "after", "next": "/next"}}
        with serving(answer, options, "/rows?key=a%20b&after=0") as (connector, api, _):
            assert read(connector) == ROWS
            assert [dict(asked.query) for asked in api.asked] == [
                {"key": "a b", "after": "0"},
                {"key": "a b", "after": "4"},
            ]

    @pytest.mark.parametrize("first", [0, 1])
    def test_by_page_number(self, first: int) -> None:
        def answer(asked: Asked) -> Answer:
            return Answer(sliced(asked, (int(asked.query["page"]) - first) * 3, 3))

        with serving(answer, {"paging": {"style": "page", "parameter": "page", "first": first}}) as found:
            assert read(found[0]) == ROWS
            assert [asked.query["page"] for asked in found[1].asked] == [str(first + n) for n in range(4)]

    def test_by_offset_with_a_server_that_makes_smaller_pages_than_asked(self) -> None:
        def answer(asked: Asked) -> Answer:
            assert asked.query["limit"] == "5"
            return Answer(sliced(asked, int(asked.query["offset"]), 2))

        paging = {"style": "offset", "parameter": "offset", "size": 5, "size_parameter": "limit"}
        with serving(answer, {"paging": paging}) as (connector, api, _):
            assert read(connector) == ROWS
            assert [asked.query["offset"] for asked in api.asked] == ["0", "2", "4", "6", "7"]

    def test_pages_that_go_in_a_circle_end(self) -> None:
        options = {"records": "/r", "paging": {"style": "cursor", "parameter": "c", "next": "/n"}}
        with (
            serving(lambda _: Answer({"r": ROWS, "n": "same"}), options) as (connector, _, _),
            pytest.raises(InvalidValues, match="page 3: expected a page that was not read before"),
        ):
            read(connector)

    def test_projection_and_filter_work_page_by_page(self) -> None:
        def answer(asked: Asked) -> Answer:
            return Answer(sliced(asked, int(asked.query["page"]) * 2, 2))

        options = {"paging": {"style": "page", "parameter": "page", "first": 0}}
        with serving(answer, options) as (connector, _, _):
            batches = list(connector.batches(["amount"], where=Compare("amount", ">", 2), batch_rows=1))
            assert [batch.to_pydict() for batch in batches] == [{"amount": [n]} for n in (3, 4, 5, 6)]


class TestCredentials:
    @pytest.mark.parametrize(
        ("auth", "header", "value"),
        [
            ({"scheme": "bearer", "token": "t0k"}, "Authorization", "Bearer t0k"),
            ({"scheme": "header", "name": "X-API-Key", "value": "k y"}, "X-API-Key", "k y"),
            ({"scheme": "basic", "user": "u", "password": "p:w"}, "Authorization", "Basic dTpwOnc="),
        ],
    )
    def test_each_scheme(self, auth: dict[str, object], header: str, value: str) -> None:
        with serving(lambda _: Answer(ROWS), {"auth": auth}) as (connector, api, _):
            read(connector)
            assert api.asked[0].headers[header] == value
            assert api.asked[0].headers["Host"] == api.place

    def test_refused_ones_are_not_tried_again(self) -> None:
        with serving(lambda _: Answer({"hint": "canary"}, 401), {}) as (connector, api, _):
            with pytest.raises(SourceUnreachable, match=r"answered 401$"):
                read(connector)
            assert len(api.asked) == 1

    def test_nothing_of_the_environment_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        with serving(lambda _: Answer(ROWS), {}) as (connector, _, _):
            assert read(connector) == ROWS


class TestPatience:
    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_a_busy_server_is_asked_again_after_longer_waits(self, status: int) -> None:
        left = [status] * 3

        def answer(_: Asked) -> Answer:
            return Answer("busy", left.pop()) if left else Answer(ROWS)

        with serving(answer, {}) as (connector, api, time):
            assert read(connector) == ROWS
            assert len(api.asked) == 4
            assert [0.5 <= time.slept[0] < 0.625, 1 <= time.slept[1] < 1.25, 2 <= time.slept[2] < 2.5] == [
                True
            ] * 3

    @pytest.mark.parametrize("after", ["7", format_datetime(NOW + timedelta(seconds=7), usegmt=True)])
    def test_retry_after_is_honoured(self, after: str) -> None:
        left = [429]

        def answer(_: Asked) -> Answer:
            return Answer("busy", left.pop(), {"Retry-After": after}) if left else Answer(ROWS)

        with serving(answer, {}) as (connector, _, time):
            assert read(connector) == ROWS
            assert time.slept == [7.0]

    def test_too_long_a_wait_is_an_answer_too(self) -> None:
        with serving(lambda _: Answer("", 503, {"Retry-After": "86400"}), {}) as (connector, api, time):
            with pytest.raises(SourceUnreachable, match="answered 503 and asks to wait 86400 s"):
                read(connector)
            assert (len(api.asked), time.slept) == (1, [])

    def test_a_server_that_stays_busy_is_given_up(self) -> None:
        with serving(lambda _: Answer("", 503), {"limits": {"attempts": 2}}) as (connector, api, _):
            with pytest.raises(SourceUnreachable, match="answered 503, 2 times") as caught:
                read(connector)
            assert caught.value.retryable
            assert len(api.asked) == 2

    def test_a_server_that_is_gone_is_unreachable(self) -> None:
        with serving(lambda _: Answer(ROWS), {"limits": {"attempts": 2}}) as (connector, _, _):
            pass
        with pytest.raises(SourceUnreachable, match="ConnectError, 2 times"):
            read(connector)

    def test_the_rate_limit_spaces_requests(self) -> None:
        def answer(asked: Asked) -> Answer:
            return Answer(sliced(asked, int(asked.query["page"]) * 3, 3))

        options = {
            "paging": {"style": "page", "parameter": "page", "first": 0},
            "limits": {"requests_per_minute": 30},
        }
        with serving(answer, options) as (connector, _, time):
            assert read(connector) == ROWS
            assert time.slept == [2.0] * 3


class TestLimits:
    @pytest.mark.parametrize(
        ("limits", "said"),
        [
            ({"page_bytes": 50}, "pages of at most 50 bytes"),
            ({"bytes": 300}, "at most 300 bytes"),
            ({"pages": 2}, "at most 2 pages"),
            ({"requests_per_minute": 1, "seconds": 90}, "at most 90 s"),
        ],
    )
    def test_a_read_is_bounded(self, limits: dict[str, int], said: str) -> None:
        def answer(asked: Asked) -> Answer:
            return Answer({"r": ROWS[:4], "n": int(asked.query.get("c", "0")) + 1})

        options = {
            "records": "/r",
            "limits": limits,
            "paging": {"style": "cursor", "parameter": "c", "next": "/n"},
        }
        with serving(answer, options) as (connector, _, _), pytest.raises(LimitExceeded, match=said):
            read(connector)

    def test_an_answer_without_a_stated_length_is_bounded_too(self) -> None:
        chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
        endless = Answer(chunk * 64 + b"0\r\n\r\n", headers={"Transfer-Encoding": "chunked"})
        with (
            serving(lambda _: endless, {"limits": {"page_bytes": 9_000}}) as (connector, _, _),
            pytest.raises(LimitExceeded, match="pages of at most 9000 bytes"),
        ):
            read(connector)

    def test_a_compressed_answer_is_refused(self) -> None:
        with (
            serving(lambda _: Answer(b"x", headers={"Content-Encoding": "gzip"}), {}) as (connector, _, _),
            pytest.raises(SourceUnreachable, match="compressed"),
        ):
            read(connector)


class TestRecords:
    @pytest.mark.parametrize(
        ("kind", "given", "expected"),
        [
            ("integer", "-9223372036854775808", -(2**63)),
            ("decimal/2", "12345678901234567890.10", Decimal("12345678901234567890.10")),
            ("decimal/2", '"0.1"', Decimal("0.10")),
            ("decimal/2", "1e2", Decimal("100.00")),
            ("float", "0.1", 0.1),
            ("float", "3", 3.0),
            ("boolean", "false", False),
            ("text", '"\\u540d"', "名"),
            ("text", "null", None),
            ("date", '"2024-02-29"', datetime(2024, 2, 29).date()),  # noqa: DTZ001
            ("timestamp", '"2024-02-29T01:02:03.5"', datetime(2024, 2, 29, 1, 2, 3, 500_000)),  # noqa: DTZ001
            ("timestamp-utc", '"2024-02-29T01:02:03+02:00"', datetime(2024, 2, 28, 23, 2, 3, tzinfo=UTC)),
        ],
    )
    def test_values_are_exact(self, kind: str, given: str, expected: object) -> None:
        body = f'[{{"v": {given}, "other": [1]}}]'.encode()
        with serving(
            lambda _: Answer(body), {"columns": [{"name": "value", "field": "v", "type": kind}]}
        ) as found:
            assert read(found[0]) == [{"value": expected}]

    @pytest.mark.parametrize(
        ("kind", "given", "actual"),
        [
            ("integer", "9223372036854775808", "an integer"),
            ("integer", "5.0", "a number with a point"),
            ("integer", "true", "a truth value"),
            ("integer", '"5000"', "a text"),
            ("decimal/2", "5000.123", "a number with a point"),
            ("decimal/2", "1e999999999", "a number with a point"),
            ("decimal/2", '"five thousand"', "a text"),
            ("decimal/2", '"NaN"', "a text"),
            ("float", "1e999", "a number with a point"),
            ("float", '"5000"', "a text"),
            ("boolean", "1", "an integer"),
            ("text", "5000", "an integer"),
            ("text", '"\\ud800"', "a text"),
            ("text", '{"a": "5000"}', "an object"),
            ("text", '["5000"]', "a list"),
            ("date", '"5000"', "a text"),
            ("timestamp", '"5000-01-01T00:00:00Z"', "a text"),
            ("timestamp-utc", '"5000-01-01T00:00:00"', "a text"),
        ],
    )
    def test_a_value_of_another_type_is_named_by_place_and_kind(
        self, kind: str, given: str, actual: str
    ) -> None:
        body = f'[{{"v": null}}, {{"v": {given}}}]'.encode()
        with serving(lambda _: Answer(body), {"columns": [{"name": "v", "type": kind}]}) as (
            connector,
            api,
            _,
        ):
            with pytest.raises(InvalidValues) as caught:
                read(connector)
            expected = f"{api.url}/rows, page 1, record 2, column v: expected {kind}, found {actual}"
            assert str(caught.value) == expected
            assert caught.value.__cause__ is None

    def test_a_record_without_a_column_is_named(self) -> None:
        with (
            serving(lambda _: Answer([{"person": "a"}]), {}) as (connector, _, _),
            pytest.raises(InvalidValues, match="record 1, column amount: expected integer, found nothing"),
        ):
            read(connector)

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b"salary", "expected JSON in UTF-8"),
            (b'"caf\xe9"', "expected JSON in UTF-8"),
            (b"[" * 100_000, "expected JSON in UTF-8"),
            (b"[NaN]", "expected JSON in UTF-8"),
            (b"1" * 5_000, "expected JSON in UTF-8"),
            (b'[{"person": 1, "person": 2}]', "distinct names"),
            (b'{"salary": 1}', "the whole: expected a list of records, found an object"),
            (b'["salary"]', "record 1: expected an object, found a text"),
        ],
    )
    def test_a_page_of_another_form_is_said_without_its_content(self, body: bytes, said: str) -> None:
        with serving(lambda _: Answer(body), {}) as (connector, _, _):
            with pytest.raises(InvalidValues, match=said) as caught:
                read(connector)
            assert "salary" not in str(caught.value)


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"columns": []}, "options.columns"),
            ({"columns": [{"name": "a"}]}, "options.columns[0].type"),
            ({"columns": [{"name": "a", "type": "decimal/38"}]}, "options.columns[0].type"),
            ({"columns": [{"name": "a", "type": "text"}] * 2}, "options.columns"),
            ({"record": "/x"}, "options"),
            ({"records": "x"}, "options.records"),
            ({"paging": {"style": "guess"}}, "options.paging.style"),
            ({"paging": {"style": "cursor", "parameter": "c"}}, "options.paging.next"),
            ({"paging": {"style": "page", "parameter": "p", "size": 5}}, "options.paging.size_parameter"),
            ({"paging": {"style": "none", "parameter": "p"}}, "options.paging"),
            ({"auth": {"scheme": "bearer", "token": "canary\r\nX: y"}}, "options.auth.token"),
            ({"auth": {"scheme": "header", "name": "Host", "value": "canary"}}, "options.auth.name"),
            ({"auth": {"scheme": "header", "name": "X: canary", "value": "v"}}, "options.auth.name"),
            ({"auth": {"scheme": "basic", "user": "a:b", "password": "canary"}}, "options.auth.user"),
            ({"auth": {"scheme": "none", "token": "canary"}}, "options.auth"),
            ({"limits": {"seconds": 0}}, "options.limits.seconds"),
            ({"limits": {"seconds": True}}, "options.limits.seconds"),
            ({"ca": 7}, "options.ca"),
        ],
    )
    def test_what_does_not_fit_is_named_without_its_value(
        self, options: dict[str, object], field: str
    ) -> None:
        with pytest.raises(InvalidSource) as caught:
            SourceSpec("api", "https://api.example/rows", options={"columns": COLUMNS} | options)
        assert caught.value.field == field
        assert "canary" not in str(caught.value)

    def test_an_authority_that_is_none_is_refused(self) -> None:
        with serving(lambda _: Answer(ROWS), {"ca": "canary"}) as (connector, _, _):
            with pytest.raises(InvalidSource, match=r"options\.ca") as caught:
                read(connector)
            assert "canary" not in str(caught.value)

    def test_a_schema_is_known_without_asking(self) -> None:
        spec = SourceSpec("api", "https://api.example:444/rows?key=canary", options={"columns": COLUMNS})
        connector = open_source(spec, roots=[], hosts=["api.example:444"])
        assert connector.schema() == pa.schema({"person": pa.string(), "amount": pa.int64()})
        assert spec.display == "https://api.example:444/rows"
        assert "canary" not in repr(connector) + repr(spec)
