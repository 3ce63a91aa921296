"""Reading the options of a source, which come as JSON from a steward, with errors that name the place.

An option that is not asked for is refused, so a misspelt one is never without effect. Errors quote no value:
options hold tokens and passwords.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

from connectors.errors import InvalidSource

__all__ = ["Options", "is_writable"]

T = TypeVar("T")
_KINDS = {
    bool: "true or false",
    int: "a whole number",
    str: "a text",
    list: "a list",
    tuple: "a list",
    dict: "an object",
    type(None): "nothing",
}


class Options:
    """One JSON object; each getter takes its field, ``end`` refuses what is left; null is not given."""

    def __init__(self, value: object, place: str = "options") -> None:
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise InvalidSource(place, "an object", _shown(value))
        self.place = place
        self._left = {name: given for name, given in value.items() if given is not None}

    def has(self, name: str) -> bool:
        """Whether the field is given and not yet taken."""
        return name in self._left

    def text(self, name: str, *, longest: int = 2_000) -> str:
        """Take a text of 1 to ``longest`` characters."""
        value = self._left.pop(name, None)
        if not isinstance(value, str) or not 1 <= len(value) <= longest or not is_writable(value):
            raise self._refused(name, f"a text of 1 to {longest} characters", value)
        return value

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """Take one of some words."""
        value = self._left.pop(name, None)
        if not isinstance(value, str) or value not in choices:
            raise self._refused(name, f"one of {', '.join(choices)}", value)
        return value

    def number(self, name: str, least: int, most: int, default: int | None = None) -> int:
        """Take a whole number within limits."""
        value = self._left.pop(name, None)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self._refused(name, f"a whole number from {least} to {most}", value)
        return value

    def texts(self, name: str, *, most: int = 500) -> tuple[str, ...]:
        """Take a list of distinct texts; none by default."""
        value = self._left.pop(name, None)
        items = [] if value is None else value
        fits = isinstance(items, list | tuple) and len(items) <= most
        if not fits or not all(isinstance(item, str) and item and is_writable(item) for item in items):
            raise self._refused(name, f"a list of at most {most} texts", value)
        if len(set(items)) != len(items):
            raise self._refused(name, "distinct texts", value)
        return tuple(cast(Sequence[str], items))

    def part(self, name: str) -> Options:
        """Take an object inside this one; an empty one where it is not given."""
        value = self._left.pop(name, None)
        return Options({} if value is None else value, f"{self.place}.{name}")

    def parts(self, name: str, *, most: int = 500) -> tuple[Options, ...]:
        """Take a list of objects, at least one."""
        value = self._left.pop(name, None)
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= most:
            raise self._refused(name, f"a list of 1 to {most} objects", value)
        return tuple(Options(item, f"{self.place}.{name}[{i}]") for i, item in enumerate(value))

    def end(self) -> None:
        """Refuse whatever was not asked for.

        Raises:
            InvalidSource: with the names that are left.
        """
        if self._left:
            names = ", ".join(name[:64] for name in sorted(self._left)[:10])
            raise InvalidSource(self.place, "no other fields", names)

    def _refused(self, name: str, expected: str, value: object) -> InvalidSource:
        return InvalidSource(f"{self.place}.{name}", expected, _shown(value))


def is_writable(text: str) -> bool:
    """Whether a text can be a name anywhere: without NUL and without half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= mark <= "\udfff" for mark in text)


def _shown(value: object) -> str:
    return _KINDS.get(type(value), "another value") if not isinstance(value, str) else "another text"
