"""Whose consent covers a use, and what a data subject tells an owner of itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from connectors.errors import MissingColumn
from connectors.filters import Filter
from exchange.credentials.consents import check_identified, consents, identify, is_required
from exchange.credentials.errors import CredentialInvalid
from exchange.credentials.testing import NOW
from exchange.node.consented import ConsentedRows
from ledger.keys import SigningKey, did_key
from ledger.tables import State
from ledger.times import format_time

LOANS, PURPOSE = "lender/loans", "dpv:CustomerSolvencyMonitoring"
KEY = SigningKey.from_seed(bytes(32))
SUBJECT = did_key(KEY.public)


def state(**changes: Any) -> State:
    row = {
        "consent": "consent-1",
        "subject": SUBJECT,
        "asset": LOANS,
        "purpose": PURPOSE,
        "expires": format_time(NOW + timedelta(days=1)),
        "status": "given",
        **changes,
    }
    return State().put("consents", "consent-1", row, index=1)


def test_a_consent_covers_its_purpose_and_narrower_ones() -> None:
    assert consents(state(), LOANS, PURPOSE, NOW) == {SUBJECT}
    assert consents(state(purpose="dpv:CustomerManagement"), LOANS, PURPOSE, NOW) == {SUBJECT}


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({}, {"purpose": "dpv:CustomerManagement"}),
        ({"purpose": "dpv:IdentityVerification"}, {}),
        ({"asset": "lender/other"}, {}),
        ({"status": "withdrawn"}, {}),
        ({"expires": format_time(NOW)}, {}),
        ({"columns": ["balance"]}, {}),
        ({"columns": ["balance"]}, {"columns": ["balance", "arrears"]}),
        ({}, {"purpose": "dpv:DirectMarketing"}),
        ({"purpose": "made up"}, {"purpose": "made up"}),
    ],
    ids=str,
)
def test_it_covers_nothing_else(changes: dict[str, Any], asked: dict[str, Any]) -> None:
    use = {"asset": LOANS, "purpose": PURPOSE, "now": NOW, **asked}
    assert consents(state(**changes), **use) == frozenset()


def test_a_consent_to_columns_covers_fewer_of_them() -> None:
    found = consents(state(columns=["balance", "arrears"]), LOANS, PURPOSE, NOW, ["balance"])
    assert found == {SUBJECT}


def test_an_asset_needs_consent_while_its_owner_says_so() -> None:
    assert not is_required(State(), LOANS)
    for required in (True, False):
        row = {"asset": LOANS, "required": required, "column": "id"}
        assert is_required(State().put("consent_rules", LOANS, row, index=1), LOANS) is required


def test_an_owner_learns_from_the_subject_itself_which_row_is_whose() -> None:
    signed = identify(KEY, net="net", asset=LOANS, identifier="zq 00001")
    assert check_identified(signed, "net") == (LOANS, "zq 00001", SUBJECT)


@pytest.mark.parametrize(
    "change",
    [
        {"identifier": "zq 00002"},
        {"subject": did_key(SigningKey.from_seed(bytes([1] * 32)).public)},
        {"net": "elsewhere"},
        {"v": 2},
        {"asset": ""},
        {"more": "x"},
        {"identifier": 7},
    ],
    ids=str,
)
def test_what_a_subject_did_not_sign_binds_no_row(change: dict[str, object]) -> None:
    signed = identify(KEY, net="net", asset=LOANS, identifier="zq 00001")
    assert isinstance(signed["statement"], dict)
    with pytest.raises(CredentialInvalid) as caught:
        check_identified({**signed, "statement": {**signed["statement"], **change}}, "net")
    assert "zq" not in str(caught.value)


class Loans:
    """A source of four rows, and what it was asked for."""

    asked: tuple[str, ...] = ()

    def schema(self) -> pa.Schema:
        return pa.schema([("id", pa.string()), ("balance", pa.int64()), ("arrears", pa.int64())])

    def batches(
        self, columns: Sequence[str], *, where: Filter | None = None, batch_rows: int = 2
    ) -> Iterator[pa.RecordBatch]:
        self.asked = tuple(columns)
        table = pa.table({"id": ["a", " b ", "c", None], "balance": [1, 2, 3, 4], "arrears": [0, 1, 0, 1]})
        yield from table.select(list(columns)).to_batches(max_chunksize=2)

    def close(self) -> None:
        self.asked = ()


def rows(connector: ConsentedRows, *columns: str) -> list[dict[str, Any]]:
    return pa.Table.from_batches(list(connector.batches(columns))).to_pylist()


def test_only_rows_of_allowed_identifiers_are_read_in_the_same_order() -> None:
    consented = ConsentedRows(Loans(), "id", pa.array(["c", "b"], pa.string()))
    assert rows(consented, "balance") == [{"balance": 2}, {"balance": 3}]
    assert rows(consented, "arrears", "id") == [{"arrears": 1, "id": " b "}, {"arrears": 0, "id": "c"}]


def test_nobodys_rows_are_read_where_nobody_is_allowed() -> None:
    assert list(ConsentedRows(Loans(), "id", pa.array([], pa.string())).batches(["balance"])) == []


def test_an_unknown_column_is_refused_at_the_call() -> None:
    with pytest.raises(MissingColumn):
        ConsentedRows(Loans(), "id", pa.array(["a"], pa.string())).batches(["secret"])
