"""The exchange: hub, node, command line, SDK and demo. Everything a person or a program touches.

It composes the other packages and may import all of them; none of them knows it. The hub is trusted for being
there, and for nothing else; a node trusts its own keys, its own copy of the ledger, and its own people.
"""

from importlib.metadata import version

__all__ = ["product_version"]


def product_version() -> str:
    """The version of this installation."""
    return version("parley-exchange")
