"""Connectors: how an owner's node reads the owner's data, where they are and without copying them.

A connector yields Arrow record batches of the columns and rows (``filters``) asked for (``sql``: SQLite,
PostgreSQL, MariaDB and MySQL; ``files``: CSV, Parquet, Arrow; ``api``: JSON over HTTP; ``lists``; ``streams``
and ``segments``: what is appended to; ``plugins``: those of others). Around it stand what a publisher needs:
a profile (``profiles``), the dataset version (``fingerprints``), normalised identifiers (``identifiers``) and
columns as protocols take them (``columns``). The package never writes to a source, save what
``segments.append`` is asked to, sends nothing anywhere but requests to listed APIs, and decides nothing about
permission. It trusts the node's configuration for the folders it may read and the hosts it may ask, and
treats source descriptions, paths, cells and answers as hostile. Database engines are loaded when a source is
opened.
"""

from connectors import columns, filters, fingerprints, identifiers, profiles
from connectors.connector import Connector
from connectors.errors import (
    ConnectorError,
    ContractBroken,
    DatasetChanged,
    DuplicateIdentifiers,
    EmptyIdentifiers,
    EmptyTable,
    HostNotAllowed,
    InvalidFilter,
    InvalidSource,
    InvalidValues,
    LimitExceeded,
    MissingColumn,
    MissingTable,
    MissingValues,
    SourceOutsideRoots,
    SourceUnreachable,
    StreamChanged,
    UnknownMaintainers,
    UnknownRule,
    UnsupportedColumn,
    WrongColumnType,
)
from connectors.fingerprints import DatasetVersion, dataset_version
from connectors.profiles import Profile, Role
from connectors.spec import SourceSpec, open_source

__all__ = [
    "Connector",
    "ConnectorError",
    "ContractBroken",
    "DatasetChanged",
    "DatasetVersion",
    "DuplicateIdentifiers",
    "EmptyIdentifiers",
    "EmptyTable",
    "HostNotAllowed",
    "InvalidFilter",
    "InvalidSource",
    "InvalidValues",
    "LimitExceeded",
    "MissingColumn",
    "MissingTable",
    "MissingValues",
    "Profile",
    "Role",
    "SourceOutsideRoots",
    "SourceSpec",
    "SourceUnreachable",
    "StreamChanged",
    "UnknownMaintainers",
    "UnknownRule",
    "UnsupportedColumn",
    "WrongColumnType",
    "columns",
    "dataset_version",
    "filters",
    "fingerprints",
    "identifiers",
    "open_source",
    "profiles",
]
