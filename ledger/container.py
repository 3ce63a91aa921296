"""The container of an evidence bundle: a ZIP file with exactly one spelling.

Members are stored uncompressed, sorted by name, with fixed times and attributes. Reading writes the members
again and compares, so that no byte of the file, not even one that ZIP programs ignore, can be changed unseen.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

from ledger.errors import InvalidBundle

__all__ = ["pack", "unpack"]

CONTAINER = "container"

_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_READ_ONLY = 0o100444 << 16
_MAX_MEMBERS = 100_000


def pack(members: Mapping[str, bytes]) -> bytes:
    """Write a container."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system = _UNIX
            member.external_attr = _READ_ONLY
            archive.writestr(member, members[name])
    return out.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """Read a container that ``pack`` wrote.

    Raises:
        InvalidBundle: it is no ZIP file, or differs in any byte from what ``pack`` writes for its members. A
            member whose own checksum fails is named.
    """
    members: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if len(infos) > _MAX_MEMBERS or any(info.compress_type != zipfile.ZIP_STORED for info in infos):
                raise InvalidBundle(CONTAINER, f"expected at most {_MAX_MEMBERS} uncompressed members")
            if sum(info.file_size for info in infos) > len(data):
                raise InvalidBundle(CONTAINER, "expected members no larger than the file")
            for info in infos:
                members[info.filename] = _content(archive, info)
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError, RuntimeError, OSError) as exc:
        raise InvalidBundle(CONTAINER, f"expected a ZIP file, {exc}") from exc
    written = pack(members)
    if written != data:
        at = next((i for i, (a, b) in enumerate(zip(written, data, strict=False)) if a != b), len(written))
        raise InvalidBundle(CONTAINER, f"byte {at} is not as a bundle is written")
    return members


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, EOFError) as exc:
        raise InvalidBundle(info.filename, "its bytes do not have their checksum") from exc
