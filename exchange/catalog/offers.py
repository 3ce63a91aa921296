"""What of an offer the catalog can be searched by: purposes and price.

An offer is its owner's text; the ledger takes any object. Reading one here never fails and never decides
anything: what cannot be read is not found. Who may do what is decided on the parsed policy elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from policies import purposes

__all__ = ["price", "stated_purposes"]

_DEEPEST = 6


def stated_purposes(offer: object) -> tuple[str, ...]:
    """List the purposes that an offer names and Parley knows, sorted."""
    named = {
        purposes.canonical(operand)
        for left, right in _constraints(offer)
        if left == "purpose"
        for operand in (right if isinstance(right, list) else [right])
        if isinstance(operand, str)
    }
    return tuple(sorted(purpose for purpose in named if purposes.is_known(purpose)))


def price(offer: object) -> int:
    """Return the points that one use costs by the offer; 0 where it names none."""
    named = [
        right
        for left, right in _constraints(offer)
        if left == "payAmount" and type(right) is int and right > 0
    ]
    return max(named, default=0)


def _constraints(value: object, depth: int = 0) -> Iterator[tuple[str, object]]:
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for part in value:
            yield from _constraints(part, depth + 1)
    elif isinstance(value, Mapping):
        left = value.get("leftOperand")
        if isinstance(left, str):
            yield left, value.get("rightOperand")
        for name, part in value.items():
            if name not in ("leftOperand", "rightOperand", "@context"):
                yield from _constraints(part, depth + 1)
