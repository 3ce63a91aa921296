"""The data directory: made for its user alone, and refused where anybody else could enter it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from exchange.config.problems import ConfigError, Problem

__all__ = ["directory_problems", "private_directory"]

_OTHERS = 0o077


def private_directory(path: Path) -> Path:
    """Make ``path`` with mode 0700, or check that it is one that nobody else can enter.

    Raises:
        ConfigError: it belongs to another user, or its mode lets others in; the text names path and mode.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        if not path.exists():
            problem = Problem(str(path), "a directory that can be made", error.strerror or "an error")
            raise ConfigError([problem]) from error
    problems = directory_problems(path)
    if problems:
        raise ConfigError(problems)
    return path


def directory_problems(path: Path) -> list[Problem]:
    """Everything that stands against ``path`` as a data directory."""
    try:
        entry = path.stat()
    except OSError as error:
        return [Problem(str(path), "a data directory", error.strerror or "an error")]
    if not stat.S_ISDIR(entry.st_mode):
        return [Problem(str(path), "a data directory", "a file")]
    problems = []
    user = os.geteuid()
    if entry.st_uid != user:
        problems.append(Problem(str(path), f"a directory of user {user}", f"one of user {entry.st_uid}"))
    mode = stat.S_IMODE(entry.st_mode)
    if mode & _OTHERS:
        problems.append(Problem(str(path), "mode 0700", f"mode {mode:04o}"))
    return problems
