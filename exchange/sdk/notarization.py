"""Notarize files: fingerprints are made here, in pieces, and only they are sent to the node.

The id of each batch is derived from its fingerprints under the caller's token. Running the same call again,
after a crash or a lost connection, therefore asks for the same notarization and gets the same proofs. Without
the token nobody can tell from the id which documents it stands for.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from exchange.errors import Conflict, InvalidRequest, NodeUnreachable, TimedOut
from exchange.sdk.client import Json, NodeClient
from exchange.sdk.problems import NodeProblem
from ledger.entries import new_id
from ledger.notarization import MAX_FINGERPRINTS, Proof, fingerprint_file

__all__ = ["PROOF_SUFFIX", "VERDICT_SUFFIX", "NotarizedFile", "notarize_files"]

PROOF_SUFFIX = ".parley-proof"
VERDICT_SUFFIX = ".parley-verdict"

_ATTEMPTS = 4
_PAUSE_S = 2.0
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class NotarizedFile:
    """A file on record: what was written for it, and where its entry stands."""

    file: Path
    digest: str
    proof: Path
    evidence: Path
    notarization: str
    txid: str
    index: int
    position: int
    time: str


def notarize_files(
    client: NodeClient,
    files: Sequence[Path],
    out: Path,
    *,
    kind: str | None = None,
    note: str | None = None,
    private: str | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[NotarizedFile]:
    """Notarize files, up to 1,000 under each entry, and write what proves it.

    Args:
        client: one's own node.
        files: of any size and number; their names must differ.
        out: an existing directory: gets ``<name>.parley-proof`` for each file and one evidence bundle,
            ``<notarization>.zip``, for each entry.
        kind: what sort of documents; every member can read it.
        note: words about them; every member can read them.
        private: words that stay at the node; each entry commits to them.
        on_progress: called with the number of files whose fingerprint is made.

    Raises:
        InvalidRequest: no file, or two files of one name.
        Conflict: another proof of that name lies in ``out``; nothing is overwritten.
        OSError: a file cannot be read.
        TimedOut, NodeUnreachable, NodeProblem: the node did not notarize; the same call may be repeated.
    """
    if not files:
        raise InvalidRequest("files", "at least one file", "none")
    [(name, times)] = Counter(path.name for path in files).most_common(1)
    if times > 1:
        raise InvalidRequest("files", "files of different names", f"{name} {times} times")
    done: list[NotarizedFile] = []
    for start in range(0, len(files), MAX_FINGERPRINTS):
        batch = files[start : start + MAX_FINGERPRINTS]
        digests = []
        for path in batch:
            digests.append(fingerprint_file(path).hex())
            on_progress(start + len(digests))
        notarization = _derived_id(client, [*digests, kind or "", note or "", private or ""])
        words = {"kind": kind, "note": note, "private": private}
        ask = partial(client.notarize, digests, notarization=notarization, **words)
        made = _patiently(ask)
        done += _write(client, made, batch, out)
    return done


def _write(client: NodeClient, made: Json, files: Sequence[Path], out: Path) -> Iterator[NotarizedFile]:
    evidence = out / f"{made['notarization']}.zip"
    paths = [out / (path.name + PROOF_SUFFIX) for path in files]
    for path, proof in zip(paths, made["proofs"], strict=True):
        _write_once(path, Proof.of(proof).encode())
    if not evidence.exists():
        evidence.write_bytes(client.notarization_evidence(made["notarization"]))
    for position, (file, path) in enumerate(zip(files, paths, strict=True)):
        yield NotarizedFile(
            file=file,
            digest=made["proofs"][position]["digest"],
            proof=path,
            evidence=evidence,
            notarization=made["notarization"],
            txid=made["txid"],
            index=made["index"],
            position=position,
            time=made["time"],
        )


def _write_once(path: Path, content: bytes) -> None:
    """Write a file that is not there; one with this very content may be.

    Raises:
        Conflict: one with another content is there.
    """
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        if path.read_bytes() != content:
            raise Conflict(
                f"expected no other proof at {path}; move it away or choose another directory"
            ) from None


def _derived_id(client: NodeClient, parts: Sequence[str]) -> str:
    secret = "\n".join(client.profile.tokens[role] for role in sorted(client.profile.tokens)).encode()
    mac = hmac.digest(secret, "\n".join(["parley-notarization", *parts]).encode(), hashlib.sha256)
    return new_id("notarization", lambda: _EPOCH, lambda size: mac[:size])


def _patiently(ask: Callable[[], Json]) -> Json:
    """Ask again where asking again may help; the last failure is the caller's."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return ask()
        except (TimedOut, NodeUnreachable):
            pass
        except NodeProblem as problem:
            if not problem.may_retry:
                raise
        time.sleep(_PAUSE_S)
    return ask()
