"""Making and publishing the twin of an own asset: the ledger gets its digest, this node keeps the file."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from connectors import profiles
from exchange.errors import Conflict, InvalidRequest
from exchange.node.assets import Assets
from exchange.node.ledger_client import FinalEntry, LedgerClient
from exchange.node.papers import PAPER_LIMIT
from exchange.publishing import twin
from exchange.publishing.content import Content, hinted
from exchange.publishing.twin import TwinColumn
from exchange.store import AssetPaper, AssetPaperRepository, PaperKind

__all__ = ["MOST_ROWS", "Twin", "Twins"]

MOST_ROWS: Final = 100_000
_LOOSEST_MICRO: Final = 100_000_000


@dataclass(frozen=True)
class Twin:
    """A twin whose digest is final on the ledger."""

    asset: str
    version: int
    rows: int
    size: int
    digest: str
    entry: FinalEntry


class Twins:
    """Twins of this owner's assets."""

    def __init__(self, assets: Assets, papers: AssetPaperRepository, ledger: LedgerClient) -> None:
        self._assets, self._papers, self._ledger = assets, papers, ledger

    def publish(self, asset: str, rows: int, epsilon_micro: int) -> Twin:
        """Draw a twin of the published version and put its digest on the ledger.

        Args:
            asset: an own one.
            rows: how many rows to draw.
            epsilon_micro: noise of all columns together, in millionths; less is more noise.

        Raises:
            NotFound: this participant has not published the asset. Conflict: it is withdrawn, its data is not
            what was published, or no twin can be made of it.
        """
        if not 1 <= rows <= MOST_ROWS:
            raise InvalidRequest("rows", f"1 to {MOST_ROWS}", str(rows))
        if not 1 <= epsilon_micro <= _LOOSEST_MICRO:
            raise InvalidRequest("epsilon_micro", f"1 to {_LOOSEST_MICRO}", str(epsilon_micro))
        row = self._assets.own(asset)
        if row["status"] != "published":
            raise Conflict(f"asset {asset} is {row['status']}")
        self._assets.verify_version(asset)
        contents = self._contents(row)
        columns = [
            TwinColumn(one["name"], one["role"], one["sensitivity"], contents.get(one["name"]))
            for one in row["schema"]
        ]
        with self._assets.open(asset) as connector:
            table = twin.make(
                connector,
                profiles.profile(connector),
                columns,
                rows=rows,
                epsilon=epsilon_micro / 1_000_000,
                rng=np.random.Generator(np.random.PCG64DXSM(secrets.randbits(256))),
            )
        content = _written(table, asset)
        if len(content) > PAPER_LIMIT:
            raise InvalidRequest("rows", f"a twin of at most {PAPER_LIMIT} bytes", f"{len(content)} bytes")
        version, digest = int(row["version"]), hashlib.sha256(content).hexdigest()
        self._papers.put(AssetPaper(asset, version, PaperKind.TWIN, content))
        body = {
            "asset": asset,
            "version": version,
            "digest": digest,
            "rows": table.num_rows,
            "bytes": len(content),
            "epsilon_micro": epsilon_micro,
        }
        entry = self._ledger.write("asset.twin", body)
        return Twin(asset, version, table.num_rows, len(content), digest, entry)

    def _contents(self, row: Mapping[str, Any]) -> dict[str, Content | None]:
        """What the columns hold: as checked in the quality report, else as their names say."""
        contents: dict[str, Content | None] = {one["name"]: hinted(one["name"]) for one in row["schema"]}
        paper = self._papers.get(row["asset"], int(row["version"]), PaperKind.QUALITY)
        for column in [] if paper is None else json.loads(paper.content)["columns"]:
            if column["content"] is not None:
                contents[column["name"]] = Content(column["content"])
        return contents


def _written(table: pa.Table, asset: str) -> bytes:
    about = {"parley.asset": asset, "parley.synthetic": "made up; no row of it is of the data"}
    file = io.BytesIO()
    pa.parquet.write_table(table.replace_schema_metadata(about), file, compression="zstd")
    return file.getvalue()
