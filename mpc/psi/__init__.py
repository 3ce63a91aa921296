"""Private set intersection of two parties: which rows they share, how many, against a large kept list."""

from mpc.psi import cardinality, ecdh, unbalanced

__all__ = ["cardinality", "ecdh", "unbalanced"]
