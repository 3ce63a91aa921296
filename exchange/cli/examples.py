"""``parley example``: small joint questions, each run by real processes and compared with plaintext."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import rows

__all__ = ["example", "list_examples", "run"]

_HERE = "exchange.cli.examples"
DEFAULT_HOME = Path("build")

example = LazyGroup("example", {"list": f"{_HERE}:list_examples", "run": f"{_HERE}:run"}, "example")


@command("example.list")
@click.pass_context
def list_examples(context: click.Context) -> int:
    """List the examples."""
    from exchange.examples import EXAMPLES

    called = invocation(context)
    found = [{"name": name, "question": called.text(f"example.{name}")} for name in EXAMPLES]
    called.output.result(found, rows(found, ["name", "question"]))
    return 0


@command("example.run")
@click.argument("names", nargs=-1)
@option("--home", key="home_demo", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_HOME)
@click.pass_context
def run(context: click.Context, names: tuple[str, ...], home: Path) -> int:
    """Run examples, all without a name, and compare each answer with plaintext."""
    from exchange.examples import EXAMPLES, Examples

    called = invocation(context)
    with called.output.progress("progress.examples") as bar:
        chosen = names or tuple(EXAMPLES)
        examples = Examples(
            home, lambda key, done, total: bar.at(done, total, called.text(key)), called.environment
        )
        outcomes = []
        for number, outcome in enumerate(examples.run(chosen), start=1):
            bar.at(number, len(chosen), outcome.name)
            outcomes.append(outcome)
    found = [{**asdict(one), "seconds": round(one.seconds, 1)} for one in outcomes]
    called.output.result(found, rows(found, ["name", "answer", "is_equal", "seconds"]))
    return 0 if all(one.is_equal for one in outcomes) else 1
