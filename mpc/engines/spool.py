"""A private folder for one run of an engine, removed with all that is in it, also after a kill.

Engines read and write files. What they write, sorted copies of identifiers among it, stays in a folder of its
own that only this user can enter. Its owner holds a lock on it; when the owner is gone, however it ended, the
next run at this node finds the lock free and removes the folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["spool", "sweep"]

_PREFIX = "run-"
_LOCK = "lock"


@contextmanager
def spool(base: Path) -> Iterator[Path]:
    """Make a folder below ``base`` with mode 0700, and remove it in the end.

    Folders of owners that are gone are removed first.
    """
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    sweep(base)
    while (made := _locked_folder(base)) is None:
        pass
    folder, lock = made
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked_folder(base: Path) -> tuple[Path, int] | None:
    """Make a folder and lock it; None where a sweep of another run removed it before."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base)).resolve()
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    if os.fstat(lock).st_nlink:
        return folder, lock
    os.close(lock)
    return None


def sweep(base: Path) -> None:
    """Remove the folders below ``base`` whose owners are gone."""
    for folder in base.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
