"""A query as a step of a job: what the specification holds of it, and the program that stands for it.

The step holds the canonical text, the types of the columns that it reads, the minimum cohort and the digest
of its plan. Every party makes the program from these alone and checks that its plan is what was approved.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Any, Final, cast

from exchange.errors import InvalidRequest
from exchange.jobs.spec import Step
from exchange.sql.binding import bind
from exchange.sql.control import Owner, control_plan
from exchange.sql.expressions import SqlType
from exchange.sql.matching import ECDH, RR22, Matching
from exchange.sql.program import Program, compile_query
from exchange.sql.query import Catalog, Part, Query, render
from ledger import canonical
from policies.plans import Plan

__all__ = [
    "COMPONENTS",
    "GROUPS",
    "HELPER",
    "ROWS",
    "check_step",
    "columns_of",
    "matching_of",
    "parts_of",
    "plan_digest",
    "plan_of",
    "program_of",
    "query_step",
]

GROUPS: Final = "sql/query"
ROWS: Final = "sql/rows"
COMPONENTS: Final[Mapping[str, tuple[bool, Matching]]] = {
    GROUPS: (True, ECDH),
    ROWS: (False, ECDH),
    f"{GROUPS}-rr22": (True, RR22),
    f"{ROWS}-rr22": (False, RR22),
}
"""Whether a component shows figures of groups, else rows, and how it matches keys."""
HELPER: Final = "helper-1"
VERSION: Final = 1

Types = Mapping[str, Mapping[str, str]]


def parts_of(query: Query) -> tuple[Part, ...]:
    """The assets of a query with their columns, in the order of the owners' roles."""
    return tuple(part for table in query.tables for part in table.parts)


def columns_of(program: Program) -> tuple[tuple[tuple[str, SqlType], ...], ...]:
    """For each owner, the columns of its asset that the query reads, with their types."""
    found = []
    for table in program.tables:
        reads = program.reads(table.name)
        for part in table.parts:
            own = dict(part.columns)
            found.append(tuple({own[column.name]: column.type for column in reads}.items()))
    return tuple(found)


def query_step(
    text: str,
    catalog: Catalog,
    owners: Mapping[str, str],
    *,
    name: str,
    minimum: int,
    helper: str | None,
    recipient: str,
    matching: Matching = ECDH,
) -> dict[str, Any]:
    """Write the step that answers a query.

    Args:
        text: the query.
        catalog: columns of its assets.
        owners: asset to participant.
        name: id of the step.
        minimum: the smallest number of rows behind a shown figure; 1 for a query that shows rows.
        helper: who computes besides two owners; None where there are three.
        recipient: who opens the answer.
        matching: how the keys of joins are matched.

    Raises:
        InvalidQuery: the query is not one that can be answered.
        InvalidRequest: an owner reads nothing, a third computing party is missing or one too many, or the
            query has no keys for an engine to match.
    """
    program = compile_query(bind(text, catalog), minimum)
    parts, columns = parts_of(program.query), columns_of(program)
    roles = [f"owner-{number}" for number in range(1, len(parts) + 1)]
    parties = {role: owners[part.asset] for role, part in zip(roles, parts, strict=True)}
    if helper is not None:
        parties[HELPER] = helper
    _check_parties(parties, "helper")
    step: dict[str, Any] = {
        "id": name,
        "component": _component_of(program, matching, "matching"),
        "version": VERSION,
        "parties": parties,
        "inputs": {
            role: {
                "asset": part.asset,
                "columns": [{"name": column, "decimals": _decimals(kind)} for column, kind in read],
            }
            for role, part, read in zip(roles, parts, columns, strict=True)
        },
        "after": [],
        "params": {
            "query": render(program.query),
            "types": {
                role: {column: str(kind) for column, kind in read}
                for role, read in zip(roles, columns, strict=True)
            },
            "min_cohort": minimum,
        },
        "recipients": [recipient],
    }
    plan = _plan(program, name, tuple(parties.items()), (recipient,))
    step["params"]["plan"] = plan_digest(plan)
    return step


def program_of(step: Step) -> Program:
    """The program of a step.

    Raises:
        InvalidRequest: its query does not fit its inputs.
    """
    at = f"steps.{step.id}.params"
    try:
        types = canonical.encode(cast(Any, step.params["types"])).decode()
        assets = tuple((role, given.asset) for role, given in step.inputs.items())
        return _compiled(str(step.params["query"]), types, assets, cast(int, step.params["min_cohort"]))
    except InvalidRequest as exc:
        raise InvalidRequest(f"{at}.query: {exc.field}", exc.expected, exc.actual) from exc


def matching_of(step: Step) -> Matching:
    """How a step matches the keys of its joins."""
    return COMPONENTS[step.component][1]


def plan_of(step: Step) -> Plan:
    """What a step computes from which columns, and who sees what of it."""
    return _plan(program_of(step), step.id, tuple(step.parties.items()), step.recipients)


def plan_digest(plan: Plan) -> str:
    """SHA-256 of a plan, lower-case hex."""
    operators = [{"operator": type(one).__name__, **_plain(dataclasses.asdict(one))} for one in plan]
    return hashlib.sha256(canonical.encode(operators)).hexdigest()


def check_step(step: Step) -> None:
    """Check that a step is the one that its query makes.

    Raises:
        InvalidRequest: it differs, by name.
    """
    at = f"steps.{step.id}"
    _check_parties(step.parties, f"{at}.parties")
    program = program_of(step)
    wanted = _component_of(program, matching_of(step), f"{at}.component")
    if step.component != wanted:
        raise InvalidRequest(f"{at}.component", f"{wanted} for this query", step.component)
    if not program.query.is_grouped and program.minimum != 1:
        raise InvalidRequest(f"{at}.params.min_cohort", "1, as each row stands alone", str(program.minimum))
    if render(program.query) != step.params["query"]:
        raise InvalidRequest(f"{at}.params.query", "the canonical text of the query", "another form of it")
    for number, (part, read) in enumerate(zip(parts_of(program.query), columns_of(program), strict=True), 1):
        given = step.inputs[f"owner-{number}"]
        columns = tuple((column.name, column.decimals) for column in given.columns)
        if given.asset != part.asset or columns != tuple((name, _decimals(kind)) for name, kind in read):
            expected = f"{part.asset} with {', '.join(name for name, _ in read)}"
            raise InvalidRequest(f"{at}.inputs.owner-{number}", expected, given.asset)
    digest = plan_digest(plan_of(step))
    if step.params["plan"] != digest:
        raise InvalidRequest(f"{at}.params.plan", f"the digest of the plan, {digest[:16]}…", "another")


@functools.lru_cache(maxsize=64)
def _compiled(text: str, types: str, assets: tuple[tuple[str, str], ...], minimum: int) -> Program:
    named = cast("dict[str, dict[str, str]]", canonical.decode(types.encode()))
    if set(named) != {role for role, _ in assets}:
        raise InvalidRequest("types", f"columns of {', '.join(role for role, _ in assets)}", ", ".join(named))
    catalog = {
        asset: {column: _type(kind, column) for column, kind in named[role].items()} for role, asset in assets
    }
    return compile_query(bind(text, catalog), minimum)


def _plan(
    program: Program, name: str, parties: tuple[tuple[str, str], ...], recipients: tuple[str, ...]
) -> Plan:
    dids = dict(parties)
    owners = [
        Owner(f"{name}.owner-{number}", part.asset, dids[f"owner-{number}"], tuple(c for c, _ in read))
        for number, (part, read) in enumerate(
            zip(parts_of(program.query), columns_of(program), strict=True), start=1
        )
    ]
    return control_plan(program, name, owners, recipients, tuple(sorted(dids.values())))


def _component_of(program: Program, matching: Matching, at: str) -> str:
    """The component that answers a query."""
    if program.is_union and matching is not ECDH:
        raise InvalidRequest(at, f"{ECDH.name} for a query that joins nothing", matching.name)
    wanted = (program.query.is_grouped, matching)
    return next(name for name, found in COMPONENTS.items() if found == wanted)


def _check_parties(parties: Mapping[str, str], at: str) -> None:
    owners = sum(role.startswith("owner-") for role in parties)
    if (owners == 2) is not (HELPER in parties):
        expected = "a helper where two owners compute, none where three do"
        raise InvalidRequest(
            at, expected, f"{owners} owners {'with' if HELPER in parties else 'without'} one"
        )


def _decimals(kind: SqlType) -> int:
    return min(kind.scale, 9)


def _type(text: object, column: str) -> SqlType:
    try:
        return SqlType.parse(str(text))
    except ValueError:
        raise InvalidRequest(f"types.{column}", "a type of columns", repr(text)[:40]) from None


def _plain(value: Any) -> Any:  # noqa: ANN401 - of dataclasses.asdict
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value
