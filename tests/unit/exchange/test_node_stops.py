"""A run that is told to stop: its signal, its connectors, and what is known of its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from exchange.errors import JobStopped, TimedOut
from exchange.node.stops import JobRuns, StopSignal, Watched


class Endless:
    """A source without an end."""

    closed = False

    def schema(self) -> pa.Schema:
        return pa.schema([("x", pa.int64())])

    def batches(self, columns: Any, *, where: Any = None, batch_rows: int = 1) -> Iterator[pa.RecordBatch]:
        while True:
            yield pa.record_batch({"x": [1]})

    def close(self) -> None:
        self.closed = True


def test_a_signal_counts_its_first_reason_and_tells_late_listeners() -> None:
    signal, heard = StopSignal(), []
    signal.check()
    signal.on_told(heard.append)
    signal.tell("revoked")
    signal.tell("expired")
    signal.on_told(heard.append)
    assert [str(one) for one in heard] == ["revoked", "revoked"]
    with pytest.raises(JobStopped, match="revoked"):
        signal.check()


def test_reading_ends_at_the_next_batch() -> None:
    signal, source = StopSignal(), Endless()
    watched = Watched(source, signal.check)
    batches = watched.batches(["x"])
    assert next(batches).num_rows == 1
    signal.tell("stopped")
    with pytest.raises(JobStopped):
        next(batches)
    watched.close()
    assert source.closed
    assert watched.schema() == source.schema()


def test_the_end_of_a_stopped_run_is_known_once() -> None:
    runs, begun, go_on = JobRuns(), threading.Event(), threading.Event()

    def run() -> None:
        with runs.running("job-1", lambda: "sums") as signal:
            begun.set()
            go_on.wait(30)
            with pytest.raises(JobStopped):
                signal.check()

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(30)
    assert runs.jobs == ("job-1",)
    runs.tell("job-2", "nothing runs")
    runs.tell("job-1", "stopped")
    with pytest.raises(TimedOut):
        runs.ended("job-1", 0.0)
    go_on.set()
    step, after_ms = runs.ended("job-1", 30)
    thread.join()
    assert step == "sums"
    assert after_ms >= 0
    assert runs.ended("job-1", 0.0) == ("", 0)
    assert runs.jobs == ()


def test_a_node_that_stops_tells_the_runs_it_has_and_those_that_still_begin() -> None:
    runs = JobRuns()
    with runs.running("first", lambda: "match") as first:
        assert not first.is_told
        runs.close("this node stops")
        assert first.is_told
        with runs.running("second", lambda: "") as second, pytest.raises(JobStopped, match="this node stops"):
            second.check()
    assert runs.jobs == ()


def test_a_loss_is_that_of_the_step_under_way_and_goes_with_the_run() -> None:
    runs = JobRuns()
    with runs.running("job-1", lambda: ""):
        runs.note_loss("job-1", "train", 0.5)
        runs.note_loss("job-1", "train", 0.25)
        assert runs.loss("job-1", "train") == 0.25
        assert runs.loss("job-1", "match") is None
        assert runs.loss("job-2", "train") is None
    assert runs.loss("job-1", "train") is None
