"""Step 8, continued: people repeat, hold back, pause, and stand in for each other.

A stream of the lender's visitors is matched with the bureau's people, once by hand and once by a standing
permission; then its owner wants to look at each output, is away, and lets a colleague decide.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
from pyotp import TOTP

from connectors import segments
from exchange.demo import dataset
from exchange.demo.stage import ANALYST, BUREAU, INCOME, LENDER, Stage
from exchange.demo.terms import MIN_COHORT, PURPOSE, RULES, asset, in_days, wanted
from exchange.errors import TimedOut
from exchange.sdk import Identifier, NodeClient, Reference, Side, matching_spec
from ledger.entries import new_id

__all__ = ["oversee", "request_about", "secret_of"]

VISITS = f"{LENDER}/visits"
_POLL_S = 0.1
_WAIT_S = 60.0


def oversee(stage: Stage) -> None:
    """Publish a stream, repeat a question by permission, review an output while the job is paused."""
    agreed = _agreements(stage)
    _repeated(stage, agreed)
    _reviewed(stage, agreed)


def _agreements(stage: Stage) -> dict[str, str]:
    folder = stage.data_directory(LENDER) / "visits"
    folder.mkdir(mode=0o700)
    people = [dataset.spoken_form(dataset.identity_number(one)) for one in sorted(stage.data.split.lender)]
    half = len(people) // 2
    for part in (people[:half], people[half:]):
        segments.append(folder, pa.table({"visitor": part}))
    source = {"kind": "stream", "location": str(folder)}
    columns = {"visitor": "identifier"}
    stage.at(LENDER).publish(
        asset("visits", "Visitors, as they came", source, columns, operations=["psi/ecdh"])
    )
    stage.settle()
    agreed = {}
    for owner, name, column, clauses in (
        (LENDER, VISITS, "visitor", {"approval": "per-job"}),
        (BUREAU, INCOME, "person_id", {}),
    ):
        asked = wanted(
            name, [column], operations=["psi/ecdh"], output_types=["cardinality"], uses=9, clauses=clauses
        )
        negotiation = str(stage.at(ANALYST).request_agreement(asked)["negotiation"])
        stage.settle()
        agreed[name] = str(stage.at(owner).approve(negotiation, "how many come back")["agreement"])
        stage.settle()
    return agreed


def _ask(stage: Stage, agreed: Mapping[str, str]) -> str:
    left, right = (
        Side(stage.dids[owner], agreed[name], Identifier(Reference(name, column), RULES))
        for owner, name, column in ((LENDER, VISITS, "visitor"), (BUREAU, INCOME, "person_id"))
    )
    spec = matching_spec(
        job=new_id("job", lambda: datetime.now(UTC)),
        title="Visitors whom the bureau knows",
        purpose=PURPOSE,
        reader=stage.dids[ANALYST],
        left=left,
        right=right,
        minimum_matches=MIN_COHORT,
    )
    return str(stage.at(ANALYST).submit(spec)["job"])


def _repeated(stage: Stage, agreed: Mapping[str, str]) -> None:
    """The owner approves a job and its repetitions at once; the second runs without anybody."""
    lender, analyst = stage.at(LENDER), stage.at(ANALYST)
    first = _ask(stage, agreed)
    request_about(lender, "job", first)
    permission = lender.propose_permission(first, times=2)
    lender.approve_request(permission["request"], "the same every month")
    for job in (first, _ask(stage, agreed)):
        analyst.wait_job(job)
        matched = int(analyst.result(job)[0]["matched"])
        expected = len(stage.data.split.both)
        stage.report.check(matched == expected, f"{matched} visitors are known to the bureau, of {expected}")
    (shown,) = (one for one in lender.permissions() if one["permission"] == permission["permission"])
    stage.report.check(int(shown["uses"]) == 2, "both jobs ran by one standing permission")
    stage.report.say(8, "demo.permission", uses=shown["uses"])


def _reviewed(stage: Stage, agreed: Mapping[str, str]) -> None:
    """An output waits for a person, the job is paused meanwhile, and a colleague lets the output go."""
    lender, analyst = stage.at(LENDER), stage.at(ANALYST)
    lender.set_output_rules(VISITS, {"review": True})
    job = _ask(stage, agreed)
    request = request_about(lender, "job", job)
    lender.approve_request(request["request"], "once more", role="steward")
    with _person(stage, "mei") as mei, _person(stage, "bo") as bo:
        waiting = request_about(mei, "release", f"{job}/match", role="approver")
        analyst.suspend_job(job, "a question to the lender first")
        stage.settle()
        stage.report.check(
            "to resume it" in str(analyst.job(job)["waiting_for"]),
            "the job says that it is paused, and by whom",
        )
        analyst.resume_job(job)
        mei.delegate("bo", "approver", in_days(2))
        bo.approve_request(waiting["request"], "a count and no rows", role="approver", behalf="mei")
    analyst.wait_job(job)
    stage.settle()
    (entry,) = (
        one for one in stage.at(ANALYST).entries(job=job, type_="job.release") if one["name"] == LENDER
    )
    stage.report.check(
        entry["body"]["review"]["reviewer"] == "bo", "the ledger has who let the output go, in whose place"
    )
    stage.report.say(8, "demo.reviewed", reviewer="bo", absent="mei")


@contextmanager
def _person(stage: Stage, name: str) -> Iterator[NodeClient]:
    """A new approver at the lender, signed in with both factors."""
    password = secrets.token_urlsafe(16)
    invitation = str(stage.at(LENDER).add_person(name, ["approver"])["invitation"])
    with stage.here.client(LENDER) as client:
        client.accept_invitation(name, invitation, password)
        client.sign_in(name, password)
        client.confirm_codes(TOTP(secret_of(client.begin_codes(password))).now())
        yield client


def secret_of(address: str) -> str:
    """The secret in the ``otpauth`` address that an authenticator scans."""
    return parse_qs(urlsplit(address).query)["secret"][0]


def request_about(node: NodeClient, kind: str, subject: str, *, role: str = "steward") -> Mapping[str, Any]:
    """Wait for the request for approval of a kind about a subject.

    Raises:
        TimedOut: there is none in a minute.
    """

    def found() -> Mapping[str, Any] | None:
        listed = node.approvals(kind=kind, role=role)
        return next((one for one in listed if one["subject"] == subject), None)

    return _until(found, f"a request about {subject}")


def _until(found: Callable[[], Mapping[str, Any] | None], what: str) -> Mapping[str, Any]:
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        one = found()
        if one is not None:
            return one
        time.sleep(_POLL_S)
    raise TimedOut(f"expected {what}, found none")
