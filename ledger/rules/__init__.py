"""The validity rules: one function per entry type, one table from type to function.

A rule gets the state and an ``Act`` whose envelope is already checked, and returns the new state or raises
``Refusal``. Rules are pure: no clock, no store, no randomness, so that every member computes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ledger.rules import assets, governance, jobs, negotiation
from ledger.rules.act import Act
from ledger.tables import State

__all__ = ["RULES", "Act", "Rule"]

Rule = Callable[[State, Act], State]

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "gov.propose": governance.propose,
        "gov.vote": governance.vote,
        "gov.withdraw": governance.withdraw,
        "gov.execute": governance.execute,
        "member.ack": governance.acknowledge,
        "member.update": governance.update_member,
        "asset.publish": assets.publish,
        "asset.withdraw": assets.withdraw,
        "negotiation.request": negotiation.request,
        "negotiation.agree": negotiation.agree,
        "negotiation.verify": negotiation.verify,
        "negotiation.finalize": negotiation.finalize,
        "negotiation.terminate": negotiation.terminate,
        "agreement.revoke": negotiation.revoke,
        "job.submit": jobs.submit,
        "job.start": jobs.start,
        "job.refuse": jobs.refuse,
        "receipt.step": jobs.receipt,
        "job.release": jobs.release,
        "job.complete": jobs.complete,
        "job.fail": jobs.fail,
    }
)
