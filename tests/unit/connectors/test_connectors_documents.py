"""Any file as a table of its parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors import SourceSpec, open_source
from connectors.documents import CONTENT, DocumentConnector
from connectors.errors import MissingColumn, SourceOutsideRoots, SourceUnreachable
from connectors.filters import Compare
from connectors.fingerprints import dataset_version
from connectors.profiles import profile

PART = 256 * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "contract.pdf"
    made.write_bytes(bytes(i * 7 % 253 for i in range(20 * PART + 5)))
    return made


def test_the_parts_together_are_the_file(path: Path) -> None:
    connector = open_source(SourceSpec("document", str(path)), roots=[path.parent])
    batches = list(connector.batches(["part", CONTENT], batch_rows=7))
    assert max(batch.num_rows for batch in batches) == 7
    numbers = [number for batch in batches for number in batch.column(0).to_pylist()]
    assert numbers == list(range(21))
    assert b"".join(part for batch in batches for part in batch.column(1).to_pylist()) == path.read_bytes()


def test_a_filter_keeps_parts(path: Path) -> None:
    kept = DocumentConnector(path).batches(["part"], where=Compare("part", ">", 18))
    assert [number for batch in kept for number in batch.column(0).to_pylist()] == [19, 20]


def test_every_byte_counts_for_the_version(path: Path) -> None:
    before = dataset_version(DocumentConnector(path), bytes(32), [CONTENT]).root
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert dataset_version(DocumentConnector(path), bytes(32), [CONTENT]).root != before


def test_a_profile_keeps_no_content(path: Path) -> None:
    found = profile(DocumentConnector(path))
    content = next(column for column in found.columns if column.name == CONTENT)
    assert (found.rows, content.distinct_exact) == (21, False)


def test_what_cannot_be_read_is_said(path: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceUnreachable):
        open_source(SourceSpec("document", str(tmp_path / "missing")), roots=[tmp_path])
    with pytest.raises(SourceOutsideRoots):
        open_source(SourceSpec("document", "../../etc/passwd"), roots=[tmp_path])
    with pytest.raises(MissingColumn):
        DocumentConnector(path).batches(["nothing"])
