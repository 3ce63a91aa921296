"""The validity rules: one table from entry type to what an entry of it does and whose signatures it needs.

A rule gets the state and an ``Act`` whose envelope is already checked, and returns the new state or raises
``Refusal``. Rules are pure: no clock, no store, no randomness, so that every member computes the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ledger.rules import (
    anchors,
    approvals,
    assets,
    budgets,
    consent,
    credentials,
    evidence,
    jobs,
    lookups,
    members,
    models,
    negotiation,
    predicates,
    proposals,
    reviews,
    statements,
    stops,
    suspensions,
)
from ledger.rules.act import Act, Rule

__all__ = ["RULES", "Act", "Rule"]

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "gov.propose": Rule(proposals.propose),
        "gov.vote": Rule(proposals.vote),
        "gov.withdraw": Rule(proposals.withdraw),
        "gov.execute": Rule(proposals.execute),
        "member.ack": Rule(members.acknowledge),
        "member.update": Rule(members.update_member),
        "evidence.anchor": Rule(anchors.anchor),
        "evidence.notarize": Rule(evidence.notarize),
        "evidence.verdict": Rule(evidence.verdict),
        "evidence.statement": Rule(statements.state_jointly, statements.parties),
        "evidence.eligibility": Rule(predicates.conclude),
        "predicate.define": Rule(predicates.define),
        "predicate.retire": Rule(predicates.retire),
        "review.member": Rule(reviews.review_member),
        "review.asset": Rule(reviews.review_asset),
        "review.withdraw": Rule(reviews.withdraw),
        "credential.issue": Rule(credentials.issue),
        "credential.suspend": Rule(credentials.suspend),
        "credential.resume": Rule(credentials.resume),
        "credential.revoke": Rule(credentials.revoke),
        "consent.give": Rule(consent.give),
        "consent.withdraw": Rule(consent.withdraw),
        "consent.require": Rule(consent.require_consent),
        "asset.publish": Rule(assets.publish),
        "asset.twin": Rule(assets.publish_twin),
        "asset.withdraw": Rule(assets.withdraw),
        "asset.budget": Rule(budgets.amend),
        "negotiation.request": Rule(negotiation.request),
        "negotiation.offer": Rule(negotiation.offer),
        "negotiation.accept": Rule(negotiation.accept),
        "negotiation.agree": Rule(negotiation.agree),
        "negotiation.verify": Rule(negotiation.verify),
        "negotiation.finalize": Rule(negotiation.finalize),
        "negotiation.terminate": Rule(negotiation.terminate),
        "agreement.revoke": Rule(negotiation.revoke),
        "job.submit": Rule(jobs.submit),
        "job.approve": Rule(approvals.approve),
        "job.disapprove": Rule(approvals.disapprove),
        "job.start": Rule(jobs.start),
        "job.refuse": Rule(jobs.refuse),
        "receipt.step": Rule(jobs.receipt),
        "receipt.halt": Rule(stops.halt),
        "job.hold": Rule(jobs.hold),
        "job.release": Rule(jobs.release),
        "job.complete": Rule(jobs.complete),
        "job.fail": Rule(jobs.fail),
        "job.stop": Rule(stops.stop),
        "job.suspend": Rule(suspensions.suspend),
        "job.resume": Rule(suspensions.resume),
        "lookup.service": Rule(lookups.open_service),
        "lookup.withdraw": Rule(lookups.withdraw),
        "lookup.receipt": Rule(lookups.report),
        "model.draft": Rule(models.draft),
        "model.part": Rule(models.file_part),
        "model.withdraw": Rule(models.withdraw),
        "model.receipt": Rule(models.report),
    }
)
