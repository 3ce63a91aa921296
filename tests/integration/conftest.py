"""Two owners' tables, and the steps from publishing to a submitted job, for tests of the whole exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from exchange.dataspace.testing import Kit, Stand, publish
from exchange.sdk import NodeClient
from exchange.testing import ConsortiumInProcess
from ledger.entries import new_id
from ledger.times import system_clock

PURPOSE = "dpv:CustomerSolvencyMonitoring"
EXPIRES = "2099-01-01T00:00:00Z"
OPERATIONS = ["psi/ecdh", "stats/group-sums"]
LARGE = 7_340_033_000_000
"""Added to every balance, so that row values are 8 bytes that no transcript shows by chance."""


@dataclass(frozen=True)
class Question:
    """The parts of a question over the example tables, ready to be altered before it is submitted."""

    running: ConsortiumInProcess
    data: Path

    def publish(self, uses: int = 10, operations: Sequence[str] = OPERATIONS) -> None:
        """Publish both owners' tables."""
        self.client("lender").publish(
            {
                "name": "loans",
                "title": "Loans",
                "source": {"kind": "file", "location": str(self.data / "loans.csv")},
                "columns": [
                    _column("customer_id", "identifier", "AFTER_JOIN"),
                    _column("arrears", "label", "AFTER_AGGREGATE"),
                    _column("balance", "measure", "AFTER_AGGREGATE"),
                ],
                "terms": _terms(["customer_id", "arrears", "balance"])
                | {"uses": uses, "operations": list(operations)},
            }
        )
        self.client("bureau").publish(
            {
                "name": "people",
                "title": "People",
                "source": {"kind": "file", "location": str(self.data / "people.parquet")},
                "columns": [
                    _column("person_id", "identifier", "AFTER_JOIN"),
                    _column("band", "group", "AFTER_GROUP_BY"),
                ],
                "terms": _terms(["person_id", "band"]) | {"uses": uses, "operations": list(operations)},
            }
        )

    def agree(self, uses: int = 3, **changes: Any) -> dict[str, str]:
        """Ask for and approve both agreements; asset to agreement id."""
        agreements = {}
        for owner, asset, columns in (
            ("lender", "lender/loans", ["customer_id", "arrears", "balance"]),
            ("bureau", "bureau/people", ["person_id", "band"]),
        ):
            asked = self.client("analyst").request_agreement(
                self.request(asset, columns, uses=uses, **changes)
            )
            given = self.client(owner).approve(asked["negotiation"], "a test")
            agreements[asset] = given["agreement"]
        return agreements

    def request(self, asset: str, columns: list[str], **changes: Any) -> dict[str, Any]:
        """An agreement request."""
        asked = {
            "asset": asset,
            "purpose": PURPOSE,
            "operations": OPERATIONS,
            "columns": columns,
            "uses": 3,
            "expires": EXPIRES,
            "min_cohort": 10,
        }
        return asked | changes

    def spec(self, agreements: dict[str, str], **changes: Any) -> dict[str, Any]:
        """Match, sum by band, report."""
        lender, bureau, analyst = (self.running.did(name) for name in ("lender", "bureau", "analyst"))
        spec: dict[str, Any] = {
            "v": 1,
            "job": new_id("job", system_clock),
            "title": "Arrears by band",
            "purpose": PURPOSE,
            "agreements": agreements,
            "steps": [
                {
                    "id": "match",
                    "component": "psi/ecdh",
                    "version": 1,
                    "parties": {"left": lender, "right": bureau},
                    "inputs": {
                        "left": _input("lender/loans", "customer_id"),
                        "right": _input("bureau/people", "person_id"),
                    },
                    "after": [],
                    "params": {
                        "normalise": {"left": ["upper", "remove-spaces"], "right": ["upper"]},
                        "minimum_matches": 10,
                    },
                    "recipients": [],
                },
                {
                    "id": "sums",
                    "component": "stats/group-sums",
                    "version": 1,
                    "parties": {"measure_holder": lender, "group_holder": bureau},
                    "inputs": {
                        "measure_holder": _input("lender/loans", "arrears", "balance"),
                        "group_holder": _input("bureau/people", "band"),
                    },
                    "after": ["match"],
                    "params": {"min_cohort": 10},
                    "recipients": [analyst],
                },
                {
                    "id": "report",
                    "component": "report/table",
                    "version": 1,
                    "parties": {"reader": analyst},
                    "inputs": {},
                    "after": ["sums"],
                    "params": {"plot": "bar"},
                    "recipients": [],
                },
            ],
        }
        return spec | changes

    def plaintext(self) -> list[tuple[str, int, int, int]]:
        """The answer computed aside: band, count, arrears, balance."""
        found = duckdb.sql(
            f"""select band, count(*), sum(arrears)::bigint, sum(balance)::bigint
                from '{self.data}/loans.csv' l join '{self.data}/people.parquet' p
                  on upper(replace(l.customer_id, ' ', '')) = p.person_id
                group by band having count(*) >= 10 order by band"""  # noqa: S608 - a path of this test
        )
        return [tuple(row) for row in found.fetchall()]

    def client(self, name: str) -> NodeClient:
        """A client of one node."""
        return self.running.client(name)

    def written(self, entry_type: str) -> int:
        """How many entries of a type are final."""
        return len(list(self.client("regulator").entries(type_=entry_type)))


def _column(name: str, role: str, control: str) -> dict[str, str]:
    return {"name": name, "role": role, "sensitivity": "confidential", "control": control}


def _input(asset: str, *columns: str) -> dict[str, Any]:
    return {"asset": asset, "columns": [{"name": name, "decimals": 0} for name in columns]}


def _terms(columns: list[str]) -> dict[str, Any]:
    return {
        "purposes": [PURPOSE],
        "operations": OPERATIONS,
        "columns": columns,
        "uses": 10,
        "expires": EXPIRES,
        "min_cohort": 10,
        "output_types": ["aggregate", "cardinality"],
    }


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``loans.csv`` and ``people.parquet``: 300 and 280 people, 240 of them in both."""
    folder = tmp_path_factory.mktemp("tables")
    loans = {
        "customer_id": [f"zq {i:05d}" for i in range(300)],
        "arrears": [int(i % 7 == 0) for i in range(300)],
        "balance": [LARGE + i * 104_729 for i in range(300)],
    }
    people = {
        "person_id": [f"ZQ{i:05d}" for i in range(60, 340)],
        "band": ["low" if i < 150 else "high" if i < 295 else "rare" for i in range(60, 340)],
    }
    pyarrow.csv.write_csv(pa.table(loans), folder / "loans.csv")
    pyarrow.parquet.write_table(pa.table(people), folder / "people.parquet")
    return folder


@pytest.fixture(scope="session")
def make_question(tables: Path) -> Callable[..., Question]:
    """Make a consortium in a folder; whoever enters ``running`` starts it."""

    def make(root: Path, kind: type[ConsortiumInProcess] = ConsortiumInProcess, **arguments: Any) -> Question:
        return Question(kind(root, sources=[tables], **arguments), tables)

    return make


@pytest.fixture(scope="module")
def dataspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stand, Kit]]:
    """A lender and an analyst with connectors, each with what it publishes, and the kit as a third member."""
    root, folder = tmp_path_factory.mktemp("dataspace"), tmp_path_factory.mktemp("rows")
    rows = {"customer_id": [f"zq {i:05d}" for i in range(20)], "balance": list(range(20))}
    pyarrow.csv.write_csv(pa.table(rows), folder / "rows.csv")
    names = ("lender", "analyst", "kit")
    with Stand(root, names, sources=[folder], connectors=names) as running:
        kit = Kit(running.nodes["kit"])
        kit.announce()
        for owner, name in (("lender", "loans"), ("lender", "passing"), ("kit", "rows")):
            publish(running, owner, name, folder / "rows.csv")
        with kit:
            running.settle(kit, assets=3)
            yield running, kit
