"""Identity numbers, telephone numbers and keys of several columns: one form each, counted refusals."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors import identifiers
from connectors.errors import InvalidIdentifiers, UnknownRule

WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def normalised(values: list[str | None], *rules: str) -> list[str | None]:
    return identifiers.normalise(pa.array(values, pa.string()), rules).to_pylist()


@pytest.mark.parametrize(
    "written",
    [
        "11010519491231002X",
        "11010519491231002x",
        " １１０１０５１９４９１２３１００２Ｘ",
        "110105 19491231 002X",
        "110105491231002",
    ],
)
def test_a_resident_identity_number_has_one_form(written: str) -> None:
    assert normalised([written, None], "resident-id-cn") == ["11010519491231002X", None]


@pytest.mark.parametrize(
    "written",
    [
        "110105194912310021",
        "11010519491331002X",
        "1101051949123100",
        "01010519491231002X",
        "",
        "11010519491231002XX",
    ],
)
def test_what_is_no_resident_identity_number_is_counted_and_not_shown(written: str) -> None:
    with pytest.raises(InvalidIdentifiers, match="found 1 others") as caught:
        normalised(["11010519491231002X", written], "resident-id-cn")
    assert not written or written not in str(caught.value)


@settings(max_examples=30, deadline=None)
@given(
    region=st.integers(100000, 999999),
    date=st.dates(min_value=dt.date(1900, 1, 1), max_value=dt.date(2099, 12, 31)),
    order=st.integers(0, 999),
)
def test_the_check_digit_is_that_of_mod_11_2(region: int, date: dt.date, order: int) -> None:
    body = f"{region}{date:%Y%m%d}{order:03d}"
    total = sum(int(digit) * weight for digit, weight in zip(body, WEIGHTS, strict=True))
    whole = body + "10X98765432"[total % 11]
    assert normalised([whole], "resident-id-cn") == [whole]
    if body[6:8] == "19":
        assert normalised([body[:6] + body[8:]], "resident-id-cn") == [whole]


@pytest.mark.parametrize(
    ("written", "rule", "number"),
    [
        ("138 0013 8000", "e164-86", "+8613800138000"),
        ("+86 138-0013-8000", "e164-86", "+8613800138000"),
        ("0086(138)00138000", "e164-86", "+8613800138000"),
        ("０１０－１２３４５６７８", "e164-86", "+861012345678"),
        ("+1 (212) 555.0100", "e164-86", "+12125550100"),
        ("0171 1234567", "e164-49", "+491711234567"),
    ],
)
def test_a_telephone_number_has_the_form_of_e164(written: str, rule: str, number: str) -> None:
    assert normalised([written], rule) == [number]
    assert normalised([number], rule) == [number]


@pytest.mark.parametrize("written", ["12", "call me", "+0123456789", "", "+86 138 0013 8000 ext 4"])
def test_what_is_no_telephone_number_is_refused(written: str) -> None:
    with pytest.raises(InvalidIdentifiers):
        normalised([written], "e164-86")


@pytest.mark.parametrize("rule", ["e164-", "e164-0", "e164-8600", "e164-cn", "rot13"])
def test_unknown_rules_are_refused(rule: str) -> None:
    assert not identifiers.is_rule(rule)
    with pytest.raises(UnknownRule):
        normalised(["1"], rule)


ROW = st.tuples(st.text(max_size=4), st.text(max_size=4), st.text(max_size=4))


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=8))
def test_different_rows_of_keys_make_different_identifiers(rows: list[tuple[str, str, str]]) -> None:
    columns = [pa.array(values, pa.string()) for values in zip(*rows, strict=True)]
    composed = identifiers.compose(columns).to_pylist()
    assert len(set(composed)) == len(set(rows))


def test_one_column_stays_as_it_is_and_empty_rows_are_counted() -> None:
    column = pa.array(["a", None, "", "d"])
    assert identifiers.compose([column]) is column
    assert identifiers.count_empty([column]) == 2
    assert identifiers.count_empty([column, pa.array([None, "b", "c", "d"])]) == 3
