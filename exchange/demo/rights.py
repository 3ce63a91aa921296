"""Step 8: rights of every kind, each given, used, and taken away, by the people whose they are.

Each function is one part of the account; ``exercise`` plays them in order. Data subjects act here with their
own wallets, outside every node.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.parquet
from pyotp import TOTP

from exchange.credentials import consents, predicates
from exchange.credentials.errors import CredentialInvalid
from exchange.credentials.wallet import Wallet
from exchange.demo import dataset
from exchange.demo.outside import reach_out
from exchange.demo.oversight import oversee, request_about, secret_of
from exchange.demo.stage import ANALYST, BUREAU, INCOME, LENDER, LOANS, REGULATOR, Stage
from exchange.demo.terms import (
    INCOME_COLUMNS,
    LOAN_COLUMNS,
    MIN_COHORT,
    PURPOSE,
    asset,
    in_days,
    question,
    wanted,
)
from exchange.errors import JobRefused
from exchange.sdk import Identifier, Reference, Side, delivery_spec, marked, matching_spec
from ledger.entries import new_id

__all__ = ["exercise"]

PANEL = f"{LENDER}/panel"
ELDERLY_CARE = "dpv:ImprovePublicServices"
LICENCE = "RegulatedInstitutionCredential"
SUBJECTS = MIN_COHORT
EPSILON = 3_000_000
NOISE: Mapping[str, Any] = {
    "mechanism": "gaussian",
    "epsilon_micro": 2_000_000,
    "delta_exponent": 6,
    "bounds": {
        "default_next_month": {"lower": "0", "upper": "1"},
        "bill_amount": {"lower": "0", "upper": "500000"},
    },
}
DELIVERED = {"customer_id": 0, "bill_amount": 2}


def exercise(stage: Stage) -> None:
    """Play every part."""
    parts: tuple[Callable[[Stage], None], ...] = (
        _account,
        _credential,
        _grey_list,
        _two_forms_of_catalog,
        _noise,
        _delivery,
        _consent,
        _eligibility,
        oversee,
        reach_out,
        _revocation,
    )
    for number, part in enumerate(parts):
        stage.watch.part(number, len(parts), part.__name__.strip("_"))
        part(stage)


def _account(stage: Stage) -> None:
    """A person is invited, chooses a password and enrols one-time codes; all of it is on record."""
    administrator, password = stage.at(LENDER), secrets.token_urlsafe(16)
    invitation = str(administrator.add_person("ada", ["analyst"])["invitation"])
    with stage.here.client(LENDER) as ada:
        ada.accept_invitation("ada", invitation, password)
        first = ada.sign_in("ada", password)
        stage.report.check(first["stage"] == "enrolment", "a password alone opens nothing but enrolment")
        ada.confirm_codes(TOTP(secret_of(ada.begin_codes(password))).now())
        stage.report.check(len(ada.sessions()["sessions"]) == 1, "one session is open, with both factors")
    stage.report.check(administrator.verify_people_record()["sound"], "the record of people is unbroken")
    stage.report.say(8, "demo.account", org=LENDER)


def _credential(stage: Stage) -> None:
    """The regulator reviews the analyst's papers; two people, then a credential on the ledger."""
    regulator, holder = stage.at(REGULATOR), stage.dids[ANALYST]
    review = str(regulator.open_review(holder=holder)["review"])
    paper = hashlib.sha256(b"a licence, made up for this demonstration").hexdigest()
    for check in ("real-name", "licence"):
        regulator.check_review(review, check, "passed", [paper], "a made-up paper")
    regulator.conclude_review(review)
    claims = {"name": "Analyst Ltd", "licence": "demonstration", "authority": "Regulator"}
    made = regulator.issue_credential(LICENCE, review, claims)
    stage.settle()
    found = stage.at(LENDER).verify_credential(json.dumps(made["credential"]))
    stage.report.check(bool(found["valid"]), f"the lender's node accepts the analyst's {LICENCE}")
    told = {**made["credential"], "validUntil": "2099-01-01T00:00:00Z"}
    stage.report.check(
        not stage.at(LENDER).verify_credential(json.dumps(told))["valid"],
        "the lender's node refuses it with another date",
    )
    stage.report.say(8, "demo.credential", type=LICENCE)


def _grey_list(stage: Stage) -> None:
    """A list is examined, suggested for, confirmed with one override, and found by what it is."""
    path = stage.data_directory(LENDER) / "grey-list.csv"
    numbers = "".join(f"139{secrets.randbelow(10**8):08d},callback\n" for _ in range(300))
    path.write_text("phone,reason\n" + numbers, encoding="utf-8")
    source = {
        "kind": "list",
        "location": str(path),
        "options": {"colour": "grey", "identifier": "phone", "attributes": ["reason"]},
    }
    drafted = stage.at(LENDER).draft("grey-list", source)
    found = {str(one["name"]): one for one in drafted["suggestions"]}
    stage.report.check(
        found["phone"]["reasons"][0]["content"] == "phone", "telephone numbers are recognised as such"
    )
    body = {
        "title": "Numbers to call back",
        "columns": [{"name": "phone", "sensitivity": "secret"}],
        "terms": asset("grey-list", "", {}, {"phone": "identifier"}, operations=["psi/ecdh"])["terms"],
    }
    stage.at(LENDER).confirm(f"{LENDER}/grey-list", body)
    stage.settle()
    listed = json.dumps(stage.at(ANALYST).catalog("call", kind="list"))
    stage.report.check(f"{LENDER}/grey-list" in listed, "the catalog finds the list by its kind")
    stage.report.say(8, "demo.list", grade=str(found["phone"]["sensitivity"]))


def _two_forms_of_catalog(stage: Stage) -> None:
    """A synthetic twin to develop against; the same catalog over the Dataspace Protocol."""
    made = stage.at(LENDER).make_twin(LOANS, rows=500)
    stage.settle()
    twin = stage.at(ANALYST).twin(LOANS)
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(twin))
    stage.report.check(table.schema.names == LOAN_COLUMNS, "the twin has the columns of the data")
    ours = {dataset.spoken_form(dataset.identity_number(person)) for person in stage.data.split.lender}
    stage.report.check(
        ours.isdisjoint(table["customer_id"].to_pylist()), "no identity number of the twin is a person's"
    )
    offered = json.dumps(stage.at(ANALYST).member_catalog(LENDER))
    stage.report.check(LOANS in offered, "the lender's catalog over the Dataspace Protocol names the asset")
    stage.report.say(8, "demo.twin", asset=LOANS, rows=table.num_rows, digest=str(made["digest"])[:16])


def _noise(stage: Stage) -> None:
    """A counter-offer; jobs approved by people who see their card; noise, and the budget it is spent of."""
    analyst = stage.at(ANALYST)
    clauses = {
        "credentials": [LICENCE],
        "approval": "per-job",
        "epsilon_micro": EPSILON,
        "delta_exponent": 6,
    }
    agreed = {}
    for name, owner, columns in ((LOANS, LENDER, LOAN_COLUMNS), (INCOME, BUREAU, INCOME_COLUMNS)):
        asked = analyst.request_agreement(wanted(name, columns, uses=9, clauses=clauses))
        stage.settle()
        number = stage.at(owner).counter(asked["negotiation"], {"uses": 2}, as_owner=True)["round"]
        stage.settle()
        analyst.accept(asked["negotiation"], int(number))
        stage.settle()
        agreed[name] = _granted(stage, owner, str(asked["negotiation"]))
    exact = question(stage, agreed, "income_band", "The same, exactly")
    _would_refuse(stage, exact, "an exact answer where the agreement limits epsilon")
    spec = question(stage, agreed, "income_band", "Default rate by income band, with noise", privacy=NOISE)
    job = str(analyst.submit(spec)["job"])
    for owner in (LENDER, BUREAU):
        request = request_about(stage.at(owner), "job", job)
        stage.report.check(
            request["card"]["purpose"] == PURPOSE, f"{owner}'s people see the purpose on the card"
        )
        stage.at(owner).approve_request(request["request"], "as agreed", role="steward")
    done = analyst.wait_job(job)
    result, _ = analyst.result(job)
    stage.settle()
    spent = {str(line["id"]): line for line in analyst.budgets()}
    used = max(int(spent[str(row["agreement"])]["epsilon_micro"]) for row in agreed.values())
    stage.report.check(0 < used <= NOISE["epsilon_micro"], "the ledger counts what was spent of epsilon")
    stage.report.check("noise" in result, "the answer says how much noise it has")
    stage.jobs.append(job)
    stage.report.receipts += [{"job": job, **receipt} for receipt in done["receipts"]]
    stage.report.say(8, "demo.noise", spent=used / 1e6, limit=EPSILON / 1e6, uses=2)


def _would_refuse(stage: Stage, spec: Mapping[str, Any], what: str) -> None:
    would = stage.at(ANALYST).simulate(spec=spec)
    stage.report.check(would["verdict"] == "refused", f"the simulator refuses {what}")


def _granted(stage: Stage, owner: str, negotiation: str) -> Mapping[str, Any]:
    given = stage.at(owner).approve(negotiation, "a narrower use than was asked for")
    stage.settle()
    rows = {str(row["agreement"]): row for row in stage.at(owner).agreements()}
    return rows[str(given["agreement"])]


def _delivery(stage: Stage) -> None:
    """A marked table for the regulator's eyes; a found copy of it tells where it came from."""
    regulator, lender = stage.at(REGULATOR), stage.at(LENDER)
    body = asset(
        "panel",
        "Loans, for the supervisor",
        {"kind": "table", "location": stage.data.lender_url, "table": dataset.TABLE},
        {"customer_id": "identifier", "bill_amount": "measure"},
        operations=["psi/ecdh", "delivery/marked-table"],
        output_types=["cardinality", "table/rows"],
    )
    for column in body["columns"]:
        column["controls"] = {stage.dids[REGULATOR]: "PLAINTEXT"}
    lender.publish(body)
    stage.settle()
    asked = regulator.request_agreement(
        wanted(
            PANEL,
            list(DELIVERED),
            operations=["delivery/marked-table"],
            output_types=["table/rows"],
        )
    )
    stage.settle()
    agreement = _granted(stage, LENDER, str(asked["negotiation"]))
    spec = delivery_spec(
        job=new_id("job", lambda: datetime.now(UTC)),
        title="Loans, for the supervisor",
        purpose=PURPOSE,
        receiver=stage.dids[REGULATOR],
        agreement=agreement,
        columns=DELIVERED,
        name="loans",
        kind="parquet",
        marks=marked("customer_id", ["bill_amount"], 20),
    )
    job = str(regulator.submit(spec)["job"])
    regulator.wait_job(job)
    path = stage.data_directory(LENDER) / "found.parquet"
    opened = regulator.open_delivery(job, path)
    (trace,) = lender.trace_copy(PANEL, str(path))
    stage.report.check(
        bool(trace["is_source"]) and trace["recipient"] == stage.dids[REGULATOR],
        "the mark in the delivered table names its receiver",
    )
    stage.report.say(8, "demo.delivered", size=opened["size"], chance=trace["chance"])


def _consent(stage: Stage) -> None:
    """Rows that need consent: refused without, used with, refused again once it is withdrawn."""
    lender, people = stage.at(LENDER), sorted(stage.data.split.both)[:SUBJECTS]
    asked = stage.at(ANALYST).request_agreement(
        wanted(
            PANEL,
            ["customer_id"],
            operations=["psi/ecdh"],
            output_types=["cardinality"],
        )
    )
    stage.settle()
    panel = _granted(stage, LENDER, str(asked["negotiation"]))
    asked = stage.at(ANALYST).request_agreement(
        wanted(INCOME, ["person_id"], operations=["psi/ecdh"], output_types=["cardinality"])
    )
    stage.settle()
    income = _granted(stage, BUREAU, str(asked["negotiation"]))
    lender.require_consent(PANEL, "customer_id", "personal data")
    stage.settle()
    net, wallets = str(lender.node()["net"]), [Wallet.new() for _ in people]
    keys = [wallet.known_to(stage.dids[LENDER])[1] for wallet in wallets]
    stage.report.check("consent.none" in _codes(stage, panel, income), "without consent nothing is computed")
    given = []
    for key in keys:
        given.append(new_id("consent", lambda: datetime.now(UTC)))
        signed = consents.give(
            key,
            net=net,
            consent=given[-1],
            controller=stage.dids[LENDER],
            asset=PANEL,
            purpose=PURPOSE,
            expires=(datetime.now(UTC) + timedelta(days=30)).replace(microsecond=0),
        )
        stage.at(BUREAU).give_consent(signed)
    lender.bind_subjects(
        [
            consents.identify(
                key,
                net=net,
                asset=PANEL,
                identifier=dataset.spoken_form(dataset.identity_number(person)),
            )
            for key, person in zip(keys, people, strict=True)
        ]
    )
    stage.settle()
    job = str(stage.at(ANALYST).submit(_match(stage, panel, income))["job"])
    stage.at(ANALYST).wait_job(job)
    matched = int(stage.at(ANALYST).result(job)[0]["matched"])
    stage.report.check(matched == SUBJECTS, f"{SUBJECTS} people consented, {matched} were found")
    for key, consent in zip(keys, given, strict=True):
        stage.at(REGULATOR).withdraw_consent(consents.withdraw(key, net=net, consent=consent))
    stage.settle()
    stage.report.check("consent.none" in _codes(stage, panel, income), "consent withdrawn is consent gone")
    stage.report.say(8, "demo.consent", people=SUBJECTS)


def _match(stage: Stage, panel: Mapping[str, Any], income: Mapping[str, Any]) -> dict[str, Any]:
    rules = ("upper", "remove-spaces")
    left, right = (
        Side(stage.dids[owner], str(row["agreement"]), Identifier(Reference(name, column), rules))
        for owner, row, name, column in (
            (LENDER, panel, PANEL, "customer_id"),
            (BUREAU, income, INCOME, "person_id"),
        )
    )
    return matching_spec(
        job=new_id("job", lambda: datetime.now(UTC)),
        title="People who consented",
        purpose=PURPOSE,
        reader=stage.dids[ANALYST],
        left=left,
        right=right,
        minimum_matches=MIN_COHORT,
    )


def _codes(stage: Stage, panel: Mapping[str, Any], income: Mapping[str, Any]) -> tuple[str, ...]:
    job = str(stage.at(ANALYST).submit(_match(stage, panel, income))["job"])
    try:
        stage.at(ANALYST).wait_job(job)
    except JobRefused as refusal:
        return tuple(refusal.codes)
    return ()


def _eligibility(stage: Stage) -> None:
    """A person proves to be of an age to the bureau, from what the regulator signed; no age is told."""
    regulator, bureau = stage.at(REGULATOR), stage.at(BUREAU)
    made = regulator.define_attributes("person", "1", ["age"])
    stage.settle()
    definition = predicates.Definition.of(made)
    link, age = predicates.new_link_secret(), 65 + secrets.randbelow(30)
    offered = regulator.offer_attributes(str(made["definition"]))
    request, kept = predicates.request_credential(definition, offered["offered"], link)
    issued = regulator.issue_attributes(offered["offer"], request, {"age": age}, in_days(365))
    credential = predicates.store(definition, issued["credential"], kept, link)
    outcomes = []
    for least in (65, 100):
        asked = bureau.ask_eligibility(
            ELDERLY_CARE,
            [{"definition": made["definition"], "attribute": "age", "operator": ">=", "value": least}],
        )
        try:
            presentation = predicates.prove(asked["request"], [credential], link)
        except CredentialInvalid:
            presentation = None
        outcomes.append(bureau.conclude_eligibility(asked["eligibility"], presentation)["outcome"])
    stage.settle()
    stage.report.check(outcomes == ["pass", "fail"], f"one proof passes, one cannot be made; got {outcomes}")
    stage.report.say(8, "demo.eligible", least=65)


def _revocation(stage: Stage) -> None:
    """An owner takes its agreement back: nothing new runs under it, and what used the data is listed."""
    row = stage.agreements[LOANS]
    stage.at(LENDER).revoke(str(row["agreement"]), "the study is over")
    stage.settle()
    spec = question(stage, stage.agreements, "age_band", "After the revocation")
    _would_refuse(stage, spec, "a job under a revoked agreement")
    found = json.dumps(stage.at(REGULATOR).lineage(LOANS))
    missing = [job for job in stage.jobs if job not in found]
    stage.report.check(
        not missing, f"the lineage of {LOANS} lists every job that used it; missing: {missing}"
    )
    receipt = stage.at(ANALYST).receipt_credential(stage.jobs[0])
    checked = stage.at(BUREAU).verify_credential(json.dumps(receipt["credential"]))
    stage.report.check(bool(checked["valid"]), "the receipt of a job verifies as a credential")
    stage.report.say(8, "demo.revoked", asset=LOANS, jobs=len(stage.jobs))
