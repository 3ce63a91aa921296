"""Evidence bundles: everything an outsider needs to check some entries, in one file and without a server.

A bundle holds the genesis, every governance entry, the entries asked for, the seals that say which of them
are valid, a proof for each, and one checkpoint that a quorum of members cosigned. Who checks it trusts the
hash of the genesis and nobody else.

An exporter chooses which entries to show, so what is absent from a bundle proves nothing, with one exception:
every governance entry that took effect is there. The seal that ends the checkpoint states the root of the
whole state; the bundle holds the roots of its tables, and those that governance makes must be the ones that
the governance entries shown lead to. Leaving one out would change them, so the keys and the quorum that the
other checks rest on are the consortium's, not the exporter's choice. A bundle that was exported with all
entries leaves no choice at all, and can be replayed.

``export`` needs a member's copy of the log; ``verify`` needs the file.
"""

from ledger.bundle.exporting import export
from ledger.bundle.report import AnchoredIn, KeyPeriod, Report, StampedBy
from ledger.bundle.verification import verify

__all__ = ["AnchoredIn", "KeyPeriod", "Report", "StampedBy", "export", "verify"]
