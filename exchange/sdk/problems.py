"""A node's refusal, as the caller sees it: RFC 9457 problem details turned into an exception."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from exchange.errors import ExchangeError, PublicFace

__all__ = ["NodeProblem"]

_EXIT_CODES = MappingProxyType(
    {400: 4, 401: 2, 403: 2, 404: 4, 405: 4, 415: 4, 422: 4, 429: 3, 503: 2, 504: 3}
)
_REFUSED = 1
_MEMBERS = frozenset({"type", "title", "status", "detail", "code", "instance", "retryable"})


class NodeProblem(ExchangeError):
    """The node answered with a problem.

    ``code`` is the node's own code, ``extras`` are the problem's other members.
    """

    code: str  # type: ignore[misc]  # one class stands for every code that a node can answer

    def __init__(
        self, status: int, code: str, detail: str, extras: Mapping[str, object], *, retryable: bool = False
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.extras = status, code, detail, dict(extras)
        self.may_retry = retryable

    @classmethod
    def of(cls, status: int, body: object) -> NodeProblem:
        """Read an answer's body; one that is no problem document becomes ``node.unexpected-answer``."""
        if not isinstance(body, dict) or not isinstance(body.get("code"), str):
            detail = f"expected a Parley node's answer, got HTTP status {status} without problem details"
            return cls(status, "node.unexpected-answer", detail, {})
        return cls(
            status,
            str(body["code"]),
            str(body.get("detail") or body.get("title") or body["code"]),
            {name: value for name, value in body.items() if name not in _MEMBERS},
            retryable=bool(body.get("retryable", False)),
        )

    @property
    def face(self) -> PublicFace:
        """What the command line shows and with which exit code it ends."""
        exit_code = _EXIT_CODES.get(self.status, _REFUSED)
        return PublicFace(
            self.status, self.code, self.code, self.detail, self.may_retry, exit_code, self.extras
        )
