"""``parley job``: submit a spec, follow the job, fetch the result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exchange.cli.access import client, person
from exchange.cli.framework import Invocation, LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows
from exchange.errors import InvalidRequest

if TYPE_CHECKING:
    from rich.console import RenderableType

    from exchange.sdk import NodeClient

__all__ = [
    "fetch",
    "job",
    "list_",
    "result",
    "result_view",
    "resume",
    "show",
    "stop",
    "submit",
    "suspend",
    "wait",
    "wait_for",
]

_HERE = "exchange.cli.jobs"
DEFAULT_TIMEOUT_S = 600.0
_OUTLOOK = {"left_s": "progress.left_s", "loss": "progress.loss"}

job = LazyGroup(
    "job",
    {
        "submit": f"{_HERE}:submit",
        "list": f"{_HERE}:list_",
        "show": f"{_HERE}:show",
        "wait": f"{_HERE}:wait",
        "result": f"{_HERE}:result",
        "stop": f"{_HERE}:stop",
        "suspend": f"{_HERE}:suspend",
        "resume": f"{_HERE}:resume",
    },
    "job",
)


def read_spec(path: Path, now: datetime) -> dict[str, Any]:
    """Read a spec file; one without ``job`` gets a fresh id.

    Raises:
        InvalidRequest: it is no JSON object.
    """
    from ledger.entries import new_id

    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidRequest(str(path), "a JSON object", str(error)) from error
    if not isinstance(spec, dict):
        raise InvalidRequest(str(path), "a JSON object", type(spec).__name__)
    spec.setdefault("job", new_id("job", lambda: now))
    return spec


def wait_for(called: Invocation, node: NodeClient, job: str, timeout_s: float) -> Mapping[str, Any]:
    """Wait for a job with a progress bar, or with one event line per change in ``jsonl``."""
    last: list[object] = []

    with called.output.progress("progress.job", job=job) as bar:

        def follow(seen: Mapping[str, Any]) -> None:
            done, total, step = position(seen)
            expected = outlook(seen, step)
            said = [called.output.text(_OUTLOOK[name], value=value) for name, value in expected.items()]
            bar.at(done, total, ", ".join([f"{seen['state']} {step} {done}/{total}", *said]))
            mark = [seen["state"], done, total, step]
            if mark != last:
                last[:] = mark
                place = {"job": job, "state": seen["state"], "step": step, "done": done, "total": total}
                called.output.event(place | expected)

        return node.wait_job(job, follow, timeout_s=timeout_s)


def position(seen: Mapping[str, Any]) -> tuple[int, int, str]:
    """Say how far a job is: parts done, parts in all, and the step under way."""
    steps = list(seen.get("progress") or [])
    under_way = [step for step in steps if int(step["done"]) < int(step["total"])] or steps[-1:]
    if not under_way:
        return 0, 1, ""
    return int(under_way[0]["done"]), max(int(under_way[0]["total"]), 1), str(under_way[0]["step"])


def outlook(seen: Mapping[str, Any], step: str) -> dict[str, object]:
    """What is told of a step besides: ``left_s`` of the slowest party, and the ``loss`` known here."""
    told = [one for one in seen.get("progress") or [] if one["step"] == step]
    left = [int(one["left_s"]) for one in told if one.get("left_s") is not None]
    losses = [float(one["loss"]) for one in told if one.get("loss") is not None]
    return ({"left_s": max(left)} if left else {}) | ({"loss": float(f"{losses[0]:.6g}")} if losses else {})


def fetch(node: NodeClient, job: str, out: Path | None) -> dict[str, Any]:
    """Fetch a result and leave its files under ``out``."""
    document, files = node.result(job)
    written = []
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            path = out / Path(name).name
            path.write_bytes(content)
            written.append(str(path))
    return {"job": job, "result": document, "files": written}


def result_view(document: Mapping[str, Any]) -> RenderableType:
    """Lay out a result: a table, one row per group, or the number of matches."""
    if "columns" in document:
        columns = [str(name) for name in document["columns"]]
        return rows([dict(zip(columns, row, strict=True)) for row in document["rows"]], columns)
    if not document.get("groups"):
        return fields({"matched": document.get("matched")})
    measures = list(document["measures"])
    group = str(document["group"])
    columns = [group, "count", *(f"mean {name}" for name in measures), *(f"sum {name}" for name in measures)]
    lines = [
        {group: row["group"], "count": row["count"]}
        | {f"mean {name}": row["means"][name] for name in measures}
        | {f"sum {name}": row["sums"][name] for name in measures}
        for row in document["groups"]
    ]
    return rows(lines, columns, title=f"matched: {document['matched']}")


@command("job.submit")
@click.argument("spec", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@option("--wait/--no-wait", "waits", key="wait", default=False)
@option("--timeout", "timeout_s", key="timeout", type=float, default=DEFAULT_TIMEOUT_S, show_default=True)
@person
@click.pass_context
def submit(
    context: click.Context, spec: Path, waits: bool, timeout_s: float, org: str, home: Path | None
) -> None:
    """Submit a job specification."""
    called = invocation(context)
    with client(context, org, home) as node:
        made = node.submit(read_spec(spec, datetime.now(UTC)))
        if waits:
            called.output.event(made)
            wait_for(called, node, str(made["job"]), timeout_s)
    called.output.result(made, fields(made))


@command("job.list")
@person
@click.pass_context
def list_(context: click.Context, org: str, home: Path | None) -> None:
    """List jobs."""
    with client(context, org, home) as node:
        found = node.jobs()
    invocation(context).output.result(found, rows(found, ["job", "state", "purpose", "submitter"]))


@command("job.show")
@click.argument("job_id", metavar="JOB")
@person
@click.pass_context
def show(context: click.Context, job_id: str, org: str, home: Path | None) -> None:
    """Show a job's state, receipts and refusals."""
    with client(context, org, home) as node:
        found = node.job(job_id)
    invocation(context).output.result(found, fields(found))


@command("job.wait")
@click.argument("job_id", metavar="JOB")
@option("--timeout", "timeout_s", key="timeout", type=float, default=DEFAULT_TIMEOUT_S, show_default=True)
@person
@click.pass_context
def wait(context: click.Context, job_id: str, timeout_s: float, org: str, home: Path | None) -> None:
    """Wait until a job ends."""
    called = invocation(context)
    with client(context, org, home) as node:
        seen = wait_for(called, node, job_id, timeout_s)
    called.output.result(dict(seen), fields({"job": job_id, "state": seen["state"]}))


@command("job.result")
@click.argument("job_id", metavar="JOB")
@option("--out", key="out_files", type=click.Path(path_type=Path, file_okay=False))
@person
@click.pass_context
def result(context: click.Context, job_id: str, out: Path | None, org: str, home: Path | None) -> None:
    """Fetch a result."""
    with client(context, org, home) as node:
        found = fetch(node, job_id, out)
    invocation(context).output.result(found, result_view(found["result"]))


@command("job.stop")
@click.argument("job_id", metavar="JOB")
@option("--reason", key="reason", required=True)
@person
@click.pass_context
def stop(context: click.Context, job_id: str, reason: str, org: str, home: Path | None) -> None:
    """Stop a job at every party."""
    with client(context, org, home) as node:
        made = node.stop_job(job_id, reason)
    invocation(context).output.result(made, fields(made))


@command("job.suspend")
@click.argument("job_id", metavar="JOB")
@option("--reason", key="reason", required=True)
@person
@click.pass_context
def suspend(context: click.Context, job_id: str, reason: str, org: str, home: Path | None) -> None:
    """Pause own parts of a job; nothing of it leaves until they go on."""
    with client(context, org, home) as node:
        made = node.suspend_job(job_id, reason)
    invocation(context).output.result(made, fields(made))


@command("job.resume")
@click.argument("job_id", metavar="JOB")
@person
@click.pass_context
def resume(context: click.Context, job_id: str, org: str, home: Path | None) -> None:
    """Let the parts go on that this organisation has paused."""
    with client(context, org, home) as node:
        made = node.resume_job(job_id)
    invocation(context).output.result(made, fields(made))
