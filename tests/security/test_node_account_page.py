"""The sign-in and account pages of a node, in a real Chromium, in both languages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest

from exchange.sdk import NodeClient
from exchange.testing import ConsortiumInProcess
from ledger.testing.chromium import Page, chromium
from ledger.times import system_clock

pytestmark = pytest.mark.browser

PASSWORD = "three herons over the lake"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    environ = {"PARLEY_PASSWORD_MEMORY_KIB": "19456", "PARLEY_PASSWORD_PASSES": "2"}
    with ConsortiumInProcess(
        tmp_path_factory.mktemp("pages"), ("lender", "regulator"), environ=environ
    ) as made:
        yield made


@pytest.fixture
def page(running: ConsortiumInProcess, tmp_path: Path) -> Iterator[Page]:
    with chromium(tmp_path) as browser:
        made = browser.open("about:blank")
        made.call("Security.enable")
        made.call("Security.setIgnoreCertificateErrors", ignore=True)
        yield made


def go(page: Page, url: str, ready: str) -> None:
    page.call("Page.navigate", url=url)
    settle(page, ready)


def settle(page: Page, ready: str) -> None:
    page.wait(f"document.readyState === 'complete' && {ready}")


def fill(page: Page, button: str, ready: str, **fields: str) -> None:
    for name, value in fields.items():
        page.run(f"document.getElementById({name!r}).value = {value!r}")
    page.run(f"document.querySelector({button!r}).click()")
    settle(page, ready)


def has(text: str) -> str:
    return f"document.body.innerText.includes({text!r})"


def test_a_person_signs_in_enrols_and_leaves(running: ConsortiumInProcess, page: Page) -> None:
    url = running.profiles["lender"].url
    with NodeClient(running.profiles["lender"]) as node:
        invitation = node.add_person("ada", ["analyst"], display_name="Ada Lovelace")["invitation"]

    go(page, f"{url}/invitation?lang=zh", has("邀请码"))
    chosen = {"name": "ada", "invitation": invitation, "chosen": PASSWORD, "again": PASSWORD}
    fill(page, "main button", "location.pathname === '/sign-in'", **chosen)
    assert page.run("document.documentElement.lang") == "zh-CN"

    fill(page, "main button", has("不正确"), name="ada", password="another")
    fill(page, "main button", "location.pathname === '/account'", name="ada", password=PASSWORD)
    assert page.run(has("Ada Lovelace"))
    assert not page.run("!!document.getElementById('issue')")
    assert page.run("document.cookie") == ""

    go(page, f"{url}/account?lang=en", has("No authenticator is enrolled"))
    fill(page, "#enrol", "!!document.querySelector('.qr svg')", **{"codes-password": PASSWORD})
    box = page.run("(r => [r.width, r.height])(document.querySelector('.qr svg').getBoundingClientRect())")
    assert min(box) > 100
    secret = page.run("new URL(document.getElementById('otpauth').innerText).searchParams.get('secret')")
    fill(
        page, "#confirm", "!!document.getElementById('recovery')", code=pyotp.TOTP(secret).at(system_clock())
    )
    assert page.run("document.querySelectorAll('#recovery li').length") == 10

    page.run("document.querySelector('input[name=roles]').checked = true")
    fill(page, "#issue", "!!document.getElementById('secret')", title="report")
    token = page.run("document.getElementById('secret').innerText")
    with NodeClient(running.profiles["lender"].of_token(token)) as node:
        assert node.tokens()[0]["title"] == "report"

    fill(page, "#sign-out", "location.pathname === '/sign-in'")
    go(page, f"{url}/account", "location.pathname === '/sign-in'")
    unlabelled = (
        "[...document.querySelectorAll('input:not([type=hidden])')].filter(i => !i.labels.length).length"
    )
    assert page.run(unlabelled) == 0
    assert all(one.startswith(url) for one in page.requests if one.startswith("http"))
    assert [one for one in page.complaints if "Content Security Policy" in one or "Uncaught" in one] == []


def test_another_site_cannot_act_with_the_cookie(
    running: ConsortiumInProcess, page: Page, tmp_path: Path
) -> None:
    url = running.profiles["lender"].url
    with NodeClient(running.profiles["lender"]) as node:
        invitation = node.add_person("eve", ["analyst"])["invitation"]
        node.accept_invitation("eve", invitation, PASSWORD)
    go(page, f"{url}/sign-in", has("Sign in"))
    fill(page, "main button", "location.pathname === '/account'", name="eve", password=PASSWORD)
    csrf = page.run("document.querySelector('input[name=csrf]').value")

    evil = tmp_path / "evil.html"
    evil.write_text(
        f"<form method='post' action='{url}/account/sign-out'><input name='csrf' value='{csrf}'></form>"
        "<p>evil</p>"
    )
    go(page, evil.as_uri(), has("evil"))
    page.run("document.forms[0].submit()")
    settle(page, f"location.href.startsWith({url!r})")
    assert page.run("location.pathname") == "/sign-in"  # the cookie did not come along
    go(page, f"{url}/account", "location.pathname === '/account'")
    assert page.run(has("eve"))
