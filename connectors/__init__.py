"""Connectors: how an owner's node reads the owner's data, where they are and without copying them.

A connector yields Arrow record batches of the columns asked for (``sql``: SQLite and PostgreSQL; ``files``:
CSV, Parquet, Arrow). Around it stand what a publisher needs: a profile (``profiles``), the dataset version
(``fingerprints``), normalised identifiers (``identifiers``) and columns as protocols take them
(``columns``). The package never writes to a source, sends nothing anywhere and decides nothing about
permission. It trusts the node's configuration for the folders it may read and treats source descriptions,
paths and cells as hostile. Database engines are loaded when a source is opened.
"""

from connectors import columns, fingerprints, identifiers, profiles
from connectors.connector import Connector
from connectors.errors import (
    ConnectorError,
    DatasetChanged,
    DuplicateIdentifiers,
    EmptyIdentifiers,
    EmptyTable,
    InvalidSource,
    InvalidValues,
    MissingColumn,
    MissingTable,
    MissingValues,
    SourceOutsideRoots,
    SourceUnreachable,
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
    "DatasetChanged",
    "DatasetVersion",
    "DuplicateIdentifiers",
    "EmptyIdentifiers",
    "EmptyTable",
    "InvalidSource",
    "InvalidValues",
    "MissingColumn",
    "MissingTable",
    "MissingValues",
    "Profile",
    "Role",
    "SourceOutsideRoots",
    "SourceSpec",
    "SourceUnreachable",
    "UnknownRule",
    "UnsupportedColumn",
    "WrongColumnType",
    "columns",
    "dataset_version",
    "fingerprints",
    "identifiers",
    "open_source",
    "profiles",
]
