"""The frozen settings of a hub, of a node and of a witness, and how they get from and to the file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from exchange.config.directory import directory_problems, private_directory
from exchange.config.kinds import OutsideCopy
from exchange.config.problems import ConfigError, Problem, Unfit, found
from exchange.config.vocabulary import (
    DATASPACE,
    HUB_FIELDS,
    JOINING,
    NODE_FIELDS,
    OIDC,
    TOGETHER,
    WEBHOOK,
    WITNESS_FIELDS,
    Field,
)

__all__ = [
    "FILE_NAME",
    "HubAddress",
    "HubSettings",
    "Kind",
    "NodeSettings",
    "WitnessSettings",
    "amend",
    "check",
    "hub_settings",
    "load",
    "node_settings",
    "save",
    "witness_settings",
]

FILE_NAME = "parley.toml"

Kind = Literal["hub", "node", "witness"]
Role = Literal["participant", "regulator"]


@dataclass(frozen=True, kw_only=True)
class HubSettings:
    """What a hub is started with; the fields are those of ``HUB_FIELDS``."""

    directory: Path
    net: str
    origin: str
    member_bind: str
    operator_bind: str
    public_url: str | None
    database: str = field(repr=False)
    verify_processes: int
    witnesses: tuple[OutsideCopy, ...] = ()
    mirrors: tuple[OutsideCopy, ...] = ()
    etcd_endpoints: tuple[str, ...] = ()
    etcd_ca: Path | None = None
    etcd_certificate: Path | None = None
    etcd_key: Path | None = None
    nats_servers: tuple[str, ...] = ()
    nats_monitors: tuple[str, ...] = ()
    nats_ca: Path | None = None
    nats_certificate: Path | None = None
    nats_key: Path | None = None


@dataclass(frozen=True)
class HubAddress:
    """The hub a node belongs to: address, the one certificate it accepts there, and the first entry."""

    url: str
    certificate: bytes = field(repr=False)
    genesis: Path


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """What a node is started with, as in ``NODE_FIELDS``. ``hub`` is None before joining."""

    directory: Path
    name: str
    title: str
    role: Role
    net: str
    api_bind: str
    party_bind: str
    party_endpoint: str
    public_url: str | None
    did_hosts: tuple[str, ...]
    dataspace_bind: str | None
    dataspace_url: str | None
    dataspace_guests: tuple[bytes, ...]
    hub: HubAddress | None
    source_roots: tuple[Path, ...]
    api_hosts: tuple[str, ...] = ()
    flower_python: Path | None = None
    flower_apps: Path | None = None
    webhook_url: str | None = None
    webhook_certificate: bytes | None = None
    webhook_secret: Path | None = None
    database: str = field(repr=False)
    computes_for_members: bool
    max_clock_skew_s: int
    connect_timeout_s: int
    step_timeout_s: int
    final_timeout_s: int
    verify_processes: int
    separate_roles: tuple[frozenset[str], ...]
    password_memory_kib: int
    password_passes: int
    password_min_length: int
    totp_required: bool
    session_idle_s: int
    session_max_s: int
    signin_free_failures: int
    signin_wait_max_s: int
    signin_lock_after: int
    invitation_hours: int
    token_max_days: int
    oidc_issuer: str | None
    oidc_client_id: str | None
    oidc_client_secret: Path | None
    oidc_ca: Path | None
    oidc_account_claim: str
    oidc_groups_claim: str
    oidc_group_roles: tuple[tuple[str, str], ...]
    oidc_create_accounts: bool
    oidc_second_factor: tuple[tuple[str, str], ...]

    @property
    def hub_url(self) -> str:
        """Address of the hub, empty before joining."""
        return "" if self.hub is None else self.hub.url


@dataclass(frozen=True, kw_only=True)
class WitnessSettings:
    """What a witness is started with; the fields are those of ``WITNESS_FIELDS``."""

    directory: Path
    name: str
    bind: str
    mirror: bool
    database: str = field(repr=False)


def hub_settings(directory: Path, environ: Mapping[str, str]) -> HubSettings:
    """Read the settings of the hub in ``directory``.

    Raises:
        ConfigError: with every problem found.
    """
    return HubSettings(directory=directory, **_read(directory, "hub", environ))


def node_settings(directory: Path, environ: Mapping[str, str]) -> NodeSettings:
    """Read the settings of the node in ``directory``.

    Raises:
        ConfigError: with every problem found.
    """
    return _node(directory, _read(directory, "node", environ))


def witness_settings(directory: Path, environ: Mapping[str, str]) -> WitnessSettings:
    """Read the settings of the witness in ``directory``.

    Raises:
        ConfigError: with every problem found.
    """
    return WitnessSettings(directory=directory, **_read(directory, "witness", environ))


def load(path: Path, environ: Mapping[str, str]) -> HubSettings | NodeSettings | WitnessSettings:
    """Read the settings in ``path``, a data directory or the ``parley.toml`` in one, whatever their kind.

    Raises:
        ConfigError: with every problem found.
    """
    directory = path.parent if path.name == FILE_NAME else path
    kind = _load(directory).get("kind")
    if kind == "hub":
        return hub_settings(directory, environ)
    if kind == "witness":
        return witness_settings(directory, environ)
    return node_settings(directory, environ)


def check(path: Path, environ: Mapping[str, str] | None = None) -> list[Problem]:
    """Everything wrong with the settings in ``path``; see ``load``."""
    try:
        load(path, environ or {})
    except ConfigError as error:
        return list(error.problems)
    return []


def save(directory: Path, kind: Kind, values: Mapping[str, object]) -> None:
    """Write ``parley.toml`` with mode 0600. ``values`` are in the form of the file; None is left out.

    Raises:
        ConfigError: a value that ``hub_settings`` or ``node_settings`` would refuse; nothing is written.
    """
    private_directory(directory)
    known = _fields(kind)
    given = {name: value for name, value in values.items() if value is not None}
    _parse(directory, kind, {"kind": kind, **given}, {})
    lines = [
        f"# Settings of a Parley {kind}; PARLEY_<NAME> in the environment wins over a line here.",
        f'kind = "{kind}"',
    ]
    for entry in known:
        if entry.name in given:
            lines += ["", f"# {entry.description}", f"{entry.name} = {_toml(given[entry.name])}"]
    path = directory / FILE_NAME
    staged = path.with_suffix(".new")
    staged.touch(mode=0o600)
    staged.write_text("\n".join(lines) + "\n", encoding="utf-8")
    staged.replace(path)


def amend(directory: Path, values: Mapping[str, object]) -> None:
    """Set or, with None, take away single values of an existing file.

    Raises:
        ConfigError: the file as it would become is not usable; it stays as it was.
    """
    before = _load(directory)
    kinds: dict[object, Kind] = {"hub": "hub", "witness": "witness"}
    kind = kinds.get(before.pop("kind", None), "node")
    save(directory, kind, before | dict(values))


def _fields(kind: str) -> tuple[Field, ...]:
    return {"hub": HUB_FIELDS, "witness": WITNESS_FIELDS}.get(kind, NODE_FIELDS)


def _read(directory: Path, kind: str, environ: Mapping[str, str]) -> dict[str, Any]:
    problems = directory_problems(directory)
    if problems:
        raise ConfigError(problems)
    return _parse(directory, kind, _load(directory), environ)


def _load(directory: Path) -> dict[str, Any]:
    path = directory / FILE_NAME
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError([Problem(str(path), "a settings file", "nothing")]) from None
    except OSError as error:
        raise ConfigError([Problem(str(path), "a readable file", error.strerror or "an error")]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), "TOML", str(error))]) from None


def _parse(
    directory: Path, kind: str, given: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, Any]:
    problems: list[Problem] = []
    if given.get("kind") != kind:
        problems.append(Problem("kind", repr(kind), found(given.get("kind", ""))))
    known = _fields(kind)
    names = {entry.name for entry in known}
    problems += [
        Problem(name, f"one of {', '.join(sorted(names))}", "an unknown setting")
        for name in given
        if name not in names | {"kind"}
    ]
    values: dict[str, Any] = {}
    for entry in known:
        named = entry.variable if entry.variable in environ else entry.name
        value = environ.get(entry.variable, given.get(entry.name, entry.default))
        try:
            if value is ...:
                raise Unfit("a value", "nothing")
            values[entry.name] = None if value is None else entry.read(value, directory)
        except Unfit as unfit:
            problems.append(Problem(named, unfit.expected, unfit.actual))
    if kind == "node":
        problems += _joining_problems(values) + _pair_problems(values, DATASPACE, OIDC, WEBHOOK)
    problems += _pair_problems(values, *TOGETHER) if kind == "hub" else []
    if problems:
        raise ConfigError(problems)
    return values


def _joining_problems(values: Mapping[str, Any]) -> list[Problem]:
    """Joining sets three values; some without the others would leave a node that trusts half of a hub."""
    missing = [name for name in JOINING if name in values and values[name] is None]
    if len(missing) in (0, len(JOINING)):
        return []
    return [
        Problem(name, f"a value, because another of {', '.join(JOINING)} has one", "nothing")
        for name in missing
    ]


def _pair_problems(values: Mapping[str, Any], *pairs: tuple[str, str]) -> list[Problem]:
    return [
        Problem(name, f"a value, because {other} has one", "nothing")
        for pair in pairs
        for name, other in (pair, pair[::-1])
        if name in values and not values[name] and values.get(other)
    ]


def _node(directory: Path, values: dict[str, Any]) -> NodeSettings:
    url, certificate, genesis = (values.pop(name) for name in JOINING)
    hub = None if url is None else HubAddress(url, certificate, genesis)
    return NodeSettings(directory=directory, hub=hub, **values)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(part) for part in value)}]"
    if isinstance(value, str | Path):
        return json.dumps(str(value)).replace("\x7f", "\\u007f")  # a JSON string is a TOML string
    return str(value)
