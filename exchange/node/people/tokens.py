"""Bearer tokens: named, good for some roles and for a time, shown once, taken back at any moment."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from exchange.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unauthenticated
from exchange.node.people.accounts import known
from exchange.node.people.roles import Person, Role, Separation, State
from exchange.store import Account, Change, PeopleStore, Token
from ledger.entries import new_id

__all__ = ["Tokens", "digest_of_secret", "new_secret"]

_BYTES: Final = 32
_MOST: Final = 50
_IN_USE: Final = (State.ACTIVE, State.LOCKED)


def new_secret() -> str:
    """Draw 256 random bits in base64url."""
    return secrets.token_urlsafe(_BYTES)


def digest_of_secret(secret: str) -> str:
    """Return what is kept of a secret with 256 random bits: its SHA-256 in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Tokens:
    """The tokens of one node's people.

    Args:
        store: where they are kept.
        separation: which roles are kept apart.
        longest: how long a token may be good for.
    """

    def __init__(self, store: PeopleStore, separation: Separation, longest: timedelta) -> None:
        self._store, self._separation, self._longest = store, separation, longest

    def person(self, secret: str) -> Person:
        """The person who shows this token.

        Raises:
            Unauthenticated: it is nobody's, has ended or was taken back, or its account is not in use.
        """
        with self._store.reading() as look:
            token = look.token(digest_of_secret(secret))
            account = None if token is None else look.account_by_id(token.account)
            now = look.now
        if token is None or account is None or not _is_good(token, now) or account.state not in _IN_USE:
            raise Unauthenticated("this token belongs to nobody at this node, or is not good any more")
        roles = self._separation.usable(account.roles) & {Role(role) for role in token.roles}
        return Person(
            account.name,
            roles,
            account.id,
            account.display_name,
            account.department,
            credential=token.id,
            until=token.expires,
        )

    def issue(
        self, person: Person, title: str, roles: Iterable[str], lifetime: timedelta
    ) -> tuple[Token, str]:
        """Make a token of one's own; returns it and its secret, which is shown this once.

        Raises:
            Forbidden: roles in which the caller may not act now, or longer than the caller's own token.
            InvalidRequest: longer than this node allows.
        """
        wanted = self._separation.check(roles)
        beyond = sorted(set(wanted) - person.roles)
        if beyond:
            raise Forbidden(f"expected roles in which {person.name} acts now, got {', '.join(beyond)} too")
        with self._store.changing() as change:
            account = known(change.account(person.name), person.name)
            if person.credential.startswith("token-") and person.until is not None:
                left = person.until - change.now
                if lifetime > left:
                    raise Forbidden("expected a token that ends no later than the token that asks for it")
            return self.issued(change, account, title, wanted, lifetime, person.name)

    def issued(
        self,
        change: Change,
        account: Account,
        title: str,
        roles: tuple[str, ...],
        lifetime: timedelta | None,
        by: str,
    ) -> tuple[Token, str]:
        """Make a token as a part of a change; one without a lifetime only for the first people of a node."""
        if lifetime is not None and not timedelta(0) < lifetime <= self._longest:
            raise InvalidRequest("days", f"at most {self._longest.days}", str(lifetime.days))
        if sum(one.revoked is None for one in change.tokens(account.id)) >= _MOST:
            raise Conflict(f"expected at most {_MOST} tokens for one account; revoke those that are not used")
        secret = new_secret()
        token = Token(
            id=new_id("token", lambda: change.now),
            account=account.id,
            title=title,
            digest=digest_of_secret(secret),
            roles=roles,
            created=change.now,
            created_by=by,
            expires=None if lifetime is None else change.now + lifetime,
            revoked=None,
        )
        change.add_token(token)
        change.record(by, "token.issue", account.name, token=token.id, roles=list(roles))
        return token, secret

    def of(self, name: str) -> list[Token]:
        """The tokens of an account, oldest first, those that are not good any more as well."""
        with self._store.reading() as look:
            return look.tokens(known(look.account(name), name).id)

    def revoke(self, name: str, token: str, by: str) -> None:
        """Take a token back at once.

        Raises:
            NotFound: the account has no such token, or it was taken back already.
        """
        with self._store.changing() as change:
            account = known(change.account(name), name)
            if token not in {one.id for one in change.tokens(account.id) if one.revoked is None}:
                raise NotFound(f"expected a token of {name} that is not revoked, found no such token")
            change.revoke_token(token)
            change.record(by, "token.revoke", name, token=token)


def _is_good(token: Token, now: datetime) -> bool:
    return token.revoked is None and (token.expires is None or now < token.expires)
