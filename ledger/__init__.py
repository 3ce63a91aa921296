"""The ledger: signed entries in one order, a state every member recomputes, evidence that verifies offline.

Order, validity and evidence are three things here. ``log`` orders entries in batches and publishes signed
checkpoints of an RFC 6962 tree; ``state.apply`` is the pure validity function; ``mirror`` is a member's copy,
which recomputes everything before it cosigns, and counts finality itself. ``bundle`` and ``fsck`` check what
is left behind, from entries and signatures alone.

Not here: networking, key storage, and what a policy or a job means; entries carry those as digests and
objects that the ledger does not interpret.

Trusted: the holder's own process and private keys, libsodium's Ed25519, SHA-256. Not trusted: the hub that
runs the log, the order engine, any database, and any member alone; more than a third of the members together
can hold back finality, and more than two thirds decide.

The modules that need a database (``store``, ``log``, ``mirror``, ``bundle``, ``fsck``) are imported by name,
so that signing and checking stay light.
"""

from ledger.canonical import JsonValue
from ledger.checkpoints import Checkpoint
from ledger.commitments import commit
from ledger.entries import Draft, Entry, Signature, new_id, new_ulid, subjects
from ledger.errors import LedgerError, Refusal
from ledger.keys import SigningKey, did_key, public_from_did_key, verify_signature
from ledger.membership import Network, active_members, genesis_hash, quorum_of
from ledger.merkle import Tree, leaf_hash, node_hash, verify_consistency, verify_inclusion
from ledger.notes import Note, NoteSignature, Vkey
from ledger.state import apply
from ledger.tables import Row, State
from ledger.times import Clock, format_time, parse_time, system_clock

__all__ = [
    "Checkpoint",
    "Clock",
    "Draft",
    "Entry",
    "JsonValue",
    "LedgerError",
    "Network",
    "Note",
    "NoteSignature",
    "Refusal",
    "Row",
    "Signature",
    "SigningKey",
    "State",
    "Tree",
    "Vkey",
    "active_members",
    "apply",
    "commit",
    "did_key",
    "format_time",
    "genesis_hash",
    "leaf_hash",
    "new_id",
    "new_ulid",
    "node_hash",
    "parse_time",
    "public_from_did_key",
    "quorum_of",
    "subjects",
    "system_clock",
    "verify_consistency",
    "verify_inclusion",
    "verify_signature",
]
