"""Attempts to sign in: how many failed under a name and from an address, and what follows from that."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from exchange.errors import ExchangeError
from exchange.node.people import lockout
from exchange.node.people.roles import State
from exchange.store import Account, Change, PeopleStore, SignInRows

__all__ = ["Attempts", "Limits", "SignInDelayed"]

_UNKNOWN: Final = "unknown"
_ADDRESS_FACTOR: Final = 10  # many people share an address


class SignInDelayed(ExchangeError):
    """Too many attempts failed; the next one is heard later."""

    code = "signin.delayed"
    blame = "caller"
    retryable = True


@dataclass(frozen=True)
class Limits:
    """How signing in is limited.

    Attributes:
        free: failures in a row that cost nothing.
        longest_wait: how long a wait between attempts may become.
        locked_after: failures in a row after which only an administrator opens the account again.
        needs_code: whether a session without a one-time code may do nothing but enrol one.
        invitation: how long an invitation is good for.
    """

    free: int
    longest_wait: timedelta
    locked_after: int
    needs_code: bool
    invitation: timedelta


class Attempts:
    """Counts the attempts at one node.

    Args:
        store: where people are kept.
        key: 32 bytes that hide the names and addresses that are counted.
        limits: how signing in is limited.
    """

    def __init__(self, store: PeopleStore, key: bytes, limits: Limits) -> None:
        self._store, self._key, self._limits = store, key, limits

    def charge(self, name: str | None, address: str) -> int:
        """Count an attempt under this name, if there is one, and from this address.

        Returns:
            How many in a row failed under the name, or from the address, this one included.

        Raises:
            SignInDelayed: too many failed; this one is not looked at.
        """
        limits = self._limits
        wide = lockout.Limits(limits.free * _ADDRESS_FACTOR, limits.longest_wait)
        asked = [(self._hidden("address", _network(address)), wide)]
        if name is not None:
            asked.insert(0, (self._hidden("name", name), lockout.Limits(limits.free, limits.longest_wait)))
        with self._store.changing() as change:
            rows = SignInRows(change.connection)
            rows.forget_standings(change.now - lockout.FORGOTTEN)
            standings = [rows.standing(key) for key, _ in asked]
            left = max(lockout.wait(one, change.now) for one in standings)
            if not left:
                after = [
                    lockout.charged(standing, change.now, limit)
                    for standing, (_, limit) in zip(standings, asked, strict=True)
                ]
                for (key, _), standing in zip(asked, after, strict=True):
                    rows.put_standing(key, standing)
        if left:
            seconds = int(left.total_seconds())
            raise SignInDelayed(f"too many attempts failed; the next one is heard in {seconds} s")
        return after[0].failures

    def forgive_in(self, change: Change, name: str, address: str | None) -> None:
        """Take back what was counted under a name, and the one attempt that succeeded from an address."""
        rows = SignInRows(change.connection)
        rows.put_standing(self._hidden("name", name), None)
        if address is not None:
            key = self._hidden("address", _network(address))
            rows.put_standing(key, lockout.taken_back(rows.standing(key)))

    def record_failure(
        self, change: Change, account: Account | None, failures: int, what: str, **facts: str
    ) -> None:
        """Record an attempt that failed; an account with too many of them is locked.

        A name that is nobody's is not recorded: people type passwords there.
        """
        name = _UNKNOWN if account is None else account.name
        change.record(_UNKNOWN, "signin.fail", name, what=what, failures=failures, **facts)
        if account is None or failures < self._limits.locked_after or account.state != State.ACTIVE:
            return
        change.set_account(replace(account, state=State.LOCKED.value, changed=change.now))
        change.record(_UNKNOWN, "account.lock", name, failures=failures)

    def _hidden(self, kind: str, text: str) -> str:
        words = f"{kind}\n{text}".encode(errors="surrogatepass")
        return hashlib.blake2b(words, key=self._key, digest_size=32).hexdigest()


def _network(address: str) -> str:
    """Return what is counted as one address: of IPv6, the network that one customer has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)
