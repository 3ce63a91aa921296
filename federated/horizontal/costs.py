"""What federated averaging, boosting, k-means and apps send, as formulas of public sizes; tests measure them.

Nobody drops out.
"""

from __future__ import annotations

from collections.abc import Sequence

from federated.horizontal import apps, boosting, kmeans, rounds
from federated.horizontal.apps import Agreed, Kind
from federated.horizontal.clusters import Clusters
from federated.horizontal.encoding import LIMBS
from federated.horizontal.settings import Settings
from federated.horizontal.trees import Boosting
from mpc.aggregation import secagg
from mpc.transcript import CONFIRMATION_BYTES

__all__ = [
    "app_compared",
    "app_receiving_phases",
    "app_sent",
    "boosting_compared",
    "boosting_receiving_phases",
    "boosting_sent",
    "compared",
    "kmeans_compared",
    "kmeans_receiving_phases",
    "kmeans_sent",
    "receiving_phases",
    "sent",
]


def sent(role: str, owners: int, columns: int, settings: Settings) -> int:
    """Return the bytes that an ``owner`` sends, or the ``aggregator`` to each owner; ``columns`` features."""
    return _sent(role, owners, _rounds(columns, settings), _figures(settings))


def compared(owners: int, settings: Settings) -> int:
    """Return the bytes of digests that an owner sends the other owners, and receives of them."""
    return (_count(settings) + 1) * rounds.compared_bytes(owners)


def receiving_phases(role: str, owners: int, settings: Settings) -> int:
    """Return the receiving phases of an ``owner`` over all its channels, or of the aggregator with each."""
    return _phases(role, owners, _count(settings))


def boosting_sent(role: str, owners: int, agreed: Boosting, asked: Sequence[tuple[int, int]]) -> int:
    """Return the bytes that an ``owner`` sends, or the ``aggregator`` to each owner.

    Args:
        role: of the sender.
        owners: how many.
        agreed: what they agreed to.
        asked: of each round, nodes examined and bins of all columns.
    """
    told, entered = zip(
        boosting.lengths(agreed), *(boosting.lengths(agreed, *one) for one in (*asked, (0, 0))), strict=True
    )
    return _sent(role, owners, list(zip((0, *told[:-1]), entered, strict=True)), 2)


def boosting_compared(owners: int, asked: Sequence[object]) -> int:
    """Return the bytes of digests that an owner sends the other owners, and receives of them."""
    return (len(asked) + 3) * rounds.compared_bytes(owners)


def boosting_receiving_phases(role: str, owners: int, asked: Sequence[object]) -> int:
    """Return the receiving phases of an ``owner`` over all its channels, or of the aggregator with each."""
    return _phases(role, owners, len(asked) + 2)


def kmeans_sent(role: str, owners: int, agreed: Clusters, steps: int) -> int:
    """Return the bytes that an ``owner`` sends, or the ``aggregator`` to each owner, in so many steps."""
    count, (counts, sums, last) = agreed.count, kmeans.lengths(agreed)
    centres = count * len(agreed.names)
    told = [0, *[centres] * steps]
    pairs = [[(one, counts), (2 + count, last if step == steps else sums)] for step, one in enumerate(told)]
    return _sent(role, owners, [one for pair in pairs for one in pair], 1 + 2 * count)


def kmeans_compared(owners: int, steps: int) -> int:
    """Return the bytes of digests that an owner sends the other owners, and receives of them."""
    return (2 * steps + 3) * rounds.compared_bytes(owners)


def kmeans_receiving_phases(role: str, owners: int, steps: int) -> int:
    """Return the receiving phases of an ``owner`` over all its channels, or of the aggregator with each."""
    return _phases(role, owners, 2 * steps + 2)


def app_sent(role: str, owners: int, agreed: Agreed, kinds: Sequence[Kind]) -> int:
    """Return the bytes that an ``owner`` sends, or the ``aggregator`` to each owner, in such messages."""
    words = apps.lengths(agreed)
    return _sent(role, owners, [(words[Kind.END], words[kind]) for kind in kinds], words[Kind.END])


def app_compared(owners: int, messages: int) -> int:
    """Return the bytes of digests that an owner sends the other owners, and receives of them."""
    return (messages + 1) * rounds.compared_bytes(owners)


def app_receiving_phases(role: str, owners: int, messages: int) -> int:
    """Return the receiving phases of an ``owner`` over all its channels, or of the aggregator with each."""
    return _phases(role, owners, messages)


def _sent(role: str, owners: int, steps: list[tuple[int, int]], last: int) -> int:
    """Of rounds as `_rounds` has them, and of the numbers that are told at the end."""
    entered = sum(secagg.bytes_sent(role, owners, words) for _, words in steps)
    if role == "owner":
        return entered + (len(steps) + 1) * rounds.compared_bytes(owners) + CONFIRMATION_BYTES
    told = sum(rounds.told_bytes(owners, length) for length, _ in steps)
    return entered + told + rounds.told_bytes(owners, last) + CONFIRMATION_BYTES


def _phases(role: str, owners: int, steps: int) -> int:
    phases = secagg.rounds(role) * steps + 2
    return phases + (owners - 1) * (steps + 1) if role == "owner" else phases


def _figures(settings: Settings) -> int:
    """Numbers that are told of a round besides the model."""
    return 2 if settings.private is None else 1


def _count(settings: Settings) -> int:
    return settings.rounds + (3 if settings.private is None else 1)


def _rounds(columns: int, settings: Settings) -> list[tuple[int, int]]:
    """Of each round the numbers that are told and the words that are entered."""
    figures, parameters = _figures(settings), settings.parameters(columns)
    head, sums = figures * LIMBS, LIMBS * (columns + 2)
    if settings.private is None:
        first = [(0, sums), (columns + 2, sums), (columns + 2, head + parameters)]
    else:
        first = [(0, head + parameters)]
    middle = [(figures + parameters, head + parameters)] * (settings.rounds - 1)
    return [*first, *middle, (figures + parameters, head)]
