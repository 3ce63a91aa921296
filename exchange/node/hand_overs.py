"""What a node lends to components that deliver, receive or run an engine: folders, a secret, pieces."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from exchange.config import private_directory
from exchange.errors import JobFailed
from exchange.jobs.component import HandOver
from exchange.jobs.kept import Kept
from exchange.jobs.spec import JobSpec, Step
from exchange.node.services import NodeServices
from exchange.node.stops import StopSignal
from exchange.rpc.envelopes import fetch
from exchange.rpc.errors import PeerRefused, PeerUnreachable
from ledger import base64url, canonical

__all__ = ["hand_over", "mark_key", "spool_folder", "step_folder"]

_PAUSE_S = 0.5


def step_folder(services: NodeServices, job: str, step: str) -> Path:
    """Where this node keeps the envelope of a step."""
    return services.settings.directory / "envelopes" / job / step


def spool_folder(directory: Path) -> Path:
    """Where the engines of a node with that data directory make their private folders."""
    return directory / "spool"


def mark_key(services: NodeServices, job: str, recipient: str) -> bytes:
    """The secret of the marks that one delivery carries: 32 bytes, derived, so that nothing must be kept."""
    named = canonical.encode({"job": job, "recipient": recipient})
    return hmac.digest(services.keys.storage_key(b"delivery marks"), named, hashlib.sha256)


def hand_over(
    services: NodeServices,
    spec: JobSpec,
    step: Step,
    rows: Callable[[Sequence[str]], Iterator[pa.RecordBatch]],
    signal: StopSignal,
) -> HandOver:
    """Lend what one step of a job may use; a delivery gets its folder.

    Args:
        services: this node.
        spec: the job.
        step: one of its steps.
        rows: reads columns of this role's input.
        signal: of the run.
    """
    folder = step_folder(services, spec.job, step.id)
    if services.registry.get(step.component).is_delivery:
        private_directory(folder.parent.parent)
        private_directory(folder.parent)
        private_directory(folder)

    recipient = step.recipients[0] if step.recipients else ""
    return HandOver(
        rows=rows,
        folder=folder,
        mark_key=mark_key(services, spec.job, recipient),
        pieces=lambda sending, sender, first: _pieces(services, spec, signal, (sending, sender), first),
        spool=spool_folder(services.settings.directory),
        kept=Kept(
            services.settings.directory / "kept" / step.component.replace("/", "-"),
            services.keys.storage_key(b"kept " + step.component.encode()),
        ),
    )


def _pieces(
    services: NodeServices, spec: JobSpec, signal: StopSignal, place: tuple[str, str], first: int
) -> Iterator[bytes]:
    """Fetch pieces over as many connections as it takes; give up when none comes for the time of a step.

    Raises:
        PeerUnreachable, PeerRefused: none came for so long.
        JobStopped: the run has been told to stop.
    """
    step, role = place
    sender = spec.step(step).parties[role]
    timeout_s = services.settings.step_timeout_s
    deadline = time.monotonic() + timeout_s
    while True:
        signal.check()
        member = services.ledger.next_state.get("members", sender)
        if member is None or member["status"] != "active":
            raise JobFailed(f"{sender} is not an active member")
        try:
            for piece in fetch(
                member["endpoint"],
                services.keys,
                sender,
                base64url.decode(member["tls"]),
                (spec.job, step, first),
                timeout_s,
            ):
                signal.check()
                yield piece
                first += 1
                deadline = time.monotonic() + timeout_s
            return
        except (PeerUnreachable, PeerRefused):
            if time.monotonic() >= deadline:
                raise
            time.sleep(_PAUSE_S)
