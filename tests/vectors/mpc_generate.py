"""Write the vectors of `mpc`'s protocols, from the second implementation in `mpc_reference`.

Run as ``python tests/vectors/mpc_generate.py``; a test checks that it changes nothing.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
SEEDS = [bytes.fromhex("00112233445566778899aabbccddeeff"), bytes.fromhex("f0e1d2c3b4a5968778695a4b3c2d1e0f")]
SESSION = bytes(range(32))


def reference() -> ModuleType:
    """Load `mpc_reference` from this folder."""
    spec = importlib.util.spec_from_file_location("mpc_reference", HERE / "mpc_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def psi_ecdh(ref: ModuleType) -> dict[str, Any]:
    """Runs of both parties, and messages that must be refused."""
    sets = {
        "some shared": (
            [b"110101199003070038", b"x", b"440308199901010012"],
            [b"y", b"440308199901010012", b"x"],
        ),
        "none shared": ([b"a", b"b"], [b"c"]),
        "all shared, one item": ([b"only"], [b"only"]),
    }
    runs = [
        {
            "name": name,
            "session": SESSION.hex(),
            "seeds": [seed.hex() for seed in SEEDS],
            "items": [[item.hex() for item in items] for items in pair],
            **ref.psi(SESSION, pair, SEEDS),
        }
        for name, pair in sets.items()
    ]
    good = ref.encode(ref.hash_to_group(b"a", b"vectors")).hex()
    header = ref.words([1, 2, 1, 32]).hex()
    order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010"
    messages = [
        {"name": "one element", "payload": header + good, "rows": 1, "valid": True, "flags": []},
        {"name": "identity", "payload": header + "00" * 32, "flags": ["identity"]},
        {
            "name": "field element not reduced",
            "payload": header + "ed" + "ff" * 30 + "7f",
            "flags": ["non-canonical"],
        },
        {
            "name": "top bit set",
            "payload": header + good[:62] + f"{int(good[62:], 16) | 128:02x}",
            "flags": ["non-canonical"],
        },
        {"name": "no point of the curve", "payload": header + order, "flags": ["not-in-group"]},
        {
            "name": "two points where one is due",
            "payload": ref.words([1, 2, 2, 32]).hex() + good * 2,
            "flags": ["count"],
        },
        {"name": "no point where one is due", "payload": ref.words([1, 2, 0, 32]).hex(), "flags": ["count"]},
        {
            "name": "count larger than the payload",
            "payload": ref.words([1, 2, 1, 32]).hex() + good[:-2],
            "flags": ["short"],
        },
        {"name": "trailing byte", "payload": header + good + "00", "flags": ["trailing"]},
        {"name": "elements of 8 bytes", "payload": ref.words([3, 2, 1, 4]).hex() + good, "flags": ["type"]},
        {"name": "one dimension", "payload": ref.words([1, 1, 32]).hex() + good, "flags": ["type"]},
        {"name": "empty", "payload": "", "flags": ["short"]},
    ]
    refused = [{"rows": 1, "valid": False, **message} for message in messages[1:]]
    return {"origin": "mpc_reference.psi", "runs": runs, "masked_messages": [messages[0], *refused]}


def group_sums(ref: ModuleType) -> dict[str, Any]:
    """Runs of both parties, and messages that must be refused."""
    inputs: dict[str, tuple[list[list[int]], list[int], int, int]] = {
        "three groups, one suppressed": (
            [[5, -7, 2], [10, 0, 1], [-3, 8, 4], [2**40, -(2**40), 0], [1, 1, 1]],
            [0, 2, 0, 2, 1],
            3,
            2,
        ),
        "one group, one measure": ([[100], [-250]], [0, 0], 1, 1),
        "every group suppressed": ([[9, 9]], [1], 2, 5),
    }
    runs = [
        {
            "name": name,
            "session": SESSION.hex(),
            "seeds": [seed.hex() for seed in SEEDS],
            "measures": measures,
            "groups": groups,
            "k": k,
            "min_cohort": min_cohort,
            **ref.group_sums(SESSION, measures, groups, k, min_cohort, SEEDS),
        }
        for name, (measures, groups, k, min_cohort) in inputs.items()
    ]
    minus_one = 2**64 - 1
    cohorts = [
        {"name": "valid, one suppressed", "words": [9, 2, 1, 2, 5, minus_one], "valid": True},
        {"name": "counts above the rows", "words": [9, 2, 1, 2, 5, 5], "valid": False},
        {"name": "count of -2", "words": [9, 2, 1, 1, minus_one - 1], "valid": False},
        {"name": "no groups", "words": [9, 2, 1, 0], "valid": False},
        {"name": "more groups than the limit", "words": [9, 2, 1, 4097, *[minus_one] * 4097], "valid": False},
        {"name": "trailing word", "words": [9, 2, 1, 1, 5, 0], "valid": False},
        {"name": "unsigned counts", "words": [9, 3, 1, 1, 5], "valid": False},
        {"name": "missing counts", "words": [9], "valid": False},
    ]
    messages = [
        {"name": c["name"], "payload": ref.words(c["words"]).hex(), "valid": c["valid"]} for c in cohorts
    ]
    return {"origin": "mpc_reference.group_sums", "runs": runs, "cohorts_messages": messages}


def documents() -> dict[Path, str]:
    """Return each vector file and what it must hold."""
    ref = reference()
    made = {"psi_ecdh": psi_ecdh(ref), "group_sums": group_sums(ref)}
    return {
        HERE / family / "vectors.json": json.dumps(data, indent=1) + "\n" for family, data in made.items()
    }


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text)
