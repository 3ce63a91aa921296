"""Domain separation: the one place that makes the tags of every hash and key derivation in this package.

A tag is a SHA-256 digest over package version, protocol name and version, usage and session, each preceded
by its length, so that no two uses share a tag and nothing computed in one session means anything in another.
"""

from __future__ import annotations

import hashlib
import struct
from enum import StrEnum
from typing import Final

PACKAGE: Final = b"parley/mpc/1"
TAG_BYTES: Final = 32


class Usage(StrEnum):
    """Every purpose for which this package hashes. A new purpose is a new member."""

    HASH_TO_GROUP = "hash-to-group"
    DOUBLE_MASKED_TAG = "double-masked-tag"
    BASE_OT_KEY = "base-ot-key"
    OT_CORRELATION_KEY = "ot-correlation-key"
    TRANSCRIPT = "transcript"
    PIR_CHECKSUM = "pir-checksum"
    PIR_MATRIX = "pir-matrix"
    AGGREGATION_MASK = "aggregation-mask"
    AGGREGATION_SEALING = "aggregation-sealing"
    AGGREGATION_COMMITMENT = "aggregation-commitment"
    ITEM_TAG = "item-tag"
    CELL_KEY = "cell-key"
    REPLICATED_KEY = "replicated-key"
    HINT_POSITION = "hint-position"
    ZERO_SHARE = "zero-share"
    ENGINE_FRAME = "engine-frame"
    MODEL_DIGEST = "model-digest"


def separation_tag(protocol: str, version: int, usage: Usage, session: bytes) -> bytes:
    """Derive the 32-byte tag for one usage in one session of one protocol.

    Security: distinct arguments give distinct tags, unless SHA-256 collides.
    Leaks: nothing; the tag is public.
    Cost: local; one hash.
    Source: the length-prefixed encoding of NIST SP 800-185, section 2.3, on SHA-256.
    """
    parts = (PACKAGE, protocol.encode(), str(version).encode(), usage.value.encode(), session)
    return hashlib.sha256(b"".join(struct.pack("<Q", len(part)) + part for part in parts)).digest()
