"""Attacks on the sessions of a node's people, over its real HTTPS interface."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pyotp
import pytest

from exchange.sdk import NodeClient
from exchange.testing import ConsortiumInProcess
from exchange.tls import client_context
from ledger.times import system_clock

PASSWORD = "three herons over the lake"
COOKIE = "__Host-parley-lender"


class Clock:
    """The system's clock, moved ahead by hand."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return system_clock() + self.ahead


CLOCK = Clock()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    environ = {
        "PARLEY_PASSWORD_MEMORY_KIB": "19456",
        "PARLEY_PASSWORD_PASSES": "2",
        "PARLEY_TOTP_REQUIRED": "false",
    }
    made = ConsortiumInProcess(
        tmp_path_factory.mktemp("attacks"),
        ("lender", "regulator"),
        environ=environ,
        options={"lender": {"clock": CLOCK}},
    )
    with made:
        with NodeClient(made.profiles["lender"]) as node:
            for name in ("ada", "eve"):
                invitation = node.add_person(name, ["analyst", "administrator"])["invitation"]
                node.accept_invitation(name, invitation, PASSWORD)
        yield made


class Browser:
    """A browser without a screen: keeps cookies, follows no redirection by itself."""

    def __init__(self, running: ConsortiumInProcess, **headers: str) -> None:
        profile = running.profiles["lender"]
        self.origin = profile.url
        self.http = httpx.Client(
            base_url=profile.url,
            verify=client_context(None, None, profile.certificate),
            trust_env=False,
            headers={"Origin": profile.url, "Sec-Fetch-Site": "same-origin"} | headers,
        )

    def get(self, place: str) -> httpx.Response:
        return self.http.get(place)

    def csrf(self, place: str = "/account") -> str:
        [first, *_] = re.findall(r'name="csrf" value="([^"]+)"', self.get(place).text)
        return str(first)

    def post(self, place: str, csrf: str | None = None, **fields: Any) -> httpx.Response:
        headers = fields.pop("headers", {})
        data = {"csrf": self.csrf() if csrf is None else csrf, **fields}
        return self.http.post(place, data=data, headers=headers)

    def sign_in(self, name: str = "ada", password: str = PASSWORD, **more: Any) -> httpx.Response:
        return self.post("/sign-in", self.csrf("/sign-in"), name=name, password=password, code="", **more)

    @property
    def session(self) -> str:
        return str(self.http.cookies[COOKIE])


@pytest.fixture
def browser(running: ConsortiumInProcess) -> Iterator[Browser]:
    made = Browser(running)
    with made.http:
        yield made


@pytest.fixture
def other(running: ConsortiumInProcess) -> Iterator[Browser]:
    made = Browser(running)
    with made.http:
        yield made


def test_the_cookie_of_a_session_is_closed_to_scripts_other_sites_and_plain_http(browser: Browser) -> None:
    answer = browser.sign_in()
    assert (answer.status_code, answer.headers["Location"]) == (303, "/account?lang=en")
    [cookie] = [one for one in answer.headers.get_list("Set-Cookie") if one.startswith(f"{COOKIE}=")]
    assert {part.strip() for part in cookie.split(";")[1:]} == {
        "Secure",
        "HttpOnly",
        "Path=/",
        "SameSite=Strict",
    }
    assert "ada" in browser.get("/account").text


def test_pages_forbid_scripts_frames_and_foreign_forms(browser: Browser) -> None:
    browser.sign_in()
    for place in ("/sign-in", "/invitation", "/account"):
        answer = browser.get(place)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "form-action 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src" not in policy
        assert "<script" not in answer.text
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("csrf", ["", "x", "A" * 43])
def test_a_request_without_the_csrf_token_changes_nothing(browser: Browser, csrf: str) -> None:
    browser.sign_in()
    answer = browser.post("/account/sign-out", csrf)
    assert (answer.status_code, answer.json()["code"]) == (403, "request.forbidden")
    assert browser.get("/account").status_code == 200
    body = {"title": "stolen", "roles": ["administrator"], "days": 1}
    answer = browser.http.post("/v1/tokens", json=body, headers={"X-CSRF-Token": csrf})
    assert answer.status_code == 403
    assert browser.http.get("/v1/tokens").json() == {"tokens": []}


def test_the_token_of_another_session_is_not_accepted(browser: Browser, other: Browser) -> None:
    browser.sign_in()
    other.sign_in("eve")
    assert browser.post("/account/sign-out", other.csrf()).status_code == 403
    first = browser.csrf()
    browser.sign_in()
    assert browser.post("/account/sign-out", first).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_request_from_another_site_is_refused_even_with_the_token(
    browser: Browser, headers: dict[str, str]
) -> None:
    browser.sign_in()
    answer = browser.post("/account/sign-out", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "request.forbidden")


def test_the_interface_for_programs_takes_the_token_in_a_header(browser: Browser) -> None:
    browser.sign_in()
    body = {"department": "risk", "title": "Risk"}
    assert browser.http.post("/v1/departments", json=body).status_code == 403
    answer = browser.http.post("/v1/departments", json=body, headers={"X-CSRF-Token": browser.csrf()})
    assert answer.status_code == 201


def test_nobody_is_signed_in_by_another_sites_form(browser: Browser, other: Browser) -> None:
    stolen = other.csrf("/sign-in")
    for csrf in ("", stolen):
        answer = browser.post("/sign-in", csrf, name="eve", password=PASSWORD, code="")
        assert answer.status_code == 403
        assert COOKIE not in browser.http.cookies
    answer = browser.sign_in("eve", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


def test_a_session_that_was_planted_is_not_taken_over(browser: Browser, other: Browser) -> None:
    other.sign_in("eve")
    planted = other.session
    browser.http.cookies.set(COOKIE, planted, domain="127.0.0.1", path="/")
    browser.sign_in("ada")
    assert browser.session != planted
    assert "eve" in other.get("/account").text
    invented = "session-" + "A" * 43
    other.http.cookies.set(COOKIE, invented, domain="127.0.0.1", path="/")
    other.sign_in("ada")
    assert other.session != invented


def test_a_cookie_is_no_bearer_and_a_bearer_is_no_cookie(
    running: ConsortiumInProcess, browser: Browser, other: Browser
) -> None:
    browser.sign_in()
    stolen = {"Authorization": f"Bearer {browser.session}"}
    assert other.http.get("/v1/people/me", headers=stolen).status_code == 401
    with NodeClient(running.profiles["lender"]) as node:
        node.sign_in("ada", PASSWORD)
        other.http.cookies.set(COOKIE, node.profile.session, domain="127.0.0.1", path="/")
    assert other.http.get("/v1/people/me").status_code == 401
    assert other.get("/account").headers["Location"] == "/sign-in?lang=en"


def test_a_session_that_was_signed_out_opens_nothing(browser: Browser, other: Browser) -> None:
    browser.sign_in()
    kept = browser.session
    assert browser.post("/account/sign-out").headers["Location"] == "/sign-in?lang=en"
    assert COOKIE not in browser.http.cookies
    browser.http.cookies.set(COOKIE, kept, domain="127.0.0.1", path="/")
    assert browser.get("/account").status_code == 303
    browser.sign_in()
    other.sign_in()
    browser.post("/account/sign-out-everywhere")
    assert other.get("/account").status_code == 303


def test_what_is_refused_looks_the_same_whoever_it_is(browser: Browser) -> None:
    pages = set()
    for name, password in (("ada", "a quiet harbour in autumn"), ("nobody", PASSWORD), ("steward", PASSWORD)):
        answer = browser.sign_in(name, password)
        pages.add((answer.status_code, answer.text))
    assert len(pages) == 1
    assert next(iter(pages))[0] == 401


def test_the_page_does_what_a_person_needs(browser: Browser, other: Browser) -> None:
    browser.sign_in("eve")
    other.sign_in("eve")
    wrong = browser.post("/account/codes", password="another")
    assert wrong.status_code == 401
    answer = browser.post("/account/codes", password=PASSWORD)
    assert "<svg" in answer.text
    [secret] = re.findall(r"secret=([A-Z2-7]+)", answer.text)
    before = browser.session
    code = pyotp.TOTP(secret).at(CLOCK())
    answer = browser.post("/account/codes/confirmation", code=code)
    assert len(re.findall(r"<li><code>[a-z2-7-]{19}</code></li>", answer.text)) == 10
    assert browser.session != before
    assert other.get("/account").status_code == 303
    assert other.sign_in("eve").status_code == 401
    CLOCK.ahead += timedelta(minutes=1)
    fresh = pyotp.TOTP(secret).at(CLOCK())
    signed = other.post("/sign-in", other.csrf("/sign-in"), name="eve", password=PASSWORD, code=fresh)
    assert signed.status_code == 303

    answer = browser.post("/account/tokens", title="<b>report</b>", roles=["analyst"], days="3")
    [token] = re.findall(r'<code id="secret">([^<]+)</code>', answer.text)
    assert "&lt;b&gt;report&lt;/b&gt;" in answer.text
    shown = {"Authorization": f"Bearer {token}"}
    assert browser.http.get("/v1/people/me", headers=shown).json()["name"] == "eve"
    assert token not in browser.get("/account").text
    [place] = set(re.findall(r'action="(/account/tokens/token-[^"?]+)', answer.text))
    browser.post(place)
    assert browser.http.get("/v1/people/me", headers=shown).status_code == 401

    [place] = set(re.findall(r'action="(/account/sessions/session-[^"?]+)', browser.get("/account").text))
    assert browser.post(place).status_code == 303
    assert other.get("/account").status_code == 303

    chosen = "seven lanterns by the sea"
    differs = browser.post("/account/password", present=PASSWORD, chosen=chosen, again=PASSWORD)
    assert (differs.status_code, "not the same" in differs.text) == (422, True)
    weak = browser.post("/account/password", present=PASSWORD, chosen="password1234", again="password1234")
    assert weak.status_code == 422
    assert "password1234" not in weak.text
    done = browser.post("/account/password", present=PASSWORD, chosen=chosen, again=chosen)
    assert "The password is changed" in done.text
    assert browser.get("/account?lang=zh").text.count("动态口令") > 0


def test_an_invitation_is_taken_up_on_its_page(running: ConsortiumInProcess, browser: Browser) -> None:
    with NodeClient(running.profiles["lender"]) as node:
        invitation = node.add_person("bob", ["auditor"])["invitation"]
    place, fields = "/invitation", {"name": "bob", "invitation": invitation, "chosen": PASSWORD}
    assert browser.post(place, browser.csrf(place), **fields, again="another one").status_code == 422
    assert browser.post(place, "", **fields, again=PASSWORD).status_code == 403
    assert browser.post(place, browser.csrf(place), **fields, again=PASSWORD).status_code == 303
    assert browser.post(place, browser.csrf(place), **fields, again=PASSWORD).status_code == 401
    assert browser.sign_in("bob").status_code == 303


def test_no_header_says_where_a_caller_is(running: ConsortiumInProcess, browser: Browser) -> None:
    browser.sign_in(headers={"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"})
    found = browser.http.get("/v1/sessions").json()
    [present] = [one for one in found["sessions"] if one["id"] == found["present"]]
    assert present["address"] == "127.0.0.1"
