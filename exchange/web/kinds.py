"""The kinds of value a request field may have: how each is read, and how each looks in JSON Schema.

``kind_of`` finds the kind that a type annotation stands for. A kind reads strictly: it returns the value or
raises ``InvalidRequest`` with the field's path, what was expected and what was found.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import (
    Annotated,
    Any,
    Literal,
    NoReturn,
    Protocol,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from exchange.errors import InvalidRequest

__all__ = ["Kind", "Record", "Rule", "join", "kind_of", "read_as", "short"]

T = TypeVar("T")

LONGEST_TEXT = 10_000
LONGEST_LIST = 10_000


@dataclass(frozen=True)
class Rule:
    """Limits and words for one field.

    Attributes:
        description: what the field holds, in a few words; error messages say it too.
        minimum: least value of a number, least length of a text or list.
        maximum: greatest value of a number, greatest length of a text or list.
        pattern: regular expression that a text must match as a whole.
    """

    description: str = ""
    minimum: int | None = None
    maximum: int | None = None
    pattern: str | None = None


class Kind(Protocol):
    """One kind of value."""

    @property
    def words(self) -> str:
        """Say what is accepted, for an error message."""

    def read(self, value: object, where: str) -> Any:  # noqa: ANN401
        """Return ``value`` checked; ``where`` is its path.

        Raises:
            InvalidRequest: it is of another kind or outside its limits.
        """

    def from_text(self, text: str) -> object:
        """Convert a query parameter to what ``read`` takes; what does not convert is left to ``read``."""

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of what is accepted."""


class _Plain:
    """What most kinds share."""

    def from_text(self, text: str) -> object:
        return text


@dataclass(frozen=True)
class Text(_Plain):
    """A text within a length, perhaps of a pattern."""

    rule: Rule

    @property
    def words(self) -> str:
        return self.rule.description or "a text"

    def read(self, value: object, where: str) -> str:
        if not isinstance(value, str):
            refuse(where, self.words, value)
        _within(self.rule, len(value), where, LONGEST_TEXT, " characters")
        if self.rule.pattern is not None and not re.fullmatch(self.rule.pattern, value):
            refuse(where, self.rule.description or f"a text that matches {self.rule.pattern}", value)
        return value

    def schema(self) -> dict[str, Any]:
        pattern = f"^(?:{self.rule.pattern})$" if self.rule.pattern else None
        return _without_nothing(
            type="string",
            description=self.rule.description,
            minLength=self.rule.minimum,
            maxLength=self.rule.maximum,
            pattern=pattern,
        )


@dataclass(frozen=True)
class Whole:
    """A whole number within limits. JSON's ``1.0`` is none, and neither is ``true``."""

    rule: Rule

    @property
    def words(self) -> str:
        return self.rule.description or "a whole number"

    def read(self, value: object, where: str) -> int:
        if type(value) is not int:
            refuse(where, self.words, value)
        _within(self.rule, value, where, None, "")
        return value

    def from_text(self, text: str) -> object:
        return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text

    def schema(self) -> dict[str, Any]:
        return _without_nothing(
            type="integer",
            description=self.rule.description,
            minimum=self.rule.minimum,
            maximum=self.rule.maximum,
        )


@dataclass(frozen=True)
class Flag:
    """True or false."""

    rule: Rule
    words: str = "true or false"

    def read(self, value: object, where: str) -> bool:
        if not isinstance(value, bool):
            refuse(where, self.words, value)
        return value

    def from_text(self, text: str) -> object:
        return {"1": True, "true": True, "0": False, "false": False}.get(text, text)

    def schema(self) -> dict[str, Any]:
        return _without_nothing(type="boolean", description=self.rule.description)


@dataclass(frozen=True)
class Choice(_Plain):
    """One of some texts; ``make`` turns it into the enumeration's member."""

    rule: Rule
    options: tuple[str, ...]
    make: type[StrEnum] | None

    @property
    def words(self) -> str:
        return f"one of {', '.join(self.options)}"

    def read(self, value: object, where: str) -> str:
        if not isinstance(value, str) or value not in self.options:
            refuse(where, self.words, value)
        return self.make(value) if self.make else value

    def schema(self) -> dict[str, Any]:
        return _without_nothing(type="string", enum=list(self.options), description=self.rule.description)


@dataclass(frozen=True)
class Items(_Plain):
    """A list of values of one kind, read as a tuple."""

    rule: Rule
    item: Kind
    words: str = "a list"

    def read(self, value: object, where: str) -> tuple[object, ...]:
        if not isinstance(value, list):
            refuse(where, self.words, value)
        _within(self.rule, len(value), where, LONGEST_LIST, " items")
        return tuple(self.item.read(item, f"{where}[{place}]") for place, item in enumerate(value))

    def schema(self) -> dict[str, Any]:
        return _without_nothing(
            type="array",
            items=self.item.schema(),
            description=self.rule.description,
            minItems=self.rule.minimum,
            maxItems=self.rule.maximum,
        )


@dataclass(frozen=True)
class Table(_Plain):
    """An object with free names and values of one kind."""

    rule: Rule
    item: Kind
    words: str = "an object"

    def read(self, value: object, where: str) -> dict[str, object]:
        if not isinstance(value, dict):
            refuse(where, self.words, value)
        _within(self.rule, len(value), where, LONGEST_LIST, " members")
        return {name: self.item.read(item, join(where, short(name))) for name, item in value.items()}

    def schema(self) -> dict[str, Any]:
        return _without_nothing(
            type="object", additionalProperties=self.item.schema(), description=self.rule.description
        )


@dataclass(frozen=True)
class Optional(_Plain):
    """A value or null."""

    kind: Kind

    @property
    def words(self) -> str:
        return self.kind.words

    def read(self, value: object, where: str) -> object:
        return None if value is None else self.kind.read(value, where)

    def from_text(self, text: str) -> object:
        return self.kind.from_text(text)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.kind.schema(), {"type": "null"}]}


@dataclass(frozen=True)
class Anything(_Plain):
    """Any JSON value; what it means is checked elsewhere."""

    rule: Rule
    words: str = "a value"

    def read(self, value: object, where: str) -> object:
        return value

    def schema(self) -> dict[str, Any]:
        return _without_nothing(description=self.rule.description)


@dataclass(frozen=True)
class Record(_Plain):
    """An object with the fields of a dataclass. A field with a default may be left out, no other may."""

    make: type
    fields: tuple[tuple[str, Kind], ...]
    required: frozenset[str]
    words: str = "an object"

    def read(self, value: object, where: str) -> Any:  # noqa: ANN401
        """Build the dataclass from an object that has exactly its fields."""
        if not isinstance(value, dict):
            refuse(where, self.words, value)
        kinds = dict(self.fields)
        for name in value:
            if name not in kinds:
                expected = f"one of {', '.join(kinds)}" if kinds else "no fields"
                raise InvalidRequest(join(where, short(name)), expected, "an unknown field")
        for name, kind in self.fields:
            if name in self.required and name not in value:
                raise InvalidRequest(join(where, name), kind.words, "nothing")
        return self.make(**{name: kinds[name].read(item, join(where, name)) for name, item in value.items()})

    def schema(self) -> dict[str, Any]:
        """Return a closed object schema; its description is the dataclass's first line."""
        return _without_nothing(
            type="object",
            description=(self.make.__doc__ or "").strip().partition("\n")[0],
            properties={name: kind.schema() for name, kind in self.fields},
            required=[name for name, _ in self.fields if name in self.required],
            additionalProperties=False,
        )


def kind_of(hint: Any, rule: Rule = Rule()) -> Kind:  # noqa: ANN401
    """Find the kind that a type annotation stands for.

    Raises:
        TypeError: a request field cannot have that type.
    """
    return _kind_of(hint, rule)


@functools.cache
def _kind_of(hint: Any, rule: Rule) -> Kind:  # noqa: ANN401
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return kind_of(arguments[0], arguments[1])
    if origin in (Union, types.UnionType) and len(arguments) == 2 and arguments[1] is type(None):
        return Optional(kind_of(arguments[0], rule))
    if origin is Literal:
        return Choice(rule, arguments, None)
    if origin is tuple and arguments[1:] == (...,):
        return Items(rule, kind_of(arguments[0]))
    if origin is dict and arguments[0] is str:
        return Table(rule, kind_of(arguments[1]))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return Choice(rule, tuple(hint), hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _record(hint)
    scalars: dict[object, Callable[[Rule], Kind]] = {str: Text, int: Whole, bool: Flag, object: Anything}
    if hint not in scalars:
        raise TypeError(f"expected a type that a request field can have, got {hint!r}")
    return scalars[hint](rule)


def read_as(hint: type[T], value: object, where: str) -> T:
    """Check decoded JSON against a request dataclass and build it.

    Raises:
        InvalidRequest: with the path of the field that does not fit, below ``where``.
    """
    return cast(T, kind_of(hint).read(value, where))


@functools.cache
def _record(make: type) -> Record:
    hints = get_type_hints(make, include_extras=True)
    declared = dataclasses.fields(make)
    missing = dataclasses.MISSING
    return Record(
        make,
        tuple((field.name, kind_of(hints[field.name])) for field in declared),
        frozenset(f.name for f in declared if f.default is missing and f.default_factory is missing),
    )


def refuse(where: str, expected: str, value: object) -> NoReturn:
    """Raise ``InvalidRequest`` for a value of another kind than expected."""
    if isinstance(value, str):
        found = f"the text {short(value)!r}"
    else:
        names = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}
        found = names.get(type(value)) or f"the number {value}"
    raise InvalidRequest(where or "body", expected, found)


def join(where: str, name: str) -> str:
    """Return the path of field ``name`` of the object at ``where``."""
    return f"{where}.{name}" if where else name


def short(text: str) -> str:
    """Cut a caller's text for use in a message."""
    return text if len(text) <= 60 else text[:60] + "…"


def _within(rule: Rule, size: int, where: str, ceiling: int | None, unit: str) -> None:
    maximum = rule.maximum if rule.maximum is not None else ceiling
    if rule.minimum is not None and size < rule.minimum:
        raise InvalidRequest(where, f"at least {rule.minimum}{unit}", str(size))
    if maximum is not None and size > maximum:
        raise InvalidRequest(where, f"at most {maximum}{unit}", str(size))


def _without_nothing(**members: object) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None and value != ""}
