"""Every setting there is: name, form, value where none is given, and a sentence for the file and the page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from exchange.config import kinds

__all__ = ["HUB_FIELDS", "JOINING", "NODE_FIELDS", "Field"]


@dataclass(frozen=True)
class Field:
    """One setting.

    Attributes:
        name: its key in the file.
        read: the form of its value.
        default: the value where none is given, in the form of the file; ``...``: a value must be given.
        description: a sentence.
    """

    name: str
    read: kinds.Read
    default: Any
    description: str

    @property
    def variable(self) -> str:
        """The variable that wins over the file."""
        return f"PARLEY_{self.name.upper()}"


_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_NET = re.compile(r"[a-z0-9][a-z0-9./-]{0,99}")
_ORIGIN = re.compile(r"[!-*,-~]{1,200}")
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_ORGANISATION = kinds.text("lower-case letters, digits and hyphens, at most 40", _NAME)
_NETWORK = kinds.text("lower-case letters, digits, dots, slashes and hyphens, at most 100", _NET)

HUB_FIELDS: tuple[Field, ...] = (
    Field("net", _NETWORK, ..., "name of the network; part of every entry and of every cosigner's name"),
    Field(
        "origin",
        kinds.text("a name without spaces and plus signs", _ORIGIN),
        ...,
        "first line of every checkpoint: the log's address without its scheme",
    ),
    Field("member_bind", kinds.address, ..., "where members connect, with mutual TLS"),
    Field("operator_bind", kinds.address, ..., "where the operator's page is served; keep it on loopback"),
    Field(
        "database", kinds.database, "sqlite:///hub.sqlite", "database of the log and of the hub's own tables"
    ),
)

NODE_FIELDS: tuple[Field, ...] = (
    Field("name", _ORGANISATION, ..., "short name of the organisation; assets are called <name>/<slug>"),
    Field(
        "title",
        kinds.text("a line of at most 200 characters", _PRINTABLE),
        ...,
        "full name of the organisation",
    ),
    Field("role", kinds.one_of("participant", "regulator"), "participant", "role in the consortium"),
    Field("net", _NETWORK, ..., "name of the network"),
    Field("api_bind", kinds.address, ..., "where people and programs of this organisation connect"),
    Field("party_bind", kinds.address, ..., "where other members' nodes connect for joint computations"),
    Field("party_endpoint", kinds.address, ..., "the address other members are told to connect to"),
    Field("hub_url", kinds.https, None, "address of the hub; set by joining"),
    Field("hub_certificate", kinds.certificate, None, "the hub's TLS certificate; set by joining"),
    Field("genesis", kinds.path, None, "file with the consortium's first entry; set by joining"),
    Field(
        "source_roots", kinds.paths, [], "folders from which data files may be read; nothing outside them is"
    ),
    Field(
        "database",
        kinds.database,
        "sqlite:///node.sqlite",
        "database of this node and its copy of the ledger",
    ),
    Field("max_clock_skew_s", kinds.seconds, 120, "largest difference to another member's clock, in seconds"),
    Field("connect_timeout_s", kinds.seconds, 30, "how long to wait for another party's node, in seconds"),
    Field(
        "step_timeout_s",
        kinds.seconds,
        600,
        "how long to wait for the other parties' part of a step, in seconds",
    ),
    Field(
        "final_timeout_s", kinds.seconds, 30, "how long to wait for a quorum to cosign an entry, in seconds"
    ),
)

JOINING = ("hub_url", "hub_certificate", "genesis")
"""What joining sets: all three or none."""
