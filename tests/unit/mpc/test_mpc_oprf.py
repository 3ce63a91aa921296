"""RFC 9497's vectors, batches, proofs that do not hold and elements that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mpc import ristretto255
from mpc.errors import InvalidInput, InvalidProof, MalformedMessage
from mpc.oprf import rfc9497
from mpc.secrecy import SecretBytes
from mpc.testing import DeterministicRandomness

RFC = json.loads((Path(__file__).parents[2] / "vectors" / "oprf" / "rfc9497.json").read_text())
CASES = [
    pytest.param(suite, case, id=f"mode{suite['mode']}-{number}")
    for suite in RFC["suites"]
    for number, case in enumerate(suite["cases"])
]
ORDER = 2**252 + 27742317777372353535851937790883648493


def rng(seed: int = 0) -> DeterministicRandomness:
    return DeterministicRandomness(bytes([seed] * 16))


def key(info: bytes = b"list 1") -> rfc9497.KeyPair:
    return rfc9497.derive_key(SecretBytes(b"\7" * 32), info)


def joined(values: list[str]) -> bytes:
    return bytes.fromhex("".join(values))


class Scalars:
    """Randomness that gives stated scalars: 64 bytes that reduce to each."""

    def __init__(self, *scalars: str) -> None:
        self.left = [bytes.fromhex(scalar) for scalar in scalars]

    def bytes(self, count: int, /) -> bytes:
        return self.left.pop(0).ljust(count, b"\0")


@pytest.mark.parametrize(("suite", "case"), CASES)
def test_rfc9497_vectors(suite: dict[str, Any], case: dict[str, Any]) -> None:
    mode = rfc9497.Mode(suite["mode"])
    pair = rfc9497.derive_key(SecretBytes(bytes.fromhex(suite["seed"])), bytes.fromhex(suite["info"]), mode)
    assert pair.secret.reveal().hex() == suite["secret"]
    assert suite["public"] in (None, pair.public.hex())
    inputs = [bytes.fromhex(item) for item in case["inputs"]]
    blinding = rfc9497.blind(inputs, Scalars(*case["blinds"]), mode)
    assert blinding.elements == joined(case["blinded"])
    evaluated = rfc9497.evaluate(pair, blinding.elements)
    assert evaluated == joined(case["evaluated"])
    assert rfc9497.finalize(blinding, evaluated) == joined(case["outputs"])
    assert rfc9497.outputs(pair, inputs, mode) == joined(case["outputs"])
    if "proof" in case:
        proof = rfc9497.prove(pair, blinding.elements, evaluated, Scalars(case["proof_scalar"]))
        assert proof.hex() == case["proof"]
        rfc9497.verify(pair.public, blinding.elements, evaluated, proof)


def test_a_batch_over_several_cores_is_that_of_single_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rfc9497, "_SLICE", 3)
    inputs = [b"%d" % number for number in range(11)]
    blinding = rfc9497.blind(inputs, rng())
    evaluated = rfc9497.evaluate(key(), blinding.elements)
    rfc9497.verify(
        key().public, blinding.elements, evaluated, rfc9497.prove(key(), blinding.elements, evaluated, rng(1))
    )
    found = rfc9497.finalize(blinding, evaluated)
    assert found == b"".join(rfc9497.outputs(key(), [item]) for item in inputs)
    assert len({found[at : at + 64] for at in range(0, len(found), 64)}) == len(inputs)


def test_each_label_has_a_key_of_its_own() -> None:
    pairs = [key(b"list 1 epoch %d" % epoch) for epoch in range(3)]
    assert len({pair.public for pair in pairs}) == 3
    assert len({rfc9497.outputs(pair, [b"x"]) for pair in pairs}) == 3


def proven(count: int = 3) -> tuple[bytes, bytes, bytes]:
    blinding = rfc9497.blind([b"%d" % number for number in range(count)], rng())
    evaluated = rfc9497.evaluate(key(), blinding.elements)
    return blinding.elements, evaluated, rfc9497.prove(key(), blinding.elements, evaluated, rng(1))


def test_a_batch_under_another_key_or_in_another_order_does_not_prove() -> None:
    elements, evaluated, proof = proven()
    other = key(b"another")
    with pytest.raises(InvalidProof):
        rfc9497.verify(other.public, elements, evaluated, proof)
    for wrong in (
        rfc9497.evaluate(other, elements),
        evaluated[32:64] + evaluated[:32] + evaluated[64:],
        evaluated[:64] + rfc9497.evaluate(other, elements)[64:],
    ):
        with pytest.raises(InvalidProof):
            rfc9497.verify(key().public, elements, wrong, proof)
        forged = rfc9497.prove(key(), elements, wrong, rng(1))
        with pytest.raises(InvalidProof):
            rfc9497.verify(key().public, elements, wrong, forged)


@pytest.mark.parametrize("bit", [0, 100, 251, 256, 300, 500])
def test_every_part_of_a_proof_counts(bit: int) -> None:
    elements, evaluated, proof = proven(1)
    flipped = bytearray(proof)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidProof):
        rfc9497.verify(key().public, elements, evaluated, bytes(flipped))


def test_proofs_have_one_encoding() -> None:
    elements, evaluated, proof = proven(1)
    response = int.from_bytes(proof[32:], "little") + ORDER
    for malformed in (proof[:-1], proof + b"\0", proof[:32] + response.to_bytes(32, "little"), bytes(64)):
        with pytest.raises(InvalidProof, match="two scalars"):
            rfc9497.verify(key().public, elements, evaluated, malformed)


@pytest.mark.parametrize(
    "element",
    [bytes(32), b"\xff" * 32, b"\1" + bytes(31), (2**255 - 18).to_bytes(32, "little")],
    ids=["identity", "not-canonical", "not-of-the-group", "above-the-prime"],
)
def test_what_is_no_element_is_refused(element: bytes) -> None:
    good = rfc9497.blind([b"a"], rng()).elements
    with pytest.raises(MalformedMessage):
        rfc9497.evaluate(key(), good + element)
    blinding = rfc9497.blind([b"a", b"b"], rng())
    with pytest.raises(MalformedMessage):
        rfc9497.finalize(blinding, good + element)
    with pytest.raises(MalformedMessage):
        rfc9497.verify(key().public, good, element, proven(1)[2])


def test_wrong_counts_and_long_inputs_are_refused() -> None:
    blinding = rfc9497.blind([b"a", b"b"], rng())
    with pytest.raises(MalformedMessage, match="expected 64 bytes of elements, got 32"):
        rfc9497.finalize(blinding, blinding.elements[:32])
    for elements, evaluated in ((b"", b""), (blinding.elements, blinding.elements[:32])):
        with pytest.raises(InvalidInput):
            rfc9497.prove(key(), elements, evaluated, rng())
    with pytest.raises(InvalidInput, match="1 of 2 have more"):
        rfc9497.outputs(key(), [b"a", bytes(rfc9497.MAX_INPUT_BYTES + 1)])
    with pytest.raises(InvalidInput, match="65535 inputs, got 65536"):
        rfc9497.blind([b""] * (rfc9497.MAX_BATCH + 1), rng())
    with pytest.raises(InvalidInput, match="seed of 32 bytes, got 31"):
        rfc9497.derive_key(SecretBytes(bytes(31)), b"")


def test_blinded_elements_do_not_depend_on_the_inputs_but_on_the_blinds() -> None:
    one = rfc9497.blind([b"a"] * 4, rng())
    assert len({one.elements[at : at + 32] for at in range(0, 128, 32)}) == 4
    # For every input there is a blind that gives the same element: a * H(a) = b * H(b).
    assert "not shown" in repr(one)


def test_scalars_invert_and_combine() -> None:
    numbers = [1, 2, ORDER - 1, 2**200 + 5]
    scalars = b"".join(number.to_bytes(32, "little") for number in numbers)
    inverses = ristretto255.invert_each(scalars)
    for number, at in zip(numbers, range(0, 128, 32), strict=True):
        assert number * int.from_bytes(inverses[at : at + 32], "little") % ORDER == 1
    with pytest.raises(InvalidInput):
        ristretto255.invert_each(bytes(32))
    with pytest.raises(InvalidInput):
        ristretto255.multiply_each(scalars, bytes(32))
