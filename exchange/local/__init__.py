"""A whole consortium on one machine: separate processes, separate directories, real keys and TLS.

For demonstrations, tests and learning. The supervisor does what the operators of the organisations would
do with the ``parley`` command, each in a process of its own; it reads only what those processes print or
leave outside their data directories. It holds the passphrases it made up, so a local consortium protects
nobody from the person who runs it.
"""

from exchange.local.consortium import Consortium, Member
from exchange.local.errors import AlreadyUp, ChildFailed, NotUp

__all__ = ["AlreadyUp", "ChildFailed", "Consortium", "Member", "NotUp"]
