"""Are these accounts on either of two owners' lists? Neither owner learns which accounts were asked about."""

from __future__ import annotations

import pyarrow as pa

from exchange.examples.stage import ANALYST, PURPOSE, Stage

__all__ = ["anonymous"]

_COLUMNS = {"account": ("identifier", "AFTER_JOIN"), "reason": ("text", "AS_JOIN_PAYLOAD")}
_LISTS = {"bank": range(1000, 1200), "lender": range(1150, 1300)}
_ASKED = (1005, 1160, 1250, 2000)


def anonymous(stage: Stage) -> tuple[object, object]:
    """Ask two lists about four accounts in one call."""
    terms = {"operations": ["pir/keyword"], "output_types": ["lookup/record"], "min_cohort": 1, "uses": 1000}
    for org, numbers in _LISTS.items():
        table = pa.table(
            {"account": [_account(n) for n in numbers], "reason": [f"case {n}" for n in numbers]}
        )
        stage.share(org, "mules", table, _COLUMNS, terms)
        service = {
            "service": f"{org}/mules",
            "asset": f"{org}/mules",
            "keys": [{"column": "account", "rules": ["remove-spaces"]}],
            "record": ["reason"],
            "record_bytes": 32,
            "price": 2,
            "purposes": [PURPOSE],
        }
        stage.at(org).open_lookup(service)
    services = [f"{org}/mules" for org in _LISTS]
    answers = stage.at(ANALYST).lookup(services, [_account(n) for n in _ASKED], PURPOSE)
    found = [[_reason(record) for record in answer["records"]] for answer in answers]
    expected = [[f"case {n}" if n in numbers else None for n in _ASKED] for numbers in _LISTS.values()]
    return found, expected


def _account(number: int) -> str:
    return f"6222{number:010d}"


def _reason(record: dict[str, object]) -> object:
    values = record["record"]
    return values["reason"] if isinstance(values, dict) else None
