"""The ledger's pieces, in memory: parsing with signature, the validity function, tree and proofs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from ledger.entries import Entry
from ledger.merkle import Tree, leaf_hash, verify_inclusion
from ledger.testing import Stage


def rate(count: int, work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def row(metric: str, value: float, target: float | None = None) -> dict[str, object]:
    met = None if target is None else value >= target
    return {"metric": metric, "value": value, "unit": "per second", "target": target, "met": met}


def rows(quick: bool) -> Iterator[dict[str, object]]:
    count = 500 if quick else 5_000
    stage = Stage("lender", "bureau", "analyst", "regulator")
    bodies = [{"endpoint": f"lender.example.org:{1024 + number % 60_000}"} for number in range(count)]
    entries = [stage.act("lender", "member.update", body) for body in bodies]
    raws = [entry.raw for entry in entries]
    yield row("entries parsed", rate(count, lambda: [Entry.parse(raw) for raw in raws]))
    yield row("entries applied, signature included", rate(count, lambda: [stage.apply(e) for e in entries]))

    tree = Tree()
    leaves = [leaf_hash(raw) for raw in raws]

    def grow() -> None:
        for leaf in leaves:
            tree.append(leaf)

    yield row("leaves appended", rate(count, grow))
    root = tree.root()
    proofs = [tree.inclusion_proof(index, count) for index in range(count)]

    def verify() -> None:
        for index, proof in enumerate(proofs):
            verify_inclusion(root, count, index, leaves[index], proof)

    yield row("inclusion proofs verified", rate(count, verify), 1_000)
