"""How often a daemon looks for unreachable cycles: seldom, because what it holds lives long.

Parsing entries makes many objects that reference counting frees at once; with Python's own thresholds,
looking for cycles among all others took a tenth of a busy hub's time and a sixth of a member's.
"""

from __future__ import annotations

import gc

__all__ = ["settle"]

_NEW_OBJECTS = 50_000
_GENERATIONS = 20


def settle() -> None:
    """Leave what is there now out of every later look, and look after many new objects only."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _GENERATIONS, _GENERATIONS)
