"""What can be wrong with settings, and the error that lists all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exchange.errors import ExchangeError

__all__ = ["ConfigError", "Problem", "Unfit", "found"]


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the settings: where, what was expected, what was found."""

    field: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.field}: expected {self.expected}, got {self.actual}"


class ConfigError(ExchangeError):
    """The settings are not usable. ``problems`` lists everything that is wrong with them."""

    code = "config.invalid"
    blame = "operator"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class Unfit(Exception):
    """One value has another form than its setting; becomes a ``Problem`` where the name is known."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(expected, actual)
        self.expected, self.actual = expected, actual


def found(value: object) -> str:
    """Describe a value that was found: itself where it is short and plain, else its type."""
    if isinstance(value, str | int | float):
        return repr(value)[:200]
    return f"a {type(value).__name__}"
