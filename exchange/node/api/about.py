"""What this node is and how it stands: for people without a token, for programs, for health checks."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from exchange import product_version
from exchange.node.services import NodeServices
from exchange.standing import describe_standing
from exchange.web.openapi import describe
from exchange.web.pages import Section, language, render_status
from ledger import browser
from ledger.times import format_time

__all__ = ["about_blueprint", "describe_node"]

_WORDS = {
    "en": {
        "title": "Node",
        "identity": "This node",
        "ledger": "Ledger",
        "rows": ("Participant", "Name", "Role", "Network", "Version", "Hub"),
        "ledger_rows": (
            "Entries in own copy",
            "Final entries",
            "Genesis",
            "Trust in the hub's log",
            "Order engine",
            "Quorum",
            "Final since",
        ),
        "cosigners": "Cosignatures",
        "cosigners_columns": ("Member", "Last checkpoint", "Behind by", "At", "On the final one"),
        "yes_no": ("yes", "no"),
        "trusted": "own copy and the hub's log agree",
        "members": "Members",
        "columns": ("Name", "Role", "Status", "Participant"),
        "note": "What runs at this node is described at /docs; it answers callers with a token. "
        "Evidence bundles are checked in your browser at /verify.",
    },
    "zh": {
        "title": "节点",
        "identity": "本节点",
        "ledger": "账本",
        "rows": ("参与方", "名称", "角色", "网络", "版本", "中枢"),
        "ledger_rows": (
            "本地副本条目数",
            "已终局条目数",
            "创世条目",
            "对中枢日志的信任",
            "排序引擎",
            "法定联署数",
            "终局时间",
        ),
        "cosigners": "联署",
        "cosigners_columns": ("成员", "最近检查点", "落后条目数", "时间", "是否在终局检查点上"),
        "yes_no": ("是", "否"),
        "trusted": "本地副本与中枢日志一致",
        "members": "成员",
        "columns": ("名称", "角色", "状态", "参与方"),
        "note": "本节点的接口说明见 /docs;调用需要令牌。在 /verify 可用浏览器验证证据包。",
    },
}


def describe_node(services: NodeServices) -> dict[str, object]:
    """The node's public facts."""
    ledger, settings = services.ledger, services.settings
    return {
        "did": services.keys.did,
        "name": settings.name,
        "title": settings.title,
        "role": settings.role,
        "net": services.net,
        "genesis": services.genesis,
        "size": ledger.mirror.size,
        "final_size": ledger.final_size,
        "divergence": ledger.divergence,
        "members": sum(
            1 for row in ledger.mirror.state.rows("members").values() if row["status"] == "active"
        ),
        "time": format_time(services.clock()),
        "version": product_version(),
        "engines": [
            {"name": engine.name, "version": engine.version(), "install": engine.install}
            for engine in services.registry.engines()
        ],
        "hub": "" if settings.hub is None else settings.hub.url,
    }


def about_blueprint(services: NodeServices) -> Blueprint:
    """Routes that need no token and show no more than every member knows."""
    bp = Blueprint("about", __name__)

    @bp.get("/")
    @describe("Status page, English or Chinese (?lang=zh)", media="text/html", tags=("about",))
    def status() -> Response:
        lang = language()
        words, facts = _WORDS[lang], describe_node(services)
        values = [facts[name] for name in ("did", "title", "role", "net", "version", "hub")]
        ledger = [
            facts["size"],
            facts["final_size"],
            facts["genesis"],
            facts["divergence"] or words["trusted"],
        ]
        mirror = services.ledger.mirror
        size, state = mirror.final
        final = describe_standing(mirror.store, mirror.size, size, state)
        ledger += [final.engine, final.quorum, final.time]
        members = services.ledger.mirror.state.rows("members").values()
        sections = [
            Section(str(words["identity"]), _pairs(words["rows"], values), note=str(words["note"])),
            Section(str(words["ledger"]), _pairs(words["ledger_rows"], ledger)),
            Section(
                str(words["cosigners"]),
                final.rows([str(word) for word in words["yes_no"]]),
                columns=[str(column) for column in words["cosigners_columns"]],
            ),
            Section(
                str(words["members"]),
                [(row["name"], row["role"], row["status"], row["did"]) for row in members],
                columns=[str(column) for column in words["columns"]],
            ),
        ]
        return render_status(f"{words['title']} {services.settings.name}", sections, lang)

    @bp.get("/verify")
    @describe("The page that checks evidence bundles in the browser", media="text/html", tags=("about",))
    def verify() -> Response:
        answer = Response(browser.page(), content_type="text/html; charset=utf-8")
        answer.headers["Content-Security-Policy"] = f"{browser.policy()}; frame-ancestors 'none'"
        return answer

    @bp.get("/v1/node")
    @describe("Who this node is and how far its ledger is", response={"type": "object"}, tags=("about",))
    def node() -> Response:
        return jsonify(describe_node(services))

    @bp.get("/healthz")
    @describe("200 while this node follows a log it trusts", response={"type": "object"}, tags=("about",))
    def health() -> tuple[Response, int]:
        healthy = services.ledger.divergence is None
        return jsonify(healthy=healthy), 200 if healthy else 503

    return bp


def _pairs(labels: object, values: list[object]) -> list[tuple[str, str]]:
    return [(str(label), str(value)) for label, value in zip(labels, values, strict=True)]  # type: ignore[call-overload]
