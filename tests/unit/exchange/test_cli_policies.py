"""``parley policy check`` and ``parley policy profile``: no node, no network, both languages."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from exchange.cli import main
from policies.terms import Terms, to_offer
from policies.vocabulary import PROFILE, context_document

TERMS = Terms(
    purposes=("dpv:FraudPreventionAndDetection",),
    operations=("psi/ecdh",),
    columns=("person",),
    uses=3,
    expires=datetime(2027, 1, 1, tzinfo=UTC),
    min_cohort=10,
    output_types=("cardinality",),
    approval="per-job",
)


@pytest.fixture
def offer(tmp_path: Path) -> Path:
    path = tmp_path / "offer.json"
    path.write_text(json.dumps(to_offer(TERMS, "did:key:lender", target="lender/people")))
    return path


def written(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return dict(json.loads(capsys.readouterr().out))


def test_a_policy_is_said_in_words(offer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(offer)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "An offer by did:key:lender on lender/people"
    assert "  the purpose: dpv:FraudPreventionAndDetection or narrower" in lines
    assert "  Required: obtain consent to the job" in lines
    assert main(["policy", "check", str(offer), "--lang", "zh"]) == 0
    assert "由 did:key:lender 提出的要约，标的为 lender/people" in capsys.readouterr().out


def test_a_policy_decides_on_stated_facts(
    offer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = tmp_path / "facts.json"
    stated = {
        "action": "use",
        "target": "lender/people",
        "purpose": "dpv:CounterMoneyLaundering",
        "technique": ["psi/ecdh"],
        "columns": ["person"],
        "count": 4,
        "dateTime": "2026-12-01T00:00:00Z",
        "minCohort": 10,
        "outputType": ["cardinality"],
        "fulfilled": ["obtainConsent"],
    }
    for count, permitted in ((3, True), (4, False)):
        facts.write_text(json.dumps(stated | {"count": count}))
        assert main(["policy", "check", str(offer), "--facts", str(facts), "--format", "json"]) == 0
        assert written(capsys)["data"]["report"]["permitted"] is permitted
    assert main(["policy", "check", str(offer), "--facts", str(facts), "--lang", "zh"]) == 0
    assert "使用次数：4；策略要求：不超过 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "expected a JSON object, got list"),
        ("{", "expected a JSON object, got JSONDecodeError"),
        ("[" * 100_000, "expected a JSON object, got RecursionError"),
        ("{}", "$.@type: expected one of Set, Offer, Agreement, got nothing"),
        ('{"@type": "Set"}', "$.@context: expected a value, got nothing"),
    ],
    ids=["list", "cut", "deep", "empty", "set"],
)
def test_a_file_that_is_no_policy_ends_with_4_and_says_where(
    content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "policy.json"
    path.write_text(content)
    assert main(["policy", "check", str(path), "--format", "json"]) == 4
    answer = written(capsys)
    assert answer["error_code"] == "request.invalid"
    assert said in answer["message"]


def test_a_fact_that_cannot_be_read_is_named(
    offer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = tmp_path / "facts.json"
    for stated, field in (({"count": "3"}, "count"), ({"moon": 1}, "moon"), ({"rate": ["1h"]}, "rate")):
        facts.write_text(json.dumps(stated))
        assert main(["policy", "check", str(offer), "--facts", str(facts), "--format", "json"]) == 4
        answer = written(capsys)
        assert answer["error_code"] == "policies.invalid-facts"
        assert answer["message"].startswith(f"{field}: expected")


def test_the_profile_is_printed_as_published(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "profile"]) == 0
    assert f"<{PROFILE}>" in capsys.readouterr().out
    assert main(["policy", "profile", "--context"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(context_document())
