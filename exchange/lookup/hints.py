"""The hints that this member holds of others' services: fetched once, compared with the ledger, kept."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from exchange.config import private_directory
from exchange.lookup.errors import LookupFailed, LookupRefused
from exchange.lookup.serving import Folders
from exchange.rpc.errors import PeerUnreachable
from exchange.rpc.lookups import LookupLinks
from mpc.errors import CorruptHint, MalformedMessage

if TYPE_CHECKING:
    from mpc.pir.client import ListClient
    from mpc.pir.manifest import Manifest

__all__ = ["Held", "Hints", "Peer"]

Peer = tuple[str, str, bytes]
"""DID, ``host:port``, certificate on the ledger."""

_SMALL: Final = 64 * 1024
_TRIES: Final = 5


@dataclass(frozen=True)
class Held:
    """A release that can be asked: what the ledger said of it, and the client with its hint."""

    row: Mapping[str, Any]
    client: ListClient


class Hints:
    """Clients of services' releases. Thread-safe.

    Args:
        folders: where they are kept.
        links: to the owners.
    """

    def __init__(self, folders: Folders, links: LookupLinks) -> None:
        self._folders, self._links = folders, links
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}
        self._open: dict[str, Held] = {}

    def held(self, row: Mapping[str, Any]) -> Held | None:
        """What can be asked at once: the present release of a service, or the one before."""
        held = self._open.get(str(row["service"]))
        return held if held is not None and held.row["release"] >= row["release"] - 1 else None

    def present(self, row: Mapping[str, Any], peer: Peer) -> Held:
        """The release that the ledger states, with the hint fetched if it is not here.

        Args:
            row: the service on the ledger.
            peer: its owner.

        Raises:
            LookupFailed: what the owner sends has not the digest on the ledger.
            LookupRefused: the owner has no such file.
            PeerUnreachable: nobody answers there, or the connection broke again and again.
        """
        service = str(row["service"])
        with self._lock:
            busy = self._busy.setdefault(service, threading.Lock())
        with busy:
            held = self._open.get(service)
            if held is None or held.row["manifest"] != row["manifest"]:
                held = self._open[service] = Held(row, self._made(row, peer))
        return held

    def _made(self, row: Mapping[str, Any], peer: Peer) -> ListClient:
        from mpc.pir.client import ListClient

        service, release = str(row["service"]), int(row["release"])
        folder = self._folders.release(service, release)
        if (folder / "manifest").is_file():
            try:
                client = ListClient.load(folder)
                if client.manifest.digest.hex() == row["manifest"]:
                    return client
            except (CorruptHint, MalformedMessage, OSError):
                pass
            shutil.rmtree(folder, ignore_errors=True)
        private_directory(self._folders.root)
        private_directory(self._folders.service(service))
        manifest = self._manifest(row, peer)
        try:
            client = self._updated(manifest, row, peer) or self._fetched(manifest, row, peer)
        except (CorruptHint, MalformedMessage) as error:
            raise LookupFailed("the hint is not the one that the ledger names") from error
        folder.mkdir(mode=0o700, exist_ok=True)
        client.save(folder)
        for other in self._folders.service(service).iterdir():
            if other.is_file():
                other.unlink()
            elif other != folder:
                shutil.rmtree(other, ignore_errors=True)
        return client

    def _manifest(self, row: Mapping[str, Any], peer: Peer) -> Manifest:
        from mpc.pir.manifest import Manifest

        raw = self._small(row, peer, "manifest", _SMALL)
        try:
            manifest = Manifest.decode(raw)
        except MalformedMessage as error:
            raise LookupFailed("the manifest is not the one that the ledger names") from error
        if manifest.digest.hex() != row["manifest"]:
            raise LookupFailed("the manifest is not the one that the ledger names")
        return manifest

    def _updated(self, manifest: Manifest, row: Mapping[str, Any], peer: Peer) -> ListClient | None:
        """From the release before, if its hint is here and the owner made this one from it."""
        from mpc.pir.client import ListClient

        service, release = str(row["service"]), int(row["release"])
        held = self._open.get(service)
        before = None if held is None else held.client
        folder = self._folders.release(service, release - 1)
        if before is None and (folder / "manifest").is_file():
            try:
                before = ListClient.load(folder)
            except (CorruptHint, MalformedMessage, OSError):
                return None
        if before is None or before.manifest.number != release - 1:
            return None
        try:
            delta = self._small(row, peer, "delta", int(row["hint"]["bytes"]))
            return before.updated(manifest, delta)
        except (LookupRefused, CorruptHint, MalformedMessage):
            return None

    def _fetched(self, manifest: Manifest, row: Mapping[str, Any], peer: Peer) -> ListClient:
        from mpc.pir.client import ListClient

        part = self._folders.service(str(row["service"])) / f"{row['manifest']}.part"
        size = int(row["hint"]["bytes"])
        for left in reversed(range(_TRIES)):
            try:
                with part.open("ab") as file:
                    for content in self._links.fetch(
                        peer, str(row["service"]), int(row["release"]), "hint", file.tell()
                    ):
                        file.write(content)
                        if file.tell() > size:
                            raise LookupFailed("the hint is longer than the ledger says")
                break
            except PeerUnreachable:
                if not left:
                    raise
            except LookupFailed:
                part.unlink()
                raise
        stash = self._small(row, peer, "stash", max(_SMALL, size))
        hint = part.read_bytes()
        part.unlink()
        return ListClient(manifest, hint, stash)

    def _small(self, row: Mapping[str, Any], peer: Peer, name: str, limit: int) -> bytes:
        content = bytearray()
        for piece in self._links.fetch(peer, str(row["service"]), int(row["release"]), name, 0):
            content += piece
            if len(content) > limit:
                raise LookupFailed(f"the {name} is longer than expected")
        return bytes(content)
