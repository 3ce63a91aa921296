"""The ``parley`` command: what a person or a script calls.

Every command is one act a user may do at the own node's API, or one start of a process. The package holds
no rule of the exchange: it parses arguments, calls :mod:`exchange.sdk`, :mod:`exchange.local` or a
daemon's set-up function, and prints. It trusts the profile files of the person who runs it and nothing
that a node answers beyond that node's own pinned certificate.
"""

from exchange.cli.application import main

__all__ = ["main"]
