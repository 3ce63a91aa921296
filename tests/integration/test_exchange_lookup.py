"""Anonymous lookups through hub and nodes: two owners' lists, a bank that asks, a regulator that reads."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from exchange.cli.application import main
from exchange.lookup import building
from exchange.lookup.reporting import receipt
from exchange.sdk import NodeClient, NodeProblem
from exchange.testing import ConsortiumInProcess
from ledger import bundle
from ledger.times import system_clock

pytestmark = pytest.mark.xdist_group("exchange-lookup")

PURPOSE, NARROWER, OTHER = (
    "dpv:FraudPreventionAndDetection",
    "dpv:CounterMoneyLaundering",
    "dpv:PublicBenefit",
)
EXPIRES = "2099-01-01T00:00:00Z"
ABSENT = "62220000007777"
LISTED = "62220000001003"


def account(number: int) -> str:
    return f"6222{number:010d}"


def write_list(path: Path, numbers: range, extra: dict[int, str] | None = None) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["account", "reason", "level"])
        for number in numbers:
            writer.writerow([account(number), (extra or {}).get(number, f"case {number}"), number % 3])


class Bank:
    """Two owners with lists, and the steps of a member that asks them."""

    def __init__(self, running: ConsortiumInProcess, data: Path) -> None:
        self.running, self.data = running, data

    def client(self, name: str) -> NodeClient:
        return self.running.client(name)

    def publish(self, owner: str, name: str, numbers: range, **extra: Any) -> None:
        path = self.data / f"{owner}-{name}.csv"
        write_list(path, numbers, extra.pop("rows", None))
        columns = [("account", "identifier", "AFTER_JOIN"), ("reason", "text", "AS_JOIN_PAYLOAD")]
        columns.append(("level", "measure", "AS_JOIN_PAYLOAD"))
        self.client(owner).publish(
            {
                "name": name,
                "title": name,
                "source": {
                    "kind": "list",
                    "location": str(path),
                    "options": {
                        "colour": "black",
                        "identifier": "account",
                        "attributes": ["reason", "level"],
                    },
                },
                "columns": [
                    {"name": column, "role": role, "sensitivity": "internal", "control": control}
                    for column, role, control in columns
                ],
                "terms": {
                    "purposes": [PURPOSE, OTHER],
                    "operations": ["pir/keyword", "psi/ecdh"],
                    "columns": ["account", "reason", "level"],
                    "uses": 100_000,
                    "expires": EXPIRES,
                    "min_cohort": 1,
                    "output_types": ["lookup/record", "cardinality"],
                },
            }
        )

    def open(self, owner: str, name: str, **changes: Any) -> dict[str, Any]:
        body = {
            "service": f"{owner}/{name}",
            "asset": f"{owner}/{name}",
            "keys": [{"column": "account", "rules": ["remove-spaces"]}],
            "record": ["reason", "level"],
            "record_bytes": 48,
            "price": 2,
            "purposes": [PURPOSE],
        }
        return self.client(owner).open_lookup(body | changes, timeout_s=60)

    def agree(self, asset: str, **changes: Any) -> str:
        asked = {
            "asset": asset,
            "purpose": PURPOSE,
            "operations": ["pir/keyword"],
            "columns": ["account", "reason", "level"],
            "uses": 1000,
            "expires": EXPIRES,
            "min_cohort": 1,
            "output_types": ["lookup/record"],
        }
        made = self.client("analyst").request_agreement(asked | changes)
        agreement = self.client(asset.split("/")[0]).approve(made["negotiation"], "a test")["agreement"]
        return str(self.client("analyst").wait_agreement(agreement)["agreement"])

    def ask(self, services: Any, *keys: str, purpose: str = PURPOSE) -> list[dict[str, Any]]:
        return self.client("analyst").lookup(services, list(keys), purpose)

    def one(self, service: str, *keys: str, agreement: str | None = None, **more: Any) -> dict[str, Any]:
        named = [service] if agreement is None else {service: agreement}
        return self.ask(named, *keys, **more)[0]

    def report(self, owner: str) -> None:
        self.running.nodes[owner]._lookups.reporter.report()


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    data = tmp_path_factory.mktemp("lists")
    with ConsortiumInProcess(tmp_path_factory.mktemp("lookup"), sources=[data]) as running:
        made = Bank(running, data)
        made.publish("bureau", "mules", range(1000, 1300))
        made.publish("lender", "watch", range(1200, 1400))
        made.open("bureau", "mules")
        made.open("lender", "watch", price=0)
        made.agree("bureau/mules")
        made.agree("lender/watch")
        yield made


@pytest.fixture
def run(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """Run a command as an organisation."""
    monkeypatch.chdir(tmp_path)
    for profile in bank.running.profiles.values():
        profile.save(tmp_path)

    def made(*words: str, org: str = "analyst", code: int = 0) -> Any:
        assert main([*words, "--org", org, "--home", str(tmp_path), "--format", "json"]) == code
        return json.loads(capsys.readouterr().out).get("data")

    return made


def test_one_question_goes_to_lists_of_two_owners(bank: Bank) -> None:
    keys = ["6222 0000 0012 50", account(1003), account(1399), ABSENT]
    mules, watch = bank.ask(["bureau/mules", "lender/watch"], *keys)
    assert [one["found"] for one in mules["records"]] == [True, True, False, False]
    assert mules["records"][1]["record"] == {"reason": "case 1003", "level": 1003 % 3}
    assert [one["found"] for one in watch["records"]] == [True, False, True, False]
    assert (mules["fee"], watch["fee"], mules["release"]) == (8, 0, 1)


def test_the_ledger_says_who_asked_how_often_for_what_and_for_how_much(bank: Bank) -> None:
    agreement = bank.agree("bureau/mules")
    for _ in range(3):
        assert bank.one("bureau/mules", LISTED, agreement=agreement)["outcome"] == "answered"
    bank.one("bureau/mules", LISTED, ABSENT, agreement=agreement, purpose=NARROWER)
    bank.report("bureau")
    regulator = bank.client("regulator")
    found = [entry["body"] for entry in regulator.entries(type_="lookup.receipt")]
    mine = {body["purpose"]: body for body in found if body["agreement"] == agreement}
    assert {purpose: (body["count"], body["tickets"], body["fee"]) for purpose, body in mine.items()} == {
        PURPOSE: (3, 3, 6),
        NARROWER: (2, 1, 4),
    }
    assert mine[PURPOSE]["recipient"] == bank.running.did("analyst")
    assert LISTED not in json.dumps(found)
    assert ABSENT not in json.dumps(found)
    uses = next(row for row in bank.client("analyst").agreements() if row["agreement"] == agreement)["uses"]
    assert uses == 5
    by_service = {entry["type"] for entry in regulator.entries(asset="bureau/mules")}
    assert {"lookup.service", "lookup.receipt"} <= by_service


def test_both_sides_read_the_same_statement(bank: Bank) -> None:
    agreement = bank.agree("bureau/mules")
    bank.one("bureau/mules", LISTED, agreement=agreement)
    theirs, ours = (
        next(one for one in bank.client(name).lookup_statement() if one["agreement"] == agreement)
        for name in ("bureau", "analyst")
    )
    assert (theirs["queries"], theirs["signed"], theirs["owed"]) == (0, 1, 2)
    assert (ours["queries"], ours["signed"], ours["owed"]) == (0, 1, 2)
    bank.report("bureau")
    bank.report("bureau")
    theirs = next(one for one in bank.client("bureau").lookup_statement() if one["agreement"] == agreement)
    assert (theirs["queries"], theirs["fee"], theirs["receipts"]) == (1, 2, 1)
    assert (theirs["signed"], theirs["owed"]) == (1, 2)


def test_the_own_node_keeps_who_asked_and_not_what(bank: Bank) -> None:
    bank.one("bureau/mules", LISTED)
    latest = bank.client("analyst").lookup_questions()[0]
    assert (latest["person"], latest["service"], latest["count"]) == ("analyst", "bureau/mules", 1)
    assert LISTED not in json.dumps(bank.client("analyst").lookup_questions())


def test_a_spent_quota_is_refused_before_and_after_the_receipt(bank: Bank) -> None:
    agreement = bank.agree("bureau/mules", uses=3)
    assert bank.one("bureau/mules", LISTED, ABSENT, agreement=agreement)["outcome"] == "answered"
    refused = bank.one("bureau/mules", LISTED, ABSENT, agreement=agreement)
    assert refused["outcome"] == "refused"
    assert {"agreement.uses-exhausted", "policy.count"} <= set(refused["codes"])
    assert refused["records"] == []
    bank.report("bureau")
    assert bank.one("bureau/mules", LISTED, ABSENT, agreement=agreement)["outcome"] == "refused"
    assert bank.one("bureau/mules", LISTED, agreement=agreement)["outcome"] == "answered"


def test_points_run_out(bank: Bank) -> None:
    agreement = bank.agree("bureau/mules", clauses={"points": 5, "price": 5})
    assert bank.one("bureau/mules", LISTED, agreement=agreement)["fee"] == 5
    assert "agreement.points-exhausted" in bank.one("bureau/mules", LISTED, agreement=agreement)["codes"]


@pytest.mark.parametrize(
    ("changes", "purpose", "code"),
    [
        ({}, "dpv:DisputeManagement", "policy.purpose"),
        ({"purpose": OTHER}, OTHER, "lookup.purpose"),
        ({"operations": ["psi/ecdh"]}, PURPOSE, "policy.technique"),
        ({"columns": ["account"]}, PURPOSE, "policy.columns"),
        ({"min_cohort": 10}, PURPOSE, "policy.minCohort"),
        ({"output_types": ["cardinality"]}, PURPOSE, "policy.outputType"),
        ({"clauses": {"approval": "per-job"}}, PURPOSE, "lookup.approval-needed"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_an_agreement_that_does_not_cover_the_question_gives_no_answer(
    bank: Bank, changes: dict[str, Any], purpose: str, code: str
) -> None:
    agreement = bank.agree("bureau/mules", **changes)
    refused = bank.one("bureau/mules", LISTED, agreement=agreement, purpose=purpose)
    assert refused["outcome"] == "refused"
    assert code in refused["codes"]


def test_a_revoked_or_expired_agreement_gives_no_answer(bank: Bank) -> None:
    revoked = bank.agree("bureau/mules")
    bank.client("bureau").revoke(revoked, "a test")
    wait = bank.running.nodes["bureau"].services.ledger.awaited
    assert wait("agreements", revoked) is not None
    assert "agreement.revoked" in bank.one("bureau/mules", LISTED, agreement=revoked)["codes"]
    soon = (system_clock() + timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    expired = bank.agree("bureau/mules", expires=soon)
    while system_clock().strftime("%Y-%m-%dT%H:%M:%SZ") < soon:
        pass
    assert "agreement.expired" in bank.one("bureau/mules", LISTED, agreement=expired)["codes"]


def test_a_member_is_answered_as_often_in_a_minute_as_the_owner_says(bank: Bank) -> None:
    bank.publish("bureau", "rated", range(1000, 1020))
    bank.open("bureau", "rated", rates={"minute": 3, "day": 100})
    bank.agree("bureau/rated")
    assert bank.one("bureau/rated", account(1001), account(1002))["outcome"] == "answered"
    assert bank.one("bureau/rated", account(1001), account(1002))["codes"] == ["lookup.rate-exceeded"]
    assert bank.one("bureau/rated", account(1001))["outcome"] == "answered"
    assert bank.one("bureau/rated", account(1001))["codes"] == ["lookup.rate-exceeded"]


def test_one_service_that_fails_leaves_the_others_answers(bank: Bank) -> None:
    found = bank.ask(["bureau/nothing", "lender/watch"], account(1399))
    assert [one["outcome"] for one in found] == ["refused", "answered"]
    assert found[0]["codes"] == ["lookup.unknown"]
    assert found[1]["records"][0]["found"] is True


def test_a_new_version_of_the_list_is_served_without_asking_again_for_the_whole_hint(bank: Bank) -> None:
    bank.publish("bureau", "moving", range(1000, 1200))
    first = bank.open("bureau", "moving")["released"]
    bank.agree("bureau/moving")
    assert bank.one("bureau/moving", account(1001))["records"][0]["found"] is True
    bank.publish("bureau", "moving", range(1001, 1201), rows={1005: "changed"})
    ledger = bank.running.nodes["analyst"].services.ledger
    ledger.wait_until(
        lambda: True if ledger.final("lookups", "bureau/moving")["release"] == 2 else None, 30, "release 2"
    )
    asking = bank.running.nodes["analyst"]._lookups.asking
    asking._hints.present(ledger.final("lookups", "bureau/moving"), asking._peer(bank.running.did("bureau")))
    answer = bank.one("bureau/moving", account(1000), account(1005), account(1200))
    assert [one["found"] for one in answer["records"]] == [False, True, True]
    assert answer["records"][1]["record"]["reason"] == "changed"
    assert (answer["release"], answer["version"], first["release"]) == (2, 2, 1)
    folder = bank.running.nodes["bureau"]._lookups.desk._folders.release("bureau/moving", 2)
    assert (folder / "delta").is_file()


def test_a_withdrawn_service_and_one_on_a_withdrawn_list_answer_nothing(bank: Bank) -> None:
    bank.publish("lender", "closing", range(1000, 1010))
    bank.open("lender", "closing")
    agreement = bank.agree("lender/closing")
    assert bank.one("lender/closing", account(1001))["outcome"] == "answered"
    bank.client("lender").withdraw("lender/closing", "a test")
    assert "asset.withdrawn" in bank.one("lender/closing", account(1001), agreement=agreement)["codes"]
    bank.client("lender").withdraw_lookup("lender/closing", "a test")
    ledger = bank.running.nodes["analyst"].services.ledger
    ledger.wait_until(
        lambda: True if ledger.final("lookups", "lender/closing")["status"] == "withdrawn" else None, 20, "it"
    )
    assert bank.one("lender/closing", account(1001))["codes"] == ["lookup.withdrawn"]
    desk = bank.running.nodes["lender"]._lookups.desk
    assert desk.file("lender/closing", 1, "hint") is None
    with pytest.raises(NodeProblem) as caught:
        bank.client("lender").withdraw_lookup("lender/closing", "again")
    assert caught.value.status == 409


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"keys": [{"column": "passport", "rules": []}]}, "passport"),
        ({"keys": [{"column": "account", "rules": ["shout"]}]}, "shout"),
        ({"record": ["account"]}, "record"),
        ({"record_bytes": 8}, "record_bytes"),
        ({"service": "lender/mules"}, "service"),
        ({"purposes": ["dpv:Everything"]}, "purposes"),
        ({"asset": "bureau/none"}, "bureau/none"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_service_is_refused_by_name(bank: Bank, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(NodeProblem) as caught:
        bank.open("bureau", "mules", **changes)
    assert words in str(caught.value)


def test_records_that_do_not_fit_fail_the_build_and_name_no_value(bank: Bank) -> None:
    from exchange.errors import JobFailed

    bank.publish("bureau", "long", range(1000, 1010), rows={1003: "x" * 60})
    with pytest.raises(JobFailed, match="too small for 1") as caught:
        bank.open("bureau", "long")
    assert "xxx" not in str(caught.value)
    made = bank.open("bureau", "long", record_bytes=80)
    assert made["released"]["entries"] == 10


def test_a_service_that_is_asked_for_anew_while_it_is_built_gets_the_later_terms(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank.publish("bureau", "twice", range(1000, 1010))
    make, first = building.make_release, iter([True])
    body = {"service": "bureau/twice", "asset": "bureau/twice", "keys": [{"column": "account"}]}
    later = body | {"record": [], "purposes": [PURPOSE], "price": 7}

    def making(*given: Any, **more: Any) -> Any:
        made = make(*given, **more)
        if next(first, False):
            bank.client("bureau")._object("POST", "/v1/lookups/services", role="steward", json=later)
        return made

    monkeypatch.setattr(building, "make_release", making)
    released = bank.open("bureau", "twice")["released"]
    assert (released["price"], released["record"], released["release"]) == (7, [], 1)


@pytest.mark.parametrize(
    ("keys", "place"), [([["a", "b"]], "keys[0]"), ([["a"], [""]], "keys[1]"), ([[" "]], "keys[0]")]
)
def test_a_key_of_another_form_is_refused_by_its_place(bank: Bank, keys: list[list[str]], place: str) -> None:
    answer = bank.client("analyst").lookup(["bureau/mules"], keys, PURPOSE)[0]
    assert answer["outcome"] == "refused"
    assert place in answer["detail"]


def test_nobody_but_an_analyst_asks_and_nobody_but_a_steward_opens(bank: Bank) -> None:
    analyst = bank.client("analyst")
    for role, act in (
        ("analyst", lambda: analyst.lookup(["bureau/mules"], [LISTED], PURPOSE)),
        ("steward", lambda: analyst.withdraw_lookup("analyst/none", "x")),
    ):
        kept = analyst.profile.tokens[role]
        analyst.profile.tokens[role] = analyst.profile.tokens["auditor"]
        with pytest.raises(NodeProblem) as caught:
            act()
        assert caught.value.status == 403
        analyst.profile.tokens[role] = kept


def test_the_commands_publish_list_ask_and_state(
    bank: Bank, run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    opened = run(
        "lookup", "publish", "bureau/shown", "--asset", "bureau/mules", "--key", "account=remove-spaces,trim",
        "--record", "reason", "--record-bytes", "32", "--price", "1", "--per-minute", "50",
        "--purpose", PURPOSE, org="bureau",
    )  # fmt: skip
    assert (opened["entries"], opened["rates"]) == (300, {"minute": 50})
    names = [one["service"] for one in run("lookup", "services", org="regulator")]
    assert "bureau/shown" in names
    monkeypatch.setattr(sys, "stdin", io.StringIO(LISTED + "\n"))
    [answer] = run("lookup", "query", "bureau/shown", "--purpose", PURPOSE)
    assert answer["records"] == [{"found": True, "record": {"reason": "case 1003"}}]
    (tmp_path / "keys.csv").write_text(f"account\n{LISTED}\n{ABSENT}\n", encoding="utf-8")
    words = ["lookup", "batch", "bureau/shown", "bureau/none", "--keys", "keys.csv", "--header"]
    shown = run(*words, "--purpose", PURPOSE, "--out", "out.csv", code=1)
    assert [(one["outcome"], one["found"]) for one in shown] == [("answered", 1), ("refused", 0)]
    lines = list(csv.reader((tmp_path / "out.csv").read_text("utf-8").splitlines()))
    assert lines[0] == [LISTED, "bureau/shown", "true", '{"reason": "case 1003"}']
    assert lines[1] == [ABSENT, "bureau/shown", "false", ""]
    assert any(one["service"] == "bureau/shown" for one in run("lookup", "statement"))
    assert run("lookup", "withdraw", "bureau/shown", "--reason", "a test", org="bureau")["txid"]


def test_the_page_asks_in_both_languages_and_keeps_nothing(bank: Bank) -> None:
    analyst = bank.client("analyst")
    shown = {"Authorization": f"Bearer {analyst.profile.tokens['analyst']}"}
    page = analyst._http.get("/lookups?lang=zh", headers=shown)
    assert "匿名查询" in page.text
    assert 'value="bureau/mules"' in page.text
    assert page.headers["Cache-Control"] == "no-store"
    typed = {"csrf": "-", "purpose": PURPOSE, "services": ["bureau/mules"], "keys": f"{LISTED}\n{ABSENT}"}
    answer = analyst._http.post("/lookups?lang=en", headers=shown, data=typed)
    assert "case 1003" in answer.text
    assert answer.text.count("<td>no</td>") == 1
    assert analyst._http.post("/lookups", headers=shown, data=typed | {"keys": "\n"}).status_code == 422
    wrong = {"Authorization": f"Bearer {analyst.profile.tokens['auditor']}"}
    assert analyst._http.get("/lookups", headers=wrong).status_code == 403
    assert analyst._http.get("/lookups").status_code == 303
    assert analyst._http.post("/lookups", data=typed).status_code == 303


def test_receipts_stand_in_an_evidence_bundle_that_verifies(bank: Bank) -> None:
    bank.one("bureau/mules", LISTED)
    bank.report("bureau")
    regulator = bank.client("regulator")
    data = regulator.export_bundle(assets=["bureau/mules"])
    assert bundle.verify(data, regulator.node()["genesis"]).size > 0
    assert LISTED.encode() not in data


def test_a_receipts_root_is_over_the_tickets_that_the_owner_keeps(bank: Bank) -> None:
    agreement = bank.agree("bureau/mules")
    for _ in range(2):
        bank.one("bureau/mules", LISTED, agreement=agreement)
    kept = bank.running.nodes["bureau"].services.store.lookups
    account_name = f"{agreement} bureau/mules {PURPOSE}"
    waiting = kept.send(account_name)
    body = receipt(waiting)
    bank.report("bureau")
    entries = bank.client("regulator").entries(type_="lookup.receipt")
    found = next(entry["body"] for entry in entries if entry["body"]["agreement"] == agreement)
    assert found == body
