"""Why two parties did not come together, or lost each other."""

from __future__ import annotations

from datetime import datetime

from exchange.errors import ExchangeError
from mpc.errors import ChannelBroken

__all__ = ["ChannelTimeout", "ClockSkew", "PeerRefused", "PeerUnreachable"]


class PeerUnreachable(ExchangeError):
    """The other party's node does not answer, or something else answers at its address."""

    code = "peer.unreachable"
    blame = "nobody"
    retryable = True

    def __init__(self, did: str, endpoint: str, reason: str) -> None:
        super().__init__(f"expected {did} at {endpoint}: {reason}")
        self.did, self.endpoint, self.reason = did, endpoint, reason


class PeerRefused(ExchangeError):
    """The other party's node answers and does not take part: it does not know us, or not this session."""

    code = "peer.refused"
    blame = "peer"
    retryable = True

    def __init__(self, did: str, reason: str) -> None:
        super().__init__(f"{did} refused the connection: {reason}")
        self.did, self.reason = did, reason


class ClockSkew(ExchangeError):
    """The clocks of the two nodes differ by more than is allowed."""

    code = "peer.clock-skew"
    blame = "operator"

    def __init__(self, did: str, own: datetime, theirs: datetime, max_skew_s: float) -> None:
        super().__init__(
            f"expected clocks within {max_skew_s:g} s of each other: this node has {own:%Y-%m-%dT%H:%M:%SZ}, "
            f"{did} has {theirs:%Y-%m-%dT%H:%M:%SZ}"
        )
        self.did, self.own, self.theirs, self.max_skew_s = did, own, theirs, max_skew_s


class ChannelTimeout(ExchangeError, ChannelBroken):
    """The other party is connected and sent, or took, nothing within the time allowed."""

    code = "peer.timed-out"
    blame = "peer"
    retryable = True
