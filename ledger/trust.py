"""Trust policies (C2SP tlog-policy): which logs and which quorum of witnesses make a checkpoint valid.

A policy file lists logs, named witnesses, and groups of witnesses and groups with a threshold; one line names
the quorum. Names, URLs and comments are opaque octets, kept as ``surrogateescape`` text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ledger.checkpoints import Checkpoint, cosignature_time, signers
from ledger.errors import MalformedKey, MalformedPolicy, UnverifiedNote
from ledger.notes import ED25519, Note, Vkey

__all__ = ["Endorsement", "Group", "TrustPolicy", "encode_policy"]

NONE = "none"
"""The predefined quorum that asks for no cosignature."""

_MAX_SIZE = 1 << 20
_MAX_DEFINITIONS = 256
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_BLANKS = re.compile(r"[ \t]+")
_THRESHOLD = re.compile(r"[1-9][0-9]{0,3}")


@dataclass(frozen=True)
class Group:
    """Witnesses and groups of which ``threshold`` must have witnessed a checkpoint."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Endorsement:
    """What a policy found on a checkpoint: the log that signed it, the witnesses and their Unix times."""

    checkpoint: Checkpoint
    log: Vkey
    times: Mapping[str, int]


@dataclass(frozen=True)
class TrustPolicy:
    """A parsed policy. ``groups`` are in the order of the file: each names only what stands before it.

    Attributes:
        logs: accepted logs, each with its URL or None.
        witnesses: by name, each with its URL or None.
        groups: thresholds over witnesses and groups.
        quorum: name of a witness, of a group, or ``none``.
    """

    logs: tuple[tuple[Vkey, str | None], ...]
    witnesses: Mapping[str, tuple[Vkey, str | None]]
    groups: tuple[Group, ...]
    quorum: str

    @classmethod
    def parse(cls, data: bytes) -> TrustPolicy:
        """Read a policy file of at most 1 MiB, with at most 256 logs, witnesses and groups each.

        Raises:
            MalformedPolicy: the first line that is not as it should be, by its number.
        """
        if len(data) > _MAX_SIZE:
            raise MalformedPolicy(0, f"expected at most {_MAX_SIZE} bytes, got {len(data)}")
        reader = _Reader()
        lines = data.split(b"\n")
        for number, line in enumerate(lines[:-1], start=1):
            reader.read(number, line)
        if lines[-1]:
            raise MalformedPolicy(len(lines), "expected a newline at the end of the line")
        if reader.quorum is None:
            raise MalformedPolicy(0, "expected a quorum line, got none")
        return cls(tuple(reader.logs), reader.witnesses, tuple(reader.groups), reader.quorum)

    def encode(self) -> bytes:
        """Write the file, without comments: logs, witnesses, groups, quorum."""
        lines = [_line("log", vkey.encode(), url) for vkey, url in self.logs]
        lines += [_line("witness", name, vkey.encode(), url) for name, (vkey, url) in self.witnesses.items()]
        lines += [_line("group", group.name, str(group.threshold), *group.members) for group in self.groups]
        lines.append(_line("quorum", self.quorum))
        return "".join(lines).encode(errors="surrogateescape")

    def is_met(self, cosigned: Iterable[str]) -> bool:
        """Tell whether the witnesses of these names are a quorum."""
        met = {NONE, *(name for name in cosigned if name in self.witnesses)}
        for group in self.groups:
            if sum(member in met for member in group.members) >= group.threshold:
                met.add(group.name)
        return self.quorum in met

    def check(self, note: Note, *, log: Vkey | None = None) -> Endorsement:
        """Check a checkpoint against this policy.

        Args:
            note: the checkpoint with its signatures.
            log: a further log to accept, for a policy that names none.

        Raises:
            MalformedNote: the note is not a checkpoint.
            UnverifiedNote: no listed log of that origin signed it, a known key's signature does not verify,
                or the witnesses who cosigned it are no quorum.
        """
        checkpoint = Checkpoint.parse(note.text)
        accepted = [vkey for vkey, _ in self.logs] + ([] if log is None else [log])
        signed = list(signers(note, [vkey for vkey in accepted if vkey.name == checkpoint.origin]))
        if not signed:
            raise UnverifiedNote("expected a checkpoint signed by a log of this policy, got none")
        by_vkey = {vkey: name for name, (vkey, _) in self.witnesses.items()}
        found = signers(note, by_vkey)
        times = {by_vkey[vkey]: cosignature_time(line) for vkey, line in found.items()}
        if not self.is_met(times):
            raise UnverifiedNote(
                f"expected the quorum {_shown(self.quorum)}, got cosignatures of {len(times)} of "
                f"{len(self.witnesses)} witnesses that do not make it"
            )
        return Endorsement(checkpoint, signed[0], times)


def encode_policy(
    log: Vkey,
    members: Sequence[Vkey],
    quorum: int,
    *,
    regulators: Sequence[Vkey] = (),
    regulators_needed: int = 0,
    witnesses: Sequence[Vkey] = (),
) -> bytes:
    """Write the policy that asks for the log's signature and those of ``quorum`` members.

    A policy names each key in one group, so a quorum with regulators in it is written as two groups. That is
    exact when all regulators are needed, or only one is there; with some of several needed, the file asks for
    the others of the quorum among those that are no regulators, which is more than the rule does.

    Args:
        log: the log.
        members: the members' cosigning keys; with none of them the quorum is ``none``.
        quorum: how many of them.
        regulators: those of them that may have a veto.
        regulators_needed: how many regulators must be among the quorum.
        witnesses: outside witnesses, named in the file without being part of the quorum.
    """
    listed = {vkey.name: (vkey, None) for vkey in sorted(members, key=lambda vkey: vkey.name)}
    names = tuple(listed)
    groups = _groups(names, quorum, tuple(sorted(vkey.name for vkey in regulators)), regulators_needed)
    outside = {f"{vkey.name}#{vkey.id.hex()}": (vkey, None) for vkey in witnesses}
    return TrustPolicy(((log, None),), listed | outside, groups, "members" if names else NONE).encode()


def _groups(
    names: tuple[str, ...], quorum: int, regulators: tuple[str, ...], needed: int
) -> tuple[Group, ...]:
    if not names:
        return ()
    others = tuple(name for name in names if name not in regulators)
    if not needed or quorum - len(others) >= needed:  # so many members have enough regulators among them
        return (Group("members", quorum, names),)
    if quorum <= needed:
        return (Group("members", needed, regulators),)
    return (
        Group("regulators", needed, regulators),
        Group("others", quorum - needed, others),
        Group("members", 2, ("regulators", "others")),
    )


@dataclass
class _Reader:
    """The definitions read so far."""

    logs: list[tuple[Vkey, str | None]] = field(default_factory=list)
    witnesses: dict[str, tuple[Vkey, str | None]] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    quorum: str | None = None
    names: set[str] = field(default_factory=lambda: {NONE})
    grouped: set[str] = field(default_factory=set)

    def read(self, number: int, line: bytes) -> None:
        if _CONTROL.search(line):
            raise MalformedPolicy(number, "expected no control characters but tabs")
        stripped = line.decode(errors="surrogateescape").strip(" \t")
        if not stripped or stripped.startswith("#"):
            return
        word, *items = _BLANKS.split(stripped)
        read = {"log": self._log, "witness": self._witness, "group": self._group, "quorum": self._quorum}
        if word not in read:
            raise MalformedPolicy(number, f"expected log, witness, group or quorum, got {_shown(word)}")
        read[word](number, items)

    def _log(self, number: int, items: Sequence[str]) -> None:
        if len(items) not in (1, 2):
            raise MalformedPolicy(number, f"expected log <vkey> [<url>], got {len(items)} items")
        _check_room(number, "logs", len(self.logs))
        vkey = _vkey(number, items[0])
        if any(vkey.public == other.public for other, _ in self.logs):
            raise MalformedPolicy(number, "expected a log that is not listed before, got its key again")
        self.logs.append((vkey, items[1] if len(items) == 2 else None))

    def _witness(self, number: int, items: Sequence[str]) -> None:
        if len(items) not in (2, 3):
            raise MalformedPolicy(number, f"expected witness <name> <vkey> [<url>], got {len(items)} items")
        _check_room(number, "witnesses", len(self.witnesses))
        vkey = _vkey(number, items[1])
        if vkey.type == ED25519:
            raise MalformedPolicy(number, "expected a cosignature key, got a plain Ed25519 key")
        if any(vkey.public == other.public for other, _ in self.witnesses.values()):
            raise MalformedPolicy(number, "expected a witness that is not listed before, got its key again")
        self.witnesses[self._define(number, items[0])] = (vkey, items[2] if len(items) == 3 else None)

    def _group(self, number: int, items: Sequence[str]) -> None:
        if len(items) < 3:
            raise MalformedPolicy(
                number, f"expected group <name> all|any|<k> <name>..., got {len(items)} items"
            )
        _check_room(number, "groups", len(self.groups))
        name, rule, *members = items
        for member in members:
            if member == NONE or member not in self.names:
                raise MalformedPolicy(number, f"expected a name defined before, got {_shown(member)}")
            if member in self.grouped:
                raise MalformedPolicy(number, f"expected each name in one group, got {_shown(member)} again")
            self.grouped.add(member)
        threshold = {"all": len(members), "any": 1}.get(rule)
        if threshold is None:
            threshold = int(rule) if _THRESHOLD.fullmatch(rule) else 0
        if not 1 <= threshold <= len(members):
            raise MalformedPolicy(number, f"expected all, any or 1 to {len(members)}, got {_shown(rule)}")
        self.groups.append(Group(self._define(number, name), threshold, tuple(members)))

    def _quorum(self, number: int, items: Sequence[str]) -> None:
        if self.quorum is not None:
            raise MalformedPolicy(number, "expected one quorum line, got a second")
        if len(items) != 1:
            raise MalformedPolicy(number, f"expected quorum <name>, got {len(items)} items")
        if items[0] not in self.names:
            raise MalformedPolicy(number, f"expected a name defined before, got {_shown(items[0])}")
        self.quorum = items[0]

    def _define(self, number: int, name: str) -> str:
        if name in self.names:
            raise MalformedPolicy(number, f"expected a new name, got {_shown(name)} again")
        self.names.add(name)
        return name


def _check_room(number: int, what: str, count: int) -> None:
    if count >= _MAX_DEFINITIONS:
        raise MalformedPolicy(number, f"expected at most {_MAX_DEFINITIONS} {what}")


def _vkey(number: int, text: str) -> Vkey:
    try:
        return Vkey.parse(text)
    except MalformedKey as exc:
        raise MalformedPolicy(number, str(exc)) from exc


def _line(*items: str | None) -> str:
    return " ".join(item for item in items if item is not None) + "\n"


def _shown(name: str) -> str:
    """Quote a name of the file for a message, whatever its octets are."""
    return repr(name.encode(errors="surrogateescape")[:64])[1:]
