"""What hub and nodes write to their logs over a whole use of the exchange: nothing about people, no secret.

Own loggers are at DEBUG and libraries as the daemons set them. Every identifier, value and secret of the run
is searched for in all that was written.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyotp
import pytest

from exchange import logs
from exchange.cli.application import main
from exchange.credentials import consents
from exchange.credentials.wallet import Wallet
from exchange.keyfile import Cost
from exchange.sdk import NodeClient, NodeProblem, delivery_spec
from ledger import base64url
from ledger.entries import new_id
from ledger.times import system_clock

pytestmark = pytest.mark.xdist_group("exchange-logs")

PURPOSE = "dpv:CustomerSolvencyMonitoring"
PASSWORD, WRONG = "four herons over the lake", "five herons over the lake"
SOURCE_PASSWORD = "canary-9b1c"
AGE, CITY = 1_876_543_210, "Deyang-9113"


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """All that is logged from here on."""
    caplog.set_level(logging.DEBUG)
    for name in logs._TALKATIVE:
        caplog.set_level(logging.WARNING, logger=name)
    return caplog


def compute(question: Any) -> list[str]:
    """A joint job; its figures."""
    analyst = question.client("analyst")
    job = analyst.submit(question.spec(question.agree(uses=1)))["job"]
    analyst.wait_job(job, timeout_s=60)
    groups = analyst.result(job)[0]["groups"]
    assert groups
    return [str(value) for group in groups for value in group["sums"].values() if len(str(value)) > 6]


def deliver(question: Any, folder: Path) -> None:
    """The lender's rows as a file for the analyst."""
    running = question.running
    columns = [
        {"name": name, "role": role, "sensitivity": "internal", "control": "PLAINTEXT"}
        for name, role in (("customer_id", "identifier"), ("balance", "measure"))
    ]
    names = [column["name"] for column in columns]
    asked = {
        "purpose": PURPOSE,
        "operations": ["delivery/table"],
        "columns": names,
        "output_types": ["table/rows"],
        "uses": 1,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": 5,
    }
    lender, analyst = question.client("lender"), question.client("analyst")
    terms = {name: value for name, value in asked.items() if name != "purpose"} | {"purposes": [PURPOSE]}
    source = {"kind": "file", "location": str(question.data / "loans.csv")}
    asset = {"name": "given", "title": "Given", "source": source, "columns": columns, "terms": terms}
    lender.publish(asset)
    negotiation = analyst.request_agreement({"asset": "lender/given", **asked})["negotiation"]
    agreement = lender.approve(negotiation, "a test")["agreement"]
    row = analyst.wait_agreement(agreement)
    spec = delivery_spec(
        job=new_id("job", system_clock),
        title="delivery",
        purpose=PURPOSE,
        receiver=running.did("analyst"),
        agreement=row,
        columns=dict.fromkeys(names, 0),
        name="given",
        kind="parquet",
    )
    job = analyst.submit(spec)["job"]
    analyst.wait_job(job, timeout_s=60)
    analyst.open_delivery(job, folder / "given.parquet")
    assert (folder / "given.parquet").stat().st_size > 0


def consent(question: Any) -> list[str]:
    """A data subject gives consent and the owner binds it; the wallet's secrets."""
    lender, wallet = question.client("lender"), Wallet.new()
    did, net = question.running.did("lender"), str(lender.node()["net"])
    lender.require_consent("lender/loans", "customer_id", "personal data")
    key = wallet.known_to(did)[1]
    given = consents.give(
        key,
        net=net,
        consent=new_id("consent", system_clock),
        controller=did,
        asset="lender/loans",
        purpose=PURPOSE,
        expires=system_clock() + timedelta(days=30),
    )
    question.client("bureau").give_consent(given)
    named = consents.identify(key, net=net, asset="lender/loans", identifier="zq 00123")
    assert lender.bind_subjects([named])["bound"] == 1
    return [wallet.seed.hex(), base64url.encode(wallet.seed)]


def prove(question: Any, folder: Path) -> None:
    """A person gets attributes, and proves one of them to the bureau."""
    for profile in question.running.profiles.values():
        profile.save(folder)
    definition = question.client("regulator").define_attributes("person", "1", ["age", "city"])["definition"]

    def run(*words: str, org: str | None = None) -> None:
        where = ["--wallet", "person.wallet"] if org is None else ["--org", org, "--home", str(folder)]
        assert main([*words, *where, "--format", "json"]) == 0

    run("did", "new", "--passphrase-kind", "random")
    run("eligibility", "offer", definition, "--out", "offer.json", org="regulator")
    run("eligibility", "request", "offer.json", "--out", "request.json")
    values = ["--value", f"age={AGE}", "--value", f"city={CITY}"]
    run("eligibility", "issue", "request.json", *values, "--out", "issued.json", org="regulator")
    run("eligibility", "store", "issued.json")
    predicate = ["--predicate", f"{definition}:age>=65", "--purpose", PURPOSE]
    run("eligibility", "ask", *predicate, "--out", "ask.json", org="bureau")
    node = ["--org", "lender", "--home", str(folder)]
    run("eligibility", "prove", "ask.json", "--pseudonym", "--out", "answer.json", *node)
    run("eligibility", "conclude", "answer.json", org="bureau")


def sign_in(question: Any) -> list[str]:
    """Somebody takes up an invitation, enrols a device and mistypes; every secret of it."""
    administrator = question.client("lender")
    invitation = administrator.add_person("ada", ["analyst"])["invitation"]
    with NodeClient(question.running.profiles["lender"]) as ada:
        ada.accept_invitation("ada", invitation, PASSWORD)
        with pytest.raises(NodeProblem):
            ada.sign_in("ada", WRONG)
        ada.sign_in("ada", PASSWORD)
        shown = [ada.profile.session]
        address = ada.begin_codes(PASSWORD)
        device = pyotp.TOTP(pyotp.parse_uri(address).secret)
        recovery = ada.confirm_codes(device.now())
        shown.append(ada.profile.session)
        token = ada.issue_token("script", ["analyst"])["secret"]
    assert all(shown)
    return [invitation, PASSWORD, WRONG, address, *shown, device.secret, token, *recovery]


def refused_source(question: Any) -> None:
    location = f"postgresql+psycopg://steward:{SOURCE_PASSWORD}@127.0.0.1:1/loans"
    with pytest.raises(NodeProblem):
        question.client("lender").draft("served", {"kind": "table", "location": location, "table": "loans"})


def test_no_log_of_hub_or_node_names_a_person_a_value_or_a_secret(
    written: pytest.LogCaptureFixture,
    tmp_path: Path,
    make_question: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PARLEY_PASSPHRASE", "a person's own")
    monkeypatch.setattr("exchange.keyfile.INTERACTIVE", Cost(1, 8192))
    environ = {"PARLEY_PASSWORD_MEMORY_KIB": "19456", "PARLEY_PASSWORD_PASSES": "2"}
    question = make_question(tmp_path / "exchange", environ=environ)
    monkeypatch.chdir(tmp_path)
    with question.running:
        question.publish()
        refused_source(question)
        secrets = compute(question) + sign_in(question)
        deliver(question, tmp_path)
        secrets += consent(question)
        prove(question, tmp_path)
        secrets += [token for one in question.running.profiles.values() for token in one.tokens.values()]
    rows = pyarrow.csv.read_csv(question.data / "loans.csv").to_pylist()
    people = [f"ZQ{number:05d}" for number in range(340)]
    values = [str(row["balance"]) for row in rows] + [str(AGE), CITY, SOURCE_PASSWORD]
    hashes = [hashlib.sha256(name.encode()).hexdigest() for name in people]
    identifiers = [row["customer_id"] for row in rows] + people + hashes
    passphrases = ["correct horse battery staple", "a person's own"]
    text = "\n".join(
        json.dumps([record.name, record.getMessage(), record.exc_text, str(record.args)], ensure_ascii=False)
        for record in written.records
    )
    assert not [kept for kept in (*secrets, *identifiers, *values, *passphrases) if kept in text]
    assert "connectors.source-unreachable" in text
