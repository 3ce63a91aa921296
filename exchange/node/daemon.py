"""Build a node from its directory and run it until it is told to stop."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from exchange import heap, logs
from exchange.config import NodeSettings, node_settings
from exchange.dataspace.connector import Connector, announced, needs_announcement
from exchange.errors import Conflict, HubUnreachable, InvalidRequest
from exchange.identity import NodeKeys
from exchange.jobs.flower.installation import Flower
from exchange.jobs.registry import built_in
from exchange.keyring import KeyRingFile
from exchange.lookup.lookups import Lookups
from exchange.node.app import create_app
from exchange.node.approval_rules import ApprovalRules
from exchange.node.approvals import Approvals
from exchange.node.assets import Assets
from exchange.node.costs import Costs
from exchange.node.deliveries import SEALED_SIZE, Deliveries
from exchange.node.duties import Duty, DutyKind
from exchange.node.duty_worker import DutyWorker
from exchange.node.hand_overs import spool_folder
from exchange.node.hub_client import HubClient
from exchange.node.indexer import Indexer
from exchange.node.jobs import Jobs
from exchange.node.ledger_client import LedgerClient
from exchange.node.negotiations import Negotiations
from exchange.node.notices import Notices
from exchange.node.outcome_notices import OutcomeNotices
from exchange.node.papers import Papers
from exchange.node.people import People, Separation
from exchange.node.permissions import Permissions
from exchange.node.services import NodeServices
from exchange.node.sessions import Sessions
from exchange.node.setup import COSIGNED_FILE, KEYS_FILE, PEOPLE_MARK_FILE
from exchange.node.stops import JobRuns, StopWatch
from exchange.node.tidying import Tidying
from exchange.node.webhook import Webhook, read_secret
from exchange.rpc.channel import Observer, PartyListener
from exchange.rpc.envelopes import EnvelopeService
from exchange.rpc.lookups import LookupService
from exchange.rpc.papers import PaperService
from exchange.rpc.scores import ScoreService
from exchange.scoring.scoring import Scoring
from exchange.signals import call_at_end
from exchange.store import open_node_store
from exchange.tls import server_context
from exchange.web.server import Server
from ledger import base64url
from ledger.membership import genesis_hash
from ledger.mirror import Mirror
from ledger.payloads import PayloadStore
from ledger.state import settle
from ledger.store import LedgerStore, upgrade
from ledger.times import system_clock
from ledger.verification import Verifier
from mpc.engines.spool import sweep

__all__ = ["Node", "run"]

_log = logging.getLogger(__name__)


class Node:
    """A running node; a context manager starts and stops it.

    Args:
        settings: from ``node_settings``; the node must have joined a hub.
        keys: this participant's key file; the node uses the set that its own copy of the ledger names.
        on_rotation: called when that has become another set than the one in use.
        clock: aware time in UTC.
        observer: sees every frame that other parties exchange with this node; for transcript tests.
        connect: makes the connection to the hub from its address, this node's keys and the hub's certificate.
    """

    def __init__(
        self,
        settings: NodeSettings,
        keys: KeyRingFile,
        *,
        on_rotation: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = system_clock,
        observer: Observer | None = None,
        connect: Callable[[str, NodeKeys, bytes], HubClient] = HubClient,
    ) -> None:
        if settings.hub is None:
            raise Conflict(f"node {settings.name} has not joined a hub yet: parley node join")
        genesis, ring = settings.hub.genesis.read_bytes(), keys.read()
        store = open_node_store(
            settings.database,
            clock=clock,
            location_key=ring.current.storage_key(b"source locations"),
            decision_key=ring.current.storage_key(b"approval decisions"),
            people_mark=settings.directory / PEOPLE_MARK_FILE,
            vault_key=ring.current.storage_key(b"identity records"),
            cohort_key=ring.current.storage_key(b"cohorts of releases"),
        )
        upgrade(store.engine)
        hub = connect(settings.hub.url, ring.current, settings.hub.certificate)
        mirror = Mirror(
            LedgerStore(store.engine),
            hub,
            genesis,
            cosigner=[one.cosign for one in ring.sets],
            clock=clock,
            evidence=settings.directory / "evidence",
            cosigned=settings.directory / COSIGNED_FILE,
            verifier=Verifier(settings.verify_processes),
        )
        self._file, self._mirror, self._on_rotation = keys, mirror, on_rotation
        self._record = _own_record(mirror, ring.current.did)
        own = self.keys = ring.named_by(self._record) or ring.current
        self._shown = ring.current
        if own != self._shown:
            self._show(own, hub)
        ledger = LedgerClient(
            mirror=mirror,
            source=hub,
            keys=own,
            net=settings.net,
            outbox=store.outbox,
            clock=clock,
            final_timeout_s=settings.final_timeout_s,
        )
        sessions = Sessions()
        papers = Papers(store.asset_papers, ledger, own)
        paper_service = PaperService(lambda: _certificates(ledger), papers.answer)
        self._listener = PartyListener(
            settings.party_bind,
            own,
            members=lambda: _certificates(ledger),
            expects=sessions.expects,
            clock=clock,
            max_skew_s=settings.max_clock_skew_s,
            observer=observer,
            beside=lambda server: _add(
                server,
                self._envelopes,
                paper_service,
                LookupService(lambda: _certificates(ledger), self._lookups.desk),
                ScoreService(lambda: _certificates(ledger), self._scoring.desk.answer),
            ),
        )
        notices = Notices(store.notices, clock)
        self._webhook: Webhook | None = None
        if settings.webhook_url is not None and settings.webhook_secret is not None:
            secret = read_secret(settings.webhook_secret)
            self._webhook = Webhook(
                settings.webhook_url, settings.webhook_certificate, secret, store.webhook_calls, clock
            )
            notices.on_notice(self._webhook.owe)
        people = People(store.people, Separation(settings.separate_roles))
        rules = ApprovalRules(store.approval_rules, notices, people.roles, clock)
        approvals = Approvals(store.approvals, rules, notices, clock)
        registry = built_in(Flower(settings.flower_python, settings.flower_apps))
        self.services = NodeServices(
            settings=settings,
            net=settings.net,
            genesis=genesis_hash(genesis),
            keys=own,
            store=store,
            hub=hub,
            ledger=ledger,
            payloads=PayloadStore(mirror.store, own.storage_key(b"private payloads")),
            papers=papers,
            assets=Assets(settings, store, ledger, own.did, clock),
            registry=registry,
            listener=self._listener,
            sessions=sessions,
            notices=notices,
            approvals=approvals,
            costs=Costs(store.step_costs, registry),
            permissions=Permissions(store.permissions, approvals, notices, clock),
            runs=JobRuns(),
            clock=clock,
            observer=observer,
        )
        self._deliveries = Deliveries(self.services)
        self._lookups = Lookups(self.services, lambda: self._duties.look())
        self._scoring = Scoring(self.services, lambda: self._duties.look())
        self._envelopes = EnvelopeService(lambda: _certificates(ledger), self._deliveries.find, SEALED_SIZE)
        jobs = Jobs(self.services)
        negotiations = Negotiations(ledger, own.did, approvals, registry, clock)
        outcomes = OutcomeNotices(ledger, own.did, notices, store.notices)
        self._tidying = Tidying(ledger, approvals, outcomes, store.jobs)
        self._duties = DutyWorker(
            ledger,
            own.did,
            {
                DutyKind.ACKNOWLEDGE_MEMBERSHIP: lambda _: _write(ledger, "member.ack", {}),
                DutyKind.EXECUTE_PROPOSAL: lambda key: _write(ledger, "gov.execute", {"proposal": key}),
                DutyKind.ANNOUNCE_CONNECTOR: lambda _: self._announce_connector(),
                DutyKind.CONCLUDE_NEGOTIATION: negotiations.conclude,
                DutyKind.VERIFY_AGREEMENT: negotiations.verify,
                DutyKind.FINALIZE_NEGOTIATION: negotiations.finalize,
                DutyKind.APPROVE_JOB: jobs.approve,
                DutyKind.DECIDE_JOB: jobs.decide,
                DutyKind.RUN_JOB: jobs.run,
                DutyKind.HALT_JOB: jobs.halt,
                DutyKind.BUILD_LOOKUP: self._lookups.publishing.build,
                DutyKind.BUILD_MODEL_TABLE: self._scoring.models.build,
            },
            own=self._own_duties,
        )
        bind, base = settings.dataspace_bind, announced(self.services)
        self._connector = None if bind is None or base is None else Connector(self.services, bind, base)
        self._stops = StopWatch(ledger, own.did, self.services.runs, clock)
        ledger.on_change(self._duties.look)
        approvals.on_change(self._duties.look)
        self._indexer = Indexer(ledger)
        ledger.on_change(self._indexer.wake)
        ledger.on_change(self._look_at_own_keys)
        ledger.on_failure(lambda: self._show_other(hub))
        app = create_app(self.services, negotiations, jobs, self._lookups, self._scoring, self._connector)
        self._server = Server(app, settings.api_bind, server_context(own.tls_key, own.tls_cert, None))

    def __enter__(self) -> Node:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def api_port(self) -> int:
        """Where the node's API listens."""
        return self._server.port

    def start(self) -> None:
        """Check the clock against the hub's, then listen and follow the ledger.

        Raises:
            InvalidRequest: this machine's clock and the hub's differ by more than the consortium allows.
        """
        self._greet()
        self._deliveries.sweep()
        sweep(spool_folder(self.services.settings.directory))
        threading.Thread(target=self._probe_engines, name="engines", daemon=True).start()
        self._listener.start()
        self._server.start()
        self.services.ledger.start()
        self._indexer.start()
        self._tidying.start()
        self._lookups.reporter.start()
        self._scoring.reporter.start()
        if self._webhook is not None:
            self._webhook.start()
        self._stops.start()
        if self._connector is not None:
            self._connector.start()

    def _probe_engines(self) -> None:
        """Find out which engines start here, so that no request waits for it."""
        for engine in self.services.registry.engines():
            version = engine.version()
            if version is None:
                _log.warning("engine %s is absent; %s", engine.name, engine.install)
            else:
                _log.info("engine %s %s", engine.name, version)

    def _own_duties(self) -> list[Duty]:
        """Duties that do not follow from the ledger alone."""
        owed = {
            DutyKind.ANNOUNCE_CONNECTOR: needs_announcement(self.services),
        }
        builds = [Duty(DutyKind.BUILD_LOOKUP, service) for service in self._lookups.publishing.owed()]
        builds += [Duty(DutyKind.BUILD_MODEL_TABLE, version) for version in self._scoring.models.owed()]
        return [*(Duty(kind, "") for kind, is_owed in owed.items() if is_owed), *builds]

    def _announce_connector(self) -> None:
        """Say in this participant's member record where its Dataspace Protocol connector is."""
        row = self.services.ledger.next_state.rows("members")[self.keys.did]
        body = {"endpoint": row["endpoint"], "dataspace": announced(self.services)}
        self.services.ledger.write("member.update", body)

    def _greet(self) -> None:
        """Check the clock against the hub's, which may know the certificate of another set by now."""
        try:
            _check_clock(self.services)
        except HubUnreachable:
            if not self._show_other(self.services.hub):
                raise
            _check_clock(self.services)

    def _show_other(self, hub: HubClient) -> bool:
        """Show the hub the certificate of the other set, if there is one.

        The hub lets a replaced certificate in no longer, so a node that has not seen its rotation yet would
        never see it. What it signs with follows its own copy all the same.
        """
        others = [one for one in self._file.read().sets if one.tls_cert != self._shown.tls_cert]
        if others:
            self._show(others[-1], hub)
        return bool(others)

    def _show(self, keys: NodeKeys, hub: HubClient) -> None:
        self._shown = keys
        hub.use(keys)

    def _look_at_own_keys(self) -> None:
        """Tell once when this node's own copy states other keys of this member than those in use."""
        record = _own_record(self._mirror, self.keys.did)
        if record == self._record or record is None:
            return
        self._record = record
        found = self._file.read().named_by(record)
        if found is None:
            _log.error("the ledger names keys of this member that its key file does not hold")
        elif found != self.keys:
            self._on_rotation()

    def stop(self) -> None:
        """Stop taking requests, then duties, then the ledger."""
        self.services.ledger.stop()
        if self._connector is not None:
            self._connector.stop()
        self._server.stop()
        self._duties.stop()
        self.services.runs.close("this node stops")
        self._stops.stop()
        self._indexer.stop()
        self._tidying.stop()
        self._lookups.stop()
        self._scoring.stop()
        if self._webhook is not None:
            self._webhook.stop()
        self._listener.stop()
        self.services.ledger.mirror.close()
        self.services.hub.close()
        self.services.store.close()


def run(directory: Path, passphrase: str) -> None:
    """Run the node of ``directory`` until SIGTERM or SIGINT; a line of JSON on stdout says it is up.

    When the ledger names the keys of a rotation, the process replaces itself by a new one, which uses those:
    no connection, no thread and no secret of the old keys is left.
    """
    logs.configure()
    settings = node_settings(directory, os.environ)
    keys = KeyRingFile(directory / KEYS_FILE, passphrase)
    wake, ended = threading.Event(), threading.Event()

    def end() -> None:
        ended.set()
        wake.set()

    call_at_end(end)
    with Node(settings, keys, on_rotation=wake.set) as node:
        ring = keys.read()
        if ring.current != node.keys:
            keys.replace(ring.since(node.keys))
        ready = {"ready": True, "api": f"https://{settings.api_bind}", "party": settings.party_endpoint}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        heap.settle()
        wake.wait()
    if not ended.is_set():
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - the same program again


def _own_record(mirror: Mirror, did: str) -> Mapping[str, Any] | None:
    """This member's record as the next batch finds it; final or not, for a quorum may need the new key."""
    return settle(mirror.state, mirror.size).get("members", did)


def _certificates(ledger: LedgerClient) -> Mapping[str, bytes]:
    """Certificates of members whose data plane may be talked to."""
    return {
        str(row["did"]): base64url.decode(row["tls"])
        for row in ledger.next_state.rows("members").values()
        if row["status"] == "active"
    }


def _check_clock(services: NodeServices) -> None:
    skew_s, allowed_s = services.hub.skew(services.clock()), services.settings.max_clock_skew_s
    if abs(skew_s) > allowed_s:
        raise InvalidRequest(
            "clock",
            f"at most {allowed_s} s away from the hub's",
            f"{skew_s:+.0f} s; set this machine's clock",
        )


def _add(
    server: grpc.Server, *services: EnvelopeService | PaperService | LookupService | ScoreService
) -> None:
    for service in services:
        service.add_to(server)


def _write(ledger: LedgerClient, entry_type: str, body: Mapping[str, object]) -> None:
    ledger.write(entry_type, body)
