"""What the hub keeps for members to fetch: specifications, sealed results, progress.

It never holds rows, identifiers, keys or opened results. Nothing in it is trusted: members compare what they
fetch with the digests on their own copy of the ledger.
"""

from exchange.store.hub.repositories import HubStore, Progress, Result, Spec

__all__ = ["HubStore", "Progress", "Result", "Spec"]
