"""For tests: a consortium with a hub in this process, on real TLS over loopback, and members without nodes.

Public, because whoever writes a member's side of the hub needs it. Everything here is for tests only: the
passphrase is known and cheap to guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from exchange.config import HubSettings, hub_settings
from exchange.hub import setup
from exchange.hub.daemon import Hub
from exchange.hub.files import KEYS_FILE
from exchange.identity import Cost, NodeKeys
from exchange.node.hub_client import HubClient
from ledger.checkpoints import cosign
from ledger.entries import Draft, new_ulid
from ledger.notes import Note
from ledger.times import format_time, system_clock

__all__ = ["NET", "PASSPHRASE", "Founded", "found"]

NET = "example"
PASSPHRASE = "for tests only"  # noqa: S105 - that is what it is

_CHEAP = Cost(1, 64 * 1024)
_ANY_PORT = "127.0.0.1:0"


@dataclass(frozen=True)
class Founded:
    """A hub's directory with an installed genesis, and the keys of everybody."""

    settings: HubSettings
    hub_keys: NodeKeys
    members: Mapping[str, NodeKeys]
    genesis: bytes

    def hub(self) -> Hub:
        """A hub of this consortium, not started yet, on free ports."""
        return Hub(self.settings, self.hub_keys)

    def connect(self, hub: Hub, name: str) -> HubClient:
        """Connect as a member."""
        return self.connect_as(hub, self.members[name])

    def connect_as(self, hub: Hub, keys: NodeKeys, *, certificate: bytes | None = None) -> HubClient:
        """Connect with any keys, pinning the hub's certificate or another one."""
        url = f"https://127.0.0.1:{hub.member_port}"
        return HubClient(url, keys, certificate or self.hub_keys.tls_cert, pause=lambda _: None)

    def entry(self, name: str, entry_type: str, body: Mapping[str, object]) -> bytes:
        """Sign an entry as a member."""
        keys, now = self.members[name], system_clock()
        exp = format_time(now + timedelta(hours=1))
        draft = Draft(NET, entry_type, keys.did, dict(body), exp=exp, seq=new_ulid(system_clock))
        return draft.sign(keys.kid, keys.tx).encode()

    def cosign(self, hub: Hub, *names: str) -> None:
        """Cosign the hub's newest checkpoint as these members, without recomputing anything."""
        log = hub.services.log
        text = Note.parse(log.checkpoint_of(log.size)).text
        for name in names:
            line = cosign(text, f"{NET}/{name}", self.members[name].cosign, int(system_clock().timestamp()))
            log.add_cosignature(int(text.split("\n")[1]), line.encode())


def found(directory: Path, *names: str, database: str | None = None, engine: str = "sql") -> Founded:
    """Make a hub in ``directory`` and have members of these names found its consortium."""
    setup.init(
        directory,
        net=NET,
        origin="hub.example/log",
        member_bind="127.0.0.1:7001",
        operator_bind="127.0.0.1:7002",
        host="127.0.0.1",
        passphrase=PASSPHRASE,
        cost=_CHEAP,
    )
    members = {name: NodeKeys.generate(name, NET, "127.0.0.1") for name in names}
    enrolments = [
        keys.enrolment(keys.member_record("participant", name.title(), f"127.0.0.1:{8000 + number}"))
        for number, (name, keys) in enumerate(members.items())
    ]
    draft = setup.draft_genesis(directory, enrolments, PASSPHRASE, engine=engine)
    for keys in members.values():
        draft = setup.add_signature(draft, keys)
    settings = replace(hub_settings(directory, {}), member_bind=_ANY_PORT, operator_bind=_ANY_PORT)
    if database is not None:
        settings = replace(settings, database=database)
    genesis = setup.install_genesis(directory, draft)
    return Founded(settings, NodeKeys.load(directory / KEYS_FILE, PASSPHRASE), members, genesis)
