"""Accounts, roles and departments: who may change what, and what always remains."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from exchange.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unauthenticated
from exchange.node.people import Departments, NewAccount, People, Role, Separation, Tokens
from exchange.node.people.roles import State
from exchange.store import Department, NodeStore, open_node_store

START = datetime(2026, 11, 26, 8, tzinfo=UTC)
APART = Separation((frozenset({"analyst", "approver"}),))


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[NodeStore]:
    opened = open_node_store(
        f"sqlite:///{tmp_path}/node.sqlite", clock=clock, people_mark=tmp_path / "people-record.json"
    )
    yield opened
    opened.close()


@pytest.fixture
def people(store: NodeStore) -> People:
    made = People(store.people, APART)
    made.add(NewAccount("root", ("administrator",)), "operator")
    made.add(NewAccount("ada", ("analyst",), "Ada Lovelace"), "root")
    return made


@pytest.fixture
def tokens(people: People) -> Tokens:
    return Tokens(people.store, APART, timedelta(days=365))


def issue(tokens: Tokens, name: str, *roles: str, days: int = 10) -> str:
    with tokens._store.changing() as change:
        account = change.account(name)
        assert account is not None
        return tokens.issued(change, account, "a test", roles, timedelta(days=days), name)[1]


class TestAccounts:
    def test_an_account_has_a_name_of_its_own_for_ever(self, people: People) -> None:
        people.set_state("ada", State.DISABLED, "root")
        with pytest.raises(Conflict, match="is or was an account called ada"):
            people.add(NewAccount("ada", ("auditor",)), "root")

    @pytest.mark.parametrize("name", ["", "Ada", "a b", "-a", "a\n", "x" * 101, "é"])
    def test_a_name_that_cannot_be_is_refused(self, people: People, name: str) -> None:
        with pytest.raises(InvalidRequest, match="name: expected lower-case letters"):
            people.add(NewAccount(name, ("auditor",)), "root")
        assert [one.name for one in people.all()] == ["ada", "root"]

    @pytest.mark.parametrize("roles", [(), ("boss",), ("auditor", "boss")])
    def test_roles_that_do_not_exist_are_refused(self, people: People, roles: tuple[str, ...]) -> None:
        with pytest.raises(InvalidRequest, match="roles: expected some of"):
            people.add(NewAccount("bob", roles), "root")

    def test_roles_kept_apart_are_not_given_together(self, people: People) -> None:
        with pytest.raises(Conflict, match="analyst and approver"):
            people.set_roles("ada", ["analyst", "approver"], "root")
        with pytest.raises(Conflict, match="analyst and approver"):
            people.add(NewAccount("bob", ("approver", "analyst")), "root")
        assert people.named("ada").roles == ("analyst",)

    def test_a_pair_that_is_forbidden_later_is_not_usable(self) -> None:
        held = ("analyst", "approver", "auditor")
        assert APART.usable(held) == {Role.AUDITOR}
        assert Separation().usable(held) == set(held)

    def test_nobody_changes_the_own_roles_or_state(self, people: People) -> None:
        people.add(NewAccount("eve", ("administrator",)), "root")
        with pytest.raises(Forbidden, match="roles of eve"):
            people.set_roles("eve", ["administrator", "approver"], "eve")
        with pytest.raises(Forbidden, match="state of eve"):
            people.set_state("eve", State.DISABLED, "eve")

    @pytest.mark.parametrize("how", ["demote", "disable"])
    def test_the_last_administrator_stays(self, people: People, how: str) -> None:
        def remove() -> None:
            if how == "demote":
                people.set_roles("root", ["auditor"], "operator")
            else:
                people.set_state("root", State.DISABLED, "operator")

        with pytest.raises(Conflict, match="another active administrator beside root"):
            remove()
        assert (people.named("root").roles, people.named("root").state) == (("administrator",), "active")
        people.add(NewAccount("eve", ("administrator",)), "root")
        remove()

    def test_a_state_is_reached_only_from_some_others(self, people: People) -> None:
        with pytest.raises(Conflict, match="ada is active"):
            people.set_state("ada", State.ACTIVE, "root")
        with pytest.raises(Conflict, match="can become invited"):
            people.set_state("ada", State.INVITED, "root")
        people.set_state("ada", State.DISABLED, "root")
        assert people.set_state("ada", State.ACTIVE, "root").state == "active"

    def test_unknown_people_are_not_found(self, people: People) -> None:
        with pytest.raises(NotFound, match="none called 'bob'"):
            people.set_roles("bob", ["auditor"], "root")

    def test_changes_say_by_whom_and_when(self, people: People, clock: Clock) -> None:
        clock.now = START + timedelta(hours=1)
        made = people.describe("ada", "root", display_name="Countess", department=None)
        assert (made.display_name, made.changed_by, made.changed) == ("Countess", "root", clock.now)
        assert (made.created_by, made.created) == ("root", START)


class TestDepartments:
    @pytest.fixture
    def tree(self, people: People) -> Departments:
        tree = Departments(people.store)
        tree.add(Department("credit", "Credit", ""), "root")
        tree.add(Department("retail", "Retail credit", "credit"), "root")
        return tree

    def test_a_department_is_not_below_itself(self, tree: Departments) -> None:
        with pytest.raises(Conflict, match="below retail"):
            tree.change(Department("credit", "Credit", "retail"), "root")
        assert [one.parent for one in tree.all()] == ["", "credit"]

    def test_a_parent_exists(self, tree: Departments) -> None:
        with pytest.raises(InvalidRequest, match="parent: expected a department"):
            tree.add(Department("risk", "Risk", "nowhere"), "root")
        assert len(tree.all()) == 2

    def test_one_that_is_in_use_is_not_deleted(self, tree: Departments, people: People) -> None:
        people.describe("ada", "root", display_name=None, department="retail")
        with pytest.raises(Conflict, match="found 1 departments and 0 people"):
            tree.remove("credit", "root")
        with pytest.raises(Conflict, match="found 0 departments and 1 people"):
            tree.remove("retail", "root")
        people.describe("ada", "root", display_name=None, department="")
        tree.remove("retail", "root")
        tree.remove("credit", "root")
        assert tree.all() == []

    def test_people_work_in_departments_that_exist(self, tree: Departments, people: People) -> None:
        with pytest.raises(InvalidRequest, match="department: expected a department"):
            people.describe("ada", "root", display_name=None, department="nowhere")

    def test_the_tree_is_at_most_sixteen_deep(self, tree: Departments) -> None:
        above = "retail"
        for number in range(14):
            tree.add(Department(f"d{number}", "Deeper", above), "root")
            above = f"d{number}"
        with pytest.raises(Conflict, match="at most 16"):
            tree.add(Department("deepest", "Too deep", above), "root")
        tree.add(Department("top", "Top", ""), "root")
        with pytest.raises(Conflict, match="at most 16"):
            tree.change(Department("credit", "Credit", "top"), "root")

    def test_the_organisation_has_all_its_fields(self, tree: Departments) -> None:
        tree.set_organisation({"legal_name": "Example Bank"}, "root")
        assert tree.organisation()["legal_name"] == "Example Bank"
        assert tree.organisation()["phone"] == ""


class TestTokens:
    def test_a_token_is_good_for_its_roles_until_it_ends(
        self, people: People, tokens: Tokens, clock: Clock
    ) -> None:
        people.set_roles("ada", ["analyst", "auditor"], "root")
        secret = issue(tokens, "ada", "auditor", days=1)
        person = tokens.person(secret)
        assert (person.name, person.roles, person.id) == ("ada", {Role.AUDITOR}, people.named("ada").id)
        clock.now = START + timedelta(days=1)
        with pytest.raises(Unauthenticated, match="not good any more"):
            tokens.person(secret)

    def test_a_role_that_was_taken_away_is_gone_from_tokens(self, people: People, tokens: Tokens) -> None:
        secret = issue(tokens, "ada", "analyst")
        people.set_roles("ada", ["auditor"], "root")
        assert tokens.person(secret).roles == frozenset()
        with pytest.raises(Forbidden, match="ada has no role"):
            tokens.person(secret).require(Role.ANALYST)

    def test_a_disabled_persons_token_opens_nothing(self, people: People, tokens: Tokens) -> None:
        secret = issue(tokens, "ada", "analyst")
        people.set_state("ada", State.DISABLED, "root")
        with pytest.raises(Unauthenticated):
            tokens.person(secret)

    def test_a_revoked_token_opens_nothing(self, people: People, tokens: Tokens) -> None:
        secret = issue(tokens, "ada", "analyst")
        [known] = tokens.of("ada")
        with pytest.raises(NotFound):
            tokens.revoke("root", known.id, "root")
        tokens.revoke("ada", known.id, "ada")
        with pytest.raises(Unauthenticated):
            tokens.person(secret)
        with pytest.raises(NotFound):
            tokens.revoke("ada", known.id, "ada")

    def test_a_token_makes_none_that_is_wider_or_lives_longer(self, people: People, tokens: Tokens) -> None:
        people.set_roles("ada", ["analyst", "auditor"], "root")
        person = tokens.person(issue(tokens, "ada", "auditor", days=10))
        with pytest.raises(Forbidden, match="got analyst too"):
            tokens.issue(person, "wider", ["analyst"], timedelta(days=1))
        with pytest.raises(Forbidden, match="ends no later"):
            tokens.issue(person, "longer", ["auditor"], timedelta(days=11))
        made, secret = tokens.issue(person, "narrower", ["auditor"], timedelta(days=9))
        assert tokens.person(secret).credential == made.id

    def test_a_token_lives_no_longer_than_the_node_allows(self, people: People, tokens: Tokens) -> None:
        with pytest.raises(InvalidRequest, match="at most 365"):
            issue(tokens, "ada", "analyst", days=366)

    def test_the_database_holds_no_token(self, store: NodeStore, people: People, tokens: Tokens) -> None:
        secret = issue(tokens, "ada", "analyst")
        with store.engine.connect() as connection:
            rows = connection.execute(text("SELECT * FROM node_tokens")).all()
            record = connection.execute(text("SELECT * FROM node_people_record")).all()
        assert secret not in str(rows) + str(record)
        assert "digest" not in repr(tokens.of("ada"))
        with pytest.raises(Unauthenticated):
            tokens.person(rows[0].digest)


class TestRecord:
    def test_each_act_is_recorded_with_its_actor(self, people: People) -> None:
        people.set_roles("ada", ["auditor"], "root")
        acts = [(one.actor, one.act, one.subject) for one in people.acts(0, 100)]
        assert acts == [
            ("operator", "account.add", "root"),
            ("root", "account.add", "ada"),
            ("root", "account.roles", "ada"),
        ]
        assert people.verify_record().sound

    def test_an_act_that_is_refused_is_not_recorded(self, people: People) -> None:
        with pytest.raises(Conflict):
            people.set_roles("ada", ["analyst", "approver"], "root")
        with pytest.raises(Conflict):
            people.set_roles("root", ["auditor"], "operator")
        assert len(people.acts(0, 100)) == 2

    @pytest.mark.parametrize(
        ("attack", "position"),
        [
            ("UPDATE node_people_record SET subject = 'eve' WHERE position = 2", 2),
            ("UPDATE node_people_record SET facts = '{' WHERE position = 2", 2),
            ("UPDATE node_people_record SET time = 'x' WHERE position = 1", 1),
            ("DELETE FROM node_people_record WHERE position = 2", 2),
            ("DELETE FROM node_people_record WHERE position = 3", 3),
            ("DELETE FROM node_people_record", 1),
            ("UPDATE node_people_head SET size = 2", 4),
        ],
    )
    def test_what_is_altered_or_taken_away_is_named(
        self, store: NodeStore, people: People, attack: str, position: int
    ) -> None:
        people.set_roles("ada", ["auditor"], "root")
        with store.engine.begin() as connection:
            connection.execute(text(attack))
        verdict = people.verify_record()
        assert (verdict.sound, verdict.position) == (False, position)

    def test_a_cut_at_the_end_that_keeps_the_database_consistent_shows_against_the_mark(
        self, store: NodeStore, people: People
    ) -> None:
        second = people.acts(0, 100)[1].digest
        people.set_roles("ada", ["auditor"], "root")
        with store.engine.begin() as connection:
            connection.execute(text("DELETE FROM node_people_record WHERE position = 3"))
            connection.execute(
                text("UPDATE node_people_head SET size = 2, digest = :digest"), {"digest": second}
            )
        verdict = people.verify_record()
        assert (verdict.sound, verdict.reason) == (False, "expected 3 marked acts, found 2")
        people.describe("ada", "root", display_name="another", department=None)
        verdict = people.verify_record()
        assert (verdict.sound, verdict.position) == (False, 3)
        assert "differs from the one that was marked" in verdict.reason

    def test_a_mark_that_is_gone_or_unreadable_is_told(self, people: People, tmp_path: Path) -> None:
        mark = tmp_path / "people-record.json"
        mark.write_text('{"size": 2}')
        assert "expected size and digest" in people.verify_record().reason
        mark.unlink()
        assert "found none" in people.verify_record().reason
        people.set_roles("ada", ["auditor"], "root")
        assert people.verify_record().sound
