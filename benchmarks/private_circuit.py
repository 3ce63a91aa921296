"""Protocols of many owners, all roles in one process over channels in memory: computation, no network."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mpc import SystemRandomness
from mpc.circuit_psi import protocol as circuit_psi
from mpc.mesh import Mesh
from mpc.over_threshold import protocol as over_threshold
from mpc.over_threshold.protocol import Terms
from mpc.psi_many import protocol as psi_many
from mpc.testing import mesh_of, run_mesh

TARGET_S = 60.0


def timed(roles: Sequence[Callable[[Mesh], object]]) -> tuple[float, list[object], int]:
    meshes = mesh_of(len(roles), timeout_s=600)
    started = time.perf_counter()
    ended = run_mesh(roles, meshes)
    taken = time.perf_counter() - started
    return taken, ended, sum(one.stats.bytes_sent for mesh in meshes for one in mesh.channels.values())


def rows(quick: bool) -> Iterator[dict[str, object]]:
    if quick:
        yield from at_threshold(4, 300, 3)
        yield from common_to_all(3, 300)
        yield from hidden_sums(300)
        return
    yield from at_threshold(10, 100_000, 3)
    yield from at_threshold(10, 100_000, 4)
    yield from common_to_all(5, 20_000)
    yield from hidden_sums(200_000)


def at_threshold(parties: int, people: int, threshold: int) -> Iterator[dict[str, object]]:
    """Random subsets of six times as many people: a tenth of the people or so reach the threshold."""
    generator = np.random.Generator(np.random.PCG64(1))
    sets = [generator.choice(6 * people, people, replace=False) for _ in range(parties)]
    items = [[b"person %d" % person for person in one.tolist()] for one in sets]
    terms = Terms(people, threshold)

    def party(own: list[bytes]) -> Callable[[Mesh], object]:
        return lambda mesh: over_threshold.party(mesh, own, terms, SystemRandomness())

    taken, ended, sent = timed([*map(party, items), lambda mesh: over_threshold.aggregator(mesh, terms)])
    started = time.perf_counter()
    counted = Counter(item for own in items for item in own)
    plain = {item for item, holders in counted.items() if holders >= threshold}
    in_the_clear = time.perf_counter() - started
    for own, found in zip(items, ended, strict=False):
        if {own[row] for row in found.rows} != plain & set(own):  # type: ignore[attr-defined]
            raise SystemExit("the joint answer differs from counting in the clear")
    yield {
        "metric": f"psi/over-threshold, {parties} x {people:,}, k = {threshold}, {len(plain):,} over",
        "value": taken,
        "unit": "s",
        "target": TARGET_S,
        "met": taken <= TARGET_S,
        "peer": "counting in plain Python",
        "peer_value": in_the_clear,
        "ratio": taken / in_the_clear,
    }
    yield {"metric": "psi/over-threshold, bytes of all parties", "value": sent, "unit": "B"}


def common_to_all(parties: int, people: int) -> Iterator[dict[str, object]]:
    sets = [range(party * people // 50, people + party * people // 50) for party in range(parties)]
    items = [[b"person %d" % person for person in one] for one in sets]

    def role(rank: int) -> Callable[[Mesh], object]:
        play = psi_many.party if rank else psi_many.leader
        return lambda mesh: play(mesh, items[rank], SystemRandomness(), everyone=True)

    taken, ended, sent = timed([role(rank) for rank in range(parties)])
    plain = set.intersection(*map(set, items))
    if {items[0][row] for row in ended[0].rows} != plain:  # type: ignore[attr-defined]
        raise SystemExit("the joint answer differs from the intersection in the clear")
    yield {"metric": f"psi/many, {parties} x {people:,}", "value": taken, "unit": "s"}
    yield {"metric": "psi/many, bytes of all parties", "value": sent, "unit": "B"}


def hidden_sums(people: int) -> Iterator[dict[str, object]]:
    generator = np.random.Generator(np.random.PCG64(2))
    ids = (range(people), range(people // 4, people + people // 4))
    items = [[b"person %d" % person for person in one] for one in ids]
    columns = [generator.integers(-(10**6), 10**6, (people, 2), dtype=np.int64) for _ in ids]

    def owner(rank: int) -> Callable[[Mesh], object]:
        return lambda mesh: circuit_psi.owner(
            mesh, items[rank], columns[rank], SystemRandomness(), minimum=10
        )

    taken, (left, right, helper), sent = timed(
        [owner(0), owner(1), lambda mesh: circuit_psi.helper(mesh, minimum=10)]
    )
    for side, mine, shared in ((0, left.left, helper.left), (1, right.right, helper.right)):  # type: ignore[attr-defined]
        cut = slice(people // 4, None) if side == 0 else slice(None, people - people // 4)
        if (mine + shared).sum(axis=0).view(np.int64).tolist() != columns[side][cut].sum(axis=0).tolist():
            raise SystemExit("the joint sums differ from those in the clear")
    yield {"metric": f"psi/shared, {people:,} x {people:,}, 2 + 2 columns", "value": taken, "unit": "s"}
    yield {"metric": "psi/shared, bytes of all parties", "value": sent, "unit": "B"}
