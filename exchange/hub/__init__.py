"""The hub: where members meet. It orders the log, shows the catalog and keeps what members leave for others.

It is trusted to be there, and for nothing else. It sees catalog metadata, specifications, states, sizes and
times; results pass through it sealed. Whatever it hands out, the receiving node checks against its own copy
of the ledger.
"""

__all__: list[str] = []
