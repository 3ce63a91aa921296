"""Protocol descriptors: what a protocol claims, in the words an approver reads before agreeing to run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mpc.errors import InvalidInput


class Adversary(StrEnum):
    """What corrupted parties are assumed to do."""

    SEMI_HONEST = "semi-honest"


@dataclass(frozen=True, kw_only=True)
class ProtocolSpec:
    """The security claim of one protocol.

    Attributes:
        name: family and construction, for example ``psi/ecdh``.
        version: raised when the wire format or the transcript changes; part of every message label and hash.
        roles: role names, by rank.
        adversary: what corrupted parties do.
        corruptions: how many parties may be corrupted.
        leaks: for each role, every fact it learns beyond its own input and output.
        cost: rounds, bytes and work as formulas of the input sizes.
        source: where the construction is published.
        summary: one sentence that says what it computes and for whom.
    """

    name: str
    version: int
    roles: tuple[str, ...]
    adversary: Adversary
    corruptions: str
    leaks: Mapping[str, tuple[str, ...]]
    cost: str
    source: str
    summary: str

    def __post_init__(self) -> None:
        if set(self.leaks) != set(self.roles):
            raise InvalidInput(f"{self.name}: leaks must be stated for exactly the roles {self.roles}")
