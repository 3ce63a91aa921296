"""Step 8: the regulator's trail, the evidence bundle, and every way in which an altered byte is found."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from exchange.demo.stage import ANALYST, BUREAU, INCOME, LENDER, LOANS, REGULATOR, Stage, run_parley

__all__ = ["POSITIONS", "alter_entry", "audit", "names"]

POSITIONS = 5
"""How many places of the bundle are altered, one byte each, spread over its whole length."""

_PARALLEL = 2
_NAMES_NOTHING = "named nothing"


def audit(stage: Stage) -> None:
    """Search, compare, export, stop everything, verify offline, and alter what must not be altered."""
    stage.settle()
    if stage.before_audit is not None:
        stage.before_audit(stage.here)
    _search(stage)
    _compare(stage)
    bundle = _export(stage)
    hub_copy = stage.work / "hub-copy"
    if not stage.keep_running:
        stage.open.close()
        stage.here.stop()
    stage.report.verification["servers_stopped"] = not stage.keep_running
    _verify(stage, bundle)
    _alter_bundle(stage, bundle)
    made = run_parley("hub", "backup", "--dir", stage.here.hub_directory(), "--out", hub_copy)
    stage.report.require(made.returncode == 0, f"the hub's database can be copied: {made.stderr.strip()}")
    _check_hub(stage, hub_copy)
    _alter_hub(stage, hub_copy)


def _search(stage: Stage) -> None:
    by_asset = list(stage.at(REGULATOR).entries(asset=LOANS))
    by_member = list(stage.at(REGULATOR).entries(participant=stage.dids[LENDER]))
    stage.report.check(bool(by_asset), f"the regulator finds entries about {LOANS}")
    stage.report.check(bool(by_member), f"the regulator finds entries about {LENDER}")
    stage.report.evidence |= {"entries_by_asset": len(by_asset), "entries_by_participant": len(by_member)}
    stage.report.say(9, "demo.searched", asset=LOANS, found=len(by_asset), member=LENDER, more=len(by_member))


def _compare(stage: Stage) -> None:
    stage.watch.part(1, 6, "audit compare")
    found = stage.at(REGULATOR).compare()
    differences = [str(one) for one in found["differences"]]
    described = stage.at(REGULATOR).node()
    stage.report.ledger |= {"size": described["size"], "final_size": described["final_size"]}
    stage.report.verification["comparison"] = {"checked": found["checked"], "differences": differences}
    for difference in differences:
        stage.report.check(False, f"the hub's log differs from the regulator's copy: {difference}")
    if not differences:
        stage.report.say(9, "demo.compared", checked=found["checked"])


def _export(stage: Stage) -> Path:
    stage.watch.part(2, 6, "audit export")
    data = stage.at(REGULATOR).export_bundle(
        assets=[LOANS, INCOME],
        agreements=[str(row["agreement"]) for row in stage.agreements.values()],
        jobs=[*stage.jobs, *stage.refused],
        participants=[stage.dids[org] for org in (LENDER, BUREAU, ANALYST)],
    )
    bundle = (stage.out or stage.work) / "evidence.zip"
    bundle.write_bytes(data)
    stage.report.evidence |= {"bundle": str(bundle), "bytes": len(data)}
    if stage.out is not None:
        stage.report.files["evidence.zip"] = str(bundle)
    return bundle


def _verify(stage: Stage, bundle: Path) -> None:
    stage.watch.part(3, 6, "verify")
    done = run_parley("verify", bundle, "--genesis", stage.here.genesis, "--format", "json")
    answer = _envelope(done.stdout)
    stage.report.verification["bundle"] = {"exit_code": done.returncode, **answer}
    stage.report.check(
        done.returncode == 0, f"the bundle verifies offline: {answer.get('message', done.stderr)}"
    )
    key = "demo.verified.serving" if stage.keep_running else "demo.verified"
    stage.report.say(9, key, bytes=bundle.stat().st_size)


def _alter_bundle(stage: Stage, bundle: Path) -> None:
    """Change one byte at several places; each copy must be refused with what is wrong in it."""
    stage.watch.part(4, 6, "alter bundle")
    data = bundle.read_bytes()
    places = [(2 * number + 1) * len(data) // (2 * POSITIONS) for number in range(POSITIONS)]

    def attempt(position: int) -> dict[str, Any]:
        altered = bytearray(data)
        altered[position] ^= 0x01
        copy = stage.work / f"altered-{position}.zip"
        copy.write_bytes(altered)
        done = run_parley("verify", copy, "--genesis", stage.here.genesis, "--format", "json")
        copy.unlink()
        return {
            "position": position,
            "exit_code": done.returncode,
            "reason": _envelope(done.stdout).get("message", _NAMES_NOTHING),
        }

    with ThreadPoolExecutor(_PARALLEL) as pool:
        tried = list(pool.map(attempt, places))
    for one in tried:
        stage.report.check(
            one["exit_code"] == 1 and one["reason"] != _NAMES_NOTHING,
            f"a bundle with byte {one['position']} altered is refused; exit code {one['exit_code']}",
        )
    stage.report.verification["altered_bundles"] = tried
    stage.report.say(9, "demo.altered.bundle", count=len(tried), reason=tried[0]["reason"])


def _check_hub(stage: Stage, copy: Path) -> None:
    stage.watch.part(5, 6, "hub fsck")
    done = run_parley("hub", "fsck", "--dir", copy, "--format", "json")
    problems = _problems(done.stdout)
    stage.report.verification["hub_database"] = {"exit_code": done.returncode, "problems": problems}
    stage.report.check(
        done.returncode == 0, f"the hub's database is as it was signed: {'; '.join(problems) or done.stderr}"
    )


def _alter_hub(stage: Stage, copy: Path) -> None:
    """Change one byte of one entry in a copy of the hub's database; the check must name that entry."""
    stage.watch.part(6, 6, "alter hub")
    altered = stage.work / "hub-altered"
    shutil.copytree(copy, altered)
    index = alter_entry(altered, part=3)
    done = run_parley("hub", "fsck", "--dir", altered, "--format", "json")
    problems = _problems(done.stdout)
    named = [problem for problem in problems if names(problem, index)]
    stage.report.verification["altered_hub_database"] = {
        "entry": index,
        "exit_code": done.returncode,
        "problems": problems,
    }
    stage.report.check(
        done.returncode == 1 and bool(named), f"fsck names entry {index} after one of its bytes was altered"
    )
    stage.report.say(9, "demo.altered.hub", entry=index, reason=(named or problems or [_NAMES_NOTHING])[0])


def alter_entry(hub: Path, *, part: int = 2) -> int:
    """Change one byte in the middle of a recorded entry of a hub's database, as an attacker there could.

    Args:
        hub: the directory.
        part: the entry is the one at this part of the log: 2 for the middle, 3 for the end of a third.

    Returns:
        The altered entry's index.
    """
    with closing(sqlite3.connect(next(_databases(hub)))) as database, database:
        count = int(database.execute("SELECT count(*) FROM ledger_entries").fetchone()[0])
        index = count // part
        (raw,) = database.execute('SELECT raw FROM ledger_entries WHERE "index" = ?', (index,)).fetchone()
        changed = bytearray(raw)
        changed[len(changed) // 2] ^= 0x01
        database.execute('UPDATE ledger_entries SET raw = ? WHERE "index" = ?', (bytes(changed), index))
    return index


def _databases(hub: Path) -> Iterator[Path]:
    for pattern in ("*.db", "*.sqlite", "*.sqlite3"):
        yield from sorted(hub.rglob(pattern))


def _envelope(text: str) -> dict[str, Any]:
    try:
        loaded = json.loads(text)
    except ValueError:
        return {}
    if loaded.get("status") == "ok":
        return dict(loaded["data"]) if isinstance(loaded["data"], dict) else {"data": loaded["data"]}
    return {"code": loaded.get("error_code", ""), "message": loaded.get("message", "")}


def names(text: str, index: int) -> bool:
    """Whether a sentence names the entry with this index, and not a longer number."""
    return re.search(rf"\b(index|entry) {index}\b", text) is not None


def _problems(text: str) -> list[str]:
    found = _envelope(text).get("problems", [])
    return [f"{one['where']}: expected {one['expected']}, found {one['actual']}" for one in found]
