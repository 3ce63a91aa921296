"""Takes a process out of sight of everything but one folder, and of what its interpreter reads.

For code that others have written and that gets an owner's rows. `mpc.engines.worker` loads this file beside
it, in another interpreter, so it imports nothing of this package. The process must be in a user namespace of
its own already, in which it may mount; afterwards it may nothing.

What is left: the folder, to read and write; the system's libraries and the interpreter's, to read;
``/dev/null``, ``/dev/zero`` and ``/dev/urandom``. No other file, no other process to see or signal, no shared
memory of others, no ``/proc``.

Source: the mounts are those of bubblewrap (pivot_root(2), user_namespaces(7), mount_setattr(2)).
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import sys
from pathlib import Path
from typing import Final

_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWPID = 0x20000, 0x8000000, 0x20000000
_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x1000, 0x4000, 0x40000, 2
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV, _AT_RECURSIVE, _AT_FDCWD = 1, 2, 4, 0x8000, -100
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_CAPABILITY_VERSION: Final = 0x20080522
_MOUNT_SETATTR: Final = 442
_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}
"""Numbers of system calls that the C library has no name for; the first is the same everywhere."""
_INSIDE: Final = 1000
"""The user that this one is inside: not root, so that no program run there gains anything."""
_LARGEST_FILE: Final = 1024**3
_SYSTEM: Final = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache")
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/urandom")

_libc = ctypes.CDLL(None, use_errno=True)


def enclose(folder: Path, user: int, group: int) -> None:
    """Go on in a grandchild that sees ``folder`` and nothing else to write to; those before it wait for it.

    Args:
        folder: the working directory afterwards.
        user: who runs this process, as numbered outside its user namespace.
        group: of that user, numbered in the same way.

    Raises:
        OSError: this kernel, or who runs it, does not allow it.
    """
    number = _PIVOT_ROOT.get(platform.machine())
    if number is None:
        raise OSError(f"no enclosure on {platform.machine()}")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_INSIDE} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{_INSIDE} {group} 1")
    _done(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWIPC | _CLONE_NEWPID))
    _go_on_in_a_child()
    _done(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    root = folder / "root"
    root.mkdir()
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", str(root), "tmpfs", 0)
    for path in (*_SYSTEM, sys.prefix, sys.base_prefix, *_DEVICES):
        _show(Path(path), root)
    Path(f"{root}{folder}").mkdir(parents=True, exist_ok=True)
    _set(str(root), _ATTR_RDONLY | _ATTR_NOSUID)
    _bind(folder, root)
    os.chdir(root)
    _done(_libc.syscall(number, b".", b"."))
    _done(_libc.umount2(b".", _MNT_DETACH))
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))
    header, none = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    _done(_libc.capset(header, none))
    # What is enclosed can leave its session, and what would end it with its parent. The first process of the
    # namespace, which nothing inside can signal or trace, does neither; and all die with it.
    _done(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
    _go_on_in_a_child()


def _go_on_in_a_child() -> None:
    """Go on in a child; this process waits for it, whatever else may be its child, and ends as it ends."""
    child = os.fork()
    if not child:
        return
    ended, status = os.wait()
    while ended != child:
        ended, status = os.wait()
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _show(path: Path, root: Path) -> None:
    """Let a path be seen below the new root as it is below this one."""
    place = Path(f"{root}{path}")
    if place.exists() or place.is_symlink() or not path.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        place.symlink_to(path.readlink())
    else:
        _bind(path, root)


def _bind(path: Path, root: Path) -> None:
    place = Path(f"{root}{path}")
    if path.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.touch()
    _mount(str(path), str(place), None, _MS_BIND | _MS_REC)


def _mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    _done(_libc.mount(*texts, ctypes.c_ulong(flags), None))


def _set(place: str, flags: int) -> None:
    """Set flags of a mount and of all below it, without a change to others."""
    wanted = (ctypes.c_uint64 * 4)(flags, 0, 0, 0)
    _done(
        _libc.syscall(
            _MOUNT_SETATTR, _AT_FDCWD, os.fsencode(place), _AT_RECURSIVE, wanted, ctypes.sizeof(wanted)
        )
    )


def _done(status: int) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
