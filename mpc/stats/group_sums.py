"""Per-group sums where one party holds the measures and the other the groups, over rows both have aligned.

The group holder turns each row into one choice bit for each group, 1[g_i = j], and is the receiver of
correlated oblivious transfers; the measure holder is their sender, with its row of measures as correlation.
Each transfer leaves the two parties with shares of 1[g_i = j] x_i; adding over rows is local:

    measure holder (rank 0), x int64[n, m]        group holder (rank 1), g int64[n] in 0..k-1
      1. shape               n, m  --->
                             <---  n, counts      1. cohorts: too small ones become -1
      2. checks the counts                           and get choice bits 0
      3. base transfers      <--------------->    3. base transfers
      4. for each chunk of rows:
                             <---  columns        IKNP extension
         corrections         --->
      5. confirm             <--------------->    5. confirm
      output  -sum of pads                        output  sum of (pads + choice x)

Both outputs are uint64[k, m] and add up, modulo 2**64, to the sums of the groups that were not suppressed.
Neither party learns a sum: shares go sealed to whom the agreement names.

Not here: protection against a group holder that enters false groups or a measure holder that enters false
measures; a semi-honest party enters what it has. Noise is the caller's: it states counts with noise, and adds
noise to its own share. Why transfers and not
homomorphic encryption: docs/decisions/0004-joint-statistics-by-correlated-ot.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc import ristretto255, wire
from mpc.channel import Channel
from mpc.errors import CohortTooSmall, InputsDisagree, InvalidInput, MalformedMessage, ValueOutOfRange
from mpc.ot import iknp
from mpc.randomness import Randomness
from mpc.spec import Adversary, ProtocolSpec
from mpc.stats.shares import SUPPRESSED, GroupShares, combine
from mpc.transcript import CONFIRMATION_BYTES, protocol_run

__all__ = [
    "MAX_GROUPS",
    "MAX_MEASURES",
    "SPEC",
    "SUPPRESSED",
    "Cohorts",
    "GroupShares",
    "Shape",
    "bytes_sent",
    "combine",
    "count_cohorts",
    "group_holder",
    "measure_holder",
    "rounds",
]

Progress = Callable[[int, int], None]

MEASURE_HOLDER: Final = 0
GROUP_HOLDER: Final = 1
MAX_ROWS: Final = 2**31
MAX_GROUPS: Final = 4096
MAX_MEASURES: Final = 256
CHUNK_TRANSFERS: Final = 2**16
CHUNK_WORDS: Final = 2**20

SPEC: Final = ProtocolSpec(
    name="stats/group-sums",
    version=1,
    roles=("measure_holder", "group_holder"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of two",
    leaks={
        "measure_holder": (
            "the number of groups",
            "the number of rows of each group that reaches the group holder's minimum, by group number, as "
            "the group holder states it: exact, rounded or with noise",
            "the number of rows in all suppressed groups together",
        ),
        "group_holder": ("the number of measures",),
    },
    cost=(
        "3 rounds and 1 for each chunk of rows (65,536 transfers at up to 16 measures); for n rows, k groups "
        "and m measures the group holder sends 16 n k bytes and the measure holder 8 n k m, and 4 KiB more; "
        "384 group operations at each party, and AES for all else"
    ),
    source=(
        "correlated transfer for products: Gilboa 1999; extension: Ishai, Kilian, Nissim, Petrank 2003 with "
        "Asharov, Lindell, Schneider, Zohner 2013; base: Chou, Orlandi 2015; hash: Guo, Katz, Wang, Yu 2020"
    ),
    summary=(
        "One party's measures are summed within the other party's groups; each party gets a random share of "
        "every sum, and groups below the minimum size are left out."
    ),
)


@dataclass(frozen=True)
class Shape:
    """Measure holder to group holder: rows and measures."""

    rows: int
    measures: int

    def __post_init__(self) -> None:
        if not 1 <= self.measures <= MAX_MEASURES:
            raise MalformedMessage(f"shape: expected 1 to {MAX_MEASURES} measures, got {self.measures}")

    def encode(self) -> bytes:
        """Encode for the wire."""
        return wire.encode_uint64(self.rows) + wire.encode_uint64(self.measures)

    @classmethod
    def decode(cls, payload: bytes) -> Shape:
        """Decode; refuses trailing bytes."""
        reader = wire.Reader("shape", payload)
        rows, measures = reader.uint64("rows"), reader.uint64("measures")
        reader.finish()
        return cls(rows, measures)


@dataclass(frozen=True)
class Cohorts:
    """Group holder to measure holder: rows, and the rows of each group or `SUPPRESSED`; int64[k].

    Counts with noise may add up to more than there are rows, and no one of them is larger.
    """

    rows: int
    counts: NDArray[np.int64]
    noised: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.counts) <= MAX_GROUPS:
            raise MalformedMessage(f"cohorts: expected 1 to {MAX_GROUPS} groups, got {len(self.counts)}")
        counts = self.counts.tolist()
        most = max(counts) if self.noised else sum(count for count in counts if count > 0)
        if min(counts) < SUPPRESSED or most > self.rows:
            raise MalformedMessage(f"cohorts: counts are negative or add up to more than {self.rows} rows")

    def encode(self) -> bytes:
        """Encode for the wire."""
        return wire.encode_uint64(self.rows) + wire.encode_array(self.counts)

    @classmethod
    def decode(cls, payload: bytes, *, noised: bool = False) -> Cohorts:
        """Decode; refuses trailing bytes and counts that no table of ``rows`` rows has."""
        reader = wire.Reader("cohorts", payload)
        rows = reader.uint64("rows")
        counts = reader.array("counts", "<i8", (None,))
        reader.finish()
        return cls(rows, counts, noised)


def measure_holder(
    channel: Channel,
    measures: NDArray[np.int64],
    *,
    min_cohort: int,
    rng: Randomness,
    progress: Progress | None = None,
    noised: bool = False,
) -> GroupShares:
    """Play the party that holds the measures; rank 0.

    Args:
        channel: to the group holder; its session must be fresh.
        measures: int64[n, m], rows aligned with the group holder's; fixed-point values from
            `mpc.fixed_point`. ``n * max(abs(measures))`` must be below 2**63.
        min_cohort: smallest group this party lets be opened, at least 1.
        rng: own randomness.
        progress: called as ``progress(done, total)`` in rows, after each chunk.
        noised: the group holder's counts carry noise.

    Returns:
        This party's share of every group's sums.

    Raises:
        InvalidInput: own inputs are not as stated. `ValueOutOfRange` when a sum might not fit.
        InputsDisagree: the group holder has another number of rows.
        CohortTooSmall: the group holder left a group open that is smaller than ``min_cohort``.
        ProtocolAbort: another message is not as the protocol has it, or the group holder aborted.

    Security: semi-honest group holder; CDH, AES-128 as an ideal cipher, SHA-256 as a random oracle.
    Leaks: to this party, the number of groups, the size of each group that is not suppressed and so the
        number of suppressed rows. To the group holder, m. A measure holder that also receives the sums
        learns the sum over all suppressed rows, by subtracting from its own total.
    Cost: `rounds` and `bytes_sent`; 0.4 microseconds a row and group for 4 measures.
    Source: Gilboa 1999; Asharov, Lindell, Schneider, Zohner 2013.
    """
    with protocol_run(channel, SPEC) as peer:
        _check_measures(measures)
        _check_min_cohort(min_cohort)
        rows, width = measures.shape
        # 1. Exchange shapes. 2. Check the cohorts.
        peer.send("shape", Shape(rows, width).encode())
        cohorts = Cohorts.decode(peer.receive("cohorts"), noised=noised)
        counts = check_cohorts(cohorts, rows, min_cohort)
        groups = len(counts)
        # 3. Base transfers, as their receiver.
        keys = iknp.sender_setup(peer, SPEC, rng)
        # 4. One transfer for each row and group, in row-major order.
        values = np.ascontiguousarray(measures).view(np.uint64)
        shares = np.zeros((groups, width), dtype=np.uint64)
        for number, chunk in enumerate(_chunks(rows, groups, width)):
            correlations = np.repeat(values[chunk], groups, axis=0)
            columns = iknp.Columns.decode(peer.receive("columns"), len(correlations))
            pads, corrections = iknp.sender_correlate(
                keys, number, chunk.start * groups, columns, correlations
            )
            peer.send("corrections", corrections.encode())
            shares -= pads.reshape(-1, groups, width).sum(axis=0, dtype=np.uint64)
            if progress is not None:
                progress(chunk.stop, rows)
        # 5. Compare transcripts before any output.
        peer.confirm()
        return GroupShares(counts, shares)


def group_holder(
    channel: Channel,
    groups: NDArray[np.int64],
    k: int,
    *,
    min_cohort: int,
    rng: Randomness,
    progress: Progress | None = None,
    stated: NDArray[np.int64] | None = None,
) -> GroupShares:
    """Play the party that holds the groups; rank 1.

    Args:
        channel: to the measure holder; its session must be fresh.
        groups: int64[n], group of each row, 0 to k - 1; rows aligned with the measure holder's.
        k: number of groups, at most 4096. Public.
        min_cohort: smallest group this party lets be opened, at least 1; smaller ones are suppressed.
        rng: own randomness.
        progress: called as ``progress(done, total)`` in rows, after each chunk.
        stated: int64[k], the counts to state instead of those of `count_cohorts`: with more groups
            suppressed, rounded or with noise.

    Returns:
        This party's share of every group's sums.

    Raises:
        InvalidInput: own inputs are not as stated.
        InputsDisagree: the measure holder has another number of rows.
        ProtocolAbort: another message is not as the protocol has it, or the measure holder aborted.

    Security: semi-honest measure holder; AES-128 as a pseudo-random permutation hides the choice bits.
    Leaks: to this party, the number of measures. To the measure holder, see `measure_holder`.
    Cost: `rounds` and `bytes_sent`; 0.4 microseconds a row and group for 4 measures.
    Source: Gilboa 1999; Asharov, Lindell, Schneider, Zohner 2013.
    """
    with protocol_run(channel, SPEC) as peer:
        _check_min_cohort(min_cohort)
        counts = count_cohorts(groups, k, min_cohort)
        if stated is not None:
            if stated.shape != counts.shape or np.any((counts == SUPPRESSED) & (stated != SUPPRESSED)):
                raise InvalidInput(
                    "expected stated counts of the groups that reach the minimum, and no other"
                )
            counts = stated
        # 1. Exchange shapes; the measure holder checks the cohorts.
        rows = len(groups)
        peer.send("cohorts", Cohorts(rows, counts, noised=stated is not None).encode())
        shape = Shape.decode(peer.receive("shape"))
        if shape.rows != rows:
            raise InputsDisagree("rows", rows, shape.rows)
        # 3. Base transfers, as their sender.
        keys = iknp.receiver_setup(peer, SPEC, rng)
        # 4. One transfer for each row and group, in row-major order; suppressed groups choose nothing.
        shares = np.zeros((k, shape.measures), dtype=np.uint64)
        for number, chunk in enumerate(_chunks(rows, k, shape.measures)):
            choices = choice_bits(groups[chunk], counts)
            kept, columns = iknp.receiver_extend(keys, number, choices)
            peer.send("columns", columns.encode())
            corrections = iknp.Corrections.decode(peer.receive("corrections"), len(choices), shape.measures)
            products = iknp.receiver_correlate(keys, kept, chunk.start * k, corrections)
            shares += products.reshape(-1, k, shape.measures).sum(axis=0, dtype=np.uint64)
            if progress is not None:
                progress(chunk.stop, rows)
        # 5. Compare transcripts before any output.
        peer.confirm()
        return GroupShares(counts, shares)


def count_cohorts(
    groups: NDArray[np.int64], k: int, min_cohort: int, *, complementary: bool = False
) -> NDArray[np.int64]:
    """Count the rows of each group and suppress the groups below ``min_cohort``.

    Complementary suppression also suppresses the smallest open groups until the suppressed ones have
    ``min_cohort`` rows together, so that a total does not give a few rows away.

    Returns:
        int64[k], `SUPPRESSED` where there are fewer than ``min_cohort`` rows.

    Raises:
        InvalidInput: groups are no int64[n] between 0 and k - 1, or n or k is out of range.

    Security: local; the group holder's part of the disclosure control.
    Leaks: nothing by itself; the result is what the measure holder will learn.
    Cost: local; one pass.
    Source: minimum frequency rule, Hundepool et al. 2012 (Statistical Disclosure Control).
    """
    if groups.ndim != 1 or groups.dtype != np.int64:
        raise InvalidInput(f"expected groups int64[n], got {groups.dtype}{list(groups.shape)}")
    if not 1 <= len(groups) <= MAX_ROWS:
        raise InvalidInput(f"expected 1 to {MAX_ROWS} rows, got {len(groups)}")
    if not 1 <= k <= MAX_GROUPS:
        raise InvalidInput(f"expected 1 to {MAX_GROUPS} groups, got {k}")
    misfits = int(np.count_nonzero((groups < 0) | (groups >= k)))
    if misfits:
        raise InvalidInput(f"groups lie between 0 and {k - 1}: {misfits} of {len(groups)} rows do not")
    counts = np.bincount(groups, minlength=k).astype(np.int64, copy=False)
    shown = np.where(counts >= min_cohort, counts, np.int64(SUPPRESSED))
    if complementary:
        for group in np.argsort(counts, kind="stable").tolist():
            left_out = int(counts[shown == SUPPRESSED].sum())
            if left_out == 0 or left_out >= min_cohort:
                break
            shown[group] = SUPPRESSED
    return shown


def check_cohorts(cohorts: Cohorts, rows: int, min_cohort: int) -> NDArray[np.int64]:
    """Check the group holder's counts against own rows and own minimum, and return them.

    Raises:
        InputsDisagree: another number of rows.
        CohortTooSmall: an open group is smaller than ``min_cohort``.

    Security: the measure holder's part of the disclosure control; it relies on the counts being true.
    Leaks: nothing; local.
    Cost: local.
    Source: minimum frequency rule, Hundepool et al. 2012 (Statistical Disclosure Control).
    """
    if cohorts.rows != rows:
        raise InputsDisagree("rows", rows, cohorts.rows)
    small = int(np.count_nonzero((cohorts.counts != SUPPRESSED) & (cohorts.counts < min_cohort)))
    if small:
        raise CohortTooSmall(min_cohort, small)
    return cohorts.counts


def choice_bits(groups: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Make the choice bits 1[g_i = j] of a chunk, 0 for suppressed groups; uint8[rows * k], row-major."""
    one_hot = groups[:, None] == np.arange(len(counts))
    chosen: NDArray[np.uint8] = (one_hot & (counts != SUPPRESSED)).astype(np.uint8)
    return chosen.reshape(-1)


def rounds(role: int, rows: int, k: int, measures: int) -> int:
    """Return the receiving phases of a role (0 or 1), as `ChannelStats` counts them."""
    # The measure holder receives the base offer in the phase in which it receives the cohorts.
    return len(_chunks(rows, k, measures)) + (2 if role == MEASURE_HOLDER else 3)


def bytes_sent(role: int, rows: int, k: int, measures: int) -> int:
    """Return the payload bytes a role (0 or 1) sends."""
    transfers = [(chunk.stop - chunk.start) * k for chunk in _chunks(rows, k, measures)]
    point = ristretto255.ELEMENT_BYTES
    if role == MEASURE_HOLDER:
        setup = len(Shape(rows, measures).encode()) + wire.array_bytes(1, iknp.COLUMNS, point)
        chunks = sum(wire.array_bytes(8, count, measures) for count in transfers)
    else:
        setup = 8 + wire.array_bytes(8, k) + wire.array_bytes(1, point)
        chunks = sum(wire.array_bytes(1, iknp.COLUMNS, iknp.packed_bytes(count)) for count in transfers)
    return setup + chunks + CONFIRMATION_BYTES


def _chunks(rows: int, k: int, measures: int) -> list[slice]:
    step = max(1, min(CHUNK_TRANSFERS, CHUNK_WORDS // measures) // k)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _check_measures(measures: NDArray[np.int64]) -> None:
    if measures.ndim != 2 or measures.dtype != np.int64 or not 1 <= measures.shape[1] <= MAX_MEASURES:
        raise InvalidInput(
            f"expected measures int64[n, 1 to {MAX_MEASURES}], got {measures.dtype}{list(measures.shape)}"
        )
    if not 1 <= len(measures) <= MAX_ROWS:
        raise InvalidInput(f"expected 1 to {MAX_ROWS} rows, got {len(measures)}")
    largest = zip(measures.max(axis=0).tolist(), measures.min(axis=0).tolist(), strict=True)
    misfits = [at for at, (high, low) in enumerate(largest) if len(measures) * max(high, -low) >= 2**63]
    if misfits:
        raise ValueOutOfRange(
            f"rows times the largest magnitude must be below 2**63; measures {misfits} are too large"
        )


def _check_min_cohort(min_cohort: int) -> None:
    if min_cohort < 1:
        raise InvalidInput(f"min_cohort is at least 1, got {min_cohort}")
