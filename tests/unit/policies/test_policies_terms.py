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

# Left operands of ODRL 2.2 itself; the others are declared by the profile's context.
STANDARD = ("purpose", "recipient", "dateTime", "elapsedTime", "count", "payAmount")

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
        with pytest.raises(InvalidTerms, match="colour"):
            Terms.parse(OFFERED.as_json() | {"colour": 1})
        with pytest.raises(InvalidTerms):
            Terms.parse([])

    def test_a_time_without_zone_or_with_a_fraction_is_refused(self) -> None:
        with pytest.raises(InvalidTerms):
            replace(OFFERED, expires=datetime(2027, 1, 1))  # noqa: DTZ001 - the fault
        with pytest.raises(InvalidTerms):
            replace(OFFERED, expires=datetime(2027, 1, 1, microsecond=1, tzinfo=UTC))


FULL = replace(
    OFFERED,
    recipients=("did:key:b", "did:key:a"),
    column_control=("person:AFTER_JOIN", "balance:AFTER_AGGREGATE"),
    min_parties=2,
    code_digests=("ab" * 32,),
    threat_models=("semi-honest",),
    epsilon_micro=1_500_000,
    delta_exponent=6,
    points=50,
    price=5,
    rate=(2, 3600),
    approval="per-job",
    organisations=("did:key:c",),
)


class TestOptionalClauses:
    def test_they_read_back_from_json_and_from_the_policy(self) -> None:
        assert Terms.parse(json.loads(json.dumps(FULL.as_json()))) == FULL
        offer = terms.to_offer(FULL, "did:key:lender")
        assert terms.from_policy(offer) == terms.read(offer) == FULL
        assert terms.read({"@type": "Offer"}) is None

    def test_they_are_written_in_the_words_of_the_profile(self) -> None:
        written: Any = terms.to_offer(FULL, "did:key:lender")["permission"]
        stated = {
            part["leftOperand"]: (part["operator"], part["rightOperand"])
            for part in written[0]["constraint"]
            if "leftOperand" in part
        }
        assert stated["epsilonBudget"] == ("lteq", "1.5")
        assert stated["deltaBudget"] == ("lteq", "0.000001")
        assert stated["payAmount"] == ("gteq", 5)
        assert stated["rate"] == ("lteq", "2/PT3600S")
        assert written[0]["duty"] == [
            {"action": "obtainConsent"},
            {"action": "obtainConsent", "consentingParty": ["did:key:c"]},
        ]

    def test_the_ledger_is_given_what_it_counts(self) -> None:
        assert OFFERED.limits() == {"uses": 3, "expires": "2027-01-01T00:00:00Z"}
        assert FULL.limits() == {
            "uses": 3,
            "expires": "2027-01-01T00:00:00Z",
            "epsilon_micro": 1_500_000,
            "delta_exponent": 6,
            "points": 50,
            "price": 5,
            "rate": {"jobs": 2, "seconds": 3600},
            "approval": {"organisations": ["did:key:c"], "per_job": True},
        }

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"recipients": []}, "recipients"),
            ({"column_control": ["person:AFTER_JOIN"]}, "column_control"),
            ({"column_control": ["person:AFTER_HOURS", "balance:PLAINTEXT"]}, "column_control"),
            ({"column_control": ["person", "balance"]}, "column_control"),
            ({"min_parties": 0}, "min_parties"),
            ({"code_digests": ["AB" * 32]}, "code_digests"),
            ({"code_digests": ["ab"]}, "code_digests"),
            ({"epsilon_micro": 1}, "delta_exponent"),
            ({"delta_exponent": 6}, "epsilon_micro"),
            ({"epsilon_micro": 1, "delta_exponent": 19}, "delta_exponent"),
            ({"epsilon_micro": 0.5, "delta_exponent": 6}, "epsilon_micro"),
            ({"points": 5}, "price"),
            ({"price": 5}, "points"),
            ({"rate": 5}, "rate"),
            ({"rate": {"jobs": 5}}, "rate"),
            ({"rate": {"jobs": 0, "seconds": 60}}, "rate.jobs"),
            ({"rate": {"jobs": 1, "seconds": 10**9}}, "rate.seconds"),
            ({"approval": "twice"}, "approval"),
            ({"organisations": None}, "organisations"),
            ({"min_parties": None}, "min_parties"),
        ],
    )
    def test_a_clause_that_cannot_be_meant_is_named(self, change: dict[str, Any], field: str) -> None:
        with pytest.raises(InvalidTerms) as caught:
            Terms.parse(OFFERED.as_json() | change)
        assert caught.value.field == field

    @pytest.mark.parametrize(
        ("change", "clause"),
        [
            ({"recipients": ()}, "recipients"),
            ({"recipients": ("did:key:a", "did:key:z")}, "recipients"),
            ({"column_control": ("person:AFTER_JOIN", "balance:PLAINTEXT")}, "column_control"),
            ({"min_parties": 1}, "min_parties"),
            ({"code_digests": ("cd" * 32,)}, "code_digests"),
            ({"threat_models": ("covert",)}, "threat_models"),
            ({"epsilon_micro": 1_500_001}, "epsilon_micro"),
            ({"delta_exponent": 5}, "delta_exponent"),
            ({"points": 51}, "points"),
            ({"price": 4}, "price"),
            ({"rate": (3, 3600)}, "rate"),
            ({"rate": (2, 3599)}, "rate"),
            ({"rate": None}, "rate"),
            ({"approval": "once"}, "approval"),
            ({"organisations": ()}, "organisations"),
        ],
    )
    def test_an_agreement_that_allows_more_names_the_clause(
        self, change: dict[str, Any], clause: str
    ) -> None:
        with pytest.raises(TermsExceedOffer) as caught:
            terms.narrower(replace(FULL, **change), FULL)
        assert [one.partition(":")[0] for one in caught.value.clauses] == [clause]

    def test_stating_a_clause_only_narrows(self) -> None:
        assert terms.narrower(FULL, OFFERED) is FULL
        hidden = replace(FULL, column_control=("person:ENCRYPTED_ONLY", "balance:AFTER_AGGREGATE"))
        assert terms.narrower(hidden, FULL) is hidden


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
        scope, constraints = ["Satisfied"], ["Unknown", "Unknown", "Unknown", "Unsatisfied", *["Unknown"] * 3]
        assert states == scope + constraints

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
        assert set(OPERANDS) - own == set(STANDARD)
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

    def test_a_purpose_may_be_a_kind_of_several(self) -> None:
        compliance = "sector-finance:AntiMoneyLaunderingCompliance"
        assert purposes.broader(compliance)[0] == compliance
        assert purposes.is_a(compliance, "dpv:LegalCompliance")
        assert purposes.is_a(compliance, "dpv:EnforceSecurity")
        full = "https://w3id.org/dpv/sector/finance#CreditChecking"
        assert purposes.is_a(full, "sector-finance:FinancialServiceManagement")
        assert not purposes.is_known("dpv:CreditChecking"), "DPV 2.3 has it in its finance extension"

    def test_every_broader_purpose_is_in_the_table_and_none_is_broader_than_itself(self) -> None:
        for purpose, above in purposes.BROADER.items():
            chain = purposes.broader(purpose)
            assert chain[0] == purpose
            assert len(set(chain)) == len(chain)
            assert set(above) <= set(chain[1:]) <= set(purposes.BROADER)
            assert all(purpose not in purposes.broader(broad) for broad in above)
            assert purpose.partition(":")[0] in purposes.NAMESPACES


def use(column: str, *after: Level, viewer: str = "did:key:other") -> ColumnUse:
    return ColumnUse("a/x", column, viewer, frozenset(after))


def levels(**stated: str) -> dict[str, dict[str, str]]:
    return {column: {column_control.ANYONE: level} for column, level in stated.items()}


class TestColumnControl:
    @pytest.mark.parametrize("level", Level)
    @pytest.mark.parametrize("happened", Level)
    def test_the_levels_form_the_documented_lattice(self, level: Level, happened: Level) -> None:
        allowed = level is happened or level is Level.PLAINTEXT
        assert column_control.admits(level, use("person", happened)) is allowed
        assert column_control.admits(level, use("person")) is (level is Level.PLAINTEXT)
        assert column_control.admits(level, use("person", viewer=""))

    def test_uses_within_the_levels_pass(self) -> None:
        column_control.check(
            [
                use("person", Level.AFTER_JOIN),
                use("balance", Level.AS_JOIN_PAYLOAD, Level.AFTER_AGGREGATE),
            ],
            levels(person=Level.AFTER_JOIN, balance="AFTER_AGGREGATE"),
        )

    def test_every_violation_is_listed_once(self) -> None:
        uses = [use("person"), use("person"), use("salary"), use("band", Level.AFTER_GROUP_BY)]
        with pytest.raises(ColumnControlExceeded) as caught:
            column_control.check(uses, levels(person="AFTER_JOIN", band="PUBLIC"))
        assert caught.value.violations == (
            "person is AFTER_JOIN, but the job needs PLAINTEXT",
            "salary has no control level",
            "band has the unknown control level 'PUBLIC'",
        )

    def test_a_level_for_one_participant_stands_before_that_for_anyone(self) -> None:
        stated = {"person": {column_control.ANYONE: "PLAINTEXT", "did:key:a": "ENCRYPTED_ONLY"}}
        column_control.check([use("person", viewer="did:key:b")], stated)
        with pytest.raises(ColumnControlExceeded, match="ENCRYPTED_ONLY for did:key:a"):
            column_control.check([use("person", viewer="did:key:a")], stated)

    def test_levels_are_read_from_the_columns_of_an_asset(self) -> None:
        schema = [
            {"name": "person", "control": "AFTER_JOIN"},
            {"name": "town", "control": "ENCRYPTED_ONLY", "controls": {"did:key:a": "PLAINTEXT"}},
        ]
        assert column_control.levels_of(schema) == {
            "person": {"*": "AFTER_JOIN"},
            "town": {"*": "ENCRYPTED_ONLY", "did:key:a": "PLAINTEXT"},
        }


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
