"""``parley credential``: issue, verify and take back what organisations vouch for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

from exchange.cli.access import client, home_option, person
from exchange.cli.framework import Command, LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows
from exchange.errors import InvalidRequest

__all__ = ["credential", "issue", "list_", "receipt", "resume", "revoke", "show", "suspend", "verify"]

_HERE = "exchange.cli.credentials"
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
_OUT = click.Path(path_type=Path, dir_okay=False)
_TYPES = (
    "MembershipCredential",
    "RegulatedInstitutionCredential",
    "AuditorCredential",
    "DataSourceReviewCredential",
)

credential = LazyGroup(
    "credential",
    {
        name: f"{_HERE}:{name}" if name != "list" else f"{_HERE}:list_"
        for name in ("issue", "receipt", "verify", "suspend", "resume", "revoke", "list", "show")
    },
    "credential",
)


@command("credential.issue")
@click.argument("kind", metavar="TYPE", type=click.Choice(_TYPES))
@option("--review", key="credential_review", required=True)
@option("--claim", "claims", key="claim", multiple=True)
@option("--days", key="days", type=click.IntRange(1, 1098), default=365, show_default=True)
@option("--out", key="credential_out", type=_OUT)
@person
@click.pass_context
def issue(
    context: click.Context,
    kind: str,
    review: str,
    claims: tuple[str, ...],
    days: int,
    out: Path | None,
    org: str,
    home: Path | None,
) -> None:
    """Issue a credential on a review that passed."""
    pairs = dict(_pair(claim) for claim in claims)
    with client(context, org, home) as node:
        made = node.issue_credential(kind, review, pairs, days=days)
    _written(out, made["credential"])
    invocation(context).output.result(made, fields(made["credential"]))


@command("credential.receipt")
@click.argument("job")
@option("--out", key="credential_out", type=_OUT)
@person
@click.pass_context
def receipt(context: click.Context, job: str, out: Path | None, org: str, home: Path | None) -> None:
    """Issue the receipt of a completed job."""
    with client(context, org, home) as node:
        made = node.receipt_credential(job)
    _written(out, made["credential"])
    invocation(context).output.result(made, fields(made["credential"]))


@command("credential.verify")
@click.argument("document", metavar="CREDENTIAL", type=_FILE)
@option("--status-list", "lists", key="status_list", multiple=True, type=_FILE)
@option("--bundle", key="credential_bundle", type=_FILE)
@option("--genesis", key="genesis_hash")
@option("--org", key="org", envvar="PARLEY_ORG")
@home_option
@click.pass_context
def verify(
    context: click.Context,
    document: Path,
    lists: tuple[Path, ...],
    bundle: Path | None,
    genesis: str | None,
    org: str | None,
    home: Path | None,
) -> None:
    """Verify a credential at one's own node, or offline against an evidence bundle."""
    texts = [path.read_text(encoding="utf-8") for path in lists]
    if bundle is not None:
        found = _offline(document.read_text(encoding="utf-8"), texts, bundle.read_bytes(), genesis)
    elif org is not None:
        with client(context, org, home) as node:
            found = node.verify_credential(document.read_text(encoding="utf-8"), texts)
    else:
        raise click.UsageError("expected --org or --bundle, found neither")
    invocation(context).output.result(found, fields(found))
    if not found["valid"]:
        context.exit(1)


def _change(event: Literal["suspend", "resume", "revoke"]) -> Command:
    @command(f"credential.{event}")
    @click.argument("credential_id", metavar="CREDENTIAL")
    @option("--reason", key="reason", required=True)
    @person
    @click.pass_context
    def run(context: click.Context, credential_id: str, reason: str, org: str, home: Path | None) -> None:
        with client(context, org, home) as node:
            made = node.change_credential(credential_id, event, reason)
        invocation(context).output.result(made, fields(made))

    return run


suspend, resume, revoke = _change("suspend"), _change("resume"), _change("revoke")


@command("credential.list")
@option("--holder", key="credential_holder")
@option("--issuer", key="credential_issuer")
@person
@click.pass_context
def list_(
    context: click.Context, holder: str | None, issuer: str | None, org: str, home: Path | None
) -> None:
    """List what the ledger says of credentials."""
    with client(context, org, home) as node:
        found = node.credentials(holder=holder, issuer=issuer)
    columns = ["credential", "type", "holder", "issuer", "until", "status"]
    invocation(context).output.result(found, rows(found, columns))


@command("credential.show")
@click.argument("credential_id", metavar="CREDENTIAL")
@option("--out", key="credential_out", type=_OUT)
@person
@click.pass_context
def show(context: click.Context, credential_id: str, out: Path | None, org: str, home: Path | None) -> None:
    """Show a credential that one's own organisation issued."""
    with client(context, org, home) as node:
        found = node.credential(credential_id)
    _written(out, found)
    invocation(context).output.result(found, fields(found))


def _offline(text: str, lists: list[str], bundle: bytes, genesis: str | None) -> dict[str, object]:
    from exchange.credentials import documents
    from exchange.credentials.errors import CredentialInvalid, DidUnresolved
    from exchange.credentials.offline import verify_shown
    from exchange.credentials.subjects import subject_document
    from ledger.offline import Shown
    from ledger.times import format_time, system_clock

    shown = Shown.open(bundle, genesis)
    try:
        read = [documents.read(one) for one in lists]
        found = verify_shown(documents.read(text), shown, system_clock(), read)
    except (CredentialInvalid, DidUnresolved) as error:
        reason = error.reason if isinstance(error, CredentialInvalid) else "unknown-issuer"
        return {"valid": False, "reason": reason, "detail": str(error)}
    return {
        "valid": True,
        "on_ledger": found.on_ledger,
        "credential": found.credential.id,
        "type": found.credential.kind,
        "issuer": found.credential.issuer,
        "subject": subject_document(found.credential.subject),
        "until": format_time(found.credential.valid_until),
        "genesis": shown.report.genesis,
        "pinned": shown.report.pinned,
    }


def _pair(claim: str) -> tuple[str, str]:
    name, mark, value = claim.partition("=")
    if not mark or not name:
        raise InvalidRequest("--claim", "NAME=VALUE", repr(claim))
    return name, value


def _written(out: Path | None, document: object) -> None:
    if out is not None:
        out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
