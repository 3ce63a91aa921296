"""``parley ledger prove``, ``fsck`` and ``replay``: what can be checked without trusting a running node."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exchange.cli.access import client, home_option
from exchange.cli.framework import Invocation, command, invocation, option
from exchange.cli.output import fields, rows

if TYPE_CHECKING:
    from exchange.cli.output import Bar
    from exchange.node.check import Replayed

__all__ = ["fsck", "prove", "replay"]

_FILE = click.Path(path_type=Path, dir_okay=False)
_READABLE = click.Path(path_type=Path, dir_okay=False, exists=True)
_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
_TOLD_EVERY_S = 1.0


@command("ledger.prove")
@click.argument("place", metavar="[INDEX|TXID]", required=False)
@option("--out", key="proof_out", type=_FILE)
@option("--check", "presented", key="proof_check", type=_READABLE)
@option("--policy", key="proof_policy", type=_FILE)
@option("--org", key="org", envvar="PARLEY_ORG")
@home_option
@click.pass_context
def prove(
    context: click.Context,
    place: str | None,
    out: Path | None,
    presented: Path | None,
    policy: Path | None,
    org: str | None,
    home: Path | None,
) -> int:
    """Write a proof that an entry is in the log, or check one with nothing but a policy file."""
    if presented is not None:
        if place is not None or out is not None or policy is None:
            raise click.UsageError("expected --check with --policy, and no entry or --out beside them")
        return _check_proof(invocation(context), presented, policy)
    if place is None or out is None or org is None:
        raise click.UsageError("expected an entry, --out and --org; or --check and --policy")
    with client(context, org, home) as node:
        proof, trusted = node.proof(place), node.policy() if policy is not None else b""
    out.write_bytes(proof)
    made: dict[str, Any] = {"proof": str(out), "bytes": len(proof)}
    if policy is not None:
        policy.write_bytes(trusted)
        made["policy"] = str(policy)
    invocation(context).output.result(made, fields(made))
    return 0


@command("ledger.fsck")
@option("--dir", "directory", key="node_dir", type=_FOLDER, required=True)
@click.pass_context
def fsck(context: click.Context, directory: Path) -> int:
    """Check a node's own ledger database entry by entry, with no node running."""
    from exchange.node.check import fsck as check_node

    called = invocation(context)
    problems = [dataclasses.asdict(found) for found in check_node(directory)]
    data = {"problems": problems, "sound": not problems}
    if not problems:
        called.output.result(data, called.text("fsck.sound"))
        return 0
    called.output.result(data, rows(problems, ["where", "expected", "actual"]))
    return 1


@command("ledger.replay")
@option("--dir", "directory", key="node_dir", type=_FOLDER)
@option("--tiles", key="replay_tiles")
@option("--genesis", key="genesis_hash")
@option("--carried", key="replay_carried", type=_READABLE)
@option("--processes", key="replay_processes", type=click.IntRange(0, 64))
@click.pass_context
def replay(
    context: click.Context,
    directory: Path | None,
    tiles: str | None,
    genesis: str | None,
    carried: Path | None,
    processes: int | None,
) -> int:
    """Recompute a whole log from its entries to the state root at every seal."""
    from exchange.node import check
    from ledger.errors import InvalidBatch

    if (directory is None) == (tiles is None):
        raise click.UsageError("expected --dir or --tiles, and not both")
    if directory is not None and carried is not None:
        raise click.UsageError("expected --carried with --tiles only: a node's directory has it")
    called = invocation(context)
    helpers = max(0, (os.cpu_count() or 1) - 1) if processes is None else processes
    started = time.monotonic()
    try:
        with called.output.progress("progress.replay") as bar:
            told = _teller(called, bar, started)
            if directory is not None:
                done = check.replay(directory, on_progress=told, processes=helpers)
            else:
                done = check.replay_tiles(
                    str(tiles), genesis=genesis, carried=carried, on_progress=told, processes=helpers
                )
    except InvalidBatch as difference:
        found = {
            "sound": False,
            "index": difference.index,
            "what": difference.what,
            "expected": difference.expected,
            "actual": difference.actual,
        }
        called.output.result(found, fields(found))
        return 1
    if tiles is not None and genesis is None:
        called.output.note("replay.unpinned")
    shown = _replayed(done, time.monotonic() - started)
    called.output.result(shown, fields(shown))
    return 0


def _check_proof(called: Invocation, presented: Path, policy: Path) -> int:
    from ledger.entries import Entry
    from ledger.errors import LedgerError
    from ledger.merkle import leaf_hash
    from ledger.proofs import Proof, verify_proof
    from ledger.trust import TrustPolicy

    try:
        proof = Proof.parse(presented.read_bytes())
        if proof.extra is None:
            raise click.UsageError(
                "expected a proof that carries its entry, as `parley ledger prove` writes it"
            )
        endorsed = verify_proof(proof, leaf_hash(proof.extra), TrustPolicy.parse(policy.read_bytes()))
        entry = Entry.parse(proof.extra)
    except LedgerError as error:
        from exchange.errors import PublicFace

        called.output.problem(PublicFace(409, "Refused", error.code, str(error), False, 1))
        return 1
    shown = {
        "index": proof.index,
        "txid": entry.txid,
        "type": entry.type,
        "actor": entry.actor,
        "net": entry.net,
        "origin": endorsed.checkpoint.origin,
        "size": endorsed.checkpoint.size,
        "root": endorsed.checkpoint.root.hex(),
        "cosigned": dict(sorted(endorsed.times.items())),
        "body": entry.body,
    }
    called.output.note("prove.sound", proof=presented.name)
    called.output.result(shown, fields(shown))
    return 0


def _teller(called: Invocation, bar: Bar, started: float) -> Callable[[int, int], None]:
    last = started

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _TOLD_EVERY_S and done < total:
            return
        last, rate = now, round(done / max(now - started, 1e-6))
        bar.at(done, total, f"{done}/{total} {rate}/s")
        called.output.event({"entries": done, "of": total, "per_second": rate})

    return tell


def _replayed(done: Replayed, seconds: float) -> dict[str, object]:
    log, final = done.log, done.final
    return {
        "sound": True,
        "entries": log.head.size,
        "batches": log.head.height,
        "refused": log.refused,
        "genesis": log.genesis,
        "root": log.tree.root().hex(),
        "state": log.head.state.root().hex(),
        "checkpoint": None if final is None else final.size,
        "cosigned": None if final is None else final.cosigned,
        "final": final is not None and final.is_final,
        "seconds": round(seconds, 3),
        "per_second": round(log.head.size / max(seconds, 1e-6)),
    }
