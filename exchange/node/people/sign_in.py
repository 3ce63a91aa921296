"""Signing in with a password and a one-time code, and everything else that a password opens.

Whatever is wrong (no such account, another password, another code, an account that may not sign in), the
answer is the same and comes by the same steps: the attempt is counted, a password hash is computed, the
record is written. How often attempts may fail is counted per name that is given and per address.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from exchange.errors import Conflict, ExchangeError, Forbidden
from exchange.node.people.accounts import known, not_oneself
from exchange.node.people.attempts import Attempts, Limits
from exchange.node.people.one_time import OneTimeCodes, new_recovery_codes, recovery_digest
from exchange.node.people.passwords import Passwords
from exchange.node.people.roles import Person, State
from exchange.node.people.sessions import Carrier, Sessions, Stage
from exchange.node.people.tokens import digest_of_secret, new_secret
from exchange.store import Account, Change, PeopleStore, Secrets, Session, SignInRows

__all__ = ["PROVIDER", "SignIn", "SignInRefused", "SignedIn"]

PROVIDER: Final = "provider"
"""How somebody signed in whom the organisation's identity provider let in."""


class SignInRefused(ExchangeError):
    """Signing in was refused; the answer does not say which part was wrong."""

    code = "signin.refused"
    blame = "caller"


@dataclass(frozen=True)
class SignedIn:
    """A new session, its secret, and whose it is."""

    session: Session
    secret: str = field(repr=False)
    account: Account


class SignIn:
    """Signing in at one node.

    Args:
        store: where people are kept.
        key: 32 bytes that seal one-time secrets.
        organisation: the node's short name.
        passwords: how passwords are kept.
        sessions: what a sign-in ends in.
        attempts: counts those that fail.
        limits: how it is limited.
    """

    def __init__(
        self,
        store: PeopleStore,
        key: bytes,
        organisation: str,
        passwords: Passwords,
        sessions: Sessions,
        attempts: Attempts,
        limits: Limits,
    ) -> None:
        self._store, self._organisation = store, organisation
        self._passwords, self._sessions = passwords, sessions
        self._attempts, self._limits = attempts, limits
        self._codes = OneTimeCodes(key, f"Parley {organisation}")

    def with_password(
        self, name: str, password: str, code: str, *, address: str, carrier: Carrier
    ) -> SignedIn:
        """Begin a session.

        Args:
            name: the account's.
            password: its password.
            code: a one-time code or a recovery code; empty where the account has none.
            address: from where the attempt comes.
            carrier: how the session's secret will come.

        Raises:
            SignInRefused: any of it is wrong, or the account may not sign in.
            SignInDelayed: too many attempts failed under this name or from this address.
        """
        failures = self._attempts.charge(name, address)
        account, secrets = self._found(name)
        hashed = secrets.password or self._passwords.nobodys
        is_right = self._passwords.verify(hashed, password) and bool(secrets.password)
        renewed = self._passwords.renewed(hashed, password) if is_right else None
        with self._store.changing() as change:
            signed = self._begin(change, account, hashed if is_right else None, code, address, carrier)
            if signed is None:
                self._attempts.record_failure(change, account, failures, "password", address=address)
            else:
                self._attempts.forgive_in(change, name, address)
                if renewed is not None:
                    rows = SignInRows(change.connection)
                    rows.put_secrets(replace(rows.secrets(signed.account.id), password=renewed))
        if signed is None:
            raise SignInRefused(
                "the name, the password or the code is not right, or the account cannot sign in"
            )
        return signed

    def _begin(
        self,
        change: Change,
        before: Account | None,
        hashed: str | None,
        code: str,
        address: str,
        carrier: Carrier,
    ) -> SignedIn | None:
        """Begin a session if account, password and code are still right now."""
        account = None if before is None else change.account(before.name)
        if account is None or hashed is None or account.state != State.ACTIVE:
            return None
        secrets = SignInRows(change.connection).secrets(account.id)
        if secrets.password != hashed:
            return None
        stage, how = Stage.FULL, "password"
        if secrets.totp:
            used = self._used_code(change, secrets, code)
            if used is None:
                return None
            how = f"password+{used}"
        elif self._limits.needs_code:
            stage = Stage.ENROLMENT
        session, secret = self._sessions.begin(
            change, account, stage, carrier, how=how, address=address, roles=account.roles
        )
        change.record(
            account.name,
            "signin.done",
            account.name,
            session=session.id,
            how=how,
            stage=stage.value,
            address=address,
        )
        return SignedIn(session, secret, account)

    def _used_code(self, change: Change, secrets: Secrets, code: str) -> str | None:
        """Take a one-time code or a recovery code; returns which it was, None where it is neither."""
        rows = SignInRows(change.connection)
        step = self._codes.accepted(secrets.account, secrets.totp, code, change.now, secrets.totp_step)
        if step is not None:
            rows.put_secrets(replace(secrets, totp_step=step))
            return "totp"
        if code and rows.use_recovery_code(secrets.account, recovery_digest(secrets.account, code)):
            return "recovery"
        return None

    # --- passwords

    def change_password(
        self, person: Person, session: Session, present: str, chosen: str, address: str
    ) -> str:
        """Change the own password; returns the session's new secret, and the other sessions end.

        Raises:
            SignInRefused: the present password is another; SignInDelayed: after too many attempts.
            InvalidRequest: the new one is not good enough.
        """
        _not_before_the_code(session)
        self._passwords.check(chosen, self._names(person.name, person.display_name))
        self._check(person, present, address)
        hashed = self._passwords.hashed(chosen)
        with self._store.changing() as change:
            rows = SignInRows(change.connection)
            rows.put_secrets(replace(rows.secrets(person.id), password=hashed, invitation=""))
            secret = self._sessions.raised(change, session, Stage(session.stage))
            change.record(person.name, "password.change", person.name)
        return secret

    def invite(self, change: Change, account: Account, by: str) -> str:
        """Take the password away and make an invitation to choose one; returns it, to be shown this once."""
        rows, secret = SignInRows(change.connection), new_secret()
        ends = change.now + self._limits.invitation
        kept = rows.secrets(account.id)
        rows.put_secrets(
            replace(kept, password="", invitation=digest_of_secret(secret), invitation_ends=ends)
        )
        rows.end_sessions(account.id)
        change.record(by, "invitation.issue", account.name)
        return secret

    def invite_again(self, name: str, by: str) -> str:
        """Invite a person who has an account; the password it has is not good any more.

        Raises:
            Forbidden: oneself; NotFound: no such account; Conflict: one that is disabled.
        """
        not_oneself(name, by, "password")
        with self._store.changing() as change:
            account = known(change.account(name), name)
            if account.state == State.DISABLED:
                raise Conflict(f"expected an account in use, {name} is disabled")
            self._attempts.forgive_in(change, name, None)
            return self.invite(change, account, by)

    def accept(self, name: str, invitation: str, chosen: str, address: str) -> None:
        """Take an invitation up and choose a password.

        Raises:
            SignInRefused: no such invitation, or one that is not good any more.
            SignInDelayed: too many attempts failed; InvalidRequest: the password is not good enough.
        """
        self._passwords.check(chosen, self._names(name, ""))
        failures = self._attempts.charge(name, address)  # before the hash, which is costly by intention
        hashed = self._passwords.hashed(chosen)
        with self._store.changing() as change:
            account, rows = change.account(name), SignInRows(change.connection)
            secrets = Secrets("") if account is None else rows.secrets(account.id)
            fits = bool(secrets.invitation) and secrets.invitation == digest_of_secret(invitation)
            ends = secrets.invitation_ends
            is_good = fits and ends is not None and change.now < ends
            if account is None or not is_good or account.state == State.DISABLED:
                self._attempts.record_failure(change, account, failures, "invitation", address=address)
                refused = True
            else:
                refused = False
                rows.put_secrets(replace(secrets, password=hashed, invitation="", invitation_ends=None))
                if account.state == State.INVITED:
                    active = replace(
                        account, state=State.ACTIVE.value, changed=change.now, changed_by=account.name
                    )
                    change.set_account(active)
                self._attempts.forgive_in(change, name, address)
                change.record(account.name, "invitation.accept", account.name)
        if refused:
            raise SignInRefused("the name or the invitation is not right, or it is not good any more")

    def forgive(self, name: str) -> None:
        """Forget the attempts that failed under a name."""
        with self._store.changing() as change:
            self._attempts.forgive_in(change, name, None)

    # --- one-time codes

    def begin_codes(self, person: Person, session: Session, password: str, address: str) -> str:
        """Draw a secret for one-time codes, which counts once a code of it was shown; returns ``otpauth://``.

        The password is asked for again, except from somebody whom the identity provider has just let in, who
        need not have one, and who has no codes yet.

        Raises:
            SignInRefused: another password; SignInDelayed: after too many attempts.
        """
        _not_before_the_code(session)
        if not (session.how == PROVIDER and session.stage == Stage.ENROLMENT):
            self._check(person, password, address)
        sealed, uri = self._codes.new(person.id, person.name)
        with self._store.changing() as change:
            rows = SignInRows(change.connection)
            rows.put_secrets(replace(rows.secrets(person.id), totp_pending=sealed))
        return uri

    def show_code(self, person: Person, session: Session, code: str, address: str) -> str:
        """Show a one-time code or a recovery code after the provider's word; returns the new secret.

        Raises:
            Conflict: no code is missing; SignInRefused: another code; SignInDelayed: after too many attempts.
        """
        if session.stage != Stage.CODE:
            raise Conflict("expected a session from which a code is missing, got another")
        failures = self._attempts.charge(person.name, address)
        secret = None
        with self._store.changing() as change:
            used = self._used_code(change, SignInRows(change.connection).secrets(person.id), code)
            if used is None:
                account = change.account(person.name)
                self._attempts.record_failure(change, account, failures, "code", address=address)
            else:
                self._attempts.forgive_in(change, person.name, address)
                secret = self._sessions.raised(change, session, Stage.FULL, alone=False)
                change.record(person.name, "signin.code", person.name, session=session.id, how=used)
        if secret is None:
            raise SignInRefused("the code is not right")
        return secret

    def confirm_codes(
        self, person: Person, session: Session, code: str, address: str
    ) -> tuple[str, list[str]]:
        """Show a first code; returns the session's new secret and recovery codes, shown this once.

        Raises:
            Conflict: none was begun; SignInRefused: another code; SignInDelayed: after too many attempts.
        """
        _not_before_the_code(session)
        self._attempts.charge(person.name, address)
        with self._store.changing() as change:
            rows = SignInRows(change.connection)
            secrets = rows.secrets(person.id)
            if not secrets.totp_pending:
                raise Conflict("expected an enrolment that was begun, found none")
            step = self._codes.accepted(person.id, secrets.totp_pending, code, change.now, 0)
            if step is None:
                raise SignInRefused("expected the code that the authenticator shows now, got another")
            self._attempts.forgive_in(change, person.name, address)
            enrolled = replace(secrets, totp=secrets.totp_pending, totp_pending=b"", totp_step=step)
            rows.put_secrets(enrolled)
            codes = new_recovery_codes()
            rows.replace_recovery_codes(person.id, [recovery_digest(person.id, one) for one in codes])
            secret = self._sessions.raised(change, session, Stage.FULL)
            change.record(person.name, "totp.enrol", person.name)
        return secret, codes

    def reset_codes(self, name: str, by: str) -> None:
        """Take a person's one-time secret away, for a lost device; the person's sessions end.

        Raises:
            Forbidden: one's own; NotFound: no such account.
        """
        not_oneself(name, by, "one-time codes")
        with self._store.changing() as change:
            account, rows = known(change.account(name), name), SignInRows(change.connection)
            rows.put_secrets(replace(rows.secrets(account.id), totp=b"", totp_pending=b"", totp_step=0))
            rows.replace_recovery_codes(account.id, [])
            rows.end_sessions(account.id)
            change.record(by, "totp.reset", name)

    def factors(self, person: Person) -> tuple[bool, int]:
        """Whether this person has one-time codes, and how many recovery codes are left."""
        with self._store.reading() as look:
            rows = SignInRows(look.connection)
            return bool(rows.secrets(person.id).totp), rows.recovery_codes(person.id)

    # --- parts

    def _found(self, name: str) -> tuple[Account | None, Secrets]:
        with self._store.reading() as look:
            account = look.account(name)
            secrets = SignInRows(look.connection).secrets("" if account is None else account.id)
        return account, secrets

    def _check(self, person: Person, password: str, address: str) -> None:
        """Ask somebody who is signed in for the password again."""
        failures = self._attempts.charge(person.name, address)
        account, secrets = self._found(person.name)
        is_right = self._passwords.verify(secrets.password or self._passwords.nobodys, password)
        with self._store.changing() as change:
            if is_right and secrets.password:
                self._attempts.forgive_in(change, person.name, address)
            else:
                self._attempts.record_failure(change, account, failures, "password", address=address)
        if not is_right or not secrets.password:
            raise SignInRefused("the present password is not right")

    def _names(self, *names: str) -> list[str]:
        return [
            self._organisation,
            "parley",
            *(part for name in names for part in (name, *name.split()) if part),
        ]


def _not_before_the_code(session: Session) -> None:
    if session.stage == Stage.CODE:
        raise Forbidden("expected a one-time code first, got none in this session yet")
