"""What can go wrong while a local consortium is started."""

from __future__ import annotations

from exchange.errors import ExchangeError

__all__ = ["AlreadyUp", "ChildFailed", "NotUp"]


class AlreadyUp(ExchangeError):
    """A consortium runs from this directory, or was left here."""

    code = "local.already-up"
    blame = "caller"


class NotUp(ExchangeError):
    """No consortium runs from this directory."""

    code = "local.not-up"
    blame = "caller"


class ChildFailed(ExchangeError):
    """A process of the consortium ended or did not become ready; the message holds the end of its log."""

    code = "local.child-failed"
    blame = "operator"
