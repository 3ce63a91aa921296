"""The Dataspace Protocol 2025-1 over HTTPS: catalog, contract negotiation and transfer processes.

The ledger stays the truth. Whoever acts writes a ledger entry first; the message that the protocol has for
that act follows, and the receiver takes it only if its own copy of the ledger holds the entry and the message
says the same. So a message can be lost, repeated or cut off by a crash and nothing is agreed on that is not
on the ledger. The parts are imported from their modules.
"""

__all__: list[str] = []
