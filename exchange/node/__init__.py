"""An organisation's own node: its data, its decisions, its copy of the ledger.

It never hands out rows, keys or identifiers. It trusts its own store and keys, the members' certificates that
the ledger records, and nothing the hub says; what it decides on is recomputed here and cosigned by a quorum.
"""

__all__: list[str] = []
