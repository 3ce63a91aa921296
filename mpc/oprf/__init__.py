"""Oblivious pseudorandom functions: one party holds the key; the other holds the input and learns the output.

`mpc.oprf.rfc9497` is the function of RFC 9497 on ristretto255 with SHA-512, with and without proof.
"""
