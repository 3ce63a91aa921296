"""What a node keeps for its own organisation: where assets lie, people, decisions, jobs, the outbox.

It never holds rows of data, keys or tokens; a location that carries credentials is kept sealed. It is trusted
by its own organisation and shown to nobody else.
"""

from exchange.store.node.accounts import Account, Change, Department, PeopleStore, Token
from exchange.store.node.approval_rules import ApprovalRuleRepository, KeptDelegation, RuleVersion
from exchange.store.node.approvals import ApprovalRepository, Closed, KeptRequest
from exchange.store.node.asset_papers import AssetPaper, AssetPaperRepository, PaperKind
from exchange.store.node.assets import AssetBinding, AssetRepository
from exchange.store.node.dataspace import DataspaceRepository, Exchanged
from exchange.store.node.jobs import JobRepository
from exchange.store.node.lookups import (
    KeptService,
    KeptTicket,
    LookupRepository,
    Question,
    ServiceState,
    TicketState,
)
from exchange.store.node.notarizations import KeptNotarization, NotarizationRepository
from exchange.store.node.notices import Notice, NoticeRepository
from exchange.store.node.outbox import Outbox, OutboxEntry
from exchange.store.node.people_record import Act, Verdict
from exchange.store.node.permissions import KeptPermission, PermissionRepository
from exchange.store.node.releases import KeptRelease, ReleaseRepository, ReleaseState
from exchange.store.node.scoring import Answered, KeptPart, ScoreQuestion, ScoringRepository, Sent
from exchange.store.node.sign_in import Secrets, Session, SignInRows, Standing
from exchange.store.node.step_costs import Measurement, StepCostRepository
from exchange.store.node.store import NodeStore, open_node_store
from exchange.store.node.vault import Vault
from exchange.store.node.webhook_calls import WebhookCall, WebhookCallRepository

__all__ = [
    "Account",
    "Act",
    "Answered",
    "ApprovalRepository",
    "ApprovalRuleRepository",
    "AssetBinding",
    "AssetPaper",
    "AssetPaperRepository",
    "AssetRepository",
    "Change",
    "Closed",
    "DataspaceRepository",
    "Department",
    "Exchanged",
    "JobRepository",
    "KeptDelegation",
    "KeptNotarization",
    "KeptPart",
    "KeptPermission",
    "KeptRelease",
    "KeptRequest",
    "KeptService",
    "KeptTicket",
    "LookupRepository",
    "Measurement",
    "NodeStore",
    "NotarizationRepository",
    "Notice",
    "NoticeRepository",
    "Outbox",
    "OutboxEntry",
    "PaperKind",
    "PeopleStore",
    "PermissionRepository",
    "Question",
    "ReleaseRepository",
    "ReleaseState",
    "RuleVersion",
    "ScoreQuestion",
    "ScoringRepository",
    "Secrets",
    "Sent",
    "ServiceState",
    "Session",
    "SignInRows",
    "Standing",
    "StepCostRepository",
    "TicketState",
    "Token",
    "Vault",
    "Verdict",
    "WebhookCall",
    "WebhookCallRepository",
    "open_node_store",
]
