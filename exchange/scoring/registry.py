"""The registry: versions of models on the ledger, with this owner's part of each and the table made from it.

A part is sealed and kept here before its commitment goes to the ledger. Making the table of partial scores is
a duty of the node, begun again after a restart, and once more whenever the asset has another version.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from connectors.errors import ConnectorError
from exchange.config import private_directory
from exchange.errors import Conflict, InvalidRequest, NotFound
from exchange.identity import NodeKeys
from exchange.node.assets import Assets
from exchange.node.ledger_client import FinalEntry, LedgerClient
from exchange.scoring.admission import column_uses
from exchange.scoring.answers import Partial
from exchange.scoring.partials import PartialTable, make_table
from exchange.scoring.parts import Trained, open_part, seal_part, trained
from exchange.scoring.requests import Filing
from exchange.scoring.served import ServedPart, served_part
from exchange.store import JobRepository, KeptPart, ScoringRepository
from ledger.rules.models import key_of
from mpc.errors import MpcError
from policies import column_control, purposes
from policies.errors import PoliciesError

__all__ = ["Models"]

_log = logging.getLogger(__name__)

_SECRET = b"model tables"


class Models:
    """Versions of models, and this owner's parts of them. Thread-safe.

    Args:
        ledger: this node's view of the ledger.
        assets: this owner's assets.
        jobs: specifications and finished steps.
        kept: this owner's parts.
        keys: this node's.
        name: this owner's short name; its models are below it.
        root: the folder of the tables.
        wake: called when there is a table to make.
    """

    def __init__(
        self,
        ledger: LedgerClient,
        assets: Assets,
        jobs: JobRepository,
        kept: ScoringRepository,
        keys: NodeKeys,
        name: str,
        root: Path,
        wake: Callable[[], None],
    ) -> None:
        self._ledger, self._assets, self._jobs, self._kept = ledger, assets, jobs, kept
        self._keys, self._name, self._root, self._wake = keys, name, root, wake
        self._secret = keys.storage_key(_SECRET)
        self._open: dict[str, PartialTable] = {}
        self._parts: dict[str, ServedPart] = {}

    def draft(
        self, model: str, job: str, step: str, wanted: Sequence[str], filing: Filing
    ) -> Mapping[str, Any]:
        """Draft the next version of a model, as its label holder, with this owner's part.

        Args:
            model: its id, ``owner/name``.
            job: a completed job.
            step: that trained it.
            wanted: purposes, DPV terms, for which it may be used.
            filing: how this owner's part is served.

        Raises:
            NotFound: the job has left nothing here, or there is no such asset.
            Conflict: the job is not completed, its coefficients are not split, or another has the label.
            InvalidRequest: naming the field.
        """
        filing.check()
        if model.partition("/")[0] != self._name:
            raise InvalidRequest("model", f"a name below {self._name}/", repr(model)[:80])
        for purpose in wanted:
            if not purposes.is_known(purpose):
                raise InvalidRequest("purposes", "terms that the profile knows", repr(purpose)[:80])
        found = trained(self._jobs, self._keys, job, step)
        if found.owners[0] != self._keys.did:
            raise Conflict(f"another owner holds the label of step {step}, and drafts the model")
        row = self._ledger.final("jobs", job)
        if row is None or row["state"] != "COMPLETED":
            raise Conflict(f"job {job} is {'unknown' if row is None else row['state']}, not COMPLETED")
        version = 1
        while self._ledger.final("models", key_of({"model": model, "version": version})) is not None:
            version += 1
        body = {
            **self._filed(model, version, found, filing),
            "job": job,
            "step": step,
            "parties": list(found.owners),
            "purposes": list(wanted),
        }
        self._ledger.write("model.draft", body)
        self._wake()
        return self.row(model, version)

    def file(self, model: str, version: int, filing: Filing) -> Mapping[str, Any]:
        """File this owner's part of another's draft; the last part publishes the version.

        Raises:
            NotFound: there is no such version, its job has left nothing here, or there is no such asset.
            Conflict: the part is filed, the version is withdrawn, or its owners are not those of its step.
            InvalidRequest: naming the field.
        """
        filing.check()
        self._ledger.awaited("models", key_of({"model": model, "version": version}))
        row = self.row(model, version)
        if row["status"] == "withdrawn":
            raise Conflict(f"version {version} of {model} is withdrawn")
        if self._keys.did in row["parts"]:
            raise Conflict(f"this participant's part of version {version} of {model} is filed")
        found = trained(self._jobs, self._keys, row["job"], row["step"])
        if list(found.owners) != row["parties"]:
            raise Conflict(f"version {version} of {model} names other owners than step {row['step']} has")
        self._ledger.write("model.part", self._filed(model, version, found, filing))
        self._wake()
        return self.row(model, version)

    def _filed(self, model: str, version: int, found: Trained, filing: Filing) -> dict[str, object]:
        """Keep this owner's part, and return what the ledger is to have of it."""
        asset = filing.asset or found.asset
        row, part = self._assets.own(asset), served_part(found.component, found.part)
        if row["status"] != "published":
            raise Conflict(f"asset {asset} is {row['status']}")
        known = {column["name"] for column in row["schema"]}
        if filing.key not in known:
            raise InvalidRequest("key", f"a column of {asset}: {', '.join(sorted(known))}", filing.key[:80])
        if missing := set(part.columns) - known:
            expected = f"an asset with the columns {', '.join(part.columns)}"
            raise InvalidRequest("asset", expected, f"{asset} without {', '.join(sorted(missing))}")
        is_first = found.owners[0] == self._keys.did
        if is_first and filing.fallback != "none":
            raise InvalidRequest("fallback", "none, of the part with the intercept", filing.fallback)
        if filing.fallback != "none" and not part.has_mean:
            raise InvalidRequest("fallback", f"none of {found.component}", filing.fallback)
        filed: dict[str, Any] = {
            "asset": asset,
            "key": filing.key,
            "rules": list(filing.rules),
            "columns": list(part.columns),
            "fallback": filing.fallback,
            "rates": filing.rates(),
        }
        if filing.reasons:
            if not part.has_points:
                raise InvalidRequest(
                    "reasons", f"0 of {found.component}, which has no points", str(filing.reasons)
                )
            filed["reasons"] = filing.reasons
        if not is_first:
            uses = column_uses(filed, self._keys.did, found.owners[0])
            try:
                column_control.check(uses, column_control.levels_of(row["schema"]))
            except PoliciesError as error:
                expected = "columns of which the label holder may see a partial score"
                raise InvalidRequest("asset", expected, str(error)) from error
        commitment, sealed = seal_part(self._keys, model, version, found.part)
        self._kept.put_part(model, version, sealed, filed)
        return {"model": model, "version": version, "part": commitment, **filed}

    def withdraw(self, model: str, version: int, reason: str) -> FinalEntry:
        """Withdraw a version, as any of its owners; from then on no owner answers for it.

        Raises:
            NotFound: this participant owns no part of such a version.
            Conflict: it is withdrawn already.
        """
        row = self.row(model, version)
        if self._keys.did not in row["parties"]:
            raise NotFound(f"this participant owns no part of version {version} of {model}")
        if row["status"] == "withdrawn":
            raise Conflict(f"version {version} of {model} is withdrawn")
        body = {"model": model, "version": version, "reason": reason}
        return self._ledger.write("model.withdraw", body)

    def all(self) -> list[Mapping[str, Any]]:
        """Every version of every model on the ledger."""
        return self._ledger.final_rows("models")

    def row(self, model: str, version: int) -> Mapping[str, Any]:
        """A version on the ledger.

        Raises:
            NotFound: there is none.
        """
        row = self._ledger.final("models", key_of({"model": model, "version": version}))
        if row is None:
            raise NotFound(f"no version {version} of model {model} on the ledger")
        return row

    def part(self, model: str, version: int) -> KeptPart | None:
        """This owner's part of a version, and how far its table is."""
        return self._kept.part(model, version)

    def served(self, row: Mapping[str, Any]) -> ServedPart:
        """This owner's part of a version, opened once.

        Raises:
            NotFound: this owner has no part of it.
        """
        name = key_of(row)
        if name not in self._parts:
            kept = self._kept.part(row["model"], row["version"])
            if kept is None:
                raise NotFound(f"this node has no part of version {row['version']} of {row['model']}")
            self._parts[name] = self._opened(kept, row)
        return self._parts[name]

    def table(self, row: Mapping[str, Any]) -> PartialTable:
        """This owner's table of a version.

        Raises:
            Conflict: it is not made yet, or could not be.
        """
        name = key_of(row)
        found = self._open.get(name)
        if found is None:
            kept = self._kept.part(row["model"], row["version"])
            if kept is None or not kept.built or kept.failure:
                raise Conflict(f"the table of version {row['version']} of {row['model']} is not made")
            found = PartialTable(self._path(kept, kept.built), kept.filing["rules"], self._secret)
            self._open[name] = found
        return found

    def partials(self, row: Mapping[str, Any], persons: Sequence[str]) -> list[Partial]:
        """What this owner has of some persons, with the reasons that it filed.

        Raises:
            Conflict: its table is not made.
            InvalidIdentifiers: some are none, by the rules; with their number.
        """
        filed = row["parts"][self._keys.did]
        found, known = self.table(row).find(persons)
        return self.served(row).partials(found, known, filed.get("reasons", 0))

    def is_ready(self, row: Mapping[str, Any]) -> bool:
        """Whether this owner's table of a version is made."""
        try:
            self.table(row)
        except Conflict:
            return False
        return True

    # duties

    def owed(self) -> Iterator[str]:
        """Versions whose table has to be made or removed, by the key of their row."""
        for kept in self._kept.parts():
            if self._wanted(kept) not in (kept.built, None):
                yield key_of(vars(kept))

    def build(self, key: str) -> None:
        """The duty: make the table of a version from the asset's present rows, or remove it."""
        row = self._ledger.final("models", key)
        kept = None if row is None else self._kept.part(row["model"], row["version"])
        wanted = None if kept is None else self._wanted(kept)
        if row is None or kept is None or wanted is None or wanted == kept.built:
            return
        failure = ""
        if wanted:
            try:
                self._make(kept, row, wanted)
            except (Conflict, ConnectorError, MpcError) as error:
                _log.warning("the table of %s is not made: %s", key, error.code)
                failure = f"{error.code}: {error}"[:500]
        self._kept.built(kept.model, kept.version, wanted, failure)
        self._open.pop(key, None)
        self._tidy(self._path(kept, wanted))

    def _wanted(self, kept: KeptPart) -> int | None:
        """The version of the asset that the table should be of; 0: of none; None: the part is not filed."""
        row = self._ledger.final("models", key_of(vars(kept)))
        if row is None or self._keys.did not in row["parts"]:
            return None
        asset = self._assets.own(str(kept.filing["asset"]))
        is_served = asset["status"] == "published" and row["status"] != "withdrawn"
        return int(asset["version"]) if is_served else 0

    def _make(self, kept: KeptPart, row: Mapping[str, Any], version: int) -> None:
        part = self._opened(kept, row)
        asset, key = str(kept.filing["asset"]), str(kept.filing["key"])
        private_directory(self._root)
        path = self._path(kept, version)
        private_directory(path.parent)
        with self._assets.open(asset) as connector:
            batches = connector.batches([key, *part.columns])
            by_column = bool(kept.filing.get("reasons"))
            make_table(path, batches, key, kept.filing["rules"], part, self._secret, by_column=by_column)
        self._assets.verify_version(asset)

    def _opened(self, kept: KeptPart, row: Mapping[str, Any]) -> ServedPart:
        commitment = row["parts"][self._keys.did]["part"]
        raw = open_part(self._keys, kept.model, kept.version, kept.sealed, commitment)
        return served_part(row["component"], raw)

    def _path(self, kept: KeptPart, version: int) -> Path:
        """The file of a table; its name tells nothing."""
        folder = hashlib.sha256(key_of(vars(kept)).encode()).hexdigest()[:24]
        return self._root / folder / f"{version}.npy"

    def _tidy(self, keep: Path) -> None:
        """Remove the tables of other versions of the asset."""
        with suppress(FileNotFoundError):
            for path in keep.parent.iterdir():
                if path != keep:
                    path.unlink()
