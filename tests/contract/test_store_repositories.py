"""What every repository promises, on each kind of database the product runs on."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from connectors.spec import SourceSpec
from exchange.errors import Conflict
from exchange.store import (
    AssetBinding,
    HubStore,
    NodeStore,
    StoreUnavailable,
    open_engine,
    open_node_store,
    upgrade,
)
from exchange.store.engine import transaction
from exchange.store.hub.models import HubBase
from exchange.store.node.models import NodeBase
from exchange.store.testing import postgresql_schema
from policies.approvals import Decision, Verdict

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
        assert nullable <= {"node_assets.sealed_location", "node_assets.source_table"}


class TestTransactions:
    def test_a_database_without_tables_is_an_error_of_ours(self, engine: Engine) -> None:
        with pytest.raises(StoreUnavailable, match="did not carry out"):
            HubStore(engine, lambda: NOW).progress.all()

    def test_what_raises_leaves_nothing_behind(self, engine: Engine, hub: HubStore) -> None:
        insert = text("INSERT INTO hub_progress VALUES ('j', 's', 'p', 1, 2, 'now')")

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
        hub.progress.tell("job-1", "psi", "a", 5, 10)
        hub.progress.tell("job-1", "psi", "b", 2**40, 2**41)
        hub.progress.tell("job-2", "psi", "a", 0, 1)
        assert [(p.party, p.done, p.total) for p in hub.progress.of("job-1")] == [
            ("a", 5, 10),
            ("b", 2**40, 2**41),
        ]
        assert len(hub.progress.all()) == 3


class TestAssets:
    SECRET = SourceSpec("sql", "postgresql+psycopg://reader:canary@db/loans", "public.loans")

    def binding(self, source: SourceSpec, version: int = 1) -> AssetBinding:
        return AssetBinding("lender/loans", version, source, b"s" * 32, ("id", "income"), ("id",))

    @pytest.mark.parametrize("source", [SourceSpec("file", "/data/loans.csv"), SECRET])
    def test_a_binding_is_read_back(self, node: NodeStore, source: SourceSpec) -> None:
        node.assets.bind(self.binding(source))
        node.assets.bind(self.binding(source, 2))
        assert node.assets.binding("lender/loans", 1) == self.binding(source)
        assert node.assets.binding("lender/loans", 3) is None

    def test_a_binding_that_was_never_published_is_replaced(self, node: NodeStore) -> None:
        node.assets.bind(self.binding(self.SECRET))
        node.assets.bind(self.binding(SourceSpec("file", "/data/loans.csv")))
        assert node.assets.binding("lender/loans", 1) == self.binding(SourceSpec("file", "/data/loans.csv"))

    def test_a_password_is_in_no_column(self, node: NodeStore, engine: Engine) -> None:
        node.assets.bind(self.binding(self.SECRET))
        with engine.connect() as connection:
            row = connection.execute(text("SELECT * FROM node_assets")).one()
        assert b"canary" not in b"|".join(v if isinstance(v, bytes) else str(v).encode() for v in row)
        assert "db/loans" in row.location

    def test_a_location_moved_to_another_version_does_not_open(self, node: NodeStore, engine: Engine) -> None:
        node.assets.bind(self.binding(self.SECRET))
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
    def test_a_person_is_found_by_the_digest_of_the_token(self, node: NodeStore) -> None:
        node.people.add("ada", ["auditor", "steward"], "1" * 64)
        found = node.people.by_token_digest("1" * 64)
        assert found is not None
        assert (found.name, found.roles, found.created) == ("ada", ("auditor", "steward"), NOW)
        assert node.people.by_token_digest("2" * 64) is None
        assert [person.name for person in node.people.all()] == ["ada"]

    @pytest.mark.parametrize(("name", "digest"), [("ada", "2" * 64), ("eve", "1" * 64)])
    def test_a_name_and_a_token_belong_to_one_person(self, node: NodeStore, name: str, digest: str) -> None:
        node.people.add("ada", ["auditor"], "1" * 64)
        with pytest.raises(Conflict, match=name):
            node.people.add(name, ["auditor"], digest)
        assert len(node.people.all()) == 1

    def test_decisions_keep_their_order_and_each_person_has_one(self, node: NodeStore) -> None:
        first = Decision("ada", "steward", Verdict.APPROVE, "covered by the law")
        second = Decision("bob", "approver", Verdict.APPROVE, "agreed")
        node.decisions.add("negotiation-1", first)
        node.decisions.add("negotiation-1", second)
        node.decisions.add("negotiation-2", first)
        with pytest.raises(Conflict, match="ada has decided"):
            node.decisions.add("negotiation-1", replace(first, reason="another"))
        assert node.decisions.of("negotiation-1") == (first, second)
        assert node.decisions.of("negotiation-3") == ()


class TestJobs:
    def test_the_specification_decided_on_stays(self, node: NodeStore) -> None:
        node.jobs.keep_spec("job-1", b"first")
        node.jobs.keep_spec("job-1", b"second")
        assert node.jobs.spec("job-1") == b"first"
        assert node.jobs.spec("job-2") is None

    def test_the_first_checkpoint_of_a_step_stays(self, node: NodeStore) -> None:
        node.jobs.keep_checkpoint("job-1", "psi", b"first")
        node.jobs.keep_checkpoint("job-1", "psi", b"second")
        assert node.jobs.checkpoint("job-1", "psi") == b"first"
        assert node.jobs.checkpoint("job-1", "stats") is None


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


def test_a_sqlite_file_is_durable_and_readable_while_written(tmp_path: Path) -> None:
    store = open_node_store(f"sqlite:///{tmp_path}/node.sqlite", clock=lambda: NOW)
    with store.engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
    store.close()
    with sqlite3.connect(tmp_path / "node.sqlite") as raw:
        assert raw.execute("SELECT version_num FROM node_version").fetchall() == [("node_0001",)]
    raw.close()


def test_a_database_that_cannot_be_opened_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="OperationalError"):
        open_node_store(f"sqlite:///{tmp_path}/none/node.sqlite")
