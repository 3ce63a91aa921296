"""What every repository promises, on each kind of database the product runs on."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

import exchange.store
from connectors.spec import SourceSpec
from exchange.errors import Conflict, SealBroken
from exchange.store import (
    Account,
    AssetBinding,
    AssetPaper,
    Department,
    HubStore,
    KeptNotarization,
    NodeStore,
    PaperKind,
    StoreUnavailable,
    Token,
    open_engine,
    open_node_store,
    upgrade,
)
from exchange.store.engine import HEADS, transaction
from exchange.store.hub.models import HubBase
from exchange.store.node.models import NodeBase
from exchange.store.testing import postgresql_schema
from ledger.store import migrate

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
KEY = bytes(range(32))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/store.sqlite"
        return
    server = os.environ.get("PARLEY_TEST_POSTGRESQL")
    if not server:
        pytest.skip("PARLEY_TEST_POSTGRESQL names no server")
    with postgresql_schema(server) as inside:
        yield inside


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    opened = open_engine(url)
    yield opened
    opened.dispose()


@pytest.fixture
def hub(engine: Engine) -> HubStore:
    upgrade(engine, "hub")
    return HubStore(engine, lambda: NOW)


@pytest.fixture
def node(engine: Engine) -> NodeStore:
    upgrade(engine, "node")
    return NodeStore(engine, lambda: NOW, KEY)


class TestMigrations:
    def test_both_schemas_live_in_one_database_and_an_upgrade_repeats_without_effect(
        self, engine: Engine
    ) -> None:
        for _ in range(2):
            upgrade(engine, "hub")
            upgrade(engine, "node")
        names = set(inspect(engine).get_table_names())
        assert names == {"hub_version", "node_version", *HubBase.metadata.tables, *NodeBase.metadata.tables}

    @pytest.mark.parametrize(("schema", "base"), [("hub", HubBase), ("node", NodeBase)])
    def test_the_migrations_make_what_the_models_say(
        self, engine: Engine, schema: str, base: type[HubBase] | type[NodeBase]
    ) -> None:
        upgrade(engine, "hub")
        upgrade(engine, "node")
        options = {
            "compare_type": True,
            "include_name": lambda name, kind, _: kind != "table" or name in base.metadata.tables,
            "version_table": f"{schema}_version",
        }
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, base.metadata) == []

    @pytest.mark.parametrize("base", [HubBase, NodeBase])
    def test_only_what_may_be_unknown_is_nullable(self, base: type[HubBase] | type[NodeBase]) -> None:
        nullable = {
            f"{table.name}.{column.name}"
            for table in base.metadata.tables.values()
            for column in table.columns
            if column.nullable
        }
        assert nullable <= {
            "hub_progress.left_s",
            "node_assets.sealed_location",
            "node_assets.sealed_options",
            "node_assets.source_table",
            "node_dataspace.problem",
            "node_secrets.invitation_ends",
            "node_tokens.expires",
            "node_tokens.revoked",
        }


class TestTransactions:
    def test_a_database_without_tables_is_an_error_of_ours(self, engine: Engine) -> None:
        with pytest.raises(StoreUnavailable, match="did not carry out"):
            HubStore(engine, lambda: NOW).progress.all()

    def test_what_raises_leaves_nothing_behind(self, engine: Engine, hub: HubStore) -> None:
        insert = text("INSERT INTO hub_progress VALUES ('j', 's', 'p', 1, 2, 'now', 3)")

        def broken_off() -> None:
            with transaction(engine) as connection:
                connection.execute(insert)
                raise ValueError("stop")

        with pytest.raises(ValueError, match="stop"):
            broken_off()
        assert hub.progress.all() == []


class TestHub:
    def test_the_first_specification_of_a_job_stays(self, hub: HubStore) -> None:
        hub.specs.add("job-1", b"first")
        hub.specs.add("job-1", b"second")
        found = hub.specs.get("job-1")
        assert found is not None
        assert (found.content, found.stored) == (b"first", NOW)
        assert hub.specs.get("job-2") is None
        assert [spec.job for spec in hub.specs.all()] == ["job-1"]

    def test_a_result_is_kept_per_recipient_and_replaced_by_a_later_one(self, hub: HubStore) -> None:
        hub.results.put("job-1", "psi", "a", "b", b"old")
        hub.results.put("job-1", "psi", "a", "b", b"new")
        hub.results.put("job-1", "psi", "a", "c", b"other")
        found = hub.results.get("job-1", "psi", "a", "b")
        assert found is not None
        assert found.sealed == b"new"
        assert hub.results.get("job-1", "psi", "b", "a") is None
        assert [(result.recipient, result.sealed) for result in hub.results.all()] == [
            ("b", b"new"),
            ("c", b"other"),
        ]

    def test_progress_is_the_last_word_of_each_party(self, hub: HubStore) -> None:
        hub.progress.tell("job-1", "psi", "a", 1, 10)
        hub.progress.tell("job-1", "psi", "a", 5, 10, 60)
        hub.progress.tell("job-1", "psi", "b", 2**40, 2**41)
        hub.progress.tell("job-2", "psi", "a", 0, 1)
        assert [(p.party, p.done, p.total, p.left_s) for p in hub.progress.of("job-1")] == [
            ("a", 5, 10, 60),
            ("b", 2**40, 2**41, None),
        ]
        assert len(hub.progress.all()) == 3


class TestAssets:
    SECRET = SourceSpec("table", "postgresql+psycopg://reader:canary@db/loans", "public.loans")

    def binding(self, source: SourceSpec, version: int = 1) -> AssetBinding:
        return AssetBinding("lender/loans", version, source, b"s" * 32, ("id", "income"), ("id",))

    API = SourceSpec(
        "api",
        "https://api.example/rows?key=canary",
        options={
            "columns": [{"name": "id", "type": "text"}],
            "auth": {"scheme": "basic", "user": "reader", "password": "canary"},
        },
    )

    @pytest.mark.parametrize("source", [SourceSpec("file", "/data/loans.csv"), SECRET, API])
    def test_a_binding_is_read_back(self, node: NodeStore, source: SourceSpec) -> None:
        node.assets.bind(self.binding(source))
        node.assets.bind(self.binding(source, 2))
        assert node.assets.binding("lender/loans", 1) == self.binding(source)
        assert node.assets.binding("lender/loans", 3) is None

    def test_a_binding_that_was_never_published_is_replaced(self, node: NodeStore) -> None:
        node.assets.bind(self.binding(self.SECRET))
        node.assets.bind(self.binding(SourceSpec("file", "/data/loans.csv")))
        assert node.assets.binding("lender/loans", 1) == self.binding(SourceSpec("file", "/data/loans.csv"))

    @pytest.mark.parametrize("source", [SECRET, API])
    def test_a_password_is_in_no_column(self, node: NodeStore, engine: Engine, source: SourceSpec) -> None:
        node.assets.bind(self.binding(source))
        with engine.connect() as connection:
            row = connection.execute(text("SELECT * FROM node_assets")).one()
        assert b"canary" not in b"|".join(v if isinstance(v, bytes) else str(v).encode() for v in row)
        assert row.location == source.display

    @pytest.mark.parametrize("source", [SECRET, API])
    def test_a_source_moved_to_another_version_does_not_open(
        self, node: NodeStore, engine: Engine, source: SourceSpec
    ) -> None:
        node.assets.bind(self.binding(source))
        with engine.begin() as connection:
            connection.execute(text("UPDATE node_assets SET version = 2"))
        with pytest.raises(Conflict, match="that this node sealed"):
            node.assets.binding("lender/loans", 2)

    def test_credentials_need_a_key(self, node: NodeStore, engine: Engine) -> None:
        keyless = NodeStore(engine, lambda: NOW)
        with pytest.raises(Conflict, match="expected a key"):
            keyless.assets.bind(self.binding(self.SECRET))
        node.assets.bind(self.binding(self.SECRET))
        with pytest.raises(Conflict, match="expected a key"):
            keyless.assets.binding("lender/loans", 1)


class TestPeople:
    ADA = Account("person-1", "ada", "Ada", "", ("auditor", "steward"), "active", NOW, "root", NOW, "root")
    KEY = Token("token-1", "person-1", "first", "1" * 64, ("auditor",), NOW, "root", None, None)

    def test_an_account_and_its_token_are_found(self, node: NodeStore) -> None:
        with node.people.changing() as change:
            change.add_account(self.ADA)
            change.add_token(self.KEY)
        with node.people.reading() as look:
            assert look.account("ada") == look.account_by_id("person-1") == self.ADA
            assert look.token("1" * 64) == self.KEY
            assert look.token("2" * 64) is None
            assert look.accounts() == [self.ADA]
            assert look.tokens("person-1") == [self.KEY]

    def test_a_change_that_fails_leaves_nothing(self, node: NodeStore) -> None:
        def fail() -> None:
            with node.people.changing() as change:
                change.add_account(self.ADA)
                change.record("root", "account.add", "ada")
                raise Conflict("no")

        with pytest.raises(Conflict):
            fail()
        with node.people.reading() as look:
            assert look.accounts() == []
        assert node.people.acts(0, 10) == []

    def test_changes_come_one_after_the_other(self, node: NodeStore) -> None:
        def act(number: int) -> None:
            with node.people.changing() as change:
                change.record("root", "test", str(number), number=number)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(act, range(24)))
        acts = node.people.acts(0, 100)
        assert [one.position for one in acts] == list(range(1, 25))
        assert {one.subject for one in acts} == {str(number) for number in range(24)}
        assert node.people.verify_record().sound

    def test_departments_and_the_organisation_are_kept(self, node: NodeStore) -> None:
        with node.people.changing() as change:
            change.put_department(Department("credit", "Credit", ""), new=True)
            change.put_department(Department("credit", "Loans", ""), new=False)
            change.set_organisation({"phone": "1"})
        with node.people.reading() as look:
            assert look.departments() == [Department("credit", "Loans", "")]
            assert look.organisation() == {"phone": "1"}
        with node.people.changing() as change:
            change.drop_department("credit")
            assert change.departments() == []

    def test_people_of_an_older_node_stay(self, engine: Engine) -> None:
        scripts = Path(exchange.store.__file__).parent / "node" / "migrations"
        migrate(engine, scripts, "node_version", "node_0003")
        with engine.begin() as connection:
            connection.execute(
                text("INSERT INTO node_people VALUES ('Old Name', :roles, :digest, '2026-01-01T00:00:00Z')"),
                {"roles": '["steward", "analyst"]', "digest": "a" * 64},
            )
        upgrade(engine, "node")
        with NodeStore(engine, lambda: NOW).people.reading() as look:
            token = look.token("a" * 64)
            assert token is not None
            account = look.account_by_id(token.account)
        assert account is not None
        assert (account.name, account.roles, account.state) == ("Old Name", ("steward", "analyst"), "active")
        assert (token.roles, token.expires, token.revoked) == (("steward", "analyst"), None, None)


class TestJobs:
    def test_a_step_begins_for_the_first_time_once(self, node: NodeStore) -> None:
        assert [node.jobs.begin("job-1", "match") for _ in range(2)] == [True, False]
        assert node.jobs.begin("job-1", "sums")

    def test_the_specification_decided_on_stays(self, node: NodeStore) -> None:
        node.jobs.keep_spec("job-1", b"first")
        node.jobs.keep_spec("job-1", b"second")
        assert node.jobs.spec("job-1") == b"first"
        assert node.jobs.spec("job-2") is None

    def test_attempts_at_a_step_are_counted_until_none_is_allowed(self, node: NodeStore) -> None:
        jobs = node.jobs
        assert jobs.attempts("job-1", "train") == 0
        jobs.begin("job-1", "train")
        assert jobs.attempts("job-1", "train") == 1
        jobs.begin_again("job-1", "train", 4)
        assert (jobs.attempts("job-1", "train"), jobs.begin("job-1", "train")) == (4, False)
        assert not jobs.is_closed("job-1", "train")
        jobs.keep_state("job-1", "train", 1, b"first", oldest=0)
        jobs.close("job-1", "train")
        assert jobs.is_closed("job-1", "train")
        assert not jobs.is_closed("job-1", "sums")
        assert jobs.states("job-1", "train") == {}

    def test_what_a_step_goes_on_from_is_kept_by_number(self, node: NodeStore) -> None:
        jobs = node.jobs
        for number in (1, 2, 3):
            jobs.keep_state("job-1", "train", number, b"old", oldest=number - 1)
        jobs.keep_state("job-1", "train", 3, b"new", oldest=2)
        jobs.keep_state("job-2", "train", 9, b"other", oldest=8)
        assert jobs.states("job-1", "train") == {2: b"old", 3: b"new"}
        assert jobs.jobs_with_states() == ["job-1", "job-2"]
        jobs.drop_states("job-1", "train", after=2)
        assert jobs.states("job-1", "train") == {2: b"old"}
        jobs.drop_states("job-1")
        assert jobs.jobs_with_states() == ["job-2"]

    def test_the_first_checkpoint_of_a_step_stays(self, node: NodeStore) -> None:
        node.jobs.keep_checkpoint("job-1", "psi", b"first")
        node.jobs.keep_checkpoint("job-1", "psi", b"second")
        assert node.jobs.checkpoint("job-1", "psi") == b"first"
        assert node.jobs.checkpoint("job-1", "stats") is None


class TestNotarizations:
    def test_the_first_batch_under_an_id_stays(self, node: NodeStore) -> None:
        first = KeptNotarization("notarization-1", b"entry", b"leaves")
        assert node.notarizations.find("notarization-1") is None
        assert node.notarizations.put(first) == first
        assert node.notarizations.put(replace(first, entry=b"other")) == first

    def test_an_expired_entry_is_replaced_once_and_leaves_can_be_forgotten(self, node: NodeStore) -> None:
        node.notarizations.put(KeptNotarization("notarization-1", b"old", b"leaves"))
        node.notarizations.replace_entry("notarization-1", b"old", b"new")
        node.notarizations.replace_entry("notarization-1", b"old", b"newer")
        node.notarizations.forget("notarization-1")
        assert node.notarizations.find("notarization-1") == KeptNotarization("notarization-1", b"new", b"")


class TestOutbox:
    def test_pending_entries_come_back_in_order_until_they_are_settled(self, node: NodeStore) -> None:
        for i in range(3):
            node.outbox.put(f"{i}" * 64, "job.submit", b"raw%d" % i)
        node.outbox.put("1" * 64, "job.submit", b"again")
        node.outbox.settle("0" * 64, "final")
        assert [(entry.txid[0], entry.raw) for entry in node.outbox.pending()] == [
            ("1", b"raw1"),
            ("2", b"raw2"),
        ]

    def test_the_first_outcome_stays(self, node: NodeStore, engine: Engine) -> None:
        node.outbox.put("1" * 64, "job.submit", b"raw")
        node.outbox.settle("1" * 64, "refused")
        node.outbox.settle("1" * 64, "final")
        node.outbox.put("1" * 64, "job.submit", b"raw")
        assert node.outbox.pending() == []
        with engine.connect() as connection:
            assert connection.execute(text("SELECT state FROM node_outbox")).scalar() == "refused"


class TestAssetPapers:
    def test_papers_are_kept_by_version_and_kind(self, node: NodeStore) -> None:
        papers = node.asset_papers
        first = AssetPaper("lender/loans", 1, PaperKind.REVIEW, b"one", b"salt")
        papers.put(first)
        papers.put(AssetPaper("lender/loans", 1, PaperKind.QUALITY, b"two"))
        papers.put(AssetPaper("lender/loans", 2, PaperKind.REVIEW, b"three", b"other"))
        assert papers.get("lender/loans", 1, PaperKind.REVIEW) == first
        assert papers.get("lender/loans", 3, PaperKind.REVIEW) is None
        assert [paper.version for paper in papers.all(PaperKind.REVIEW)] == [1, 2]
        papers.put(replace(first, content=b"again"))
        assert papers.all(PaperKind.REVIEW)[0].content == b"again"
        papers.drop("lender/loans", 1, PaperKind.REVIEW)
        papers.drop("lender/loans", 9, PaperKind.REVIEW)
        assert [paper.version for paper in papers.all(PaperKind.REVIEW)] == [2]
        assert "three" not in repr(papers.all(PaperKind.REVIEW))


def test_a_sqlite_file_is_durable_and_readable_while_written(tmp_path: Path) -> None:
    store = open_node_store(f"sqlite:///{tmp_path}/node.sqlite", clock=lambda: NOW)
    with store.engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
    store.close()
    with sqlite3.connect(tmp_path / "node.sqlite") as raw:
        assert raw.execute("SELECT version_num FROM node_version").fetchall() == [(HEADS["node"],)]
    raw.close()


def test_a_database_that_cannot_be_opened_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="OperationalError"):
        open_node_store(f"sqlite:///{tmp_path}/none/node.sqlite")


def test_a_sealed_record_is_written_once_read_whole_and_taken_once(engine: Engine) -> None:
    upgrade(engine, "node")
    vault = NodeStore(engine, lambda: NOW, vault_key=KEY).vault
    assert vault.add("review", "a", {"note": "seen"}, parent="all")
    assert not vault.add("review", "a", {"note": "other"})
    vault.add("review", "b", {"n": 1}, parent="all")
    assert vault.find("review", "a") == {"note": "seen"}
    assert vault.of("review", "all") == [{"note": "seen"}, {"n": 1}]
    assert vault.take("review", "b") == {"n": 1}
    assert vault.take("review", "b") is None
    assert vault.find("review", "b") is None
    with engine.connect() as connection:
        rows = connection.execute(text("select sealed from node_vault")).scalars().all()
    assert all(b"seen" not in bytes(row) for row in rows)


def test_a_sealed_record_that_was_swapped_or_altered_is_refused(engine: Engine) -> None:
    upgrade(engine, "node")
    vault = NodeStore(engine, lambda: NOW, vault_key=KEY).vault
    vault.add("review", "a", {"n": 1}, parent="x")
    for change in ("record = 'b'", "parent = 'y'", "kind = 'credential'"):
        with engine.begin() as connection:
            connection.execute(text(f"update node_vault set {change}"))  # noqa: S608 - of this test
        with pytest.raises(SealBroken):
            vault.of("credential" if "kind" in change else "review", "y" if "parent" in change else "x")
        with engine.begin() as connection:
            connection.execute(text("update node_vault set record = 'a', parent = 'x', kind = 'review'"))
    with pytest.raises(SealBroken):
        NodeStore(engine, lambda: NOW, vault_key=bytes(32)).vault.find("review", "a")
    with pytest.raises(Conflict):
        NodeStore(engine, lambda: NOW).vault.find("review", "a")
