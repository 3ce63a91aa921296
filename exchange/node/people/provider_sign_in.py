"""Signing in by the organisation's identity provider: whose account it is, in which roles, what is missing.

The provider says who somebody is; accounts and roles are this node's. A person's subject at the provider is
linked to an account by an administrator. Where groups are mapped to roles, they take away and never add:
a session has those of the account's roles that a group gives.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from exchange.errors import Conflict, ExchangeError, InvalidRequest
from exchange.node.people.accounts import NAME, NewAccount, People, known, not_oneself
from exchange.node.people.attempts import Attempts
from exchange.node.people.id_token import ProviderRefused
from exchange.node.people.provider import Provider
from exchange.node.people.roles import State
from exchange.node.people.sessions import Carrier, Sessions, Stage
from exchange.node.people.sign_in import PROVIDER, SignedIn, SignInRefused
from exchange.store import Account, Change, SignInRows

__all__ = ["ProviderRules", "ProviderSignIn"]

_LONGEST: Final = 255


@dataclass(frozen=True)
class ProviderRules:
    """What the provider's claims mean here.

    Attributes:
        account_claim: its value is linked to an account.
        groups_claim: lists a person's groups.
        group_roles: role by group; empty: groups do not matter.
        creates: whether somebody without an account gets one, with the roles of the groups.
        factors: ``acr`` or ``amr`` values that count as a second factor.
        needs_code: whether a session without any second factor may do nothing but enrol one.
    """

    account_claim: str
    groups_claim: str
    group_roles: tuple[tuple[str, str], ...]
    creates: bool
    factors: tuple[tuple[str, str], ...]
    needs_code: bool


class ProviderSignIn:
    """Signing in by a provider at one node."""

    def __init__(
        self,
        people: People,
        sessions: Sessions,
        attempts: Attempts,
        provider: Provider,
        rules: ProviderRules,
    ) -> None:
        self._people, self._sessions, self._attempts = people, sessions, attempts
        self.provider, self._rules = provider, rules

    def finish(self, answer: Mapping[str, str], cookie: str, address: str) -> SignedIn:
        """Begin a session of whoever comes back from the provider.

        Args:
            answer: the query of the callback.
            cookie: what this browser was given when it set out.
            address: from where it comes.

        Raises:
            ProviderRefused: the provider's answer is not one on which somebody may be let in.
            ProviderUnreachable: it does not answer.
            SignInRefused: nobody here is linked to that subject, or has a role by its groups.
            SignInDelayed: too many attempts failed from this address.
        """
        self._attempts.charge(None, address)
        try:
            claims = self.provider.finish(answer, cookie)
            subject, mapped = self._subject(claims), self._mapped(claims)
        except ProviderRefused as error:
            self._failed(None, str(error), address)
            raise
        refusal: ExchangeError | None = None
        signed: SignedIn | None = None
        with self._people.store.changing() as change:
            try:
                account = self._account(change, subject, claims, mapped)
            except (Conflict, InvalidRequest) as error:
                account, refusal = None, error
            roles = self._roles(account, mapped)
            if account is not None and roles and account.state in (State.ACTIVE, State.INVITED):
                signed = self._begin(change, account, claims, roles, address)
                self._attempts.forgive_in(change, account.name, address)
        if signed is None:
            self._failed(
                account, "no account, role or right to sign in" if refusal is None else str(refusal), address
            )
            raise SignInRefused("nobody at this node who may sign in is known by this identity")
        return signed

    def link(self, name: str, subject: str, by: str) -> None:
        """Link an account to a subject at the provider; an empty one takes the link away.

        Raises:
            Forbidden: one's own account; NotFound: no such account.
            InvalidRequest: a subject that cannot be; Conflict: one that is linked to another account.
        """
        not_oneself(name, by, "identity at the provider")
        if len(subject) > _LONGEST or not subject.isprintable():
            raise InvalidRequest("subject", f"at most {_LONGEST} printable characters", f"{len(subject)}")
        with self._people.store.changing() as change:
            account, rows = known(change.account(name), name), SignInRows(change.connection)
            holder = rows.linked(self.provider.issuer, subject) if subject else None
            if holder not in (None, account.id):
                raise Conflict("expected a subject without an account, got one that another account has")
            rows.link(account.id, self.provider.issuer, subject)
            rows.end_sessions(account.id)
            change.record(by, "account.link" if subject else "account.unlink", name)

    def _begin(
        self, change: Change, account: Account, claims: Mapping[str, Any], roles: list[str], address: str
    ) -> SignedIn:
        if account.state == State.INVITED:
            account = replace(account, state=State.ACTIVE.value, changed=change.now, changed_by=account.name)
            change.set_account(account)
        secrets = SignInRows(change.connection).secrets(account.id)
        stage = Stage.FULL
        if not self._has_second_factor(claims):
            stage = Stage.CODE if secrets.totp else Stage.ENROLMENT if self._rules.needs_code else Stage.FULL
        session, secret = self._sessions.begin(
            change, account, stage, Carrier.COOKIE, how=PROVIDER, address=address, roles=roles
        )
        facts = {"session": session.id, "how": PROVIDER, "stage": stage.value, "roles": roles}
        facts["address"] = address
        change.record(account.name, "signin.done", account.name, **facts)
        return SignedIn(session, secret, account)

    def _account(
        self, change: Change, subject: str, claims: Mapping[str, Any], mapped: frozenset[str]
    ) -> Account | None:
        rows = SignInRows(change.connection)
        linked = rows.linked(self.provider.issuer, subject)
        if linked is not None:
            return change.account_by_id(linked)
        if not self._rules.creates or not mapped:
            return None
        wished = str(claims.get("preferred_username", "")).lower()
        if not re.fullmatch(NAME, wished) or change.account(wished) is not None:
            digest = hashlib.sha256(f"{self.provider.issuer}\n{subject}".encode()).hexdigest()
            wished = f"person-{digest[:16]}"
        title = str(claims.get("name", ""))
        title = title if title.isprintable() and len(title) <= 200 else ""
        new = NewAccount(wished, tuple(sorted(mapped)), title)
        account = self._people.added(change, new, "identity provider", State.ACTIVE)
        rows.link(account.id, self.provider.issuer, subject)
        return account

    def _subject(self, claims: Mapping[str, Any]) -> str:
        name = self._rules.account_claim
        subject = claims.get(name)
        if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST:
            raise ProviderRefused(f"expected the claim {name} as a text, got none or another")
        if name == "email" and claims.get("email_verified") is not True:
            raise ProviderRefused("expected an e-mail address that the provider verified, got one it did not")
        return subject

    def _mapped(self, claims: Mapping[str, Any]) -> frozenset[str]:
        groups = claims.get(self._rules.groups_claim, [])
        held = {one for one in groups if isinstance(one, str)} if isinstance(groups, list) else set()
        return frozenset(role for group, role in self._rules.group_roles if group in held)

    def _roles(self, account: Account | None, mapped: frozenset[str]) -> list[str]:
        if account is None:
            return []
        return sorted(set(account.roles) & mapped if self._rules.group_roles else set(account.roles))

    def _has_second_factor(self, claims: Mapping[str, Any]) -> bool:
        methods = claims.get("amr")
        shown = {("amr", str(one)) for one in methods} if isinstance(methods, list) else set()
        shown.add(("acr", str(claims.get("acr", ""))))
        return bool(shown & set(self._rules.factors))

    def _failed(self, account: Account | None, why: str, address: str) -> None:
        with self._people.store.changing() as change:
            self._attempts.record_failure(change, account, 0, PROVIDER, why=why[:200], address=address)
