"""Oblivious transfer: the sender offers two values each time, the receiver gets the one it chose.

`mpc.ot.base` makes the first 128 transfers from public-key operations; `mpc.ot.iknp` extends them to millions
with symmetric operations alone. Both are building blocks: the protocols under `mpc.stats` run them.
"""

from mpc.ot import base, iknp

__all__ = ["base", "iknp"]
