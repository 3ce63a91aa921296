"""SQL at a node: a query explained and made into a job's specification, before anything is submitted.

Columns, types, owners and row counts come from this node's own copy of the ledger. Whether each owner would
let the query run is said by the same checks that its node will make.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exchange.errors import InvalidRequest, NotFound
from exchange.jobs.spec import JobSpec
from exchange.node.services import NodeServices
from exchange.node.simulation import simulate
from exchange.sql.explanation import explain
from exchange.sql.expressions import SqlType
from exchange.sql.local import type_named
from exchange.sql.matching import chosen
from exchange.sql.steps import HELPER, matching_of, program_of, query_step
from exchange.sql.syntax import assets_named
from ledger.entries import new_id
from policies.sentences import Language

__all__ = ["Explained", "Queries"]

_STEP = "query"


@dataclass(frozen=True)
class Explained:
    """A query as a job, its operators, and what each owner would decide."""

    spec: JobSpec
    engine: str
    operators: tuple[dict[str, object], ...]
    decision: Mapping[str, Any]

    def as_json(self, spec: Mapping[str, Any]) -> dict[str, object]:
        """As the API has it; ``spec`` is the specification's JSON."""
        step = self.spec.step(_STEP)
        return {
            "query": step.params["query"],
            "component": step.component,
            "engine": self.engine,
            "plan": step.params["plan"],
            "operators": list(self.operators),
            "decision": dict(self.decision),
            "spec": dict(spec),
        }


class Queries:
    """Explains queries over assets that are on the ledger."""

    def __init__(self, services: NodeServices) -> None:
        self._services = services

    def explain(
        self,
        text: str,
        purpose: str,
        *,
        title: str,
        minimum: int,
        helper: str | None,
        matching: str,
        agreements: Sequence[str],
        language: Language,
    ) -> dict[str, object]:
        """Explain a query and write its job.

        Args:
            text: the query.
            purpose: of the job.
            title: of the job; empty: the query's beginning.
            minimum: the smallest number of rows behind a figure; 1 for a query that shows rows.
            helper: a member's name or DID that computes besides two owners; None: this participant, where it
                owns none of the assets.
            matching: the protocol that matches the keys of joins.
            agreements: ids of those to use; for an asset of which none is named, the newest with uses left.
            language: of what policies say.

        Raises:
            InvalidQuery: the query cannot be answered. NotFound: there is no such member.
            InvalidRequest: the way of matching does not fit the query or the tables.
        """
        state, me = self._services.ledger.state, self._services.keys.did
        assets = assets_named(text)
        rows = {asset: row for asset in assets if (row := state.get("assets", asset)) is not None}
        catalog = {asset: _columns(row) for asset, row in rows.items() if row["status"] == "published"}
        owners = {asset: str(row["owner"]) for asset, row in rows.items()}
        step = query_step(
            text,
            catalog,
            owners,
            name=_STEP,
            minimum=minimum,
            helper=self._helper(helper, assets, owners),
            recipient=me,
            matching=chosen(matching, (int(row["rows"]) for row in rows.values())),
        )
        report = {
            "id": "report",
            "component": "report/result",
            "version": 1,
            "parties": {"reader": me},
            "inputs": {},
            "after": [_STEP],
            "params": {},
            "recipients": [],
        }
        raw: dict[str, Any] = {
            "v": 1,
            "job": new_id("job", self._services.clock),
            "title": title or " ".join(text.split())[:200],
            "purpose": purpose,
            "agreements": self._agreements(owners, agreements),
            "steps": [step, report],
        }
        spec = JobSpec.from_json(raw)
        self._services.registry.check(spec)
        decision = simulate(spec, me, state, self._services.registry, self._services.clock())
        engine = self._services.registry.get(step["component"]).engine.name
        return Explained(spec, engine, self._operators(spec), decision.as_json(language)).as_json(raw)

    def _operators(self, spec: JobSpec) -> tuple[dict[str, object], ...]:
        step, state = spec.step(_STEP), self._services.ledger.state
        roles = [f"owner-{number}" for number in range(1, len(step.inputs) + 1)]
        counts = [int((state.get("assets", step.inputs[role].asset) or {}).get("rows", 0)) for role in roles]
        helper = step.parties.get(HELPER)
        found = explain(
            program_of(step),
            [self._name(step.parties[role]) for role in roles],
            counts,
            None if helper is None else self._name(helper),
            self._name(step.recipients[0]),
            matching_of(step),
        )
        return tuple(one.as_json() for one in found)

    def _helper(self, named: str | None, assets: Sequence[str], owners: Mapping[str, str]) -> str | None:
        """Who computes besides two owners."""
        me = self._services.keys.did
        if named is not None:
            for member in self._services.ledger.final_rows("members"):
                if named in (member["name"], member["did"]):
                    return str(member["did"])
            raise NotFound(f"expected a member's name or DID as helper, found no {named[:100]}")
        if len(assets) != 2:
            return None
        if me in owners.values():
            raise InvalidRequest("helper", "a member that owns none of the two assets", "none named")
        return me

    def _agreements(self, owners: Mapping[str, str], named: Sequence[str]) -> dict[str, str]:
        """An agreement of this participant for each asset of another."""
        me, chosen = self._services.keys.did, {}
        held = [row for row in self._services.ledger.final_rows("agreements") if row["consumer"] == me]
        for asset, owner in owners.items():
            own = [row for row in held if row["asset"] == asset and row["status"] == "final"]
            wanted = [row for row in own if row["agreement"] in named] or own
            unspent = [row for row in wanted if int(row["uses"]) < int(row["limits"]["uses"])] or wanted
            if owner != me and unspent:
                chosen[asset] = str(unspent[-1]["agreement"])
        return chosen

    def _name(self, did: str) -> str:
        return str((self._services.ledger.final("members", did) or {}).get("name", did))


def _columns(row: Mapping[str, Any]) -> Mapping[str, SqlType]:
    """The columns of a published asset that queries can read."""
    typed = ((column["name"], type_named(str(column["type"]))) for column in row["schema"])
    return {name: kind for name, kind in typed if kind is not None}
