"""Intersection into secret shares, with a helper: two parties' columns over rows they have in common.

`selection` gives two parties shares of rows that the one holds and the other chooses, and `protocol` plays
the roles. The descriptor is `protocol.SPEC`.
"""
