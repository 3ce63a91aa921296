"""Purposes of use: the part of the W3C Data Privacy Vocabulary (DPV 2.3) that Parley decides on.

Each purpose names its broader ones, as DPV does, so a permission for fraud prevention covers a
money-laundering check. Terms are those of DPV itself (``dpv:``) and of its extensions for finance and public
services. The root ``dpv:Purpose`` is absent on purpose: a permission for every purpose states none. A term
that is not in the table is unknown and never matches, not even itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["BROADER", "NAMESPACES", "broader", "canonical", "is_a", "is_known"]

NAMESPACES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dpv": "https://w3id.org/dpv#",
        "sector-finance": "https://w3id.org/dpv/sector/finance#",
        "sector-publicservices": "https://w3id.org/dpv/sector/publicservices#",
    }
)

_DPV: Final[Mapping[str, tuple[str, ...]]] = {
    "dpv:CommercialPurpose": (),
    "dpv:CommercialResearch": ("dpv:CommercialPurpose", "dpv:ResearchAndDevelopment"),
    "dpv:NonCommercialPurpose": (),
    "dpv:NonCommercialResearch": ("dpv:NonCommercialPurpose", "dpv:ResearchAndDevelopment"),
    "dpv:ResearchAndDevelopment": (),
    "dpv:AcademicResearch": ("dpv:ResearchAndDevelopment",),
    "dpv:ScientificResearch": ("dpv:ResearchAndDevelopment",),
    "dpv:CustomerManagement": (),
    "dpv:CustomerClaimsManagement": ("dpv:CustomerManagement",),
    "dpv:CustomerSolvencyMonitoring": ("dpv:CustomerManagement",),
    "dpv:EnforceSecurity": (),
    "dpv:MisusePreventionAndDetection": ("dpv:EnforceSecurity",),
    "dpv:FraudPreventionAndDetection": ("dpv:MisusePreventionAndDetection",),
    "dpv:CounterMoneyLaundering": ("dpv:FraudPreventionAndDetection",),
    "dpv:MaintainFraudDatabase": ("dpv:FraudPreventionAndDetection",),
    "dpv:IdentityAuthentication": ("dpv:EnforceSecurity",),
    "dpv:Verification": ("dpv:EnforceSecurity",),
    "dpv:AgeVerification": ("dpv:Verification",),
    "dpv:IdentityVerification": ("dpv:Verification",),
    "dpv:EstablishContractualAgreement": (),
    "dpv:FulfilmentOfObligation": (),
    "dpv:FulfilmentOfContractualObligation": ("dpv:FulfilmentOfObligation",),
    "dpv:LegalCompliance": ("dpv:FulfilmentOfObligation",),
    "dpv:OrganisationGovernance": (),
    "dpv:DisputeManagement": ("dpv:OrganisationGovernance",),
    "dpv:OrganisationComplianceManagement": ("dpv:OrganisationGovernance",),
    "dpv:OrganisationRiskManagement": ("dpv:OrganisationGovernance",),
    "dpv:PublicBenefit": (),
    "dpv:CombatClimateChange": ("dpv:PublicBenefit",),
    "dpv:Counterterrorism": ("dpv:PublicBenefit",),
    "dpv:DataAltruism": ("dpv:PublicBenefit",),
    "dpv:ImproveHealthcare": ("dpv:PublicBenefit",),
    "dpv:ImprovePublicServices": ("dpv:PublicBenefit",),
    "dpv:ImproveTransportMobility": ("dpv:PublicBenefit",),
    "dpv:ProtectionOfNationalSecurity": ("dpv:PublicBenefit",),
    "dpv:ProtectionOfPublicSecurity": ("dpv:PublicBenefit",),
    "dpv:ProvideOfficialStatistics": ("dpv:PublicBenefit",),
    "dpv:PublicPolicyMaking": ("dpv:PublicBenefit",),
    "dpv:RecordManagement": (),
    "dpv:ServiceManagement": (),
    "dpv:ServiceAccessDetermination": ("dpv:ServiceManagement",),
    "dpv:ServiceMonitoring": ("dpv:ServiceManagement",),
    "dpv:ServiceOptimisation": ("dpv:ServiceManagement",),
    "dpv:ServiceProvision": ("dpv:ServiceManagement",),
    "dpv:RequestedServiceProvision": ("dpv:ServiceProvision",),
}

_FINANCE: Final[Mapping[str, tuple[str, ...]]] = {
    "sector-finance:FinancialServiceManagement": (),
    "sector-finance:CreditChecking": ("sector-finance:FinancialServiceManagement",),
    "sector-finance:CreditHistoryEvaluation": ("sector-finance:CreditChecking",),
    "sector-finance:CreditLimitDetermination": ("sector-finance:CreditChecking",),
    "sector-finance:CreditScoreEvaluation": ("sector-finance:CreditChecking",),
    "sector-finance:InstabilityRiskAssessment": ("sector-finance:CreditChecking",),
    "sector-finance:MaintainCreditCheckingDatabase": ("sector-finance:CreditChecking",),
    "sector-finance:MaintainCreditRatingDatabase": ("sector-finance:CreditChecking",),
    "sector-finance:FraudManagement": (
        "dpv:FraudPreventionAndDetection",
        "sector-finance:FinancialServiceManagement",
    ),
    "sector-finance:AntiMoneyLaunderingManagement": ("sector-finance:FraudManagement",),
    "sector-finance:IdentityFraudManagement": ("sector-finance:FraudManagement",),
    "sector-finance:PhishingAttackManagement": ("sector-finance:FraudManagement",),
    "sector-finance:TransactionFraudManagement": ("sector-finance:FraudManagement",),
    "sector-finance:RegulatoryCompliance": (
        "dpv:LegalCompliance",
        "sector-finance:FinancialServiceManagement",
    ),
    "sector-finance:AntiMoneyLaunderingCompliance": (
        "sector-finance:AntiMoneyLaunderingManagement",
        "sector-finance:RegulatoryCompliance",
    ),
    "sector-finance:CustomerDueDiligence": ("sector-finance:RegulatoryCompliance",),
    "sector-finance:TaxReportingCompliance": ("sector-finance:RegulatoryCompliance",),
    "sector-finance:TransactionReportingCompliance": ("sector-finance:RegulatoryCompliance",),
    "sector-finance:ServiceProvision": (
        "dpv:ServiceProvision",
        "sector-finance:FinancialServiceManagement",
    ),
    "sector-finance:DebtManagement": ("sector-finance:ServiceProvision",),
    "sector-finance:LoanServiceProvision": ("sector-finance:ServiceProvision",),
    "sector-finance:PaymentProcessing": ("sector-finance:ServiceProvision",),
}

_PUBLIC_SERVICES: Final[Mapping[str, tuple[str, ...]]] = {
    "sector-publicservices:PublicServiceManagement": ("dpv:PublicBenefit",),
    "sector-publicservices:PublicServiceEligibilityAssessment": (
        "sector-publicservices:PublicServiceManagement",
    ),
    "sector-publicservices:PublicServiceFraudPreventionDetection": (
        "dpv:FraudPreventionAndDetection",
        "sector-publicservices:PublicServiceManagement",
    ),
    "sector-publicservices:PublicServiceProvision": (
        "dpv:ServiceProvision",
        "sector-publicservices:PublicServiceManagement",
    ),
    "sector-publicservices:PublicServiceDistributionManagement": (
        "sector-publicservices:PublicServiceProvision",
    ),
    "sector-publicservices:SocialWelfareManagement": ("sector-publicservices:PublicServiceManagement",),
    "sector-publicservices:SocialAssistanceManagement": ("sector-publicservices:SocialWelfareManagement",),
    "sector-publicservices:SocialInsuranceManagement": ("sector-publicservices:SocialAssistanceManagement",),
    "sector-publicservices:SocialSecurityManagement": ("sector-publicservices:SocialAssistanceManagement",),
    "sector-publicservices:SocialWelfareEligibilityAssessment": (
        "sector-publicservices:SocialWelfareManagement",
    ),
    "sector-publicservices:SocialWelfareProvision": (
        "sector-publicservices:PublicServiceProvision",
        "sector-publicservices:SocialWelfareManagement",
    ),
    "sector-publicservices:SocialWelfareRiskAssessment": (
        "dpv:FraudPreventionAndDetection",
        "dpv:OrganisationRiskManagement",
        "sector-publicservices:SocialWelfareManagement",
    ),
}

BROADER: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({**_DPV, **_FINANCE, **_PUBLIC_SERVICES})
"""Every purpose and the broader ones it is a kind of; none for those right below the root."""


def _chain(purpose: str) -> tuple[str, ...]:
    found = [purpose]
    for current in found:
        found.extend(broad for broad in BROADER[current] if broad not in found)
    return tuple(found)


_CHAINS: Final = {purpose: _chain(purpose) for purpose in BROADER}


def canonical(purpose: str) -> str:
    """Write a purpose with its prefix when it is given as a full IRI."""
    for prefix, namespace in NAMESPACES.items():
        if purpose.startswith(namespace):
            return f"{prefix}:{purpose.removeprefix(namespace)}"
    return purpose


def is_known(purpose: str) -> bool:
    """Whether Parley can decide on this purpose."""
    return canonical(purpose) in BROADER


def broader(purpose: str) -> tuple[str, ...]:
    """List a purpose and everything broader, narrower before broader; nothing for an unknown one."""
    return _CHAINS.get(canonical(purpose), ())


def is_a(narrow: str, broad: str) -> bool:
    """Whether ``narrow`` is ``broad`` or a kind of it. An unknown purpose is never anything."""
    return canonical(broad) in broader(narrow)
