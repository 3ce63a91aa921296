"""Form, start, enlarge and stop a consortium on one machine.

Everything an organisation does happens in a child process that knows that organisation's directory and
passphrase only: ``nodes/ORG`` and ``hub`` belong to those processes. Public papers (enrolments, the
genesis, the hub's record) pass through ``papers``; access for people lies in ``profiles``.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from exchange.config import amend
from exchange.errors import InvalidRequest, TimedOut
from exchange.local.errors import AlreadyUp, NotUp
from exchange.local.processes import (
    Running,
    await_ready,
    call,
    call_all,
    free_ports,
    is_alive,
    launch,
    parley,
    stop_all,
)
from exchange.sdk import NodeClient, NodeProblem, Profile
from exchange.signals import held_back
from ledger.membership import genesis_hash

__all__ = ["Consortium", "Member", "Steps"]

REGULATOR = "regulator"
HUB = "hub"
NET = "local.parley"
RANDOM = ("--passphrase-kind", "random")
ACTIVE = frozenset({"active"})
JOIN_S = 30.0
_POLL_S = 0.1
_CONTENTS = ("consortium.json", "hub", "nodes", "secrets", "profiles", "logs", "papers")

Steps = Callable[[str, int, int], None]
"""Told what is being done: a key of the message catalogue, parts done, parts in all."""


def _quiet(_key: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Member:
    """An organisation of a local consortium."""

    name: str
    role: str
    api: str
    party: str
    data: tuple[str, ...]


@dataclass
class Consortium:
    """A local consortium under ``home``. Make one with ``up`` or find a running one with ``find``."""

    home: Path
    members: dict[str, Member] = field(default_factory=dict)
    processes: dict[str, Running] = field(default_factory=dict)
    hub_member: str = ""
    hub_operator: str = ""
    genesis: str = ""
    _children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, repr=False)

    # --- finding one

    @classmethod
    def find(cls, home: Path) -> Consortium:
        """Read the consortium that was started from ``home``.

        Raises:
            NotUp: there is none.
        """
        home = home.resolve()
        try:
            document = json.loads((home / "consortium.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise NotUp(f"expected a consortium in {home}, found none; start one with `parley up`") from None
        found = cls(home, hub_member=document["hub"]["member"], hub_operator=document["hub"]["operator"])
        found.genesis = document["genesis"]
        for name, row in document["members"].items():
            found.members[name] = Member(**{**row, "data": tuple(row["data"])})
        found.processes = {name: Running(**row) for name, row in document["processes"].items()}
        return found

    # --- starting one

    @classmethod
    def up(
        cls,
        home: Path,
        orgs: Sequence[str],
        *,
        join: Sequence[str] = (),
        data: Mapping[str, Sequence[Path]],
        settings: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
        steps: Steps = _quiet,
    ) -> Consortium:
        """Form a consortium of ``orgs`` and start it; then admit those of ``join`` by vote.

        Args:
            home: an empty or new directory, or one with a stopped consortium, which starts again as it was.
            orgs: the founders' names, at least two; none where a stopped consortium starts again.
            join: organisations that are admitted by a proposal and votes once the founders run.
            data: directories from which an organisation's node may read, by name.
            settings: further settings of nodes, by name, as in their file.
            steps: told what is being done.

        Raises:
            AlreadyUp: one runs here, or a stopped one here has other members.
            ChildFailed: a process failed; whatever had been started is stopped and removed.
        """
        home = home.resolve()
        names = [*orgs, *join]
        if (home / "consortium.json").exists():
            return cls.find(home)._again(names, steps)
        if len(orgs) < 2 or len(set(names)) != len(names) or HUB in names:
            raise InvalidRequest(
                "--org", f"two or more different names, none {HUB!r}", ", ".join(names) or "none"
            )
        left = [name for name in _CONTENTS if (home / name).exists()]
        if left:
            raise AlreadyUp(f"expected an empty directory, found {', '.join(left)} in {home}")
        made = cls(home)
        total = 5 + len(join)
        try:
            steps("up.keys", 0, total)
            made._initialise(names, data)
            for name, values in settings.items():
                amend(made._directory(name), values)
            steps("up.genesis", 1, total)
            made._found(list(orgs))
            steps("up.start", 2, total)
            made._launch([HUB])
            call_all((made._join_command(name), None) for name in orgs)
            made._await_ready([HUB])
            made._start(list(orgs))
            for number, name in enumerate(join):
                steps("up.join", 3 + number, total)
                made._admit(name)
            steps("up.ready", total - 1, total)
            made._await_members(names, names, ACTIVE)
            made._save()
        except BaseException:
            made.stop()
            made.remove()
            raise
        steps("up.ready", total, total)
        return made

    def _again(self, names: Sequence[str], steps: Steps) -> Consortium:
        if names and set(names) != set(self.members):
            held, asked = ", ".join(sorted(self.members)), ", ".join(sorted(names))
            raise AlreadyUp(f"expected a consortium of {asked}, found one of {held} in {self.home}")
        alive = [name for name, running in self.processes.items() if is_alive(running)]
        if alive:
            raise AlreadyUp(
                f"expected no consortium in {self.home}, found {', '.join(sorted(alive))} running"
            )
        steps("up.start", 0, 1)
        try:
            self._start([HUB])
            self._start(list(self.members))
            self._await_members(list(self.members), list(self.members), ACTIVE)
        except BaseException:
            self.stop()
            raise
        self._save()
        steps("up.ready", 1, 1)
        return self

    def _initialise(self, names: Sequence[str], data: Mapping[str, Sequence[Path]]) -> None:
        for directory in ("nodes", "secrets", "profiles", "logs", "papers"):
            (self.home / directory).mkdir(mode=0o700, parents=True)
        ports = iter(free_ports(2 + 3 * len(names)))
        member, operator = (f"127.0.0.1:{next(ports)}" for _ in range(2))
        self.hub_member, self.hub_operator = f"https://{member}", f"https://{operator}"
        commands = [
            (
                parley(
                    *("hub", "init", "--dir", self._directory(HUB), "--net", NET, *RANDOM),
                    *("--origin", f"{NET}/log", "--member-bind", member, "--operator-bind", operator),
                    *("--out", self._paper("hub.json")),
                ),
                self._new_passphrase(HUB),
            )
        ]
        for name in names:
            api, party, connector = (f"127.0.0.1:{next(ports)}" for _ in range(3))
            role = REGULATOR if name == REGULATOR else "participant"
            roots = tuple(str(path.resolve()) for path in data.get(name, ()))
            self.members[name] = Member(name, role, f"https://{api}", party, roots)
            commands.append(
                (
                    parley(
                        *("node", "init", "--dir", self._directory(name), "--name", name, "--role", role),
                        *("--net", NET, "--api-bind", api, "--party-bind", party, *RANDOM),
                        *("--dataspace-bind", connector),
                        *(part for root in roots for part in ("--source-root", root)),
                        *("--out", self._paper(f"{name}.enrolment.json"), "--profiles", self.home),
                    ),
                    self._new_passphrase(name),
                )
            )
        call_all(commands)

    def _found(self, founders: Sequence[str]) -> None:
        draft, genesis = self._paper("genesis.draft"), self._paper("genesis.json")
        enrolments = [
            part for name in founders for part in ("--enrolment", self._paper(f"{name}.enrolment.json"))
        ]
        call(
            parley("hub", "draft-genesis", "--dir", self._directory(HUB), *enrolments, "--out", draft),
            passphrase=self._passphrase(HUB),
        )
        signed = {name: self._paper(f"{name}.genesis") for name in founders}
        call_all(
            (
                parley(
                    *("node", "sign-genesis", "--dir", self._directory(name)),
                    *("--draft", draft, "--out", signed[name]),
                ),
                self._passphrase(name),
            )
            for name in founders
        )
        parts = [part for path in signed.values() for part in ("--signed", path)]
        call(parley("hub", "install-genesis", "--dir", self._directory(HUB), *parts, "--out", genesis))
        self.genesis = genesis_hash(genesis.read_bytes())

    def _join_command(self, name: str) -> list[str]:
        return parley(
            *("node", "join", "--dir", self._directory(name), "--hub-url", self.hub_member),
            *("--hub-record", self._paper("hub.json"), "--genesis", self._paper("genesis.json")),
        )

    def _start(self, names: Sequence[str]) -> None:
        self._launch(names)
        self._await_ready(names)

    def _launch(self, names: Sequence[str]) -> None:
        for name in names:
            kind = HUB if name == HUB else "node"
            command = parley(kind, "run", "--dir", self._directory(name))
            passphrase = self._passphrase(name)
            with held_back():
                self.processes[name], self._children[name] = launch(
                    command, name=name, logs=self.home / "logs", passphrase=passphrase
                )

    def _await_ready(self, names: Sequence[str]) -> None:
        for name in names:
            await_ready(name, self.processes[name])

    def _admit(self, name: str) -> None:
        """Admit one more organisation: a proposal, the others' votes, then its own acknowledgement."""
        enrolment = json.loads(self._paper(f"{name}.enrolment.json").read_text(encoding="utf-8"))
        voters = [member for member in self.members if member in self.processes and member != name]
        proposer = REGULATOR if REGULATOR in voters else voters[0]
        with self.client(proposer) as node:
            proposal = str(node.propose([{"action": "member.add", "enrolment": enrolment}])["proposal"])
        for voter in voters:
            if voter != proposer:
                with self.client(voter) as node:
                    _approve(node, proposal)
        call(self._join_command(name))
        self._await_members([proposer], [name], ACTIVE | {"admitted"})
        self._start([name])

    def _await_members(self, at: Sequence[str], names: Sequence[str], statuses: Collection[str]) -> None:
        """Wait until the nodes ``at`` see all of ``names`` with one of ``statuses``."""
        deadline = time.monotonic() + JOIN_S
        for name in at:
            with self.client(name) as node:
                while missing := set(names) - {
                    row["name"] for row in node.members() if row["status"] in statuses
                }:
                    if time.monotonic() > deadline:
                        listed, wanted = ", ".join(sorted(missing)), " or ".join(sorted(statuses))
                        raise TimedOut(
                            f"expected {listed} to be {wanted} at {name}'s node within {JOIN_S:g} s"
                        )
                    time.sleep(_POLL_S)

    # --- using and stopping it

    def client(self, org: str) -> NodeClient:
        """Return a client of one organisation's node, with that organisation's profile."""
        return Profile.load(self.home, org).client()

    def status(self) -> list[dict[str, object]]:
        """List the processes: name, role, address, whether each runs."""
        rows: list[dict[str, object]] = []
        for name in (HUB, *self.members):
            running = self.processes.get(name)
            member = self.members.get(name)
            rows.append(
                {
                    "name": name,
                    "role": member.role if member else HUB,
                    "url": member.api if member else self.hub_operator,
                    "pid": running.pid if running else 0,
                    "running": running is not None and is_alive(running),
                }
            )
        return rows

    def stop(self) -> None:
        """Stop every process; nodes first, so that none waits for the hub."""
        nodes = [running for name, running in self.processes.items() if name != HUB]
        stop_all(nodes)
        stop_all([running for name, running in self.processes.items() if name == HUB])
        for child in self._children.values():
            child.poll()
        self._children.clear()

    def remove(self) -> None:
        """Delete a stopped consortium's directories."""
        for name in _CONTENTS:
            path = self.home / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def hub_directory(self) -> Path:
        """Return the hub's own directory, for commands that run as the hub's operator."""
        return self._directory(HUB)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- places

    def _directory(self, name: str) -> Path:
        return self.home / HUB if name == HUB else self.home / "nodes" / name

    def _paper(self, name: str) -> Path:
        return self.home / "papers" / name

    def _new_passphrase(self, name: str) -> str:
        made = secrets.token_urlsafe(24)
        path = self.home / "secrets" / name
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(made)
        return made

    def _passphrase(self, name: str) -> str:
        return (self.home / "secrets" / name).read_text(encoding="utf-8")

    def _save(self) -> None:
        document = {
            "genesis": self.genesis,
            "hub": {"member": self.hub_member, "operator": self.hub_operator},
            "members": {name: asdict(member) for name, member in self.members.items()},
            "processes": {name: asdict(running) for name, running in self.processes.items()},
        }
        fresh = self.home / "consortium.json.new"
        fresh.write_text(json.dumps(document, indent=1), encoding="utf-8")
        fresh.replace(self.home / "consortium.json")


def _approve(node: NodeClient, proposal: str) -> None:
    """Vote for a proposal as soon as this node's own ledger has it, unless the others' votes sufficed."""
    deadline = time.monotonic() + JOIN_S
    while True:
        status = next((row["status"] for row in node.proposals() if row["proposal"] == proposal), None)
        if status == "open":
            break
        if status is not None:
            return
        if time.monotonic() > deadline:
            raise TimedOut(f"expected {proposal} at {node.profile.org}'s node within {JOIN_S:g} s")
        time.sleep(_POLL_S)
    try:
        node.vote(proposal, approve=True)
    except NodeProblem as problem:
        if problem.extras.get("reason") != "proposal.closed":  # executed since the look above
            raise
