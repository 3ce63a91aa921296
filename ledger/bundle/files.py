"""The files of a bundle: their names, the manifest that binds them, and errors that name one of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ledger import base64url, canonical
from ledger.errors import InvalidBundle, LedgerError
from ledger.keys import SigningKey

__all__ = [
    "CARRIED",
    "CHECKPOINT",
    "DOMAIN",
    "EPOCH_TABLES",
    "MANIFEST",
    "POLICY",
    "SIGNATURE",
    "TABLES",
    "VERSION",
    "attachment_name",
    "check_names",
    "earlier_name",
    "entry_name",
    "guard",
    "indexed",
    "log_name",
    "payload_name",
    "proof_name",
    "read_manifest",
    "salt_name",
    "sign_manifest",
    "stamp_names",
]

T = TypeVar("T")

DOMAIN = b"parley-bundle/v2\n"
"""What precedes the manifest when it is signed."""
VERSION = 2
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
CHECKPOINT, POLICY, TABLES = "checkpoint", "policy", "tables.json"
EPOCH_TABLES, CARRIED = "epoch/tables.json", "epoch/carried"
"""What a log of a later epoch began with: the governed tables; with everything, all of it."""

_NUMBER = r"(0|[1-9][0-9]{0,15})"
_FAMILIES = tuple(
    re.compile(form.replace("#", _NUMBER))
    for form in (
        r"entries/#\.json",
        r"proofs/#\.tlog-proof",
        r"disclosed/#\.(?:bin|salt)",
        r"earlier/#\.json",
        r"timestamps/#-#\.(?:tsr|pem)",
        r"log/#",
        r"epoch/(?:tables\.json|carried)",
        r"attachments/.+",
    )
)
_SINGLE = frozenset({MANIFEST, SIGNATURE, CHECKPOINT, POLICY, TABLES})


def entry_name(index: int) -> str:
    """Name the file of an entry."""
    return f"entries/{index}.json"


def proof_name(index: int) -> str:
    """Name the file of an entry's inclusion proof."""
    return f"proofs/{index}.tlog-proof"


def payload_name(index: int) -> str:
    """Name the file of an entry's disclosed payload."""
    return f"disclosed/{index}.bin"


def salt_name(index: int) -> str:
    """Name the file of the salt of a disclosed payload."""
    return f"disclosed/{index}.salt"


def log_name(number: int) -> str:
    """Name the file of 256 entries of the whole log, in the form of a tlog-tiles entry bundle."""
    return f"log/{number}"


def earlier_name(size: int) -> str:
    """Name the file that proves an earlier checkpoint to be a prefix of the bundle's."""
    return f"earlier/{size}.json"


def stamp_names(size: int, number: int) -> tuple[str, str]:
    """Name the files of a time stamp on the checkpoint of ``size`` and of its authority's certificates."""
    return f"timestamps/{size}-{number}.tsr", f"timestamps/{size}-{number}.pem"


def attachment_name(name: str) -> str:
    """Name the file of a paper."""
    return f"attachments/{name}"


def indexed(members: Mapping[str, bytes], form: str) -> dict[int, bytes]:
    """Return the files of one family by number; ``form`` is a name with ``#`` for the number."""
    pattern = re.compile(re.escape(form).replace(r"\#", _NUMBER))
    found = ((pattern.fullmatch(name), content) for name, content in members.items())
    return {int(match[1]): content for match, content in found if match is not None}


def check_names(members: Mapping[str, bytes]) -> None:
    """Check that a bundle has the files it needs and none that it cannot have.

    Raises:
        InvalidBundle: naming the file.
    """
    for name in (*sorted(_SINGLE), entry_name(0)):
        if name not in members:
            raise InvalidBundle(name, "expected this file, found none")
    for name in sorted(set(members) - _SINGLE):
        if not any(family.fullmatch(name) for family in _FAMILIES):
            raise InvalidBundle(name, "expected no such file in a bundle")


def sign_manifest(
    members: Mapping[str, bytes], genesis: str, size: int, *, did: str, kid: str, key: SigningKey
) -> dict[str, bytes]:
    """Return the files with the manifest over them and its signature."""
    manifest = canonical.encode(
        {
            "v": VERSION,
            "genesis": genesis,
            "size": size,
            "exporter": {"did": did, "kid": kid},
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in members.items()},
        }
    )
    signature = base64url.encode(key.sign(DOMAIN + manifest)).encode()
    return {**members, MANIFEST: manifest, SIGNATURE: signature}


def read_manifest(members: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the manifest, after comparing every file with it. Its signature is not checked here.

    Raises:
        InvalidBundle: naming the file that differs.
    """
    manifest = guard(MANIFEST, lambda: canonical.decode(members[MANIFEST]))
    if not isinstance(manifest, dict) or set(manifest) != {"v", "genesis", "size", "exporter", "files"}:
        raise InvalidBundle(MANIFEST, "expected v, genesis, size, exporter and files")
    files, exporter = manifest["files"], manifest["exporter"]
    if manifest["v"] != VERSION or not isinstance(files, dict) or not isinstance(exporter, dict):
        raise InvalidBundle(MANIFEST, f"expected version {VERSION} with files and an exporter")
    for name in sorted({*files, *members} - {MANIFEST, SIGNATURE}):
        content = members.get(name)
        if content is None or name not in files:
            raise InvalidBundle(name, "it is in the manifest and not in the bundle, or the other way round")
        actual = hashlib.sha256(content).hexdigest()
        if files[name] != actual:
            raise InvalidBundle(name, f"expected SHA-256 {files[name]}, got {actual}")
    return manifest


def guard(name: str, check: Callable[[], T]) -> T:
    """Run a check on a file of the bundle and name the file if it fails."""
    try:
        return check()
    except LedgerError as exc:
        raise InvalidBundle(name, str(exc)) from exc
