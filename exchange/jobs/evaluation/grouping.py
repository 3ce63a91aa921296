"""By which groups an evaluation is told: a column of one owner, its labels, cutoffs, as the step states."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray

from connectors import columns
from exchange.errors import InvalidRequest
from exchange.jobs.component import StepContext
from exchange.jobs.preparation.fitting import refuse_codes
from exchange.jobs.spec import Step
from exchange.web.kinds import Rule, read_as
from federated.vertical.by_group import MAX_CUTOFFS, MAX_GROUPS, MILLION, Grouping

__all__ = ["By", "check_by"]

_LABEL: Final = Rule("a label", minimum=1, maximum=60)
_CUTOFF: Final = Rule("a probability between 0 and 1 of at most six decimals", pattern=r"0\.[0-9]{1,6}")


@dataclass(frozen=True)
class By:
    """What a step says of its groups.

    Attributes:
        owner: role of the owner of the column.
        column: its name.
        labels: of the groups, as texts; every row has one of them.
        cutoffs: probabilities, as decimals, ascending; rows that score as much are selected.
        order: time, where groups are periods in the order of their labels, compared with the first; none.
    """

    owner: Annotated[str, Rule("an owner such as owner-2", pattern=r"owner-[0-9]{1,2}")]
    column: Annotated[str, Rule("a column name", minimum=1, maximum=200)]
    labels: Annotated[tuple[Annotated[str, _LABEL], ...], Rule("labels", minimum=2, maximum=MAX_GROUPS)]
    cutoffs: Annotated[
        tuple[Annotated[str, _CUTOFF], ...], Rule("ascending probabilities", maximum=MAX_CUTOFFS)
    ] = ()
    order: Literal["none", "time"] = "none"

    @classmethod
    def of(cls, step: Step) -> By | None:
        """Read the parameter of a step; None where it has none."""
        stated = step.params.get("by")
        return None if stated is None else read_as(cls, stated, f"steps.{step.id}.params.by")

    @property
    def is_over_time(self) -> bool:
        """Whether groups are periods."""
        return self.order == "time"

    @property
    def grouping(self) -> Grouping:
        """As the protocol takes it."""
        rank = int(self.owner.rpartition("-")[2]) - 1
        return Grouping(rank, len(self.labels), self._millionths(), self.is_over_time)

    def codes(self, context: StepContext, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The place among the labels of each of some rows of the owner.

        Raises:
            WrongColumnType: from the source.
            JobFailed: values that are missing or no declared label, counted.
        """
        found = columns.label_codes(context.read(self.column), self.column, self.labels)[rows]
        refuse_codes(self.column, found)
        return found

    def check(self, step: Step) -> None:
        """Check that it names a column of an owner of the step, other than the label.

        Raises:
            InvalidRequest: by field.
        """
        at = f"steps.{step.id}.params.by"
        if self.owner not in step.inputs:
            raise InvalidRequest(f"{at}.owner", f"one of {', '.join(sorted(step.inputs))}", self.owner)
        own = {column.name for column in step.inputs[self.owner].columns}
        if self.owner == "owner-1":
            own.discard(str(step.params["label"]))
        if self.column not in own:
            expected = f"one of {self.owner}'s {', '.join(sorted(own))}"
            raise InvalidRequest(f"{at}.column", expected, "another column")

    def check_form(self, at: str) -> None:
        """Check labels and cutoffs.

        Raises:
            InvalidRequest: by field.
        """
        if len(set(self.labels)) != len(self.labels):
            raise InvalidRequest(f"{at}.labels", "each label once", "one twice")
        found = self._millionths()
        if 0 in found or list(found) != sorted(set(found)):
            raise InvalidRequest(f"{at}.cutoffs", "ascending probabilities above 0", "others")

    def _millionths(self) -> tuple[int, ...]:
        return tuple(int(Decimal(text) * MILLION) for text in self.cutoffs)


def check_by(value: object, at: str) -> None:
    """The parameter's own check."""
    read_as(By, value, at).check_form(at)
