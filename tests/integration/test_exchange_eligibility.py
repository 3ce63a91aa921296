"""Eligibility over real nodes: a registry vouches, a bureau asks, a person proves; no figure is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exchange.cli.application import main
from exchange.keyfile import Cost
from exchange.sdk import NodeProblem
from exchange.testing import ConsortiumInProcess
from ledger import canonical, commitments

pytestmark = pytest.mark.xdist_group("exchange-eligibility")

PURPOSE = "dpv:ImprovePublicServices"
AGE, CITY = 1_987_654_321, "Deyang-4711"
"""Values that nothing else on a ledger looks like."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    with ConsortiumInProcess(tmp_path_factory.mktemp("eligibility")) as made:
        yield made


@pytest.fixture(scope="module")
def definition(running: ConsortiumInProcess) -> str:
    """The regulator's key for a person's attributes."""
    made = running.client("regulator").define_attributes("person", "1", ["age", "city"])
    return str(made["definition"])


@pytest.fixture
def run(
    running: ConsortiumInProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Any]:
    """Run a command as a person with a wallet, or as an organisation."""
    monkeypatch.setenv("PARLEY_PASSPHRASE", "a person's own")
    monkeypatch.setattr("exchange.keyfile.INTERACTIVE", Cost(1, 8192))
    monkeypatch.chdir(tmp_path)
    for profile in running.profiles.values():
        profile.save(tmp_path)

    def made(*words: str, org: str | None = None, code: int = 0) -> Any:
        where = ["--wallet", "person.wallet"] if org is None else ["--org", org, "--home", str(tmp_path)]
        assert main([*words, *where, "--format", "json"]) == code
        return json.loads(capsys.readouterr().out).get("data")

    return made


@pytest.fixture
def holder(run: Callable[..., Any], definition: str) -> Callable[..., Any]:
    """A person with a wallet and a credential over age and city."""
    run("did", "new", "--passphrase-kind", "random")
    run("eligibility", "offer", definition, "--out", "offer.json", org="regulator")
    run("eligibility", "request", "offer.json", "--out", "request.json")
    values = ["--value", f"age={AGE}", "--value", f"city={CITY}"]
    run("eligibility", "issue", "request.json", *values, "--out", "issued.json", org="regulator")
    run("eligibility", "store", "issued.json")
    return run


def asked(run: Callable[..., Any], definition: str, *more: str, age: int = 65) -> str:
    predicate = ["--predicate", f"{definition}:age>={age}"]
    made = run(
        "eligibility", "ask", "--purpose", PURPOSE, *predicate, *more, "--out", "ask.json", org="bureau"
    )
    return str(made["eligibility"])


def test_a_person_is_eligible_and_nobody_learns_why(
    running: ConsortiumInProcess, holder: Callable[..., Any], definition: str, tmp_path: Path
) -> None:
    identifier = asked(holder, definition)
    ask = json.loads((tmp_path / "ask.json").read_text("utf-8"))
    (tmp_path / "forged.json").write_text(json.dumps({**ask, "verifier": running.did("analyst")}), "utf-8")
    node = ["--org", "lender", "--home", str(tmp_path)]
    holder("eligibility", "prove", "forged.json", "--out", "answer.json", *node, code=4)
    (tmp_path / "forged.json").write_text(json.dumps({**ask, "purpose": "dpv:PublicBenefit"}), "utf-8")
    holder("eligibility", "prove", "forged.json", "--out", "answer.json", *node, code=4)
    told = holder("eligibility", "prove", "ask.json", "--pseudonym", "--out", "answer.json", *node)
    assert (told["proved"][0], told["revealed"]) == ("age >= 65", [])
    assert str(AGE) not in (tmp_path / "answer.json").read_text("utf-8")
    found = holder("eligibility", "conclude", "answer.json", org="bureau")
    assert (found["outcome"], found["revealed"]) == ("pass", {})

    mine = holder("did", "list")["pseudonyms"]
    listed = holder("eligibility", "list", org="regulator")
    row = next(one for one in listed if one["eligibility"] == identifier)
    assert (row["outcome"], row["holder"]) == ("pass", mine[0]["pseudonym"])
    assert row["verifier"] == running.did("bureau")

    answer = json.loads((tmp_path / "answer.json").read_text("utf-8"))
    opening = running.nodes["bureau"].services.payloads.opening(found["txid"])
    entry = next(iter(running.client("bureau").entries(type_="evidence.eligibility")))
    assert opening.payload == answer["presentation"].encode()
    log = running.nodes["bureau"].services.ledger.mirror.store
    raw = log.find(found["txid"])
    assert raw is not None
    commitments.check(str(raw.entry.commit), opening.payload, opening.salt)
    whole = json.dumps(list(running.client("regulator").entries(participant="bureau")))
    assert str(AGE) not in whole
    assert CITY not in whole
    assert entry["body"]["eligibility"]

    refused = holder("eligibility", "conclude", "answer.json", org="bureau", code=4)
    assert refused is None


def test_a_person_that_is_not_eligible_cannot_prove_it(
    holder: Callable[..., Any], definition: str, tmp_path: Path
) -> None:
    identifier = asked(holder, definition, age=AGE + 1)
    holder("eligibility", "prove", "ask.json", "--out", "answer.json", code=4)
    assert not (tmp_path / "answer.json").exists()
    found = holder("eligibility", "conclude", identifier, org="bureau", code=1)
    assert found["outcome"] == "fail"


def test_what_is_asked_to_be_revealed_is_for_the_verifier_alone(
    running: ConsortiumInProcess, holder: Callable[..., Any], definition: str
) -> None:
    asked(holder, definition, "--reveal", f"{definition}:city")
    holder("eligibility", "prove", "ask.json", "--out", "answer.json")
    found = holder("eligibility", "conclude", "answer.json", org="bureau")
    assert found["revealed"] == {"r0": CITY}
    assert CITY not in json.dumps(list(running.client("regulator").entries(participant="bureau")))


def test_an_answer_to_another_request_fails_and_a_strangers_signature_is_refused(
    running: ConsortiumInProcess, holder: Callable[..., Any], definition: str, tmp_path: Path
) -> None:
    asked(holder, definition)
    holder("eligibility", "prove", "ask.json", "--pseudonym", "--out", "answer.json")
    answer = json.loads((tmp_path / "answer.json").read_text("utf-8"))
    bureau = running.client("bureau")
    second = bureau.ask_eligibility(
        PURPOSE, [{"definition": definition, "attribute": "age", "operator": ">=", "value": 65}]
    )
    with pytest.raises(NodeProblem) as caught:
        bureau.conclude_eligibility(
            second["eligibility"], answer["presentation"], holder=answer["holder"], sig=answer["sig"]
        )
    assert caught.value.face.status == 422
    with pytest.raises(NodeProblem):
        bureau.conclude_eligibility(second["eligibility"], "{}")
    with pytest.raises(NodeProblem):
        bureau.conclude_eligibility(second["eligibility"], None, holder=answer["holder"])
    assert bureau.conclude_eligibility(second["eligibility"], answer["presentation"])["outcome"] == "fail"
    with pytest.raises(NodeProblem) as caught:
        bureau.conclude_eligibility(second["eligibility"], answer["presentation"])
    assert caught.value.face.status == 404


def test_an_offer_is_used_once_and_the_issuer_keeps_no_value(
    running: ConsortiumInProcess, holder: Callable[..., Any], definition: str, tmp_path: Path
) -> None:
    holder(
        "eligibility",
        "issue",
        "request.json",
        "--value",
        "age=1",
        "--value",
        "city=x",
        "--out",
        "again.json",
        org="regulator",
        code=4,
    )
    for name in ("regulator", "bureau"):
        database = (running.root / name / "node.sqlite").read_bytes()
        assert CITY.encode() not in database
        assert str(AGE).encode() not in database


@pytest.mark.parametrize(
    "body",
    [
        {"purpose": "everything", "predicates": [{"attribute": "age", "operator": ">=", "value": 1}]},
        {"purpose": PURPOSE, "predicates": [{"attribute": "shoe-size", "operator": ">=", "value": 1}]},
        {"purpose": PURPOSE, "predicates": [{"attribute": "age", "operator": "==", "value": 1}]},
        {"purpose": PURPOSE, "predicates": [{"attribute": "age", "operator": ">=", "value": 2**31}]},
        {"purpose": PURPOSE, "predicates": []},
    ],
    ids=lambda body: canonical.encode(body).decode()[:60],
)
def test_what_cannot_be_asked_is_refused(
    running: ConsortiumInProcess, definition: str, body: dict[str, Any]
) -> None:
    asked = [{"definition": definition, **one} for one in body["predicates"]]
    with pytest.raises(NodeProblem) as caught:
        running.client("bureau").ask_eligibility(body["purpose"], asked)
    assert caught.value.face.status == 422


def test_nothing_counts_under_a_key_that_is_retired(
    running: ConsortiumInProcess, holder: Callable[..., Any], definition: str
) -> None:
    asked(holder, definition)
    holder("eligibility", "prove", "ask.json", "--out", "answer.json")
    with pytest.raises(NodeProblem):
        running.client("bureau").retire_definition(definition, "not ours")
    holder("eligibility", "retire", definition, "--reason", "key stolen", org="regulator")
    holder("eligibility", "conclude", "answer.json", org="bureau", code=4)
    with pytest.raises(NodeProblem):
        running.client("regulator").offer_attributes(definition)
