"""Passwords, one-time codes, sessions and their limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
from sqlalchemy import text

from exchange.config import node_settings
from exchange.config.settings import save
from exchange.errors import (
    Conflict,
    ExchangeError,
    Forbidden,
    InvalidRequest,
    NotFound,
    SealBroken,
    Unauthenticated,
)
from exchange.node.api.access import Caller
from exchange.node.api.account_forms import SignInForm
from exchange.node.people import NewAccount
from exchange.node.people.attempts import SignInDelayed
from exchange.node.people.building import PeopleServices, build
from exchange.node.people.one_time import OneTimeCodes
from exchange.node.people.passwords import Passwords
from exchange.node.people.roles import Person, Role, State
from exchange.node.people.sessions import PREFIX, Carrier, csrf_token
from exchange.node.people.sign_in import SignedIn, SignInRefused
from exchange.node.people.tokens import digest_of_secret
from exchange.store import NodeStore, open_node_store

START = datetime(2026, 11, 26, 8, tzinfo=UTC)
GOOD = "three herons over the lake"
OTHER = "a quiet harbour in autumn"
THIRD = "seven lanterns by the sea"
HERE = "192.0.2.7"
KEY = bytes(range(32))
CHEAP = Passwords(64, 1, 12)
SETTINGS = {
    "name": "lender",
    "title": "Lender",
    "net": "test.parley",
    "api_bind": "127.0.0.1:1",
    "party_bind": "127.0.0.1:2",
    "party_endpoint": "127.0.0.1:2",
    "password_memory_kib": 19_456,
    "password_passes": 2,
}


@dataclass
class Desk:
    """A node's people, a clock moved by hand, and one person who has taken up her invitation."""

    services: PeopleServices
    store: NodeStore
    now: datetime = START
    secrets: dict[str, str] = field(default_factory=dict)

    def sign_in(self, password: str = GOOD, code: str = "", *, name: str = "ada", **more: Any) -> SignedIn:
        given = {"address": HERE, "carrier": Carrier.BEARER} | more
        return self.services.sign_in.with_password(name, password, code, **given)

    def person(self, signed: SignedIn) -> Person:
        return self.services.sessions.person(signed.secret, Carrier(signed.session.carrier))[0]

    def later(self, **by: float) -> None:
        self.now += timedelta(**by)

    def code(self, name: str = "ada", **away: float) -> str:
        return pyotp.TOTP(self.secrets[name]).at(self.now + timedelta(**away))

    def enrol(self, name: str = "ada") -> list[str]:
        signed = self.sign_in(name=name)
        uri = self.services.sign_in.begin_codes(self.person(signed), signed.session, GOOD, HERE)
        self.secrets[name] = parse_qs(urlsplit(uri).query)["secret"][0]
        _, codes = self.services.sign_in.confirm_codes(
            self.person(signed), signed.session, self.code(name), HERE
        )
        self.later(seconds=30)
        return codes

    def acts(self) -> list[tuple[str, str]]:
        return [(one.act, one.subject) for one in self.services.people.acts(0, 10_000)]

    def dump(self) -> str:
        with self.store.engine.connect() as connection:
            names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars()
            return str(
                [connection.execute(text(f"SELECT * FROM {name}")).all() for name in names.all()]  # noqa: S608
            )


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    opened: list[NodeStore] = []

    def made(**changes: object) -> Desk:
        root = tmp_path / str(len(opened))
        save(root, "node", SETTINGS | changes)
        desk: Desk
        store = open_node_store(f"sqlite:///{root}/node.sqlite", clock=lambda: desk.now)
        opened.append(store)
        desk = Desk(build(node_settings(root, {}), store.people, KEY), store)
        desk.services.sign_in._passwords = CHEAP
        desk.services.people.add(NewAccount("root", ("administrator",)), "operator")
        with store.people.changing() as change:
            ada = desk.services.people.added(
                change, NewAccount("ada", ("analyst", "auditor"), "Ada Lovelace"), "root", State.INVITED
            )
            invitation = desk.services.sign_in.invite(change, ada, "root")
        desk.services.sign_in.accept("ada", invitation, GOOD, HERE)
        return desk

    yield made
    for store in opened:
        store.close()


@pytest.fixture
def desk(make: Any) -> Desk:
    made: Desk = make(totp_required=False)
    return made


class TestPasswords:
    PASSWORDS = Passwords(19_456, 2, 12)

    @pytest.mark.parametrize(
        "guessed",
        [
            "password12345",
            "qwertyuiop123",
            "aaaaaaaaaaaaaaaa",
            "lenderlender",
            "ada lovelace",
            "123456789012",
        ],
    )
    def test_one_that_is_guessed_is_refused(self, guessed: str) -> None:
        with pytest.raises(InvalidRequest, match="100 million guesses") as caught:
            self.PASSWORDS.check(guessed, ["ada", "lovelace", "ada lovelace", "lender"])
        assert guessed not in str(caught.value)

    @pytest.mark.parametrize("length", [0, 11, 257])
    def test_the_length_has_limits(self, length: int) -> None:
        with pytest.raises(InvalidRequest, match=f"12 to 256 characters, got {length} characters"):
            self.PASSWORDS.check("7h" * (length // 2) + "k" * (length % 2), [])

    def test_any_script_will_do_in_any_normal_form(self) -> None:
        hashed = self.PASSWORDS.hashed("湖畔的三只蓝鸟在唱歌呢 é")
        assert self.PASSWORDS.verify(hashed, "湖畔的三只蓝鸟在唱歌呢 é")
        assert not self.PASSWORDS.verify(hashed, "湖畔的三只蓝鸟在唱歌呢 e")

    def test_hashes_are_salted_argon2id_with_the_settings_cost(self) -> None:
        first, second = (self.PASSWORDS.hashed(GOOD) for _ in range(2))
        assert first != second
        assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")

    def test_nobodys_password_is_no_password(self) -> None:
        assert self.PASSWORDS.nobodys.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        for guess in ("", "nobody's", "\xff nobody's"):
            assert not self.PASSWORDS.verify(self.PASSWORDS.nobodys, guess)

    def test_a_damaged_hash_opens_nothing(self) -> None:
        assert not self.PASSWORDS.verify("$argon2id$nonsense", GOOD)

    def test_a_hash_is_renewed_when_the_settings_ask_for_more(self, desk: Desk) -> None:
        stronger = Passwords(128, 1, 12)
        desk.services.sign_in._passwords = stronger
        desk.sign_in()
        assert "m=128,t=1" in desk.dump()
        assert "m=64,t=1" not in desk.dump()
        desk.sign_in()


class TestSigningIn:
    def test_the_right_password_begins_a_session(self, desk: Desk) -> None:
        signed = desk.sign_in()
        person = desk.person(signed)
        assert (person.name, person.roles) == ("ada", {Role.ANALYST, Role.AUDITOR})
        assert (signed.session.stage, signed.session.how, signed.session.address) == (
            "full",
            "password",
            HERE,
        )
        assert ("signin.done", "ada") in desk.acts()

    @pytest.mark.parametrize(
        "case", ["password", "name", "empty", "disabled", "invited", "locked", "no password"]
    )
    def test_every_refusal_is_the_same(self, desk: Desk, case: str) -> None:
        people = desk.services.people
        if case in ("disabled", "locked"):
            people.set_state("ada", State.DISABLED, "root")
        if case == "locked":
            with desk.store.people.changing() as change:
                ada = change.account("ada")
                assert ada is not None
                change.set_account(type(ada)(**vars(ada) | {"state": "locked"}))
        if case == "invited":
            with desk.store.people.changing() as change:
                bob = people.added(change, NewAccount("bob", ("auditor",)), "root", State.INVITED)
                desk.services.sign_in.invite(change, bob, "root")
        name = {"name": "nobody", "invited": "bob", "no password": "root"}.get(case, "ada")
        password = {"password": OTHER, "empty": ""}.get(case, GOOD)
        with pytest.raises(SignInRefused) as caught:
            desk.sign_in(password, name=name)
        assert str(caught.value) == (
            "the name, the password or the code is not right, or the account cannot sign in"
        )

    def test_a_hash_is_computed_whoever_it_is(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        computed: list[str] = []
        passwords = desk.services.sign_in._passwords
        verify = passwords.verify

        def counted(hashed: str, password: str) -> bool:
            computed.append(hashed.rsplit("$", 2)[0])
            return verify(hashed, password)

        monkeypatch.setattr(passwords, "verify", counted)
        for name in ("ada", "nobody", "root"):
            with pytest.raises(SignInRefused):
                desk.sign_in(OTHER, name=name)
        assert computed == ["$argon2id$v=19$m=64,t=1,p=1"] * 3

    def test_refusals_leave_the_same_record_for_known_and_unknown_names(self, desk: Desk) -> None:
        before = len(desk.acts())
        for name in ("ada", "nobody", "my pass phrase typed here"):
            with pytest.raises(SignInRefused):
                desk.sign_in(OTHER, name=name)
        assert desk.acts()[before:] == [
            ("signin.fail", "ada"),
            ("signin.fail", "unknown"),
            ("signin.fail", "unknown"),
        ]
        assert "my pass phrase" not in desk.dump()

    def test_no_secret_is_kept_in_the_clear(self, desk: Desk) -> None:
        codes = desk.enrol()
        signed = desk.sign_in(GOOD, desk.code())
        held = desk.dump()
        for secret in (GOOD, signed.secret, desk.secrets["ada"], *codes, codes[0].replace("-", "")):
            assert secret not in held
        assert signed.secret not in repr(signed.session)
        assert desk.services.people.verify_record().sound


class TestLimits:
    def fail(self, desk: Desk, times: int, **more: Any) -> None:
        for _ in range(times):
            with pytest.raises(SignInRefused):
                desk.sign_in(OTHER, **more)

    @pytest.mark.parametrize("name", ["ada", "nobody"])
    def test_waits_grow_after_some_failures_whoever_it_is(self, desk: Desk, name: str) -> None:
        self.fail(desk, 6, name=name)
        waits = []
        for _ in range(12):
            with pytest.raises(SignInDelayed, match=r"heard in \d+ s") as caught:
                desk.sign_in(OTHER, name=name)
            waits.append(int(str(caught.value).split()[-2]))
            desk.later(seconds=waits[-1])
            self.fail(desk, 1, name=name)
        assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]

    def test_the_right_password_waits_too_and_takes_the_count_back(self, desk: Desk) -> None:
        self.fail(desk, 6)
        with pytest.raises(SignInDelayed):
            desk.sign_in()
        desk.later(seconds=2)
        desk.sign_in()
        self.fail(desk, 5)
        desk.sign_in()

    def test_one_address_that_tries_many_names_waits(self, make: Any) -> None:
        desk: Desk = make(totp_required=False, signin_free_failures=1)
        for number in range(11):
            self.fail(desk, 1, name=f"name{number}")
        with pytest.raises(SignInDelayed):
            desk.sign_in(name="another")
        desk.sign_in(address="198.51.100.1")

    def test_people_who_share_an_address_do_not_keep_each_other_waiting(self, make: Any) -> None:
        desk: Desk = make(totp_required=False, signin_free_failures=1)
        for _ in range(15):
            desk.sign_in()
        self.fail(desk, 1, name="another")

    def test_an_ipv6_network_is_one_address(self, make: Any) -> None:
        desk: Desk = make(totp_required=False, signin_free_failures=1)
        for number in range(11):
            self.fail(desk, 1, name=f"name{number}", address=f"2001:db8::{number:x}")
        with pytest.raises(SignInDelayed):
            desk.sign_in(address="2001:db8::ffff:1")
        desk.sign_in(address="2001:db8:0:1::1")

    def test_many_failures_lock_the_account_and_an_administrator_opens_it(self, make: Any) -> None:
        desk: Desk = make(totp_required=False, signin_lock_after=10)
        held = desk.sign_in()
        for _ in range(10):
            self.fail(desk, 1)
            desk.later(seconds=900)
        assert desk.services.people.named("ada").state == "locked"
        assert ("account.lock", "ada") in desk.acts()
        self.fail(desk, 1)
        desk.later(seconds=-9000)
        assert desk.person(held).roles
        desk.later(seconds=9900)
        desk.services.people.set_state("ada", State.ACTIVE, "root")
        desk.services.sign_in.forgive("ada")
        desk.sign_in()

    def test_failures_are_forgotten_after_a_day(self, desk: Desk) -> None:
        self.fail(desk, 6)
        desk.later(hours=25)
        self.fail(desk, 5)
        desk.sign_in()


class TestOneTimeCodes:
    def test_a_session_without_codes_may_only_enrol_them(self, make: Any) -> None:
        desk: Desk = make()
        signed = desk.sign_in()
        person = desk.person(signed)
        assert (signed.session.stage, person.roles) == ("enrolment", frozenset())
        with pytest.raises(Forbidden, match="ada has no role"):
            person.require(*Role)

    def test_enrolling_raises_the_session_and_ends_the_others(self, make: Any) -> None:
        desk: Desk = make()
        other, signed = desk.sign_in(), desk.sign_in()
        person = desk.person(signed)
        uri = desk.services.sign_in.begin_codes(person, signed.session, GOOD, HERE)
        asked = parse_qs(urlsplit(uri).query)
        assert (urlsplit(uri).scheme, urlsplit(uri).netloc, asked["issuer"]) == (
            "otpauth",
            "totp",
            ["Parley lender"],
        )
        desk.secrets["ada"] = asked["secret"][0]
        secret, codes = desk.services.sign_in.confirm_codes(person, signed.session, desk.code(), HERE)
        assert desk.services.sessions.person(secret, Carrier.BEARER)[0].roles
        for ended in (other, signed):
            with pytest.raises(Unauthenticated):
                desk.person(ended)
        assert len(set(codes)) == 10
        assert desk.services.sign_in.factors(person) == (True, 10)

    def test_a_code_is_accepted_once(self, desk: Desk) -> None:
        desk.enrol()
        code = desk.code()
        desk.sign_in(GOOD, code)
        with pytest.raises(SignInRefused):
            desk.sign_in(GOOD, code)

    def test_the_code_that_enrolled_is_not_accepted_again(self, desk: Desk) -> None:
        desk.enrol()
        with pytest.raises(SignInRefused):
            desk.sign_in(GOOD, desk.code(seconds=-30))

    @pytest.mark.parametrize(
        ("away", "accepted"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)]
    )
    def test_the_devices_clock_may_be_half_a_minute_off(self, desk: Desk, away: int, accepted: bool) -> None:
        desk.enrol()
        desk.later(minutes=5)
        if accepted:
            desk.sign_in(GOOD, desk.code(seconds=away))
        else:
            with pytest.raises(SignInRefused):
                desk.sign_in(GOOD, desk.code(seconds=away))

    def test_an_older_code_is_not_accepted_after_a_newer_one(self, desk: Desk) -> None:
        desk.enrol()
        desk.later(minutes=5)
        older = desk.code(seconds=-30)
        desk.sign_in(GOOD, desk.code())
        with pytest.raises(SignInRefused):
            desk.sign_in(GOOD, older)

    def test_a_wrong_password_uses_no_code_up(self, desk: Desk) -> None:
        codes = desk.enrol()
        with pytest.raises(SignInRefused):
            desk.sign_in(OTHER, desk.code())
        with pytest.raises(SignInRefused):
            desk.sign_in(OTHER, codes[0])
        desk.sign_in(GOOD, desk.code())
        desk.sign_in(GOOD, codes[0])

    def test_a_recovery_code_replaces_a_code_once_however_it_is_typed(self, desk: Desk) -> None:
        codes = desk.enrol()
        assert desk.sign_in(GOOD, codes[3].upper().replace("-", " ")).session.how == "password+recovery"
        with pytest.raises(SignInRefused):
            desk.sign_in(GOOD, codes[3])
        assert desk.services.sign_in.factors(desk.person(desk.sign_in(GOOD, codes[4]))) == (True, 8)

    @pytest.mark.parametrize("code", ["", "000000", "12345", "1234567", "１２３４５６", "abcdef"])
    def test_another_code_is_refused(self, desk: Desk, code: str) -> None:
        desk.enrol()
        with pytest.raises(SignInRefused):
            desk.sign_in(GOOD, code)

    def test_enrolling_anew_takes_the_password_and_replaces_the_device(self, desk: Desk) -> None:
        desk.enrol()
        before, signed = desk.secrets["ada"], desk.sign_in(GOOD, desk.code())
        person = desk.person(signed)
        with pytest.raises(SignInRefused, match="present password"):
            desk.services.sign_in.begin_codes(person, signed.session, OTHER, HERE)
        uri = desk.services.sign_in.begin_codes(person, signed.session, GOOD, HERE)
        with pytest.raises(SignInRefused, match="authenticator shows now"):
            desk.services.sign_in.confirm_codes(person, signed.session, "000000", HERE)
        desk.later(minutes=1)
        assert desk.sign_in(GOOD, desk.code()).session.stage == "full"
        desk.secrets["ada"] = parse_qs(urlsplit(uri).query)["secret"][0]
        desk.services.sign_in.confirm_codes(person, signed.session, desk.code(), HERE)
        desk.later(minutes=1)
        with pytest.raises(SignInRefused):
            desk.sign_in(GOOD, pyotp.TOTP(before).at(desk.now))
        desk.sign_in(GOOD, desk.code())

    def test_nothing_is_confirmed_that_was_not_begun(self, desk: Desk) -> None:
        signed = desk.sign_in()
        with pytest.raises(Conflict, match="begun"):
            desk.services.sign_in.confirm_codes(desk.person(signed), signed.session, "123456", HERE)

    def test_an_administrator_resets_a_lost_device_but_not_the_own(self, desk: Desk) -> None:
        codes = desk.enrol()
        held = desk.sign_in(GOOD, desk.code())
        with pytest.raises(Forbidden):
            desk.services.sign_in.reset_codes("root", "root")
        desk.services.sign_in.reset_codes("ada", "root")
        with pytest.raises(Unauthenticated):
            desk.person(held)
        person = desk.person(desk.sign_in(GOOD))
        assert desk.services.sign_in.factors(person) == (False, 0)
        assert codes

    def test_a_secret_belongs_to_its_account(self) -> None:
        codes = OneTimeCodes(KEY, "test")
        sealed, _ = codes.new("person-1", "ada")
        for other in (codes, OneTimeCodes(bytes(32), "test")):
            account = "person-2" if other is codes else "person-1"
            with pytest.raises(SealBroken):
                other.accepted(account, sealed, "123456", START, 0)


class TestAtOnce:
    def many(self, times: int, act: Callable[[], object]) -> list[object]:
        def tried(_: int) -> object:
            try:
                return act()
            except ExchangeError as error:
                return error.code

        with ThreadPoolExecutor(times) as pool:
            return list(pool.map(tried, range(times)))

    def test_one_code_opens_one_session(self, desk: Desk) -> None:
        desk.enrol()
        code = desk.code()
        found = self.many(5, lambda: desk.sign_in(GOOD, code))
        assert sum(isinstance(one, SignedIn) for one in found) == 1
        assert {one for one in found if isinstance(one, str)} <= {"signin.refused", "signin.delayed"}

    def test_a_recovery_code_opens_one_session(self, desk: Desk) -> None:
        codes = desk.enrol()
        found = self.many(5, lambda: desk.sign_in(GOOD, codes[0]))
        assert sum(isinstance(one, SignedIn) for one in found) == 1

    def test_guesses_are_counted_all(self, desk: Desk) -> None:
        found = self.many(12, lambda: desk.sign_in(OTHER))
        assert found.count("signin.refused") == 6
        assert found.count("signin.delayed") == 6

    def test_two_administrators_do_not_remove_each_other(self, desk: Desk) -> None:
        people = desk.services.people
        people.add(NewAccount("eve", ("administrator",)), "root")
        pairs = iter([("root", "eve"), ("eve", "root")])

        def demote() -> object:
            by, name = next(pairs)
            return people.set_roles(name, ["auditor"], by)

        assert self.many(2, demote).count("request.conflict") == 1
        assert sum("administrator" in one.roles for one in people.all()) == 1


class TestSessions:
    def test_it_ends_when_idle(self, desk: Desk) -> None:
        signed = desk.sign_in()
        for _ in range(5):
            desk.later(seconds=1799)
            desk.person(signed)
        desk.later(seconds=1800)
        with pytest.raises(Unauthenticated, match="sign in again"):
            desk.person(signed)

    def test_it_ends_after_its_time_however_busy(self, desk: Desk) -> None:
        signed = desk.sign_in()
        for _ in range(47):
            desk.later(minutes=15)
            desk.person(signed)
        desk.later(minutes=15)
        with pytest.raises(Unauthenticated):
            desk.person(signed)
        assert desk.services.sessions.of(signed.account.id) == []

    def test_a_stolen_digest_opens_nothing(self, desk: Desk) -> None:
        signed = desk.sign_in()
        for stolen in (signed.session.digest, PREFIX + signed.session.digest, signed.session.id):
            with pytest.raises(Unauthenticated):
                desk.services.sessions.person(stolen, Carrier.BEARER)
        assert signed.session.digest == digest_of_secret(signed.secret)

    @pytest.mark.parametrize("carrier", list(Carrier))
    def test_a_browsers_session_is_no_bearer_and_the_other_way_round(
        self, desk: Desk, carrier: Carrier
    ) -> None:
        signed = desk.sign_in(carrier=carrier)
        desk.services.sessions.person(signed.secret, carrier)
        [other] = set(Carrier) - {carrier}
        with pytest.raises(Unauthenticated):
            desk.services.sessions.person(signed.secret, other)

    def test_signing_out_ends_one_or_all(self, desk: Desk) -> None:
        first, second, third = (desk.sign_in() for _ in range(3))
        person = desk.person(first)
        desk.services.sessions.end(person, second.session.id)
        with pytest.raises(Unauthenticated):
            desk.person(second)
        with pytest.raises(NotFound):
            desk.services.sessions.end(person, second.session.id)
        assert desk.services.sessions.end_all(person) == 2
        for ended in (first, third):
            with pytest.raises(Unauthenticated):
                desk.person(ended)

    def test_nobody_ends_anothers_session(self, desk: Desk) -> None:
        signed = desk.sign_in()
        with pytest.raises(NotFound):
            desk.services.sessions.end(Person("root", frozenset(), "person-x"), signed.session.id)
        desk.person(signed)

    @pytest.mark.parametrize("how", ["roles", "state", "invitation"])
    def test_a_change_of_rights_ends_sessions(self, desk: Desk, how: str) -> None:
        signed = desk.sign_in()
        if how == "roles":
            desk.services.people.set_roles("ada", ["analyst"], "root")
        elif how == "state":
            desk.services.people.set_state("ada", State.DISABLED, "root")
        else:
            desk.services.sign_in.invite_again("ada", "root")
        with pytest.raises(Unauthenticated):
            desk.person(signed)

    def test_every_sign_in_has_a_secret_of_its_own(self, desk: Desk) -> None:
        signed = [desk.sign_in() for _ in range(3)]
        assert len({one.secret for one in signed} | {csrf_token(one.secret) for one in signed}) == 6

    def test_sessions_that_ran_out_are_deleted(self, desk: Desk) -> None:
        desk.sign_in()
        desk.later(hours=13)
        desk.sign_in()
        with desk.store.engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM node_sessions")).scalar() == 1


class TestChangingPasswords:
    def test_the_present_one_is_asked_for_and_other_sessions_end(self, desk: Desk) -> None:
        other, signed = desk.sign_in(), desk.sign_in()
        person = desk.person(signed)
        with pytest.raises(SignInRefused, match="present password"):
            desk.services.sign_in.change_password(person, signed.session, OTHER, THIRD, HERE)
        with pytest.raises(InvalidRequest):
            desk.services.sign_in.change_password(person, signed.session, GOOD, "ada lovelace", HERE)
        secret = desk.services.sign_in.change_password(person, signed.session, GOOD, OTHER, HERE)
        assert desk.services.sessions.person(secret, Carrier.BEARER)[0] == person
        for ended in (other, signed):
            with pytest.raises(Unauthenticated):
                desk.person(ended)
        with pytest.raises(SignInRefused):
            desk.sign_in(GOOD)
        desk.sign_in(OTHER)

    def test_guessing_the_present_one_is_limited(self, desk: Desk) -> None:
        signed = desk.sign_in()
        person = desk.person(signed)
        for _ in range(6):
            with pytest.raises(SignInRefused):
                desk.services.sign_in.change_password(person, signed.session, OTHER, THIRD, HERE)
        with pytest.raises(SignInDelayed):
            desk.services.sign_in.change_password(person, signed.session, GOOD, THIRD, HERE)

    def test_an_invitation_is_good_once_and_for_a_time(self, desk: Desk) -> None:
        first = desk.services.sign_in.invite_again("ada", "root")
        with pytest.raises(SignInRefused):
            desk.sign_in()
        desk.later(hours=72)
        with pytest.raises(SignInRefused, match="invitation"):
            desk.services.sign_in.accept("ada", first, OTHER, HERE)
        second = desk.services.sign_in.invite_again("ada", "root")
        for wrong in (first, digest_of_secret(second), ""):
            with pytest.raises(SignInRefused):
                desk.services.sign_in.accept("ada", wrong, OTHER, HERE)
        desk.services.sign_in.accept("ada", second, OTHER, HERE)
        with pytest.raises(SignInRefused):
            desk.services.sign_in.accept("ada", second, GOOD, HERE)
        desk.sign_in(OTHER)

    def test_nobody_invites_oneself(self, desk: Desk) -> None:
        with pytest.raises(Forbidden):
            desk.services.sign_in.invite_again("root", "root")

    def test_a_disabled_person_takes_up_no_invitation(self, desk: Desk) -> None:
        invitation = desk.services.sign_in.invite_again("ada", "root")
        desk.services.people.set_state("ada", State.DISABLED, "root")
        with pytest.raises(SignInRefused):
            desk.services.sign_in.accept("ada", invitation, OTHER, HERE)
        with pytest.raises(Conflict, match="ada is disabled"):
            desk.services.sign_in.invite_again("ada", "root")


def test_no_secret_shows_in_a_repr(desk: Desk) -> None:
    signed = desk.sign_in()
    assert signed.secret not in repr(signed)
    assert signed.secret not in repr(Caller(desk.person(signed), signed.session, signed.secret))
    assert GOOD not in repr(SignInForm("x", "ada", GOOD))
