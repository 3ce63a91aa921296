"""``parley asset`` and ``parley catalog`` from a draft to a fetched twin, in both languages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from exchange.cli.application import main
from exchange.testing import ConsortiumInProcess

PURPOSE = ("--purpose", "dpv:CustomerSolvencyMonitoring")
CANARY = "13912345678"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    folder = tmp_path_factory.mktemp("desk")
    mobiles = [f"138{i:08d}" for i in range(150)]
    mobiles[3] = CANARY
    table = {"手机": mobiles, "收入": [5000.5 + 13 * i for i in range(150)], "band": ["a", "b", "c"] * 50}
    pyarrow.csv.write_csv(pa.table(table), folder / "people.csv")
    with ConsortiumInProcess(folder / "net", names=("lender", "analyst"), sources=[folder]) as started:
        for profile in started.profiles.values():
            profile.save(folder / "home")
        yield started


@pytest.fixture
def call(running: ConsortiumInProcess, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    home = str(running.root.parent / "home")

    def run(*words: str, org: str = "lender", form: str = "json", code: int = 0) -> Any:
        ended = main([*words, "--org", org, "--home", home, "--format", form])
        shown = capsys.readouterr()
        assert ended == code, shown.err
        assert CANARY not in shown.out + shown.err
        return json.loads(shown.out)["data"] if form == "json" and code == 0 else shown.out

    return run


def test_a_draft_is_shown_with_its_reasons_in_both_languages(
    call: Callable[..., Any], running: ConsortiumInProcess
) -> None:
    file = str(running.root.parent / "people.csv")
    english = call("asset", "draft", file, "--name", "people", form="text")
    assert "100.0 % of the sample are valid telephone numbers" in english.replace("\n", " ")
    assert "value coefficient" in english
    chinese = call("asset", "draft", file, "--name", "people", "--lang", "zh", form="text")
    assert "价值系数" in chinese
    assert "电话号码" in chinese
    listed = call("asset", "list")
    assert [(one["asset"], one["state"]) for one in listed] == [("lender/people", "draft")]


def test_a_confirmed_asset_is_reviewed_listed_and_found(call: Callable[..., Any]) -> None:
    call("asset", "confirm", "lender/people", "--column", "手机:grade=secret", *PURPOSE, code=4)
    columns = ("--column", "手机", "--column", "收入:sensitivity=secret", "--column", "band")
    made = call("asset", "confirm", "lender/people", "--title", "个人收入", *columns, *PURPOSE)
    assert (made["version"], made["quality"]["value"]) == (1, 1_000_000)
    reviewed = call("asset", "review", "lender/people")
    assert [one["overridden"] for one in reviewed["columns"]] == [[], ["sensitivity"], []]
    assert "sensitivity" in call("asset", "review", "lender/people", form="text")
    assert [one["state"] for one in call("asset", "versions", "lender/people")] == ["current"]

    found = call("catalog", "search", "收入", "--column", "band", "--owner", "lender", "--facets")
    assert found["parley:total"] == 1
    assert found["parley:facets"]["grade"] == [{"value": "secret", "count": 1}]
    text = call("catalog", "search", "收入", "--facets", "--federated", form="text")
    assert "1 of 1 assets" in text
    assert "1 of 1 members answered" in text
    assert "lender 1" in text
    assert "共 0 项资产" in call("catalog", "search", "保险", "--lang", "zh", form="text")
    assert "完整性" in call("catalog", "quality", "lender/people", "--lang", "zh", form="text")
    assert "个人收入" in call("catalog", "show", "lender/people", form="text")


def test_a_twin_is_published_and_fetched_by_command(
    call: Callable[..., Any], running: ConsortiumInProcess
) -> None:
    made = call("asset", "twin", "lender/people", "--rows", "40")
    out = running.root.parent / "twin.parquet"
    deadline = time.monotonic() + 20
    while call("asset", "versions", "lender/people", org="analyst")[0]["twin"] != made["digest"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    fetched = call("catalog", "twin", "lender/people", "--out", str(out), org="analyst")
    assert fetched["bytes"] == made["bytes"]
    assert pyarrow.parquet.read_table(out).column_names == ["手机", "收入", "band"]


def test_publishing_in_one_step_keeps_a_review_too(
    call: Callable[..., Any], running: ConsortiumInProcess
) -> None:
    file = str(running.root.parent / "people.csv")
    options = ("--name", "again", "--id", "手机", "--measure", "收入", "--group", "band", *PURPOSE)
    assert call("asset", "publish", file, *options)["version"] == 1
    reviewed = call("asset", "review", "lender/again")
    assert reviewed["drafted_by"] is None
    assert {one["name"]: one["overridden"] for one in reviewed["columns"]}["收入"] == ["sensitivity"]
    assert call("asset", "withdraw", "lender/again", "--reason", "a test")["asset"] == "lender/again"
    assert [one["state"] for one in call("asset", "versions", "lender/again")] == ["withdrawn"]
