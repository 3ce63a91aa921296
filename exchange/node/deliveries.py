"""Deliveries of this node: serving envelopes, opening those received, telling whose copy was found."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connectors import SourceSpec, open_source
from connectors.spec import resolve_inside
from exchange.delivery.envelope import SEALED_SIZE, Head, open_envelope
from exchange.delivery.image_marks import ImageMark, likelihood
from exchange.delivery.receiving import RECEIVE, RECEIVED
from exchange.delivery.sending import ENVELOPE, FILE, MARKED_TABLE, SENDERS, table_mark
from exchange.errors import Conflict, InvalidRequest, NotFound
from exchange.jobs.spec import JobSpec, Step
from exchange.node.checkpoints import unpack
from exchange.node.hand_overs import mark_key, step_folder
from exchange.node.runner import release_context
from exchange.node.services import NodeServices
from exchange.node.stops import UNDER_WAY

__all__ = ["SEALED_SIZE", "Deliveries", "Delivery", "Trace"]

_SENDING: Final = frozenset(component.name for component in SENDERS)
_CERTAIN: Final = 1e-6
_MAX_COPY: Final = 64 * 1024 * 1024


@dataclass(frozen=True)
class Delivery:
    """A delivery that this participant gave or asked for."""

    job: str
    asset: str
    component: str
    sender: str
    recipient: str
    state: str
    is_received: bool


@dataclass(frozen=True)
class Trace:
    """How well a found copy fits the marks of one delivery.

    Attributes:
        job: the delivery.
        recipient: DID of who received it.
        chance: upper bound of the probability that a copy of another origin fits as well, over all deliveries
            compared; in millionths of a millionth, rounded up.
        is_source: that this chance is below one in a million.
    """

    job: str
    recipient: str
    chance: int
    is_source: bool


class Deliveries:
    """One participant's deliveries, given and received."""

    def __init__(self, services: NodeServices) -> None:
        self._services = services

    def all(self) -> list[Delivery]:
        """Every delivery on this node's ledger that it gave or asked for, oldest first."""
        me = self._services.keys.did
        found = []
        for row in sorted(self._services.ledger.final_rows("jobs"), key=lambda row: int(row["index"])):
            step = next((step for step in row["steps"] if step["component"] in _SENDING), None)
            if step is None or me not in (*row["parties"], row["submitter"]):
                continue
            received = any(
                row["submitter"] in row["receipts"].get(other["id"], {})
                for other in row["steps"]
                if other["component"] == RECEIVE.name
            )
            (sender,) = step["parties"]
            asset = next(
                (
                    str(agreement["asset"])
                    for name in row["agreements"]
                    if (agreement := self._services.ledger.final("agreements", name)) is not None
                ),
                "",
            )
            found.append(
                Delivery(
                    str(row["job"]),
                    asset,
                    str(step["component"]),
                    sender,
                    str(row["submitter"]),
                    str(row["state"]),
                    received,
                )
            )
        return found

    def find(self, job: str, step: str, caller: str) -> Path | None:
        """The envelope that a member may fetch: of a job under way, of a step whose recipient it is."""
        row = self._services.ledger.final("jobs", job)
        spec = self._spec(job, row)
        if row is None or spec is None or row["state"] not in UNDER_WAY:
            return None
        for one in spec.steps:
            is_ours = one.component in _SENDING and one.role_of(self._services.keys.did) is not None
            if one.id == step and is_ours and caller in one.recipients:
                return step_folder(self._services, job, step) / ENVELOPE
        return None

    def open(self, job: str) -> tuple[Head, Iterator[bytes]]:
        """The content of a delivery that was received here, decrypted part by part.

        Raises:
            NotFound: nothing was received here under this job.
            Conflict: the job has not completed.
        """
        services, me = self._services, self._services.keys.did
        row = services.ledger.final("jobs", job)
        if row is None or row["submitter"] != me:
            raise NotFound(f"this participant received nothing under job {job}")
        if row["state"] != "COMPLETED":
            raise Conflict(f"job {job} is {row['state']}, not COMPLETED")
        for step in row["steps"]:
            kept = services.store.jobs.checkpoint(job, step["id"])
            if step["component"] == RECEIVE.name and kept is not None:
                finished = unpack(services.keys.open_sealed(kept, release_context(job, step["id"], me, me)))
                head = Head.decode(finished.outcome.local)
                return head, open_envelope(head, step_folder(services, job, step["id"]) / RECEIVED)
        raise NotFound(f"this participant received nothing under job {job}")

    def trace(self, asset: str, location: str) -> list[Trace]:
        """Compare a found copy with the marks of every delivery of an own asset, likeliest first.

        Args:
            asset: the asset that was delivered.
            location: a file inside the folders that this node may read.

        Raises:
            NotFound: no marked delivery of this asset.
            InvalidRequest: the copy has lost what a comparison needs.
        """
        steps = self._marked(asset)
        if not steps:
            raise NotFound(f"no marked delivery of {asset} is on this node's ledger")
        found = []
        for job, step in steps:
            recipient = step.recipients[0]
            key = mark_key(self._services, job, recipient)
            chance = min(1.0, self._chance(asset, step, key, location) * len(steps))
            found.append(Trace(job, recipient, min(10**12, int(chance * 1e12) + 1), chance < _CERTAIN))
        return sorted(found, key=lambda one: one.chance)

    def sweep(self) -> None:
        """Remove envelopes that nobody may fetch or open any more."""
        folder = self._services.settings.directory / "envelopes"
        for path in folder.iterdir() if folder.is_dir() else ():
            row = self._services.ledger.final("jobs", path.name)
            if row is None or row["state"] in ("SUBMITTED", *UNDER_WAY):
                continue
            if row["state"] != "COMPLETED" or row["submitter"] != self._services.keys.did:
                shutil.rmtree(path, ignore_errors=True)

    def _chance(self, asset: str, step: Step, key: bytes, location: str) -> float:
        roots = self._services.settings.source_roots
        if step.component == FILE.name:
            path = resolve_inside(location, roots)
            if path.stat().st_size > _MAX_COPY:
                raise InvalidRequest("location", f"an image of at most {_MAX_COPY} bytes", "a larger file")
            return likelihood(ImageMark(key).score(self._original(asset, step), path.read_bytes()))
        mark = table_mark(step, key)
        copy = open_source(SourceSpec("file", location), roots=roots, text_columns=())
        try:
            names = [name for name in (mark.anchor, *mark.columns) if name in copy.schema().names]
            return mark.find(copy.batches(names)).chance
        finally:
            copy.close()

    def _original(self, asset: str, step: Step) -> bytes:
        column = step.inputs["owner"].columns[0].name
        with self._services.assets.open(asset) as connector:
            return b"".join(part.as_py() for batch in connector.batches([column]) for part in batch.column(0))

    def _marked(self, asset: str) -> list[tuple[str, Step]]:
        """The steps in which this node has delivered the asset with a mark."""
        marked, me = [], self._services.keys.did
        for row in self._services.ledger.final_rows("jobs"):
            spec = self._spec(str(row["job"]), row) if me in row["parties"] else None
            for step in spec.steps if spec is not None else ():
                given = step.inputs.get("owner")
                is_sent = me in row["receipts"].get(step.id, {})
                is_marked = step.component in (MARKED_TABLE.name, FILE.name)
                if is_sent and is_marked and given is not None and given.asset == asset:
                    marked.append((str(row["job"]), step))
        return marked

    def _spec(self, job: str, row: Mapping[str, Any] | None) -> JobSpec | None:
        raw = self._services.store.jobs.spec(job)
        if raw is None or row is None:
            return None
        spec = JobSpec.parse(raw)
        return spec if spec.digest() == row["spec"] else None
