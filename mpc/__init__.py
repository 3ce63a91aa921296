"""Secure computation between parties that keep their rows: protocols, and what they are built from.

`PROTOCOLS` lists the descriptors of the protocols: what each computes, adversary, what each role learns, cost
and source; `docs/protocols.md` says the same at length.

Not here: sockets, sessions, jobs, approvals, sealing. The exchange brings a `Channel` between two
authenticated parties, with a session identifier that is never used twice, and discards everything of a run
that raised.

Trusted: the party's own process and its randomness, libsodium and OpenSSL, and that the other party follows
the protocol (semi-honest). Not trusted: the network, and anything in a message before it was checked.
"""

from typing import Final

from mpc import replicated
from mpc.aggregation import secagg
from mpc.channel import Channel, ChannelStats
from mpc.circuit_psi import protocol as circuit_psi
from mpc.engines import networks, rr22, shares
from mpc.errors import MpcError, ProtocolAbort
from mpc.he import scoring, sums
from mpc.over_threshold import protocol as over_threshold
from mpc.pir import keyword
from mpc.psi import cardinality, ecdh, unbalanced
from mpc.psi_many import protocol as psi_many
from mpc.randomness import Randomness, SystemRandomness
from mpc.spec import Adversary, ProtocolSpec
from mpc.stats import group_sums, joint

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

PROTOCOLS: Final[tuple[ProtocolSpec, ...]] = (
    secagg.SPEC,
    cardinality.SPEC,
    ecdh.SPEC,
    psi_many.SPEC,
    over_threshold.SPEC,
    circuit_psi.SPEC,
    rr22.SPEC,
    keyword.SPEC,
    replicated.SPEC,
    shares.ABY3,
    shares.CHEETAH,
    networks.ABY3,
    networks.CHEETAH,
    group_sums.SPEC,
    joint.SPEC,
    scoring.SPEC,
    sums.SPEC,
    unbalanced.SPEC,
)
