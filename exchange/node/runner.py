"""Run this node's part of a job: step by step, a receipt after each, nothing released before its checks.

A finished step is kept, sealed to this node's own key, before its receipt is written; after a restart the
node goes on behind the last finished one. An attempt at a step with other parties is begun once, so that no
session is used twice. One that a lost party cut off is followed by another where the component resumes; else
it fails the job. Any failure ends the job on the ledger with a code and a sentence, and no output of the
failed step leaves this process.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pyarrow as pa

from connectors.errors import ConnectorError
from exchange.errors import (
    ExchangeError,
    JobFailed,
    JobStopped,
    LedgerRefused,
    PublicFace,
    TimedOut,
    public_face,
)
from exchange.identity import seal_to
from exchange.jobs.component import Component, Outcome, StepContext
from exchange.jobs.registry import code_digest
from exchange.jobs.spec import JobSpec, Step
from exchange.node.attempts import FIRST, Attempt, Attempts, is_interruption
from exchange.node.checkpoints import Finished, pack, unpack
from exchange.node.consented import Use
from exchange.node.hand_overs import hand_over
from exchange.node.pace import Pace
from exchange.node.peers import PeerLinks, StepChannels
from exchange.node.releases import ReleaseGate
from exchange.node.services import NodeServices
from exchange.node.stops import UNDER_WAY, StopSignal
from ledger import base64url, canonical, commitments
from ledger.errors import LedgerError
from ledger.rules import absences
from mpc.errors import MpcError
from mpc.randomness import SystemRandomness

__all__ = ["JobRun", "release_context"]

_log = logging.getLogger(__name__)

_PROGRESS_EVERY_S = 0.5
_LOOK_S = 5.0
_UNFORESEEN = public_face(Exception())


def release_context(job: str, step: str, sender: str, recipient: str) -> bytes:
    """What a sealed release is bound to, so that the hub cannot pass one off for another."""
    return canonical.encode({"job": job, "recipient": recipient, "sender": sender, "step": step})


class _Waiting(Exception):
    """An output of the job waits for a person."""


class JobRun:
    """One attempt of one party at one job. ``run`` is called once, in a thread of its own.

    Args:
        services: this node. spec: the specification this node decided on. minimum_cohort: the largest minimum
        cohort of this owner's agreements; 0 where it owns nothing in the job.
    """

    def __init__(self, services: NodeServices, spec: JobSpec, minimum_cohort: int) -> None:
        self._services, self._spec, self._minimum_cohort = services, spec, minimum_cohort
        self._me = services.keys.did
        self.step = ""
        self._told_at = 0.0
        self._pace = Pace()
        self._signal = StopSignal()
        self._gate = ReleaseGate(services, spec, minimum_cohort)
        self._is_waiting = False

    def run(self, signal: StopSignal) -> None:
        """Play this node's steps; on any failure write ``job.fail`` and release nothing.

        A run that ``signal`` stops writes nothing more. One that meets an output which waits for a person
        ends without a word, and is begun again when that has been decided.
        """
        self._signal = signal
        face: PublicFace | None = _UNFORESEEN
        try:
            with PeerLinks(self._services, self._spec, signal) as links:
                for step in self._spec.steps:
                    role = step.role_of(self._me)
                    if role is not None:
                        self._await_resumed()
                        self.step = step.id
                        self._settle(step, role, self._finished(step, role, links))
            if not self._is_waiting:
                self._complete()
            face = None
        except _Waiting:
            face = None
        except JobStopped as exc:
            _log.warning("job %s, step %s: stopped: %s", self._spec.job, self.step, exc)
            face = None
        except (ExchangeError, MpcError, ConnectorError, LedgerError) as exc:
            face = public_face(exc)
        finally:
            if face is not None and not signal.is_told:
                self._fail(face)

    def _await_resumed(self) -> None:
        """Go on when no owner's part of the job is suspended; a suspension has no time limit of its own.

        Raises:
            JobStopped: the job ended meanwhile.
        """

        def resumed() -> bool | None:
            self._signal.check()
            return None if self._row().get("suspended") else True

        while True:
            with suppress(TimedOut):
                self._services.ledger.wait_until(resumed, _LOOK_S, "the job to go on")
                return

    def _write_when_resumed(self, entry_type: str, body: Mapping[str, object]) -> None:
        """Write an entry that the ledger refuses while a part of the job is suspended."""
        while True:
            self._await_resumed()
            try:
                self._services.ledger.write(entry_type, body)
            except LedgerRefused as exc:
                if exc.reason != "job.suspended":
                    raise
            else:
                return

    def _fail(self, face: PublicFace) -> None:
        _log.warning("job %s, step %s: %s", self._spec.job, self.step, face.code)
        self._services.store.jobs.drop_states(self._spec.job)
        if self._row()["state"] in UNDER_WAY:
            body: dict[str, object] = {
                "job": self._spec.job,
                "step": self.step or None,
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
        ranks = component.ranks(step)
        attempts = Attempts(services, self._spec, step, role, ranks, links)
        attempt = self._first(component, attempts, step)
        while True:
            channels = links.for_step(step, role, ranks, attempt.number)
            started = time.monotonic()
            inputs = self._verified_inputs(step, role)
            try:
                outcome = self._played(component, step, role, channels, attempts, attempt)
                break
            except MpcError as exc:
                if not component.resumes or not is_interruption(exc):
                    raise
                if attempts.has_lost or attempts.is_closed:
                    raise
                _log.warning("job %s, step %s: cut off: %s", job, step.id, exc.code)
            attempt = attempts.next()
        self._gate.finish(step, role, outcome)
        committed, _ = commitments.commit(outcome.local + (outcome.release or b""))
        receipt: dict[str, object] = {
            "job": job,
            "step": step.id,
            "attempt": attempt.number,
            "role": role,
            "protocol": {"name": component.name, "version": component.version},
            "inputs": inputs,
            "params": step.params_digest(),
            "code": code_digest(),
            "engine": component.engine.stated(),
            "output": committed,
            "duration_ms": int((time.monotonic() - started) * 1000),
            **channels.totals(),
        }
        if component.survives(step) is not None:
            receipt["absent"] = sorted(step.parties[role] for role in outcome.absent)
        services.costs.measured(self._spec, step, role, receipt, services.ledger.state)
        finished = Finished(outcome, receipt)
        self._signal.check()
        services.store.jobs.keep_checkpoint(
            job, step.id, seal_to(services.keys.seal_public, pack(finished), context)
        )
        attempts.end()
        self._tell(step.id, 1, 1)
        return finished

    def _first(self, component: Component, attempts: Attempts, step: Step) -> Attempt:
        """The attempt to begin with: after a restart in the middle of one, the next where that may be."""
        if component.protocol is None:
            return FIRST
        if component.resumes:
            return attempts.first()
        if not self._services.store.jobs.begin(self._spec.job, step.id):
            raise JobFailed(f"step {step.id}: this node was restarted in the middle of it")
        return FIRST

    def _played(
        self,
        component: Component,
        step: Step,
        role: str,
        channels: StepChannels,
        attempts: Attempts,
        attempt: Attempt,
    ) -> Outcome:
        """Play one attempt at a step."""
        return component.run(
            StepContext(
                step=step,
                role=role,
                ranks=component.ranks(step),
                session=attempts.session(attempt),
                first_session=attempts.session(FIRST),
                minimum_cohort=self._minimum_cohort,
                read=lambda column: self._read(step, role, [column]),
                channel=channels.open,
                late_channel=channels.late,
                before={name: self._spec.step(name) for name in step.after},
                earlier={name: self._earlier(name) for name in step.after if self._plays(name)},
                released={name: self._released(name) for name in step.after if self._receives(name)},
                rng=SystemRandomness(),
                progress=lambda done, total: self._tell(step.id, done, total),
                on_loss=lambda loss: self._services.runs.note_loss(self._spec.job, step.id, loss),
                rules=self._gate.rules(step, role),
                hand_over=hand_over(
                    self._services, self._spec, step, partial(self._read, step, role), self._signal
                ),
                checkpoints=attempts.checkpoints(attempt),
            )
        )

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
        if release is None or not step.recipients:
            return
        if self._me in row["releases"].get(step.id, {}):
            self._gate.released(step)
            return
        admission = self._gate.admit(step, role)
        if not admission.may_leave:
            self._is_waiting = True
            return
        review = {} if admission.review is None else {"review": dict(admission.review)}
        for recipient in step.recipients:
            self._signal.check()
            member = services.ledger.final("members", recipient)
            if member is None:
                raise JobFailed(f"step {step.id}: recipient {recipient} is not a member")
            sealed = seal_to(
                base64url.decode(member["seal"]), release, release_context(job, step.id, self._me, recipient)
            )
            services.hub.put_result(job, step.id, self._me, recipient, sealed)
            self._write_when_resumed(
                "job.release",
                {
                    "job": job,
                    "step": step.id,
                    "recipient": recipient,
                    "digest": hashlib.sha256(sealed).hexdigest(),
                    "cohort": finished.outcome.cohort,
                    **review,
                },
            )
        self._gate.released(step)

    def _complete(self) -> None:
        """The submitter closes the job when every party of every step has its receipt on the ledger."""
        services, spec = self._services, self._spec
        if self._row()["submitter"] != self._me:
            return

        def all_receipts() -> Mapping[str, Any] | None:
            self._signal.check()
            row = self._row()
            done = all(
                set(step.parties.values()) - absences.named(row, step.id)
                <= set(row["receipts"].get(step.id, {}))
                for step in spec.steps
            )
            return row if done or row["state"] != "RUNNING" else None

        self._await_resumed()
        row = services.ledger.wait_until(
            all_receipts, services.settings.step_timeout_s, "the other parties' receipts"
        )
        if row["state"] == "RUNNING":
            files = self._files()
            output, _ = commitments.commit(
                canonical.encode({k: hashlib.sha256(v).hexdigest() for k, v in files.items()})
            )
            self._write_when_resumed("job.complete", {"job": spec.job, "output": output})

    # what a component is given

    def _read(self, step: Step, role: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        asset = step.inputs[role].asset
        with self._services.assets.open(asset, Use.by(self._spec, asset)) as connector:
            for batch in connector.batches(columns):
                self._signal.check()
                yield batch

    def _verified_inputs(self, step: Step, role: str) -> list[dict[str, object]]:
        """Fingerprint this role's asset again: a job runs on the version that was agreed, or not at all."""
        given = step.inputs.get(role)
        if given is None:
            return []
        return [self._services.assets.verify_version(given.asset, self._signal.check)]

    def _receives(self, step_id: str) -> bool:
        return self._me in self._spec.step(step_id).recipients

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
        """Wait for the releases of a step, fetch them from the hub, check their digests and open them.

        None are awaited of parties that were absent.
        """
        services, job = self._services, self._spec.job
        before = self._spec.step(step_id)
        component = services.registry.get(before.component)
        parties = {role: before.parties[role] for role in component.releasing_in(before)}

        def all_released() -> Mapping[str, str] | None:
            self._signal.check()
            row = self._row()
            if row["state"] == "RELEASE_REVIEW":
                raise _Waiting
            if row["state"] != "RUNNING":
                raise JobFailed(f"the job is {row['state'].lower()}")
            released = row["releases"].get(step_id, {})
            awaited = set(parties.values()) - absences.named(row, step_id)
            return released if awaited <= set(released) else None

        timeout_s = services.settings.step_timeout_s
        digests = services.ledger.wait_until(all_released, timeout_s, f"both releases of step {step_id}")
        opened = {}
        for role, sender in parties.items():
            if sender not in digests:
                continue
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
        """Post progress, at most twice a second; a hub that does not answer does not stop a computation.

        Raises:
            JobStopped: the run has been told to stop.
        """
        self._signal.check()
        now = time.monotonic()
        if done < total and now - self._told_at < _PROGRESS_EVERY_S:
            return
        self._told_at = now
        left_s = self._pace.left_s(step_id, done, total, now)
        try:
            self._services.hub.progress(self._spec.job, step_id, done, total, left_s)
        except ExchangeError as exc:
            _log.info("progress of %s not posted: %s", self._spec.job, exc.code)
