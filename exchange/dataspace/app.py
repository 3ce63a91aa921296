"""The connector's HTTPS interface: paths and answers of the Dataspace Protocol 2025-1.

Whoever calls is known by its TLS certificate: a member, or a guest that may read the catalog. Anybody may
read the protocol's version. What a caller may not have and what is not there get the same answer, 404.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from flask import Flask, Response, json, request
from werkzeug.exceptions import HTTPException

from exchange.dataspace import catalog as documents
from exchange.dataspace.client import Connectors
from exchange.dataspace.errors import MalformedMessage, UnknownProcess
from exchange.dataspace.messages import Message, error, process, read
from exchange.dataspace.processes import Processes
from exchange.dataspace.vocabulary import VERSION, Kind, TransferEvent
from exchange.errors import ExchangeError, public_face
from exchange.logs import whereabouts
from exchange.node.services import NodeServices
from exchange.web.openapi import describe
from exchange.web.server import PEER
from ledger.rules.negotiation import NegotiationEvent

__all__ = ["create_app"]

_log = logging.getLogger(__name__)

_ACKNOWLEDGEMENTS: Final[Mapping[Kind, str]] = {
    "negotiation": "ContractNegotiation",
    "transfer": "TransferProcess",
}
_ERRORS: Final = {
    "negotiations": "ContractNegotiationError",
    "transfers": "TransferError",
    "catalog": "CatalogError",
}
_OBJECT: Final = {"type": "object"}

_Event = NegotiationEvent
_NEGOTIATION: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "request": ("ContractRequestMessage", {"": _Event.REQUEST}),
    "offers": ("ContractOfferMessage", {"": _Event.OFFER}),
    "events": (
        "ContractNegotiationEventMessage",
        {"ACCEPTED": _Event.ACCEPT, "FINALIZED": _Event.FINALIZE},
    ),
    "agreement": ("ContractAgreementMessage", {"": _Event.AGREE}),
    "agreement/verification": ("ContractAgreementVerificationMessage", {"": _Event.VERIFY}),
    "termination": ("ContractNegotiationTerminationMessage", {"": _Event.TERMINATE}),
}
_TRANSFER: Final[Mapping[str, tuple[str, TransferEvent]]] = {
    "start": ("TransferStartMessage", TransferEvent.START),
    "suspension": ("TransferSuspensionMessage", TransferEvent.SUSPEND),
    "completion": ("TransferCompletionMessage", TransferEvent.COMPLETE),
    "termination": ("TransferTerminationMessage", TransferEvent.TERMINATE),
}


def create_app(
    services: NodeServices,
    processes: Processes,
    connectors: Connectors,
    base: str,
    took: Callable[[Kind, str], None],
) -> Flask:
    """Build the application of one connector.

    Args:
        services: of its node.
        processes: the node's processes.
        connectors: tell who a caller is.
        base: the connector's base address.
        took: called after a message about a process was taken.
    """
    app = Flask("exchange.dataspace", static_folder=None)
    root = f"/{VERSION}"
    me, name, guests = services.keys.did, services.settings.name, services.settings.dataspace_guests

    @app.get("/.well-known/dspace-version")
    @describe("Versions of the Dataspace Protocol and where each is", response=_OBJECT, tags=("about",))
    def versions() -> Response:
        return _answer(
            {
                "protocolVersions": [
                    {
                        "version": VERSION,
                        "path": root,
                        "binding": "HTTPS",
                        "serviceId": f"urn:parley:connector:{name}",
                        "identifierType": "did:key",
                    }
                ]
            }
        )

    @app.post(f"{root}/catalog/request")
    @describe("The catalog of this participant, a page at a time", response=_OBJECT, tags=("catalog",))
    def catalog_request() -> Response:
        _reader(connectors, guests)
        read(request.get_data(cache=False), "CatalogRequestMessage")
        number = _page(request.args.get("page", "1"))
        rows = _published(services)
        shown = rows[(number - 1) * documents.PAGE : number * documents.PAGE]
        answer = _answer(documents.catalog(shown, me, name, base))
        links = {"previous": number - 1, "next": number + 1 if len(rows) > number * documents.PAGE else 0}
        for relation, page in links.items():
            if page:
                answer.headers.add("Link", f'<{base}/catalog/request?page={page}>; rel="{relation}"')
        return answer

    @app.get(f"{root}/catalog/datasets/<path:dataset>")
    @describe("One dataset of this participant", response=_OBJECT, tags=("catalog",))
    def catalog_dataset(dataset: str) -> Response:
        _reader(connectors, guests)
        row = next((row for row in _published(services) if row["asset"] == dataset), None)
        if row is None:
            raise UnknownProcess("no dataset of this id")
        return _answer(documents.dataset(row, name, base))

    @app.get(f"{root}/negotiations/<pid>")
    @describe("A contract negotiation's state", response=_OBJECT, tags=("negotiation",))
    def negotiation(pid: str) -> Response:
        return _state("negotiation", pid)

    @app.post(f"{root}/negotiations/<first>")
    @describe("Begin a contract negotiation", response=_OBJECT, status=201, tags=("negotiation",))
    def begin_negotiation(first: str) -> Response:
        if first not in ("request", "offers"):
            raise UnknownProcess("no such address")
        kind, events = _NEGOTIATION[first]
        received = read(request.get_data(cache=False), kind)
        if received.callback is None:
            raise MalformedMessage("callbackAddress", "an https address", "nothing")
        pid = received.consumer_pid or received.provider_pid or ""
        return _take("negotiation", pid, events[""], received, 201)

    @app.post(f"{root}/negotiations/<pid>/<path:place>")
    @describe("A message about a contract negotiation", response=_OBJECT, tags=("negotiation",))
    def negotiation_message(pid: str, place: str) -> Response:
        if place not in _NEGOTIATION:
            raise UnknownProcess("no such address")
        kind, events = _NEGOTIATION[place]
        received = read(request.get_data(cache=False), kind)
        if received.callback is not None:
            raise MalformedMessage("callbackAddress", "none after the first message", "one")
        return _take("negotiation", pid, events[received.content.get("eventType", "")], received, 200)

    @app.get(f"{root}/transfers/<pid>")
    @describe("A transfer process's state", response=_OBJECT, tags=("transfer",))
    def transfer(pid: str) -> Response:
        return _state("transfer", pid)

    @app.post(f"{root}/transfers/request")
    @describe("Begin a transfer process", response=_OBJECT, status=201, tags=("transfer",))
    def begin_transfer() -> Response:
        received = read(request.get_data(cache=False), "TransferRequestMessage")
        pid = received.consumer_pid or ""
        return _take("transfer", pid, TransferEvent.REQUEST, received, 201)

    @app.post(f"{root}/transfers/<pid>/<place>")
    @describe("A message about a transfer process", response=_OBJECT, tags=("transfer",))
    def transfer_message(pid: str, place: str) -> Response:
        if place not in _TRANSFER:
            raise UnknownProcess("no such address")
        kind, event = _TRANSFER[place]
        return _take("transfer", pid, event, read(request.get_data(cache=False), kind), 200)

    def _state(kind: Kind, pid: str) -> Response:
        state = processes.state(kind, pid, _member(connectors))
        return _answer(process(_ACKNOWLEDGEMENTS[kind], pid, state))

    def _take(kind: Kind, pid: str, event: str, received: Message, status: int) -> Response:
        state = processes.receive(kind, pid, _member(connectors), event, received)
        took(kind, pid)
        return _answer(process(_ACKNOWLEDGEMENTS[kind], pid, state), status)

    @app.errorhandler(Exception)
    def _on_error(problem: Exception) -> Response:
        place = request.path.removeprefix(root).strip("/").split("/")
        kind = _ERRORS.get(place[0], "CatalogError")
        pid = None if kind == "CatalogError" else place[1] if len(place) > 1 else ""
        if isinstance(problem, HTTPException):
            code = problem.code or 500
            return _answer(error(kind, f"http.{code}", problem.name, pid), code)
        face = public_face(problem)
        if face.code == "exchange.internal":
            _log.error("a message broke: %s", whereabouts(problem))
        return _answer(error(kind, face.code, face.detail, pid), _status(problem, face.status))

    return app


def _answer(content: Mapping[str, object], status: int = 200) -> Response:
    answer = Response(json.dumps(content), status, content_type="application/json")
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


def _status(problem: Exception, status: int) -> int:
    """What the binding prescribes: 404 for what is unknown, 400 for what cannot be taken."""
    if isinstance(problem, UnknownProcess):
        return 404
    return 400 if isinstance(problem, ExchangeError) and status < 500 else status


def _member(connectors: Connectors) -> str:
    certificate = request.environ.get(PEER)
    did = None if certificate is None else connectors.member_of(certificate)
    if did is None:
        raise UnknownProcess("nothing here for this caller")
    return did


def _reader(connectors: Connectors, guests: Collection[bytes]) -> None:
    """Let members and guests in."""
    if request.environ.get(PEER) not in guests:
        _member(connectors)


def _published(services: NodeServices) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = [
        row
        for row in services.ledger.state.rows("assets").values()
        if row["owner"] == services.keys.did and row["status"] == "published"
    ]
    return sorted(rows, key=lambda row: str(row["asset"]))


def _page(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 6 and int(text) >= 1):
        raise MalformedMessage("page", "a number from 1", "another text")
    return int(text)
