"""The two protocols, both roles in one process over a channel in memory: computation without the network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import duckdb
import numpy as np
import pyarrow as pa

from mpc import SystemRandomness
from mpc.psi import ecdh
from mpc.stats import group_sums
from mpc.testing import channel_pair, run_pair

GROUPS, MEASURES, MIN_COHORT = 5, 2, 10


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def rows(quick: bool) -> Iterator[dict[str, object]]:
    yield from intersection(2_000 if quick else 27_000)
    yield from sums(2_000 if quick else 24_000)


def intersection(people: int) -> Iterator[dict[str, object]]:
    left = [f"person {number}".encode() for number in range(people)]
    right = [f"person {number}".encode() for number in range(people // 9, people + people // 9)]
    channels = channel_pair(session=b"benchmark intersection".ljust(32))
    taken = seconds(
        lambda: run_pair(
            lambda channel: ecdh.run(channel, left, SystemRandomness()),
            lambda channel: ecdh.run(channel, right, SystemRandomness()),
            channels,
        )
    )
    plain = seconds(lambda: set(left) & set(right))
    yield {
        "metric": f"psi/ecdh, {people:,} x {len(right):,}",
        "value": taken,
        "unit": "s",
        "peer": "set intersection in plain Python",
        "peer_value": plain,
        "ratio": taken / plain,
    }
    yield {
        "metric": "psi/ecdh, bytes both ways",
        "value": channels[0].stats.bytes_sent + channels[1].stats.bytes_sent,
        "unit": "B",
    }


def sums(people: int) -> Iterator[dict[str, object]]:
    generator = np.random.Generator(np.random.PCG64(1))
    measures = generator.integers(-(10**6), 10**6, (people, MEASURES), dtype=np.int64)
    groups = generator.integers(0, GROUPS, people, dtype=np.int64)
    channels = channel_pair(session=b"benchmark sums".ljust(32))
    found: list[np.ndarray] = []

    def joint() -> None:
        one, two = run_pair(
            lambda channel: group_sums.measure_holder(
                channel, measures, min_cohort=MIN_COHORT, rng=SystemRandomness()
            ),
            lambda channel: group_sums.group_holder(
                channel, groups, GROUPS, min_cohort=MIN_COHORT, rng=SystemRandomness()
            ),
            channels,
        )
        found.append(group_sums.combine(one, two))

    pooled = pa.table({"g": groups, "a": measures[:, 0], "b": measures[:, 1]})
    with duckdb.connect() as database:
        database.register("pooled", pooled)
        query = "SELECT sum(a)::BIGINT, sum(b)::BIGINT FROM pooled GROUP BY g ORDER BY g"
        wanted: list[tuple[int, ...]] = []
        plain = seconds(lambda: wanted.extend(database.sql(query).fetchall()))
    taken = seconds(joint)
    if [tuple(row) for row in found[0].tolist()] != wanted:
        raise SystemExit("the joint sums differ from the pooled ones")
    yield {
        "metric": f"stats/group-sums, {people:,} rows, {GROUPS} groups, {MEASURES} measures",
        "value": taken,
        "unit": "s",
        "peer": "DuckDB on pooled rows",
        "peer_value": plain,
        "ratio": taken / plain,
    }
    yield from paillier(people, taken)
    yield {
        "metric": "stats/group-sums, bytes both ways",
        "value": channels[0].stats.bytes_sent + channels[1].stats.bytes_sent,
        "unit": "B",
    }


def paillier(people: int, taken: float) -> Iterator[dict[str, object]]:
    """The rejected way (decision 0004), where its package is installed: encryption alone, scaled up."""
    try:
        from phe import paillier as scheme
    except ModuleNotFoundError:
        return
    public, _ = scheme.generate_paillier_keypair(n_length=2048)
    sample = 100
    one = seconds(lambda: [public.encrypt(number) for number in range(sample)]) / sample
    peer = one * people * MEASURES
    yield {
        "metric": "stats/group-sums, the same",
        "value": taken,
        "unit": "s",
        "peer": "encrypting the measures with phe, 2048 bits (extrapolated)",
        "peer_value": peer,
        "ratio": taken / peer,
    }
