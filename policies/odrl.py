"""ODRL 2.2 policies of Parley's profile, read strictly.

A document is accepted whole or refused with the JSON path of its first fault: unknown keys, missing keys,
long lists, deep nesting, numbers with a fraction. Words are not judged here: an operand or action this
software does not know is kept, so the evaluator can refuse it with a reason that both parties read. Structure
and names follow the ODRL Information Model 2.2 and the Dataspace Protocol 2025-1 (an ``Agreement`` has
``@id``, ``target``, ``assigner``, ``assignee``, ``timestamp``; rules do not repeat ``target``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar, cast, get_args

from policies.errors import InvalidPolicy
from policies.values import parse_instant
from policies.vocabulary import CONTEXT, DUTY_PARTIES, PROFILE

__all__ = [
    "Constraint",
    "Duty",
    "LogicalConstraint",
    "Obligation",
    "Permission",
    "Policy",
    "Prohibition",
    "RightOperand",
    "Rule",
    "check_size",
]

MAX_DEPTH: Final = 8
MAX_ITEMS: Final = 256
MAX_TEXT: Final = 1024
MAX_NODES: Final = 16_384  # values of a document, and
MAX_TEXTS: Final = 131_072  # characters of all its texts: no aliasing or width makes reading it long
MAX_INTEGER: Final = 2**53 - 1  # what every JSON reader keeps exactly

RightOperand = str | int | tuple[str, ...]
Connective = Literal["and", "or", "xone", "andSequence"]
PolicyType = Literal["Set", "Offer", "Agreement"]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Constraint:
    """An atomic constraint: ``left_operand operator right_operand``."""

    left_operand: str
    operator: str
    right_operand: RightOperand

    @staticmethod
    def parse(value: object, path: str = "$", depth: int = 1) -> Constraint | LogicalConstraint:
        """Read an atomic or logical constraint.

        Raises:
            InvalidPolicy: naming the JSON path of the first fault.
        """
        if depth > MAX_DEPTH:
            raise InvalidPolicy(path, f"at most {MAX_DEPTH} levels of constraints", "a deeper one")
        members = _mapping(value, path)
        connectives = [word for word in get_args(Connective) if word in members]
        if connectives:
            word = connectives[0]
            _keys(members, path, required={word})
            parts = _list(
                members[word], f"{path}.{word}", lambda part, at: Constraint.parse(part, at, depth + 1)
            )
            return LogicalConstraint(cast("Connective", word), parts)
        _keys(members, path, required={"leftOperand", "operator", "rightOperand"})
        return Constraint(
            _text(members["leftOperand"], f"{path}.leftOperand"),
            _text(members["operator"], f"{path}.operator"),
            _right_operand(members["rightOperand"], f"{path}.rightOperand"),
        )

    def as_json(self) -> dict[str, object]:
        """Write the constraint as ODRL JSON."""
        right = list(self.right_operand) if isinstance(self.right_operand, tuple) else self.right_operand
        return {"leftOperand": self.left_operand, "operator": self.operator, "rightOperand": right}


@dataclass(frozen=True)
class LogicalConstraint:
    """Constraints joined by ``and``, ``or``, ``xone`` (exactly one) or ``andSequence`` (all, in order)."""

    connective: Connective
    parts: tuple[Constraint | LogicalConstraint, ...]

    def as_json(self) -> dict[str, object]:
        """Write the constraint as ODRL JSON."""
        return {self.connective: [part.as_json() for part in self.parts]}


@dataclass(frozen=True)
class Rule:
    """What permissions, prohibitions and duties share: an action under constraints.

    ``refinement`` narrows the action itself: compensating is refined to paying five points.
    """

    action: str
    constraint: tuple[Constraint | LogicalConstraint, ...] = ()
    refinement: tuple[Constraint | LogicalConstraint, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Write the rule as ODRL JSON; a rule without constraints has no ``constraint`` key."""
        written: dict[str, object] = {"action": self.action}
        if self.refinement:
            written["action"] = {
                "rdf:value": {"@id": f"{_ODRL}{self.action}"},
                "refinement": [part.as_json() for part in self.refinement],
            }
        if self.constraint:
            written["constraint"] = [part.as_json() for part in self.constraint]
        return written


@dataclass(frozen=True)
class Duty(Rule):
    """The action must have been performed, for each of ``party`` where they are named.

    Inside a permission it is a condition of that permission; as an ``Obligation`` it stands for itself.
    """

    party: tuple[str, ...] = ()

    @staticmethod
    def parse(value: object, path: str = "$") -> Duty:
        """Read a duty, or raise ``InvalidPolicy``."""
        return Duty(*_rule(value, path, _PARTY_KEYS), party=_party(value, path))

    def as_json(self) -> dict[str, object]:
        """Write the duty as ODRL JSON."""
        named = {DUTY_PARTIES[self.action]: list(self.party)} if self.party else {}
        return super().as_json() | named


@dataclass(frozen=True)
class Permission(Rule):
    """The action is allowed while every constraint holds and every duty is fulfilled."""

    duty: tuple[Duty, ...] = ()

    @staticmethod
    def parse(value: object, path: str = "$") -> Permission:
        """Read a permission, or raise ``InvalidPolicy``."""
        parts = _rule(value, path, frozenset({"duty"}))
        members = _mapping(value, path)
        duty = _list(members["duty"], f"{path}.duty", Duty.parse) if "duty" in members else ()
        return Permission(*parts, duty=duty)

    def as_json(self) -> dict[str, object]:
        """Write the permission as ODRL JSON."""
        return super().as_json() | ({"duty": [duty.as_json() for duty in self.duty]} if self.duty else {})


@dataclass(frozen=True)
class Prohibition(Rule):
    """The action is forbidden while the constraints hold; it wins over any permission."""

    @staticmethod
    def parse(value: object, path: str = "$") -> Prohibition:
        """Read a prohibition, or raise ``InvalidPolicy``."""
        return Prohibition(*_rule(value, path))


@dataclass(frozen=True)
class Obligation(Duty):
    """A duty of the policy itself: it must have been performed when the constraints hold."""

    @staticmethod
    def parse(value: object, path: str = "$") -> Obligation:
        """Read an obligation, or raise ``InvalidPolicy``."""
        return Obligation(*_rule(value, path, _PARTY_KEYS), party=_party(value, path))


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A whole policy: a set, an offer by an assigner, or an agreement between two parties."""

    type: PolicyType
    uid: str | None = None
    target: str | None = None
    assigner: str | None = None
    assignee: str | None = None
    timestamp: str | None = None
    permission: tuple[Permission, ...] = ()
    prohibition: tuple[Prohibition, ...] = ()
    obligation: tuple[Obligation, ...] = ()

    @staticmethod
    def parse(value: object) -> Policy:
        """Read a policy document.

        Raises:
            InvalidPolicy: naming the JSON path of the first fault.
        """
        check_size(value)
        members = _mapping(value, "$")
        kind = members.get("@type")
        if not isinstance(kind, str) or kind not in _REQUIRED:
            raise InvalidPolicy("$.@type", "one of Set, Offer, Agreement", _describe(kind))
        _keys(members, "$", required=_REQUIRED[kind] | {"@context", "@type", "profile"}, optional=_OPTIONAL)
        if members["@context"] != list(CONTEXT):
            raise InvalidPolicy("$.@context", f"exactly {list(CONTEXT)}", _describe(members["@context"]))
        if members["profile"] != PROFILE:
            raise InvalidPolicy("$.profile", PROFILE, _describe(members["profile"]))
        policy = Policy(
            type=cast("PolicyType", kind),
            uid=_optional_text(members, "@id"),
            target=_optional_text(members, "target"),
            assigner=_optional_text(members, "assigner"),
            assignee=_optional_text(members, "assignee"),
            timestamp=_optional_text(members, "timestamp"),
            permission=_list(members.get("permission", ()), "$.permission", Permission.parse, minimum=0),
            prohibition=_list(members.get("prohibition", ()), "$.prohibition", Prohibition.parse, minimum=0),
            obligation=_list(members.get("obligation", ()), "$.obligation", Obligation.parse, minimum=0),
        )
        if policy.timestamp is not None and parse_instant(policy.timestamp) is None:
            raise InvalidPolicy("$.timestamp", "a time like 2026-11-23T10:00:00Z", "another form")
        if not (policy.permission or policy.prohibition or policy.obligation):
            raise InvalidPolicy("$", "at least one permission, prohibition or obligation", "none")
        return policy

    def as_json(self) -> dict[str, object]:
        """Write the policy as ODRL JSON; ``Policy.parse`` reads it back equal."""
        written: dict[str, object] = {"@context": list(CONTEXT), "@type": self.type, "profile": PROFILE}
        named = {
            "@id": self.uid,
            "target": self.target,
            "assigner": self.assigner,
            "assignee": self.assignee,
            "timestamp": self.timestamp,
        }
        written |= {key: text for key, text in named.items() if text is not None}
        rules: dict[str, Sequence[Rule]] = {
            "permission": self.permission,
            "prohibition": self.prohibition,
            "obligation": self.obligation,
        }
        return written | {key: [rule.as_json() for rule in group] for key, group in rules.items() if group}


_REQUIRED: Final[Mapping[str, frozenset[str]]] = {
    "Set": frozenset(),
    "Offer": frozenset({"assigner"}),
    "Agreement": frozenset({"@id", "target", "assigner", "assignee", "timestamp"}),
}
_OPTIONAL: Final = frozenset(
    {"@id", "target", "assigner", "assignee", "timestamp", "permission", "prohibition", "obligation"}
)


_ODRL: Final = "odrl:"
_PARTY_KEYS: Final = frozenset(DUTY_PARTIES.values())
_Constraints = tuple["Constraint | LogicalConstraint", ...]


def _rule(
    value: object, path: str, optional: frozenset[str] = frozenset()
) -> tuple[str, _Constraints, _Constraints]:
    members = _mapping(value, path)
    _keys(members, path, required={"action"}, optional=optional | {"constraint"})
    constraints: _Constraints = ()
    if "constraint" in members:
        constraints = _list(members["constraint"], f"{path}.constraint", Constraint.parse)
    action, refinement = _action(members["action"], f"{path}.action")
    return action, constraints, refinement


def _action(value: object, path: str) -> tuple[str, _Constraints]:
    if not isinstance(value, Mapping):
        return _text(value, path), ()
    members = _mapping(value, path)
    _keys(members, path, required={"rdf:value", "refinement"})
    named = _mapping(members["rdf:value"], f"{path}.rdf:value")
    _keys(named, f"{path}.rdf:value", required={"@id"})
    iri = _text(named["@id"], f"{path}.rdf:value.@id")
    if not iri.startswith(_ODRL) or iri == _ODRL:
        raise InvalidPolicy(f"{path}.rdf:value.@id", f"an action like {_ODRL}use", _describe(iri))
    return iri.removeprefix(_ODRL), _list(members["refinement"], f"{path}.refinement", Constraint.parse)


def _party(value: object, path: str) -> tuple[str, ...]:
    """Read the parties of a duty, under the key that belongs to its action."""
    members = _mapping(value, path)
    action, _ = _action(members["action"], f"{path}.action")
    for key in sorted(_PARTY_KEYS & set(members)):
        if key != DUTY_PARTIES.get(action):
            raise InvalidPolicy(f"{path}.{key}", f"no such key with {_shorten(action)}", "it")
        return _texts(members[key], f"{path}.{key}")
    return ()


def check_size(value: object) -> None:
    """Refuse a document of too many values before any of it is read; one that contains itself never ends.

    Raises:
        InvalidPolicy: it has more than ``MAX_NODES`` values, or its texts are longer than ``MAX_TEXTS``.
    """
    waiting, seen, length = [value], 0, 0
    while waiting:
        item = waiting.pop()
        seen += 1
        if isinstance(item, str):
            length += len(item)
        elif isinstance(item, Mapping):
            waiting.extend(item.values())
            length += sum(len(key) for key in item if isinstance(key, str))
        elif isinstance(item, list | tuple):
            waiting.extend(item)
        if seen + len(waiting) > MAX_NODES or length > MAX_TEXTS:
            raise InvalidPolicy("$", f"at most {MAX_NODES} values and {MAX_TEXTS} characters", "more")


def _right_operand(value: object, path: str) -> RightOperand:
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > MAX_INTEGER:
            raise InvalidPolicy(path, f"an integer within ±{MAX_INTEGER}", "a larger one")
        return value
    if isinstance(value, list | tuple):
        return _texts(value, path)
    raise InvalidPolicy(path, "a text, an integer or a list of texts", _describe(value))


def _texts(value: object, path: str) -> tuple[str, ...]:
    texts = _list(value, path, _text)
    if len(set(texts)) != len(texts):
        raise InvalidPolicy(path, "distinct texts", "a repeated one")
    return texts


def _mapping(value: object, path: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidPolicy(path, "an object", _describe(value))
    return value


def _keys(
    members: Mapping[str, object],
    path: str,
    *,
    required: set[str] | frozenset[str],
    optional: set[str] | frozenset[str] = frozenset(),
) -> None:
    for key in sorted(members):
        if key not in required and key not in optional:
            raise InvalidPolicy(f"{path}.{_shorten(key)}", "no such key in this profile", "an unknown key")
    for key in sorted(required):
        if key not in members:
            raise InvalidPolicy(f"{path}.{key}", "a value", "nothing")


def _list(
    value: object, path: str, parse: Callable[[object, str], _T], *, minimum: int = 1
) -> tuple[_T, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidPolicy(path, "a list", _describe(value))
    if not minimum <= len(value) <= MAX_ITEMS:
        raise InvalidPolicy(path, f"{minimum} to {MAX_ITEMS} items", f"{len(value)} items")
    return tuple(parse(item, f"{path}[{index}]") for index, item in enumerate(value))


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise InvalidPolicy(path, "a text", _describe(value))
    if not 1 <= len(value) <= MAX_TEXT:
        raise InvalidPolicy(path, f"a text of 1 to {MAX_TEXT} characters", f"{len(value)} characters")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidPolicy(path, "a text of Unicode characters", "a lone surrogate")
    return value


def _optional_text(members: Mapping[str, object], key: str) -> str | None:
    return _text(members[key], f"$.{key}") if key in members else None


def _describe(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "a truth value"
        case str():
            return f"the text {_shorten(value)!r}"
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
        case _:
            return f"a value of type {type(value).__name__}"


def _shorten(text: str) -> str:
    return text if len(text) <= 64 else text[:61] + "..."
