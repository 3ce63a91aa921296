"""Two-party private set intersection by RR22, played by SPU's library.

The fast tier of `mpc.psi.ecdh`: the same inputs, the same result.

    left, items X                                  right, items Y
      1. hello               |X|, engine  <------->  |Y|, engine
      2. frame               SPU's own messages, in frames  <------->
      3. confirm             transcript hash  <------->  transcript hash

Inside, the receiver encodes its set as the solution of a sparse system (an oblivious key-value store) and
masks it with a vector oblivious linear evaluation; the sender evaluates an oblivious pseudorandom function on
its own set and sends the outputs; the receiver compares. The two ranks are left and right; ``receivers`` says
who gets the result, and left is the receiver inside unless right is the only one.

Not here: anything of the cryptography. What is trusted beyond `mpc.psi.ecdh` is SPU's implementation.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from mpc import wire
from mpc.channel import Channel
from mpc.engines import spu
from mpc.engines.run import played
from mpc.engines.spool import spool
from mpc.engines.texts import TextSet, buffers, holds_only
from mpc.errors import DuplicateItems, EngineFailed, EnginesDisagree, InvalidInput, MalformedMessage
from mpc.psi.ecdh import Intersection
from mpc.spec import Adversary, ProtocolSpec
from mpc.transcript import ConfirmedChannel, protocol_run

__all__ = [
    "BUCKET_ROWS",
    "MAX_ITEM_BYTES",
    "MAX_ROWS",
    "ROUNDS",
    "SPEC",
    "Receivers",
    "bytes_sent",
    "encode_items",
    "memory_bytes",
    "run",
]

Receivers = Literal["both", "left", "right"]

MAX_ROWS: Final = 2**26
MAX_ITEM_BYTES: Final = 1024
BUCKET_ROWS: Final = 1_048_576
"""Rows of a bucket of the engine: a larger set is matched bucket by bucket, whose sizes the other sees."""
ROUNDS: Final = 100
"""About so many; how an engine's connections fall into frames depends on timing."""
_SETUP_BYTES: Final = (1_000_000, 110_000)
_ENCODED_BYTES: Final = 22
_OUTPUT_BYTES: Final = 11
_RESULT_BYTES: Final = 2
_PLAIN: Final = f"{string.digits}{string.ascii_letters}_-".encode()
_ITEMS, _MATCHED = "items.csv", "matched.csv"

_LEAKS: Final = (
    "the number of rows in the other party's set",
    f"where a set has more than {BUCKET_ROWS:,} rows, "
    "how many of the other's rows fall into each bucket of a hash",
)

SPEC: Final = ProtocolSpec(
    name="psi/rr22",
    version=1,
    roles=("left", "right"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of two",
    leaks={"left": _LEAKS, "right": _LEAKS},
    cost=(
        "about 22 bytes for each row of the set that is encoded and 11 for each of the other, and 1 MB; "
        "about 100 rounds; 5 microseconds a row at each party"
    ),
    source=(
        "Raghuraman, Rindal 2022 (Blazing Fast PSI from Improved OKVS and Subfield VOLE), semi-honest "
        "variant, as implemented by SPU's PSI library"
    ),
    summary="Both parties learn which of their own rows the other party also holds, by SPU's fast engine.",
)


def encode_items(items: pa.Array) -> pa.Array:
    """Encode texts so that SPU's CSV files carry them unchanged, whatever they hold.

    ``p`` and the text where it is of ASCII letters, digits, ``_`` and ``-`` alone, ``x`` and the hexadecimal
    digits of its UTF-8 otherwise. Equal texts have equal encodings and no others; none reads as a number, a
    missing value or two fields.

    Args:
        items: string[n], none missing.
    """
    texts = items.cast(pa.large_string())
    as_plain = _prefixed("p", texts)
    if holds_only(texts, _PLAIN):
        return as_plain
    plain = pc.match_substring_regex(texts, f"^[{_PLAIN.decode()}]*$")
    return pc.if_else(plain, as_plain, _prefixed("x", _hexadecimal(texts)))


def _prefixed(prefix: str, texts: pa.Array) -> pa.Array:
    kind = pa.large_string()
    return pc.binary_join_element_wise(pa.scalar(prefix, kind), texts, pa.scalar("", kind))


def _hexadecimal(texts: pa.Array) -> pa.Array:
    ends, raw = buffers(texts)
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    spelt = np.empty(2 * len(raw), dtype=np.uint8)
    spelt[0::2], spelt[1::2] = digits[raw >> 4], digits[raw & 15]
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(2 * ends), pa.py_buffer(spelt))


def run(
    channel: Channel,
    items: pa.Array,
    base: Path,
    *,
    receivers: Receivers = "both",
    memory_limit: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Intersection:
    """Play one party of the intersection; rank 0 is left, rank 1 is right.

    Args:
        channel: to the other party.
        items: string[n], the own set: distinct, none missing, 1 to 1,024 bytes each, at most 67,108,864.
        base: folder in which the run's spool is made; on a disk with room for ten times the set.
        receivers: who gets the result; both parties must say the same.
        memory_limit: most bytes the engine may have; `memory_bytes` of the two sizes by default.
        progress: called as ``progress(done, total)`` from another thread.

    Returns:
        The own rows the peer also holds, aligned with the peer's, in the order of a hash of their items; no
        rows at a party that does not receive.

    Raises:
        EngineAbsent: SPU is not installed here.
        InvalidInput: own items are not as stated. `DuplicateItems` counts repeats.
        EnginesDisagree: the parties ask for different receivers, or have different versions of SPU.
        EngineFailed: the engine ended without a result.
        ProtocolAbort: the peer's messages are not as the protocol has them, or the peer aborted.

    Security: semi-honest peer; learning parity with noise and a random oracle, as in the source. False
        matches with probability below 2**-40. SPU's implementation is trusted.
    Leaks: to each party, the number of rows in the other's set; where a set has more than 1,048,576 rows,
        also how many of the other's fall into each bucket of an unkeyed hash.
    Cost: `bytes_sent`; about 100 rounds; 5 seconds for a million rows at each party, on a core each.
    Source: Raghuraman, Rindal 2022.
    """
    version = spu.required_version()
    own = _own_set(items)
    with protocol_run(channel, SPEC) as peer, spool(base) as folder:
        # 1. Compare what must be equal, exchange the sizes.
        peer_rows = _greet(peer, version, receivers, len(items))
        if not len(items) or not peer_rows:
            peer.confirm()
            return Intersection(np.zeros(0, dtype=np.int64), peer_rows)
        # 2. Let the engines talk.
        _write(folder / _ITEMS, own.texts)
        receiver = 1 if receivers == "right" else 0
        task = {
            "task": "psi",
            "rank": peer.rank,
            "receiver": receiver,
            "broadcast": receivers == "both",
        }
        limit = memory_limit or memory_bytes(len(items), peer_rows)
        with played(
            folder,
            task,
            {1 - peer.rank: peer},
            SPEC,
            memory_bytes=limit,
            progress=lambda percent: progress(percent, 100),
        ):
            receives = receivers in ("both", SPEC.roles[peer.rank])
            rows = _matched(folder / _MATCHED, own) if receives else np.zeros(0, dtype=np.int64)
        # 3. Compare transcripts.
        peer.confirm()
        return Intersection(rows, peer_rows)


def bytes_sent(own_rows: int, peer_rows: int, *, encodes: bool) -> int:
    """Estimate the payload bytes a party sends; a test holds it to a fifth.

    No formula can be exact: how an engine's connections fall into frames depends on timing.

    Args:
        own_rows: of its set.
        peer_rows: of the other's.
        encodes: whether it is the receiver inside, which sends the encoding: left, unless right is the only
            one that gets the result.
    """
    if encodes:
        return _SETUP_BYTES[0] + _ENCODED_BYTES * own_rows + _RESULT_BYTES * min(own_rows, peer_rows)
    return _SETUP_BYTES[1] + _OUTPUT_BYTES * own_rows


def memory_bytes(own_rows: int, peer_rows: int) -> int:
    """Return the most memory an engine is given for sets of these sizes: over twice what was measured."""
    return 2 * 1024**3 + 1024 * (own_rows + peer_rows)


def _own_set(items: pa.Array) -> TextSet:
    """Check the own items and encode them."""
    if len(items) > MAX_ROWS:
        raise InvalidInput(f"expected at most {MAX_ROWS} items, got {len(items)}")
    lengths = pc.binary_length(items)
    fitting = pc.sum(pc.and_(pc.greater(lengths, 0), pc.less_equal(lengths, MAX_ITEM_BYTES))).as_py() or 0
    if fitting != len(items):
        raise InvalidInput(
            f"items are 1 to {MAX_ITEM_BYTES} bytes each: {len(items) - fitting} of {len(items)} are not"
        )
    encoded = TextSet.of(encode_items(items))
    if repeats := encoded.repeats():
        raise DuplicateItems(repeats)
    return encoded


def _greet(peer: ConfirmedChannel, version: str, receivers: Receivers, rows: int) -> int:
    """Exchange sizes, and refuse another version of the engine or another receiver."""
    asked = f"{version} {receivers}".encode()
    peer.send("hello", wire.encode_uint64(rows) + asked)
    answered = peer.receive("hello")
    peer_rows = wire.Reader("hello", answered[:8]).uint64("rows")
    if peer_rows > MAX_ROWS:
        raise MalformedMessage(f"hello: expected at most {MAX_ROWS} rows, got {peer_rows}")
    if answered[8:] != asked:
        raise EnginesDisagree(asked.decode(), answered[8:].decode(errors="replace"))
    return peer_rows


def _write(path: Path, encoded: pa.Array) -> None:
    options = pyarrow.csv.WriteOptions(quoting_style="none", batch_size=65536)
    pyarrow.csv.write_csv(pa.table({"id": encoded}), path, options)


def _matched(path: Path, own: TextSet) -> NDArray[np.int64]:
    """The rows whose items the engine has written."""
    read = pyarrow.csv.ConvertOptions(column_types={"id": pa.large_string()}, strings_can_be_null=False)
    try:
        found = pyarrow.csv.read_csv(path, convert_options=read).column("id").combine_chunks()
    except (OSError, KeyError, pa.ArrowInvalid):
        raise EngineFailed("the engine's result cannot be read") from None  # the cause quotes the file
    matched = TextSet.of(found)
    rows = None if matched.repeats() else own.find(matched)
    if rows is None:
        raise EngineFailed("the engine's result is no set of items that were given to it")
    return rows
