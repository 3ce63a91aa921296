"""Joint statistics: over rows that two parties have aligned, and over the rows of many owners."""

from mpc.stats import group_sums, joint

__all__ = ["group_sums", "joint"]
