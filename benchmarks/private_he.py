"""Homomorphic encryption: our Paillier beside other packages, and scoring beside the same in the clear."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from mpc.he import ckks, paillier, scoring
from mpc.he.ckks import Link, Model
from mpc.randomness import SystemRandomness
from mpc.testing import channel_pair, run_pair

FEATURES = 23


def rows(quick: bool) -> Iterator[dict[str, object]]:
    yield from encryption(64 if quick else 512)
    yield from scores(500 if quick else 21_000)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def encryption(ciphertexts: int) -> Iterator[dict[str, object]]:
    rng = SystemRandomness()
    key = paillier.generate(rng)
    values = np.arange(ciphertexts * paillier.SLOTS, dtype=np.int64)
    encryptor = paillier.Encryptor(key.public, rng, expected=ciphertexts)
    encrypted: list[object] = []
    taken = ciphertexts / seconds(lambda: encrypted.extend(encryptor.encrypt(values)))
    opened = ciphertexts / seconds(lambda: key.decrypt(encrypted, len(values), 1))
    try:
        import phe
    except ModuleNotFoundError:
        phe = None
    row: dict[str, object] = {"metric": "Paillier, 3,072 bits: encrypt", "value": taken, "unit": "1/s"}
    if phe is not None:
        sample = 10
        public = phe.PaillierPublicKey(int(key.public.n))
        peer = sample / seconds(lambda: [public.raw_encrypt(number) for number in range(sample)])
        row |= {"peer": "phe, the same key", "peer_value": peer, "ratio": taken / peer}
    yield row
    yield {"metric": "Paillier, 3,072 bits: decrypt", "value": opened, "unit": "1/s"}
    yield {
        "metric": f"Paillier, integers encrypted ({paillier.SLOTS} in a ciphertext)",
        "value": taken * paillier.SLOTS,
        "unit": "1/s",
    }


def scores(people: int) -> Iterator[dict[str, object]]:
    try:
        import tenseal  # noqa: F401
    except ModuleNotFoundError:
        return
    generator = np.random.Generator(np.random.PCG64(1))
    features = generator.uniform(-3, 3, (people, FEATURES))
    model = Model(generator.uniform(-0.1, 0.1, FEATURES), 0.25)
    plain = features @ model.weights + model.intercept
    for link in Link:
        channels = channel_pair(session=b"benchmark scoring".ljust(32), timeout_s=600)
        found: list[np.ndarray] = []

        def score(link: Link = link, found: list[np.ndarray] = found, channels: object = channels) -> None:
            one, _ = run_pair(
                lambda channel: scoring.client(channel, features, link=link, bound=3.0, decimals=4),
                lambda channel: scoring.model_owner(channel, model, link=link, bound=3.0),
                channels,
            )
            found.append(one)

        taken = seconds(score)
        expected = plain if link is Link.LINEAR else ckks.logistic(plain)
        yield {
            "metric": f"he/scoring, {link}, {people:,} x {FEATURES}",
            "value": taken,
            "unit": "s",
            "peer": "largest error, in the last of 4 decimals",
            "peer_value": float(np.abs(found[0] - expected * 1e4).max()),
        }
        yield {
            "metric": f"he/scoring, {link}, bytes both ways",
            "value": channels[0].stats.bytes_sent + channels[1].stats.bytes_sent,
            "unit": "B",
        }
