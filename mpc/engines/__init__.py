"""Engines that others have written, behind our own interfaces: processes beside this one, without a network.

`mpc.engines.rr22` is the fast tier of `mpc.psi.ecdh`, `mpc.engines.shares` of `mpc.replicated`. An engine's
messages go through the party channel (`mpc.engines.tunnel`), its files stay in a private folder
(`mpc.engines.spool`), and it dies with the process that started it (`mpc.engines.process`). What an engine is
trusted with: the inputs of its own party, and to follow the protocol it is named for. See docs/engines.md.
"""

from mpc.engines import rr22, shares, spu

__all__ = ["rr22", "shares", "spu"]
