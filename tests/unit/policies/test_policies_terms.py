"""Terms, column control, approvals and purposes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from policies import (
    CONTEXT,
    PROFILE,
    ApprovalRule,
    ColumnControlExceeded,
    ColumnUse,
    Decision,
    InvalidDecision,
    InvalidPolicy,
    InvalidTerms,
    Level,
    Policy,
    Sensitivity,
    Terms,
    TermsExceedOffer,
    approvals,
    column_control,
    purposes,
    terms,
)
from policies.approvals import Outcome, Stage, Verdict
from policies.evaluate import evaluate
from policies.vocabulary import OPERANDS, context_document

OFFERED = Terms(
    purposes=("dpv:FraudPreventionAndDetection", "dpv:CustomerSolvencyMonitoring"),
    operations=("psi/ecdh", "stats/group-sums"),
    columns=("person", "balance", "person"),
    uses=3,
    expires=datetime(2027, 1, 1, tzinfo=UTC),
    min_cohort=10,
    output_types=("table/aggregate",),
)


class TestTerms:
    def test_lists_are_sorted_and_distinct(self) -> None:
        assert OFFERED.columns == ("balance", "person")

    def test_a_purpose_may_be_a_full_iri(self) -> None:
        assert replace(OFFERED, purposes=("https://w3id.org/dpv#LegalCompliance",)).purposes == (
            "dpv:LegalCompliance",
        )

    def test_a_time_in_another_zone_is_the_same_instant(self) -> None:
        east = datetime(2027, 1, 1, 8, tzinfo=timezone(timedelta(hours=8)))
        assert replace(OFFERED, expires=east) == OFFERED

    def test_json_reads_back(self) -> None:
        assert Terms.parse(json.loads(json.dumps(OFFERED.as_json()))) == OFFERED

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("purposes", []),
            ("purposes", ["dpv:Purpose"]),
            ("purposes", "dpv:LegalCompliance"),
            ("operations", [""]),
            ("columns", [1]),
            ("columns", [f"c{i}" for i in range(257)]),
            ("uses", 0),
            ("uses", True),
            ("uses", "3"),
            ("min_cohort", 0),
            ("expires", "2027-01-01"),
            ("expires", 1798761600),
            ("output_types", None),
        ],
    )
    def test_a_clause_out_of_range_is_named(self, field: str, value: object) -> None:
        with pytest.raises(InvalidTerms) as caught:
            Terms.parse(OFFERED.as_json() | {field: value})
        assert caught.value.field == field

    def test_a_missing_or_unknown_clause_is_named(self) -> None:
        incomplete = OFFERED.as_json()
        del incomplete["uses"]
        with pytest.raises(InvalidTerms, match="uses: expected a value, found nothing"):
            Terms.parse(incomplete)
        with pytest.raises(InvalidTerms, match="price"):
            Terms.parse(OFFERED.as_json() | {"price": 1})
        with pytest.raises(InvalidTerms):
            Terms.parse([])

    def test_a_time_without_zone_or_with_a_fraction_is_refused(self) -> None:
        with pytest.raises(InvalidTerms):
            replace(OFFERED, expires=datetime(2027, 1, 1))  # noqa: DTZ001 - the fault
        with pytest.raises(InvalidTerms):
            replace(OFFERED, expires=datetime(2027, 1, 1, microsecond=1, tzinfo=UTC))


class TestPolicyForm:
    def test_an_offer_reads_back(self) -> None:
        offer = terms.to_offer(OFFERED, "did:key:lender", target="lender/loans")
        assert "assignee" not in offer
        assert terms.from_policy(json.loads(json.dumps(offer))) == OFFERED

    def test_an_agreement_reads_back(self) -> None:
        agreement = terms.to_agreement(
            OFFERED, "agreement-1", "did:key:a", "did:key:b", "a/x", datetime(2026, 11, 23, tzinfo=UTC)
        )
        assert agreement["timestamp"] == "2026-11-23T00:00:00Z"
        assert terms.from_policy(agreement) == OFFERED
        assert Policy.parse(agreement).as_json() == agreement

    @pytest.mark.parametrize("position", range(7))
    def test_terms_without_one_of_their_constraints_are_no_terms(self, position: int) -> None:
        offer: Any = terms.to_offer(OFFERED, "did:key:lender")
        del offer["permission"][0]["constraint"][position]
        with pytest.raises(InvalidPolicy):
            terms.from_policy(offer)

    @pytest.mark.parametrize(
        ("position", "change"),
        [
            (1, {"operator": "isNoneOf"}),
            (1, {"rightOperand": ["stats/group-sums", "psi/ecdh"]}),
            (1, {"rightOperand": "psi/ecdh"}),
            (2, {"leftOperand": "technique"}),
            (3, {"operator": "gteq"}),
            (3, {"rightOperand": "3"}),
            (4, {"operator": "lteq"}),
            (4, {"rightOperand": "2027-01-01"}),
            (5, {"rightOperand": 0}),
            (6, {"leftOperand": "moonPhase"}),
        ],
    )
    def test_a_changed_constraint_is_not_read_as_something_else(
        self, position: int, change: dict[str, object]
    ) -> None:
        offer: Any = terms.to_offer(OFFERED, "did:key:lender")
        offer["permission"][0]["constraint"][position] |= change
        with pytest.raises(InvalidPolicy):
            terms.from_policy(offer)

    @pytest.mark.parametrize(
        "change",
        [
            {"prohibition": [{"action": "distribute"}]},
            {"obligation": [{"action": "inform"}]},
            {"permission": [{"action": "read"}]},
            {"permission": [{"action": "use"}]},
        ],
    )
    def test_a_policy_that_says_more_is_refused(self, change: dict[str, object]) -> None:
        with pytest.raises(InvalidPolicy):
            terms.from_policy(terms.to_offer(OFFERED, "did:key:lender") | change)

    def test_purposes_joined_by_and_are_not_taken_for_alternatives(self) -> None:
        offer: Any = terms.to_offer(OFFERED, "did:key:lender")
        constraint = offer["permission"][0]["constraint"][0]
        constraint["and"] = constraint.pop("or")
        with pytest.raises(InvalidPolicy):
            terms.from_policy(offer)


class TestNarrower:
    @pytest.mark.parametrize(
        "change",
        [
            {},
            {"purposes": ("dpv:CounterMoneyLaundering",)},
            {"operations": ("psi/ecdh",)},
            {"columns": ("person",)},
            {"uses": 1},
            {"expires": datetime(2026, 12, 1, tzinfo=UTC)},
            {"min_cohort": 50},
        ],
    )
    def test_less_is_allowed(self, change: dict[str, Any]) -> None:
        narrow = replace(OFFERED, **change)
        assert terms.narrower(narrow, OFFERED) is narrow

    def test_every_clause_that_allows_more_is_listed(self) -> None:
        wide = Terms(
            purposes=("dpv:EnforceSecurity",),
            operations=("psi/ecdh", "export"),
            columns=("salary",),
            uses=4,
            expires=datetime(2028, 1, 1, tzinfo=UTC),
            min_cohort=9,
            output_types=("rows",),
        )
        with pytest.raises(TermsExceedOffer) as caught:
            terms.narrower(wide, OFFERED)
        named = [clause.partition(":")[0] for clause in caught.value.clauses]
        assert named == ["purposes", "operations", "columns", "output_types", "uses", "expires", "min_cohort"]


class TestReport:
    def test_the_report_has_the_shape_of_the_formal_semantics(self) -> None:
        policy = Policy.parse(terms.to_offer(OFFERED, "did:key:lender"))
        written = evaluate(policy, {"action": "use", "count": 4}).as_json()
        json.dumps(written)
        rules: Any = written["ruleReport"]
        assert (rules[0]["@type"], rules[0]["activationState"], rules[0]["controlState"]) == (
            "PermissionReport",
            "Inactive",
            "Refuse",
        )
        states = [premise["satisfactionState"] for premise in rules[0]["premiseReport"]]
        assert states == ["Unknown", "Unknown", "Unknown", "Unsatisfied", "Unknown", "Unknown", "Unknown"]

    def test_a_refusal_is_said_in_both_languages(self) -> None:
        policy = Policy.parse(terms.to_offer(OFFERED, "did:key:lender"))
        report = evaluate(policy, {"action": "use", "count": 4, "dateTime": OFFERED.expires})
        assert "the number of uses: 4; the policy requires: at most 3" in report.explain("en")
        assert "使用次数：4；策略要求：不超过 3" in report.explain("zh")
        assert (
            "the time: 2027-01-01T00:00:00Z; the policy requires: before 2027-01-01T00:00:00Z"
            in report.reasons
        )

    def test_a_permit_says_what_it_rests_on(self) -> None:
        document: Any = terms.to_offer(OFFERED, "did:key:lender")
        document["permission"][0]["constraint"] = document["permission"][0]["constraint"][3:4]
        report = evaluate(Policy.parse(document), {"action": "use", "count": 2})
        assert report.permitted
        assert report.reasons == ()
        assert report.explain() == ("the number of uses: 2, as required: at most 3",)

    def test_words_of_a_policy_are_shown_cut_and_escaped(self) -> None:
        document: Any = terms.to_offer(OFFERED, "did:key:lender")
        document["permission"][0]["constraint"] = [
            {"leftOperand": "x\x1b[31m\u202e" * 50, "operator": "eq", "rightOperand": 1}
        ]
        (reason,) = evaluate(Policy.parse(document), {"action": "use"}).reasons
        assert "\x1b" not in reason
        assert "\u202e" not in reason
        assert len(reason) < 500


class TestVocabulary:
    def test_the_context_declares_what_odrl_does_not(self) -> None:
        context = json.loads(context_document())["@context"]
        assert context["@protected"] is True
        assert context["parley"] == f"{PROFILE}#"
        own = {name for name in OPERANDS if context.get(name) == f"parley:{name}"}
        assert set(OPERANDS) - own == {"purpose", "recipient", "dateTime", "count"}
        assert CONTEXT[1] == f"{PROFILE}/context.jsonld"


class TestPurposes:
    def test_a_purpose_is_a_kind_of_its_broader_ones(self) -> None:
        assert purposes.is_a("dpv:CounterMoneyLaundering", "dpv:EnforceSecurity")
        assert purposes.is_a("dpv:LegalCompliance", "dpv:LegalCompliance")
        assert not purposes.is_a("dpv:EnforceSecurity", "dpv:CounterMoneyLaundering")
        assert not purposes.is_a("dpv:LegalCompliance", "dpv:PublicBenefit")

    @pytest.mark.parametrize("unknown", ["dpv:Purpose", "dpv:Anything", "", "LegalCompliance", "dpv:"])
    def test_an_unknown_purpose_is_nothing_not_even_itself(self, unknown: str) -> None:
        assert not purposes.is_a(unknown, unknown)
        assert not purposes.is_a("dpv:LegalCompliance", unknown)
        assert not purposes.is_known(unknown)

    def test_every_broader_purpose_is_in_the_table_and_ends(self) -> None:
        for purpose in purposes.BROADER:
            chain = purposes.broader(purpose)
            assert chain[0] == purpose
            assert purposes.BROADER[chain[-1]] is None


class TestColumnControl:
    @pytest.mark.parametrize("level", Level)
    @pytest.mark.parametrize("needed", Level)
    def test_the_levels_form_the_documented_lattice(self, level: Level, needed: Level) -> None:
        allowed = level is needed or level is Level.PLAINTEXT or needed is Level.ENCRYPTED_ONLY
        assert column_control.admits(level, needed) is allowed

    def test_uses_within_the_levels_pass(self) -> None:
        column_control.check(
            [ColumnUse("person", Level.AFTER_JOIN), ColumnUse("balance", Level.AFTER_AGGREGATE)],
            {"person": Level.AFTER_JOIN, "balance": "AFTER_AGGREGATE"},
        )

    def test_every_violation_is_listed_once(self) -> None:
        uses = [
            ColumnUse("person", Level.PLAINTEXT),
            ColumnUse("person", Level.PLAINTEXT),
            ColumnUse("salary", Level.ENCRYPTED_ONLY),
            ColumnUse("band", Level.AFTER_GROUP_BY),
        ]
        with pytest.raises(ColumnControlExceeded) as caught:
            column_control.check(uses, {"person": "AFTER_JOIN", "band": "PUBLIC"})
        assert caught.value.violations == (
            "person is AFTER_JOIN, but the job needs PLAINTEXT",
            "salary has no control level",
            "band has the unknown control level 'PUBLIC'",
        )


def decision(approver: str, role: str = "steward", verdict: Verdict = Verdict.APPROVE) -> Decision:
    return Decision(approver, role, verdict, "reason")


class TestApprovals:
    def test_one_steward_is_enough_up_to_confidential(self) -> None:
        rule = approvals.rule_for([Sensitivity.PUBLIC, Sensitivity.CONFIDENTIAL])
        assert not approvals.satisfied(rule, [])
        assert approvals.satisfied(rule, [decision("mei")])

    def test_secret_columns_need_a_second_person_in_another_role(self) -> None:
        rule = approvals.rule_for([Sensitivity.INTERNAL, Sensitivity.SECRET])
        assert not approvals.satisfied(rule, [decision("mei"), decision("li")])
        assert not approvals.satisfied(rule, [decision("mei"), decision("mei", "approver")])
        assert approvals.satisfied(rule, [decision("mei"), decision("li", "approver")])

    def test_without_grades_the_strictest_rule_holds(self) -> None:
        assert approvals.rule_for([]) == approvals.rule_for([Sensitivity.SECRET])

    def test_n_of_m_named_approvers(self) -> None:
        rule = ApprovalRule((Stage("steward", 2, frozenset({"a", "b", "c"})),))
        assert approvals.assess(rule, [decision("a"), decision("x")]).missing == {"steward": 1}
        assert approvals.satisfied(rule, [decision("a"), decision("c")])

    def test_who_asks_does_not_approve(self) -> None:
        rule = approvals.rule_for([Sensitivity.INTERNAL])
        assert not approvals.satisfied(rule, [decision("mei")], requester="mei")

    def test_one_rejection_rejects_and_a_person_decides_once(self) -> None:
        rule = ApprovalRule((Stage("steward", 2),))
        rejected = [decision("a"), decision("b", verdict=Verdict.REJECT), decision("c")]
        assert approvals.assess(rule, rejected).outcome is Outcome.REJECTED
        repeated = [decision("a"), decision("a", verdict=Verdict.REJECT), decision("a")]
        assert approvals.assess(rule, repeated).outcome is Outcome.PENDING

    def test_a_rejection_in_a_role_that_has_no_say_does_not_count(self) -> None:
        rule = approvals.rule_for([Sensitivity.INTERNAL])
        assert approvals.satisfied(rule, [decision("x", "analyst", Verdict.REJECT), decision("mei")])

    def test_decisions_read_back(self) -> None:
        assert Decision.parse(decision("mei").as_json()) == decision("mei")

    @pytest.mark.parametrize(
        "change", [{"decision": "maybe"}, {"reason": ""}, {"approver": 1}, {"role": None}, {"extra": "x"}]
    )
    def test_a_decision_of_another_form_is_refused(self, change: dict[str, object]) -> None:
        with pytest.raises(InvalidDecision):
            Decision.parse(decision("mei").as_json() | change)
        with pytest.raises(InvalidDecision):
            Decision.parse("approve")

    @pytest.mark.parametrize("stages", [(), (Stage("steward"), Stage("steward"))])
    def test_a_rule_needs_one_stage_per_role(self, stages: tuple[Stage, ...]) -> None:
        with pytest.raises(InvalidDecision):
            ApprovalRule(stages)

    def test_a_stage_cannot_need_more_than_there_are(self) -> None:
        with pytest.raises(InvalidDecision):
            Stage("steward", 2, frozenset({"a"}))
        with pytest.raises(InvalidDecision):
            Stage("steward", 0)
