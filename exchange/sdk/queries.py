"""Calls about SQL over several owners' tables."""

from __future__ import annotations

from collections.abc import Sequence

from exchange.sdk.connection import Connection, Json

__all__ = ["QueryCalls"]


class QueryCalls(Connection):
    """The part of ``NodeClient`` that asks in SQL; ``docs/sql.md`` has the language."""

    def explain_sql(
        self,
        query: str,
        *,
        purpose: str,
        title: str = "",
        min_cohort: int = 10,
        helper: str | None = None,
        matching: str = "psi/ecdh",
        agreements: Sequence[str] = (),
        language: str = "en",
    ) -> Json:
        """Explain a query; writes nothing.

        Args:
            query: a SELECT over tables named ``owner.asset``.
            purpose: a DPV term.
            title: of the job; empty: the query's beginning.
            min_cohort: figures of fewer rows are not shown; 1 for a query that shows rows.
            helper: the member that computes besides two owners; None: this participant.
            matching: the protocol that matches the keys of joins, ``psi/ecdh`` or ``psi/rr22``, which needs
                SPU at every party.
            agreements: those to use, where there are several for an asset.
            language: of what policies say, ``en`` or ``zh``.

        Returns:
            ``operators``, ``decision`` by owner, and ``spec``, the job to submit.
        """
        body = {
            "query": query,
            "purpose": purpose,
            "title": title,
            "min_cohort": min_cohort,
            "helper": helper,
            "matching": matching,
            "agreements": list(agreements),
            "language": language,
        }
        return self._object("POST", "/v1/sql/explanations", role="analyst", json=body)
