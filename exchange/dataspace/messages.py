"""Messages of the Dataspace Protocol 2025-1, read strictly and written.

A message is read as plain JSON, as the protocol's JSON Schemas describe it: nothing is fetched, no context
is expanded. ``@context`` must be the protocol's and no other. A member that the schemas do not know is
skipped at the top of a message, where they allow it, and nowhere below. Size, depth and numbers are bounded
first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from exchange.dataspace.errors import MalformedMessage
from exchange.dataspace.vocabulary import CONTEXT

__all__ = ["MAX_BYTES", "Message", "error", "load", "message", "process", "read", "reasons", "wire_policy"]

MAX_BYTES: Final = 128 * 1024
_MAX_DEPTH: Final = 24
_MAX_TEXT: Final = 4096
_MAX_PID: Final = 256
_INTEGER_TYPE: Final = "xsd:integer"
_ADDRESS: Final = re.compile(r"https://[!-~]{1,500}")


@dataclass(frozen=True)
class Message:
    """One message, with the members that its type has.

    Attributes:
        type: ``@type``.
        consumer_pid: the process at the consumer; None where the message may leave it out.
        provider_pid: likewise at the provider.
        callback: base address for answers, in a first message.
        content: what the type is about, by member: ``offer``, ``agreement``, ``agreementId``, ``format``,
            ``eventType``, ``dataAddress``.
        reason: of a termination or suspension; None where none is given.
    """

    type: str
    consumer_pid: str | None
    provider_pid: str | None
    callback: str | None
    content: Mapping[str, Any]
    reason: Sequence[object] | None


_PIDS: Final = ("consumerPid", "providerPid")
_CONTENT: Final[Mapping[str, tuple[str, ...]]] = {
    "ContractRequestMessage": ("offer",),
    "ContractOfferMessage": ("offer",),
    "ContractNegotiationEventMessage": ("eventType",),
    "ContractAgreementMessage": ("agreement",),
    "ContractAgreementVerificationMessage": (),
    "ContractNegotiationTerminationMessage": (),
    "TransferRequestMessage": ("agreementId", "format"),
    "TransferStartMessage": (),
    "TransferSuspensionMessage": (),
    "TransferCompletionMessage": (),
    "TransferTerminationMessage": (),
    "CatalogRequestMessage": (),
}
_FIRST: Final = {
    "ContractRequestMessage": "consumerPid",
    "ContractOfferMessage": "providerPid",
    "TransferRequestMessage": "consumerPid",
}
"""Types that begin a process, and the one pid that the first message has."""


def load(raw: bytes) -> dict[str, Any]:
    """Decode a message within the bounds.

    Raises:
        MalformedMessage: it is no JSON object, or a larger, deeper or other one than a message may be.
    """
    if len(raw) > MAX_BYTES:
        raise MalformedMessage("message", f"at most {MAX_BYTES} bytes", f"{len(raw)}")
    try:
        value = json.loads(
            raw, object_pairs_hook=_distinct, parse_constant=_no_number, parse_float=_no_number
        )
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise MalformedMessage("message", "a JSON object", "other bytes") from None
    if not isinstance(value, dict):
        raise MalformedMessage("message", "a JSON object", _kind(value))
    _check_depth(value)
    return value


def read(raw: bytes, expected: str) -> Message:
    """Read a message of one type.

    Raises:
        MalformedMessage: naming the first member that does not fit.
    """
    value = load(raw)
    if value.get("@context") != [CONTEXT]:
        raise MalformedMessage("@context", f"exactly [{CONTEXT!r}]", _kind(value.get("@context")))
    if value.get("@type") != expected:
        raise MalformedMessage("@type", expected, _shown(value.get("@type")))
    pids = {name: _text(value, name, _MAX_PID) for name in _PIDS}
    callback = _text(value, "callbackAddress", 512)
    own = _FIRST.get(expected)
    if own is not None:
        other = _PIDS[1 - _PIDS.index(own)]
        if pids[own] is None:
            raise MalformedMessage(own, "a text", "nothing")
        if (pids[other] is None) == (callback is None):
            raise MalformedMessage("callbackAddress", f"either it or {other}, not both", "both or neither")
        if callback is not None and not _ADDRESS.fullmatch(callback):
            raise MalformedMessage("callbackAddress", "an https address", "another text")
    elif expected != "CatalogRequestMessage":
        for name, pid in pids.items():
            if pid is None:
                raise MalformedMessage(name, "a text", "nothing")
    content = {name: _content(value, name) for name in _CONTENT[expected]}
    if expected == "TransferRequestMessage" and callback is None:
        raise MalformedMessage("callbackAddress", "an https address", "nothing")
    if expected == "TransferRequestMessage" and "dataAddress" in value:
        raise MalformedMessage("dataAddress", "none, because nothing is pushed", "one")
    if expected == "CatalogRequestMessage" and value.get("filter", []) != []:
        raise MalformedMessage("filter", "no filter, because none is supported", "one")
    return Message(expected, pids["consumerPid"], pids["providerPid"], callback, content, reasons(value))


def message(kind: str, **members: object) -> dict[str, object]:
    """Write a message; members that are None are left out."""
    return {
        "@context": [CONTEXT],
        "@type": kind,
        **{name: value for name, value in members.items() if value is not None},
    }


def process(kind: str, pid: str, state: str) -> dict[str, object]:
    """Write the acknowledgement of a process: ``ContractNegotiation`` or ``TransferProcess``."""
    return message(kind, consumerPid=pid, providerPid=pid, state=state)


def error(kind: str, code: str, reason: str, pid: str | None) -> dict[str, object]:
    """Write an error; ``pid`` is None for a catalog's."""
    return message(kind, consumerPid=pid, providerPid=pid, code=code, reason=[reason])


def reasons(value: Mapping[str, Any]) -> Sequence[object] | None:
    """Read the reasons of a termination, suspension or error.

    Raises:
        MalformedMessage: they are no list, or an empty or long one.
    """
    found = value.get("reason")
    if found is None:
        return None
    if not isinstance(found, list) or not 1 <= len(found) <= 32:
        raise MalformedMessage("reason", "a list of 1 to 32 items", _kind(found))
    return found


def wire_policy(policy: Mapping[str, Any], uid: str | None = None) -> dict[str, Any]:
    """Write a policy of the ledger as the protocol has it.

    The context is the message's, the id is in ``@id``, and whole numbers are typed values, because the
    protocol's schema knows texts, objects and lists as right operands and no numbers.
    """
    written = {name: value for name, value in policy.items() if name != "@context"}
    if uid is not None:
        written["@id"] = uid
    typed = _typed(written)
    return dict(typed)


def _typed(value: Any) -> Any:  # noqa: ANN401 - JSON in, JSON out
    if isinstance(value, Mapping):
        return {name: _typed(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_typed(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return {"@type": _INTEGER_TYPE, "@value": str(value)}
    return value


def _content(value: Mapping[str, Any], name: str) -> object:
    found = value.get(name)
    if name in ("offer", "agreement"):
        if not isinstance(found, dict):
            raise MalformedMessage(name, "an object", _kind(found))
        expected = "Offer" if name == "offer" else "Agreement"
        needed = ("@id",) if name == "offer" else ("@id", "target", "assigner", "assignee")
        if found.get("@type") != expected:
            raise MalformedMessage(f"{name}.@type", expected, _shown(found.get("@type")))
        for member in needed:
            if not isinstance(found.get(member), str):
                raise MalformedMessage(f"{name}.{member}", "a text", _kind(found.get(member)))
        if not any(isinstance(found.get(rules), list) and found[rules] for rules in _RULES):
            raise MalformedMessage(f"{name}.permission", "a list of rules", "none")
        return found
    if name == "eventType":
        if found not in ("ACCEPTED", "FINALIZED"):
            raise MalformedMessage(name, "ACCEPTED or FINALIZED", _shown(found))
        return found
    text = _text(value, name, _MAX_PID)
    if text is None:
        raise MalformedMessage(name, "a text", "nothing")
    return text


_RULES: Final = ("permission", "prohibition")


def _text(value: Mapping[str, Any], name: str, limit: int) -> str | None:
    found = value.get(name)
    if found is None and name not in value:
        return None
    if not isinstance(found, str) or not 1 <= len(found) <= limit:
        raise MalformedMessage(name, f"a text of 1 to {limit} characters", _kind(found))
    return found


def _check_depth(value: object) -> None:
    level: list[object] = [value]
    for _ in range(_MAX_DEPTH):
        level = [item for part in level for item in _items(part)]
        if not level:
            return
    raise MalformedMessage("message", f"at most {_MAX_DEPTH} levels", "a deeper one")


def _items(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list):
        return value
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        raise MalformedMessage("message", f"texts of at most {_MAX_TEXT} characters", f"{len(value)}")
    return ()


def _distinct(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, item in pairs:
        if name in found:
            raise MalformedMessage(name[:64], "each member once", "the same member twice")
        found[name] = item
    return found


def _no_number(text: str) -> NoReturn:
    raise MalformedMessage("message", "whole numbers", text[:32])


def _kind(value: object) -> str:
    names = {str: "a text", dict: "an object", list: "a list", bool: "a truth value", int: "a number"}
    return "nothing" if value is None else names.get(type(value), "another value")


def _shown(value: object) -> str:
    return repr(value[:64]) if isinstance(value, str) else _kind(value)
