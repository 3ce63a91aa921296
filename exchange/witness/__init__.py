"""A witness, and if so configured a mirror, of other networks' logs: a small process with keys of its own.

It knows no members and reads no entry. It cosigns a log's checkpoint if that extends the last one it cosigned
(``ledger.witness``), and as a mirror holds the entries too (``ledger.raw_mirror``). Anyone may connect; what
is asked for is the log's signature.
"""

__all__: list[str] = []
