"""Secure computation between parties that keep their rows: protocols, and what they are built from.

Two protocols exist: `mpc.psi.ecdh`, a two-party intersection of which both parties learn the result, and
`mpc.stats.group_sums`, per-group sums of one party's measures over the other's groups, as shares. `PROTOCOLS`
lists their descriptors: adversary, what each role learns, cost and source; `docs/protocols.md` says the same
at length.

Not here: sockets, sessions, jobs, approvals, sealing. The exchange brings a `Channel` between two
authenticated parties, with a session identifier that is never used twice, and discards everything of a run
that raised.

Trusted: the party's own process and its randomness, libsodium and OpenSSL, and that the other party follows
the protocol (semi-honest). Not trusted: the network, and anything in a message before it was checked.
"""

from typing import Final

from mpc.channel import Channel, ChannelStats
from mpc.errors import MpcError, ProtocolAbort
from mpc.psi import ecdh
from mpc.randomness import Randomness, SystemRandomness
from mpc.spec import Adversary, ProtocolSpec
from mpc.stats import group_sums

__all__ = [
    "PROTOCOLS",
    "Adversary",
    "Channel",
    "ChannelStats",
    "MpcError",
    "ProtocolAbort",
    "ProtocolSpec",
    "Randomness",
    "SystemRandomness",
]

PROTOCOLS: Final[tuple[ProtocolSpec, ...]] = (ecdh.SPEC, group_sums.SPEC)
