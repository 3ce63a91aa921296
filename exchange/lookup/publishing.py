"""Opening, refreshing and withdrawing this owner's services.

What a steward asks for is kept; building it is a duty of the node, begun again after a restart, and once more
whenever the asset has another version than the release. A release counts from its entry on the ledger on;
until then, and while its files are on disk, members ask the one before.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.errors import ConnectorError
from exchange.config import private_directory
from exchange.errors import Conflict, InvalidRequest, JobStopped, NotFound
from exchange.lookup.requests import ServiceRequest
from exchange.lookup.serving import Folders
from exchange.node.assets import Assets
from exchange.node.ledger_client import FinalEntry, LedgerClient
from exchange.store import KeptService, LookupRepository, ServiceState
from mpc.errors import MpcError

__all__ = ["Publishing", "Standing"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Standing:
    """A service of this owner: as asked for, and as the ledger has it (None before the first release)."""

    kept: KeptService
    row: Any


class Publishing:
    """This owner's services.

    Args:
        ledger: this node's view of the ledger.
        assets: this owner's assets.
        kept: what was asked for.
        folders: where releases are made.
        me: this owner's DID.
        seed: 32 bytes, from which the services' keys are derived.
        wake: called when there is something to build.
    """

    def __init__(
        self,
        ledger: LedgerClient,
        assets: Assets,
        kept: LookupRepository,
        folders: Folders,
        me: str,
        seed: bytes,
        wake: Callable[[], None],
    ) -> None:
        self._ledger, self._assets, self._kept, self._folders = ledger, assets, kept, folders
        self._me, self._seed, self._wake = me, seed, wake
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Give up what is being built; it is begun again at the next start."""
        self._stopping.set()

    def open(self, request: ServiceRequest) -> Standing:
        """Open a service, or ask for its next release with other terms; it is built apart.

        Raises:
            NotFound: this participant has not published the asset.
            Conflict: the asset is withdrawn.
            InvalidRequest: the name, a column, a rule, a purpose or a number is not possible.
        """
        request.check()
        row = self._assets.own(request.asset)
        if row["status"] != "published":
            raise Conflict(f"asset {request.asset} is {row['status']}")
        owner = str(request.asset).partition("/")[0]
        if request.service.partition("/")[0] != owner:
            raise InvalidRequest("service", f"a name below {owner}/", repr(request.service)[:80])
        known = {column["name"] for column in row["schema"]}
        for column in request.columns:
            if column not in known:
                raise InvalidRequest("columns", f"columns of the asset: {', '.join(sorted(known))}", column)
        before = self._ledger.final("lookups", request.service)
        if before is not None and before["asset"] != request.asset:
            raise InvalidRequest("asset", str(before["asset"]), request.asset)
        if before is not None and request.epoch < before["epoch"]:
            raise InvalidRequest("epoch", f"{before['epoch']} or a later one", str(request.epoch))
        self._kept.put_service(request.service, request.as_json(), ServiceState.BUILDING)
        self._wake()
        return self.standing(request.service)

    def withdraw(self, service: str, reason: str) -> FinalEntry:
        """Close a service; its files are removed.

        Raises:
            NotFound: this participant has no such service on the ledger.
            Conflict: it is withdrawn already.
        """
        row = self._ledger.final("lookups", service)
        if row is None or row["owner"] != self._me:
            raise NotFound(f"this participant has no lookup service {service}")
        if row["status"] != "open":
            raise Conflict(f"lookup service {service} is {row['status']}")
        kept = self._kept.service(service)
        if kept is not None:
            self._kept.put_service(service, kept.request, ServiceState.WITHDRAWN)
        entry = self._ledger.write("lookup.withdraw", {"service": service, "reason": reason})
        shutil.rmtree(self._folders.service(service), ignore_errors=True)
        return entry

    def standing(self, service: str) -> Standing:
        """A service of this owner.

        Raises:
            NotFound: none was asked for.
        """
        kept = self._kept.service(service)
        if kept is None:
            raise NotFound(f"this participant has no lookup service {service}")
        return Standing(kept, self._ledger.final("lookups", service))

    def all(self) -> list[Standing]:
        """Every service of this owner."""
        return [Standing(kept, self._ledger.final("lookups", kept.service)) for kept in self._kept.services()]

    def owed(self) -> Iterator[str]:
        """Services that have to be built: asked for, or behind their asset."""
        for kept in self._kept.services():
            asset = self._ledger.final("assets", str(kept.request["asset"]))
            if asset is None or asset["status"] != "published":
                continue
            if kept.state is ServiceState.BUILDING:
                yield kept.service
            elif kept.state is ServiceState.OPEN:
                row = self._ledger.final("lookups", kept.service)
                if row is not None and row["status"] == "open" and row["version"] < asset["version"]:
                    yield kept.service

    def build(self, service: str) -> None:
        """The duty: make the next release of a service and put it on the ledger."""
        kept = self._kept.service(service)
        if kept is None or service not in set(self.owed()):
            return
        state, failure = ServiceState.OPEN, ""
        try:
            self._build(kept)
        except (Conflict, InvalidRequest, NotFound, ConnectorError, MpcError) as error:
            _log.warning("lookup service %s is not built: %s", service, error.code)
            state, failure = ServiceState.FAILED, f"{error.code}: {error}"[:500]
        if self._kept.service(service) == kept:  # else it was withdrawn, or asked for with other terms
            self._kept.put_service(service, kept.request, state, failure)

    def _build(self, kept: KeptService) -> None:
        from exchange.lookup.admission import TECHNIQUE
        from exchange.lookup.building import make_release, oprf_key
        from mpc.pir.manifest import VERSION
        from mpc.randomness import SystemRandomness

        request = ServiceRequest.parse(kept.request)
        row, before = self._assets.own(request.asset), self._ledger.final("lookups", request.service)
        number = 1 if before is None else int(before["release"]) + 1
        private_directory(self._folders.root)
        private_directory(self._folders.service(request.service))
        folder = self._folders.release(request.service, number)
        with self._assets.open(request.asset) as connector:
            manifest = make_release(
                folder,
                connector.batches(request.columns),
                request,
                oprf_key(self._seed, request.service, request.epoch),
                number,
                SystemRandomness(),
                previous=self._previous(request, before),
                look=self._look,
            )
        self._assets.verify_version(request.asset)
        body = {
            "service": request.service,
            "release": number,
            "asset": request.asset,
            "version": row["version"],
            "keys": [{"column": key.column, "rules": list(key.rules)} for key in request.keys],
            "record": list(request.record),
            "record_bytes": request.record_bytes,
            "entries": manifest.entries,
            "protocol": {"name": TECHNIQUE, "version": VERSION},
            "epoch": request.epoch,
            "manifest": manifest.digest.hex(),
            "hint": {"digest": manifest.hint.hex(), "bytes": (folder / "hint").stat().st_size},
            "price": request.price,
            "rates": request.rates(),
            "purposes": list(request.purposes),
        }
        if self._kept.service(request.service) != kept:
            raise Conflict(f"lookup service {request.service} was changed while its release was made")
        self._ledger.write("lookup.service", body)
        self._tidy(request.service, number)

    def _previous(self, request: ServiceRequest, before: Any) -> Path | None:  # noqa: ANN401 - a row
        """The folder of the release before, where the next one may be made from it."""
        if before is None or before["status"] != "open":
            return None
        same = (
            before["epoch"] == request.epoch
            and before["record"] == list(request.record)
            and before["record_bytes"] == request.record_bytes
            and before["keys"] == [{"column": key.column, "rules": list(key.rules)} for key in request.keys]
        )
        return self._folders.release(request.service, int(before["release"])) if same else None

    def _look(self) -> None:
        if self._stopping.is_set():
            raise JobStopped("this node stops")

    def _tidy(self, service: str, release: int) -> None:
        """Keep the release and the one before."""
        for path in self._folders.service(service).iterdir():
            if int(path.name.partition(".")[0]) >= release - 1:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
