"""Arithmetic in ristretto255 on four elements at a time, for `mpc.ristretto255` when there are many.

The processor's vector unit works on one element in each of four lanes: more than twice what libsodium does
one by one. `emit` writes the instructions of field arithmetic, `area` lays out the memory, `points` has the
kernels, `bulk` applies them to rows of bytes. Compiled on first use; nothing imports this package before.
"""
