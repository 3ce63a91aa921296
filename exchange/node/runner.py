"""Run this node's part of a job: step by step, a receipt after each, nothing released before its checks.

A finished step is kept, sealed to this node's own key, before its receipt is written; after a restart the
node goes on behind the last finished one. A step with other parties is begun once, so that no session is used
twice: one that a restart cut off fails the job. Any failure ends the job on the ledger with a code and a
sentence, and no output of the failed step leaves this process.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from connectors.errors import ConnectorError
from exchange.errors import ExchangeError, JobFailed, PublicFace, public_face
from exchange.identity import seal_to
from exchange.jobs.component import StepContext
from exchange.jobs.registry import code_digest
from exchange.jobs.spec import JobSpec, Step
from exchange.node.checkpoints import Finished, pack, unpack
from exchange.node.peers import PeerLinks
from exchange.node.services import NodeServices
from ledger import base64url, canonical, commitments
from ledger.errors import LedgerError
from mpc.errors import MpcError
from mpc.randomness import SystemRandomness

__all__ = ["JobRun", "release_context"]

_log = logging.getLogger(__name__)

_ATTEMPT = 1
_PROGRESS_EVERY_S = 0.5
_UNFORESEEN = public_face(Exception())


def release_context(job: str, step: str, sender: str, recipient: str) -> bytes:
    """What a sealed release is bound to, so that the hub cannot pass one off for another."""
    return canonical.encode({"job": job, "recipient": recipient, "sender": sender, "step": step})


class JobRun:
    """One attempt of one party at one job. ``run`` is called once, in a thread of its own.

    Args:
        services: this node. spec: the specification this node decided on. minimum_cohort: the largest minimum
        cohort of this owner's agreements; 0 where it owns nothing in the job.
    """

    def __init__(self, services: NodeServices, spec: JobSpec, minimum_cohort: int) -> None:
        self._services, self._spec, self._minimum_cohort = services, spec, minimum_cohort
        self._me = services.keys.did
        self._step = ""
        self._told_at = 0.0

    def run(self) -> None:
        """Play this node's steps; on any failure write ``job.fail`` and release nothing."""
        face: PublicFace | None = _UNFORESEEN
        try:
            with PeerLinks(self._services, self._spec, _ATTEMPT) as links:
                for step in self._spec.steps:
                    role = step.role_of(self._me)
                    if role is not None:
                        self._step = step.id
                        self._settle(step, role, self._finished(step, role, links))
            self._complete()
            face = None
        except (ExchangeError, MpcError, ConnectorError, LedgerError) as exc:
            face = public_face(exc)
        finally:
            if face is not None:
                self._fail(face)

    def _fail(self, face: PublicFace) -> None:
        _log.warning("job %s, step %s: %s", self._spec.job, self._step, face.code)
        if self._row()["state"] == "RUNNING":
            body: dict[str, object] = {
                "job": self._spec.job,
                "step": self._step or None,
                "code": face.code,
                "reason": face.detail[:500],
            }
            self._services.ledger.write("job.fail", body)

    def _finished(self, step: Step, role: str, links: PeerLinks) -> Finished:
        """The step's outcome with what its receipt states: kept from before, or played now."""
        services, job = self._services, self._spec.job
        context = release_context(job, step.id, self._me, self._me)
        kept = services.store.jobs.checkpoint(job, step.id)
        if kept is not None:
            return unpack(services.keys.open_sealed(kept, context))
        component = services.registry.get(step.component)
        if component.protocol is not None and not services.store.jobs.begin(job, step.id):
            raise JobFailed(f"step {step.id}: this node was restarted in the middle of it")
        roles = component.protocol.roles if component.protocol is not None else (role,)
        channels = links.for_step(step, roles.index(role))
        started = time.monotonic()
        inputs = self._verified_inputs(step, role)
        outcome = component.run(
            StepContext(
                step=step,
                role=role,
                minimum_cohort=self._minimum_cohort,
                read=lambda column: self._read(step, role, column),
                channel=channels.open,
                earlier={name: self._earlier(name) for name in step.after if self._plays(name)},
                released={name: self._released(name) for name in step.after if not self._plays(name)},
                rng=SystemRandomness(),
                progress=lambda done, total: self._tell(step.id, done, total),
            )
        )
        if outcome.release is not None and step.recipients and outcome.cohort < self._minimum_cohort:
            raise JobFailed(
                f"step {step.id}: a released group is smaller than the agreed {self._minimum_cohort}"
            )
        committed, _ = commitments.commit(outcome.local + (outcome.release or b""))
        receipt: dict[str, object] = {
            "job": job,
            "step": step.id,
            "attempt": _ATTEMPT,
            "role": role,
            "protocol": {"name": component.name, "version": component.version},
            "inputs": inputs,
            "params": step.params_digest(),
            "code": code_digest(),
            "output": committed,
            "duration_ms": int((time.monotonic() - started) * 1000),
            **channels.totals(),
        }
        finished = Finished(outcome, receipt)
        services.store.jobs.keep_checkpoint(
            job, step.id, seal_to(services.keys.seal_public, pack(finished), context)
        )
        self._tell(step.id, 1, 1)
        return finished

    def _settle(self, step: Step, role: str, finished: Finished) -> None:
        """Write what the ledger still lacks of a finished step: its receipt, then its sealed release."""
        services, job = self._services, self._spec.job
        row = self._row()
        if self._me not in row["receipts"].get(step.id, {}):
            peers = sorted(
                txid for did, txid in self._row()["receipts"].get(step.id, {}).items() if did != self._me
            )
            services.ledger.write("receipt.step", {**finished.receipt, "peers": peers})
        release = finished.outcome.release
        if release is None or self._me in row["releases"].get(step.id, {}):
            return
        for recipient in step.recipients:
            member = services.ledger.final("members", recipient)
            if member is None:
                raise JobFailed(f"step {step.id}: recipient {recipient} is not a member")
            sealed = seal_to(
                base64url.decode(member["seal"]), release, release_context(job, step.id, self._me, recipient)
            )
            services.hub.put_result(job, step.id, self._me, recipient, sealed)
            services.ledger.write(
                "job.release",
                {
                    "job": job,
                    "step": step.id,
                    "recipient": recipient,
                    "digest": hashlib.sha256(sealed).hexdigest(),
                    "cohort": finished.outcome.cohort,
                },
            )

    def _complete(self) -> None:
        """The submitter closes the job when every party of every step has its receipt on the ledger."""
        services, spec = self._services, self._spec
        if self._row()["submitter"] != self._me:
            return

        def all_receipts() -> Mapping[str, Any] | None:
            row = self._row()
            done = all(
                set(step.parties.values()) <= set(row["receipts"].get(step.id, {})) for step in spec.steps
            )
            return row if done or row["state"] != "RUNNING" else None

        row = services.ledger.wait_until(
            all_receipts, services.settings.step_timeout_s, "the other parties' receipts"
        )
        if row["state"] == "RUNNING":
            files = self._files()
            output, _ = commitments.commit(
                canonical.encode({k: hashlib.sha256(v).hexdigest() for k, v in files.items()})
            )
            services.ledger.write("job.complete", {"job": spec.job, "output": output})

    # what a component is given

    def _read(self, step: Step, role: str, column: str) -> Iterator[pa.RecordBatch]:
        with self._services.assets.open(step.inputs[role].asset) as connector:
            yield from connector.batches([column])

    def _verified_inputs(self, step: Step, role: str) -> list[dict[str, object]]:
        """Fingerprint this role's asset again: a job runs on the version that was agreed, or not at all."""
        given = step.inputs.get(role)
        return [] if given is None else [self._services.assets.verify_version(given.asset)]

    def _plays(self, step_id: str) -> bool:
        return self._spec.step(step_id).role_of(self._me) is not None

    def _earlier(self, step_id: str) -> bytes:
        services, job = self._services, self._spec.job
        kept = services.store.jobs.checkpoint(job, step_id)
        if kept is None:
            raise JobFailed(f"step {step_id} has left nothing at this node")
        return unpack(
            services.keys.open_sealed(kept, release_context(job, step_id, self._me, self._me))
        ).outcome.local

    def _released(self, step_id: str) -> dict[str, bytes]:
        """Wait for both owners' releases, fetch them from the hub, check their digests and open them."""
        services, job = self._services, self._spec.job
        parties = self._spec.step(step_id).parties

        def all_released() -> Mapping[str, str] | None:
            row = self._row()
            if row["state"] != "RUNNING":
                raise JobFailed(f"the job is {row['state'].lower()}")
            released = row["releases"].get(step_id, {})
            return released if set(parties.values()) <= set(released) else None

        timeout_s = services.settings.step_timeout_s
        digests = services.ledger.wait_until(all_released, timeout_s, f"both releases of step {step_id}")
        opened = {}
        for role, sender in parties.items():
            sealed = services.hub.get_result(job, step_id, sender, self._me)
            actual = hashlib.sha256(sealed).hexdigest()
            if actual != digests[sender]:
                raise JobFailed(
                    f"step {step_id}: {role} released {digests[sender][:16]}…, the hub gave {actual[:16]}…"
                )
            opened[role] = services.keys.open_sealed(sealed, release_context(job, step_id, sender, self._me))
        return opened

    def _files(self) -> dict[str, bytes]:
        """The files of the reader's steps at this node."""
        files: dict[str, bytes] = {}
        for step in self._spec.steps:
            kept = self._services.store.jobs.checkpoint(self._spec.job, step.id)
            if kept is not None and step.role_of(self._me) is not None:
                context = release_context(self._spec.job, step.id, self._me, self._me)
                files |= unpack(self._services.keys.open_sealed(kept, context)).outcome.files
        return files

    def _row(self) -> Mapping[str, Any]:
        row = self._services.ledger.final("jobs", self._spec.job)
        if row is None:
            raise JobFailed("the job is not on this node's ledger")
        return row

    def _tell(self, step_id: str, done: int, total: int) -> None:
        """Post progress, at most twice a second; a hub that does not answer does not stop a computation."""
        now = time.monotonic()
        if done < total and now - self._told_at < _PROGRESS_EVERY_S:
            return
        self._told_at = now
        try:
            self._services.hub.progress(self._spec.job, step_id, done, total)
        except ExchangeError as exc:
            _log.info("progress of %s not posted: %s", self._spec.job, exc.code)
