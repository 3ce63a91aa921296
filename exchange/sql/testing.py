"""All parties of a query in one process over channels in memory, for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa

from exchange.jobs.results import ResultTable
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import ANALYST, BUREAU, LENDER, example_spec
from exchange.sql.alignment import Joining
from exchange.sql.answers import Release, open_answer
from exchange.sql.binding import bind
from exchange.sql.execution import Executed, Own, execute
from exchange.sql.expressions import TEXT, number
from exchange.sql.local import type_of
from exchange.sql.matching import ECDH
from exchange.sql.program import compile_query
from exchange.sql.query import Catalog, Part
from exchange.sql.steps import COMPONENTS, query_step
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_of, run_mesh

__all__ = ["JOINING", "answer", "catalog_of", "own_table", "query_example"]

JOINING = Joining(ECDH, None, lambda done, total: None)
"""Parley's own way, told to nobody."""


def catalog_of(tables: Mapping[str, pa.Table]) -> Catalog:
    """The columns of some tables that a query may read, by asset."""
    return {
        asset: {field.name: kind for field in table.schema if (kind := type_of(field.type)) is not None}
        for asset, table in tables.items()
    }


def answer(
    query: str,
    tables: Mapping[str, pa.Table],
    *,
    minimum: int = 1,
    meshes: list[Mesh] | None = None,
    joining: Joining = JOINING,
) -> ResultTable:
    """Play every party of a query and open its answer.

    Args:
        query: over the tables.
        tables: by asset, each of another owner.
        minimum: the smallest number of rows behind a figure.
        meshes: the parties' places, where a test listens or alters; a fresh one by default.
        joining: how keys are matched.

    Raises:
        ExceptionGroup: one or more parties failed.
    """
    program = compile_query(bind(query, catalog_of(tables)), minimum)
    parties: list[Own | None] = [
        own_table(table.name, part, tables[part.asset]) for table in program.tables for part in table.parts
    ]
    parties += [None] * (3 - len(parties))

    def role(own: Own | None) -> Callable[[Mesh], Executed]:
        return lambda mesh: execute(mesh, program, own, SystemRandomness(), joining)

    executed = run_mesh([role(own) for own in parties], mesh_of(len(parties)) if meshes is None else meshes)
    return open_answer(program, [Release.decode(Release.of(one).encode()) for one in executed])


def query_example(component: str) -> Step:
    """A step of one of the components for queries over the assets ``a/one`` and ``b/two``."""
    is_grouped, matching = COMPONENTS[component]
    catalog = {"a/one": {"id": TEXT, "x": number(2)}, "b/two": {"id": TEXT, "y": number()}}
    asked = "AVG(one.x), SUM(two.y)" if is_grouped else "one.id, two.id AS other, one.x, two.y"
    step = query_step(
        f"SELECT {asked} FROM a.one JOIN b.two ON one.id = two.id",  # noqa: S608 - one of two constants
        catalog,
        {"a/one": LENDER, "b/two": BUREAU},
        name="query",
        minimum=10 if is_grouped else 1,
        helper=ANALYST,
        recipient=ANALYST,
        matching=matching,
    )
    return JobSpec.from_json({**example_spec(), "steps": [step]}).step("query")


def own_table(name: str, part: Part, table: pa.Table) -> Own:
    """One owner's table as its party reads it."""
    names = dict(part.columns)
    return Own(name, lambda column: _whole(table.column(names[column])), len(table))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
