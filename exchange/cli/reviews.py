"""``parley review``: check the documents of a party or data source, and put the outcome on the ledger."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from exchange.cli.access import client, person
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows

__all__ = ["check", "conclude", "list_", "open_", "review", "show", "withdraw"]

_HERE = "exchange.cli.reviews"
_PAPER = click.Path(path_type=Path, dir_okay=False, exists=True)

review = LazyGroup(
    "review",
    {
        "open": f"{_HERE}:open_",
        "check": f"{_HERE}:check",
        "conclude": f"{_HERE}:conclude",
        "withdraw": f"{_HERE}:withdraw",
        "list": f"{_HERE}:list_",
        "show": f"{_HERE}:show",
    },
    "review",
)


@command("review.open")
@click.argument("subject", metavar="DID|ASSET")
@person
@click.pass_context
def open_(context: click.Context, subject: str, org: str, home: Path | None) -> None:
    """Open a review."""
    about = "holder" if subject.startswith("did:") else "asset"
    with client(context, org, home) as node:
        made = node.open_review(**{about: subject})
    invocation(context).output.result(made, fields(made))


@command("review.check")
@click.argument("review_id", metavar="REVIEW")
@option("--check", "name", key="check_name", required=True)
@option("--passed/--failed", "passed", key="check_outcome", required=True)
@option("--document", "documents", key="check_document", multiple=True, required=True, type=_PAPER)
@option("--note", key="check_note", default="")
@person
@click.pass_context
def check(
    context: click.Context,
    review_id: str,
    name: str,
    passed: bool,
    documents: tuple[Path, ...],
    note: str,
    org: str,
    home: Path | None,
) -> None:
    """Keep what was found; documents are fingerprinted here and go nowhere."""
    digests = [_sha256(path) for path in documents]
    with client(context, org, home) as node:
        made = node.check_review(review_id, name, "passed" if passed else "failed", digests, note)
    invocation(context).output.result(made, fields(made))


@command("review.conclude")
@click.argument("review_id", metavar="REVIEW")
@person
@click.pass_context
def conclude(context: click.Context, review_id: str, org: str, home: Path | None) -> None:
    """Put a review on the ledger."""
    with client(context, org, home) as node:
        made = node.conclude_review(review_id)
    invocation(context).output.result(made, fields(made))


@command("review.withdraw")
@click.argument("review_id", metavar="REVIEW")
@option("--reason", key="reason", required=True)
@person
@click.pass_context
def withdraw(context: click.Context, review_id: str, reason: str, org: str, home: Path | None) -> None:
    """Take a review back."""
    with client(context, org, home) as node:
        made = node.withdraw_review(review_id, reason)
    invocation(context).output.result(made, fields(made))


@command("review.list")
@option("--subject", key="review_subject")
@person
@click.pass_context
def list_(context: click.Context, subject: str | None, org: str, home: Path | None) -> None:
    """List one's own reviews, or everybody's about somebody."""
    with client(context, org, home) as node:
        found = node.reviews(subject)
    shown = [{**row, "about": row.get("subject") or row.get("holder") or row.get("asset")} for row in found]
    invocation(context).output.result(found, rows(shown, ["review", "about", "outcome", "status"]))


@command("review.show")
@click.argument("review_id", metavar="REVIEW")
@person
@click.pass_context
def show(context: click.Context, review_id: str, org: str, home: Path | None) -> None:
    """Show one's own review."""
    with client(context, org, home) as node:
        found = node.review_record(review_id)
    invocation(context).output.result(found, fields(found))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
