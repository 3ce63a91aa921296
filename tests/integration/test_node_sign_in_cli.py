"""Signing in from a terminal over a node's real HTTPS interface: invitation, password, one-time codes."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click
import pyotp
import pytest

from exchange.cli.application import main
from exchange.node import setup
from exchange.sdk import NodeClient, NodeProblem, Profile
from exchange.testing import ConsortiumInProcess
from ledger.times import system_clock

FIRST, SECOND = "three herons over the lake", "a quiet harbour in autumn"


class Clock:
    """The system's clock, moved ahead by hand."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return system_clock() + self.ahead


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> Iterator[ConsortiumInProcess]:
    environ = {"PARLEY_PASSWORD_MEMORY_KIB": "19456", "PARLEY_PASSWORD_PASSES": "2"}
    root = tmp_path_factory.mktemp("signin")
    made = ConsortiumInProcess(
        root, ("lender", "regulator"), environ=environ, options={"lender": {"clock": clock}}
    )
    with made:
        made.profiles["lender"].save(root)
        yield made


@pytest.fixture
def parley(
    running: ConsortiumInProcess, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    def call(*arguments: str, typed: tuple[Any, ...] = (), code: int | None = 0) -> Any:
        answers = iter(typed)

        def prompt(text: str, **how: Any) -> str:
            assert how["hide_input"] is True
            answer = next(answers)
            return str(answer() if callable(answer) else answer)

        monkeypatch.setattr(click, "prompt", prompt)
        given = [*arguments, "--org", "lender", "--home", str(running.root), "--format", "json"]
        ended = main(given)
        assert ended == code or code is None
        envelope = json.loads(capsys.readouterr().out)
        return envelope["data"] if ended == 0 else envelope["error_code"]

    return call


def test_a_person_takes_up_an_invitation_enrols_works_and_leaves(
    running: ConsortiumInProcess, parley: Any, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    made = parley("people", "add", "ada", "--role", "analyst", "--role", "auditor")
    assert (made["person"]["state"], made["token"]) == ("invited", None)
    accept, right, weak = ("people", "accept", "--name", "ada"), made["invitation"], "password1234"
    assert parley(*accept, typed=("wrong", FIRST, FIRST), code=2) == "signin.refused"
    assert parley(*accept, typed=(right, weak, weak), code=4) == "request.invalid"
    assert parley(*accept, typed=(right, FIRST, SECOND), code=4) == "arguments"
    parley(*accept, typed=(right, FIRST, FIRST))

    assert parley("sign-in", "--name", "ada", typed=(SECOND, ""), code=2) == "signin.refused"
    assert parley("sign-in", "--name", "ada", typed=(FIRST, ""))["stage"] == "enrolment"
    path = Profile.path(running.root, "lender")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert parley("catalog", "search", code=2) == "request.forbidden"

    secret = ""

    def first_code() -> str:
        nonlocal secret
        [uri] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("otpauth://")]
        secret = parse_qs(urlsplit(uri).query)["secret"][0]
        return pyotp.TOTP(secret).at(clock())

    codes = parley("people", "totp", "enrol", typed=(FIRST, first_code))["recovery_codes"]
    assert len(codes) == 10
    parley("catalog", "search")
    assert parley("people", "add", "eve", "--role", "analyst", code=2) == "request.forbidden"

    clock.ahead += timedelta(minutes=1)
    assert parley("sign-in", "--name", "ada", typed=(FIRST, ""), code=2) == "signin.refused"
    code = pyotp.TOTP(secret).at(clock())
    assert parley("sign-in", "--name", "ada", typed=(FIRST, code))["how"] == "password+totp"
    assert parley("sign-in", "--name", "ada", typed=(FIRST, code), code=2) == "signin.refused"
    assert parley("sign-in", "--name", "ada", typed=(FIRST, codes[0]))["how"] == "password+recovery"
    assert len(parley("people", "sessions", "list")) == 3
    parley("people", "password", typed=(FIRST, SECOND, SECOND))
    [left] = parley("people", "sessions", "list")
    assert left["how"] == "password+recovery"

    with running.client("lender") as other, NodeClient(other.profile.of_session("")) as again:
        again.sign_in("ada", SECOND, codes[1])
        assert again.factors() == {"totp": True, "recovery_codes": 8}
        again.end_session(left["id"])
        kept = Profile.load(running.root, "lender").client()
        with kept, pytest.raises(NodeProblem, match="sign in again"):
            kept.factors()
        again.sign_out()
    parley("sign-out")
    assert Profile.load(running.root, "lender").session == ""
    parley("people", "totp", "reset", "ada")
    fresh = parley("people", "invite", "ada")["invitation"]
    assert parley("sign-in", "--name", "ada", typed=(SECOND, ""), code=2) == "signin.refused"
    assert fresh not in json.dumps(parley("people", "record"))
    assert parley("people", "record", "--verify")["sound"] is True


def test_the_operator_lets_an_administrator_in_again(running: ConsortiumInProcess, parley: Any) -> None:
    invitation = setup.invite_person(running.root / "lender", "administrator")
    parley("people", "accept", "--name", "administrator", typed=(invitation, FIRST, FIRST))
    assert parley("sign-in", "--name", "administrator", typed=(FIRST, ""))["stage"] == "enrolment"
    parley("sign-out", "--everywhere")


def test_too_many_failures_are_told_as_such(parley: Any, clock: Clock) -> None:
    sign_in = ("sign-in", "--name", "nobody")
    told = [parley(*sign_in, typed=(FIRST, ""), code=None) for _ in range(14)]
    assert set(told[:6]) == {"signin.refused"}
    assert told[-1] == "signin.delayed"
    clock.ahead += timedelta(minutes=15)
    assert parley(*sign_in, typed=(FIRST, ""), code=2) == "signin.refused"


def test_a_token_is_no_session(running: ConsortiumInProcess) -> None:
    with running.client("lender") as node:
        node.profile = node.profile.of_session(node.profile.tokens["analyst"])
        with pytest.raises(NodeProblem, match="expected a session of a person"):
            node.change_password(FIRST, SECOND)
        with pytest.raises(NodeProblem, match="expected a session of a person"):
            node.begin_codes(FIRST)
