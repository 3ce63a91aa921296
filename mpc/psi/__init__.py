"""Private set intersection: which rows two parties share, without showing the rest."""

from mpc.psi import ecdh

__all__ = ["ecdh"]
