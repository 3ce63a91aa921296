"""Connectors of others, found by entry point and held to the contract while they run.

A distribution that brings a connector names it in the entry point group ``parley.connectors``::

    [project.entry-points."parley.connectors"]
    mainframe = "example_mainframe:open_mainframe"

The name is the kind of source; the object is called with the source and what this node may reach, and
returns a ``Connector``. It passes ``connectors.testing.ConnectorContract``, which its own tests run. The node
does not take its word: what it returns is wrapped in ``connectors.conforming``, which checks every batch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from connectors.conforming import Conforming
from connectors.errors import ContractBroken, InvalidSource, SourceUnreachable

if TYPE_CHECKING:
    from connectors.connector import Connector
    from connectors.spec import SourceSpec

__all__ = ["GROUP", "Open", "Reach", "installed", "open_installed"]

GROUP: Final = "parley.connectors"
_KIND: Final = re.compile(r"[a-z][a-z0-9-]{0,19}")


@dataclass(frozen=True)
class Reach:
    """What a connector may reach: folders, hosts, and the columns to be read as text.

    A connector of files MUST pass its path through ``connectors.spec.resolve_inside``, one of addresses
    through ``connectors.api_hosts.Hosts``.
    """

    roots: tuple[Path, ...]
    hosts: tuple[str, ...]
    text_columns: tuple[str, ...]


class Open(Protocol):
    """What an entry point names."""

    def __call__(self, spec: SourceSpec, reach: Reach) -> Connector:
        """Open a source of this kind, or raise a ``ConnectorError``. Messages MUST hold no credentials."""
        ...


def installed() -> dict[str, list[EntryPoint]]:
    """The kinds that installed distributions bring; a kind that two bring cannot be opened."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        if _KIND.fullmatch(point.name):
            found.setdefault(point.name, []).append(point)
    return found


def open_installed(spec: SourceSpec, reach: Reach) -> Connector:
    """Open a source of an installed kind.

    Raises:
        InvalidSource: no distribution brings this kind, or several do.
        SourceUnreachable: the connector cannot be loaded.
        ContractBroken: it opens something that is no connector.
    """
    points = installed().get(spec.kind, [])
    if len(points) != 1:
        raise InvalidSource("kind", "a kind that one installed distribution brings", f"{len(points)} that do")
    try:
        opener: Open = points[0].load()
    except (ImportError, AttributeError) as exc:
        reason = f"the connector {points[0].value} cannot be loaded ({type(exc).__name__})"
        raise SourceUnreachable(spec.display, reason) from None
    if not callable(opener):
        raise ContractBroken(spec.kind, "an entry point that can be called", type(opener).__name__)
    return Conforming(spec.kind, opener(spec, reach))
