"""Proof files (C2SP tlog-proof): an entry's place in a log, as it travels to an offline verifier."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from ledger.checkpoints import MAX_SIZE
from ledger.errors import MalformedNote
from ledger.merkle import HASH_SIZE, verify_inclusion
from ledger.notes import Note, Vkey
from ledger.trust import Endorsement, TrustPolicy

__all__ = ["Proof", "verify_proof"]

_HEADER = "c2sp.org/tlog-proof@v1"
_EXTRA = "extra "
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")
_MAX_PATH = 63


@dataclass(frozen=True)
class Proof:
    """An inclusion proof together with the cosigned checkpoint it leads to.

    Attributes:
        index: place of the entry, from 0.
        path: the audit path, from the leaf's sibling up.
        checkpoint: the signed note, as its bytes.
        extra: what the application adds, not authenticated by anything; None where there is none.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def encode(self) -> bytes:
        """Write the ``.tlog-proof`` file."""
        lines = [_HEADER]
        if self.extra:
            lines.append(_EXTRA + base64.b64encode(self.extra).decode())
        lines.append(f"index {self.index}")
        lines += [base64.b64encode(node).decode() for node in self.path]
        return "".join(f"{line}\n" for line in lines).encode() + b"\n" + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> Proof:
        """Read a ``.tlog-proof`` file. The checkpoint in it is not looked at.

        Raises:
            MalformedNote: another form.
        """
        head, separator, checkpoint = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as exc:
            raise MalformedNote("expected a proof file of ASCII lines") from exc
        if not separator or len(lines) < 2 or lines[0] != _HEADER:
            raise MalformedNote("expected a proof file: header, index, hashes, checkpoint")
        extra = None
        if lines[1].startswith(_EXTRA):
            extra = _decode(lines.pop(1).removeprefix(_EXTRA))
        match = _INDEX.fullmatch(lines[1]) if len(lines) > 1 else None
        path = tuple(_decode(line) for line in lines[2:])
        if match is None or len(path) > _MAX_PATH or any(len(node) != HASH_SIZE for node in path):
            raise MalformedNote(f"expected an index and at most {_MAX_PATH} hashes of {HASH_SIZE} bytes")
        proof = cls(int(match[1]), path, checkpoint, extra)
        if proof.index > MAX_SIZE or proof.encode() != data:
            raise MalformedNote("expected the canonical spelling of the proof file")
        return proof


def verify_proof(proof: Proof, leaf: bytes, policy: TrustPolicy, *, log: Vkey | None = None) -> Endorsement:
    """Check that a log which ``policy`` accepts holds an entry, under a checkpoint with the policy's quorum.

    Args:
        proof: what was presented.
        leaf: the entry's leaf hash, ``ledger.merkle.leaf_hash`` of its bytes.
        policy: the verifier's own.
        log: a log to accept besides those of the policy.

    Returns:
        The checkpoint, and who signed it when.

    Raises:
        MalformedNote: the proof's checkpoint is not one.
        UnverifiedNote: its signatures do not meet the policy.
        InvalidInclusionProof: the entry is not at that place.

    Source: C2SP tlog-proof, "Verifying a tlog proof".
    """
    endorsement = policy.check(Note.parse(proof.checkpoint), log=log)
    checkpoint = endorsement.checkpoint
    verify_inclusion(checkpoint.root, checkpoint.size, proof.index, leaf, proof.path)
    return endorsement


def _decode(line: str) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise MalformedNote("expected base64") from exc
