"""Models that several parties train without pooling their rows.

The package stands between `mpc`, whose channels and protocols it may use, and `exchange`, which may run what
it offers; it imports nothing else of this project. It exports nothing yet.
"""

__all__: list[str] = []
