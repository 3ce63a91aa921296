"""A database that is current is recognised without Alembic, so the recorded heads must be the trees' own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

import exchange.store
import ledger
from exchange.store.engine import HEADS
from ledger.schema import HEAD

TREES = {
    "ledger": (Path(ledger.__file__).parent / "migrations", HEAD),
    "hub": (Path(exchange.store.__file__).parent / "hub" / "migrations", HEADS["hub"]),
    "node": (Path(exchange.store.__file__).parent / "node" / "migrations", HEADS["node"]),
}


@pytest.mark.parametrize("tree", TREES)
def test_the_recorded_head_is_the_newest_revision(tree: str) -> None:
    scripts, head = TREES[tree]
    assert ScriptDirectory(str(scripts)).get_current_head() == head


def test_a_current_database_is_opened_without_alembic(tmp_path: Path) -> None:
    code = """
import sys
from exchange.store import open_node_store
from ledger.store import upgrade
store = open_node_store(sys.argv[1])
upgrade(store.engine)
store.close()
print("alembic" in sys.modules)
"""
    url = f"sqlite:///{tmp_path}/node.sqlite"
    command = [sys.executable, "-P", "-c", code, url]
    loaded = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert loaded == ["True\n", "False\n"]
