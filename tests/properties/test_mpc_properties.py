"""Both protocols agree with the plain computation; encodings come back; rounding is exact."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc import fixed_point, wire
from mpc.errors import MalformedMessage
from mpc.psi import ecdh
from mpc.stats import group_sums
from mpc.testing import DeterministicRandomness, run_pair

ITEMS = st.lists(st.binary(min_size=1, max_size=20), unique=True, max_size=12)
SEED = st.binary(min_size=16, max_size=16)


@settings(max_examples=60, deadline=None)
@given(own=ITEMS, peer=ITEMS, shared=ITEMS, seeds=st.tuples(SEED, SEED))
def test_psi_is_the_aligned_set_intersection(
    own: list[bytes], peer: list[bytes], shared: list[bytes], seeds: tuple[bytes, bytes]
) -> None:
    left, right = list(dict.fromkeys(own + shared)), list(dict.fromkeys(shared + peer))
    one, two = run_pair(
        lambda ch: ecdh.run(ch, left, DeterministicRandomness(seeds[0])),
        lambda ch: ecdh.run(ch, right, DeterministicRandomness(seeds[1])),
    )
    assert [left[row] for row in one.rows] == [right[row] for row in two.rows]
    assert sorted(left[row] for row in one.rows) == sorted(set(left) & set(right))


@settings(max_examples=20, deadline=None)
@given(
    data=st.data(),
    k=st.integers(1, 5),
    m=st.integers(1, 3),
    minimum=st.integers(1, 3),
    seeds=st.tuples(SEED, SEED),
)
def test_group_sums_are_the_plain_sums_of_the_open_groups(
    data: st.DataObject, k: int, m: int, minimum: int, seeds: tuple[bytes, bytes]
) -> None:
    groups = np.array(data.draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=12)), dtype=np.int64)
    value = st.integers(-(2**59), 2**59)
    rows = data.draw(
        st.lists(st.lists(value, min_size=m, max_size=m), min_size=len(groups), max_size=len(groups))
    )
    measures = np.array(rows, dtype=np.int64)
    one, two = run_pair(
        lambda ch: group_sums.measure_holder(
            ch, measures, min_cohort=minimum, rng=DeterministicRandomness(seeds[0])
        ),
        lambda ch: group_sums.group_holder(
            ch, groups, k, min_cohort=minimum, rng=DeterministicRandomness(seeds[1])
        ),
    )
    sums = group_sums.combine(
        group_sums.GroupShares.decode(one.encode()), group_sums.GroupShares.decode(two.encode())
    )
    for group in range(k):
        count = int(np.count_nonzero(groups == group))
        open_group = count >= minimum
        assert one.counts[group] == two.counts[group] == (count if open_group else group_sums.SUPPRESSED)
        expected = measures[groups == group].sum(axis=0) if open_group else np.zeros(m, dtype=np.int64)
        assert sums[group].tolist() == expected.tolist()


@given(
    values=st.lists(st.integers(0, 2**64 - 1), max_size=8),
    number=st.integers(0, 2**64 - 1),
    cut=st.integers(0, 10_000),
)
def test_wire_fields_come_back_and_no_prefix_is_accepted(values: list[int], number: int, cut: int) -> None:
    array = np.array(values, dtype=np.uint64)
    payload = wire.encode_uint64(number) + wire.encode_array(array)

    def read(data: bytes) -> tuple[int, list[int]]:
        reader = wire.Reader("test", data)
        fields = reader.uint64("number"), reader.array("values", "<u8", (None,)).tolist()
        reader.finish()
        return fields

    assert read(payload) == (number, values)
    try:
        read(payload[: cut % len(payload)])
    except MalformedMessage:
        return
    raise AssertionError("a prefix was accepted")


@given(
    value=st.floats(-1e9, 1e9, allow_nan=False) | st.integers(-(10**6), 10**6).map(lambda n: n / 2000),
    decimals=st.integers(0, 9),
)
def test_a_float_is_rounded_as_its_exact_value(value: float, decimals: int) -> None:
    encoded = fixed_point.encode(np.array([value]), decimals)
    assert int(encoded[0]) == round(Fraction(value) * 10**decimals)


@given(value=st.decimals(-(10**9), 10**9, allow_nan=False, places=12), decimals=st.integers(0, 9))
def test_a_decimal_is_rounded_half_even_and_decodes_to_it(value: Decimal, decimals: int) -> None:
    decoded = fixed_point.decode(fixed_point.encode([value], decimals), decimals)
    assert decoded[0] == value.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_EVEN)
