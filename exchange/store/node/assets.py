"""Where the versions of this owner's assets lie, and the salt of each one's fingerprint.

A location with credentials, and all options of a source, are sealed (XChaCha20-Poly1305) with a key the node
hands in and bound to their asset and version, so neither a copy of the database nor a swapped row opens
somebody's source.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nacl.exceptions import CryptoError
from nacl.secret import Aead
from sqlalchemy import Engine, Row, select

from exchange.errors import Conflict
from exchange.store.engine import keep, transaction
from exchange.store.node.models import AssetRow, NodeBase
from ledger import canonical

if TYPE_CHECKING:
    from connectors.spec import SourceSpec

__all__ = ["AssetBinding", "AssetRepository"]

_ASSETS = NodeBase.metadata.tables[AssetRow.__tablename__]


@dataclass(frozen=True)
class AssetBinding:
    """A version of an asset, and how this node reads it.

    Attributes:
        asset: the id on the ledger.
        version: from 1.
        source: where it is.
        salt: of the fingerprint; 32 bytes.
        columns: the published columns, in the order of the fingerprint.
        text_columns: those to be read as text whatever they look like.
    """

    asset: str
    version: int
    source: SourceSpec
    salt: bytes = field(repr=False)
    columns: tuple[str, ...]
    text_columns: tuple[str, ...]


class AssetRepository:
    """Bindings by asset and version.

    Args:
        engine: the node's database.
        location_key: 32 bytes that seal locations with credentials; None: such a location is refused.
    """

    def __init__(self, engine: Engine, location_key: bytes | None) -> None:
        self._engine = engine
        self._box = None if location_key is None else Aead(location_key)

    def bind(self, binding: AssetBinding) -> None:
        """Keep a binding, in place of one that was never published.

        Raises:
            Conflict: the source may hold credentials and this store was opened without a key for them.
        """
        source = binding.source
        has_credentials = source.display != source.location
        values = {
            "asset": binding.asset,
            "version": binding.version,
            "kind": source.kind,
            "location": source.display,
            "sealed_location": self._seal(binding, "location", source.location) if has_credentials else None,
            "sealed_options": self._seal(binding, "options", json.dumps(dict(source.options)))
            if source.options
            else None,
            "source_table": source.table,
            "salt": binding.salt,
            "columns": list(binding.columns),
            "text_columns": list(binding.text_columns),
        }
        with transaction(self._engine) as connection:
            keep(connection, _ASSETS, values, replace=True)

    def binding(self, asset: str, version: int) -> AssetBinding | None:
        """Read a binding.

        Raises:
            Conflict: its location is sealed, and with another key than this store's.
        """
        wanted = select(_ASSETS).where(_ASSETS.c.asset == asset, _ASSETS.c.version == version)
        with transaction(self._engine) as connection:
            row = connection.execute(wanted).one_or_none()
        if row is None:
            return None
        # The hub keeps its store through this package too, and starts without connectors.
        from connectors.spec import SourceSpec

        location, options = self._open(row, "location"), self._open(row, "options")
        source = SourceSpec(
            row.kind,
            str(row.location) if location is None else location,
            row.source_table,
            {} if options is None else json.loads(options),
        )
        return AssetBinding(
            row.asset, row.version, source, row.salt, tuple(row.columns), tuple(row.text_columns)
        )

    def _seal(self, binding: AssetBinding, part: str, text: str) -> bytes:
        if self._box is None:
            raise Conflict("expected a key to seal the source's credentials with, got none")
        return bytes(self._box.encrypt(text.encode(), _context(binding.asset, binding.version, part)))

    def _open(self, row: Row[Any], part: str) -> str | None:
        sealed = row.sealed_location if part == "location" else row.sealed_options
        if sealed is None:
            return None
        if self._box is None:
            raise Conflict(f"expected a key to open the {part} of {row.asset} with, got none")
        try:
            return self._box.decrypt(sealed, _context(row.asset, row.version, part)).decode()
        except CryptoError:
            raise Conflict(f"expected the {part} of {row.asset} that this node sealed, got another") from None


def _context(asset: str, version: int, part: str) -> bytes:
    return canonical.encode({"asset": asset, "use": f"parley-source-{part}/v1", "version": version})
