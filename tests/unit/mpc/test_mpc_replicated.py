"""Computation on replicated shares: equal to numpy, at the stated rounds and bytes, inputs checked first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mpc import replicated
from mpc.errors import InvalidInput, PeerAborted, ValueOutOfRange
from mpc.mesh import Mesh
from mpc.replicated import LIMIT, SPEC, Runtime, Shared, comparison, costs, kernels, logarithm, permuting
from mpc.replicated.clipping import clipped
from mpc.replicated.costs import Cost
from mpc.replicated.suppression import large_enough
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes, run_mesh

Program = Callable[[Runtime, list[Shared]], Any]
RNG = np.random.default_rng(11)


def numbers(rows: int, bits: int = 62) -> NDArray[np.int64]:
    return RNG.integers(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1), rows)


def role(inputs: Sequence[tuple[int, NDArray[np.int64]]], program: Program) -> Callable[[Mesh], Any]:
    """One party: shares its own inputs, runs the program, and returns what it gave."""

    def play(mesh: Mesh) -> Any:
        with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([mesh.rank]) * 16)) as rt:
            shared = [
                rt.share(owner, values if owner == rt.rank else None, values.shape)
                for owner, values in inputs
            ]
            return program(rt, shared)

    return play


def compute(
    program: Program, *inputs: NDArray[np.int64], owners: Sequence[int] = (0, 1, 2), parties: int = 3
) -> list[Any]:
    """Run a program at every party, input k owned by ``owners[k]``."""
    placed = list(zip(owners, inputs, strict=False))
    return run_mesh([role(placed, program)] * parties)


EVERYONE = range(3)


def test_products_sums_and_linear_maps_wrap_as_int64_does() -> None:
    a, b = numbers(130), numbers(130)
    a[0], b[0] = LIMIT - 1, -LIMIT + 1

    def program(rt: Runtime, xs: list[Shared]) -> Any:
        x, y = xs
        wanted = [
            rt.mul(x, y),
            rt.sub(rt.scale(x, -3), rt.neg(y)),
            rt.sum(x),
            rt.cumsum(y),
            rt.dot(x, y),
            rt.add_public(x, 5),
            rt.dot(replicated.Shared(x.shares.reshape(len(x.shares), 2, 65)), y[:65]),
            rt.mul(x[:65], replicated.Shared(y.shares.reshape(len(y.shares), 2, 65))),
        ]
        return [rt.open(one, EVERYONE) for one in wanted]

    with np.errstate(over="ignore"):
        expected = [
            a * b,
            -3 * a + b,
            a.sum(keepdims=True),
            np.cumsum(b),
            (a * b).sum(keepdims=True),
            a + 5,
            (a.reshape(2, 65) @ b[:65])[:, None],
            a[:65] * b.reshape(2, 65),
        ]
    for got in compute(program, a, b):
        for one, value in zip(got, expected, strict=True):
            np.testing.assert_array_equal(one, value)


@pytest.mark.parametrize("bits", [1, 2, 3, 7, 20, 63, 64])
def test_comparisons_and_bits_are_exact_in_the_stated_width(bits: int) -> None:
    a = RNG.integers(-(2 ** (min(bits, 62) - 1)), 2 ** (min(bits, 62) - 1), 70)
    b = np.where(RNG.random(70) < 0.3, a, RNG.permutation(a))

    def program(rt: Runtime, xs: list[Shared]) -> Any:
        wide = min(bits + 1, 64)
        return [
            rt.open_bits(one, EVERYONE)
            for one in (
                rt.is_negative(xs[0], bits=bits),
                rt.less(xs[0], xs[1], bits=wide),
                rt.equal(xs[0], xs[1], bits=bits),
                comparison.bits_of(rt, xs[0], bits),
            )
        ]

    for negative, less, equal, planes in compute(program, a, b):
        np.testing.assert_array_equal(negative, a < 0)
        np.testing.assert_array_equal(less, a < b)
        np.testing.assert_array_equal(equal, a == b)
        np.testing.assert_array_equal(planes, (a[None] >> np.arange(bits)[:, None]) & 1)


def test_logic_conversion_and_choice() -> None:
    bits = RNG.random((2, 77)) < 0.5
    a, b = numbers(77), numbers(77)

    def play(mesh: Mesh) -> Any:
        with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([mesh.rank]) * 16)) as rt:
            first = rt.share_bits(2, bits[0] if rt.rank == 2 else None, 77)
            second = rt.share_bits(3, bits[1] if rt.rank == 3 else None, 77)
            x, y = rt.constant(a), rt.share(3, b if rt.rank == 3 else None, 77)
            logic = [
                rt.and_(first, second),
                rt.or_(first, second),
                rt.xor(first, rt.constant_bits(bits[1])),
                rt.not_(second),
                first.take(slice(None, None, -1)),
            ]
            return [rt.open_bits(one, (0, 3)) for one in logic] + [
                rt.open(rt.to_arithmetic(first), (0, 3)),
                rt.open(rt.select(second, x, y), (0, 3)),
            ]

    first, second = bits
    expected = [first & second, first | second, first ^ second, ~second, first[::-1]]
    expected += [first.astype(np.int64), np.where(second, a, b)]
    ended = run_mesh([play] * 4)
    for got in (ended[0], ended[3]):
        for one, value in zip(got, expected, strict=True):
            np.testing.assert_array_equal(one, value)
    assert ended[1] == ended[2] == [None] * 7


@pytest.mark.parametrize("rows", [1, 2, 65])
def test_sorting_is_stable_by_several_keys_and_groups_are_summed(rows: int) -> None:
    first, second, value = RNG.integers(-2, 2, rows), RNG.integers(-4, 4, rows), np.arange(rows)

    def program(rt: Runtime, xs: list[Shared]) -> Any:
        keys, (moved,) = rt.sort(xs[:2], [xs[2]], [2, 3], [False, True])
        groups = rt.group_sums(keys, [moved, rt.constant(np.ones(rows, dtype=np.int64))], [2, 3])
        wanted = [*keys, moved, *groups.keys, *groups.sums, groups.is_group]
        return [rt.open(one, EVERYONE) for one in wanted]

    order = np.lexsort([-second, first])
    found = dict.fromkeys(zip(first[order].tolist(), second[order].tolist(), strict=True))
    empty = [0] * (rows - len(found))
    for got in compute(program, first, second, value, owners=(0, 4, 2), parties=5)[:3]:
        np.testing.assert_array_equal(got[:3], [first[order], second[order], value[order]])
        assert list(zip(*(one.tolist() for one in got[3:5]), strict=True))[: len(found)] == list(found)
        inside = [(first == one) & (second == two) for one, two in found]
        assert got[5].tolist() == [int(value[rows].sum()) for rows in inside] + empty
        assert got[6].tolist() == [int(rows.sum()) for rows in inside] + empty
        assert got[7].tolist() == [1] * len(found) + empty


def test_a_shuffle_keeps_rows_together_and_changes_their_order() -> None:
    a = numbers(100)

    def program(rt: Runtime, xs: list[Shared]) -> Any:
        return [rt.open(one, EVERYONE) for one in rt.shuffle([xs[0], rt.scale(xs[0], 2)])]

    for one, two in compute(program, a):
        np.testing.assert_array_equal(two, 2 * one)
        assert sorted(one.tolist()) == sorted(a.tolist())
        assert one.tolist() != a.tolist()


@pytest.mark.parametrize("divisor", [1, 2, 3, 10**6, 2**40, 10**9, 2**61])
def test_quotients_by_public_numbers_are_within_the_stated_error(divisor: int) -> None:
    largest = 2**62 - divisor
    edges = [0, 1, -1, largest, -largest, divisor, -divisor, divisor // 2, 12345]
    a = np.array([value for value in edges if abs(value) < LIMIT] + numbers(200, 61).tolist())
    bound = 1 if divisor & (divisor - 1) == 0 else 1.5
    for got in compute(lambda rt, xs: rt.open(rt.quotient(xs[0], divisor), EVERYONE), a):
        errors = [abs(int(one) * divisor - int(value)) for one, value in zip(got, a, strict=True)]
        assert max(errors) <= bound * divisor


def test_fixed_point_products_are_within_one_and_a_half_units() -> None:
    a, b = RNG.integers(-(2**30), 2**30, 99), RNG.integers(-(2**30), 2**30, 99)
    for got in compute(lambda rt, xs: rt.open(rt.quotient(rt.mul(*xs), 10**6), EVERYONE), a, b):
        assert np.abs(got - a * b / 1e6).max() <= 1.5 + 1e-3


@pytest.mark.parametrize(("dividend_bits", "divisor_bits"), [(61, 29), (50, 29), (30, 20), (24, 8), (40, 1)])
def test_quotients_of_shared_numbers_are_within_three(dividend_bits: int, divisor_bits: int) -> None:
    top = 2**divisor_bits - 1
    a = RNG.integers(-(2**dividend_bits) + 1, 2**dividend_bits, 300)
    a[:4] = [2**dividend_bits - 1, -(2**dividend_bits) + 1, 0, 1]
    b = np.minimum(2 ** RNG.integers(0, divisor_bits + 1, 300) + RNG.integers(-3, 3, 300), top)
    b = np.maximum(b, 1)
    b[:4] = [1, top, top, 1]

    def program(rt: Runtime, xs: list[Shared]) -> Any:
        shared = rt.divide(*xs, dividend_bits=dividend_bits, divisor_bits=divisor_bits)
        return rt.open(shared, EVERYONE)

    for got in compute(program, a, b):
        errors = [abs(int(q) * int(y) - int(x)) / int(y) for q, x, y in zip(got, a, b, strict=True)]
        assert max(errors) <= 3


@pytest.mark.parametrize("bits", [2, 10, 30, 40, 58])
def test_square_roots_are_within_the_stated_error(bits: int) -> None:
    a = RNG.integers(0, 2**bits, 300) >> RNG.integers(0, bits, 300)
    a[:4] = [0, 1, 2**bits - 1, 3]
    for got in compute(lambda rt, xs: rt.open(rt.square_root(xs[0], bits=bits), EVERYONE), a):
        assert (np.abs(got - np.sqrt(a)) <= 2 + np.sqrt(a) / 2**24).all()


@pytest.mark.parametrize("columns", [1, 2, 7])
def test_extremes_are_those_of_each_row(columns: int) -> None:
    a = RNG.integers(-(2**20), 2**20, (3, columns))

    def program(rt: Runtime, xs: list[Shared]) -> Any:
        return [rt.open(rt.extreme(xs[0], bits=22, largest=end), EVERYONE) for end in (False, True)]

    for least, most in compute(program, a):
        np.testing.assert_array_equal(least, a.min(axis=1))
        np.testing.assert_array_equal(most, a.max(axis=1))


@pytest.mark.parametrize("columns", [1, 2, 7, 13])
def test_the_largest_of_each_row_has_its_place_and_the_first_of_equal_ones(columns: int) -> None:
    a = RNG.integers(-4, 4, (20, columns))

    def program(rt: Runtime, xs: list[Shared]) -> Any:
        return rt.open(rt.place_of_largest(xs[0], bits=4), EVERYONE)

    for got in compute(program, a):
        np.testing.assert_array_equal(got, np.eye(columns, dtype=np.int64)[a.argmax(axis=1)])


@pytest.mark.parametrize(
    ("counts", "alone", "together"),
    [
        ([9, 0, 12, 10], [0, 0, 1, 1], [0, 0, 1, 0]),
        ([9, 2, 12, 10], [0, 0, 1, 1], [0, 0, 1, 1]),
        ([0, 0, 12, 10], [0, 0, 1, 1], [0, 0, 1, 1]),
        ([9, 11, 12, 11], [0, 1, 1, 1], [0, 0, 1, 0]),
        ([9, 15], [0, 1], [0, 0]),
        ([9], [0], [0]),
    ],
)
def test_groups_below_the_least_are_left_out_and_more_where_these_are_few(
    counts: list[int], alone: list[int], together: list[int]
) -> None:
    def program(rt: Runtime, xs: list[Shared]) -> Any:
        flags = [large_enough(rt, xs[0], 10, complementary=one) for one in (False, True)]
        return [rt.open(one, EVERYONE).tolist() for one in flags]

    assert compute(program, np.array(counts)) == [[alone, together]] * 3


@pytest.mark.parametrize(("low", "high", "bits"), [(0, 9, 6), (-5, 5, 6), (3, 3, 64), (-(2**61), 2**61, 64)])
def test_values_are_cut_off_at_public_bounds_and_it_is_known_which_were_between(
    low: int, high: int, bits: int
) -> None:
    a = np.concatenate([np.arange(-20, 20), [low - 1, low, high, high + 1]]).reshape(2, -1)

    def program(rt: Runtime, xs: list[Shared]) -> Any:
        return [rt.open(one, EVERYONE) for one in clipped(rt, xs[0], low, high, bits=bits)]

    for values, inside in compute(program, a):
        np.testing.assert_array_equal(values, np.clip(a, low, high))
        np.testing.assert_array_equal(inside, (low <= a) & (a <= high))


@pytest.mark.parametrize("part", [Fraction(1, 2), Fraction(1), Fraction(1, 10), Fraction(37, 100)])
def test_quantiles_are_those_of_the_chosen_rows(part: Fraction) -> None:
    values, chosen = RNG.integers(0, 2**7, 40), RNG.integers(0, 2, (3, 40))
    chosen[:, 0] = 1

    def program(rt: Runtime, xs: list[Shared]) -> Any:
        return rt.open(rt.quantile(xs[0], xs[1], part, bits=7), EVERYONE)

    for got in compute(program, values, chosen):
        for one, rows in zip(got, chosen, strict=True):
            inside = np.sort(values[rows == 1])
            assert one == inside[math.ceil(part * len(inside)) - 1]


def test_public_numbers_reach_everybody() -> None:
    def program(rt: Runtime, xs: list[Shared]) -> Any:
        return rt.state((rt.rank, 7) if rt.rank != 2 else None, 2)

    assert run_mesh([role([], program)] * 4) == [{0: (0, 7), 1: (1, 7), 3: (3, 7)}] * 4
    ended = mesh_outcomes([role([], lambda rt, xs: rt.state((1,) * (1 + (rt.rank == 1)), 1))] * 3)
    assert isinstance(ended[1], InvalidInput)


OPERATIONS: dict[str, tuple[Program, Cost]] = {
    "product": (lambda rt, xs: rt.mul(*xs), costs.product(70)),
    "dot": (lambda rt, xs: rt.dot(*xs), costs.product(1)),
    "sign": (lambda rt, xs: rt.is_negative(xs[0]), costs.sign(70)),
    "sign-of-20": (lambda rt, xs: rt.less(*xs, bits=20), costs.sign(70, 20)),
    "sign-of-1": (lambda rt, xs: rt.is_negative(xs[0], bits=1), costs.sign(70, 1)),
    "equal": (lambda rt, xs: rt.equal(*xs), costs.is_zero(70)),
    "equal-of-5": (lambda rt, xs: rt.equal(*xs, bits=5), costs.is_zero(70, 5)),
    "bits": (lambda rt, xs: comparison.bits_of(rt, xs[0]), costs.bits_of(70)),
    "bits-of-6": (lambda rt, xs: comparison.bits_of(rt, xs[0], 6), costs.bits_of(70, 6)),
    "select": (
        lambda rt, xs: rt.select(rt.constant_bits(np.ones(70, dtype=np.bool_)), *xs),
        costs.select(70),
    ),
    "shuffle": (lambda rt, xs: rt.shuffle(xs), costs.shuffle(70, 2)),
    "order": (lambda rt, xs: permuting.order_of(rt, xs, [3, 2]), costs.order_of(70, [3, 2])),
    "sort": (
        lambda rt, xs: rt.sort(xs[:1], xs[1:], [4]),
        costs.order_of(70, [4]) + costs.reorder(70, 2),
    ),
    "groups": (lambda rt, xs: rt.group_sums(xs[:1], xs, [4]), costs.group_sums(70, 2, [4])),
    "clipped": (lambda rt, xs: clipped(rt, xs[0], -3, 7), costs.clipped(70)),
    "clipped-of-20": (lambda rt, xs: clipped(rt, xs[0], 0, 7, bits=20), costs.clipped(70, 20)),
    "quotient": (lambda rt, xs: rt.quotient(xs[0], 10), costs.quotient(70)),
    "sigmoid": (lambda rt, xs: rt.sigmoid(xs[0], 20), costs.sigmoid(70)),
    "exponential": (lambda rt, xs: rt.exponential(xs[0], 20), costs.exponential(70)),
    "logarithm": (lambda rt, xs: logarithm.logarithm(rt, xs[0], bits=9), costs.logarithm(70, 9)),
    "logarithm-long": (lambda rt, xs: logarithm.logarithm(rt, xs[0], bits=31), costs.logarithm(70, 31)),
    "divide": (
        lambda rt, xs: rt.divide(*xs, dividend_bits=61, divisor_bits=29),
        costs.divide(70, 61, 29),
    ),
    "divide-short": (
        lambda rt, xs: rt.divide(*xs, dividend_bits=20, divisor_bits=9),
        costs.divide(70, 20, 9),
    ),
    "square-root": (lambda rt, xs: rt.square_root(xs[0], bits=58), costs.square_root(70, 58)),
    "square-root-short": (lambda rt, xs: rt.square_root(xs[0], bits=20), costs.square_root(70, 20)),
    "extreme": (
        lambda rt, xs: rt.extreme(xs[0].reshape(10, 7), bits=20, largest=True),
        costs.extreme(10, 7, 20),
    ),
    "place": (
        lambda rt, xs: rt.place_of_largest(xs[0].reshape(10, 7), bits=20),
        costs.place_of_largest(10, 7, 20),
    ),
    "large-enough": (
        lambda rt, xs: large_enough(rt, xs[0][:7], 5, complementary=False),
        costs.large_enough(7, complementary=False),
    ),
    "large-enough-complementary": (
        lambda rt, xs: large_enough(rt, xs[0][:7], 5, complementary=True),
        costs.large_enough(7, complementary=True),
    ),
    "quantile": (
        lambda rt, xs: rt.quantile(xs[0][:35], xs[1].reshape(2, 35), Fraction(1, 3), bits=5),
        costs.quantile(2, 35, 5),
    ),
    "stated": (lambda rt, xs: rt.state((1, 2), 2), costs.stated(4, 2)),
    "open-to-one": (lambda rt, xs: rt.open(xs[0], [2]), costs.opened(70, [2])),
    "open-to-all": (lambda rt, xs: rt.open(xs[0], [0, 1, 2, 3]), costs.opened(70, [0, 1, 2, 3])),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_rounds_and_bytes_are_as_declared(name: str) -> None:
    program, cost = OPERATIONS[name]
    whole = costs.run(4) + costs.shared(1, 70) + costs.shared(3, 70) + cost
    meshes, placed = mesh_of(4), [(1, numbers(70)), (3, numbers(70))]

    def counted(rt: Runtime, xs: list[Shared]) -> int:
        program(rt, xs)
        return rt.rounds

    assert run_mesh([role(placed, counted)] * 4, meshes) == [whole.rounds] * 4
    sent = [sum(channel.stats.bytes_sent for channel in mesh.channels.values()) for mesh in meshes]
    assert sent == [*whole.sent, whole.outside]


def test_long_arrays_go_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpc.replicated.links.PIECE_BYTES", 100)
    a = numbers(70)
    for got in compute(lambda rt, xs: rt.open(rt.mul(xs[0], xs[0]), EVERYONE), a, owners=(3,), parties=4)[:3]:
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(got, a * a)


@pytest.mark.parametrize("value", [LIMIT, -LIMIT, 2**63 - 1, -(2**63)])
def test_a_value_out_of_range_is_refused_before_anything_of_it_is_sent(value: int) -> None:
    ended = mesh_outcomes([role([(1, np.array([0, value]))], lambda rt, xs: None)] * 3)
    assert isinstance(ended[1], ValueOutOfRange)
    assert "1 of 2 values" in str(ended[1])
    assert str(abs(value)) not in str(ended[1]).replace(str(LIMIT), "")
    assert [type(end) for end in (ended[0], ended[2])] == [PeerAborted] * 2


@pytest.mark.parametrize(
    ("owner", "values", "rows"),
    [
        (1, np.zeros(2, dtype=np.int64), 2),
        (0, None, 2),
        (0, np.zeros(2, dtype=np.int32), 2),
        (0, np.zeros(3, dtype=np.int64), 2),
        (3, None, 2),
    ],
    ids=["at-another", "missing", "type", "rows", "no-such-party"],
)
def test_an_input_not_as_stated_is_refused(owner: int, values: Any, rows: int) -> None:
    def program(rt: Runtime, xs: list[Shared]) -> None:
        rt.share(owner, values if rt.rank == 0 else None, rows)

    assert isinstance(mesh_outcomes([role([], program)] * 3)[0], InvalidInput)


def test_two_parties_are_too_few() -> None:
    ended = mesh_outcomes([role([], lambda rt, xs: None)] * 2)
    assert all(isinstance(end, InvalidInput) for end in ended)


def test_columns_of_different_lengths_and_widths_without_keys_are_refused() -> None:
    for program in (
        lambda rt, xs: rt.shuffle([xs[0], xs[0][:2]]),
        lambda rt, xs: rt.sort([xs[0]], [], [1, 2]),
        lambda rt, xs: rt.is_negative(xs[0], bits=65),
        lambda rt, xs: rt.is_negative(xs[0], bits=0),
        lambda rt, xs: rt.quotient(xs[0], 0),
        lambda rt, xs: rt.divide(xs[0], xs[0], divisor_bits=30),
        lambda rt, xs: rt.square_root(xs[0], bits=7),
        lambda rt, xs: rt.extreme(xs[0], bits=7, largest=True),
        lambda rt, xs: rt.place_of_largest(xs[0], bits=7),
        lambda rt, xs: rt.quantile(xs[0], xs[0].reshape(1, 3), Fraction(0), bits=7),
    ):
        ended = mesh_outcomes([role([(0, numbers(3))], program)] * 3)
        assert any(isinstance(end, InvalidInput) for end in ended)


@pytest.mark.parametrize(("rows", "planes"), [(1, 64), (64, 64), (65, 64), (130, 7), (0, 3)])
def test_planes_are_the_bits_of_words(rows: int, planes: int) -> None:
    words = RNG.integers(0, 2**64, rows, dtype=np.uint64)
    sliced = kernels.to_planes(words, planes)
    assert sliced.shape == (planes, -(-rows // 64))
    for plane in range(planes):
        for row in range(rows):
            assert (int(sliced[plane, row // 64]) >> (row % 64)) & 1 == (int(words[row]) >> plane) & 1


def test_permutations_are_drawn_without_bias_and_run_out_of_words_loudly() -> None:
    words = RNG.integers(0, 2**64, (6000, 3 + kernels.SPARE_WORDS), dtype=np.uint64)
    seen = [tuple(kernels.permutation(row, 3).tolist()) for row in words]
    # Chi squared with 5 degrees of freedom: above 40 with a chance below 2e-7, of a fixed seed.
    assert sum((seen.count(order) - 1000) ** 2 / 1000 for order in set(seen)) < 40
    assert len(set(seen)) == 6
    with pytest.raises(InvalidInput):
        kernels.permutation(np.zeros(3, dtype=np.uint64), 5)


def test_shares_do_not_print() -> None:
    shown = compute(lambda rt, xs: repr(xs[0]), np.array([77]))
    assert set(shown) == {"<Shared: not shown>"}
