"""Steps 1 to 7: form the consortium, publish, agree, compute, read the record, and be refused.

Each function is one step of the account. It acts as a person at some organisation would, through that
organisation's own node, and states in the report what it claims and whether it held.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exchange.demo import dataset, plaintext
from exchange.demo.outside import Outside
from exchange.demo.stage import ANALYST, BUREAU, INCOME, LENDER, LOANS, REGULATOR, Stage
from exchange.demo.terms import (
    INCOME_COLUMNS,
    LOAN_COLUMNS,
    MEASURES,
    MIN_COHORT,
    PURPOSE,
    USES,
    question,
    wanted,
)
from exchange.demo.terms import asset as described
from exchange.errors import JobRefused
from exchange.local import Consortium

__all__ = ["agree", "answer", "deal", "form", "publish", "read_record", "refuse"]

OTHER_PURPOSE = "dpv:DirectMarketing"


def form(stage: Stage) -> None:
    """Step 1: a hub and three founders' nodes as separate processes; the analyst is admitted by vote."""
    orgs = (LENDER, BUREAU, REGULATOR)
    for org in (LENDER, BUREAU):
        stage.data_directory(org).mkdir(mode=0o700, parents=True)
    stage.services = outside = Outside()
    stage.open.callback(outside.close)
    made = Consortium.up(
        stage.work / "consortium",
        orgs,
        join=(ANALYST,),
        settings={
            LENDER: outside.provider.settings(stage.data_directory(LENDER)),
            BUREAU: {"api_hosts": [outside.api.place]},
        },
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
        dataset.locate(),
        stage.data_directory(LENDER),
        stage.data_directory(BUREAU),
        rows=stage.rows,
        database_url=stage.database_url,
    )
    if stage.database_url is not None:
        stage.open.callback(dataset.drop_lender, stage.database_url)
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
    loans = described(
        "loans",
        "Credit card loans",
        {"kind": "table", "location": stage.data.lender_url, "table": dataset.TABLE},
        {"customer_id": "identifier"} | dict.fromkeys(LOAN_COLUMNS[1:], "measure"),
    )
    income = described(
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
    # Three questions about the same people: without this, a small group would be what two answers differ by.
    stage.at(BUREAU).set_output_rules(INCOME, {"complementary": True})
    stage.settle()
    for asset in (LOANS, INCOME):
        record = stage.at(ANALYST).dataset(asset)
        stage.report.require(asset in str(record), f"the catalog shows {asset}")


def agree(stage: Stage) -> None:
    """Step 4: the analyst finds both assets and asks; each owner's steward approves at the owner's node."""
    found = str(stage.at(ANALYST).catalog("credit"))
    stage.report.require(
        LOANS in found and INCOME in found, "a catalog search for 'credit' finds both assets"
    )
    for asset, owner, columns in ((LOANS, LENDER, LOAN_COLUMNS), (INCOME, BUREAU, INCOME_COLUMNS)):
        asked = stage.at(ANALYST).request_agreement(wanted(asset, columns, uses=USES))
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
    spec = question(stage, stage.agreements, group, title, purpose=purpose)
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
