"""Proof files and policy files (C2SP tlog-proof, tlog-policy drafts): what travels to an offline verifier."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ledger.errors import MalformedNote
from ledger.merkle import HASH_SIZE
from ledger.notes import Vkey

__all__ = ["Proof", "encode_policy"]

_HEADER = "c2sp.org/tlog-proof@v1\n"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,15})")
_MAX_PATH = 63


@dataclass(frozen=True)
class Proof:
    """An inclusion proof together with the cosigned checkpoint it leads to."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes

    def encode(self) -> bytes:
        """Write the ``.tlog-proof`` file."""
        hashes = "".join(base64.b64encode(node).decode() + "\n" for node in self.path)
        return f"{_HEADER}index {self.index}\n{hashes}\n".encode() + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> Proof:
        """Read a ``.tlog-proof`` file without ``extra`` data.

        Raises:
            MalformedNote: another form.
        """
        head, separator, checkpoint = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
            path = tuple(base64.b64decode(line, validate=True) for line in lines[2:])
        except (UnicodeDecodeError, binascii.Error) as exc:
            raise MalformedNote("expected a proof file of base64 lines") from exc
        if not separator or lines[0] + "\n" != _HEADER or len(lines) < 2:
            raise MalformedNote("expected a proof file: header, index, hashes, checkpoint")
        match = _INDEX.fullmatch(lines[1])
        if match is None or len(path) > _MAX_PATH or any(len(node) != HASH_SIZE for node in path):
            raise MalformedNote(f"expected an index and at most {_MAX_PATH} hashes of {HASH_SIZE} bytes")
        proof = cls(int(match[1]), path, checkpoint)
        if proof.encode() != data:
            raise MalformedNote("expected the canonical spelling of the proof file")
        return proof


def encode_policy(log: Vkey, witnesses: Sequence[Vkey], quorum: int) -> bytes:
    """Write the tlog-policy file that asks for the log's signature and ``quorum`` of the members'."""
    names = sorted(witnesses, key=lambda vkey: vkey.name)
    lines = [f"log {log.encode()}"]
    lines += [f"witness {vkey.name} {vkey.encode()}" for vkey in names]
    lines.append(f"group members {quorum} " + " ".join(vkey.name for vkey in names))
    lines.append("quorum members")
    return ("\n".join(lines) + "\n").encode()
