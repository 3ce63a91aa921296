"""The oblivious pseudorandom function of RFC 9497, ristretto255 with SHA-512, in bulk and on all cores.

    client, inputs x                                  server, key k, public K = k G
      1. blind       r H(x)          --->
                                     <---   k r H(x), proof      2. evaluate, prove
      3. verify, finalize: F(k, x) = SHA-512(x, k H(x))

The server sees uniform elements, so nothing of the inputs but their number; the client learns F(k, x) for its
inputs and nothing else of k. The proof says that the one key behind K evaluated every element of the batch:
without it a server could answer each client under another key, and a wrong key would look like an absent
record. `Mode.OPRF` is the base mode, without proof; `Mode.VOPRF` the verifiable one. Their outputs differ.

The server computes F for its own entries by `outputs`: the same function, without blinding.

Not here: the partially oblivious mode, which needs an inversion per evaluation for a public input that lists
do not have.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from mpc import ristretto255
from mpc.cores import over_slices
from mpc.errors import InvalidInput, InvalidProof, MalformedMessage
from mpc.randomness import Randomness
from mpc.ristretto255 import ELEMENT_BYTES, SCALAR_BYTES
from mpc.secrecy import SecretBytes, SecretScalar, Unprintable

OUTPUT_BYTES: Final = 64
PROOF_BYTES: Final = 2 * SCALAR_BYTES
SEED_BYTES: Final = 32
MAX_BATCH: Final = 2**16 - 1
MAX_INPUT_BYTES: Final = 2**16 - 1
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_SLICE: Final = 64
_LENGTH: Final = struct.Struct(">H")


class Mode(IntEnum):
    """Modes of RFC 9497, section 3.1; part of every hash."""

    OPRF = 0
    VOPRF = 1


@dataclass(frozen=True, repr=False, eq=False)
class KeyPair(Unprintable):
    """A server's key in one epoch.

    Attributes:
        secret: the scalar k.
        public: k times the generator: 32 bytes.
    """

    secret: SecretScalar
    public: bytes


@dataclass(frozen=True, repr=False, eq=False)
class Blinding(Unprintable):
    """What a client keeps between `blind` and `finalize`.

    Attributes:
        inputs: n inputs.
        scalars: n blinds, 32 bytes each.
        elements: n blinded elements, 32 bytes each: what is sent.
    """

    inputs: Sequence[bytes]
    scalars: SecretBytes
    elements: bytes


def derive_key(seed: SecretBytes, info: bytes, mode: Mode = Mode.VOPRF) -> KeyPair:
    """Derive a key pair from a secret seed and a public label.

    Args:
        seed: 32 secret bytes.
        info: at most 65,535 bytes, for example list and epoch: each label has a key of its own.
        mode: the mode the key is for.

    Raises:
        InvalidInput: seed or label are not as stated.

    Security: keys of different labels are independent if SHA-512 is a random oracle.
    Leaks: nothing; local.
    Cost: local; 25 microseconds.
    Source: RFC 9497, section 3.2.1, DeriveKeyPair.
    """
    if len(seed) != SEED_BYTES or len(info) > MAX_INPUT_BYTES:
        raise InvalidInput(f"expected a seed of {SEED_BYTES} bytes, got {len(seed)}, and a label of 65,535")
    separation = b"DeriveKeyPair" + _context(mode)
    for counter in range(256):
        message = seed.reveal() + _prefixed(info) + bytes([counter])
        scalar = ristretto255.hash_to_scalar([message], separation)
        if scalar != bytes(SCALAR_BYTES):
            break
    secret = SecretScalar(scalar)
    return KeyPair(secret, ristretto255.multiply_base(secret))


def blind(inputs: Sequence[bytes], rng: Randomness, mode: Mode = Mode.VOPRF) -> Blinding:
    """Blind n inputs; the client's first step.

    Args:
        inputs: n byte strings of at most 65,535 bytes, n at most 65,535.
        rng: for the blinds.
        mode: the server's.

    Raises:
        InvalidInput: the inputs are not as stated.

    Security: the elements are uniform and independent of the inputs, whatever the server does.
    Leaks: to the server, n.
    Cost: local; 85 microseconds an input and core.
    Source: RFC 9497, section 3.3.1, Blind.
    """
    _check_inputs(inputs)
    if len(inputs) > MAX_BATCH:
        raise InvalidInput(f"a batch has at most {MAX_BATCH} inputs, got {len(inputs)}")
    scalars = b"".join(ristretto255.random_scalar(rng).reveal() for _ in inputs)
    separation = b"HashToGroup-" + _context(mode)

    def blinded(part: slice) -> bytes:
        points = ristretto255.hash_to_group(inputs[part], separation)
        return ristretto255.multiply_each(_rows(scalars, part), points)

    return Blinding(inputs, SecretBytes(scalars), _spread(blinded, len(inputs)))


def evaluate(key: KeyPair, elements: bytes) -> bytes:
    """Multiply n blinded elements by the key; the server's step.

    Raises:
        MalformedMessage: an element is not canonical, not of the group, or the identity.

    Security: one-more Diffie-Hellman in ristretto255: n evaluations give n outputs and no other.
    Leaks: to the client, the outputs on its inputs.
    Cost: local; 30 microseconds an element and core from `ristretto255.MANY` on, 60 with fewer.
    Source: RFC 9497, section 3.3.1, BlindEvaluate.
    """
    count = len(elements) // ELEMENT_BYTES
    return _spread(lambda part: ristretto255.multiply(key.secret, _rows(elements, part)), count)


def prove(key: KeyPair, elements: bytes, evaluated: bytes, rng: Randomness) -> bytes:
    """Prove that ``evaluated`` is ``elements`` under the key; the server's second step in `Mode.VOPRF`.

    Args:
        key: the key that evaluated.
        elements: n blinded elements, 1 to 65,535.
        evaluated: what `evaluate` returned for them.
        rng: for the commitment.

    Returns:
        64 bytes, whatever n.

    Raises:
        InvalidInput: no element, too many, or not as many evaluated.

    Security: zero knowledge, in the random oracle model.
    Leaks: nothing.
    Cost: local; 85 microseconds an element and core, and 0.2 ms.
    Source: RFC 9497, section 2.2.1, GenerateProof; batches: Chase, Meiklejohn, Zaverucha 2014.
    """
    separation = b"HashToScalar-" + _context(Mode.VOPRF)
    weights = _weights(key.public, elements, evaluated, separation)
    combined = _combine(weights, elements)
    evaluated_sum = ristretto255.multiply(key.secret, combined)
    commitment = ristretto255.random_scalar(rng)
    announced = (ristretto255.multiply_base(commitment), ristretto255.multiply(commitment, combined))
    challenge = _challenge((key.public, combined, evaluated_sum, *announced), separation)
    return challenge + ristretto255.subtract_product(commitment, challenge, key.secret)


def verify(public: bytes, elements: bytes, evaluated: bytes, proof: bytes) -> None:
    """Check that the key behind ``public`` evaluated the whole batch.

    Raises:
        InvalidProof: it did not, or the proof is malformed.
        MalformedMessage: an evaluated element is no element of the group.

    Security: sound in the random oracle model: a false batch passes with probability below 2**-120.
    Leaks: nothing; local.
    Cost: local; 170 microseconds an element and core, and 0.3 ms.
    Source: RFC 9497, section 2.2.2, VerifyProof.
    """
    challenge, response = proof[:SCALAR_BYTES], proof[SCALAR_BYTES:]
    numbers = (int.from_bytes(part, "little") for part in (challenge, response))
    if len(proof) != PROOF_BYTES or not all(0 < number < _ORDER for number in numbers):
        raise InvalidProof("a proof is two scalars between 1 and the group order less 1")
    separation = b"HashToScalar-" + _context(Mode.VOPRF)
    weights = _weights(public, elements, evaluated, separation)
    combined, evaluated_sum = _combine(weights, elements), _combine(weights, evaluated)
    c, s = SecretScalar(challenge), SecretScalar(response)
    announced = (
        ristretto255.add(ristretto255.multiply_base(s), ristretto255.multiply(c, public)),
        ristretto255.add(ristretto255.multiply(s, combined), ristretto255.multiply(c, evaluated_sum)),
    )
    if _challenge((public, combined, evaluated_sum, *announced), separation) != challenge:
        raise InvalidProof("the stated public key did not evaluate this batch")


def finalize(blinding: Blinding, evaluated: bytes) -> bytes:
    """Remove the blinds and hash; the client's last step.

    Args:
        blinding: of the same batch.
        evaluated: n elements, in the order of the batch; `verify` checks whose they are.

    Returns:
        n outputs, 64 bytes each.

    Raises:
        MalformedMessage: another number of elements, or one that is not of the group.

    Security: pseudorandom to whoever has not the key.
    Leaks: nothing; local.
    Cost: local; 80 microseconds an input and core.
    Source: RFC 9497, section 3.3.1, Finalize.
    """
    if len(evaluated) != len(blinding.elements):
        raise MalformedMessage(f"expected {len(blinding.elements)} bytes of elements, got {len(evaluated)}")
    scalars = blinding.scalars.reveal()

    def finalized(part: slice) -> bytes:
        inverses = ristretto255.invert_each(_rows(scalars, part))
        points = ristretto255.multiply_each(inverses, _rows(evaluated, part))
        return _hashed(blinding.inputs[part], points)

    return _spread(finalized, len(blinding.inputs))


def outputs(key: KeyPair, inputs: Sequence[bytes], mode: Mode = Mode.VOPRF) -> bytes:
    """Evaluate n own inputs in the clear; what the server does for the entries of its list.

    Args:
        key: the server's.
        inputs: n byte strings of at most 65,535 bytes.
        mode: the clients'.

    Returns:
        n outputs, 64 bytes each.

    Raises:
        InvalidInput: an input is longer.

    Security: as `evaluate`.
    Leaks: nothing; local.
    Cost: local; a hash to the group and a multiplication: 35 to 50 microseconds an input and core from
        `ristretto255.MANY` inputs on, 90 with fewer.
    Source: RFC 9497, section 3.3.1, Evaluate.
    """
    _check_inputs(inputs)
    separation = b"HashToGroup-" + _context(mode)

    def evaluated(part: slice) -> bytes:
        return _hashed(inputs[part], ristretto255.hash_to_group(inputs[part], separation, key.secret))

    return _spread(evaluated, len(inputs))


def _context(mode: Mode) -> bytes:
    return b"OPRFV1-" + bytes([mode]) + b"-ristretto255-SHA512"


def _hashed(inputs: Sequence[bytes], points: bytes) -> bytes:
    sha512, width = hashlib.sha512, ELEMENT_BYTES
    length = _LENGTH.pack(width)
    return b"".join(
        sha512(_LENGTH.pack(len(item)) + item + length + points[at : at + width] + b"Finalize").digest()
        for item, at in zip(inputs, range(0, len(points), width), strict=True)
    )


def _weights(public: bytes, elements: bytes, evaluated: bytes, separation: bytes) -> bytes:
    count = len(elements) // ELEMENT_BYTES
    if not 1 <= count <= MAX_BATCH or len(evaluated) != len(elements):
        raise InvalidInput(
            f"a proof is for 1 to {MAX_BATCH} elements and as many evaluated, got {len(elements)} and "
            f"{len(evaluated)} bytes"
        )
    seed = hashlib.sha512(_prefixed(public) + _prefixed(b"Seed-" + _context(Mode.VOPRF))).digest()
    start = _prefixed(seed)
    return ristretto255.hash_to_scalar(
        [
            start
            + _LENGTH.pack(index)
            + _prefixed(_rows(elements, slice(index, index + 1)))
            + _prefixed(_rows(evaluated, slice(index, index + 1)))
            + b"Composite"
            for index in range(count)
        ],
        separation,
    )


def _combine(weights: bytes, elements: bytes) -> bytes:
    count = len(elements) // ELEMENT_BYTES
    products = _spread(
        lambda part: ristretto255.multiply_each(_rows(weights, part), _rows(elements, part)), count
    )
    sums = over_slices(lambda part: ristretto255.sum_of(_rows(products, part)), count, _SLICE)
    return ristretto255.sum_of(b"".join(sums))


def _spread(work: Callable[[slice], bytes], count: int) -> bytes:
    # Many elements go to the group's bulk arithmetic whole, which uses all cores itself.
    if count >= ristretto255.MANY:
        return work(slice(0, count))
    return b"".join(over_slices(work, count, _SLICE))


def _challenge(elements: Sequence[bytes], separation: bytes) -> bytes:
    transcript = b"".join(map(_prefixed, elements)) + b"Challenge"
    return ristretto255.hash_to_scalar([transcript], separation)


def _check_inputs(inputs: Sequence[bytes]) -> None:
    long = sum(len(item) > MAX_INPUT_BYTES for item in inputs)
    if long:
        raise InvalidInput(f"inputs have at most {MAX_INPUT_BYTES} bytes: {long} of {len(inputs)} have more")


def _rows(data: bytes, part: slice) -> bytes:
    return data[ELEMENT_BYTES * part.start : ELEMENT_BYTES * part.stop]


def _prefixed(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data
