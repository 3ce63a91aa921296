"""Consent over real nodes: required, given under pseudonyms, withdrawn; jobs see consenting rows alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from exchange.cli.application import main
from exchange.credentials import consents
from exchange.credentials.wallet import Wallet
from exchange.errors import Conflict, JobRefused
from exchange.keyfile import Cost
from exchange.sdk import NodeProblem
from ledger.entries import new_id
from ledger.times import system_clock

pytestmark = pytest.mark.xdist_group("exchange-consent")

PURPOSE = "dpv:CustomerSolvencyMonitoring"
PEOPLE = range(100, 125)
"""Rows of the lender that their subjects let be used; all of them are in the bureau's table too."""


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]) -> Iterator[Any]:
    """A running consortium with published tables."""
    asked = make_question(tmp_path_factory.mktemp("consent"))
    with asked.running:
        asked.publish()
        yield asked


def net(question: Any) -> str:
    return str(question.client("lender").node()["net"])


def signed_consent(question: Any, wallet: Wallet, **changes: Any) -> dict[str, Any]:
    lender = question.running.did("lender")
    given = {
        "net": net(question),
        "consent": new_id("consent", system_clock),
        "controller": lender,
        "asset": "lender/loans",
        "purpose": PURPOSE,
        "expires": system_clock() + timedelta(days=30),
        **changes,
    }
    return consents.give(wallet.known_to(lender)[1], **given)


def awaited(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while not (value := found()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


def refusal(question: Any, job: str) -> tuple[str, ...]:
    with pytest.raises(JobRefused) as caught:
        question.client("analyst").wait_job(job, timeout_s=60)
    return caught.value.codes


@pytest.fixture(scope="module")
def agreements(question: Any) -> dict[str, str]:
    """Agreements for all jobs of this file; from here on the lender's rows need consent."""
    made: dict[str, str] = question.agree(uses=9)
    question.client("lender").require_consent("lender/loans", "customer_id", "personal data")
    return made


def job_of(question: Any, agreements: dict[str, str]) -> str:
    return str(question.client("analyst").submit(question.spec(agreements))["job"])


def test_without_consent_the_owner_refuses_the_job(question: Any, agreements: dict[str, str]) -> None:
    assert "consent.none" in refusal(question, job_of(question, agreements))
    lender = question.running.nodes["lender"].services
    with pytest.raises(Conflict, match="consent"), lender.assets.open("lender/loans"):
        pass


def test_a_job_sees_the_rows_of_those_who_consented(question: Any, agreements: dict[str, str]) -> None:
    lender, wallets = question.client("lender"), {number: Wallet.new() for number in PEOPLE}
    told, given = [], {}
    for number, wallet in wallets.items():
        key = wallet.known_to(question.running.did("lender"))[1]
        told.append(
            consents.identify(key, net=net(question), asset="lender/loans", identifier=f"zq {number:05d}")
        )
        given[number] = signed_consent(question, wallet)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(question.client("bureau").give_consent, given.values()))
    assert lender.bind_subjects(told)["bound"] == len(PEOPLE)
    state = question.running.nodes["lender"].services.ledger
    assert awaited(lambda: len(state.state.rows("consents")) == len(PEOPLE))

    analyst = question.client("analyst")
    job = job_of(question, agreements)
    analyst.wait_job(job, timeout_s=60)
    result, _ = analyst.result(job)
    assert [(row["group"], row["count"]) for row in result["groups"]] == [("low", len(PEOPLE))]

    withdrawn = [
        consents.withdraw(
            wallets[n].known_to(question.running.did("lender"))[1],
            net=net(question),
            consent=given[n]["statement"]["consent"],
        )
        for n in PEOPLE[:12]
    ]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(question.client("regulator").withdraw_consent, withdrawn))
    rows = lambda: state.state.rows("consents").values()  # noqa: E731
    assert awaited(lambda: sum(row["status"] == "withdrawn" for row in rows()) == len(withdrawn))
    later = job_of(question, agreements)
    analyst.wait_job(later, timeout_s=60)
    result, _ = analyst.result(later)
    assert [row["count"] for row in result["groups"]] == [len(PEOPLE) - len(withdrawn)]
    with pytest.raises(NodeProblem) as caught:
        question.client("regulator").withdraw_consent(withdrawn[0])
    assert caught.value.extras["reason"] == "consent.withdrawn"
    for column in question.client("regulator").entries(type_="consent.give"):
        assert "zq 0" not in json.dumps(column)


def test_what_is_carried_is_checked_by_every_member(question: Any, agreements: dict[str, str]) -> None:
    node = question.client("bureau")
    given = signed_consent(question, Wallet.new())
    node.give_consent(given)
    with pytest.raises(NodeProblem) as caught:
        question.client("analyst").give_consent(given)
    assert caught.value.extras["reason"] == "consent.exists"
    fresh = signed_consent(question, Wallet.new())
    altered = {**fresh, "statement": {**fresh["statement"], "purpose": "dpv:EnforceSecurity"}}
    with pytest.raises(NodeProblem) as caught:
        node.give_consent(altered)
    assert caught.value.extras["reason"] == "consent.bad-signature"
    with pytest.raises(NodeProblem) as caught:
        node.give_consent({**fresh, "sig": ""})
    assert caught.value.face.status == 422


def test_an_owner_binds_what_subjects_signed_for_its_own_assets(question: Any) -> None:
    key = Wallet.new().known_to("x")[1]
    lender = question.client("lender")
    told = consents.identify(key, net=net(question), asset="lender/loans", identifier="zq 00001")
    other = consents.identify(key, net=net(question), asset="lender/loans", identifier="zq 00002")
    lender.bind_subjects([told])
    with pytest.raises(NodeProblem) as caught:
        lender.bind_subjects([other])
    assert caught.value.face.status == 409
    with pytest.raises(NodeProblem):
        question.client("bureau").bind_subjects([told])
    forged = {**told, "statement": {**told["statement"], "identifier": "zq 00003"}}
    with pytest.raises(NodeProblem) as caught:
        lender.bind_subjects([forged])
    assert "zq 0" not in str(caught.value)


def test_a_person_gives_and_withdraws_with_a_wallet(
    question: Any,
    agreements: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PARLEY_PASSPHRASE", "a person's own")
    monkeypatch.setattr("exchange.keyfile.INTERACTIVE", Cost(1, 8192))
    question.running.profiles["bureau"].save(tmp_path)
    wallet = ["--wallet", str(tmp_path / "wallet")]
    node = ["--org", "bureau", "--home", str(tmp_path)]

    def run(*words: str) -> Any:
        code = main([*words, "--format", "json"])
        shown = json.loads(capsys.readouterr().out)
        assert code == 0, shown
        return shown["data"]

    root = run("did", "new", *wallet, "--passphrase-kind", "random")["root"]
    made = run("consent", "give", "lender/loans", "--purpose", PURPOSE, "--expires", "30d", *wallet, *node)
    mine = run("did", "list", *wallet)
    assert mine["pseudonyms"][0]["consents"] == [made["consent"]]
    subject = mine["pseudonyms"][0]["pseudonym"]
    listed = run("consent", "list", "--subject", subject, *node)
    assert [row["status"] for row in listed["consents"]] == ["given"]
    assert root not in json.dumps(list(question.client("bureau").entries(type_="consent.give")))
    out = ["--out", str(tmp_path / "mine.json")]
    run("consent", "identify", "lender/loans", "--identifier", "zq 00007", *out, *wallet, *node)
    question.running.profiles["lender"].save(tmp_path)
    lender = ["--org", "lender", "--home", str(tmp_path)]
    assert run("consent", "bind", str(tmp_path / "mine.json"), *lender)["bound"] == 1
    another = run("did", "pseudonym", question.running.did("lender"), *wallet)["pseudonym"]
    assert another != subject
    run("consent", "withdraw", made["consent"], *wallet, *node)
    assert run("consent", "list", "--subject", subject, *node)["consents"][0]["status"] == "withdrawn"
