"""What is recognised in columns, what is suggested for them, and what the quality report counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import profiles
from connectors.files import FileConnector
from exchange.publishing import checksums, quality
from exchange.publishing.content import Content, hinted
from exchange.publishing.quality import QualityReport, Survey
from exchange.publishing.suggestions import Suggestion, suggest

IDENTITY_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"


def identity(number: int, born: str = "19800229") -> str:
    body = f"330102{born}{number:03d}"
    check = sum(int(digit) * weight for digit, weight in zip(body, IDENTITY_WEIGHTS, strict=True)) % 11
    return body + "10X98765432"[check]


def luhn(body: str) -> str:
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return body + str(-total % 10)


def credit_code(body: str) -> str:
    total = sum(ALPHABET.index(letter) * pow(3, place, 31) for place, letter in enumerate(body))
    return body + ALPHABET[-total % 31]


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (
            checksums.resident_identity,
            ["11010519491231002X", identity(1), identity(999, "20000101")],  # the first is the standard's own
            ["110105194912310021", "11010519491331002X", identity(1, "19810229"), "9" * 18, "1", "", None],
        ),
        (
            checksums.credit_code,
            ["91350100M000100Y43", credit_code("92310115MA1K4XYZ1".replace("Z", "W"))],
            ["91350100M000100Y44", "91350100I000100Y43", "91350100M000100Y4", "", None],
        ),
        (
            checksums.bank_card,
            ["4111111111111111", luhn("622202100011234567"), luhn("37828224631000")],
            ["4111111111111112", "12345", "0" * 16, "4111-1111", "", None],
        ),
        (
            checksums.phone,
            ["13800138000", "+8613800138000", "008613800138000", "+442071838750"],
            ["12800138000", "1380013800", "442071838750", "+0123456789", "", None],
        ),
        (
            checksums.email,
            ["A.B+C@EXAMPLE.ORG", "X@A-B.CO"],
            ["A@B", "@EXAMPLE.ORG", "A B@EXAMPLE.ORG", "A@-B.ORG", "", None],
        ),
        (
            checksums.calendar_date,
            ["20000229", "19991231"],
            ["19000229", "20230229", "20231301", "20230100", "21000101", "2023", "", None],
        ),
    ],
)
def test_check_digits_and_forms(
    check: Callable[[pa.Array], Any], good: list[str], bad: list[str | None]
) -> None:
    assert check(pa.array(good)).tolist() == [True] * len(good)
    assert check(pa.array(bad, pa.string())).tolist() == [False] * len(bad)
    mixed: list[str | None] = [None, good[0], bad[0]]
    assert check(pa.array(mixed)).tolist() == [False, True, False]
    assert check(pa.array([], pa.string())).tolist() == []


@given(st.integers(0, 10**14), st.integers(0, 15), st.integers(1, 9))
def test_any_changed_digit_of_an_identity_or_card_number_is_found(body: int, place: int, by: int) -> None:
    card = luhn(f"4{body:014d}")
    changed = card[:place] + str((int(card[place]) + by) % 10) + card[place + 1 :]
    assert checksums.bank_card(pa.array([card, changed])).tolist() == [True, False]
    person = identity(body % 1000)
    changed = person[:-2] + str((int(person[-2]) + by) % 10) + person[-1]
    assert checksums.resident_identity(pa.array([person, changed])).tolist() == [True, False]


@given(st.lists(st.one_of(st.none(), st.text(max_size=25)), max_size=20))
def test_checks_take_any_text(texts: list[str | None]) -> None:
    array = pa.array(texts, pa.string())
    for check in (checksums.resident_identity, checksums.credit_code, checksums.bank_card, checksums.phone):
        assert len(check(array)) == len(texts)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ID Card No", Content.RESIDENT_IDENTITY),
        ("身份证号", Content.RESIDENT_IDENTITY),
        ("统一社会信用代码", Content.CREDIT_CODE),
        ("mobile", Content.PHONE),
        ("联系电话", Content.PHONE),
        ("e-mail", Content.EMAIL),
        ("customer_name", Content.PERSON_NAME),
        ("家庭住址", Content.ADDRESS),
        ("date_of_birth", Content.BIRTH_DATE),
        ("loan_amount", Content.AMOUNT),
        ("余额", Content.AMOUNT),
        ("hotel", None),
        ("income_band_name_x", Content.AMOUNT),
        ("x1", None),
    ],
)
def test_names_of_columns_are_hints(name: str, expected: Content | None) -> None:
    assert hinted(name) is expected


def columns(rows: int = 1000) -> dict[str, pa.Array]:
    rng = np.random.default_rng(7)
    born = [f"19{60 + i % 40}0{1 + i % 9}1{i % 10}" for i in range(rows)]
    identities = [identity(i % 1000, one) for i, one in enumerate(born)]
    identities[:13] = ["000000000000000000"] * 13
    return {
        "citizen": pa.array(identities),
        "cert": pa.array([credit_code(f"9133010{i % 10}MA{i:07d}") for i in range(rows)]),
        "plastic": pa.array([luhn(f"62220210{i:09d}") for i in range(rows)]),
        "contact": pa.array([13_800_000_000 + i for i in range(rows)]),
        "box": pa.array([f"person{i}@example.org" for i in range(rows)]),
        "who": pa.array([("王", "李", "张", "欧阳")[i % 4] + "小" * (1 + i % 2) for i in range(rows)]),
        "where": pa.array([f"浙江省杭州市西湖区文三路{i}号" for i in range(rows)]),
        "dob": pa.array([date(1960 + i % 40, 1 + i % 12, 1) for i in range(rows)]),
        "salary": pa.array(np.round(rng.gamma(3, 3000, rows), 2)),
        "seen_on": pa.array([date(2026, 11, 1 + i % 20) for i in range(rows)]),
        "band": pa.array([("low", "mid", "high")[i % 3] for i in range(rows)]),
        "visits": pa.array(rng.integers(0, 500, rows)),
    }


@pytest.fixture(scope="module")
def surveyed(tmp_path_factory: pytest.TempPathFactory) -> tuple[profiles.Profile, Survey, list[Suggestion]]:
    path = tmp_path_factory.mktemp("people") / "people.parquet"
    table = pa.table(columns())
    pa.parquet.write_table(pa.concat_tables([table, table.slice(0, 5)]), path)
    connector = FileConnector(path)
    profile = profiles.profile(connector)
    found = quality.survey(connector, profile, table.column_names)
    return profile, found, list(suggest(profile, found))


def report_of(surveyed: tuple[profiles.Profile, Survey, list[Suggestion]]) -> QualityReport:
    profile, found, suggested = surveyed
    return quality.report(
        profile,
        found,
        {one.column: one.content for one in suggested},
        [one.column for one in suggested if one.role == "identifier"],
        [one.column for one in suggested if one.role == "time" and one.content is None],
        date(2026, 11, 26),
    )


def test_columns_are_graded_by_what_they_hold(surveyed: Any) -> None:
    assert {
        one.column: (one.role.value, one.sensitivity.value, one.control.value) for one in surveyed[2]
    } == {
        "citizen": ("text", "secret", "ENCRYPTED_ONLY"),
        "cert": ("identifier", "internal", "AFTER_JOIN"),
        "plastic": ("identifier", "secret", "AFTER_JOIN"),
        "contact": ("identifier", "confidential", "AFTER_JOIN"),
        "box": ("identifier", "confidential", "AFTER_JOIN"),
        "who": ("text", "confidential", "ENCRYPTED_ONLY"),
        "where": ("text", "confidential", "ENCRYPTED_ONLY"),
        "dob": ("time", "confidential", "ENCRYPTED_ONLY"),
        "salary": ("measure", "confidential", "AFTER_AGGREGATE"),
        "seen_on": ("time", "internal", "ENCRYPTED_ONLY"),
        "band": ("group", "internal", "AFTER_GROUP_BY"),
        "visits": ("measure", "internal", "AFTER_AGGREGATE"),
    }


def test_each_suggestion_says_why_and_shows_no_value(surveyed: Any) -> None:
    texts = {one.column: [reason.text for reason in one.reasons] for one in surveyed[2]}
    assert texts["citizen"] == ["98.2 % of the sample are valid resident identity numbers (GB 11643)"]
    assert texts["salary"] == ["the column's name speaks of amounts of money"]
    assert texts["band"] == ["it has 3 different values"]
    assert all(texts.values())
    shown = json.dumps([one.as_json() for one in surveyed[2]], ensure_ascii=False)
    held = {str(value) for array in columns().values() for value in array.to_pylist()}
    assert not [value for value in held if len(value) > 5 and value in shown]


def test_the_report_counts_what_is_wrong_with_the_table(surveyed: Any) -> None:
    report = report_of(surveyed)
    assert (report.rows, report.duplicate_rows, report.freshness_days) == (1005, 5, 6)
    assert report.completeness == 1_000_000
    by_name = {column.name: column for column in report.columns}
    assert (by_name["citizen"].looked_at, by_name["citizen"].valid) == (1005, 1005 - 18)
    assert by_name["plastic"].uniqueness == 1000 * 1_000_000 // 1005
    assert by_name["band"].uniqueness is None
    assert report.validity < 1_000_000
    assert report.value == report.completeness * report.validity * report.uniqueness // 10**12
    written = report.as_json()
    assert json.loads(json.dumps(written)) == written


def test_a_table_with_many_values_is_counted_by_hashes(tmp_path: Path) -> None:
    path = tmp_path / "ids.parquet"
    ids = [f"k{i}" for i in range(3000)] + ["k0", "k1", None]
    pa.parquet.write_table(pa.table({"id": ids, "n": [1] * 3003}), path)
    connector = FileConnector(path)
    profile = profiles.profile(connector, distinct_bound=100)
    found = quality.survey(connector, profile, ["id", "n"])
    assert found.duplicate_rows == 2
    report = quality.report(profile, found, {}, ["id"], [])
    assert report.columns[0].completeness == 3002 * 1_000_000 // 3003
    assert report.uniqueness == 3000 * 1_000_000 // 3002
