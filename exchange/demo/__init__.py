"""The demonstration: a consortium answers a real joint question, and the record of it verifies offline.

It calls only what a user can call: :mod:`exchange.local`, :mod:`exchange.sdk` and the ``parley`` command.
Everything it claims at the end is a check that was made; one that fails makes the demonstration fail.
"""

from exchange.demo.report import Report
from exchange.demo.run import Demo
from exchange.demo.stage import Watch

__all__ = ["Demo", "Report", "Watch"]
