"""What the hub says of itself: to members, to its operator, to health checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from flask import Blueprint, Response, jsonify

from exchange import product_version
from exchange.hub.files import HUB_NAME
from exchange.hub.services import HubServices
from exchange.hub.witnesses import CopyStatus
from exchange.standing import describe_standing
from exchange.web.metrics import exposed
from exchange.web.openapi import describe
from exchange.web.pages import Language, Section, language, render_status
from ledger.times import format_time

__all__ = ["about_blueprint", "health_blueprint", "metrics_blueprint", "status_blueprint"]


@dataclass(frozen=True)
class _Words:
    """The words of the status page in one language."""

    title: str
    identity: str
    identity_rows: Sequence[str]
    ledger: str
    ledger_rows: Sequence[str]
    cosigners: str
    cosigners_columns: Sequence[str]
    yes_no: Sequence[str]
    members: str
    members_columns: Sequence[str]
    jobs: str
    copies: str
    copies_columns: Sequence[str]
    note: str


_WORDS: Mapping[Language, _Words] = {
    "en": _Words(
        title="Hub",
        identity="This hub",
        identity_rows=("Network", "Origin of the log", "Genesis", "Version", "Time"),
        ledger="Ledger",
        ledger_rows=("Entries", "Final entries", "Batches", "Order engine", "Quorum", "Final since"),
        cosigners="Cosignatures",
        cosigners_columns=("Member", "Last checkpoint", "Behind by", "At", "On the final one"),
        yes_no=("yes", "no"),
        members="Members",
        members_columns=("Name", "Role", "Status", "Participant"),
        jobs="Jobs by state",
        copies="Outside witnesses and mirrors",
        copies_columns=("Kind", "Name", "Cosigned entries", "Problem"),
        note="Members decide by their own copies of the ledger. What this page shows is this hub's word.",
    ),
    "zh": _Words(
        title="中枢",
        identity="本中枢",
        identity_rows=("网络", "日志来源", "创世条目", "版本", "时间"),
        ledger="账本",
        ledger_rows=("条目数", "已终局条目数", "批次数", "排序引擎", "法定联署数", "终局时间"),
        cosigners="联署",
        cosigners_columns=("成员", "最近检查点", "落后条目数", "时间", "是否在终局检查点上"),
        yes_no=("是", "否"),
        members="成员",
        members_columns=("名称", "角色", "状态", "参与方"),
        jobs="各状态任务数",
        copies="外部见证方与镜像",
        copies_columns=("类型", "名称", "已联署条目数", "问题"),
        note="成员只依据自己的账本副本作决定；本页所示仅为中枢的说法。",
    ),
}


@dataclass(frozen=True)
class HubAnswer:
    """Who this hub is, and its clock."""

    name: str
    net: str
    origin: str
    genesis: str
    time: str
    version: str


@dataclass(frozen=True)
class WitnessesAnswer:
    """The outside copies of the hub's log, in the order of its settings."""

    copies: tuple[CopyStatus, ...]


def about_blueprint(services: HubServices, require_caller: Callable[[], object]) -> Blueprint:
    """Who this hub is; the member listener asks for a member first."""
    bp = Blueprint("about", __name__)

    @bp.get("/v1/hub")
    @describe("Who this hub is, and its clock", response=HubAnswer, tags=("about",))
    def hub() -> Response:
        require_caller()
        return jsonify(asdict(_answer(services)))

    @bp.get("/v1/witnesses")
    @describe("How far outside witnesses and mirrors are", response=WitnessesAnswer, tags=("about",))
    def witnesses() -> Response:
        require_caller()
        return jsonify(copies=[asdict(copy) for copy in services.witnesses.status()])

    return bp


def health_blueprint(services: HubServices) -> Blueprint:
    """Whether the hub serves."""
    bp = Blueprint("health", __name__)

    @bp.get("/healthz")
    @describe("200 while the log can be read", response={"type": "object"}, tags=("about",))
    def health() -> Response:
        return jsonify(healthy=True, size=services.log.size, final_size=services.log.final_size)

    return bp


def metrics_blueprint(services: HubServices) -> Blueprint:
    """What the hub measures; like the status page, for whoever can connect to the operator's address."""
    bp = Blueprint("metrics", __name__)

    @bp.get("/metrics")
    @describe("Metrics in the Prometheus text format", media="text/plain", tags=("about",))
    def metrics() -> Response:
        return exposed(services.metrics.registry)

    return bp


def status_blueprint(services: HubServices) -> Blueprint:
    """The operator's page."""
    bp = Blueprint("status", __name__)

    @bp.get("/")
    @describe("Status page, English or Chinese (?lang=zh)", media="text/html", tags=("about",))
    def status() -> Response:
        lang = language()
        words, about, state = _WORDS[lang], _answer(services), services.log.state
        jobs = Counter(str(row["state"]) for row in state.rows("jobs").values())
        identity = (about.net, about.origin, about.genesis, about.version, about.time)
        final = describe_standing(services.store, services.log.size, services.log.final_size, state)
        ledger = (
            services.log.size,
            services.log.final_size,
            services.log.height,
            final.engine,
            final.quorum,
            final.time,
        )
        members = [
            (str(row["name"]), str(row["role"]), str(row["status"]), str(row["did"]))
            for row in state.rows("members").values()
        ]
        sections = [
            Section(words.identity, _rows(words.identity_rows, identity), note=words.note),
            Section(words.ledger, _rows(words.ledger_rows, ledger)),
            Section(words.cosigners, final.rows(words.yes_no), columns=words.cosigners_columns),
            Section(words.members, members, columns=words.members_columns),
            Section(words.jobs, [(name, str(jobs[name])) for name in sorted(jobs)]),
        ]
        copies = [
            (copy.kind, copy.name, str(copy.size), copy.problem or "") for copy in services.witnesses.status()
        ]
        if copies:
            sections.append(Section(words.copies, copies, columns=words.copies_columns))
        return render_status(f"{words.title} {about.net}", sections, lang)

    return bp


def _answer(services: HubServices) -> HubAnswer:
    return HubAnswer(
        name=HUB_NAME,
        net=services.settings.net,
        origin=services.settings.origin,
        genesis=services.genesis,
        time=format_time(services.clock()),
        version=product_version(),
    )


def _rows(labels: Iterable[str], values: Iterable[object]) -> list[tuple[str, str]]:
    return [(label, str(value)) for label, value in zip(labels, values, strict=True)]
