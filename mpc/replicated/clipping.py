"""Values cut off at public bounds, and which of them lay between: rectifiers, saturation, projections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpc.replicated.sharing import Shared, stack

if TYPE_CHECKING:
    from mpc.replicated.runtime import Runtime

__all__ = ["clipped"]


def clipped(rt: Runtime, a: Shared, low: int, high: int, *, bits: int = 64) -> tuple[Shared, Shared]:
    """The nearest integers between two bounds, by two comparisons at once.

    With the bounds 0 and c it is a rectifier that saturates at c, and the second result is its slope.

    Args:
        rt: the run.
        a: shared int64[...].
        low: public, at most ``high``.
        high: public.
        bits: how many bits hold a - low and high - a, the sign included.

    Returns:
        Shared int64[...], between the bounds; and shared int64[...], 1 where a was and 0 elsewhere.

    Security: semi-honest, one of three. Leaks: nothing. Cost: see `mpc.replicated.costs.clipped`.
    Source: rectifiers by comparison: Mohassel, Rindal 2018, section 5.5; Wagh, Gupta, Chandran 2019.
    """
    room = stack([rt.add_public(a, -low), rt.add_public(rt.neg(a), high)])
    beyond = rt.to_arithmetic(rt.is_negative(room.reshape(2 * a.size), bits=bits)).reshape(2, *a.shape)
    missing = rt.mul(beyond, room)
    inside = rt.add_public(rt.neg(rt.add(beyond[0], beyond[1])), 1)
    return rt.add(rt.sub(a, missing[0]), missing[1]), inside
