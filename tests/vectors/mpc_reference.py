"""A second implementation of what `mpc` computes, in plain integers, to make and check vectors with.

Slow and not constant time. It shares no code with `mpc`; the labels of `separation_tag` are spelt out again.
AES and the hash functions come from `cryptography` and `hashlib`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
# RFC 9496, section 4.1.
SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235
INVSQRT_A_MINUS_D = 54469307008909316920995813868745141605393597292927456921205312896311721017578

Point = tuple[int, int, int, int]
BASE_ENCODING = bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76")
NEUTRAL: Point = (0, 1, 1, 0)


def negative(x: int) -> bool:
    return x % P % 2 == 1


def absolute(x: int) -> int:
    return -x % P if negative(x) else x % P


def sqrt_ratio(u: int, v: int) -> tuple[bool, int]:
    root = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    check = v * root * root % P
    if check in (-u % P, -u * SQRT_M1 % P):
        root = root * SQRT_M1 % P
    return check in (u % P, -u % P), absolute(root)


def decode(encoding: bytes) -> Point | None:
    s = int.from_bytes(encoding, "little")
    if s >= P or negative(s):
        return None
    u1, u2 = (1 - s * s) % P, (1 + s * s) % P
    v = (-D * u1 * u1 - u2 * u2) % P
    square, inverse = sqrt_ratio(1, v * u2 * u2 % P)
    den_x = inverse * u2 % P
    x = absolute(2 * s * den_x)
    y = u1 * inverse * den_x * v % P
    t = x * y % P
    return None if not square or negative(t) or y == 0 else (x, y, 1, t)


def encode(point: Point) -> bytes:
    x, y, z, t = point
    u1, u2 = (z + y) * (z - y) % P, x * y % P
    _, inverse = sqrt_ratio(1, u1 * u2 * u2 % P)
    den1, den2 = inverse * u1 % P, inverse * u2 % P
    z_inverse = den1 * den2 * t % P
    den = den2
    if negative(t * z_inverse):
        x, y, den = y * SQRT_M1 % P, x * SQRT_M1 % P, den1 * INVSQRT_A_MINUS_D % P
    if negative(x * z_inverse):
        y = -y
    return absolute(den * (z - y)).to_bytes(32, "little")


def add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def negate(p: Point) -> Point:
    return -p[0] % P, p[1], p[2], -p[3] % P


def multiply(scalar: int, point: Point) -> Point:
    result = NEUTRAL
    for bit in bin(scalar)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def map_to_point(half: bytes) -> Point:
    t = int.from_bytes(half, "little") % 2**255 % P
    r = SQRT_M1 * t * t % P
    u, v = (r + 1) * (1 - D * D) % P, (-1 - r * D) * (r + D) % P
    square, s = sqrt_ratio(u, v)
    c = P - 1
    if not square:
        s, c = -absolute(s * t) % P, r
    n = (c * (r - 1) * (D - 1) ** 2 - v) % P
    w0, w1, w2, w3 = 2 * s * v, n * SQRT_AD_MINUS_ONE, 1 - s * s, 1 + s * s
    return w0 * w3 % P, w2 * w1 % P, w1 * w3 % P, w0 * w2 % P


def from_uniform(uniform: bytes) -> Point:
    return add(map_to_point(uniform[:32]), map_to_point(uniform[32:]))


def expand(message: bytes, separation: bytes) -> bytes:
    """RFC 9380, expand_message_xmd with SHA-512 to 64 bytes."""
    suffix = separation + bytes([len(separation)])
    first = hashlib.sha512(bytes(128) + message + b"\0\x40\0" + suffix).digest()
    return hashlib.sha512(first + b"\1" + suffix).digest()


def hash_to_group(message: bytes, separation: bytes) -> Point:
    """`expand`, then the RFC 9496 map."""
    return from_uniform(expand(message, separation))


def separation_tag(protocol: str, usage: str, session: bytes, version: str = "1") -> bytes:
    parts = (b"parley/mpc/1", protocol.encode(), version.encode(), usage.encode(), session)
    return hashlib.sha256(b"".join(struct.pack("<Q", len(part)) + part for part in parts)).digest()


def scalar_of(rng: Callable[[int], bytes]) -> int:
    return int.from_bytes(rng(64), "little") % ORDER


def stream(seed: bytes) -> Callable[[int], bytes]:
    """The deterministic randomness of vectors: AES-128-CTR from counter 0."""
    cipher = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()
    return lambda count: cipher.update(bytes(count))


def words(values: Sequence[int]) -> bytes:
    return b"".join(struct.pack("<Q", value % 2**64) for value in values)


def psi(session: bytes, sets: Sequence[list[bytes]], seeds: Sequence[bytes]) -> dict[str, object]:
    """Both parties of ECDH-PSI on sets of one chunk: messages and output rows."""
    hash_tag = separation_tag("psi/ecdh", "hash-to-group", session, "2")
    tag_key = separation_tag("psi/ecdh", "double-masked-tag", session, "2")
    keys, orders, masked = [], [], []
    for items, seed in zip(sets, seeds, strict=True):
        rng = stream(seed)
        key = scalar_of(rng)
        aes = Cipher(algorithms.AES(rng(16)), modes.ECB()).encryptor()  # noqa: S305
        places = [aes.update(expand(item, hash_tag)[:16]) for item in items]
        order = sorted(range(len(items)), key=places.__getitem__)
        keys.append(key)
        orders.append(order)
        masked.append([multiply(key, hash_to_group(items[row], hash_tag)) for row in order])
    tags = [
        [
            hashlib.blake2b(encode(multiply(keys[1 - rank], p)), digest_size=16, key=tag_key).digest()
            for p in own
        ]
        for rank, own in enumerate(masked)
    ]
    rows = [
        [orders[rank][tags[rank].index(tag)] for tag in sorted(set(tags[0]) & set(tags[1]))]
        for rank in range(2)
    ]
    return {
        "masked": [words([1, 2, len(own), 32]).hex() + b"".join(map(encode, own)).hex() for own in masked],
        "double_masked": [words([1, 2, len(own), 16]).hex() + b"".join(own).hex() for own in tags],
        "rows": rows,
    }


def group_sums(
    session: bytes,
    measures: list[list[int]],
    groups: list[int],
    k: int,
    min_cohort: int,
    seeds: Sequence[bytes],
) -> dict[str, object]:
    """Both parties of the group sums on one chunk, bit by bit: messages and shares."""
    name, n, m = "stats/group-sums", len(groups), len(measures[0])
    base_tag = separation_tag(name, "base-ot-key", session)
    hash_key = separation_tag(name, "ot-correlation-key", session)[:16]
    aes = Cipher(algorithms.AES(hash_key), modes.ECB()).encryptor().update  # noqa: S305
    base_point = decode(BASE_ENCODING)
    assert base_point is not None
    sizes = [groups.count(group) for group in range(k)]
    counts = [size if size >= min_cohort else -1 for size in sizes]

    # Base transfers: the measure holder receives one of two seeds for each bit of delta.
    sender, receiver = stream(seeds[0]), stream(seeds[1])
    delta = sender(16)
    delta_bits = [delta[j // 8] >> (7 - j % 8) & 1 for j in range(128)]
    a = scalar_of(receiver)
    offer = multiply(a, base_point)

    def seed_of(index: int, reply: bytes, shared: Point) -> bytes:
        data = base_tag + struct.pack("<Q", index) + encode(offer) + reply + encode(shared)
        return hashlib.sha256(data).digest()[:16]

    replies, zeros, ones = [], [], []
    for j, bit in enumerate(delta_bits):
        plain = multiply(scalar_of(sender), base_point)
        point = add(plain, offer) if bit else plain
        replies.append(encode(point))
        zeros.append(seed_of(j, replies[j], multiply(a, point)))
        ones.append(seed_of(j, replies[j], multiply(a, add(point, negate(offer)))))

    # Extension: one transfer for each row and group.
    transfers = [(row, group) for row in range(n) for group in range(k)]
    choices = [int(groups[row] == group and counts[group] >= 0) for row, group in transfers]
    width = (len(transfers) + 7) // 8
    packed = sum(bit << (8 * width - 1 - i) for i, bit in enumerate(choices))

    def generate(seed: bytes) -> int:
        data = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor().update(bytes(width))
        return int.from_bytes(data, "big")

    first = [generate(seed) for seed in zeros]
    columns = [t ^ generate(seed) ^ packed for t, seed in zip(first, ones, strict=True)]

    def pads(row: bytes, index: int) -> list[int]:
        inner = aes(row)
        blocks = (
            bytes(
                x ^ y
                for x, y in zip(
                    aes(bytes(x ^ y for x, y in zip(inner, words([index, b]), strict=True))),
                    inner,
                    strict=True,
                )
            )
            for b in range((m + 1) // 2)
        )
        return list(struct.unpack(f"<{(m + 1) // 2 * 2}Q", b"".join(blocks)))[:m]

    corrections: list[int] = []
    shares = [[[0] * m for _ in range(k)] for _ in range(2)]
    for i, (row, group) in enumerate(transfers):
        bits = [t >> (8 * width - 1 - i) & 1 for t in first]
        t_row = bytes(sum(bits[8 * j + b] << (7 - b) for b in range(8)) for j in range(16))
        q_row = bytes(x ^ (y if choices[i] else 0) for x, y in zip(t_row, delta, strict=True))
        zero, one = pads(q_row, i), pads(bytes(x ^ y for x, y in zip(q_row, delta, strict=True)), i)
        correction = [z - o + x for z, o, x in zip(zero, one, measures[row], strict=True)]
        corrections += correction
        for at in range(m):
            received = pads(t_row, i)[at] + choices[i] * correction[at]
            shares[0][group][at] -= zero[at]
            shares[1][group][at] += received
    return {
        "base_offer": (words([1, 1, 32]) + encode(offer)).hex(),
        "base_choices": (words([1, 2, 128, 32]) + b"".join(replies)).hex(),
        "columns": words([1, 2, 128, width]).hex()
        + b"".join(c.to_bytes(width, "big") for c in columns).hex(),
        "corrections": (words([3, 2, len(transfers), m]) + words(corrections)).hex(),
        "counts": counts,
        "shares": [[[str(value % 2**64) for value in group] for group in party] for party in shares],
    }
