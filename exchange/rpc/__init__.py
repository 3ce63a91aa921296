"""The data plane: one authenticated, ordered stream per job and pair of parties, over gRPC and mutual TLS.

It carries the messages of protocols (``mpc.channel.Channel``) and knows nothing of their content. It trusts
the caller for the table of members and for which sessions are expected. It trusts the peer for nothing:
frames are checked for session, order, size and window. The names for callers are in ``exchange.rpc.channel``
and ``exchange.rpc.errors``.
"""

__all__: list[str] = []
