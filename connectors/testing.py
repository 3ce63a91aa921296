"""The contract suite of ``Connector``: subclass it, provide ``connector``, and every duty is a test.

The fixture table is ``sample_table``; a subclass stores it in its source and opens it. Sources that keep
other widths of a type are fine, since values and logical types are what is compared. Needs pytest.
"""

# ruff: noqa: S101 - a suite of tests

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Final

import pyarrow as pa
import pytest

from connectors.connector import Connector
from connectors.errors import InvalidFilter, InvalidSource, MissingColumn
from connectors.filters import And, Compare, Filter, In, IsNull, Not, Or
from connectors.fingerprints import dataset_version

__all__ = ["ConnectorContract", "sample_table"]

_SALT = bytes(32)
# Filters over the sample and the persons they keep.
_FILTERS: Final[Sequence[tuple[Filter, Sequence[int]]]] = (
    (Compare("person", "=", "b 2"), [1]),
    (Compare("person", "=", "B 2"), []),
    (Compare("person", "=", "b 2 "), []),
    (Compare("person", "=", "quote\"d, 'x'"), [4]),
    (Compare("person", ">", "a"), [1, 3, 4, 5, 6]),
    (Compare("person", "<=", "C-3"), [0, 2]),
    (Compare("person", "=", "x' OR '1'='1"), []),
    (In("person", ("line\nbreak", "名前", "'; DROP TABLE loans; --")), [3, 5]),
    (Compare("amount", "!=", 3), [0, 1, 2, 4, 6]),
    (Compare("amount", "=", 2**53 + 1), [4]),
    (Not(In("amount", (5, -7))), [2, 4, 5, 6]),
    (IsNull("amount"), [3]),
    (Not(Compare("rate", "<", 1)), [3, 5]),
    (Compare("rate", "=", 5e-324), [4]),
    (Compare("since", ">=", date(2020, 2, 29)), [0]),
    (Or((IsNull("since"), Compare("since", "=", date(2020, 2, 29)))), [0, 1]),
    (And((Compare("amount", ">", 0), Not(Compare("rate", ">", 1)))), [0, 4, 6]),
)


def sample_table() -> pa.Table:
    """Seven rows of every type that all sources share, with missing values and awkward texts."""
    return pa.table(
        {
            "person": ["000123", "b 2", "C-3", "名前", "quote\"d, 'x'", "line\nbreak", "zz"],
            "amount": pa.array([5, -7, 0, None, 2**53 + 1, 3, 4], pa.int64()),
            "price": pa.array(
                [
                    Decimal("0.10"),
                    Decimal("-1.50"),
                    None,
                    Decimal(0),
                    Decimal("99999999.99"),
                    *[Decimal(1)] * 2,
                ],
                pa.decimal128(10, 2),
            ),
            "rate": pa.array([0.1, -2.5, None, 1e300, 5e-324, 3.0, 0.0], pa.float64()),
            "since": pa.array([date(2020, 2, 29), None, *[date(1969, 12, 31)] * 5], pa.date32()),
        }
    )


class ConnectorContract:
    """Every guarantee of ``Connector`` is a test here."""

    @pytest.fixture
    def expected(self) -> pa.Table:
        """The table as the source can hold it; override where it lacks a type."""
        return sample_table()

    def test_schema_lists_the_columns_in_order(self, connector: Connector, expected: pa.Table) -> None:
        """Names in the source's order."""
        assert connector.schema().names == expected.schema.names

    def test_batches_have_the_types_of_the_schema(self, connector: Connector) -> None:
        """Schema and data agree."""
        schema = connector.schema()
        for batch in connector.batches(schema.names):
            assert batch.schema.equals(schema)

    def test_all_values_come_back_in_order(self, connector: Connector, expected: pa.Table) -> None:
        """No value is changed, lost or moved."""
        names = connector.schema().names
        table = pa.Table.from_batches(connector.batches(names))
        assert table.to_pydict() == expected.to_pydict()

    def test_columns_come_in_the_order_asked_for(self, connector: Connector, expected: pa.Table) -> None:
        """Projection selects and orders."""
        table = pa.Table.from_batches(connector.batches(["rate", "person"]))
        assert table.to_pydict() == expected.select(["rate", "person"]).to_pydict()

    def test_batches_hold_no_more_rows_than_asked(self, connector: Connector, expected: pa.Table) -> None:
        """Memory is bounded by the caller."""
        batches = list(connector.batches(["person"], batch_rows=3))
        assert [batch.num_rows for batch in batches if batch.num_rows > 3] == []
        assert sum(batch.num_rows for batch in batches) == expected.num_rows

    def test_row_numbers_mean_the_same_row_in_every_read(self, connector: Connector) -> None:
        """One column read alone lines up with the same column read with others."""
        alone = pa.Table.from_batches(connector.batches(["amount"], batch_rows=2))
        together = pa.Table.from_batches(connector.batches(["price", "amount"]))
        assert alone["amount"].to_pylist() == together["amount"].to_pylist()

    def test_reads_can_be_interleaved(self, connector: Connector) -> None:
        """A second read does not disturb the first."""
        first = connector.batches(["person"], batch_rows=2)
        head = next(first)
        second = pa.Table.from_batches(connector.batches(["person"]))
        rest = [value for batch in first for value in batch.column(0).to_pylist()]
        assert head.column(0).to_pylist() + rest == second["person"].to_pylist()

    def test_a_missing_column_is_named_before_reading(self, connector: Connector) -> None:
        """The error lists what was expected and what there is."""
        with pytest.raises(MissingColumn) as caught:
            connector.batches(["person", "salary"])
        assert caught.value.expected == ("salary",)
        assert caught.value.found == tuple(connector.schema().names)

    def test_a_column_is_not_read_twice(self, connector: Connector) -> None:
        """A repeated name is a mistake of the caller."""
        with pytest.raises(InvalidSource):
            connector.batches(["person", "person"])

    def test_a_filter_keeps_the_rows_for_which_it_is_true(
        self, connector: Connector, expected: pa.Table
    ) -> None:
        """Rows come in order, of the columns asked for, whichever columns the filter reads."""
        rates = expected["rate"].to_pylist()
        for where, kept in _FILTERS:
            found = [
                rate for b in connector.batches(["rate"], where=where) for rate in b.column(0).to_pylist()
            ]
            assert found == [rates[row] for row in kept], where

    def test_filtered_batches_are_bounded_too(self, connector: Connector) -> None:
        """A filter neither makes batches larger nor leaves empty ones."""
        where = Or((Compare("amount", "<", 0), Compare("amount", ">", 3)))
        sizes = [b.num_rows for b in connector.batches(["person"], where=where, batch_rows=2)]
        assert sum(sizes) == 4
        assert all(1 <= size <= 2 for size in sizes)

    def test_a_filter_that_does_not_fit_is_refused_before_reading(self, connector: Connector) -> None:
        """By name of the column and kind of value, never by the value."""
        with pytest.raises(MissingColumn):
            connector.batches(["person"], where=IsNull('person" OR 1=1 --'))
        with pytest.raises(InvalidFilter, match="column amount: expected an integer"):
            connector.batches(["person"], where=Compare("amount", "=", "5"))

    def test_the_dataset_version_is_stable(self, connector: Connector, expected: pa.Table) -> None:
        """Two reads give one fingerprint."""
        version = dataset_version(connector, _SALT)
        assert version == dataset_version(connector, _SALT)
        assert version.rows == expected.num_rows

    def test_close_may_be_called_twice(self, connector: Connector) -> None:
        """Closing is idempotent."""
        connector.close()
        connector.close()
