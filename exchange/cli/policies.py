"""``parley policy``: would a job pass, what does a policy say, and the profile it is written in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from exchange.cli import messages
from exchange.cli.access import client, person
from exchange.cli.framework import Invocation, LazyGroup, command, invocation, option
from exchange.cli.output import rows
from exchange.errors import InvalidRequest

if TYPE_CHECKING:
    from rich.console import RenderableType

    from policies.sentences import Language

__all__ = ["check", "explain", "policy", "profile", "simulate", "simulation_view"]

_HERE = "exchange.cli.policies"

policy = LazyGroup(
    "policy",
    {
        "simulate": f"{_HERE}:simulate",
        "explain": f"{_HERE}:explain",
        "check": f"{_HERE}:check",
        "profile": f"{_HERE}:profile",
    },
    "policy",
)


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        InvalidRequest: it holds none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(str(path), "a JSON object", type(error).__name__) from error
    if not isinstance(found, dict):
        raise InvalidRequest(str(path), "a JSON object", type(found).__name__)
    return found


def simulation_view(called: Invocation, found: Mapping[str, Any]) -> RenderableType:
    """Lay out a simulation: one line for each owner and reason."""
    verdicts = {name: called.text(f"policy.verdict.{name}") for name in ("permitted", "pending", "refused")}
    nobody = {"name": "", "assets": [], "verdict": "refused", "reasons": found["reasons"]}
    lines: list[dict[str, object]] = []
    for owner in [*([nobody] if found["reasons"] else []), *found["owners"]]:
        line = {"owner": owner["name"], "assets": owner["assets"]}
        if not owner["reasons"]:
            lines.append({**line, "verdict": verdicts[owner["verdict"]]})
        for reason in owner["reasons"]:
            verdict = verdicts["pending" if reason["pending"] else "refused"]
            stated = {"code": reason["code"], "clause": reason["clause"], "text": _said(called, reason)}
            lines.append({**line, "verdict": verdict, **stated})
    title = called.text(
        "policy.simulated", verdict=verdicts[found["verdict"]], job=found["job"], at=found["at"]
    )
    return rows(lines, ["owner", "assets", "verdict", "code", "clause", "text"], title=title)


def _said(called: Invocation, reason: Mapping[str, Any]) -> str:
    """What the node said; a clause is in the caller's language, another cause gets a title in it."""
    key = f"reason.{reason['code']}"
    if reason["clause"] is not None or not messages.has(key):
        return str(reason["text"])
    return f"{called.text(key)}: {reason['text']}"


@command("policy.simulate")
@click.argument("job", metavar="JOB")
@option("--at", key="policy_at", metavar="TIME")
@person
@click.pass_context
def simulate(context: click.Context, job: str, at: str | None, org: str, home: Path | None) -> None:
    """Say whether a job would pass; JOB is a specification's file or a job's id."""
    from datetime import UTC, datetime

    from exchange.cli.jobs import read_spec

    called, path = invocation(context), Path(job)
    subject: dict[str, Any] = {"job": job}
    if path.is_file():
        subject = {"spec": read_spec(path, datetime.now(UTC))}
    with client(context, org, home) as node:
        found = node.simulate(**subject, at=at, language=called.language)
    called.output.result(found, simulation_view(called, found))


@command("policy.explain")
@click.argument("agreement")
@person
@click.pass_context
def explain(context: click.Context, agreement: str, org: str, home: Path | None) -> None:
    """Say in words what an agreement permits."""
    called = invocation(context)
    with client(context, org, home) as node:
        found = node.agreement_policy(agreement, called.language)
    called.output.result(found, "\n".join(found["words"]))


@command("policy.check")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@option("--facts", key="policy_facts", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.pass_context
def check(context: click.Context, file: Path, facts: Path | None) -> None:
    """Say whether a file is a policy of the profile, what it says, and what it decides on a request."""
    from policies import InvalidPolicy
    from policies import facts as stated
    from policies.prepared import prepare
    from policies.words import describe, is_understood

    called = invocation(context)
    language = cast("Language", called.language)
    try:
        prepared = prepare(read_object(file))
    except InvalidPolicy as error:
        raise InvalidRequest(f"{file}: {error.path}", error.expected, error.actual) from error
    words = list(describe(prepared.policy, language))
    found: dict[str, Any] = {"words": words, "is_understood": is_understood(prepared.policy)}
    lines = list(words)
    if facts is not None:
        report = prepared.evaluate(stated.parse(read_object(facts)))
        found["report"] = report.as_json(language)
        verdict = called.text(f"policy.verdict.{'permitted' if report.permitted else 'refused'}")
        lines += ["", called.text("policy.decided", verdict=verdict)]
        lines += [f"  {reason}" for reason in report.explain(language)]
    called.output.result(found, "\n".join(lines))


@command("policy.profile")
@option("--context", "as_context", key="policy_context", is_flag=True)
@click.pass_context
def profile(context: click.Context, as_context: bool) -> None:
    """Print the ODRL profile in Turtle, or its JSON-LD context."""
    from policies.vocabulary import PROFILE, context_document, profile_document

    text = (context_document() if as_context else profile_document()).decode()
    invocation(context).output.result({"profile": PROFILE, "document": text}, text.rstrip("\n"))
