"""Tables and a file that an owner hands over whole, under an agreement."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from connectors.documents import CONTENT
from exchange.examples.stage import ANALYST, PURPOSE, Stage
from exchange.sdk import delivery_spec, file_spec, marked
from ledger.entries import new_id
from ledger.times import system_clock

__all__ = ["document", "marked_table", "table"]

_ROWS = 500
_COLUMNS = {"client": ("identifier", "PLAINTEXT"), "balance": ("measure", "PLAINTEXT")}


def table(stage: Stage) -> tuple[object, object]:
    """Have the lender deliver a table and open it: the same rows arrive."""
    return _delivered(stage, "delivery/table", "delivered", None)


def marked_table(stage: Stage) -> tuple[object, object]:
    """Have it delivered with a mark that tells this copy from others: no balance differs by more than one."""
    return _delivered(stage, "delivery/marked-table", "marked", marked("client", ["balance"], 5))


def document(stage: Stage) -> tuple[object, object]:
    """Have the bank deliver a document: the same bytes arrive."""
    content = np.random.Generator(np.random.PCG64(32)).bytes(200_000)
    path = stage.data / "bank" / "contract.pdf"
    path.write_bytes(content)
    terms = {"operations": ["delivery/file"], "output_types": ["file"], "min_cohort": 1}
    columns = {CONTENT: ("text", "PLAINTEXT")}
    asset = stage.register("bank", "contract", {"kind": "document", "location": str(path)}, columns, terms)
    agreement = stage.agree(asset, list(columns), terms)
    spec = file_spec(
        job=new_id("job", system_clock),
        title="A contract",
        purpose=PURPOSE,
        receiver=stage.did(ANALYST),
        agreement=stage.at(ANALYST).wait_agreement(agreement),
        column=CONTENT,
        name="contract",
    )
    received = stage.data / ANALYST / "contract-received.pdf"
    stage.at(ANALYST).open_delivery(stage.done(spec), received)
    return hashlib.sha256(received.read_bytes()).hexdigest(), hashlib.sha256(content).hexdigest()


def _delivered(
    stage: Stage, component: str, name: str, marks: Mapping[str, object] | None
) -> tuple[object, object]:
    generator = np.random.Generator(np.random.PCG64(31))
    balances = generator.integers(1_000, 90_000, _ROWS)
    given = pa.table({"client": [f"C{i:05d}" for i in range(_ROWS)], "balance": balances})
    terms = {"operations": [component], "output_types": ["table/rows"]}
    _, agreement = stage.share("lender", name, given, _COLUMNS, terms)
    spec = delivery_spec(
        job=new_id("job", system_clock),
        title="A table",
        purpose=PURPOSE,
        receiver=stage.did(ANALYST),
        agreement=stage.at(ANALYST).wait_agreement(agreement),
        columns=dict.fromkeys(_COLUMNS, 0),
        name=name,
        kind="parquet",
        marks=marks,
    )
    path = stage.data / ANALYST / f"{name}-received.parquet"
    stage.at(ANALYST).open_delivery(stage.done(spec), path)
    received = pyarrow.parquet.read_table(path)
    return [list(row.values()) for row in received.to_pylist()], [
        list(row.values()) for row in given.to_pylist()
    ]
