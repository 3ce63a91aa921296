"""For tests: a consortium with fixed keys, throw-away databases, and the order engines' conformance suite.

Public, because whoever writes an order engine or a node on top of the ledger needs it. Nothing here is for
use outside tests: the keys are derived from names. Needs pytest.
"""

from ledger.testing.consortium import Consortium, InMemorySource, consortium
from ledger.testing.databases import POSTGRESQL_VARIABLE, DatabaseKind, throw_away_engine
from ledger.testing.members import (
    NET,
    ORIGIN,
    START,
    ManualClock,
    Member,
    Stage,
    draft_entry,
    make_genesis,
    make_hub,
    make_member,
    rotate_member,
)
from ledger.testing.orderers import OrdererContract

__all__ = [
    "NET",
    "ORIGIN",
    "POSTGRESQL_VARIABLE",
    "START",
    "Consortium",
    "DatabaseKind",
    "InMemorySource",
    "ManualClock",
    "Member",
    "OrdererContract",
    "Stage",
    "consortium",
    "draft_entry",
    "make_genesis",
    "make_hub",
    "make_member",
    "rotate_member",
    "throw_away_engine",
]
