"""Joint statistics over rows that two parties have aligned, for example by `mpc.psi`."""

from mpc.stats import group_sums

__all__ = ["group_sums"]
