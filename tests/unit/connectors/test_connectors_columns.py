"""Identifiers, measures, groups and profiles."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from connectors import (
    Connector,
    DuplicateIdentifiers,
    EmptyIdentifiers,
    EmptyTable,
    InvalidValues,
    MissingColumn,
    MissingValues,
    Role,
    SourceSpec,
    UnknownRule,
    WrongColumnType,
    columns,
    identifiers,
    open_source,
    profiles,
)

OpenTable = Callable[[dict[str, object]], Connector]


@pytest.fixture
def open_table(tmp_path: Path) -> OpenTable:
    def write_and_open(data: dict[str, object]) -> Connector:
        pa.parquet.write_table(pa.table(data), tmp_path / "t.parquet")
        return open_source(SourceSpec("file", "t.parquet"), roots=[tmp_path])

    return write_and_open


class TestNormalise:
    @pytest.mark.parametrize(
        ("rules", "given", "expected"),
        [
            ([], " a ", " a "),
            (["trim"], "\u3000 Ab c\t", "Ab c"),
            (["upper"], "ab-é", "AB-É"),
            (["lower"], "AB-É", "ab-é"),
            (["remove-spaces"], " 11 0\u00a01\u3000\t05\n", "110105"),
            (["remove-hyphens"], "11-01\u201305\u2014x_y", "110105x_y"),
            (["digits-only"], "No. 12/34\u0665", "1234"),
            (["nfkc"], "\uff11\uff12\uff33", "12S"),
            (["nfkc", "digits-only"], "\uff11\uff12", "12"),
            (["digits-only", "nfkc"], "\uff11\uff12", ""),
        ],
    )
    def test_rules_apply_in_order(self, rules: list[str], given: str, expected: str) -> None:
        assert identifiers.normalise(pa.array([given, None]), rules).to_pylist() == [expected, None]

    def test_two_spellings_meet(self) -> None:
        rules = ["nfkc", "remove-spaces", "remove-hyphens", "upper"]
        spellings = pa.array(["ab-12 34x", "AB1234X", "ａｂ 1234-ｘ"])
        assert set(identifiers.normalise(spellings, rules).to_pylist()) == {"AB1234X"}

    def test_integers_are_taken_as_digits(self) -> None:
        assert identifiers.normalise(pa.chunked_array([[12], [3]]), ["trim"]).to_pylist() == ["12", "3"]

    def test_floats_are_no_identifiers(self) -> None:
        with pytest.raises(WrongColumnType, match="column person: expected text or integers, found double"):
            identifiers.normalise(pa.array([1.0]), [], "person")

    def test_an_unknown_rule_lists_the_known_ones(self) -> None:
        with pytest.raises(UnknownRule, match=r"remove-hyphens.*found 'soundex'"):
            identifiers.normalise(pa.array(["a"]), ["soundex"])


class TestCheck:
    def test_distinct_identifiers_pass(self) -> None:
        array = pa.array(["a", "b"])
        assert identifiers.check(array) is array
        assert identifiers.to_bytes(array) == [b"a", b"b"]

    def test_missing_and_empty_ones_are_counted(self) -> None:
        with pytest.raises(EmptyIdentifiers, match=r"column person: .*found 3 empty") as caught:
            identifiers.check(pa.array(["a", "", None, ""]), "person")
        assert caught.value.count == 3

    def test_surplus_rows_are_counted_and_not_shown(self) -> None:
        with pytest.raises(DuplicateIdentifiers, match="found 3 surplus rows") as caught:
            identifiers.check(pa.array(["k77", "k77", "k78", "k78", "k78"]))
        assert "k7" not in str(caught.value)

    def test_no_rows_are_no_fault(self) -> None:
        assert len(identifiers.check(pa.array([], pa.string()))) == 0


class TestMeasures:
    def test_integers_stay_exact(self, open_table: OpenTable) -> None:
        found = columns.measure_array(open_table({"m": [2**53 + 1, -1]}).batches(["m"]), "m")
        assert found.dtype == np.int64
        assert found.tolist() == [2**53 + 1, -1]

    def test_decimals_stay_exact(self, open_table: OpenTable) -> None:
        cents = pa.array([Decimal("0.10"), Decimal("99999999999999999.99")], pa.decimal128(20, 2))
        found = columns.measure_array(open_table({"m": cents}).batches(["m"]), "m")
        assert found.tolist() == [Decimal("0.10"), Decimal("99999999999999999.99")]

    def test_floats_are_doubles(self, open_table: OpenTable) -> None:
        found = columns.measure_array(open_table({"m": pa.array([0.5], pa.float32())}).batches(["m"]), "m")
        assert found.dtype == np.float64

    def test_truth_values_count_as_zero_and_one(self, open_table: OpenTable) -> None:
        found = columns.measure_array(open_table({"m": [True, False]}).batches(["m"]), "m")
        assert found.tolist() == [1, 0]

    @pytest.mark.parametrize(
        "values", [[1, None, None], [1.0, float("nan"), float("inf")], [Decimal(1), None, None]]
    )
    def test_rows_without_a_number_are_counted(self, open_table: OpenTable, values: list[object]) -> None:
        with pytest.raises(MissingValues, match=r"column m: .*found 2") as caught:
            columns.measure_array(open_table({"m": values}).batches(["m"]), "m")
        assert caught.value.count == 2

    def test_texts_are_no_measures(self, open_table: OpenTable) -> None:
        with pytest.raises(WrongColumnType, match="column m: expected numbers, found string"):
            columns.measure_array(open_table({"m": ["1"]}).batches(["m"]), "m")

    def test_numbers_beyond_int64_are_refused(self) -> None:
        batch = pa.record_batch({"m": pa.array([2**63], pa.uint64())})
        with pytest.raises(InvalidValues, match="column m"):
            columns.measure_array([batch], "m")

    def test_a_missing_column_is_named(self, open_table: OpenTable) -> None:
        with pytest.raises(MissingColumn):
            columns.measure_array(open_table({"m": [1]}).batches(["m"]), "n")


class TestGroups:
    def test_labels_ascend_and_codes_point_at_them(self, open_table: OpenTable) -> None:
        found = columns.group_codes(open_table({"g": ["b", "a", "b", "c"]}).batches(["g"]), "g")
        assert found.labels == ("a", "b", "c")
        assert found.codes.tolist() == [1, 0, 1, 2]

    def test_integers_ascend_as_numbers(self, open_table: OpenTable) -> None:
        assert columns.group_codes(open_table({"g": [10, 9]}).batches(["g"]), "g").labels == ("9", "10")

    def test_floats_are_no_groups(self, open_table: OpenTable) -> None:
        with pytest.raises(WrongColumnType):
            columns.group_codes(open_table({"g": [0.5]}).batches(["g"]), "g")

    def test_rows_without_a_group_are_counted(self, open_table: OpenTable) -> None:
        with pytest.raises(MissingValues, match="found 1"):
            columns.group_codes(open_table({"g": ["a", None]}).batches(["g"]), "g")


class TestColumnsWithHoles:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([1, None, 3], [1.0, np.nan, 3.0]),
            ([0.5, float("nan"), float("inf")], [0.5, np.nan, np.nan]),
            ([True, None, False], [1.0, np.nan, 0.0]),
            ([Decimal("0.10"), None, Decimal(-2)], [0.1, np.nan, -2.0]),
        ],
    )
    def test_numbers_are_floats_and_holes_nan(
        self, open_table: OpenTable, values: list[object], expected: list[float]
    ) -> None:
        found = columns.number_array(open_table({"m": values}).batches(["m"]), "m")
        np.testing.assert_array_equal(found, expected)

    def test_a_column_without_any_value_is_all_holes(self) -> None:
        batch = pa.record_batch({"m": pa.array([None, None], pa.float64())})
        assert np.isnan(columns.number_array([batch], "m")).all()

    def test_texts_are_no_numbers(self, open_table: OpenTable) -> None:
        with pytest.raises(WrongColumnType, match="column m: expected numbers, found string"):
            columns.number_array(open_table({"m": ["1"]}).batches(["m"]), "m")

    def test_categories_are_places_among_labels(self, open_table: OpenTable) -> None:
        table = open_table({"g": ["b", "a", None, "c"]})
        found = columns.label_codes(table.batches(["g"]), "g", ["a", "b"])
        assert found.tolist() == [1, 0, columns.MISSING, columns.UNSEEN]

    def test_integers_are_compared_as_texts(self, open_table: OpenTable) -> None:
        table = open_table({"g": [10, 9, None]})
        assert columns.label_codes(table.batches(["g"]), "g", ["9"]).tolist() == [-1, 0, -2]

    def test_floats_are_no_categories(self, open_table: OpenTable) -> None:
        with pytest.raises(WrongColumnType):
            columns.label_codes(open_table({"g": [0.5]}).batches(["g"]), "g", ["0.5"])


class TestProfile:
    @pytest.fixture
    def clients(self, open_table: OpenTable) -> Connector:
        return open_table(
            {
                "id": [f"p{i}" for i in range(100)],
                "band": [f"band {i % 3}" for i in range(99)] + [" "],
                "balance": [1000 + (i * 37) % 90 for i in range(100)],
                "rate": [None, *[i / 8 for i in range(99)]],
                "since": [date(2020, 1, 1 + i % 20) for i in range(100)],
                "defaulted": [i % 2 == 0 for i in range(100)],
            }
        )

    def test_counts_are_exact(self, clients: Connector) -> None:
        found = {column.name: column for column in profiles.profile(clients).columns}
        assert (found["id"].distinct, found["id"].distinct_exact) == (100, True)
        assert (found["band"].nulls, found["band"].empties, found["band"].distinct) == (0, 1, 4)
        assert found["rate"].nulls == 1
        assert profiles.profile(clients).rows == 100

    def test_roles_are_suggested(self, clients: Connector) -> None:
        found = {column.name: column.suggested_role for column in profiles.profile(clients).columns}
        assert found == {
            "id": Role.IDENTIFIER,
            "band": Role.GROUP,
            "balance": Role.MEASURE,
            "rate": Role.MEASURE,
            "since": Role.TIME,
            "defaulted": Role.LABEL,
        }

    def test_equal_values_of_any_type_count_once(self, open_table: OpenTable) -> None:
        odd_nan = np.frombuffer(bytes.fromhex("fff8000000000001")[::-1], np.float64)[0]
        repeated = {
            "f": pa.array([0.0, -0.0, float("nan"), odd_nan, 1.0]),
            "d": pa.array(
                [Decimal("1.50"), Decimal("1.5"), Decimal("-1.50"), None, Decimal(0)], pa.decimal128(9, 2)
            ),
            "y": pa.array([date(1969, 12, 31), date(1969, 12, 31), None, date(2020, 1, 1), date(2020, 1, 2)]),
            "s": pa.array([-1, 0, 0, 1, None], pa.timestamp("us", tz="UTC")),
            "h": pa.array([1, 1, 1, 1, 2], pa.time64("us")),
        }
        many = {name: pa.concat_arrays([array] * 20_000) for name, array in repeated.items()}
        found = {column.name: column.distinct for column in profiles.profile(open_table(many)).columns}
        assert found == {"f": 3, "d": 3, "y": 3, "s": 3, "h": 2}

    def test_counting_stops_at_the_bound_and_says_so(self, clients: Connector) -> None:
        column = profiles.profile(clients, distinct_bound=10).columns[0]
        assert (column.distinct, column.distinct_exact) == (10, False)

    def test_no_range_is_given_unless_asked(self, clients: Connector) -> None:
        assert "minimum" not in json.dumps(profiles.profile(clients).as_json())

    def test_ranges_are_never_given_for_identifiers_and_texts(self, clients: Connector) -> None:
        found = profiles.profile(clients, ranges=True, roles={"balance": "identifier"})
        shown = {column.name for column in found.columns if column.minimum is not None}
        assert shown == {"rate", "since"}
        rates = next(column for column in found.columns if column.name == "rate")
        assert (rates.minimum, rates.maximum) == ("0.0", "12.25")

    def test_completeness_counts_nulls_and_blanks(self, clients: Connector) -> None:
        assert profiles.profile(clients).completeness == Decimal("0.9966")

    def test_json_holds_no_floats(self, clients: Connector) -> None:
        text = json.dumps(profiles.profile(clients, ranges=True).as_json())
        assert json.loads(text, parse_float=lambda number: pytest.fail(f"float {number}"))

    def test_a_role_for_a_column_that_is_absent_is_refused(self, clients: Connector) -> None:
        with pytest.raises(MissingColumn):
            profiles.profile(clients, roles={"salary": "measure"})

    def test_a_table_without_rows_has_no_profile(self, open_table: OpenTable) -> None:
        with pytest.raises(EmptyTable):
            profiles.profile(open_table({"a": pa.array([], pa.int64())}))
