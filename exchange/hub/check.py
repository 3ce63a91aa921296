"""``parley hub fsck``: does the hub's database say what was signed?

The log is recomputed from its entries (``ledger.fsck``). Then every paper the hub keeps is measured against
the digests in those entries. Each problem names table and key, what was expected and what was found. When
something was stored cannot be checked; nobody relies on it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, make_url

from exchange.config import hub_settings
from exchange.errors import Conflict
from exchange.hub.files import GENESIS_FILE
from exchange.store import HubStore
from exchange.store.engine import StoreUnavailable
from ledger import fsck as ledger_fsck
from ledger.errors import LedgerError, MalformedEntry
from ledger.fsck import Problem
from ledger.readonly import damage, opened_read_only
from ledger.store import LedgerStore
from ledger.tables import State
from ledger.times import system_clock

__all__ = ["check_papers", "fsck"]

_NOTHING = "nothing"


@dataclass
class _Signed:
    """What the valid entries say of jobs: who plays which step, and which bytes go to whom."""

    specs: dict[str, str] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)
    parties: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    releases: dict[tuple[str, str, str], tuple[str, str]] = field(default_factory=dict)

    def read(self, entry_type: str, actor: str, body: dict[str, Any]) -> None:
        """Take in one valid entry."""
        if entry_type == "job.submit":
            self.specs[body["job"]] = body["spec"]
            for step in body["steps"]:
                self.parties[body["job"], step["id"]] = set(step["parties"])
        elif entry_type == "job.start":
            self.started.add(body["job"])
        elif entry_type == "job.release":
            self.releases[body["job"], body["step"], actor] = (body["recipient"], body["digest"])

    def take_up(self, carried: State) -> None:
        """Take in the jobs that the log of the epoch before left."""
        for job, row in carried.rows("jobs").items():
            self.specs[job] = row["spec"]
            for step in row["steps"]:
                self.parties[job, step["id"]] = set(step["parties"])
            if row["starts"]:
                self.started.add(job)
            for step, digests in row["releases"].items():
                for party, digest in digests.items():
                    self.releases[job, step, party] = (row["recipients"][step][party], digest)


def fsck(directory: Path) -> list[Problem]:
    """Check the database of the hub in ``directory``; works beside a running hub and on a copy.

    Returns:
        Everything that is wrong, the log's problems first; empty where all is as it was signed.

    Raises:
        Conflict: there is no database, or no genesis to check it against.
        ledger.errors.StoreUnavailable, StoreCorrupt: it is no ledger database, or one of another version.
    """
    settings = hub_settings(directory, os.environ)
    url = make_url(settings.database)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        raise Conflict(f"expected a database at {url.database}, found none; the hub has not run yet")
    genesis = directory / GENESIS_FILE
    if not genesis.exists():
        raise Conflict(f"expected a genesis in {directory}, found none")
    with opened_read_only(settings.database) as engine:
        problems = damage(engine)
        try:
            problems += ledger_fsck.check(LedgerStore(engine), genesis.read_bytes())
            problems += check_papers(engine)
        except (LedgerError, StoreUnavailable) as error:
            problems.append(Problem("database", "tables that can be read", str(error)))
        return problems


def check_papers(engine: Engine) -> Iterator[Problem]:
    """Measure specifications, results and progress against the entries of the log beside them."""
    signed, store = _signed(LedgerStore(engine)), HubStore(engine, system_clock)
    yield from _specs(signed, store)
    yield from _results(signed, store)
    for told in store.progress.all():
        where = f"hub_progress {told.job}/{told.step}/{told.party}"
        if told.party not in signed.parties.get((told.job, told.step), set()):
            yield Problem(where, "a party of a step on the ledger", told.party)
        elif not 0 <= told.done <= told.total:
            yield Problem(where, f"from 0 to {told.total} done", str(told.done))


def _signed(store: LedgerStore) -> _Signed:
    signed = _Signed()
    signed.take_up(store.carried())
    for page in store.pages():
        for record in page:
            if record.code is not None:
                continue
            try:
                entry = record.entry
            except MalformedEntry:
                continue  # the check of the log names it
            signed.read(entry.type, entry.actor, entry.body)
    return signed


def _specs(signed: _Signed, store: HubStore) -> Iterator[Problem]:
    kept = set()
    for spec in store.specs.all():
        kept.add(spec.job)
        expected, actual = signed.specs.get(spec.job, "a job on the ledger"), _digest(spec.content)
        if actual != expected:
            yield Problem(f"hub_specs {spec.job}", expected, actual)
    for job in sorted(signed.started - kept):
        yield Problem(f"hub_specs {job}", signed.specs.get(job, "a job on the ledger"), _NOTHING)


def _results(signed: _Signed, store: HubStore) -> Iterator[Problem]:
    for result in store.results.all():
        place = (result.job, result.step, result.sender)
        where = f"hub_results {'/'.join(place)}/{result.recipient}"
        recipient, digest = signed.releases.get(place, (result.recipient, None))
        if result.sender not in signed.parties.get((result.job, result.step), set()):
            yield Problem(where, "a party of a step on the ledger", result.sender)
        elif result.recipient != recipient:
            yield Problem(where, f"a result for {recipient}", f"one for {result.recipient}")
        elif digest is not None and _digest(result.sealed) != digest:
            yield Problem(where, digest, _digest(result.sealed))
    for place, (recipient, digest) in sorted(signed.releases.items()):
        if store.results.get(*place, recipient) is None:
            yield Problem(f"hub_results {'/'.join(place)}/{recipient}", digest, _NOTHING)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
