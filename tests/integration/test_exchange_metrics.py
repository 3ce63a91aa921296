"""Metrics and status pages of a running hub and node: what they say is what happened."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from exchange.sdk import NodeProblem
from exchange.testing import ConsortiumInProcess
from exchange.tls import client_context
from ledger.errors import MalformedEntry, Refusal, StoreUnavailable


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]
) -> Iterator[ConsortiumInProcess]:
    question = make_question(tmp_path_factory.mktemp("metrics"))
    with question.running:
        question.publish()
        yield question.running


Samples = dict[tuple[str, str], float]


def samples(text: str) -> Samples:
    """By name and the values of the labels."""
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def hub_page(running: ConsortiumInProcess, path: str, **headers: str) -> httpx.Response:
    address = f"https://127.0.0.1:{running.hub.operator_port}{path}"
    address_of_hub = running.nodes["lender"].services.settings.hub
    assert address_of_hub is not None
    pinned = client_context(None, None, address_of_hub.certificate)
    return httpx.get(address, verify=pinned, headers=headers, trust_env=False)


def of_hub(running: ConsortiumInProcess) -> Samples:
    return samples(hub_page(running, "/metrics").text)


def of_node(running: ConsortiumInProcess, name: str, role: str = "auditor") -> Samples:
    return samples(running.client(name)._send("GET", "/metrics", role=role).text)


def test_the_hub_shows_its_log(running: ConsortiumInProcess) -> None:
    log, found = running.hub.services.log, of_hub(running)
    assert found["parley_ledger_entries", ""] <= log.size
    assert 0 < found["parley_ledger_final_entries", ""] <= log.final_size
    assert found["parley_ledger_batches", ""] > 1
    assert (found["parley_ledger_quorum", ""], found["parley_ledger_store_up", ""]) == (3, 1)
    assert 0 <= found["parley_ledger_final_age_seconds", ""] < 300
    assert found["parley_order_engine", "sql"] == 1
    for name in running.names:
        member = f"test.parley/{name}"
        assert 0 <= found["parley_ledger_cosignature_lag_entries", member] <= log.size
        assert 0 <= found["parley_ledger_cosignature_age_seconds", member] < 300
    assert found["parley_submitted_entries_total", ""] >= 2
    assert found["parley_submission_ordered_seconds_count", ""] >= 2
    assert found["parley_sequencer_pending_entries", ""] == 0
    assert found["parley_verifier_queued_signatures", ""] == 0


def test_what_is_turned_away_is_counted(running: ConsortiumInProcess) -> None:
    hub = running.nodes["lender"].services.hub
    before = of_hub(running).get(("parley_refused_entries_total", "ledger.malformed-entry"), 0)
    with pytest.raises(MalformedEntry):
        hub.submit(b"{}")
    assert of_hub(running)["parley_refused_entries_total", "ledger.malformed-entry"] == before + 1
    genesis = running.nodes["lender"].services.ledger.mirror.genesis
    with pytest.raises(Refusal):
        hub.submit(genesis)
    assert of_hub(running)["parley_refused_entries_total", "entry.not-permitted"] == 1


def test_a_node_shows_its_copy_to_its_people(running: ConsortiumInProcess) -> None:
    ledger, found = running.nodes["bureau"].services.ledger, of_node(running, "bureau", role="steward")
    assert found["parley_ledger_entries", ""] <= ledger.mirror.size
    assert (found["parley_ledger_diverged", ""], found["parley_outbox_pending_entries", ""]) == (0, 0)
    assert found["parley_search_indexed_entries", ""] <= ledger.final_size
    ledger.sync_errors["hub.unreachable"] += 2
    found = of_node(running, "bureau")
    assert found["parley_ledger_sync_errors_total", "hub.unreachable"] == 2
    with pytest.raises(NodeProblem) as caught:
        running.client("bureau")._send("GET", "/metrics", role=None)
    assert caught.value.status == 401


def test_a_database_that_does_not_answer_is_shown(
    running: ConsortiumInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr("exchange.standing.final_checkpoint", fail)
    for found in (of_hub(running), of_node(running, "lender")):
        assert found["parley_ledger_store_up", ""] == 0
        assert found["parley_ledger_entries", ""] > 0
        assert ("parley_ledger_quorum", "") not in found


def test_the_format_is_the_callers_choice(running: ConsortiumInProcess) -> None:
    plain = hub_page(running, "/metrics")
    assert plain.headers["Content-Type"].startswith("text/plain")
    newer = hub_page(running, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert newer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert newer.text.endswith("# EOF\n")


def test_every_metric_is_documented(running: ConsortiumInProcess) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "ledger.md").read_text("utf-8")
    texts = [
        hub_page(running, "/metrics").text,
        running.client("lender")._send("GET", "/metrics", role="auditor").text,
    ]
    names = {
        name for text in texts for name in re.findall(r"^# TYPE (\w+?)(?:_total|_created)? ", text, re.M)
    }
    assert len(names) > 12
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


@pytest.mark.parametrize(("lang", "words"), [("en", "Order engine"), ("zh", "排序引擎")])
def test_the_status_pages_show_who_cosigned(running: ConsortiumInProcess, lang: str, words: str) -> None:
    pages = [hub_page(running, f"/?lang={lang}").text]
    pages.append(running.client("lender")._send("GET", f"/?lang={lang}", role=None).text)
    for page in pages:
        assert words in page
        assert "3/4" in page
        assert all(f"test.parley/{name}" in page for name in running.names)
        assert re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", page)
