"""Step 8, continued: two services outside the consortium, an agency's API and an employer's sign-in.

The bureau publishes a register that it reads from the agency's API with a key. The lender's steward signs in
at the employer's OpenID provider and lets the analyst ask how many of the lender's clients are in it. Both
services are made up for the demonstration and listen on loopback over TLS.
"""

from __future__ import annotations

import re
import secrets
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from connectors.testing_api import Answer, Asked, JsonApi
from exchange.demo import dataset
from exchange.demo.identity_provider import Employee, IdentityProvider
from exchange.demo.stage import ANALYST, BUREAU, LENDER, LOANS, Stage
from exchange.demo.terms import MIN_COHORT, PURPOSE, RULES, asset, wanted
from exchange.sdk import Identifier, Profile, Reference, Side, matching_spec
from exchange.tls import client_context
from ledger.entries import new_id

__all__ = ["Outside", "reach_out"]

REGISTER: Final = f"{BUREAU}/register"
STEWARD: Final = Employee("lin@lender.example", "employee-4711", ("credit-heads",))
_PEOPLE: Final = 500
_PAGE: Final = 200


class Outside:
    """The two services, served until ``close``; ``settings`` let nodes use them."""

    def __init__(self) -> None:
        self._key = secrets.token_urlsafe(24)
        self._register: list[dict[str, str]] = []
        self._stack = ExitStack()
        self.api = self._stack.enter_context(JsonApi(self._answer))
        self.provider = self._stack.enter_context(IdentityProvider(STEWARD))

    def close(self) -> None:
        """Stop both."""
        self._stack.close()

    def fill(self, people: list[str]) -> None:
        """Put people into the register."""
        self._register = [{"person": one} for one in people]

    def source(self) -> dict[str, Any]:
        """How the bureau reads the register."""
        options = {
            "columns": [{"name": "person_id", "type": "text", "field": "person"}],
            "records": "/people",
            "paging": {"style": "cursor", "parameter": "after", "next": "/next"},
            "auth": {"scheme": "bearer", "token": self._key},
            "ca": self.api.ca,
        }
        return {"kind": "api", "location": f"{self.api.url}/people", "options": options}

    def _answer(self, asked: Asked) -> Answer:
        if not secrets.compare_digest(asked.headers.get("Authorization", ""), f"Bearer {self._key}"):
            return Answer({"error": "who asks?"}, 401)
        start = int(asked.query.get("after", "0"))
        following = start + _PAGE if start + _PAGE < len(self._register) else None
        return Answer({"people": self._register[start : start + _PAGE], "next": following})


def reach_out(stage: Stage) -> None:
    """Publish from the API; sign in by the provider and approve; ask, and compare."""
    known = stage.data.split.bureau[:_PEOPLE]
    stage.outside.fill([dataset.identity_number(person) for person in known])
    bureau, analyst = stage.at(BUREAU), stage.at(ANALYST)
    columns = {"person_id": "identifier"}
    made = bureau.publish(
        asset("register", "People in the agency's register", stage.outside.source(), columns)
    )
    stage.report.check(int(made["rows"]) == len(known), "the API's pages were all read")
    stage.settle()
    sides = []
    for owner, name, column in ((LENDER, LOANS, "customer_id"), (BUREAU, REGISTER, "person_id")):
        asked = wanted(name, [column], operations=["psi/ecdh"], output_types=["cardinality"])
        negotiation = str(analyst.request_agreement(asked)["negotiation"])
        stage.settle()
        if owner == LENDER:
            agreement = _approve_as_employee(stage, negotiation)
        else:
            agreement = str(bureau.approve(negotiation, "counted, not listed")["agreement"])
        stage.settle()
        sides.append(Side(stage.dids[owner], agreement, Identifier(Reference(name, column), RULES)))
    spec = matching_spec(
        job=new_id("job", lambda: datetime.now(UTC)),
        title="Clients in the agency's register",
        purpose=PURPOSE,
        reader=stage.dids[ANALYST],
        left=sides[0],
        right=sides[1],
        minimum_matches=MIN_COHORT,
    )
    job = str(analyst.submit(spec)["job"])
    analyst.wait_job(job)
    matched = int(analyst.result(job)[0]["matched"])
    expected = len(set(known) & set(stage.data.split.lender))
    stage.report.check(matched == expected, f"{matched} clients are in the register, of {expected}")
    stage.report.say(8, "demo.outside", matched=matched, rows=len(known), person="lin")


def _approve_as_employee(stage: Stage, negotiation: str) -> str:
    """Sign in by the provider, with a browser's means, and approve; return the agreement."""
    administrator = stage.at(LENDER)
    administrator.add_person("lin", ["steward"])
    administrator.link("lin", STEWARD.subject)
    profile = Profile.load(stage.here.home, LENDER)
    provider = stage.outside.provider
    provider.redirect = f"{profile.url}/sign-in/provider/callback"
    with (
        httpx.Client(
            base_url=profile.url, verify=client_context(None, None, profile.certificate), trust_env=False
        ) as node,
        httpx.Client(
            base_url=provider.issuer,
            verify=client_context(None, None, provider.certificate),
            trust_env=False,
        ) as login,
    ):
        form = login.get(node.get("/sign-in/provider").headers["Location"])
        hidden = dict(re.findall(r'name="(\w+)" value="([^"]+)"', form.text))
        back = login.post("/login", data={**hidden, "name": STEWARD.name, "password": STEWARD.password})
        node.get(back.headers["Location"])
        me = node.get("/v1/people/me").json()
        stage.report.check(me.get("name") == "lin", "the employer's provider let the steward in")
        [csrf] = set(re.findall(r'name="csrf" value="([^"]+)"', node.get("/account").text))
        answer = node.post(
            f"/v1/negotiations/{negotiation}/approve",
            json={"reason": "a count and no names"},
            headers={"X-CSRF-Token": csrf},
        )
    approved = answer.json()
    stage.report.require("agreement" in approved, "the steward approved by a session of the provider's")
    return str(approved["agreement"])
