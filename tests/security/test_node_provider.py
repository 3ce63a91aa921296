"""Signing in by an OpenID provider that runs as a process of its own over HTTPS, honest and hostile."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest

from exchange.config import ConfigError, node_settings
from exchange.local.processes import free_ports
from exchange.node.people.building import PeopleServices, build
from exchange.node.people.id_token import ProviderRefused
from exchange.node.people.sign_in import SignInRefused
from exchange.sdk import NodeClient, NodeProblem
from exchange.testing import ConsortiumInProcess
from exchange.tls import client_context, self_signed, to_pem
from ledger.testing.chromium import chromium
from ledger.times import system_clock

COOKIE = "__Host-parley-lender"
SECRET = "a secret: of 30% + more"
PASSWORD = "three herons over the lake"
ADA = {"sub": "ada-at-provider", "groups": ["risk", "audit"], "amr": ["pwd"]}


class Clock:
    """The system's clock, moved ahead by hand."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return system_clock() + self.ahead


CLOCK = Clock()


@dataclass
class Stage:
    """A provider's process, a consortium, and how to tell the provider what to be."""

    running: ConsortiumInProcess
    issuer: str
    certificate: bytes
    process: subprocess.Popen[str]

    def be(self, person: dict[str, Any] | None = None, lie: str = "", **more: Any) -> dict[str, int]:
        told = {"lie": lie, **more} | ({} if person is None else {"person": person})
        with httpx.Client(verify=client_context(None, None, self.certificate), trust_env=False) as http:
            return dict(http.post(f"{self.issuer}/test/be", json=told).json())

    def record(self) -> list[dict[str, Any]]:
        with NodeClient(self.running.profiles["lender"]) as node:
            return list(node.people_record())


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("provider")
    key, certificate = self_signed("idp.test", hosts=("127.0.0.1",), now=system_clock())
    for name, data in (("key.pem", key), ("cert.der", certificate), ("ca.pem", to_pem(certificate))):
        (root / name).write_bytes(data)
    secret = root / "secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    [port] = free_ports(1)
    environ = {
        "PARLEY_PASSWORD_MEMORY_KIB": "19456",
        "PARLEY_PASSWORD_PASSES": "2",
        "PARLEY_OIDC_ISSUER": f"https://127.0.0.1:{port}",
        "PARLEY_OIDC_CLIENT_ID": "parley:lender",
        "PARLEY_SIGNIN_FREE_FAILURES": "20",
        "PARLEY_OIDC_CLIENT_SECRET": str(secret),
        "PARLEY_OIDC_CA": str(root / "ca.pem"),
        "PARLEY_OIDC_GROUP_ROLES": "risk=analyst,audit=auditor,heads=steward",
        "PARLEY_OIDC_SECOND_FACTOR": "amr=mfa,acr=phr",
    }
    made = ConsortiumInProcess(
        root / "consortium",
        ("lender", "regulator"),
        environ=environ,
        options={"lender": {"clock": CLOCK}},
    )
    (root / "consortium").mkdir()
    with made:
        redirect = f"{made.profiles['lender'].url}/sign-in/provider/callback"
        program = [sys.executable, "-P", str(Path(__file__).with_name("openid_provider.py"))]
        process = subprocess.Popen(
            [
                *program,
                str(root / "key.pem"),
                str(root / "cert.der"),
                str(port),
                "parley:lender",
                SECRET,
                redirect,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        with NodeClient(made.profiles["lender"]) as node:
            node.add_person("ada", ["analyst", "auditor", "approver"], display_name="Ada")
            node.link("ada", "ada-at-provider")
        try:
            yield Stage(made, f"https://127.0.0.1:{port}", certificate, process)
        finally:
            process.stdin.close()
            process.wait(20)
            process.stdout.close()


class Visitor:
    """A browser without a screen that goes to the provider and back."""

    def __init__(self, stage: Stage) -> None:
        self.stage, profile = stage, stage.running.profiles["lender"]
        self.node = httpx.Client(
            base_url=profile.url, verify=client_context(None, None, profile.certificate), trust_env=False
        )

    def depart(self) -> str:
        """Set out; returns the address at the provider."""
        answer = self.node.get("/sign-in/provider")
        assert answer.status_code == 303, answer.text
        return answer.headers["Location"]

    def consent(self, place: str) -> str:
        """Sign in at the provider; returns the address of the callback."""
        with httpx.Client(verify=client_context(None, None, self.stage.certificate), trust_env=False) as http:
            answer = http.get(place)
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    def sign_in(self) -> httpx.Response:
        return self.node.get(self.consent(self.depart()))

    @property
    def is_in(self) -> bool:
        return COOKIE in self.node.cookies

    def csrf(self, page: str) -> str:
        return str(re.findall(r'name="csrf" value="([^"]+)"', page)[0])


@pytest.fixture
def visitor(stage: Stage) -> Iterator[Visitor]:
    stage.be(ADA)
    CLOCK.ahead = timedelta(0)
    with NodeClient(stage.running.profiles["lender"]) as node:
        node.reset_codes("ada")
    made = Visitor(stage)
    with made.node:
        yield made


def test_somebody_with_a_second_factor_is_in(stage: Stage, visitor: Visitor) -> None:
    stage.be(ADA | {"amr": ["pwd", "mfa"]})
    answer = visitor.sign_in()
    assert (answer.status_code, visitor.is_in) == (200, True)
    assert 'http-equiv="refresh" content="0; url=/account?' in answer.text
    me = visitor.node.get("/v1/people/me").json()
    assert (me["name"], me["state"]) == ("ada", "active")
    assert "<td>analyst, auditor</td>" in visitor.node.get("/account").text  # approver is in no group


def test_the_way_to_the_provider_says_all_that_it_must(visitor: Visitor) -> None:
    asked = dict(httpx.URL(visitor.depart()).params)
    assert (asked["response_type"], asked["client_id"], asked["acr_values"]) == (
        "code",
        "parley:lender",
        "phr",
    )
    assert asked["code_challenge_method"] == "S256"
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    again = dict(httpx.URL(visitor.depart()).params)
    assert {again["state"], again["nonce"]}.isdisjoint({asked["state"], asked["nonce"]})


@pytest.mark.parametrize(
    "lie",
    [
        *("nonce", "no-nonce", "issuer", "audience", "no-aud", "audiences", "party", "lone-party"),
        *("expired", "no-exp", "text-time", "old", "future", "no-iat", "no-sub"),
        *("none", "hs256", "shared-key-published", "stranger", "unknown-key", "altered", "no-token"),
        *("state", "mix-up", "no-iss", "denied", "huge"),
    ],
)
def test_a_lie_lets_nobody_in(stage: Stage, visitor: Visitor, lie: str) -> None:
    stage.be(ADA | {"amr": ["mfa"]}, lie)
    before = len(stage.record())
    answer = visitor.sign_in()
    assert (answer.status_code, visitor.is_in) == (401, False)
    assert "was not accepted" in answer.text
    [act] = stage.record()[before:]
    assert (act["act"], act["subject"], act["facts"]["what"]) == ("signin.fail", "unknown", "provider")
    assert "ada-at-provider" not in str(act)


def test_several_audiences_are_fine_when_this_node_is_the_authorized_party(
    stage: Stage, visitor: Visitor
) -> None:
    stage.be(ADA | {"amr": ["mfa"]}, "good-party")
    visitor.sign_in()
    assert visitor.is_in


def test_a_provider_that_is_down_is_told_as_such(stage: Stage, visitor: Visitor) -> None:
    stage.be(ADA, "down")
    answer = visitor.sign_in()
    assert (answer.status_code, "does not answer" in answer.text) == (503, True)


def test_an_answer_counts_once(stage: Stage, visitor: Visitor) -> None:
    stage.be(ADA | {"amr": ["mfa"]})
    back = visitor.consent(visitor.depart())
    flow = visitor.node.cookies[f"{COOKIE}-provider"]
    assert visitor.node.get(back).status_code == 200
    visitor.node.cookies.clear()
    visitor.node.cookies.set(f"{COOKIE}-provider", flow, domain="127.0.0.1", path="/")
    requests = stage.be(ADA)["token_requests"]
    assert visitor.node.get(back).status_code == 401
    assert stage.be(ADA)["token_requests"] == requests  # the code is not even shown to the provider again
    assert not visitor.is_in


def test_a_code_that_was_used_is_refused_by_the_provider(stage: Stage, visitor: Visitor) -> None:
    stage.be(ADA | {"amr": ["mfa"]})
    first = httpx.URL(visitor.consent(visitor.depart()))
    visitor.node.get(first)
    visitor.node.cookies.clear()
    second = httpx.URL(visitor.consent(visitor.depart()))
    assert visitor.node.get(second.copy_set_param("code", first.params["code"])).status_code == 401


def test_an_answer_that_this_browser_did_not_ask_for_is_refused(stage: Stage, visitor: Visitor) -> None:
    stage.be(ADA | {"amr": ["mfa"]})
    back = visitor.consent(visitor.depart())
    victim = Visitor(stage)
    with victim.node:
        assert victim.node.get(back).status_code == 401  # none begun
        victim.depart()
        assert victim.node.get(back).status_code == 401  # another begun
        victim.node.cookies.set(f"{COOKIE}-provider", "A" * 200, domain="127.0.0.1", path="/")
        assert victim.node.get(back).status_code == 401  # one made up
        assert not victim.is_in


def test_a_sign_in_that_took_too_long_is_refused(stage: Stage, visitor: Visitor) -> None:
    back = visitor.consent(visitor.depart())
    CLOCK.ahead = timedelta(minutes=10)
    assert visitor.node.get(back).status_code == 401


def test_a_new_key_of_the_provider_is_read_when_a_token_names_it(stage: Stage, visitor: Visitor) -> None:
    stage.be(ADA | {"amr": ["mfa"]})
    visitor.sign_in()
    before = stage.be(ADA | {"amr": ["mfa"]}, rotate=True)["key_reads"]
    CLOCK.ahead = timedelta(seconds=40)
    visitor.node.cookies.clear()
    visitor.sign_in()
    assert visitor.is_in
    reads = stage.be(ADA | {"amr": ["mfa"]})["key_reads"]
    assert reads == before + 1
    visitor.node.cookies.clear()
    visitor.sign_in()
    assert stage.be(ADA)["key_reads"] == reads  # known keys are not read again
    stage.be(ADA | {"amr": ["mfa"]}, "unknown-key")
    for _ in range(3):
        visitor.sign_in()
    assert stage.be(ADA)["key_reads"] <= reads + 1  # nor can unknown ones make this node ask again and again


def test_without_a_second_factor_the_nodes_own_code_is_asked_for(stage: Stage, visitor: Visitor) -> None:
    answer = visitor.sign_in()
    assert "url=/account?" in answer.text
    page = visitor.node.get("/account").text
    assert visitor.node.get("/v1/members").status_code == 403
    own = {"Origin": stage.running.profiles["lender"].url}
    enrolling = visitor.node.post("/account/codes", data={"csrf": visitor.csrf(page)}, headers=own)
    [secret] = re.findall(r"secret=([A-Z2-7]+)", enrolling.text)
    code = pyotp.TOTP(secret).at(CLOCK())
    form = {"csrf": visitor.csrf(page), "code": code}
    assert "<li><code>" in visitor.node.post("/account/codes/confirmation", data=form, headers=own).text
    assert visitor.node.get("/v1/members").status_code == 200

    CLOCK.ahead = timedelta(minutes=1)
    visitor.node.cookies.clear()
    assert "url=/sign-in/code?" in visitor.sign_in().text
    assert visitor.node.get("/account").headers["Location"].startswith("/sign-in/code")
    assert visitor.node.get("/v1/members").status_code == 403
    page = visitor.node.get("/sign-in/code").text
    csrf = visitor.csrf(page)
    for place in ("/account/codes", "/account/password"):
        form = {"csrf": csrf, "password": "", "present": "x", "chosen": PASSWORD, "again": PASSWORD}
        form = {
            name: value for name, value in form.items() if place.endswith("password") != (name == "password")
        }
        assert visitor.node.post(place, data=form, headers=own).status_code in (403, 422)
    wrong = visitor.node.post("/sign-in/code", data={"csrf": csrf, "code": code}, headers=own)
    assert wrong.status_code == 401
    right = {"csrf": csrf, "code": pyotp.TOTP(secret).at(CLOCK())}
    before = visitor.node.cookies[COOKIE]
    assert visitor.node.post("/sign-in/code", data=right, headers=own).status_code == 303
    assert visitor.node.cookies[COOKIE] != before
    assert visitor.node.get("/v1/members").status_code == 200


@pytest.mark.parametrize(
    "person",
    [
        ADA | {"sub": "stranger", "amr": ["mfa"]},
        ADA | {"groups": [], "amr": ["mfa"]},
        ADA | {"groups": ["heads"], "amr": ["mfa"]},
        ADA | {"groups": "risk", "amr": ["mfa"]},
        ADA | {"sub": "", "amr": ["mfa"]},
        ADA | {"sub": "x" * 256, "amr": ["mfa"]},
    ],
)
def test_only_people_with_an_account_and_a_role_by_their_groups_are_let_in(
    stage: Stage, visitor: Visitor, person: dict[str, Any]
) -> None:
    stage.be(person)
    answer = visitor.sign_in()
    assert (answer.status_code, visitor.is_in) == (401, False)


def test_disabling_and_unlinking_shut_somebody_out(stage: Stage, visitor: Visitor) -> None:
    stage.be(ADA | {"amr": ["mfa"]})
    with NodeClient(stage.running.profiles["lender"]) as node:
        visitor.sign_in()
        node.set_account_state("ada", "disabled")
        assert visitor.node.get("/v1/people/me").status_code == 401
        assert visitor.sign_in().status_code == 401
        node.set_account_state("ada", "active")
        node.link("ada", "")
        assert visitor.sign_in().status_code == 401
        node.add_person("bob", ["analyst"])
        node.link("ada", "ada-at-provider")
        with pytest.raises(NodeProblem, match="another account has"):
            node.link("bob", "ada-at-provider")
        with pytest.raises(NodeProblem, match="not administrator"):
            node.link("administrator", "mine")
        visitor.sign_in()
        assert visitor.is_in


def test_signing_out_leads_to_the_providers_own_sign_out(stage: Stage, visitor: Visitor) -> None:
    answer = visitor.node.get("/sign-in/provider/end")
    place = httpx.URL(answer.headers["Location"])
    assert (str(place).split("?")[0], place.params["client_id"]) == (f"{stage.issuer}/end", "parley:lender")
    assert place.params["post_logout_redirect_uri"] == f"{stage.running.profiles['lender'].url}/sign-in"


def own_desk(stage: Stage, **changes: str) -> PeopleServices:
    """The services of the lender's node under other settings, over its own store."""
    directory = stage.running.root / "lender"
    environ = {**stage.running.environ, **changes}
    return build(
        node_settings(directory, environ),
        stage.running.nodes["lender"].services.store.people,
        bytes(32),
        CLOCK,
    )


@pytest.mark.parametrize("lie", ["metadata-issuer", "plain-http", "weak", "no-pkce"])
def test_a_provider_that_is_not_the_one_or_not_strong_enough_is_not_gone_to(
    stage: Stage, visitor: Visitor, lie: str
) -> None:
    stage.be(ADA, lie)
    provider = own_desk(stage).provider
    assert provider is not None
    with pytest.raises(ProviderRefused, match=r"^expected"):
        provider.provider.begin()


def test_somebody_new_gets_an_account_only_if_the_node_is_set_so(stage: Stage, visitor: Visitor) -> None:
    provider = own_desk(stage, PARLEY_OIDC_CREATE_ACCOUNTS="true").provider
    assert provider is not None
    made = []
    for person in (
        {"sub": "cleo-there", "preferred_username": "Cleo", "name": "Cleo K", "groups": ["risk"]},
        {"sub": "other-there", "preferred_username": "cleo", "groups": ["audit", "unknown"]},
        {"sub": "third-there", "preferred_username": "../root", "groups": ["heads"]},
    ):
        stage.be(person)
        place, cookie = provider.provider.begin()
        answer = dict(httpx.URL(visitor.consent(place)).params)
        made.append(provider.finish(answer, cookie, "192.0.2.1").account)
    assert [one.roles for one in made] == [("analyst",), ("auditor",), ("steward",)]
    assert (made[0].name, made[0].display_name, made[0].created_by) == ("cleo", "Cleo K", "identity provider")
    assert all(re.fullmatch(r"person-[0-9a-f]{16}", one.name) for one in made[1:])
    stage.be({"sub": "fourth", "groups": []})
    place, cookie = provider.provider.begin()
    with pytest.raises(SignInRefused):
        provider.finish(dict(httpx.URL(visitor.consent(place)).params), cookie, "192.0.2.1")


@pytest.mark.parametrize("verified", [True, False, None, "true"])
def test_an_address_that_the_provider_did_not_verify_is_no_identity(
    stage: Stage, visitor: Visitor, verified: object
) -> None:
    provider = own_desk(stage, PARLEY_OIDC_ACCOUNT_CLAIM="email").provider
    assert provider is not None
    provider.link("ada", "ada@example.org", "root")
    stage.be(ADA | {"email": "ada@example.org", "email_verified": verified})
    place, cookie = provider.provider.begin()
    answer = dict(httpx.URL(visitor.consent(place)).params)
    try:
        if verified is True:
            assert provider.finish(answer, cookie, "192.0.2.1").account.name == "ada"
        else:
            with pytest.raises(ProviderRefused, match="verified"):
                provider.finish(answer, cookie, "192.0.2.1")
    finally:
        provider.link("ada", "ada-at-provider", "root")


@pytest.mark.browser
def test_a_browser_goes_to_the_provider_and_comes_back_signed_in(
    stage: Stage, visitor: Visitor, tmp_path: Path
) -> None:
    stage.be(ADA | {"amr": ["mfa"]})
    url = stage.running.profiles["lender"].url
    with chromium(tmp_path) as browser:
        page = browser.open("about:blank")
        page.call("Security.enable")
        page.call("Security.setIgnoreCertificateErrors", ignore=True)
        page.call("Page.navigate", url=f"{url}/sign-in?lang=zh")
        page.wait("!!document.getElementById('provider')")
        page.run("document.getElementById('provider').click()")
        page.wait("location.pathname === '/account' && document.body?.innerText.includes('Ada')")
        assert any(one.startswith(f"{stage.issuer}/authorize") for one in page.requests)
        assert [one for one in page.complaints if "Content Security Policy" in one] == []


@pytest.mark.parametrize("fault", ["readable", "empty", "missing", "authority", "alone"])
def test_settings_that_cannot_be_used_stop_the_node(stage: Stage, tmp_path: Path, fault: str) -> None:
    secret = tmp_path / "secret"
    if fault != "missing":
        secret.write_text("" if fault == "empty" else SECRET)
        secret.chmod(0o644 if fault == "readable" else 0o600)
    environ = {
        "PARLEY_OIDC_ISSUER": stage.issuer,
        "PARLEY_OIDC_CLIENT_ID": "x",
        "PARLEY_OIDC_CLIENT_SECRET": str(secret),
        "PARLEY_OIDC_CA": str(secret if fault == "authority" else stage.running.root.parent / "ca.pem"),
    }
    if fault == "alone":
        del environ["PARLEY_OIDC_CLIENT_ID"]
    store = stage.running.nodes["lender"].services.store.people
    with pytest.raises(ConfigError, match="oidc_c") as caught:
        build(node_settings(stage.running.root / "lender", environ), store, bytes(32))
    assert SECRET not in str(caught.value)
