"""Assets of every kind of source in real jobs: read where they are, with credentials that nobody sees."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, create_engine

from connectors import StreamChanged, segments
from connectors.testing_api import Answer, Asked, JsonApi
from exchange.sdk import NodeProblem

CANARY = "canary-4a7f"
LOANS, PEOPLE = ("customer_id", "arrears", "balance"), ("person_id", "band")
ROLES = {"customer_id": "identifier", "person_id": "identifier", "balance": "measure", "arrears": "label"}
LEVELS = {"identifier": "AFTER_JOIN", "group": "AFTER_GROUP_BY"}


@pytest.fixture(scope="module")
def api(tables: Path) -> Iterator[JsonApi]:
    """People behind an API that wants a key, in pages of 100."""
    people = pa.parquet.read_table(tables / "people.parquet").to_pylist()

    def answer(asked: Asked) -> Answer:
        if asked.headers.get("X-Key") != CANARY:
            return Answer("who?", 401)
        start = int(asked.query.get("from", "0"))
        more = start + 100 if start + 100 < len(people) else None
        return Answer({"people": people[start : start + 100], "next": more})

    with JsonApi(answer) as served:
        yield served


@pytest.fixture(scope="module")
def question(
    tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any], api: JsonApi
) -> Iterator[Any]:
    asked = make_question(tmp_path_factory.mktemp("sources"), environ={"PARLEY_API_HOSTS": api.place})
    with asked.running:
        yield asked


def publish(question: Any, owner: str, name: str, source: dict[str, Any], columns: tuple[str, ...]) -> Any:
    described = []
    for column in columns:
        role = ROLES.get(column, "group")
        level = LEVELS.get(role, "AFTER_AGGREGATE")
        described.append({"name": column, "role": role, "sensitivity": "internal", "control": level})
    terms = {
        "purposes": ["dpv:CustomerSolvencyMonitoring"],
        "operations": ["psi/ecdh", "stats/group-sums"],
        "columns": list(columns),
        "uses": 10,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": 10,
        "output_types": ["aggregate", "cardinality"],
    }
    body = {"name": name, "title": name, "source": source, "columns": described, "terms": terms}
    return question.client(owner).publish(body)


@contextmanager
def server_table(question: Any, variable: str) -> Iterator[dict[str, Any]]:
    location = os.environ.get(variable)
    if not location:
        pytest.skip(f"{variable} names no server")
    table = Table(
        f"loans_{uuid.uuid4().hex}",
        MetaData(),
        Column("position", Integer, primary_key=True),
        Column("customer_id", String(20)),
        Column("arrears", Integer),
        Column("balance", BigInteger),
    )
    engine = create_engine(location)
    table.create(engine)
    try:
        with engine.begin() as connection:
            connection.execute(table.insert(), pa.csv.read_csv(question.data / "loans.csv").to_pylist())
        yield {"kind": "table", "location": location, "table": table.name}
    finally:
        table.drop(engine)
        engine.dispose()


def people_of(question: Any, api: JsonApi, kind: str) -> dict[str, Any]:
    if kind == "list":
        options: dict[str, Any] = {"colour": "grey", "identifier": "person_id", "attributes": ["band"]}
        return {"kind": "list", "location": "people.parquet", "options": options}
    options = {
        "columns": [{"name": "person_id", "type": "text"}, {"name": "band", "type": "text"}],
        "records": "/people",
        "paging": {"style": "cursor", "parameter": "from", "next": "/next"},
        "auth": {"scheme": "header", "name": "X-Key", "value": CANARY},
        "ca": api.ca,
    }
    return {"kind": "api", "location": f"{api.url}/people", "options": options}


@pytest.mark.parametrize(
    ("variable", "people"),
    [
        pytest.param("PARLEY_TEST_POSTGRESQL", "api", marks=pytest.mark.postgresql),
        pytest.param("PARLEY_TEST_MARIADB", "list", marks=pytest.mark.mariadb),
    ],
)
def test_a_job_over_sources_of_each_kind_equals_plaintext(
    question: Any, api: JsonApi, variable: str, people: str
) -> None:
    with server_table(question, variable) as source:
        lent = publish(question, "lender", "loans", source, LOANS)
        publish(question, "bureau", "people", people_of(question, api, people), PEOPLE)
        assert lent["rows"] == 300
        agreements = question.agree()
        analyst = question.client("analyst")
        job = analyst.submit(question.spec(agreements))["job"]
        analyst.wait_job(job, timeout_s=60)
        got = [
            (row["group"], row["count"], int(row["sums"]["arrears"]), int(row["sums"]["balance"]))
            for row in analyst.result(job)[0]["groups"]
        ]
        assert got == question.plaintext()


def test_a_published_stream_is_read_up_to_its_position(question: Any) -> None:
    """It grows while it is published, and does not change; a changed segment is refused to a job."""
    folder = question.data / f"stream-{uuid.uuid4().hex}"
    folder.mkdir()
    loans = pa.csv.read_csv(question.data / "loans.csv")
    segments.append(folder, loans.slice(0, 100))
    segments.append(folder, loans.slice(100), suffix="parquet")
    made = publish(question, "lender", "growing", {"kind": "stream", "location": folder.name}, LOANS)
    segments.append(folder, loans.slice(0, 50))
    assets = question.running.nodes["lender"].services.assets
    assert assets.verify_version("lender/growing")["root"] == made["root"]
    with assets.open("lender/growing") as connector:
        read = [row for batch in connector.batches(["customer_id"]) for row in batch.to_pylist()]
    assert read == loans.select(["customer_id"]).to_pylist()
    (folder / "000000000001.arrow").chmod(0o600)
    (folder / "000000000001.arrow").write_bytes((folder / "000000000003.arrow").read_bytes())
    with pytest.raises(StreamChanged, match="segment 1"), assets.open("lender/growing"):
        pass


def test_a_key_is_in_no_answer_log_or_database(
    question: Any, api: JsonApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    source = people_of(question, api, "api")
    made = publish(question, "bureau", "guarded", source, PEOPLE)
    source["options"]["auth"]["value"] = f"{CANARY}-wrong"
    with pytest.raises(NodeProblem) as caught:
        publish(question, "bureau", "refused", source, PEOPLE)
    assert caught.value.code == "connectors.source-unreachable"
    shown = [made, vars(caught.value), question.client("analyst").catalog("people")]
    shown += list(question.client("regulator").entries(participant="bureau"))
    assert CANARY not in json.dumps(shown, default=str) + str(caught.value) + caplog.text
    kept = [path for path in (question.running.root / "bureau").rglob("*") if path.is_file()]
    assert not [path for path in kept if CANARY.encode() in path.read_bytes()]


def test_a_host_that_is_not_listed_is_refused_by_the_node(question: Any, api: JsonApi) -> None:
    source = people_of(question, api, "api") | {"location": "https://169.254.169.254/people"}
    with pytest.raises(NodeProblem, match="api_hosts") as caught:
        publish(question, "bureau", "refused", source, PEOPLE)
    assert caught.value.code == "connectors.host-not-allowed"


def test_a_source_of_another_form_is_named(question: Any) -> None:
    for source, field in (
        ({"kind": "ftp", "location": "x"}, "kind"),
        ({"kind": "file", "location": "x.csv", "options": {"a": 1}}, "options"),
        ({"kind": "list", "location": "x.csv", "options": {"colour": "red"}}, "options.colour"),
    ):
        with pytest.raises(NodeProblem, match=f"source {field}: expected") as caught:
            publish(question, "bureau", "refused", source, PEOPLE)
        assert caught.value.code == "connectors.invalid-source"
