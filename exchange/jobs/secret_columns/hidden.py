"""Rows of an intersection that nobody knows, between the step that shares them and the one that computes.

``psi/shared`` leaves at left, right and helper their parts of one row for each of the left's: shares of the
columns, zeros where the right has no such row, and whether it has. ``compute/expression`` takes them over as
replicated shares of the same three parties.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, cast

import numpy as np
from numpy.typing import NDArray

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import StepContext
from exchange.jobs.secret_columns.evaluate import Joined
from exchange.jobs.spec import Step
from mpc import wire
from mpc.circuit_psi import handover
from mpc.circuit_psi.protocol import SharedRows, Size
from mpc.replicated import Runtime
from mpc.replicated.tally import Tally
from mpc.secrecy import Unprintable

__all__ = ["COMPONENT_NAME", "SIDES", "Part", "check_follows", "joined", "part_of", "tallied"]

COMPONENT_NAME: Final = "psi/shared"
SIDES: Final = {"left": "owner-1", "right": "owner-2", "helper": "helper-1"}
"""The roles that share rows, and what the same parties are where they compute, in the order of ranks."""
_FORMAT: Final = 1


@dataclass(frozen=True, repr=False, eq=False)
class Part(Unprintable):
    """What one party keeps of the hidden rows.

    Attributes:
        entries: rows of the output, those of the left.
        own_rows: rows of this party's source, 0 at the helper.
        shares: its part of them.
    """

    entries: int
    own_rows: int
    shares: SharedRows

    def encode(self) -> bytes:
        """Encode, for this party's own store."""
        shares = self.shares
        members = np.zeros(0, "u1") if shares.is_member is None else shares.is_member.astype("u1")
        arrays = [
            np.zeros((0, 0), "<u8") if one is None else one.astype("<u8")
            for one in (shares.left, shares.right)
        ]
        numbers = b"".join(map(wire.encode_uint64, (_FORMAT, self.entries, self.own_rows)))
        return numbers + b"".join(map(wire.encode_array, (*arrays, members)))

    @classmethod
    def decode(cls, local: bytes) -> Self:
        """Decode what ``encode`` made.

        Raises:
            JobFailed: another format.
            MalformedMessage: it is something else.
        """
        reader = wire.Reader("part of hidden rows", local)
        if (version := reader.uint64("format")) != _FORMAT:
            raise JobFailed(f"part of hidden rows: expected format {_FORMAT}, got {version}")
        entries, own_rows = reader.uint64("entries"), reader.uint64("own rows")
        left, right = (reader.array(side, "<u8", (None, None)) for side in ("left", "right"))
        members = reader.array("members", "u1", (None,))
        reader.finish()
        return cls(
            entries,
            own_rows,
            SharedRows(
                left=left if left.size else None,
                right=right if right.size else None,
                is_member=members == 1 if members.size else None,
            ),
        )


def part_of(context: StepContext) -> Part | None:
    """This party's part of hidden rows; None where the step before aligned rows that owners know."""
    hidden = [name for name, step in context.before.items() if step.component == COMPONENT_NAME]
    return Part.decode(context.earlier[hidden[0]]) if hidden else None


def joined(runtime: Runtime, part: Part, before: Step, entries: int) -> Joined:
    """Take the hidden rows over into a run of the same three parties.

    Args:
        runtime: with left, right and helper as ranks 0, 1 and 2.
        part: this party's.
        before: the step that shared the rows.
        entries: rows of the output, as the left states them.
    """
    names = {side: [column.name for column in before.inputs[side].columns[1:]] for side in before.inputs}
    left, right = (Size(entries, len(names[side]), 0) for side in ("left", "right"))
    for given, size in ((part.shares.left, left), (part.shares.right, right)):
        _check_shape(given, (size.rows, size.columns))
    rows = handover.replicate(runtime, part.shares, left, right)
    columns = {
        (SIDES[side], name): shared[:, number]
        for side, shared in (("left", rows.left), ("right", rows.right))
        for number, name in enumerate(names[side])
    }
    return Joined(columns, rows.is_member)


def tallied(tally: Tally, before: Step, entries: int) -> Joined:
    """The hidden rows in a run that only counts what it would cost; arguments as of ``joined``."""
    return joined(tally, Part(entries, 0, SharedRows()), before, entries)


def _check_shape(given: NDArray[Any] | None, expected: tuple[int, int]) -> None:
    if given is not None and given.shape != expected:
        raise JobFailed(f"shares of hidden rows: expected {list(expected)}, got {list(given.shape)}")


def check_follows(step: Step, before: Step) -> None:
    """Check that a step which follows a sharing of rows is of the same parties and columns.

    Raises:
        InvalidRequest: it is not, by field.
    """
    if before.component != COMPONENT_NAME:
        return
    at = f"steps.{step.id}"
    for side, role in SIDES.items():
        expected, actual = before.parties[side], step.parties.get(role, "nobody")
        if actual != expected:
            what = f"{expected}, who is {side} in step {before.id}"
            raise InvalidRequest(f"{at}.parties.{role}", what, actual)
    stated = cast("Mapping[str, object]", step.params["columns"])
    shared = cast("Mapping[str, object]", before.params["columns"])
    for side in before.inputs:
        role = SIDES[side]
        _check_input(step, before, role, side)
        for column in step.inputs[role].columns:
            name = f"{role.replace('-', '')}.{column.name}"
            declared = shared[f"{side}.{column.name}"]
            if stated.get(name) != declared:
                where = f"what step {before.id} declares of {side}.{column.name}"
                raise InvalidRequest(f"{at}.params.columns.{name}", where, "another declaration")


def _check_input(step: Step, before: Step, role: str, side: str) -> None:
    at, given, shared = f"steps.{step.id}.inputs.{role}", step.inputs[role], before.inputs[side]
    if given.asset != shared.asset:
        raise InvalidRequest(f"{at}.asset", f"{shared.asset}, as in step {before.id}", given.asset)
    carried = {column.name: column.decimals for column in shared.columns[1:]}
    for column in given.columns:
        if column.name not in carried:
            expected = f"columns that step {before.id} shares: {', '.join(sorted(carried)) or 'none'}"
            raise InvalidRequest(f"{at}.columns", expected, column.name)
        if column.decimals != carried[column.name]:
            expected = f"{carried[column.name]} decimals of {column.name}, as in step {before.id}"
            raise InvalidRequest(f"{at}.columns", expected, str(column.decimals))
