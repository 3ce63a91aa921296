"""Earlier checkpoints of the same log, and what others say about them: time stamps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

from cryptography import x509

from ledger import canonical
from ledger.bundle.files import earlier_name, guard, indexed, stamp_names
from ledger.bundle.report import StampedBy
from ledger.checkpoints import Checkpoint
from ledger.errors import InvalidBundle
from ledger.merkle import HASH_SIZE, verify_consistency
from ledger.times import format_time
from ledger.timestamps import Stamp, check, load_certificates

__all__ = ["Consistent", "check_stamps", "choose_stamps", "earlier_file", "read_earlier", "stamp_files"]

_STAMP = re.compile(r"timestamps/(0|[1-9][0-9]*)-(0|[1-9][0-9]*)\.(?:tsr|pem)")
_MAX_PROOF = 64


class Consistent(Protocol):
    """What proves that a log has only grown; ``ledger.merkle.Tree`` does."""

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first ``size`` leaves."""

    def consistency_proof(self, old: int, new: int | None = None) -> list[bytes]:
        """Prove that the tree of ``old`` leaves is a prefix of that of ``new``."""


def earlier_file(tree: Consistent, size: int, final_size: int) -> dict[str, bytes]:
    """Write the file that proves the checkpoint of ``size`` to be a prefix of that of ``final_size``."""
    proof = [node.hex() for node in tree.consistency_proof(size, final_size)]
    return {earlier_name(size): canonical.encode({"root": tree.root(size).hex(), "proof": proof})}


def read_earlier(members: Mapping[str, bytes], checkpoint: Checkpoint) -> dict[int, Checkpoint]:
    """Return the earlier checkpoints, by size, each proved to be a prefix of the bundle's.

    Raises:
        InvalidBundle: one is not.
    """
    found: dict[int, Checkpoint] = {}
    for size, content in indexed(members, "earlier/#.json").items():
        name = earlier_name(size)
        root, proof = guard(name, partial(_read, name, content))
        new = checkpoint.size, checkpoint.root
        guard(name, partial(verify_consistency, size, root, *new, proof))
        found[size] = Checkpoint(checkpoint.origin, size, root)
    return found


def choose_stamps(stamps: Iterable[Stamp], last: int, final_size: int) -> list[Stamp]:
    """Choose one stamp of each authority: the first that covers the entry at ``last``, or else the latest."""
    chosen: dict[str, Stamp] = {}
    for stamp in sorted(stamps, key=lambda one: one.size):
        have = chosen.get(stamp.authority)
        if stamp.size <= final_size and (have is None or have.size <= last):
            chosen[stamp.authority] = stamp
    return [chosen[authority] for authority in sorted(chosen)]


def stamp_files(stamps: Sequence[Stamp]) -> dict[str, bytes]:
    """Write the files of time stamps."""
    files: dict[str, bytes] = {}
    for number, stamp in enumerate(stamps):
        response, certificates = stamp_names(stamp.size, number)
        files |= {response: stamp.response, certificates: stamp.certificates}
    return files


def check_stamps(
    members: Mapping[str, bytes], earlier: Mapping[int, Checkpoint], roots: Sequence[x509.Certificate]
) -> tuple[StampedBy, ...]:
    """Check all time stamps.

    Args:
        members: the bundle's files.
        earlier: from ``read_earlier``.
        roots: the reader's own root certificates; without any, those that came with the bundle are taken.

    Raises:
        InvalidBundle: a stamp does not verify, or roots are given and there is none.
    """
    matches = (_STAMP.fullmatch(name) for name in members)
    numbered = sorted({(int(match[1]), int(match[2])) for match in matches if match is not None})
    if roots and not numbered:
        raise InvalidBundle("timestamps/0-0.tsr", "expected a time stamp, found none")
    found = []
    for size, number in numbered:
        response, certificates = stamp_names(size, number)
        for name in (response, certificates):
            if name not in members:
                raise InvalidBundle(name, "expected a time stamp with certificates")
        if size not in earlier:
            raise InvalidBundle(response, "expected the checkpoint it is on")
        brought = guard(certificates, partial(load_certificates, members[certificates]))
        trusted = roots or [one for one in brought if one.subject == one.issuer]
        text = earlier[size].encode()
        stamp = guard(response, partial(check, text, members[response], trusted, others=brought))
        found.append(StampedBy(stamp.authority, format_time(stamp.time), size, bool(roots)))
    return tuple(found)


def _read(name: str, content: bytes) -> tuple[bytes, list[bytes]]:
    value = canonical.decode(content)
    if not isinstance(value, dict) or set(value) != {"root", "proof"} or not isinstance(value["proof"], list):
        raise InvalidBundle(name, "expected root and proof")
    try:
        root, *proof = (bytes.fromhex(str(node)) for node in (value["root"], *value["proof"]))
    except ValueError as exc:
        raise InvalidBundle(name, "expected hashes in hex") from exc
    if [root.hex(), *(node.hex() for node in proof)] != [value["root"], *value["proof"]]:
        raise InvalidBundle(name, "expected hashes in lower-case hex")
    if len(proof) > _MAX_PROOF or any(len(node) != HASH_SIZE for node in (root, *proof)):
        raise InvalidBundle(name, f"expected at most {_MAX_PROOF} hashes of {HASH_SIZE} bytes")
    return root, proof
