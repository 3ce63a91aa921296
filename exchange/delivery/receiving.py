"""Component ``delivery/receive``: the participant who asked fetches an envelope and checks all of it.

Pieces that came before a restart are kept, checked again, and not fetched again. The content is decrypted
once to see that it is the one that the head names, and stays encrypted at the node until somebody opens it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path
from typing import Final

from exchange.delivery.envelope import Head, open_envelope, piece_length
from exchange.delivery.sending import SENDERS
from exchange.errors import JobFailed
from exchange.jobs.component import Component, Outcome, StepContext
from exchange.jobs.spec import Step
from ledger import canonical
from policies.plans import Plan

__all__ = ["RECEIVE", "RECEIVED"]

RECEIVED: Final = "received"
"""Name of the envelope in the step's folder."""


def _run(context: StepContext) -> Outcome:
    (sending,) = context.step.after
    ((role, raw),) = context.released[sending].items()
    head = Head.decode(raw)
    path = context.hand_over.folder / RECEIVED
    digests = head.digests
    number = _keep_good(path, head)
    path.touch(mode=0o600)
    with path.open("ab") as file:
        if number < len(digests):
            for piece in context.hand_over.pieces(sending, role, number):
                if number >= len(digests) or not _is(piece, digests[number]):
                    raise JobFailed(f"step {context.step.id}: {role} sent another piece than it sealed")
                file.write(piece)
                number += 1
                context.progress(number, len(digests))
        file.flush()
        os.fsync(file.fileno())
    if number < len(digests):
        raise JobFailed(f"step {context.step.id}: expected {len(digests)} pieces, got {number}")
    for _ in open_envelope(head, path):
        pass
    shown = {"name": head.name, "media": head.media, "size": head.size, "content": head.content}
    return Outcome(local=raw, files={"result.json": canonical.encode({**shown, "mark": head.mark})})


def _keep_good(path: Path, head: Head) -> int:
    """Cut the file behind the last of its leading good pieces; return how many those are."""
    if not path.exists():
        return 0
    digests = head.digests
    good = size = 0
    with path.open("r+b") as file:
        while good < len(digests) and _is(file.read(piece_length(head, good)), digests[good]):
            size += piece_length(head, good)
            good += 1
        file.truncate(size)
    return good


def _is(piece: bytes, digest: bytes) -> bool:
    return hmac.compare_digest(hashlib.sha256(piece).digest(), digest)


def _plan(_: Step) -> Plan:
    return ()


RECEIVE = Component(
    name="delivery/receive",
    version=1,
    summary="The participant who asked fetches what the owner has prepared, and checks it.",
    roles={"reader": None},
    params={},
    output_type="report",
    needs=frozenset(component.name for component in SENDERS),
    protocol=None,
    run=_run,
    plan=_plan,
    is_delivery=True,
)
