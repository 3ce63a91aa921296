"""Lineage from the ledger alone: which data went, under which agreement, into which job, and to whom.

Vertices are versions of assets, agreements, jobs, results (what one party released of one step) and the
members that received them. ``forwards`` of a subject is everything that it went into; ``backwards``
everything that went into it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from exchange.errors import NotFound
from ledger.state import State

__all__ = ["Vertex", "lineage"]


@dataclass(frozen=True)
class Vertex:
    """One thing in the graph; ``facts`` are what the ledger says of it."""

    kind: str
    id: str
    facts: Mapping[str, object] = field(default_factory=dict, compare=False)

    def as_json(self) -> dict[str, object]:
        """Write the vertex."""
        return {"kind": self.kind, "id": self.id, **self.facts}


def lineage(state: State, subject: str) -> dict[str, object]:
    """Trace an asset, an agreement, a job or a member (by name or DID) in both directions.

    Raises:
        NotFound: the ledger has nothing of that id.
    """
    names = {str(row["did"]): str(row["name"]) for row in state.rows("members").values()}
    edges = list(_edges(state, names))
    begin = _subjects(state, subject, names)
    if not begin:
        raise NotFound(f"the ledger has no asset, agreement, job or member {subject}")
    ahead: dict[Vertex, list[Vertex]] = {}
    behind: dict[Vertex, list[Vertex]] = {}
    known: dict[Vertex, Vertex] = {}
    for one, other in edges:
        for vertex in (one, other):
            if vertex.facts or vertex not in known:
                known[vertex] = vertex
        ahead.setdefault(one, []).append(other)
        behind.setdefault(other, []).append(one)
    return {
        "subject": subject,
        "forwards": [known[vertex].as_json() for vertex in _reached(begin, ahead)],
        "backwards": [known[vertex].as_json() for vertex in _reached(begin, behind)],
    }


def _subjects(state: State, subject: str, names: Mapping[str, str]) -> list[Vertex]:
    if state.get("assets", subject) is not None:
        latest = int(state.rows("assets")[subject]["version"])
        return [_version(subject, number) for number in range(1, latest + 1)]
    if state.get("agreements", subject) is not None:
        return [Vertex("agreement", subject)]
    if state.get("jobs", subject) is not None:
        return [Vertex("job", subject)]
    return [Vertex("member", did) for did, name in names.items() if subject in (did, name)]


def _edges(state: State, names: Mapping[str, str]) -> Iterator[tuple[Vertex, Vertex]]:
    for name, row in state.rows("agreements").items():
        facts = {"status": row["status"], "uses": row["uses"], "consumer": names.get(row["consumer"], "")}
        yield _version(row["asset"], row["version"]), Vertex("agreement", name, facts)
    for name, row in state.rows("jobs").items():
        facts = {key: row[key] for key in ("state", "purpose", "submitter")}
        job = Vertex("job", name, facts | {"submitter": names.get(row["submitter"], row["submitter"])})
        for agreement in (one for agreements in row["starts"].values() for one in agreements):
            yield Vertex("agreement", agreement), job
        for step, senders in row["releases"].items():
            for sender, digest in senders.items():
                told: dict[str, object] = {"step": step, "party": names.get(sender, sender), "digest": digest}
                result = Vertex("result", f"{name}/{step}/{names.get(sender, sender)}", told)
                yield job, result
                recipient = str(row["recipients"][step][sender])
                yield result, Vertex("member", recipient, {"name": names.get(recipient, "")})


def _version(asset: str, version: Any) -> Vertex:  # noqa: ANN401 - a value of a canonical row
    return Vertex("dataset", f"{asset}@{version}", {"asset": asset, "version": version})


def _reached(begin: list[Vertex], edges: Mapping[Vertex, list[Vertex]]) -> list[Vertex]:
    found: dict[Vertex, None] = {}
    waiting = deque(begin)
    while waiting:
        for vertex in edges.get(waiting.popleft(), ()):
            if vertex not in found:
                found[vertex] = None
                waiting.append(vertex)
    return list(found)
