import json
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from exchange.cli.agreements import agreement
from exchange.cli.application import main
from exchange.cli.assets import column, expiry
from exchange.cli.clauses import controlled
from exchange.cli.consortium import data_directories
from exchange.cli.genesis import merge
from exchange.cli.jobs import outlook, position, read_spec
from exchange.cli.questions import choose_agreement
from exchange.cli.sources import source_of
from exchange.errors import InvalidRequest, NotFound
from ledger import canonical

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30d", "2026-12-23T10:00:00Z"),
        ("2030-12-31", "2030-12-31T00:00:00Z"),
        ("2030-12-31T08:00:00+08:00", "2030-12-31T00:00:00Z"),
        ("2030-12-31T00:00:00Z", "2030-12-31T00:00:00Z"),
    ],
)
def test_an_expiry_is_read_in_each_form(text: str, expected: str) -> None:
    assert expiry(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "soon", "30", "-3d", "31.12.2030"])
def test_another_expiry_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="expires"):
        expiry(text, NOW)


def test_a_file_is_known_by_its_suffix(tmp_path: Path) -> None:
    assert source_of(tmp_path / "a.CSV", None, None)["kind"] == "file"
    assert source_of(tmp_path / "a.xlsx", None, None)["kind"] == "document"


def test_a_database_needs_a_table() -> None:
    with pytest.raises(click.UsageError, match="--table"):
        source_of(None, "sqlite:///x", None)
    assert source_of(None, "sqlite:///x", "t") == {"kind": "table", "location": "sqlite:///x", "table": "t"}


def test_file_and_database_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError):
        source_of(tmp_path / "a.csv", "sqlite:///x", "t")
    with pytest.raises(click.UsageError):
        source_of(None, None, None)


def test_a_level_may_be_stated_for_everybody_and_for_one_participant() -> None:
    stated = ["bill:PLAINTEXT", "bill:ENCRYPTED_ONLY@did:key:zA", "bill:AFTER_JOIN@did:web:b.example%3A1:c"]
    made = controlled([column("measure", "bill"), column("group", "band")], stated)
    assert (made[0]["control"], made[1]["control"]) == ("PLAINTEXT", "AFTER_GROUP_BY")
    assert made[0]["controls"] == {"did:key:zA": "ENCRYPTED_ONLY", "did:web:b.example%3A1:c": "AFTER_JOIN"}
    assert "controls" not in made[1]
    for wrong in ("bill", "town:PLAINTEXT", "bill:", ":PLAINTEXT"):
        with pytest.raises(click.UsageError, match="--control: expected COLUMN:LEVEL"):
            controlled([column("measure", "bill")], [wrong])


def test_a_column_gets_the_control_of_its_role() -> None:
    assert column("measure", "bill:2")["name"] == "bill"
    assert column("measure", "bill")["control"] == "AFTER_AGGREGATE"
    assert column("identifier", "id")["control"] == "AFTER_JOIN"
    assert column("group", "band")["control"] == "AFTER_GROUP_BY"
    with pytest.raises(InvalidRequest):
        column("measure", "bill:x")


def test_data_directories_are_for_all_or_for_one(tmp_path: Path) -> None:
    (tmp_path / "l").mkdir()
    found = data_directories(["lender", "bureau"], [f"lender={tmp_path / 'l'}", str(tmp_path)])
    assert found == {"lender": [tmp_path / "l", tmp_path], "bureau": [tmp_path]}
    with pytest.raises(click.UsageError, match="lender, bureau"):
        data_directories(["lender", "bureau"], [f"nobody={tmp_path}"])
    with pytest.raises(click.UsageError, match="a directory"):
        data_directories(["lender"], [str(tmp_path / "absent")])


def row(name: str, **changed: object) -> dict[str, object]:
    base: dict[str, object] = {
        "agreement": name,
        "asset": "lender/loans",
        "consumer": "me",
        "status": "final",
        "uses": 0,
        "limits": {"uses": 3},
    }
    return base | changed


def test_an_agreement_with_uses_left_is_preferred() -> None:
    held = [row("old"), row("spent", uses=3), row("theirs", consumer="you"), row("gone", status="revoked")]
    assert choose_agreement(held, "lender/loans", "me")["agreement"] == "old"


def test_a_spent_agreement_is_still_sent_for_its_owner_to_refuse() -> None:
    held = [row("spent", uses=3), row("gone", status="revoked")]
    assert choose_agreement(held, "lender/loans", "me")["agreement"] == "spent"


def test_a_named_agreement_is_taken_whatever_its_state() -> None:
    held = [row("fresh"), row("spent", uses=3)]
    assert choose_agreement(held, "lender/loans", "me", ["spent"])["agreement"] == "spent"


def test_no_agreement_is_an_error_that_names_the_asset() -> None:
    with pytest.raises(NotFound, match="bureau/income"):
        choose_agreement([row("a")], "bureau/income", "me")


def test_a_spec_without_an_id_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text('{"v": 1}')
    assert str(read_spec(path, NOW)["job"]).startswith("job-")
    path.write_text('{"job": "job-x"}')
    assert read_spec(path, NOW) == {"job": "job-x"}


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_file_that_is_no_spec_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "spec.json"
    path.write_text(text)
    with pytest.raises(InvalidRequest, match="a JSON object"):
        read_spec(path, NOW)


def test_progress_is_that_of_the_step_under_way() -> None:
    steps = [{"step": "match", "done": 5, "total": 5}, {"step": "statistics", "done": 1, "total": 4}]
    assert position({"progress": steps}) == (1, 4, "statistics")
    assert position({"progress": steps[:1]}) == (5, 5, "match")
    assert position({"progress": []}) == (0, 1, "")


def test_what_is_expected_of_a_step_is_that_of_its_slowest_party_and_the_loss_known_here() -> None:
    told = [
        {"step": "train", "done": 3, "total": 9, "left_s": 12, "loss": 0.693147180559},
        {"step": "train", "done": 2, "total": 9, "left_s": 20},
        {"step": "match", "done": 5, "total": 5, "left_s": 90},
        {"step": "read", "done": 0, "total": 1, "left_s": None},
    ]
    assert outlook({"progress": told}, "train") == {"left_s": 20, "loss": 0.693147}
    assert outlook({"progress": told}, "read") == {}


def draft(*kids: str, **changed: object) -> bytes:
    sigs = [{"kid": kid, "alg": "EdDSA", "sig": kid} for kid in kids]
    return canonical.encode({"v": 1, "type": "gov.genesis", "sigs": sigs} | changed)


def test_signatures_on_copies_of_one_draft_are_joined() -> None:
    merged = canonical.decode(merge([draft("hub", "b"), draft("hub", "a")]))
    assert isinstance(merged, dict)
    assert isinstance(merged["sigs"], list)
    assert [one["kid"] for one in merged["sigs"] if isinstance(one, dict)] == ["a", "b", "hub"]


def test_copies_that_differ_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="drafts that differ"):
        merge([draft("a"), draft("b", v=2)])


def test_groups_list_their_members_without_importing_them() -> None:
    assert agreement.list_commands(click.Context(agreement))[0] == "request"


def test_a_described_source_takes_secrets_from_the_environment(tmp_path: Path) -> None:
    described = tmp_path / "source.json"
    options = {"auth": {"token": {"env": "KEY"}}, "n": [1]}
    described.write_text(json.dumps({"kind": "api", "location": {"env": "WHERE"}, "options": options}))
    environ = {"WHERE": "https://api.example/x", "KEY": "secret"}
    assert source_of(None, None, None, described, environ) == {
        "kind": "api",
        "location": "https://api.example/x",
        "options": {"auth": {"token": "secret"}, "n": [1]},
    }
    with pytest.raises(InvalidRequest, match="the variable KEY in the environment"):
        source_of(None, None, None, described, {"WHERE": "x"})


@pytest.mark.parametrize("text", ["[]", "{", '{"kind": "api", "password": "canary"}', "[" * 100_000])
def test_a_description_of_another_form_is_refused_unquoted(tmp_path: Path, text: str) -> None:
    described = tmp_path / "source.json"
    described.write_text(text)
    with pytest.raises(InvalidRequest, match="--source-file") as caught:
        source_of(None, None, None, described)
    assert "canary" not in str(caught.value)
    with pytest.raises(click.UsageError):
        source_of(None, "sqlite:///x", "t", described)


def test_a_table_is_appended_to_a_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "stream").mkdir()
    (tmp_path / "rows.csv").write_text("n,t\n1,a\n2,b\n")
    call = ["--format", "json", "stream", "append", str(tmp_path / "stream"), str(tmp_path / "rows.csv")]
    for number in (1, 2):
        assert main(call) == 0
        assert json.loads(capsys.readouterr().out)["data"] == {
            "stream": "stream",
            "segment": number,
            "rows": 2,
        }


def test_the_search_offers_every_kind_and_grade_that_assets_have() -> None:
    from exchange.cli import catalog
    from exchange.node.asset_requests import KINDS
    from policies.approvals import Sensitivity

    assert set(catalog.KINDS) == set(KINDS)
    assert set(catalog.GRADES) == set(Sensitivity)
