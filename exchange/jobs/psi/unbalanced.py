"""Component ``psi/unbalanced``: which of a client's few people are in a server's large set.

The server's node masks its set once a version of the data and epoch of the key, and keeps the tags; the
client's node keeps them too, so that later jobs carry the client's few items alone. Both keep them sealed, in
a private folder. The key is derived at the server's node from a secret of the node and the step's ``epoch``.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Final, cast

import numpy as np

from exchange.jobs.component import Component, Outcome, Param, RoleInput, StepContext, source, whole_number
from exchange.jobs.estimates import Estimate
from exchange.jobs.psi import keys
from exchange.jobs.results import ResultTable
from exchange.jobs.spec import Step
from ledger import canonical
from mpc.errors import MalformedMessage
from mpc.oprf import rfc9497
from mpc.psi import unbalanced
from mpc.psi.unbalanced import KeptTags
from policies.column_control import Level
from policies.plans import Aggregate, Join, Plan, Reveal

__all__ = ["COMPONENT"]

_PREPARE_NS: Final = 35_000
_SERVE_NS: Final = 200_000
_ASK_NS: Final = 350_000
_ITEM_BYTES: Final = 64
_DIGEST_BYTES: Final = 32


def _run(context: StepContext) -> Outcome:
    return _serve(context) if context.role == "server" else _ask(context)


def _serve(context: StepContext) -> Outcome:
    name = _name(context.step, "server")
    epoch = canonical.encode({"epoch": context.step.params["epoch"], "set": name})
    key = rfc9497.derive_key(context.hand_over.kept.secret(epoch), epoch)
    prepared = _prepared(context, name, key)
    unbalanced.serve(context.channel("client"), key, prepared, context.rng)
    return Outcome(local=b"")


def _prepared(context: StepContext, name: str, key: rfc9497.KeyPair) -> KeptTags:
    """The tags of this version of the set under this key, from the last time or computed now."""
    version = hashlib.sha256(key.public)
    for items in keys.batches(context):
        version.update(b"".join(struct.pack("<I", len(item)) + item for item in items))
    kept = context.hand_over.kept.get(name)
    if kept is not None and kept[:_DIGEST_BYTES] == version.digest():
        return KeptTags.decode(kept[_DIGEST_BYTES:])
    prepared = unbalanced.prepare(key, keys.batches(context))
    context.hand_over.kept.put(name, version.digest() + prepared.encode())
    return prepared


def _ask(context: StepContext) -> Outcome:
    step, name = context.step, _name(context.step, "client")
    items = [item for batch in keys.batches(context) for item in batch]
    found = unbalanced.ask(
        context.channel("server"),
        items,
        _known(context.hand_over.kept.get(name)),
        context.rng,
        limits=keys.limits(step, context.minimum_cohort),
    )
    context.hand_over.kept.put(name, found.kept.encode())
    count = len(found.rows)
    return Outcome(
        local=found.rows.astype("<i8").tobytes(),
        cohort=count,
        figures=1,
        rows=found.rows,
        groups=np.zeros(count, dtype=np.int64),
        files=ResultTable(("row",), tuple((row,) for row in found.rows.tolist())).files(),
    )


def _known(kept: bytes | None) -> KeptTags | None:
    try:
        return None if kept is None else KeptTags.decode(kept)
    except MalformedMessage:
        return None


def _name(step: Step, keeper: str) -> str:
    """Of what the tags are, the server's asset and the form of its keys, and which side keeps them."""
    given = step.inputs["server"]
    rules = cast("dict[str, list[object]]", step.params["normalise"])["server"]
    named: dict[str, object] = {
        "keeper": keeper,
        "server": step.parties["server"],
        "asset": given.asset,
        "columns": [column.name for column in given.columns],
        "normalise": rules,
    }
    return canonical.encode(named).decode()


def _check(step: Step) -> None:
    keys.check_keys(step)
    keys.check_recipient(step, step.parties["client"])


def _plan(step: Step) -> Plan:
    """The client learns which of its rows the server has too."""
    server, client = source(step, "server"), source(step, "client")
    counted = f"{step.id}.count"
    return (
        server,
        client,
        Join(step.id, server.id, client.id, tuple(zip(server.columns, client.columns, strict=True))),
        Reveal(step.id, (), (client.owner,)),
        Aggregate(counted, step.id, (), (("count", "count", ()),)),
        Reveal(counted, ("count",), step.recipients),
    )


def _estimate(step: Step, rows: Mapping[str, int]) -> dict[str, Estimate]:
    items, asked = rows["server"], rows["client"]
    sent = [unbalanced.bytes_sent(rank, asked, items) for rank in (0, 1)]
    work = {"server": _PREPARE_NS * items + _SERVE_NS * asked, "client": _ASK_NS * asked}
    return {
        role: Estimate(
            sent_bytes=sent[rank],
            received_bytes=sent[1 - rank],
            rounds=unbalanced.rounds(rank, asked, items),
            work_ns=work[role],
            memory_bytes=_ITEM_BYTES * items,
            assumes="that neither side has kept the tags of this version",
        )
        for rank, role in enumerate(("server", "client"))
    }


COMPONENT = Component(
    name="psi/unbalanced",
    version=1,
    summary="A client learns which of its few people are in a server's large set, whose tags it keeps.",
    roles={
        "server": RoleInput(1, keys.MAX_COLUMNS, frozenset({"identifier"}), Level.AFTER_JOIN),
        "client": RoleInput(1, keys.MAX_COLUMNS, frozenset({"identifier"}), Level.AFTER_JOIN),
    },
    params={
        "normalise": keys.normalise_of("server", "client"),
        "minimum_matches": keys.PARAMS["minimum_matches"],
        "maximum_matches": keys.PARAMS["maximum_matches"],
        "epoch": Param(
            "number of the key; with another number the tags are new and unrelated", whole_number(1, 2**31)
        ),
    },
    output_type="cardinality",
    needs=frozenset(),
    protocol=unbalanced.SPEC,
    run=_run,
    plan=_plan,
    check_step=_check,
    estimate=_estimate,
)
