"""Errors of the policies package: what a policy, its terms or an approval did not meet.

``evaluate`` raises none of them: what a policy says about a request is a report, not an exception. These are
for documents that cannot be read and for checks that stand in front of a signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

Blame = Literal["caller", "peer", "operator", "nobody"]

__all__ = [
    "ColumnControlExceeded",
    "InvalidDecision",
    "InvalidFacts",
    "InvalidPlan",
    "InvalidPolicy",
    "InvalidTerms",
    "PoliciesError",
    "TermsExceedOffer",
]


class PoliciesError(Exception):
    """Root of the errors of this package."""

    code: ClassVar[str] = "policies.error"
    blame: ClassVar[Blame] = "caller"
    retryable: ClassVar[bool] = False


class InvalidPolicy(PoliciesError):
    """A document is not a policy of Parley's ODRL profile. ``path`` is the JSON path of the first fault."""

    code = "policies.invalid-policy"
    blame = "peer"

    def __init__(self, path: str, expected: str, actual: str) -> None:
        super().__init__(f"{path}: expected {expected}, found {actual}")
        self.path, self.expected, self.actual = path, expected, actual


class InvalidTerms(PoliciesError):
    """Terms that cannot be offered or agreed. ``field`` names the clause."""

    code = "policies.invalid-terms"

    def __init__(self, field: str, expected: str, actual: str) -> None:
        super().__init__(f"{field}: expected {expected}, found {actual}")
        self.field, self.expected, self.actual = field, expected, actual


class TermsExceedOffer(PoliciesError):
    """An agreement allows more than its offer. ``clauses`` lists every clause that does."""

    code = "policies.terms-exceed-offer"

    def __init__(self, clauses: Sequence[str]) -> None:
        super().__init__("the terms exceed the offer: " + "; ".join(clauses))
        self.clauses = tuple(clauses)


class ColumnControlExceeded(PoliciesError):
    """A job uses columns beyond their owner's control levels. ``violations`` lists every such use."""

    code = "policies.column-control"

    def __init__(self, violations: Sequence[str]) -> None:
        super().__init__("column control: " + "; ".join(violations))
        self.violations = tuple(violations)


class InvalidFacts(PoliciesError):
    """Facts of a request that cannot be read. ``field`` names the fact."""

    code = "policies.invalid-facts"

    def __init__(self, field: str, expected: str, actual: str) -> None:
        super().__init__(f"{field}: expected {expected}, found {actual}")
        self.field, self.expected, self.actual = field, expected, actual


class InvalidPlan(PoliciesError):
    """A component's plan names a relation, column or figure that does not exist. ``at`` is the operator."""

    code = "policies.invalid-plan"

    def __init__(self, at: str, expected: str, actual: str) -> None:
        super().__init__(f"{at}: expected {expected}, found {actual}")
        self.at, self.expected, self.actual = at, expected, actual


class InvalidDecision(PoliciesError):
    """An approval record does not have the stated form."""

    code = "policies.invalid-decision"

    def __init__(self, field: str, expected: str, actual: str) -> None:
        super().__init__(f"{field}: expected {expected}, found {actual}")
        self.field, self.expected, self.actual = field, expected, actual
