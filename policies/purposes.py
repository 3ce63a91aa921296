"""Purposes of use: the part of the W3C Data Privacy Vocabulary (DPV 2) that Parley decides on.

Each purpose names its broader one, so a permission for fraud prevention covers a money-laundering check. The
root ``dpv:Purpose`` is absent on purpose: a permission for every purpose states none. A term that is not in
the table is unknown and never matches, not even itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["BROADER", "NAMESPACE", "broader", "canonical", "is_a", "is_known"]

NAMESPACE: Final = "https://w3id.org/dpv#"

BROADER: Final[Mapping[str, str | None]] = MappingProxyType(
    {
        "dpv:CustomerManagement": None,
        "dpv:CustomerSolvencyMonitoring": "dpv:CustomerManagement",
        "dpv:CreditChecking": "dpv:CustomerSolvencyMonitoring",
        "dpv:EnforceSecurity": None,
        "dpv:MisusePreventionAndDetection": "dpv:EnforceSecurity",
        "dpv:FraudPreventionAndDetection": "dpv:MisusePreventionAndDetection",
        "dpv:CounterMoneyLaundering": "dpv:FraudPreventionAndDetection",
        "dpv:MaintainFraudDatabase": "dpv:FraudPreventionAndDetection",
        "dpv:Verification": "dpv:EnforceSecurity",
        "dpv:IdentityVerification": "dpv:Verification",
        "dpv:FulfilmentOfObligation": None,
        "dpv:LegalCompliance": "dpv:FulfilmentOfObligation",
        "dpv:OrganisationGovernance": None,
        "dpv:OrganisationRiskManagement": "dpv:OrganisationGovernance",
        "dpv:PublicBenefit": None,
        "dpv:ImprovePublicServices": "dpv:PublicBenefit",
        "dpv:ProvideOfficialStatistics": "dpv:PublicBenefit",
        "dpv:PublicPolicyMaking": "dpv:PublicBenefit",
    }
)


def canonical(purpose: str) -> str:
    """Write a purpose with the ``dpv:`` prefix when it is given as a full IRI."""
    if purpose.startswith(NAMESPACE):
        return "dpv:" + purpose.removeprefix(NAMESPACE)
    return purpose


def is_known(purpose: str) -> bool:
    """Whether Parley can decide on this purpose."""
    return canonical(purpose) in BROADER


def broader(purpose: str) -> tuple[str, ...]:
    """List a purpose and everything broader, narrowest first; nothing for an unknown one."""
    chain: list[str] = []
    current: str | None = canonical(purpose)
    while current is not None and current in BROADER:
        chain.append(current)
        current = BROADER[current]
    return tuple(chain)


def is_a(narrow: str, broad: str) -> bool:
    """Whether ``narrow`` is ``broad`` or a kind of it. An unknown purpose is never anything."""
    return canonical(broad) in broader(narrow)
