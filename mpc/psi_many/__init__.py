"""Intersection of n sets: one party, the leader, and two to 29 others.

`hints` programs values into polynomials, and `protocol` plays the roles. The descriptor is `protocol.SPEC`.
"""
