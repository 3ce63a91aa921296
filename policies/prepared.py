"""Policies read once: a document is parsed the first time it is met and found by its bytes after that.

The document may be hostile: what is too large, too deep or no JSON at all is refused before it is parsed.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final

import orjson

from policies.errors import InvalidPolicy
from policies.evaluate import Evaluator, evaluator
from policies.odrl import Policy, check_size

__all__ = ["MAX_BYTES", "Prepared", "prepare"]

MAX_BYTES: Final = 64 * 1024
_MAX_KEPT: Final = 1024


@dataclass(frozen=True)
class Prepared:
    """A policy and the function that decides by it."""

    policy: Policy
    evaluate: Evaluator


def prepare(document: object) -> Prepared:
    """Read a policy document, or find it among those read before.

    Raises:
        InvalidPolicy: naming the JSON path of the first fault.
    """
    check_size(document)
    try:
        raw = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    except TypeError as exc:  # orjson's own error is one
        raise InvalidPolicy("$", "a JSON document", str(exc)[:80]) from exc
    if len(raw) > MAX_BYTES:
        raise InvalidPolicy("$", f"at most {MAX_BYTES} bytes", f"{len(raw)}")
    return _prepared(raw)


@functools.lru_cache(maxsize=_MAX_KEPT)
def _prepared(raw: bytes) -> Prepared:
    policy = Policy.parse(orjson.loads(raw))
    return Prepared(policy, evaluator(policy))
