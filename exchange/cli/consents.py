"""``parley consent``: data subjects give and withdraw it; owners require it and know whose row is whose."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exchange.cli.access import client, person
from exchange.cli.assets import expiry
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows
from exchange.cli.wallets import changed, opened, wallet_options
from exchange.errors import InvalidRequest

if TYPE_CHECKING:
    from exchange.sdk import NodeClient

__all__ = ["bind", "consent", "give", "identify", "list_", "require", "withdraw"]

_HERE = "exchange.cli.consents"
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
_OUT = click.Path(path_type=Path, dir_okay=False)

consent = LazyGroup(
    "consent",
    {
        "give": f"{_HERE}:give",
        "withdraw": f"{_HERE}:withdraw",
        "list": f"{_HERE}:list_",
        "identify": f"{_HERE}:identify",
        "require": f"{_HERE}:require",
        "bind": f"{_HERE}:bind",
    },
    "consent",
)


@command("consent.give")
@click.argument("asset")
@option("--purpose", key="purpose_one", required=True)
@option("--column", "columns", key="consent_column", multiple=True)
@option("--expires", key="expires", default="365d", show_default=True)
@wallet_options
@person
@click.pass_context
def give(
    context: click.Context,
    asset: str,
    purpose: str,
    columns: tuple[str, ...],
    expires: str,
    wallet: Path,
    passphrase_file: Path | None,
    org: str,
    home: Path | None,
) -> None:
    """Give consent under a pseudonym; the organisation only carries it."""
    from exchange.credentials import consents
    from ledger.entries import new_id
    from ledger.times import parse_time, system_clock

    before, secret = opened(context, wallet, passphrase_file)
    with client(context, org, home) as node:
        controller = _controller(node, asset)
        held, key = before.known_to(controller)
        consent_id = new_id("consent", system_clock)
        signed = consents.give(
            key,
            net=str(node.node()["net"]),
            consent=consent_id,
            controller=controller,
            asset=asset,
            purpose=purpose,
            expires=parse_time(expiry(expires, datetime.now(UTC))),
            columns=columns,
        )
        # kept before it is sent: a consent that the wallet forgot could never be withdrawn
        changed(before, held.consenting(consent_id, controller, asset), wallet, secret)
        made = node.give_consent(signed)
    invocation(context).output.result(made, fields(made))


@command("consent.withdraw")
@click.argument("consent_id", metavar="CONSENT")
@wallet_options
@person
@click.pass_context
def withdraw(
    context: click.Context,
    consent_id: str,
    wallet: Path,
    passphrase_file: Path | None,
    org: str,
    home: Path | None,
) -> None:
    """Withdraw a consent, through any member."""
    from exchange.credentials import consents

    held, _ = opened(context, wallet, passphrase_file)
    with client(context, org, home) as node:
        signed = consents.withdraw(
            held.consent_key(consent_id), net=str(node.node()["net"]), consent=consent_id
        )
        made = node.withdraw_consent(signed)
    invocation(context).output.result(made, fields(made))


@command("consent.list")
@option("--subject", key="consent_subject")
@option("--asset", key="consent_asset")
@person
@click.pass_context
def list_(
    context: click.Context, subject: str | None, asset: str | None, org: str, home: Path | None
) -> None:
    """List consents on the ledger."""
    with client(context, org, home) as node:
        found = node.consents(subject=subject, asset=asset)
    columns = ["consent", "status", "asset", "purpose", "expires", "subject"]
    invocation(context).output.result(found, rows(found["consents"], columns))


@command("consent.identify")
@click.argument("asset")
@option("--identifier", key="identifier", required=True)
@option("--out", key="identify_out", required=True, type=_OUT)
@wallet_options
@person
@click.pass_context
def identify(
    context: click.Context,
    asset: str,
    identifier: str,
    out: Path,
    wallet: Path,
    passphrase_file: Path | None,
    org: str,
    home: Path | None,
) -> None:
    """Write, for the owner of an asset alone, which of its rows is one's own."""
    from exchange.credentials import consents

    before, secret = opened(context, wallet, passphrase_file)
    with client(context, org, home) as node:
        held, key = before.known_to(_controller(node, asset))
        signed = consents.identify(key, net=str(node.node()["net"]), asset=asset, identifier=identifier)
    changed(before, held, wallet, secret)
    out.touch(mode=0o600)
    out.write_text(json.dumps(signed, ensure_ascii=False) + "\n", encoding="utf-8")
    shown = {"asset": asset, "subject": signed["statement"]["subject"]}  # type: ignore[index]  # an object
    invocation(context).output.result(shown, fields(shown))


@command("consent.require")
@click.argument("asset")
@option("--column", key="consent_row_column", required=True)
@option("--required/--not-required", "required", key="consent_required", default=True, show_default=True)
@option("--reason", key="reason", required=True)
@person
@click.pass_context
def require(
    context: click.Context,
    asset: str,
    column: str,
    required: bool,
    reason: str,
    org: str,
    home: Path | None,
) -> None:
    """Let rows of an own asset be used only with consent."""
    with client(context, org, home) as node:
        made = node.require_consent(asset, column, reason, required=required)
    invocation(context).output.result(made, fields(made))


@command("consent.bind")
@click.argument("papers", metavar="FILE...", nargs=-1, required=True, type=_FILE)
@person
@click.pass_context
def bind(context: click.Context, papers: tuple[Path, ...], org: str, home: Path | None) -> None:
    """Keep which rows of own assets are whose, from what data subjects wrote."""
    subjects = []
    for path in papers:
        try:
            subjects.append(dict(json.loads(path.read_text(encoding="utf-8"))))
        except (ValueError, TypeError):
            raise InvalidRequest(path.name, "a file by `parley consent identify`", "another one") from None
    with client(context, org, home) as node:
        made = node.bind_subjects(subjects)
    invocation(context).output.result(made, fields(made))


def _controller(node: NodeClient, asset: str) -> str:
    owner = asset.partition("/")[0]
    for row in node.members():
        if row["name"] == owner:
            return str(row["did"])
    raise InvalidRequest("ASSET", "an asset of a member, as owner/name", repr(asset))
