"""The container of an evidence bundle: a ZIP file with exactly one spelling.

Members are stored uncompressed, sorted by name, with fixed times and attributes, so any ZIP program opens the
file. Reading takes the members from their own headers, writes them again and compares, so that no byte of the
file, not even one that ZIP programs ignore, can be changed unseen. Source: PKWARE APPNOTE 6.3, section 4.3.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping

from ledger.errors import InvalidBundle

__all__ = ["CONTAINER", "pack", "unpack"]

CONTAINER = "container"
"""What an error names when no single member is at fault."""

_VERSION = 20
_TIME, _DATE = 0, 1 << 5 | 1  # 1980-01-01 00:00, the earliest that ZIP knows
_UNIX = 3 << 8
_READ_ONLY = 0o100444 << 16
_MAX_MEMBERS = 0xFFFF
_MAX_SIZE = 0xFFFFFFFF
_NAME = re.compile(rb"[!-\[\]-~]{1,256}")

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_LOCAL_MAGIC, _CENTRAL_MAGIC, _END_MAGIC = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def pack(members: Mapping[str, bytes]) -> bytes:
    """Write a container.

    Raises:
        InvalidBundle: a name is not 1 to 256 printable ASCII characters, or there is more than ZIP can hold.
    """
    if len(members) > _MAX_MEMBERS:
        raise InvalidBundle(CONTAINER, f"expected at most {_MAX_MEMBERS} members")
    local, central, offset = [], [], 0
    for name in sorted(members):
        raw, data = name.encode(), members[name]
        if _NAME.fullmatch(raw) is None:
            raise InvalidBundle(CONTAINER, "expected names of printable ASCII without space and backslash")
        crc, size = zlib.crc32(data), len(data)
        shared = (_VERSION, 0, 0, _TIME, _DATE, crc, size, size, len(raw), 0)
        local += [_LOCAL.pack(_LOCAL_MAGIC, *shared), raw, data]
        central += [
            _CENTRAL.pack(_CENTRAL_MAGIC, _UNIX | _VERSION, *shared, 0, 0, 0, _READ_ONLY, offset),
            raw,
        ]
        offset += _LOCAL.size + len(raw) + size
        if offset > _MAX_SIZE:
            raise InvalidBundle(CONTAINER, f"expected at most {_MAX_SIZE} bytes")
    directory = b"".join(central)
    count = len(members)
    end = _END.pack(_END_MAGIC, 0, 0, count, count, len(directory), offset, 0)
    return b"".join([*local, directory, end])


def unpack(data: bytes) -> dict[str, bytes]:
    """Read a container that ``pack`` wrote.

    Raises:
        InvalidBundle: the file differs in any byte from what ``pack`` writes for its members. A member whose
            own checksum fails is named.
    """
    members: dict[str, bytes] = {}
    position = 0
    while data.startswith(_LOCAL_MAGIC, position) and len(data) - position >= _LOCAL.size:
        header = _LOCAL.unpack_from(data, position)
        crc, size, name_size = header[6], header[8], header[9]
        start = position + _LOCAL.size + name_size
        raw, content = data[start - name_size : start], data[start : start + size]
        is_damaged = zlib.crc32(content) != crc
        if header[3] or _NAME.fullmatch(raw) is None or (is_damaged and not _is_listed(raw, data, start)):
            raise InvalidBundle(CONTAINER, f"the header at byte {position} is not as a bundle is written")
        if is_damaged:
            raise InvalidBundle(raw.decode(), "its bytes do not have their checksum")
        members[raw.decode()] = content
        position = start + size
    written = pack(members)
    if written != data:
        at = next((i for i, (a, b) in enumerate(zip(written, data, strict=False)) if a != b), len(written))
        raise InvalidBundle(CONTAINER, f"byte {at} is not as a bundle is written")
    return members


def _is_listed(raw: bytes, data: bytes, start: int) -> bool:
    """Tell whether the directory lists this name too: a damaged header must not be taken for one."""
    at = data.find(raw, start)
    while at >= 0:
        record = data[at - _CENTRAL.size : at]
        if record.startswith(_CENTRAL_MAGIC) and _CENTRAL.unpack(record)[10] == len(raw):
            return True
        at = data.find(raw, at + 1)
    return False
