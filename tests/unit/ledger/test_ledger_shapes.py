"""Shapes of bodies: what a value must look like, and how a refusal names its place."""

from typing import Any

import pytest

from ledger.errors import Refusal
from ledger.rules import shapes


@pytest.mark.parametrize(
    ("shape", "good", "bad"),
    [
        (shapes.BYTES, "AP8_-w", ["AP8=", "AP9", "+/", "é", 5, None]),
        (shapes.DIGEST, "ab" * 32, ["AB" * 32, "ab" * 31, 5]),
        (shapes.TIME, "2026-11-23T10:00:00Z", ["2026-11-23", "2026-13-23T10:00:00Z", 5]),
        (shapes.COUNT, 0, [-1, True, "0", 1.0]),
        (shapes.BOOLEAN, True, [1, "true", None]),
    ],
)
def test_shapes(shape: Any, good: object, bad: list[object]) -> None:
    shape(good, "body: field")
    for value in bad:
        with pytest.raises(Refusal, match="body: field"):
            shape(value, "body: field")
