"""What can go wrong between two connectors."""

from __future__ import annotations

from exchange.errors import ExchangeError

__all__ = [
    "ConnectorRefused",
    "ConnectorUnreachable",
    "ContradictsLedger",
    "IllegalTransition",
    "MalformedMessage",
    "UnknownProcess",
]


class MalformedMessage(ExchangeError):
    """A message of the Dataspace Protocol does not have its form. ``field`` names the place."""

    code = "dataspace.malformed"
    blame = "caller"

    def __init__(self, field: str, expected: str, actual: str) -> None:
        super().__init__(f"{field}: expected {expected}, got {actual}")
        self.field, self.expected, self.actual = field, expected, actual


class IllegalTransition(ExchangeError):
    """The process is in a state in which this message cannot be."""

    code = "dataspace.illegal-transition"
    blame = "caller"


class ContradictsLedger(ExchangeError):
    """The ledger does not say what the message says."""

    code = "dataspace.contradicts-ledger"
    blame = "caller"


class UnknownProcess(ExchangeError):
    """No such process, dataset or caller; which of them is not told."""

    code = "dataspace.unknown"
    blame = "caller"


class ConnectorUnreachable(ExchangeError):
    """Another member's connector does not answer."""

    code = "dataspace.unreachable"
    blame = "nobody"
    retryable = True


class ConnectorRefused(ExchangeError):
    """Another member's connector does not take a message."""

    code = "dataspace.refused"
    blame = "peer"
