"""A node that is killed between record, send and record again: its negotiation ends in one agreement.

The node of one side is a process of its own, killed once at each step of one negotiation and started again
after each. The other side's node, and the hub, run in the test.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest

from exchange.dataspace.testing import publish, terms_of
from exchange.errors import NodeUnreachable
from exchange.sdk import NodeClient
from exchange.store import Exchanged, open_node_store
from exchange.testing import ConsortiumInProcess

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("processes")]

PASSPHRASE = "correct horse battery staple"  # of test keys

CHILD = """
import json, os, signal, sys
from pathlib import Path
import exchange.store.node.migrations, flask, sqlalchemy.dialects.sqlite
from exchange.dataspace.client import Connectors
from exchange.node.daemon import run
from exchange.store import DataspaceRepository

def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def before(kind, name):
    setattr(kind, name, killed)

def after(kind, name):
    whole = getattr(kind, name)
    setattr(kind, name, lambda *given: (whole(*given), killed()))

points = {
    "before it is noted that a message goes out": lambda: before(DataspaceRepository, "begin"),
    "before the message goes out": lambda: after(DataspaceRepository, "begin"),
    "before it is noted that the message was taken": lambda: after(Connectors, "post"),
    "before a message that came in is answered": lambda: after(DataspaceRepository, "advance"),
    "never": lambda: None,
}
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        points[line.strip()]()
        run(Path(sys.argv[1]), sys.argv[2])
        sys.stdout.flush()
        os._exit(0)
    print(json.dumps({"pid": pid}), flush=True)
    print(json.dumps({"ended": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}), flush=True)
"""
"""Starts the node anew for each line it reads, without loading Python's modules anew."""


class Consortium(ConsortiumInProcess):
    """A lender and an analyst with connectors; the node of ``apart`` is a process of its own."""

    apart: str = ""
    parent: subprocess.Popen[str] | None = None
    pid: int = 0

    def start(self, stack: ExitStack) -> None:
        self.form()
        self.hub = stack.enter_context(self.open_hub())
        for name in self.names:
            if name != self.apart:
                self.nodes[name] = stack.enter_context(self.open_node(name))
        command = [sys.executable, "-P", "-c", CHILD, str(self.root / self.apart), PASSPHRASE]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.parent = stack.enter_context(
            subprocess.Popen(command, **pipes, stderr=subprocess.DEVNULL, text=True, env=dict(os.environ))
        )

    def launch(self, point: str) -> None:
        """Start the node that is apart; return when it takes requests, or has been killed before that."""
        assert self.parent is not None
        assert self.parent.stdin is not None
        self.parent.stdin.write(point + "\n")
        self.parent.stdin.flush()
        self.pid = self.said("pid")
        self.said("ready", "ended")

    def said(self, *names: str) -> Any:
        """The value of the next of these that the process or its parent says."""
        assert self.parent is not None
        assert self.parent.stdout is not None
        for line in self.parent.stdout:
            found = json.loads(line)
            for name in names:
                if name in found:
                    self.ended = found.get("ended")
                    return found[name]
        raise AssertionError("the process that starts the node is gone")

    ended: int | None = None

    def end(self) -> int:
        """Wait until the node that is apart has ended; its exit code."""
        return self.ended if self.ended is not None else int(self.said("ended"))

    def stop(self) -> None:
        """End it in good order."""
        os.kill(self.pid, signal.SIGTERM)
        assert self.end() == 0

    def wire(self, name: str) -> list[Exchanged]:
        if name in self.nodes:
            return self.nodes[name].services.store.dataspace.all()
        store = open_node_store(f"sqlite:///{self.root / name}/node.sqlite")
        try:
            return store.dataspace.all()
        finally:
            store.close()


@pytest.fixture(params=["lender", "analyst"])
def consortium(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Consortium]:
    rows = {"customer_id": [f"zq {i:05d}" for i in range(20)], "balance": list(range(20))}
    (tmp_path / "rows").mkdir()
    pyarrow.csv.write_csv(pa.table(rows), tmp_path / "rows" / "rows.csv")
    names = ("lender", "analyst")
    made = Consortium(tmp_path / "parley", names, sources=[tmp_path / "rows"], connectors=names)
    made.apart = request.param
    with ExitStack() as stack:
        made.start(stack)
        yield made
        made._stack.close()
        if made.ended is None and made.pid:
            os.kill(made.pid, signal.SIGKILL)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while True:
        with suppress(NodeUnreachable):
            if holds():
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_node_killed_at_each_step_ends_in_one_agreement(consortium: Consortium, tmp_path: Path) -> None:
    lender, analyst = consortium.client("lender"), consortium.client("analyst")
    consortium.launch("never")
    publish(consortium, "lender", "loans", tmp_path / "rows" / "rows.csv")
    everybody: list[NodeClient] = [lender, analyst]
    until(lambda: all(row.get("dataspace") for node in everybody for row in node.members()))

    def killed(point: str, act: Callable[[], Any]) -> None:
        """Do something that has the node apart die at a point of it."""
        consortium.launch(point)
        with suppress(NodeUnreachable):
            act()
        assert consortium.end() == -signal.SIGKILL

    asked = {**terms_of(4).as_json(), "asset": "lender/loans", "purpose": "dpv:CustomerSolvencyMonitoring"}
    del asked["purposes"]
    own = consortium.apart == "analyst"
    points = [
        "before it is noted that a message goes out",
        "before the message goes out",
        "before it is noted that the message was taken",
        "before a message that came in is answered",
    ]
    consortium.stop()
    begun: list[str] = []

    def ask() -> None:
        begun.append(analyst.request_agreement(asked)["negotiation"])

    if own:
        killed(points[0], ask)
        killed(points[1], lambda: None)
        killed(points[2], lambda: None)
        consortium.launch("never")
        until(lambda: bool(lender.negotiations()))
        negotiation = lender.negotiations()[0]["negotiation"]
        consortium.stop()
        killed(points[3], lambda: lender.counter(negotiation, {"uses": 2}, as_owner=True))
    else:
        killed(points[3], ask)
        negotiation = analyst.negotiations()[0]["negotiation"]

        def counter() -> None:
            until(lambda: bool(lender.negotiations()))
            lender.counter(negotiation, {"uses": 2}, as_owner=True)

        killed(points[0], counter)
        killed(points[1], lambda: None)
        killed(points[2], lambda: None)
    consortium.launch("never")
    until(lambda: analyst.negotiation(negotiation)["state"] == "OFFERED")
    analyst.accept(negotiation, 2)
    until(lambda: lender.negotiation(negotiation)["state"] == "ACCEPTED")
    lender.approve(negotiation, "a test")
    until(lambda: [row["status"] for row in analyst.agreements()] == ["final"])
    for name in consortium.names:
        until(lambda name=name: [one.state for one in consortium.wire(name)] == ["FINALIZED"])  # type: ignore[misc]
        assert [(one.position, one.problem) for one in consortium.wire(name)] == [(6, None)]
    events = [one["event"] for one in lender.negotiation(negotiation)["history"]]
    assert events == ["request", "offer", "accept", "agree", "verify", "finalize"]
    consortium.stop()
