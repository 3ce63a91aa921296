"""What federated averaging sends, as formulas of public sizes; a test measures them. Nobody drops out."""

from __future__ import annotations

from federated.horizontal import rounds
from federated.horizontal.encoding import LIMBS
from federated.horizontal.settings import Settings
from mpc.aggregation import secagg
from mpc.transcript import CONFIRMATION_BYTES

__all__ = ["compared", "receiving_phases", "sent"]


def sent(role: str, owners: int, columns: int, settings: Settings) -> int:
    """Return the bytes that an ``owner`` sends, or the ``aggregator`` to each owner; ``columns`` features."""
    steps = _rounds(columns, settings)
    entered = sum(secagg.bytes_sent(role, owners, words) for _, words in steps)
    if role == "owner":
        return entered + compared(owners, settings) + CONFIRMATION_BYTES
    told = sum(rounds.told_bytes(owners, length) for length, _ in steps)
    return entered + told + rounds.told_bytes(owners, 2) + CONFIRMATION_BYTES


def compared(owners: int, settings: Settings) -> int:
    """Return the bytes of digests that an owner sends the other owners, and receives of them."""
    return (settings.rounds + 4) * rounds.compared_bytes(owners)


def receiving_phases(role: str, owners: int, settings: Settings) -> int:
    """Return the receiving phases of an ``owner`` over all its channels, or of the aggregator with each."""
    steps = settings.rounds + 3
    phases = secagg.rounds(role) * steps + 2
    return phases + (owners - 1) * (steps + 1) if role == "owner" else phases


def _rounds(columns: int, settings: Settings) -> list[tuple[int, int]]:
    """Of each round the numbers that are told and the words that are entered."""
    parameters, head = settings.parameters(columns), 2 * LIMBS
    sums = LIMBS * (columns + 2)
    first = [(0, sums), (columns + 2, sums), (columns + 2, head + parameters)]
    middle = [(2 + parameters, head + parameters)] * (settings.rounds - 1)
    return [*first, *middle, (2 + parameters, head)]
