"""People over a node's real HTTPS interface, with the client and the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exchange.cli.application import main
from exchange.errors import InvalidRequest
from exchange.sdk import NodeClient, NodeProblem
from exchange.testing import ConsortiumInProcess


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    environ = {"PARLEY_SEPARATE_ROLES": "analyst+approver"}
    made = ConsortiumInProcess(tmp_path_factory.mktemp("people"), ("lender", "regulator"), environ=environ)
    with made:
        made.profiles["lender"].save(made.root)
        yield made


@pytest.fixture
def lender(running: ConsortiumInProcess) -> NodeClient:
    return running.client("lender")


def parley(running: ConsortiumInProcess, capsys: Any, *arguments: str, code: int = 0) -> Any:
    given = [*arguments, "--org", "lender", "--home", str(running.root), "--format", "json"]
    assert main(given) == code
    return json.loads(capsys.readouterr().out)["data"]


def test_a_new_node_has_one_account_per_role_with_a_recorded_beginning(lender: NodeClient) -> None:
    people = {one["name"]: one for one in lender.people()}
    assert {name: one["roles"] for name, one in people.items()} == {
        role: [role] for role in ("administrator", "analyst", "approver", "auditor", "steward")
    }
    first = next(lender.people_record())
    assert (first["actor"], first["act"]) == ("operator at the data directory", "account.add")
    assert lender.verify_people_record()["sound"] is True


def test_an_administrator_makes_accounts_and_the_rules_hold(lender: NodeClient) -> None:
    made = lender.add_person("bob", ["analyst"], display_name="Bob", token_days=3)
    assert (made["person"]["state"], made["person"]["created_by"]) == ("active", "administrator")
    with pytest.raises(NodeProblem, match="expected roles apart, got analyst and approver") as caught:
        lender.set_roles("bob", ["analyst", "approver"])
    assert caught.value.status == 409
    with pytest.raises(NodeProblem, match="not administrator") as caught:
        lender.set_roles("administrator", ["administrator", "steward"])
    assert caught.value.status == 403
    assert lender.set_roles("bob", ["auditor"])["roles"] == ["auditor"]
    with NodeClient(lender.profile.of_token(made["token"])) as bob:
        with pytest.raises(NodeProblem, match="bob has no role"):
            bob.members()
        lender.set_account_state("bob", "disabled")
        with pytest.raises(NodeProblem, match="belongs to nobody"):
            bob.members()


@pytest.mark.parametrize("role", ["steward", "approver", "analyst", "auditor"])
def test_nobody_else_changes_people(lender: NodeClient, role: str) -> None:
    other = NodeClient(lender.profile.of_token(lender.profile.tokens[role]))
    with other:
        for act in (
            lambda: other.add_person("eve", ["administrator"]),
            lambda: other.set_roles("analyst", ["administrator"]),
            lambda: other.set_account_state("administrator", "disabled"),
            lambda: other.add_department("eve", "Eve"),
            lambda: other.set_organisation({}),
        ):
            with pytest.raises(NodeProblem, match="expected the role administrator") as caught:
                act()
            assert caught.value.status == 403


def test_a_caller_without_a_token_is_not_let_in(lender: NodeClient) -> None:
    with pytest.raises(NodeProblem) as caught:
        lender._object("GET", "/v1/people")
    assert caught.value.status == 401
    with NodeClient(lender.profile.of_token("x" * 43)) as stranger, pytest.raises(NodeProblem) as caught:
        stranger.people()
    assert caught.value.status == 401


def test_the_command_line_does_it_all(
    running: ConsortiumInProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    parley(running, capsys, "people", "departments", "add", "risk", "--title", "Risk")
    parley(running, capsys, "people", "departments", "change", "risk", "--title", "Risks")
    made = parley(
        running,
        capsys,
        "people",
        "add",
        "cleo",
        "--role",
        "steward",
        "--department",
        "risk",
        "--token-days",
        "2",
    )
    assert made["person"]["department"] == "risk"
    parley(running, capsys, "people", "change", "cleo", "--department", "")
    parley(running, capsys, "people", "departments", "remove", "risk")
    assert parley(running, capsys, "people", "departments", "list") == []
    parley(running, capsys, "people", "roles", "cleo", "--role", "auditor")
    assert parley(running, capsys, "people", "show", "cleo")["roles"] == ["auditor"]
    found = parley(running, capsys, "people", "organisation", "--legal-name", "Lender Ltd")
    assert found["legal_name"] == "Lender Ltd"
    [token] = parley(running, capsys, "people", "token", "list", "--name", "cleo")
    parley(running, capsys, "people", "token", "revoke", token["id"], "--name", "cleo")
    own = parley(running, capsys, "people", "token", "add", "--title", "job", "--role", "analyst")
    listed = parley(running, capsys, "people", "token", "list", "--as", "analyst")
    assert own["token"]["id"] in {one["id"] for one in listed}
    parley(running, capsys, "people", "token", "revoke", own["token"]["id"], "--as", "analyst")
    parley(running, capsys, "people", "disable", "cleo")
    parley(running, capsys, "people", "enable", "cleo")
    assert "cleo" in {one["name"] for one in parley(running, capsys, "people", "list")}
    acts = parley(running, capsys, "people", "record")
    assert {"account.add", "account.state", "token.issue", "token.revoke"} <= {one["act"] for one in acts}
    assert own["secret"] not in json.dumps(acts)
    assert parley(running, capsys, "people", "record", "--verify")["size"] == len(acts)


def test_a_record_that_was_cut_ends_the_command_with_1(
    running: ConsortiumInProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = Path(running.root) / "lender" / "people-record.json"
    before = mark.read_text()
    held = json.loads(before)
    mark.write_text(json.dumps({"size": held["size"] + 1, "digest": "0" * 64}))
    verdict = parley(running, capsys, "people", "record", "--verify", code=1)
    assert verdict["reason"].startswith(f"expected {held['size'] + 1} marked acts")
    mark.write_text(before)


def test_a_persons_name_is_data_in_the_path(lender: NodeClient) -> None:
    for name in ("../departments", "../../openapi.json", "';--", "a?b", "administrator/tokens"):
        with pytest.raises(NodeProblem) as caught:
            lender.person(name)
        assert caught.value.status == 404
    for name in ("", ".", ".."):
        with pytest.raises(InvalidRequest, match="name: expected a name"):
            lender.person(name)


def test_all_routes_are_described(lender: NodeClient) -> None:
    paths = lender._object("GET", "/openapi.json")["paths"]
    assert {"/v1/people/{name}/roles", "/v1/tokens", "/v1/departments/{department}"} <= set(paths)
