"""Policies: what may be done with an asset, for whom, how often, in which form, and who must agree to it.

The package reads ODRL policies of Parley's profile (``odrl``, ``prepared``), decides whether a request is
permitted and says why (``evaluate``), knows purposes (``purposes``), turns terms people state into policies
and back (``terms``), derives what a job's compiled plan shows of a column (``plans``), compares that with
control levels (``column_control``) and counts approvals (``approvals``). It stores nothing, reads no clock
and enforces nothing: a node calls it with the facts of its own ledger copy and acts on the answer. It trusts
those facts and nothing in a policy, which another party may have written.
"""

from policies import approvals, column_control, evaluate, facts, odrl, plans, purposes, terms
from policies.approvals import ApprovalRule, Decision, Sensitivity
from policies.column_control import ColumnUse, Level
from policies.errors import (
    ColumnControlExceeded,
    InvalidDecision,
    InvalidFacts,
    InvalidPlan,
    InvalidPolicy,
    InvalidTerms,
    PoliciesError,
    TermsExceedOffer,
)
from policies.odrl import Policy
from policies.report import ComplianceReport
from policies.terms import Terms
from policies.vocabulary import CONTEXT, PROFILE

__all__ = [
    "CONTEXT",
    "PROFILE",
    "ApprovalRule",
    "ColumnControlExceeded",
    "ColumnUse",
    "ComplianceReport",
    "Decision",
    "InvalidDecision",
    "InvalidFacts",
    "InvalidPlan",
    "InvalidPolicy",
    "InvalidTerms",
    "Level",
    "PoliciesError",
    "Policy",
    "Sensitivity",
    "Terms",
    "TermsExceedOffer",
    "approvals",
    "column_control",
    "evaluate",
    "facts",
    "odrl",
    "plans",
    "purposes",
    "terms",
]
