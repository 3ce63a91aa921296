"""The node's repositories over one database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

from exchange.store.engine import open_engine, upgrade
from exchange.store.node.accounts import PeopleStore
from exchange.store.node.approval_rules import ApprovalRuleRepository
from exchange.store.node.approvals import ApprovalRepository
from exchange.store.node.asset_papers import AssetPaperRepository
from exchange.store.node.assets import AssetRepository
from exchange.store.node.dataspace import DataspaceRepository
from exchange.store.node.jobs import JobRepository
from exchange.store.node.lookups import LookupRepository
from exchange.store.node.notarizations import NotarizationRepository
from exchange.store.node.notices import NoticeRepository
from exchange.store.node.outbox import Outbox
from exchange.store.node.permissions import PermissionRepository
from exchange.store.node.releases import ReleaseRepository
from exchange.store.node.row_seals import RowSeals
from exchange.store.node.scoring import ScoringRepository
from exchange.store.node.step_costs import StepCostRepository
from exchange.store.node.vault import Vault
from exchange.store.node.webhook_calls import WebhookCallRepository
from ledger.times import system_clock

__all__ = ["NodeStore", "open_node_store"]


class NodeStore:
    """Everything a node keeps besides the ledger; safe to use from several threads.

    Args:
        engine: a database whose node schema is up to date.
        clock: aware time in UTC.
        location_key: 32 bytes that seal source locations with credentials; None: those are refused.
        decision_key: 32 bytes that seal what people decide; None: nothing is decided, no decision is read.
        people_mark: the file that notes the end of the record of people; None: none is kept.
        vault_key: 32 bytes that seal records about identity; None: none is written or read.
        cohort_key: 32 bytes that seal whose figures were released; None: no output is kept.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], datetime],
        location_key: bytes | None = None,
        decision_key: bytes | None = None,
        people_mark: Path | None = None,
        vault_key: bytes | None = None,
        cohort_key: bytes | None = None,
    ) -> None:
        seals = RowSeals(decision_key)
        self.engine = engine
        self.assets = AssetRepository(engine, location_key)
        self.asset_papers = AssetPaperRepository(engine, clock)
        self.people = PeopleStore(engine, clock, people_mark)
        self.approvals = ApprovalRepository(engine, clock, seals)
        self.approval_rules = ApprovalRuleRepository(engine, clock, seals)
        self.notices = NoticeRepository(engine, clock)
        self.webhook_calls = WebhookCallRepository(engine)
        self.step_costs = StepCostRepository(engine, clock)
        self.permissions = PermissionRepository(engine, clock, seals)
        self.jobs = JobRepository(engine, clock)
        self.lookups = LookupRepository(engine, clock)
        self.notarizations = NotarizationRepository(engine, clock)
        self.releases = ReleaseRepository(engine, clock, cohort_key)
        self.scoring = ScoringRepository(engine, clock)
        self.outbox = Outbox(engine)
        self.vault = Vault(engine, clock, vault_key)
        self.dataspace = DataspaceRepository(engine, clock)

    def close(self) -> None:
        """Close the database; the store cannot be used after."""
        self.engine.dispose()


def open_node_store(
    url: str,
    *,
    clock: Callable[[], datetime] = system_clock,
    location_key: bytes | None = None,
    decision_key: bytes | None = None,
    people_mark: Path | None = None,
    vault_key: bytes | None = None,
    cohort_key: bytes | None = None,
) -> NodeStore:
    """Open a node's database and bring its tables up to date.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    engine = open_engine(url)
    upgrade(engine, "node")
    return NodeStore(
        engine, clock, location_key, decision_key, people_mark, vault_key=vault_key, cohort_key=cohort_key
    )
