"""Evidence files: what a member saw when the log it mirrors was wrong."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from ledger import canonical
from ledger.canonical import JsonValue

__all__ = ["write_evidence"]


def write_evidence(folder: Path, kind: str, size: int, facts: Mapping[str, JsonValue]) -> Path:
    """Write facts as canonical JSON, durably, under a name made from them.

    The same facts give the same file, so a fault that is seen again does not fill the disk.

    Args:
        folder: made if it is not there, readable by its owner only.
        kind: what differs.
        size: the log size at which it does.
        facts: the rest; signed notes as text, entries as base64url.

    Returns:
        The file's path.
    """
    data = canonical.encode({"kind": kind, "size": size, **facts})
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"divergence-{kind}-{size}-{hashlib.sha256(data).hexdigest()[:12]}.json"
    partial = path.with_suffix(".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return path
