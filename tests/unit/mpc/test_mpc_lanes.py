"""Arithmetic in four lanes: the same bytes as libsodium, the same refusals, whatever the place in a block."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mpc import cores, ristretto255
from mpc.errors import MalformedMessage
from mpc.lanes import bulk
from mpc.secrecy import SecretScalar
from mpc.testing import DeterministicRandomness

RFC = json.loads((Path(__file__).parents[2] / "vectors" / "ristretto255" / "rfc9496.json").read_text())
ORDER = 2**252 + 27742317777372353535851937790883648493
EDGES = [1, 2, 7, 8, 9, 15, 16, 2**128, ORDER - 2, ORDER - 1, 0x77 * 2**240, 0x88 * 2**236]
ITEMS = [b"item %d" % number for number in range(13)]


def rows(data: bytes, width: int = 32) -> NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, width)


def scalars(*values: int) -> NDArray[np.uint8]:
    return rows(b"".join(value.to_bytes(32, "little") for value in values))


def points(count: int) -> bytes:
    return ristretto255.hash_to_group(ITEMS[:count], b"points")


@pytest.mark.parametrize("count", [1, 3, 4, 5, 13])
def test_products_are_those_of_libsodium(count: int) -> None:
    scalar = ristretto255.random_scalar(DeterministicRandomness(bytes(16)))
    got, are_valid = bulk.apply(rows(scalar.reveal()), rows(points(count)))
    assert are_valid
    assert got.tobytes() == ristretto255.multiply(scalar, points(count))


@pytest.mark.parametrize("value", EDGES)
def test_scalars_at_the_edges_of_digits_and_order(value: int) -> None:
    got, _ = bulk.apply(scalars(value), rows(points(2)))
    assert got.tobytes() == ristretto255.multiply(SecretScalar(scalars(value).tobytes()), points(2))


def test_each_row_may_have_a_scalar_of_its_own() -> None:
    own, elements = scalars(*EDGES), points(len(EDGES))
    got, are_valid = bulk.apply(own, rows(elements))
    assert are_valid
    assert got.tobytes() == ristretto255.multiply_each(own.tobytes(), elements)


def test_multiples_of_the_generator_are_those_of_the_rfc() -> None:
    generator = ristretto255.multiply_base(SecretScalar(scalars(1).tobytes()))
    expected = RFC["generator_multiples"]
    got, _ = bulk.apply(scalars(*range(1, len(expected) + 1)), rows(generator * len(expected)))
    assert [row.tobytes().hex() for row in got] == expected


@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("encoding", [*(case["encoding"] for case in RFC["encodings"]), "00" * 32])
def test_what_is_no_element_is_refused_at_any_place(encoding: str, place: int) -> None:
    elements = bytearray(points(5))
    elements[32 * place : 32 * place + 32] = bytes.fromhex(encoding)
    _, are_valid = bulk.apply(scalars(3), rows(bytes(elements)))
    assert not are_valid


@pytest.mark.parametrize(
    "uniform",
    [
        bytes(64),
        b"\xff" * 64,
        (2**255 - 19).to_bytes(32, "little") * 2,
        (2**255 + 1).to_bytes(32, "little") * 2,
    ],
)
def test_the_map_takes_every_64_bytes(uniform: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ristretto255, "_expander", lambda separation: lambda message: message)
    got, _ = bulk.apply(None, rows(uniform, 64))
    assert got.tobytes() == ristretto255.hash_to_group([uniform], b"")


def test_many_rows_take_the_lanes_and_few_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    scalar = SecretScalar(scalars(5).tobytes())
    few = (
        ristretto255.hash_to_group(ITEMS, b"x"),
        ristretto255.hash_to_group(ITEMS, b"x", scalar),
        ristretto255.multiply_each(scalar.reveal() * len(ITEMS), points(len(ITEMS))),
    )
    monkeypatch.setattr(ristretto255, "MANY", 2)
    monkeypatch.setattr(ristretto255, "_SLICE", 4)
    many = (
        ristretto255.hash_to_group(ITEMS, b"x"),
        ristretto255.hash_to_group(ITEMS, b"x", scalar),
        ristretto255.multiply_each(scalar.reveal() * len(ITEMS), points(len(ITEMS))),
    )
    assert few == many
    assert few[1] == ristretto255.multiply(scalar, few[0])
    with pytest.raises(MalformedMessage):
        ristretto255.multiply(scalar, points(5)[:128] + b"\xff" * 32)


def test_work_on_slices_may_itself_be_cut_into_slices() -> None:
    def inner(part: slice) -> int:
        return sum(cores.over_slices(lambda piece: piece.stop - piece.start, part.stop - part.start))

    assert sum(cores.over_slices(inner, 1000)) == 1000
