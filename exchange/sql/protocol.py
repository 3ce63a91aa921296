"""The claim of a query: what each party may learn whatever is asked. What one asks is in its plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from mpc.spec import Adversary, ProtocolSpec

__all__ = ["FAST", "SPEC"]

SPEC: Final = ProtocolSpec(
    name="sql/query",
    version=1,
    roles=("owner", "helper"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of the three computing parties, and any that do not compute; two computing ones see all",
    leaks={
        "owner": (
            "of a join with another owner: which of its own rows match, and how many keys the other has",
            "of a join that it was in before: which of the rows it knows are left",
            "how many rows are joined, or of UNION ALL how many rows each owner has",
            "which columns of the other owners lack some value",
            "how many values the grouping expressions of each other owner have, and the words of the longest",
        ),
        "helper": (
            "how many rows are joined, or of UNION ALL how many rows each owner has",
            "which columns lack some value",
            "how many values the grouping expressions of each owner have, and the words of the longest",
        ),
    },
    cost="that of psi/ecdh for each join, and of the operators on shares, as the plan states each of them",
    source="joins: see psi/ecdh; shares: Araki, Furukawa, Lindell, Nof, Ohara 2016; Mohassel, Rindal 2018",
    summary="A SELECT over the tables of several owners; the answer is opened by the recipient alone.",
)

FAST: Final = replace(
    SPEC,
    name="sql/query-rr22",
    cost=SPEC.cost.replace("psi/ecdh", "psi/rr22"),
    source=SPEC.source.replace("psi/ecdh", "psi/rr22"),
    summary="As sql/query; joins are played by SPU, whose implementation is trusted besides.",
)
"""The same claim where an engine matches the keys: it runs only on sets of which it tells no more."""
