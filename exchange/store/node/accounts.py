"""Accounts, departments and tokens of this organisation's people, changed only together with the record.

``PeopleStore.changing`` opens a change: it locks the record's head first, so changes come one after another,
what is checked inside still holds when it is written, and the record is written with the act or neither is.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, delete, insert, select, update

from exchange.store.engine import transaction
from exchange.store.node.models import NodeBase
from exchange.store.node.people_record import Act, Mark, RecordHead, Verdict, digest_of, verify
from exchange.store.node.people_rows import (
    AccountRow,
    ActRow,
    DepartmentRow,
    OrganisationRow,
    RecordHeadRow,
    TokenRow,
)
from ledger.times import format_time

__all__ = ["Account", "Change", "Department", "PeopleStore", "Token"]

_log = logging.getLogger(__name__)

_TABLES = NodeBase.metadata.tables
_ACCOUNTS = _TABLES[AccountRow.__tablename__]
_DEPARTMENTS = _TABLES[DepartmentRow.__tablename__]
_ORGANISATION = _TABLES[OrganisationRow.__tablename__]
_TOKENS = _TABLES[TokenRow.__tablename__]
_RECORD = _TABLES[ActRow.__tablename__]
_HEAD = _TABLES[RecordHeadRow.__tablename__]

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Account:
    """A person or a program of this organisation."""

    id: str
    name: str
    display_name: str
    department: str
    roles: tuple[str, ...]
    state: str
    created: datetime
    created_by: str
    changed: datetime
    changed_by: str


@dataclass(frozen=True)
class Department:
    """A department; ``parent`` is empty at the root of the tree."""

    department: str
    title: str
    parent: str


@dataclass(frozen=True)
class Token:
    """A bearer token; the token itself is not here, and its digest is not shown."""

    id: str
    account: str
    title: str
    digest: str = field(repr=False)
    roles: tuple[str, ...]
    created: datetime
    created_by: str
    expires: datetime | None
    revoked: datetime | None


class PeopleReader:
    """What can be read about people on one connection."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self.connection, self.now = connection, now

    def account(self, name: str) -> Account | None:
        """The account of this name."""
        return self._account(select(_ACCOUNTS).where(_ACCOUNTS.c.name == name))

    def account_by_id(self, account: str) -> Account | None:
        """The account with this id."""
        return self._account(select(_ACCOUNTS).where(_ACCOUNTS.c.id == account))

    def accounts(self) -> list[Account]:
        """All accounts, by name."""
        rows = self.connection.execute(select(_ACCOUNTS).order_by(_ACCOUNTS.c.name)).all()
        return [_account(row) for row in rows]

    def departments(self) -> list[Department]:
        """All departments, by name."""
        rows = self.connection.execute(select(_DEPARTMENTS).order_by(_DEPARTMENTS.c.department)).all()
        return [Department(*row) for row in rows]

    def organisation(self) -> dict[str, str]:
        """What is kept about the organisation, by field."""
        return {row.field: row.value for row in self.connection.execute(select(_ORGANISATION)).all()}

    def token(self, digest: str) -> Token | None:
        """The token with this digest."""
        row = self.connection.execute(select(_TOKENS).where(_TOKENS.c.digest == digest)).one_or_none()
        return None if row is None else _token(row)

    def tokens(self, account: str) -> list[Token]:
        """All tokens that an account ever had, oldest first."""
        wanted = select(_TOKENS).where(_TOKENS.c.account == account).order_by(_TOKENS.c.created, _TOKENS.c.id)
        return [_token(row) for row in self.connection.execute(wanted).all()]

    def _account(self, wanted: Select[Any]) -> Account | None:
        row = self.connection.execute(wanted).one_or_none()
        return None if row is None else _account(row)


class Change(PeopleReader):
    """One change of people, under the lock of the record."""

    def __init__(self, connection: Connection, now: datetime, head: RecordHead) -> None:
        super().__init__(connection, now)
        self.head = head

    def add_account(self, account: Account) -> None:
        """Keep a new account."""
        self.connection.execute(insert(_ACCOUNTS).values(**_values(account)))

    def set_account(self, account: Account) -> None:
        """Replace an account."""
        values = _values(account)
        self.connection.execute(update(_ACCOUNTS).where(_ACCOUNTS.c.id == values.pop("id")).values(**values))

    def put_department(self, department: Department, *, new: bool) -> None:
        """Keep a department, a new one or one that exists."""
        values = vars(department)
        if new:
            self.connection.execute(insert(_DEPARTMENTS).values(**values))
            return
        named = _DEPARTMENTS.c.department == department.department
        self.connection.execute(update(_DEPARTMENTS).where(named).values(**values))

    def drop_department(self, department: str) -> None:
        """Delete a department."""
        self.connection.execute(delete(_DEPARTMENTS).where(_DEPARTMENTS.c.department == department))

    def set_organisation(self, facts: Mapping[str, str]) -> None:
        """Replace what is kept about the organisation."""
        self.connection.execute(delete(_ORGANISATION))
        for name, value in sorted(facts.items()):
            self.connection.execute(insert(_ORGANISATION).values(field=name, value=value))

    def add_token(self, token: Token) -> None:
        """Keep a new token."""
        self.connection.execute(insert(_TOKENS).values(**vars(token) | {"roles": list(token.roles)}))

    def revoke_token(self, token: str) -> None:
        """Note that a token is not good any more."""
        self.connection.execute(update(_TOKENS).where(_TOKENS.c.id == token).values(revoked=self.now))

    def record(self, actor: str, act: str, subject: str, **facts: object) -> None:
        """Append an act to the record."""
        text, time = json.dumps(facts, sort_keys=True), format_time(self.now)
        position, previous = self.head.size + 1, self.head.digest
        digest = digest_of(position, time, actor, act, subject, text, previous)
        values = {"time": time, "actor": actor, "act": act, "subject": subject, "facts": text}
        self.connection.execute(
            insert(_RECORD).values(position=position, previous=previous, digest=digest, **values)
        )
        self.head = RecordHead(position, digest)


class PeopleStore:
    """The people of one node.

    Args:
        engine: the node's database.
        clock: aware time in UTC.
        mark: the file that notes the end of the record; None: none is kept, and a cut at the end is not seen.
    """

    def __init__(self, engine: Engine, clock: Clock, mark: Path | None) -> None:
        self._engine, self._clock = engine, clock
        self._mark = None if mark is None else Mark(mark)

    @contextmanager
    def reading(self) -> Iterator[PeopleReader]:
        """A look at the people."""
        with transaction(self._engine) as connection:
            yield PeopleReader(connection, self._clock())

    @contextmanager
    def changing(self) -> Iterator[Change]:
        """A change: all that is written in the block, with what it records, or nothing.

        Raises:
            StoreUnavailable: the database did not carry it out.
        """
        with transaction(self._engine) as connection:
            connection.execute(update(_HEAD).values(size=_HEAD.c.size))  # from here on nobody else changes
            row = connection.execute(select(_HEAD.c.size, _HEAD.c.digest)).one()
            change = Change(connection, self._clock(), RecordHead(row.size, row.digest))
            yield change
            head = change.head
            connection.execute(update(_HEAD).values(size=head.size, digest=head.digest))
        if self._mark is not None and head.size > row.size:
            try:
                self._mark.rise(head)
            except (OSError, ValueError) as error:  # the act is done and recorded; `verify` tells of the mark
                _log.error("the mark of the people's record was not written: %s", type(error).__name__)

    def acts(self, after: int, limit: int) -> list[Act]:
        """Read the record, from the act that follows position ``after``."""
        wanted = select(_RECORD).where(_RECORD.c.position > after).order_by(_RECORD.c.position).limit(limit)
        with transaction(self._engine) as connection:
            return [_act(row) for row in connection.execute(wanted).all()]

    def verify_record(self) -> Verdict:
        """Check that the record is whole and the one that was marked."""
        try:
            mark = None if self._mark is None else self._mark.read()
        except (OSError, ValueError) as error:
            return Verdict(False, 0, "", 0, str(error))
        with transaction(self._engine) as connection:
            head = connection.execute(select(_HEAD.c.size, _HEAD.c.digest)).one()
            rows = connection.execute(select(_RECORD).order_by(_RECORD.c.position))
            verdict = verify((_act(row) for row in rows), RecordHead(head.size, head.digest), mark)
        if verdict.sound and verdict.size and self._mark is not None and mark is None:
            return replace(verdict, sound=False, reason="expected a mark of the record's end, found none")
        return verdict


def _values(account: Account) -> dict[str, Any]:
    return vars(account) | {"roles": list(account.roles)}


def _account(row: Row[Any]) -> Account:
    return Account(**dict(row._mapping) | {"roles": tuple(row.roles)})


def _token(row: Row[Any]) -> Token:
    return Token(**dict(row._mapping) | {"roles": tuple(row.roles)})


def _act(row: Row[Any]) -> Act:
    return Act(**dict(row._mapping) | {"facts": row.facts})
