"""Marks in tables and images: found under their own key, not under another, and hardly a change."""

from __future__ import annotations

import io
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from exchange.delivery.image_marks import ImageMark, likelihood
from exchange.delivery.table_marks import Found, TableMark, is_markable
from exchange.errors import InvalidRequest

ROWS = 4000
KEYS = [bytes([i]) * 32 for i in range(4)]


def table() -> pa.Table:
    rng = np.random.default_rng(7)
    cents = rng.integers(-(10**9), 10**9, ROWS)
    return pa.table(
        {
            "person": [f"P{i:05d}" for i in range(ROWS)],
            "balance": pa.array(rng.integers(-(10**6), 10**6, ROWS), mask=rng.random(ROWS) < 0.05),
            "small": pa.array(rng.integers(0, 200, ROWS), pa.uint8()),
            "rate": pa.array(rng.normal(0, 1000, ROWS), mask=rng.random(ROWS) < 0.05),
            "price": pa.array(
                [None if i % 50 == 0 else Decimal(int(n)).scaleb(-2) for i, n in enumerate(cents)],
                pa.decimal128(14, 2),
            ),
            "group": rng.integers(0, 5, ROWS),
        }
    )


def mark(key: bytes = KEYS[0], every: int = 5) -> TableMark:
    return TableMark(key, "person", {"balance": 0, "small": 0, "rate": 2, "price": 2}, every)


def marked(given: pa.Table, by: TableMark) -> pa.Table:
    return pa.Table.from_batches(by.mark(given.to_batches(max_chunksize=700)), given.schema)


def test_a_marked_copy_is_found_under_its_own_key_alone() -> None:
    copy = marked(table(), mark())
    own = mark().find(copy.to_batches())
    assert own.fitting == own.places > ROWS / 8
    assert own.chance < 1e-50
    assert all(mark(key).find(copy.to_batches()).chance > 1e-9 for key in KEYS[1:])
    assert mark().find(table().to_batches()).chance > 1e-9


def test_only_named_numbers_change_and_by_one_unit_at_most() -> None:
    before, after = table(), marked(table(), mark())
    assert after.schema == before.schema
    for name in ("person", "group"):
        assert after[name] == before[name]
    for name, unit in (("balance", 1), ("small", 1), ("price", Decimal("0.01"))):
        pairs = list(zip(before[name].to_pylist(), after[name].to_pylist(), strict=True))
        assert all((a is None) == (b is None) for a, b in pairs)
        assert 0 < sum(a != b for a, b in pairs) < ROWS / 5
        assert max(abs(a - b) for a, b in pairs if a is not None) == unit


def test_marked_floating_point_rows_have_no_fewer_digits_than_the_others() -> None:
    after = marked(table(), mark())["rate"].drop_null().to_pylist()
    assert all(round(value, 2) == value for value in after)


def test_a_part_of_the_rows_in_another_order_with_fewer_columns_is_found() -> None:
    copy = marked(table(), mark(every=2))
    rows = np.random.default_rng(3).permutation(ROWS)[:600]
    part = copy.take(pa.array(rows)).select(["rate", "person"])
    assert mark(every=2).find(part.to_batches()).chance < 1e-9


def test_a_copy_that_went_through_csv_is_found() -> None:
    out = io.BytesIO()
    pyarrow.csv.write_csv(marked(table(), mark()), out)
    copy = pyarrow.csv.read_csv(io.BytesIO(out.getvalue()))
    assert mark().find(copy.select(["person", "balance", "small", "rate"]).to_batches()).chance < 1e-9


def test_numbers_that_are_none_stay_as_they_are() -> None:
    odd = pa.table({"person": ["a", "b", "c", "d"], "rate": [float("nan"), float("inf"), -1e300, 0.126]})
    copy = marked(odd, TableMark(KEYS[0], "person", {"rate": 2}, 1))
    assert str(copy["rate"].to_pylist()[:3]) == "[nan, inf, -1e+300]"
    assert TableMark(KEYS[0], "person", {"rate": 2}, 1).find(copy.to_batches()) == Found(1, 1)


def test_what_cannot_carry_a_mark_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="columns of numbers"):
        marked(table(), TableMark(KEYS[0], "person", {"person": 0}, 2))
    with pytest.raises(InvalidRequest, match="the column nobody"):
        marked(table(), TableMark(KEYS[0], "nobody", {"balance": 0}, 2))
    assert not is_markable(pa.string())


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_chance_is_a_probability_and_falls_with_the_fit(fitting: int, more: int) -> None:
    places = fitting + more
    chance = Found(fitting, places).chance
    assert 0 <= chance <= 1
    assert Found(min(fitting + 1, places), places).chance <= chance


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30), st.integers(1, 4))
def test_whole_numbers_of_any_size_carry_marks(values: list[int], every: int) -> None:
    given_table = pa.table(
        {"person": [str(i) for i in range(len(values))], "n": pa.array(values, pa.int64())}
    )
    by = TableMark(KEYS[1], "person", {"n": 0}, every)
    copy = marked(given_table, by)
    found = by.find(copy.to_batches())
    assert found.fitting == found.places
    assert all(abs(a - b) <= 1 for a, b in zip(values, copy["n"].to_pylist(), strict=True))


# --- images


def picture(mode: str = "RGB") -> bytes:
    y, x = np.mgrid[0:160, 0:203]
    noise = np.random.default_rng(5).normal(0, 5, y.shape)
    grey = (128 + 60 * np.sin(x / 17) + 40 * np.cos(y / 23) + noise).clip(0, 255).astype(np.uint8)
    colour = Image.fromarray(np.stack([grey, grey[::-1], 255 - grey], axis=-1))
    out = io.BytesIO()
    colour.convert(mode).save(out, "PNG")
    return out.getvalue()


def stored_as_jpeg(image: bytes, quality: int) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(image)).convert("RGB").save(out, "JPEG", quality=quality)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P"])
def test_an_image_carries_its_mark_and_no_other(mode: str) -> None:
    original = picture(mode)
    copy = ImageMark(KEYS[0]).mark(original)
    assert likelihood(ImageMark(KEYS[0]).score(original, copy)) < 1e-12
    assert all(likelihood(ImageMark(key).score(original, copy)) > 1e-6 for key in KEYS[1:])


def test_the_mark_is_faint_and_survives_jpeg() -> None:
    original = picture()
    copy = ImageMark(KEYS[0]).mark(original)
    pixels = [np.asarray(Image.open(io.BytesIO(one)).convert("L"), dtype=float) for one in (original, copy)]
    assert 10 * np.log10(255**2 / np.mean((pixels[0] - pixels[1]) ** 2)) > 38
    again = stored_as_jpeg(copy, 60)
    assert likelihood(ImageMark(KEYS[0]).score(original, again)) < 1e-12
    assert likelihood(ImageMark(KEYS[1]).score(original, again)) > 1e-6


def test_a_jpeg_stays_a_jpeg() -> None:
    original = stored_as_jpeg(picture(), 90)
    copy = ImageMark(KEYS[0]).mark(original)
    assert Image.open(io.BytesIO(copy)).format == "JPEG"
    assert likelihood(ImageMark(KEYS[0]).score(original, copy)) < 1e-12


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", picture()[:200]])
def test_what_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidRequest, match="PNG or JPEG"):
        ImageMark(KEYS[0]).mark(content)


def test_a_copy_of_another_size_is_refused() -> None:
    small = io.BytesIO()
    Image.open(io.BytesIO(picture())).resize((100, 80)).save(small, "PNG")
    with pytest.raises(InvalidRequest, match="203 x 160"):
        ImageMark(KEYS[0]).score(picture(), small.getvalue())
