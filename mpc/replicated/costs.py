"""What each operation on replicated shares costs, as formulas of public sizes; a test measures them.

Payload bytes, without labels and framing. Ranks 0 to 2 compute; `Cost.outside` is what a party of higher rank
sends for its own input.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mpc.replicated import division, logistic
from mpc.replicated import exponential as exponential_series
from mpc.replicated import logarithm as logarithm_series
from mpc.replicated.links import KEY_BYTES
from mpc.replicated.sharing import words_of
from mpc.transcript import CONFIRMATION_BYTES

__all__ = [
    "Cost",
    "bits_of",
    "clipped",
    "conjunction",
    "divide",
    "exponential",
    "extreme",
    "group_sums",
    "is_zero",
    "large_enough",
    "leading_places",
    "logarithm",
    "opened",
    "order_of",
    "place_of_largest",
    "product",
    "quantile",
    "quotient",
    "received",
    "reorder",
    "run",
    "select",
    "shared",
    "shuffle",
    "sigmoid",
    "sign",
    "square_root",
    "stated",
    "to_arithmetic",
]

_WORD = 8


@dataclass(frozen=True)
class Cost:
    """Rounds, and the bytes that each computing party and a contributing one send."""

    rounds: int = 0
    sent: tuple[int, int, int] = (0, 0, 0)
    outside: int = 0

    def __add__(self, other: Cost) -> Cost:
        first, second, third = (a + b for a, b in zip(self.sent, other.sent, strict=True))
        return Cost(self.rounds + other.rounds, (first, second, third), self.outside + other.outside)

    def __mul__(self, times: int) -> Cost:
        first, second, third = (times * one for one in self.sent)
        return Cost(times * self.rounds, (first, second, third), times * self.outside)


def run(parties: int) -> Cost:
    """Keys at the start and the comparison of transcripts at the end, for every party of a run."""
    confirmation = CONFIRMATION_BYTES * (parties - 1)
    inside = KEY_BYTES + confirmation
    return Cost(1, (inside, inside, inside), 4 * KEY_BYTES + confirmation)


def received(sent: Sequence[int], numbers: int) -> list[int]:
    """About how many bytes each party of a run receives, by rank, from what each sends.

    What a computing party sends goes to the one after it, what another sends to all three. The others receive
    the comparison of transcripts and ``numbers`` public numbers of each party.
    """
    parties = len(sent)
    common = CONFIRMATION_BYTES * (parties - 1) + stated(parties, numbers).outside
    inputs = sum(sent[3:]) // 3
    return [*(sent[rank - 1] + inputs for rank in (3, 1, 2)), *[common] * (parties - 3)]


def shared(owner: int, values: int) -> Cost:
    """Share ``values`` words of one owner."""
    if owner >= 3:
        return Cost(1, outside=2 * _WORD * values)
    return Cost(1, _at(owner, _WORD * values))


def product(results: int) -> Cost:
    """Products, or sums of products: ``results`` of them."""
    return Cost(1, (_WORD * results,) * 3)


def conjunction(rows: int, planes: int = 1) -> Cost:
    """Conjunctions of ``planes`` rows of bits."""
    return Cost(1, (_WORD * planes * words_of(rows),) * 3)


def opened(values: int, to: Collection[int]) -> Cost:
    """Open ``values`` words to some parties."""
    cost = Cost(1)
    for receiver in to:
        pays = ((receiver - 1) % 3,) if receiver < 3 else (0, 1)
        for sender in pays:
            cost += Cost(0, _at(sender, _WORD * values))
    return cost


def sign(rows: int, bits: int = 64) -> Cost:
    """Signs: one round for the planes and 1 + ceil(log2(bits - 1)) for the carry; none of it for one bit."""
    cost = _planes(rows, bits)
    segments = bits - 1
    if segments:
        cost += conjunction(rows, segments)
    while segments > 1:
        pairs = segments // 2
        cost += conjunction(rows, 2 * pairs - 1)
        segments -= pairs
    return cost


def is_zero(rows: int, bits: int = 64) -> Cost:
    """Tests for zero: one round for the planes and ceil(log2(bits))."""
    cost, planes = _planes(rows, bits), bits
    while planes > 1:
        cost += conjunction(rows, planes // 2)
        planes -= planes // 2
    return cost


def bits_of(rows: int, bits: int = 64) -> Cost:
    """Bits of values: one round for the planes and 1 + ceil(log2(bits - 1)) for the prefix network."""
    cost, segments = _planes(rows, bits), bits - 1
    if segments:
        cost += conjunction(rows, segments)
    width = 1
    while width < segments:
        upper = [place for place in range(segments) if place & width]
        cost += conjunction(rows, len(upper) + sum(place >= 2 * width for place in upper))
        width *= 2
    return cost


def to_arithmetic(rows: int) -> Cost:
    """Bits as integers."""
    return shared(0, rows) + product(rows)


def select(rows: int) -> Cost:
    """Choices between two values."""
    return to_arithmetic(rows) + product(rows)


def clipped(rows: int, bits: int = 64) -> Cost:
    """Values cut off at two bounds."""
    return sign(2 * rows, bits) + to_arithmetic(2 * rows) + product(2 * rows)


def quotient(rows: int) -> Cost:
    """Quotients by a public number above 1."""
    return shared(0, 2 * rows) + product(rows)


def divide(rows: int, dividend_bits: int, divisor_bits: int) -> Cost:
    """Quotients of shared integers."""
    inverse = (product(rows) + quotient(rows)) * (2 * division.INVERSE_ITERATIONS)
    cost = bits_of(rows, divisor_bits) + leading_places(rows, divisor_bits) + product(rows) + inverse
    for shift in division.steps_of(dividend_bits, divisor_bits):
        cost += quotient(rows) * ((shift > 0) + 1 + (shift < divisor_bits)) + product(rows) * 3
    return cost


def square_root(rows: int, bits: int) -> Cost:
    """Square roots."""
    pairs = bits // 2
    once = product(rows) + quotient(rows)
    cost = bits_of(rows, bits) + conjunction(rows, pairs) + leading_places(rows, pairs) + product(rows)
    cost += quotient(rows) * (1 + (bits > division.ROOT_FRACTION))
    return cost + once * (3 * division.ROOT_ITERATIONS + 2)


def stated(parties: int, numbers: int) -> Cost:
    """Public numbers of one party, told to all others; the round is that of all parties' numbers together."""
    told = _WORD * numbers * (parties - 1)
    return Cost(1, (told,) * 3, told)


def extreme(rows: int, columns: int, bits: int) -> Cost:
    """The smallest or largest of ``columns`` values in each of ``rows`` rows."""
    cost = Cost()
    while columns > 1:
        pairs = rows * (columns // 2)
        cost += sign(pairs, bits) + select(pairs)
        columns -= columns // 2
    return cost


def place_of_largest(rows: int, columns: int, bits: int) -> Cost:
    """As `extreme`, and one product a pair on the way back."""
    cost = extreme(rows, columns, bits)
    while columns > 1:
        cost += product(rows * (columns // 2))
        columns -= columns // 2
    return cost


def large_enough(groups: int, *, complementary: bool) -> Cost:
    """Which groups have the least rows, and what else must be left out."""
    cost = sign(groups) + to_arithmetic(groups)
    if not complementary or groups == 1:
        return cost
    cost += product(groups) + is_zero(1) + sign(1) + conjunction(1) + extreme(1, groups, 63)
    return cost + is_zero(groups) + conjunction(groups) * 2 + to_arithmetic(groups)


def quantile(rows: int, columns: int, bits: int) -> Cost:
    """A quantile of ``columns`` values for each of ``rows`` choices of them: about twelve rounds a bit."""
    cells = rows * columns
    once = product(cells) + product(cells + rows) + sign(rows) + to_arithmetic(rows)
    return bits_of(columns, bits) + to_arithmetic(bits * columns) + once * bits


def sigmoid(rows: int) -> Cost:
    """Values of the logistic function: the sines and cosines of party 0, and one product."""
    return shared(0, 2 * logistic.TERMS * rows) + product(rows)


def exponential(rows: int) -> Cost:
    """Values of the exponential function: as `sigmoid`, and a quotient."""
    return shared(0, 2 * exponential_series.TERMS * rows) + product(rows) + quotient(rows)


def logarithm(rows: int, bits: int) -> Cost:
    """Natural logarithms of values of ``bits`` bits: the first product brings all to as many bits."""
    degree, is_cut = logarithm_series.DEGREE, bits - 1 > logarithm_series.FRACTION
    cost = bits_of(rows, bits) + leading_places(rows, bits)
    return cost + product(rows) * degree + quotient(rows) * (degree + is_cut)


def shuffle(rows: int, columns: int = 1) -> Cost:
    """Shuffles of several columns together: every party takes part in two passes of three."""
    return Cost(3, (2 * _WORD * rows * columns,) * 3)


def reorder(rows: int, columns: int) -> Cost:
    """Columns moved by a shared permutation."""
    return shuffle(rows, columns + 1) + opened(rows, (0, 1, 2))


def order_of(rows: int, bits: Sequence[int]) -> Cost:
    """The shared permutation that sorts keys of these widths: eight rounds a bit but the first."""
    cost = Cost()
    for width in bits:
        cost += bits_of(rows, width) + to_arithmetic(width * rows)
    refined = shuffle(rows, 2) + opened(rows, (0, 1, 2)) + product(rows) + shuffle(rows)
    return cost + product(rows) + refined * (sum(bits) - 1)


def group_sums(rows: int, columns: int, bits: Sequence[int]) -> Cost:
    """Sums of ``columns`` columns by sorted keys of these widths, for two rows and more."""
    cost = Cost()
    for width in bits:
        cost += is_zero(rows - 1, width)
    cost += conjunction(rows - 1) * (len(bits) - 1)
    moved = len(bits) + columns
    return cost + to_arithmetic(rows) + product(rows) + reorder(rows, moved + 1) + product(rows * moved)


def _planes(rows: int, bits: int) -> Cost:
    return shared(0, bits * words_of(rows))


def leading_places(rows: int, planes: int) -> Cost:
    """Places of the highest 1 of ``rows`` values of ``planes`` bits."""
    cost, width = to_arithmetic(planes * rows), 1
    while width < planes:
        cost += conjunction(rows, sum(place & width != 0 for place in range(planes)))
        width *= 2
    return cost


def _at(rank: int, size: int) -> tuple[int, int, int]:
    first, second, third = (size if place == rank else 0 for place in range(3))
    return first, second, third
