"""Reviews and credentials over real nodes: reviewed, issued, seen by voters, verified, suspended, revoked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from exchange.cli.application import main
from exchange.credentials import data_integrity, documents, model
from exchange.credentials.holdings import holds, is_reviewed
from exchange.credentials.resolution import Resolver
from exchange.credentials.status import StatusEntry
from exchange.credentials.subjects import Membership
from exchange.errors import JobRefused
from exchange.hub.api.dids import dids_blueprint as hub_dids
from exchange.identity import NodeKeys
from exchange.node.api.dids import dids_blueprint as node_dids
from exchange.node.api.people_routes import people_blueprints
from exchange.sdk import NodeProblem
from ledger import bundle
from ledger.times import system_clock

pytestmark = pytest.mark.xdist_group("exchange-credentials")

DIGEST = "ab" * 32


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]) -> Iterator[Any]:
    """A running consortium with published tables."""
    asked = make_question(tmp_path_factory.mktemp("credentials"))
    with asked.running:
        asked.publish()
        yield asked


def reviewed(question: Any, subject: str, *checks: str) -> str:
    """A review by the regulator that passed."""
    node = question.client("regulator")
    about = {"holder": subject} if subject.startswith("did:") else {"asset": subject}
    review: str = node.open_review(**about)["review"]
    for check in checks:
        node.check_review(review, check, "passed", [DIGEST], "seen")
    node.conclude_review(review)
    return review


@pytest.fixture(scope="module")
def membership(question: Any) -> dict[str, Any]:
    """The lender's membership credential and its review."""
    review = reviewed(question, question.running.did("lender"), "real-name", "licence")
    claims = {"name": "Lender Ltd", "role": "participant"}
    made = question.client("regulator").issue_credential("MembershipCredential", review, claims)
    document: dict[str, Any] = made["credential"]
    return {"review": review, "document": document}


def final(question: Any, name: str) -> Any:
    return question.running.nodes[name].services.ledger.state


def awaited(found: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not found() and time.monotonic() < deadline:
        time.sleep(0.05)
    return found()


def verified(question: Any, document: object, name: str = "bureau", lists: tuple[str, ...] = ()) -> Any:
    return question.client(name).verify_credential(json.dumps(document), lists)


def test_a_credential_is_verified_by_another_members_node(question: Any, membership: dict[str, Any]) -> None:
    did = question.running.did("lender")
    assert awaited(lambda: holds(final(question, "bureau"), did, "MembershipCredential", system_clock()))
    found = verified(question, membership["document"])
    assert found["valid"] is True
    assert found["on_ledger"] is True
    assert found["subject"]["name"] == "Lender Ltd"
    altered = {**membership["document"], "validUntil": "2099-01-01T00:00:00Z"}
    assert verified(question, altered)["reason"] == "altered"


def test_the_ledger_shows_the_checks_and_not_what_was_seen(question: Any, membership: dict[str, Any]) -> None:
    entries = list(question.client("bureau").entries(type_="review.member"))
    text = json.dumps(entries)
    assert "real-name" in text
    assert DIGEST not in text
    assert "seen" not in text
    kept = question.client("regulator").review_record(membership["review"])
    assert kept["checks"][0]["evidence"]["note"] == "seen"
    assert kept["checks"][0]["commitment"] in text
    assert "Lender Ltd" not in json.dumps(list(question.client("bureau").entries(type_="credential.issue")))


def test_who_checked_does_not_conclude_and_a_review_needs_its_checks(question: Any) -> None:
    node = question.client("regulator")
    review = node.open_review(holder=question.running.did("bureau"))["review"]
    with pytest.raises(NodeProblem) as caught:
        node.conclude_review(review)
    assert caught.value.face.status == 409
    node._object(
        "POST",
        f"/v1/reviews/{review}/checks",
        role="approver",
        json={"check": "real-name", "outcome": "failed", "documents": [DIGEST]},
    )
    with pytest.raises(NodeProblem) as caught:
        node.conclude_review(review)
    assert caught.value.face.status == 403
    with pytest.raises(NodeProblem):
        node.open_review(holder=question.running.did("regulator"))
    with pytest.raises(NodeProblem):
        node.open_review(asset="regulator/list")


def test_a_failed_review_yields_no_credential(question: Any) -> None:
    node = question.client("regulator")
    review = node.open_review(holder=question.running.did("bureau"))["review"]
    node.check_review(review, "licence", "failed", [DIGEST])
    assert node.conclude_review(review)["outcome"] == "failed"
    with pytest.raises(NodeProblem):
        node.issue_credential("AuditorCredential", review, {"name": "B", "scope": "all"})
    with pytest.raises(NodeProblem) as caught:
        node.check_review(review, "licence", "passed", [DIGEST])
    assert caught.value.face.status == 409


def test_voters_see_the_reviews_of_an_applicant(question: Any, tmp_path: Path) -> None:
    keys = NodeKeys.generate("newcomer", "test.parley", "127.0.0.1")
    enrolment = keys.enrolment(keys.member_record("participant", "Newcomer", "127.0.0.1:9999"))
    review = reviewed(question, keys.did, "real-name", "licence")
    made = question.client("lender").propose([{"action": "member.add", "enrolment": enrolment}])
    shown = next(row for row in question.client("lender").proposals() if row["proposal"] == made["proposal"])
    assert [one["review"] for one in shown["reviews"][keys.did]] == [review]
    question.client("lender").withdraw_proposal(made["proposal"])


def test_a_data_source_is_reviewed_and_the_review_can_be_taken_back(question: Any) -> None:
    review = reviewed(question, "bureau/people", "source", "lawful-basis")
    made = question.client("regulator").issue_credential(
        "DataSourceReviewCredential", review, {"basis": "statute"}
    )
    assert made["credential"]["credentialSubject"]["owner"] == question.running.did("bureau")
    assert awaited(lambda: is_reviewed(final(question, "lender"), "bureau/people", system_clock()))
    question.client("regulator").withdraw_review(review, "the papers were forged")
    assert awaited(lambda: not is_reviewed(final(question, "lender"), "bureau/people", system_clock()))


def test_claims_that_the_type_does_not_have_are_refused(question: Any, membership: dict[str, Any]) -> None:
    node = question.client("regulator")
    for claims in ({"name": "x"}, {"name": "x", "role": "y", "more": "z"}, {"id": "did:key:z", "name": "x"}):
        with pytest.raises(NodeProblem) as caught:
            node.issue_credential("MembershipCredential", membership["review"], claims)
        assert caught.value.face.status == 422


def test_suspended_resumed_revoked(question: Any, membership: dict[str, Any]) -> None:
    review = reviewed(question, question.running.did("analyst"), "real-name", "licence")
    node = question.client("regulator")
    claims = {"name": "Analyst Ltd", "licence": "credit", "authority": "Supervisor"}
    document = node.issue_credential("RegulatedInstitutionCredential", review, claims)["credential"]
    holder, kind = question.running.did("analyst"), "RegulatedInstitutionCredential"
    assert awaited(lambda: holds(final(question, "lender"), holder, kind, system_clock()))
    with pytest.raises(NodeProblem):
        question.client("lender").change_credential(document["id"], "revoke", "not ours")
    node.change_credential(document["id"], "suspend", "inquiry")
    assert awaited(lambda: not holds(final(question, "lender"), holder, kind, system_clock()))
    assert verified(question, document, "lender")["reason"] == "suspended"
    node.change_credential(document["id"], "resume", "cleared")
    assert awaited(lambda: verified(question, document, "lender")["valid"])
    node.change_credential(document["id"], "revoke", "licence withdrawn")
    assert awaited(lambda: verified(question, document, "lender").get("reason") == "revoked")
    listed = documents.read(json.dumps(node.status_list("revocation")))
    assert data_integrity.verify(
        listed, lambda *_: question.running.nodes["regulator"].keys.tx.public, now=system_clock()
    )


def test_a_credential_off_the_ledger_is_held_to_its_issuers_status_list(question: Any) -> None:
    services = question.running.nodes["regulator"].services
    now = system_clock()
    base = f"https://{services.settings.api_bind}/v1/status-lists"

    def made(address: str, place: int) -> dict[str, Any]:
        subject = Membership("did:key:z6MkElsewhere", services.genesis, "Elsewhere", "participant")
        entries = (StatusEntry("revocation", place, address),)
        draft = model.draft(
            f"urn:x:{place}",
            "MembershipCredential",
            services.keys.did,
            subject,
            now,
            now + timedelta(days=1),
            entries,
        )
        return data_integrity.secure(draft, services.keys.tx, services.keys.kid, now)

    taken = {int(row["place"]) for row in final(question, "regulator").rows("credentials").values()}
    free = next(place for place in range(1000) if place not in taken)
    assert verified(question, made(f"{base}/revocation", free))["valid"] is True
    # the address of another member's node: its certificate is not the issuer's
    elsewhere = question.running.nodes["lender"].services.settings.api_bind
    found = verified(question, made(f"https://{elsewhere}/v1/status-lists/revocation", free))
    assert found["reason"] == "status-unknown"


def test_a_receipt_of_a_job_is_verified_offline_against_a_bundle(
    question: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    analyst = question.client("analyst")
    job = analyst.submit(question.spec(question.agree()))["job"]
    with pytest.raises(NodeProblem):
        analyst.receipt_credential("job-" + "0" * 26)
    analyst.wait_job(job, timeout_s=60)
    made = analyst.receipt_credential(job)
    document = made["credential"]
    assert analyst.receipt_credential(job)["credential"] == document
    subject = document["credentialSubject"]
    assert {step["step"] for step in subject["steps"]} == {"match", "sums", "report"}
    assert {item["asset"] for item in subject["inputs"]} == {"lender/loans", "bureau/people"}
    assert awaited(lambda: verified(question, document, "regulator").get("on_ledger", False))
    evidence = question.client("regulator").export_bundle(jobs=[job], entries=[made["txid"]])
    genesis = analyst.node()["genesis"]
    (tmp_path / "receipt.json").write_text(json.dumps(document), "utf-8")
    (tmp_path / "evidence.zip").write_bytes(evidence)
    command = ["credential", "verify", str(tmp_path / "receipt.json"), "--bundle"]
    offline = [*command, str(tmp_path / "evidence.zip"), "--genesis", genesis, "--format", "json"]
    assert main(offline) == 0
    assert json.loads(capsys.readouterr().out)["data"]["pinned"] is True
    forged = {**document, "credentialSubject": {**subject, "result": "00" * 32}}
    (tmp_path / "receipt.json").write_text(json.dumps(forged), "utf-8")
    assert main(offline) == 1
    capsys.readouterr()


def test_a_receipt_that_says_something_else_than_the_ledger_is_refused(question: Any) -> None:
    """The submitter itself signs a receipt with another result."""
    services = question.running.nodes["analyst"].services
    job = next(row for row in final(question, "analyst").rows("jobs").values() if row["state"] == "COMPLETED")
    known = question.client("analyst").receipt_credential(job["job"])["credential"]
    draft = {name: value for name, value in known.items() if name != "proof"}
    draft |= {
        "id": "urn:parley:credential:other",
        "credentialSubject": {**known["credentialSubject"], "result": "00" * 32},
    }
    forged = data_integrity.secure(draft, services.keys.tx, services.keys.kid, system_clock())
    assert verified(question, forged)["reason"] == "differs-from-ledger"


def test_dids_are_shown_and_a_node_without_a_public_name_has_no_did_web(question: Any) -> None:
    did = question.running.did("lender")
    document = question.client("bureau").did_document(did)
    assert document["id"] == did
    assert document["assertionMethod"] == [f"{did}#tx-1"]
    with pytest.raises(NodeProblem):
        question.client("bureau").did_document("did:web:attacker.example")
    with pytest.raises(NodeProblem) as caught:
        question.client("bureau")._object("GET", "/.well-known/did.json")
    assert caught.value.face.status == 404


def test_with_a_public_name_node_and_hub_serve_a_did_web(question: Any) -> None:
    node, hub = question.running.nodes["lender"].services, question.running.hub.services
    app = Flask("dids")
    public = replace(node.settings, public_url="https://lender.example:7001")
    app.register_blueprint(node_dids(replace(node, settings=public), people_blueprints(node)[0]))
    document = app.test_client().get("/.well-known/did.json").get_json()
    assert document["id"] == "did:web:lender.example%3A7001"
    assert document["alsoKnownAs"] == [node.keys.did]
    app = Flask("hub-dids")
    public_hub = replace(hub.settings, public_url="https://hub.example:443")
    app.register_blueprint(hub_dids(replace(hub, settings=public_hub)))
    document = app.test_client().get("/members/bureau/did.json").get_json()
    assert document["id"] == "did:web:hub.example:members:bureau"
    state = final(question, "lender")
    assert Resolver(state, fetch=lambda _: json.dumps(document).encode())(
        "did:web:hub.example:members:bureau#tx-1", "assertionMethod"
    ) == (question.running.nodes["bureau"].keys.tx.public)


def test_an_agreement_that_asks_for_a_credential_follows_it(question: Any) -> None:
    """The asking party is refused before it holds a licence, and again once that is suspended."""
    analyst, node, kind = question.client("analyst"), question.client("regulator"), "AuditorCredential"
    columns = ["customer_id", "arrears", "balance"]
    asked = analyst.request_agreement(
        question.request("lender/loans", columns, uses=9, clauses={"credentials": [kind]})
    )
    agreements = question.agree(uses=9)
    agreements["lender/loans"] = question.client("lender").approve(asked["negotiation"], "x")["agreement"]

    def refused() -> bool:
        job = analyst.submit(question.spec(agreements))["job"]
        try:
            analyst.wait_job(job, timeout_s=60)
        except JobRefused as error:
            return "policy.recipientCredential" in error.codes
        return False

    assert refused()
    review = reviewed(question, question.running.did("analyst"), "real-name", "licence")
    document = node.issue_credential(kind, review, {"name": "Analyst Ltd", "scope": "credit"})["credential"]
    holder = question.running.did("analyst")
    for name in ("lender", "analyst"):
        assert awaited(lambda name=name: holds(final(question, name), holder, kind, system_clock()))
    assert not refused()
    node.change_credential(document["id"], "suspend", "inquiry")
    assert awaited(lambda: not holds(final(question, "lender"), holder, kind, system_clock()))
    assert refused()


def test_the_whole_log_with_all_of_this_is_replayed_offline(question: Any) -> None:
    auditor = question.client("regulator")
    data = auditor.export_bundle(everything=True, participants=["regulator"])
    report = bundle.verify(data, auditor.node()["genesis"], replayed=True)
    assert report.replayed
    shown = {"review.member", "review.asset", "review.withdraw", "credential.issue", "credential.revoke"}
    assert shown <= set(report.entries)
