"""``parley sign-in`` and ``sign-out``, and what a person does about the own password, codes and sessions."""

from __future__ import annotations

from pathlib import Path

import click

from exchange.cli.access import client, home_of, person
from exchange.cli.framework import Invocation, command, invocation, option
from exchange.cli.output import fields, rows

__all__ = ["accept", "end", "enrol", "invite", "link", "list_", "password", "reset", "sign_in", "sign_out"]


@command("sign-in")
@option("--name", key="signin_name", required=True)
@person
@click.pass_context
def sign_in(context: click.Context, name: str, org: str, home: Path | None) -> None:
    """Ask for password and code, and keep the session in the profile."""
    called = invocation(context)
    secret = _asked(called, "signin.password")
    code = _asked(called, "signin.code", default="")
    with client(context, org, home) as node:
        session = node.sign_in(name, secret, code)
        node.profile.save(home_of(context, home))
    if session["stage"] == "enrolment":
        called.output.note("signin.enrol-first")
    called.output.result(session, fields(session))


@command("sign-out")
@option("--everywhere", key="everywhere", is_flag=True)
@person
@click.pass_context
def sign_out(context: click.Context, everywhere: bool, org: str, home: Path | None) -> None:
    """End the session that the profile holds, or all of this person."""
    from exchange.sdk import NodeProblem

    with client(context, org, home) as node:
        held = node.profile
        try:
            node.sign_out(everywhere=everywhere)
        except NodeProblem as problem:
            if problem.status != 401:  # one that has ended already is forgotten all the same
                raise
        held.of_session("").save(home_of(context, home))
    invocation(context).output.result({"org": org}, org)


@command("people.invite")
@click.argument("name")
@person
@click.pass_context
def invite(context: click.Context, name: str, org: str, home: Path | None) -> None:
    """Invite a person to choose a new password."""
    with client(context, org, home) as node:
        invitation = node.invite(name)
    invocation(context).output.result({"name": name, "invitation": invitation}, invitation)


@command("people.link")
@click.argument("name")
@click.argument("subject")
@person
@click.pass_context
def link(context: click.Context, name: str, subject: str, org: str, home: Path | None) -> None:
    """Link an account to a subject at the identity provider; "" takes the link away."""
    with client(context, org, home) as node:
        node.link(name, subject)
    invocation(context).output.result({"name": name, "subject": subject}, name)


@command("people.accept")
@option("--name", key="signin_name", required=True)
@person
@click.pass_context
def accept(context: click.Context, name: str, org: str, home: Path | None) -> None:
    """Take up an invitation by choosing a password."""
    called = invocation(context)
    invitation = _asked(called, "signin.invitation")
    chosen = _chosen(called)
    with client(context, org, home) as node:
        node.accept_invitation(name, invitation, chosen)
    called.output.result({"name": name}, name)


@command("people.password")
@person
@click.pass_context
def password(context: click.Context, org: str, home: Path | None) -> None:
    """Change the own password."""
    called = invocation(context)
    present, chosen = _asked(called, "signin.password"), _chosen(called)
    with client(context, org, home) as node:
        node.change_password(present, chosen)
        node.profile.save(home_of(context, home))
    called.output.result({"changed": True}, called.text("signin.changed"))


@command("people.totp.enrol")
@person
@click.pass_context
def enrol(context: click.Context, org: str, home: Path | None) -> None:
    """Enrol an authenticator for one-time codes and print recovery codes."""
    called = invocation(context)
    with client(context, org, home) as node:
        uri = node.begin_codes(_asked(called, "signin.password"))
        click.echo(_drawn(uri), err=True)
        click.echo(uri, err=True)
        codes = node.confirm_codes(_asked(called, "signin.first-code"))
        node.profile.save(home_of(context, home))
    called.output.note("signin.recovery")
    called.output.result({"recovery_codes": codes}, "\n".join(codes))


@command("people.totp.reset")
@click.argument("name")
@person
@click.pass_context
def reset(context: click.Context, name: str, org: str, home: Path | None) -> None:
    """Take a person's one-time codes away, for a lost device."""
    with client(context, org, home) as node:
        node.reset_codes(name)
    invocation(context).output.result({"name": name}, name)


@command("people.sessions.list")
@person
@click.pass_context
def list_(context: click.Context, org: str, home: Path | None) -> None:
    """List one's own sessions."""
    with client(context, org, home) as node:
        found = node.sessions()["sessions"]
    columns = ["id", "stage", "carrier", "how", "address", "created", "seen", "ends"]
    invocation(context).output.result(found, rows(found, columns))


@command("people.sessions.end")
@click.argument("session")
@person
@click.pass_context
def end(context: click.Context, session: str, org: str, home: Path | None) -> None:
    """End one of one's own sessions."""
    with client(context, org, home) as node:
        node.end_session(session)
    invocation(context).output.result({"session": session}, session)


def _asked(called: Invocation, key: str, default: str | None = None) -> str:
    """Ask on the terminal for something that is not shown while it is typed."""
    text = called.text(key)
    return str(click.prompt(text, hide_input=True, default=default, show_default=False, err=True))


def _chosen(called: Invocation) -> str:
    chosen = _asked(called, "signin.chosen")
    if _asked(called, "signin.chosen-again") != chosen:
        raise click.UsageError(called.text("signin.differs"))
    return chosen


def _drawn(uri: str) -> str:
    """Draw a QR code for a terminal."""
    import io

    import segno

    drawn = io.StringIO()
    segno.make(uri, error="m", micro=False).terminal(drawn, compact=True)
    return drawn.getvalue()
