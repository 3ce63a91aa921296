"""A policy that asks for a recipient's credential: every recipient has to hold what is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from policies import CONTEXT, PROFILE, Policy, Terms, TermsExceedOffer, terms
from policies.evaluate import evaluate

LICENCE, MEMBER = "RegulatedInstitutionCredential", "MembershipCredential"


def decision(operator: str, asked: object, held: object) -> tuple[bool, list[str]]:
    constraint = {"leftOperand": "recipientCredential", "operator": operator, "rightOperand": asked}
    rules = {"permission": [{"action": "use", "constraint": [constraint]}]}
    policy = Policy.parse({"@context": list(CONTEXT), "@type": "Set", "profile": PROFILE, **rules})
    report = evaluate(policy, {"action": "use", "recipientCredential": held})
    return report.permitted, list(report.codes)


@pytest.mark.parametrize(
    ("operator", "asked", "held", "permitted"),
    [
        ("hasPart", [LICENCE], {LICENCE}, True),
        ("hasPart", [LICENCE], {f"{LICENCE}|{MEMBER}"}, True),
        ("hasPart", [LICENCE, MEMBER], {f"{LICENCE}|{MEMBER}"}, True),
        ("hasPart", [LICENCE, MEMBER], {LICENCE}, False),
        ("hasPart", [LICENCE], {LICENCE, MEMBER}, False),
        ("hasPart", [LICENCE], {LICENCE, ""}, False),
        ("hasPart", [LICENCE], {""}, False),
        ("hasPart", [LICENCE], set(), False),
        ("hasPart", [LICENCE], None, False),
        ("isAnyOf", [LICENCE, MEMBER], {LICENCE, MEMBER}, True),
        ("isAnyOf", [LICENCE], {LICENCE, MEMBER}, False),
        ("isAnyOf", [LICENCE], {""}, False),
        ("isNoneOf", [LICENCE], {MEMBER}, False),
    ],
)
def test_what_recipients_hold(operator: str, asked: Sequence[Any], held: object, permitted: bool) -> None:
    assert decision(operator, list(asked), held)[0] is permitted


def test_a_refusal_names_the_clause() -> None:
    permitted, codes = decision("hasPart", [LICENCE], {MEMBER})
    assert (permitted, codes) == (False, ["policy.recipientCredential"])


def stated(**more: object) -> Terms:
    written = {
        "purposes": ["dpv:CustomerSolvencyMonitoring"],
        "operations": ["psi/ecdh"],
        "columns": ["id"],
        "uses": 1,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": 10,
        "output_types": ["aggregate"],
    }
    return Terms.parse({**written, **more})


def test_terms_ask_for_credentials_and_an_agreement_asks_for_no_fewer() -> None:
    offer = stated(credentials=[LICENCE])
    assert terms.narrower(stated(credentials=[LICENCE, MEMBER]), offer)
    for asked in (stated(), stated(credentials=[MEMBER])):
        with pytest.raises(TermsExceedOffer) as caught:
            terms.narrower(asked, offer)
        assert "credentials" in str(caught.value)
    policy = terms.to_offer(offer, "did:key:owner", None, "lender/loans")
    assert terms.from_policy(policy).credentials == (LICENCE,)
