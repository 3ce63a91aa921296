"""Steps 1 to 7: form the consortium, publish, agree, compute, read the record, and be refused.

Each function is one step of the account. It acts as a person at some organisation would, through that
organisation's own node, and states in the report what it claims and whether it held.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from exchange.demo import dataset, plaintext
from exchange.demo.stage import ANALYST, BUREAU, INCOME, LENDER, LOANS, REGULATOR, Stage
from exchange.errors import JobRefused
from exchange.local import Consortium
from exchange.sdk import Identifier, Measure, Reference, Side, statistics_spec
from ledger.entries import new_id

__all__ = ["agree", "answer", "deal", "form", "publish", "read_record", "refuse"]

PURPOSE = "dpv:CustomerSolvencyMonitoring"
OTHER_PURPOSE = "dpv:DirectMarketing"
OPERATIONS = ["psi/ecdh", "stats/group-sums"]
OUTPUT_TYPES = ["aggregate", "cardinality"]
USES = 3
MIN_COHORT = 10
RULES = ("upper", "remove-spaces")
LOAN_COLUMNS = ["customer_id", "default_next_month", "bill_amount", "payment_amount"]
INCOME_COLUMNS = ["person_id", "income_band", "age_band", "education"]
MEASURES = ("default_next_month", "bill_amount")
DECIMALS = {"default_next_month": 0, "bill_amount": 2, "payment_amount": 0}
CONTROLS = {"identifier": "AFTER_JOIN", "measure": "AFTER_AGGREGATE", "group": "AFTER_GROUP_BY"}


def form(stage: Stage) -> None:
    """Step 1: a hub and three founders' nodes as separate processes; the analyst is admitted by vote."""
    orgs = (LENDER, BUREAU, REGULATOR)
    for org in (LENDER, BUREAU):
        stage.data_directory(org).mkdir(mode=0o700, parents=True)
    made = Consortium.up(
        stage.work / "consortium",
        orgs,
        join=(ANALYST,),
        data={org: [stage.data_directory(org)] for org in (LENDER, BUREAU)},
        steps=lambda key, done, total: stage.watch.part(done, total, key),
    )
    stage.consortium = made
    stage.dids = {str(row["name"]): str(row["did"]) for row in stage.at(REGULATOR).members()}
    stage.report.ledger["genesis"] = made.genesis
    stage.report.say(1, "demo.formed", founders=", ".join(orgs), joined=ANALYST, genesis=made.genesis[:16])
    stage.report.say(1, "demo.processes", count=len(made.processes))


def deal(stage: Stage) -> None:
    """Step 2: real data, split between two owners with different spellings of identity numbers."""
    parts = dataset.write_parts(
        dataset.locate(), stage.data_directory(LENDER), stage.data_directory(BUREAU), rows=stage.rows
    )
    stage.parts = parts
    stage.report.say(
        2,
        "demo.dealt",
        people=stage.rows,
        lender=len(parts.split.lender),
        bureau=len(parts.split.bureau),
        both=len(parts.split.both),
        share=round(100 * len(parts.split.both) / stage.rows),
    )
    example = dataset.identity_number(min(parts.split.both))
    stage.report.say(2, "demo.spelling", lender=dataset.spoken_form(example), bureau=example)


def publish(stage: Stage) -> None:
    """Step 3: each owner publishes its table from its own node."""
    loans = _asset(
        "loans",
        "Credit card loans",
        {"kind": "sql", "location": stage.data.lender_url, "table": "loans"},
        {"customer_id": "identifier"} | dict.fromkeys(LOAN_COLUMNS[1:], "measure"),
    )
    income = _asset(
        "income",
        "Income, age and education",
        {"kind": "file", "location": str(stage.data.bureau_file), "table": None},
        {"person_id": "identifier"} | dict.fromkeys(INCOME_COLUMNS[1:], "group"),
    )
    for number, (org, body) in enumerate(((LENDER, loans), (BUREAU, income))):
        stage.watch.part(number, 2, str(body["name"]))
        made = stage.at(org).publish(body)
        stage.report.say(
            3, "demo.published", asset=made["asset"], rows=made["rows"], root=str(made["root"])[:16]
        )
    stage.settle()
    for asset in (LOANS, INCOME):
        record = stage.at(ANALYST).dataset(asset)
        stage.report.require(asset in str(record), f"the catalog shows {asset}")


def _asset(name: str, title: str, source: Mapping[str, Any], roles: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "description": "default of credit card clients (UCI 350)",
        "keywords": ["credit", "demonstration"],
        "source": dict(source),
        "columns": [
            {
                "name": column,
                "role": role,
                "sensitivity": "confidential" if role == "identifier" else "internal",
                "control": CONTROLS[role],
            }
            for column, role in roles.items()
        ],
        "terms": {
            "purposes": [PURPOSE],
            "operations": OPERATIONS,
            "columns": list(roles),
            "uses": 10,
            "expires": _in_days(365),
            "min_cohort": MIN_COHORT,
            "output_types": OUTPUT_TYPES,
        },
    }


def _in_days(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def agree(stage: Stage) -> None:
    """Step 4: the analyst finds both assets and asks; each owner's steward approves at the owner's node."""
    found = str(stage.at(ANALYST).catalog("credit"))
    stage.report.require(
        LOANS in found and INCOME in found, "a catalog search for 'credit' finds both assets"
    )
    for asset, owner, columns in ((LOANS, LENDER, LOAN_COLUMNS), (INCOME, BUREAU, INCOME_COLUMNS)):
        asked = stage.at(ANALYST).request_agreement(
            {
                "asset": asset,
                "purpose": PURPOSE,
                "operations": OPERATIONS,
                "columns": columns,
                "uses": USES,
                "expires": _in_days(30),
                "min_cohort": MIN_COHORT,
            }
        )
        stage.settle()
        given = stage.at(owner).approve(str(asked["negotiation"]), "asked for the joint solvency study")
        stage.report.say(4, "demo.agreed", owner=owner, asset=asset, agreement=given["agreement"], uses=USES)
    stage.settle()
    for row in stage.at(ANALYST).agreements():
        stage.agreements[str(row["asset"])] = row
    final = {row["asset"] for row in stage.agreements.values() if row["status"] == "final"}
    stage.report.require(final == {LOANS, INCOME}, "both agreements are final on the ledger")
    stage.report.agreements = [
        {name: row[name] for name in ("agreement", "asset", "provider", "consumer", "limits")}
        for row in stage.agreements.values()
    ]


def answer(stage: Stage) -> None:
    """Step 5: the joint question, and another under the same agreements, both compared with plaintext."""
    document, files = _ask(stage, "income_band", "Default rate and bill by income band")
    stage.report.result = document
    stage.report.matched = int(document["matched"])
    stage.report.expected_plaintext = stage.report.questions[-1]["expected_plaintext"]
    if stage.out is not None:
        for name, content in files.items():
            (stage.out / Path(name).name).write_bytes(content)
            stage.report.files[name] = str(stage.out / Path(name).name)
    stage.report.check(
        {"table.csv", "plot.png", "plot.svg"} <= set(files), "the result has a table and a plot"
    )
    _ask(stage, "age_band", "Default rate and bill by age")
    stage.report.check(
        stage.report.matched == len(stage.data.split.both),
        f"{len(stage.data.split.both)} people match, the computation found {stage.report.matched}",
    )
    stage.report.say(5, "demo.answered", matched=stage.report.matched, error=stage.report.max_error)


def _ask(stage: Stage, group: str, title: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Submit one question, wait, fetch the answer and compare it with plaintext."""
    job = _submit(stage, group, title, PURPOSE)
    done = stage.at(ANALYST).wait_job(job, lambda seen: _follow(stage, seen))
    document, files = stage.at(ANALYST).result(job)
    wanted = plaintext.expected(
        stage.data.source, stage.data.split.both, measures=MEASURES, group=group, min_cohort=MIN_COHORT
    )
    error = plaintext.largest_error(document, wanted)
    stage.report.max_error = max(stage.report.max_error, error)
    stage.report.check(error == 0, f"the joint answer by {group} equals plaintext; largest error: {error}")
    stage.report.questions.append(
        {
            "job": job,
            "title": title,
            "group": group,
            "result": document,
            "expected_plaintext": wanted,
            "max_error": str(error),
        }
    )
    stage.jobs.append(job)
    stage.report.receipts += [{"job": job, **receipt} for receipt in done["receipts"]]
    return document, files


def _follow(stage: Stage, seen: Mapping[str, Any]) -> None:
    for progress in seen.get("progress") or []:
        if int(progress["done"]) < int(progress["total"]):
            stage.watch.part(int(progress["done"]), int(progress["total"]), str(progress["step"]))
            return


def _submit(stage: Stage, group: str, title: str, purpose: str) -> str:
    sides = [
        Side(
            stage.dids[owner],
            str(stage.agreements[asset]["agreement"]),
            Identifier(Reference(asset, column), RULES),
        )
        for owner, asset, column in ((LENDER, LOANS, "customer_id"), (BUREAU, INCOME, "person_id"))
    ]
    spec = statistics_spec(
        job=new_id("job", lambda: datetime.now(UTC)),
        title=title,
        purpose=purpose,
        reader=stage.dids[ANALYST],
        sides=sides,
        measures=[Measure(Reference(LOANS, name), DECIMALS[name]) for name in MEASURES],
        group=Reference(INCOME, group),
        min_cohort=MIN_COHORT,
    )
    return str(stage.at(ANALYST).submit(spec)["job"])


def read_record(stage: Stage) -> None:
    """Step 6: every party has signed a receipt per step, and all members hold the same record."""
    stage.settle()
    for job in stage.jobs:
        types = [str(row["type"]) for row in stage.at(REGULATOR).entries(job=job)]
        steps = stage.at(ANALYST).job(job)["steps"]
        parts = sum(len(step["parties"]) for step in steps)
        stage.report.check(
            types.count("receipt.step") == parts,
            f"job {job} has {parts} receipts, the regulator's copy holds {types.count('receipt.step')}",
        )
        for needed in ("job.submit", "job.start", "job.release", "job.complete"):
            stage.report.check(needed in types, f"the regulator's copy holds {needed} of job {job}")
    standing = {org: stage.at(org).ledger_status() for org in stage.here.members}
    stage.report.ledger["members"] = standing
    described = stage.at(REGULATOR).node()
    stage.report.ledger |= {"size": described["size"], "final_size": described["final_size"]}
    diverged = sorted(org for org in standing if stage.at(org).node()["divergence"])
    stage.report.check(not diverged, f"no member's copy differs from the hub's log; differing: {diverged}")
    stage.report.say(
        6,
        "demo.recorded",
        entries=described["final_size"],
        members=described["members"],
        receipts=len(stage.report.receipts),
    )


def refuse(stage: Stage) -> None:
    """Step 7: another purpose is refused; a third use is granted; a fourth is refused."""
    _refused(stage, "purpose", OTHER_PURPOSE)
    _ask(stage, "education", "Default rate and bill by education")
    _refused(stage, "uses", PURPOSE)


def _refused(stage: Stage, clause: str, purpose: str) -> None:
    job = _submit(stage, "income_band", f"A question beyond the agreement: {clause}", purpose)
    try:
        stage.at(ANALYST).wait_job(job, lambda seen: _follow(stage, seen))
    except JobRefused as refusal:
        reasons, codes = refusal.reasons, refusal.codes
    else:
        stage.report.check(False, f"a job beyond the agreement's {clause} is refused; it ran")
        return
    stage.settle()
    recorded = [row for row in stage.at(REGULATOR).entries(job=job) if row["type"] == "job.refuse"]
    stage.report.check(bool(recorded), f"the refusal of {job} is on the regulator's copy of the ledger")
    decisions = [
        {
            "by": row["name"],
            "code": row["body"]["code"],
            "reasons": row["body"]["reasons"],
            "entry": row["txid"],
        }
        for row in recorded
    ]
    stage.refused.append(job)
    stage.report.refusals.append(
        {
            "job": job,
            "clause": clause,
            "purpose": purpose,
            "codes": sorted(set(codes)),
            "reasons": list(dict.fromkeys(reasons)),
            "decisions": decisions,
        }
    )
    by = ", ".join(sorted({str(decision["by"]) for decision in decisions}))
    stage.report.say(7, f"demo.refused.{clause}", by=by, reason=reasons[0])
