"""What is not there or not right: a peer nobody reaches, a clock an hour off, a hub that is gone."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from exchange.errors import HubUnreachable, InvalidRequest, JobFailed
from exchange.local.processes import free_ports
from exchange.node.runner import JobRun
from ledger.times import system_clock

pytestmark = pytest.mark.xdist_group("exchange-failures")


def test_an_unreachable_node_fails_the_job_and_is_named(
    tmp_path: Path, make_question: Callable[..., Any]
) -> None:
    nowhere = [f"127.0.0.1:{port}" for port in free_ports(2)]
    asked = make_question(
        tmp_path,
        endpoints=dict(zip(("lender", "bureau"), nowhere, strict=True)),
        environ={"PARLEY_CONNECT_TIMEOUT_S": "2"},
    )
    with asked.running:
        asked.publish()
        agreements = asked.agree(uses=1)
        analyst = asked.client("analyst")
        job = analyst.submit(asked.spec(agreements))["job"]
        with pytest.raises(JobFailed):
            analyst.wait_job(job, timeout_s=60)
        shown = analyst.job(job)
        assert shown["state"] == "FAILED"
        assert shown["failure"]["code"] == "peer.unreachable"
        assert shown["releases"] == []


@pytest.mark.slow
def test_a_party_that_reads_longer_than_others_wait_to_connect_is_not_absent(
    tmp_path: Path, make_question: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = make_question(tmp_path, environ={"PARLEY_CONNECT_TIMEOUT_S": "2"})
    read = JobRun._read
    with asked.running:
        asked.publish()
        spec = asked.spec(asked.agree(uses=1))
        dials = min(asked.running.did(name) for name in ("lender", "bureau"))

        def slow(run: JobRun, *args: Any) -> Any:
            if run._me == dials:
                time.sleep(4)
            return read(run, *args)

        monkeypatch.setattr(JobRun, "_read", slow)
        analyst = asked.client("analyst")
        job = analyst.submit(spec)["job"]
        assert analyst.wait_job(job, timeout_s=60)["state"] == "COMPLETED"


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_an_hour_off_is_refused_at_start_with_both_figures(
    tmp_path: Path, make_question: Callable[..., Any], hours: int
) -> None:
    def clock() -> datetime:
        return system_clock() + timedelta(hours=hours)

    running = make_question(tmp_path, names=("lender",), options={"lender": {"clock": clock}}).running
    running.form()
    with running.open_hub(), pytest.raises(InvalidRequest, match="clock") as caught:
        running.open_node("lender").start()
    assert "120 s" in str(caught.value)
    assert abs(int(re.search(r"([+-]\d+) s", str(caught.value))[1])) in range(3590, 3611)


def test_a_node_without_its_hub_says_which_address_does_not_answer(
    tmp_path: Path, make_question: Callable[..., Any]
) -> None:
    running = make_question(tmp_path, names=("lender",)).running
    running.form()
    node = running.open_node("lender")
    with pytest.raises(HubUnreachable, match="https://127"):
        node.start()
    node.stop()


@pytest.mark.slow
def test_a_restarted_node_finds_its_open_duties_again(
    tmp_path: Path, make_question: Callable[..., Any]
) -> None:
    asked = make_question(tmp_path)
    with asked.running as running:
        asked.publish()
        agreements = asked.agree(uses=1)
        running.nodes["bureau"].stop()
        analyst = asked.client("analyst")
        job = analyst.submit(asked.spec(agreements))["job"]
        deadline = time.monotonic() + 20
        while analyst.job(job)["waiting_for"] != "the decision of bureau":
            assert time.monotonic() < deadline, analyst.job(job)["waiting_for"]
            time.sleep(0.1)
        with running.open_node("bureau"):
            analyst.wait_job(job, timeout_s=60)
        assert analyst.result(job)[0]["groups"]


def test_an_unforeseen_fault_ends_the_job_and_its_text_reaches_nobody(
    tmp_path: Path,
    make_question: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("row 4711 of Jane Doe")

    monkeypatch.setattr("exchange.jobs.joint_statistics.group_sums.group_holder", break_down)
    asked = make_question(tmp_path)
    with asked.running:
        asked.publish()
        analyst = asked.client("analyst")
        job = analyst.submit(asked.spec(asked.agree(uses=1)))["job"]
        with pytest.raises(JobFailed):
            analyst.wait_job(job, timeout_s=60)
        shown = analyst.job(job)
        trail = list(asked.client("regulator").entries(job=job))
    assert shown["failure"]["code"] == "exchange.internal"
    assert shown["releases"] == []
    assert "RuntimeError" in caplog.text
    assert "Jane Doe" not in caplog.text + repr(shown) + repr(trail)


def test_a_step_that_a_restart_cut_off_is_not_begun_again(
    tmp_path: Path, make_question: Callable[..., Any]
) -> None:
    asked = make_question(tmp_path)
    with asked.running as running:
        asked.publish()
        analyst = asked.client("analyst")
        spec = asked.spec(asked.agree(uses=1))
        running.nodes["bureau"].services.store.jobs.begin(spec["job"], "match")
        analyst.submit(spec)
        with pytest.raises(JobFailed):
            analyst.wait_job(spec["job"], timeout_s=60)
        shown = analyst.job(spec["job"])
    assert "restarted in the middle" in shown["failure"]["reason"]
    assert shown["releases"] == []
