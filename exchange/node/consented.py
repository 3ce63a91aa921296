"""Rows of an asset whose use needs consent: those of subjects that consented, and no other.

Which row is whose is known at the owner's node alone, sealed. Whose consent covers a job is looked up when
the job first reads the asset, and stays so for that job: its steps rely on row numbers. A withdrawal after
that stops every later job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from connectors import identifiers
from connectors.connector import BATCH_ROWS, Connector, require_columns
from connectors.filters import Filter
from exchange.credentials.consents import consents, is_required
from exchange.errors import Conflict, InvalidRequest
from exchange.jobs.spec import JobSpec
from exchange.node.ledger_client import LedgerClient
from exchange.store import Vault

__all__ = ["ConsentGate", "ConsentedRows", "Use"]

_SUBJECT, _ALLOWED = "consent-subject", "consent-allowed"


@dataclass(frozen=True)
class Use:
    """What rows are read for.

    Attributes:
        job: the job, or another id of an act that may read several times.
        purpose: a DPV term.
        columns: all columns that it reads of the asset.
    """

    job: str
    purpose: str
    columns: tuple[str, ...]

    @classmethod
    def by(cls, spec: JobSpec, asset: str) -> Use:
        """The use that a job makes of an asset."""
        inputs = [given for step in spec.steps for given in step.inputs.values() if given.asset == asset]
        columns = {column.name for given in inputs for column in given.columns}
        return cls(spec.job, spec.purpose, tuple(sorted(columns)))


class ConsentedRows:
    """A connector that yields the rows of some identifiers."""

    def __init__(self, source: Connector, column: str, allowed: pa.Array) -> None:
        self._source, self._column, self._allowed = source, column, allowed

    def schema(self) -> pa.Schema:
        """Names and types of the source."""
        return self._source.schema()

    def batches(
        self, columns: Sequence[str], *, where: Filter | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Read some columns of the allowed rows, in the source's order."""
        wanted = require_columns(columns, self.schema())
        read = wanted if self._column in wanted else (*wanted, self._column)
        source = self._source.batches(read, where=where, batch_rows=batch_rows)
        return self._kept(source, list(wanted))

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _kept(self, source: Iterator[pa.RecordBatch], wanted: list[str]) -> Iterator[pa.RecordBatch]:
        for batch in source:
            names = identifiers.normalise(batch.column(self._column), ["trim"], self._column)
            kept = batch.filter(pc.is_in(names, value_set=self._allowed)).select(wanted)
            if kept.num_rows:
                yield kept


class ConsentGate:
    """Which rows of this owner's assets may be read for what."""

    def __init__(self, vault: Vault, ledger: LedgerClient, clock: Callable[[], datetime]) -> None:
        self._vault, self._ledger, self._clock = vault, ledger, clock

    def bind(self, asset: str, identifier: str, subject: str) -> None:
        """Keep which row a subject's pseudonym stands for.

        Raises:
            Conflict: the pseudonym stands for another row already.
        """
        name, content = f"{asset} {subject}", {"identifier": identifier.strip(), "subject": subject}
        if not self._vault.add(_SUBJECT, name, content, parent=asset):
            known = self._vault.find(_SUBJECT, name)
            if known != content:
                raise Conflict(f"this pseudonym stands for another row of {asset}")

    def bound(self, asset: str) -> list[str]:
        """The pseudonyms of which a row of an asset is known."""
        return [str(one["subject"]) for one in self._vault.of(_SUBJECT, asset)]

    def through(self, connector: Connector, asset: str, use: Use | None) -> Connector:
        """Return what a use may see of an asset.

        Raises:
            Conflict: its use needs consent, and it was not said what it is used for.
        """
        state = self._ledger.state
        if not is_required(state, asset):
            return connector
        if use is None:
            raise Conflict(f"the rows of {asset} are used with consent only: expected a job and a purpose")
        column = state.rows("consent_rules")[asset]["column"]
        return ConsentedRows(connector, column, pa.array(self._allowed(asset, use), pa.string()))

    def _allowed(self, asset: str, use: Use) -> list[str]:
        name = f"{use.job} {asset}"
        subjects = consents(self._ledger.state, asset, use.purpose, self._clock(), use.columns)
        self._vault.add(_ALLOWED, name, {"subjects": sorted(subjects)}, parent=use.job)
        kept = self._vault.find(_ALLOWED, name)
        if kept is None:
            raise InvalidRequest("job", "a job of which the consents are kept", "none")
        known = {one["subject"]: one["identifier"] for one in self._vault.of(_SUBJECT, asset)}
        return [known[subject] for subject in kept["subjects"] if subject in known]
