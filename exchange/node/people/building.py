"""The services around people, built from a node's settings and its store."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from exchange.config import ConfigError, NodeSettings, Problem
from exchange.node.people.accounts import People
from exchange.node.people.attempts import Attempts, Limits
from exchange.node.people.departments import Departments
from exchange.node.people.passwords import Passwords
from exchange.node.people.provider import Provider, ProviderSettings
from exchange.node.people.provider_sign_in import ProviderRules, ProviderSignIn
from exchange.node.people.roles import Separation
from exchange.node.people.sessions import Sessions
from exchange.node.people.sign_in import SignIn
from exchange.node.people.tokens import Tokens
from exchange.store import PeopleStore
from ledger.times import system_clock

__all__ = ["PeopleServices", "build"]


@dataclass(frozen=True)
class PeopleServices:
    """What a node does about its people."""

    people: People
    departments: Departments
    tokens: Tokens
    sessions: Sessions
    sign_in: SignIn
    provider: ProviderSignIn | None


def build(
    settings: NodeSettings,
    store: PeopleStore,
    key: bytes,
    clock: Callable[[], datetime] = system_clock,
) -> PeopleServices:
    """Build the services.

    Args:
        settings: the node's.
        store: where people are kept.
        key: 32 bytes that seal one-time secrets; who has none may do without codes only.
        clock: aware time in UTC.

    Raises:
        ConfigError: a file that the settings name cannot be used.
    """
    separation = Separation(settings.separate_roles)
    sessions = Sessions(
        store,
        separation,
        timedelta(seconds=settings.session_idle_s),
        timedelta(seconds=settings.session_max_s),
    )
    passwords = Passwords(
        settings.password_memory_kib, settings.password_passes, settings.password_min_length
    )
    limits = Limits(
        free=settings.signin_free_failures,
        longest_wait=timedelta(seconds=settings.signin_wait_max_s),
        locked_after=settings.signin_lock_after,
        needs_code=settings.totp_required,
        invitation=timedelta(hours=settings.invitation_hours),
    )
    people, attempts = People(store, separation), Attempts(store, key, limits)
    provider = _provider(settings, key, clock)
    return PeopleServices(
        people,
        Departments(store),
        Tokens(store, separation, timedelta(days=settings.token_max_days)),
        sessions,
        SignIn(store, key, settings.name, passwords, sessions, attempts, limits),
        None if provider is None else ProviderSignIn(people, sessions, attempts, provider, _rules(settings)),
    )


def _provider(settings: NodeSettings, key: bytes, clock: Callable[[], datetime]) -> Provider | None:
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    known = ProviderSettings(
        issuer=settings.oidc_issuer,
        client=settings.oidc_client_id,
        secret="" if settings.oidc_client_secret is None else _secret(settings.oidc_client_secret),
        authority=settings.oidc_ca,
        public_url=settings.public_url or f"https://{settings.api_bind}",
        context_classes=tuple(value for claim, value in settings.oidc_second_factor if claim == "acr"),
    )
    try:
        return Provider(known, key, clock)
    except OSError as error:  # ssl's own errors are of this kind too
        problem = Problem("oidc_ca", "a readable file with certificates", type(error).__name__)
        raise ConfigError([problem]) from error


def _rules(settings: NodeSettings) -> ProviderRules:
    return ProviderRules(
        account_claim=settings.oidc_account_claim,
        groups_claim=settings.oidc_groups_claim,
        group_roles=settings.oidc_group_roles,
        creates=settings.oidc_create_accounts,
        factors=settings.oidc_second_factor,
        needs_code=settings.totp_required,
    )


def _secret(path: Path) -> str:
    """Read the secret that the provider gave this node, from a file that nobody else may read."""
    try:
        mode, text = stat.S_IMODE(path.stat().st_mode), path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = Problem("oidc_client_secret", "a readable file", type(error).__name__)
        raise ConfigError([problem]) from error
    if mode & 0o077 or not text:
        found = f"mode {mode:04o}" if mode & 0o077 else "an empty file"
        raise ConfigError([Problem("oidc_client_secret", "a file of mode 0600 with a secret", found)])
    return text
