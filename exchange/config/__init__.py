"""Settings of a hub, a node or a witness: one TOML file and ``PARLEY_*`` variables, parsed once, then frozen.

The file is ``parley.toml`` in the data directory. Every setting has one name; the variable ``PARLEY_<NAME>``
in capitals, where set, wins over the file. ``NODE_FIELDS``, ``HUB_FIELDS`` and ``WITNESS_FIELDS`` are the
whole vocabulary: parsing, the check, the written file and the documentation all read them. Problems are
reported all at once.

It holds no passphrase and no key. It trusts the data directory, which must therefore belong to the user that
runs the process and be closed to everyone else.
"""

from exchange.config.directory import private_directory
from exchange.config.kinds import OutsideCopy
from exchange.config.problems import ConfigError, Problem
from exchange.config.settings import (
    FILE_NAME,
    HubAddress,
    HubSettings,
    NodeSettings,
    WitnessSettings,
    amend,
    check,
    hub_settings,
    load,
    node_settings,
    save,
    witness_settings,
)
from exchange.config.vocabulary import HUB_FIELDS, NODE_FIELDS, WITNESS_FIELDS, Field

__all__ = [
    "FILE_NAME",
    "HUB_FIELDS",
    "NODE_FIELDS",
    "WITNESS_FIELDS",
    "ConfigError",
    "Field",
    "HubAddress",
    "HubSettings",
    "NodeSettings",
    "OutsideCopy",
    "Problem",
    "WitnessSettings",
    "amend",
    "check",
    "hub_settings",
    "load",
    "node_settings",
    "private_directory",
    "save",
    "witness_settings",
]
