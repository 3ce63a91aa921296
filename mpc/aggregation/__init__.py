"""Secure aggregation: the sum of many parties' vectors, and nothing about any one of them.

`secagg` survives parties that drop out; `pairwise` is the part of it that needs all parties to the end.
"""

from mpc.aggregation import pairwise, secagg

__all__ = ["pairwise", "secagg"]
