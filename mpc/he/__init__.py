"""Homomorphic encryption: computing on what only the key holder can read.

`paillier` adds encrypted integers, on gmpy2; `sums` is the protocol that adds the vectors of many parties
with it. `ckks` computes on encrypted real numbers, with TenSEAL, where that is installed; `scoring` scores a
client's encrypted features by a model that stays with its owner.
"""
