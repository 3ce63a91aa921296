"""Whether every server of a NATS cluster syncs every write, as its monitoring port says.

JetStream acknowledges a write when a majority has it, but by default each server flushes to disk only every
two minutes: a power cut may then take what was acknowledged. With ``sync_interval: always`` it does not.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence
from typing import Any

import httpx

from ledger.errors import EngineUnusable

__all__ = ["check_servers"]

_MIN_SERVERS = 3
_ATTEMPT_S = 2.0
_PAUSE_S = 0.2


def check_servers(
    monitors: Sequence[str], *, tls: ssl.SSLContext | None, patience_s: float
) -> frozenset[str]:
    """Ask every server for its settings, and whether there are others than those asked.

    Args:
        monitors: monitoring URLs, one for each server of the cluster.
        tls: for ``https`` URLs.
        patience_s: how long to wait for the servers to have a leader.

    Returns:
        The names of the servers.

    Raises:
        EngineUnusable: a server does not answer, does not sync every write, or is not among those asked; or
            they are no cluster of at least three.
    """
    deadline = time.monotonic() + patience_s
    with httpx.Client(verify=tls or True, timeout=_ATTEMPT_S, trust_env=False) as client:
        while True:
            answers = {url: _settings(client, url) for url in monitors}
            problem = _problem(answers)
            if problem is None:
                return frozenset(answer["server_name"] for answer in answers.values())
            if time.monotonic() >= deadline or not _may_change(answers):
                raise EngineUnusable(f"nats: {problem}")
            time.sleep(_PAUSE_S)


def _settings(client: httpx.Client, url: str) -> dict[str, Any]:
    try:
        answer = client.get(f"{url.rstrip('/')}/varz")
        answer.raise_for_status()
        document = answer.json()
    except (httpx.HTTPError, ValueError) as exc:
        raise EngineUnusable(
            f"nats: {url}: expected the server's settings at /varz, got {type(exc).__name__}"
        ) from exc
    if not isinstance(document, dict) or not isinstance(document.get("server_name"), str):
        raise EngineUnusable(f"nats: {url}: expected the server's settings at /varz, got another document")
    if not _at(document, "jetstream", "config"):
        raise EngineUnusable(f"nats: {url}: expected a server with JetStream, got one without")
    if _at(document, "jetstream", "config", "sync_always") is not True:
        raise EngineUnusable(
            f"nats: {url}: expected sync_interval: always in the server's jetstream settings, got another "
            "value: it would acknowledge what a power cut takes"
        )
    return document


def _problem(answers: dict[str, dict[str, Any]]) -> str | None:
    asked = {str(answer["server_name"]) for answer in answers.values()}
    metas = [meta for answer in answers.values() if (meta := _at(answer, "jetstream", "meta"))]
    known = {name for meta in metas for name in _names(meta)}
    if known - asked:
        missing = ", ".join(sorted(known - asked))
        return f"expected a monitoring URL for every server of the cluster, got none for {missing}"
    size = max((int(meta.get("cluster_size", 0)) for meta in metas), default=0)
    if len(asked) < max(size, _MIN_SERVERS):
        return f"expected at least {max(size, _MIN_SERVERS)} servers, got {len(asked)}"
    if not all(name in known for name in asked):
        return "expected servers of one cluster that has a leader, got others"
    return None


def _may_change(answers: dict[str, dict[str, Any]]) -> bool:
    """Tell whether a server has not yet found its cluster's leader."""
    return not all(_at(answer, "jetstream", "meta", "leader") for answer in answers.values())


def _names(meta: dict[str, Any]) -> set[str]:
    replicas = meta.get("replicas")
    named = replicas if isinstance(replicas, list) else []
    names = {replica.get("name") for replica in named if isinstance(replica, dict)} | {meta.get("leader")}
    return {name for name in names if isinstance(name, str) and name}


def _at(document: Any, *path: str) -> Any:  # noqa: ANN401 - JSON
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document
