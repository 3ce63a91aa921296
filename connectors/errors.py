"""Errors of the connectors: sources that cannot be reached or read, and tables that do not fit.

Messages carry names of columns, tables and folders, types and counts; never a cell's value, a row or a
password. Exceptions of database drivers and file readers may quote rows, so they are described by their kind
and not chained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

Blame = Literal["caller", "peer", "operator", "nobody"]

__all__ = [
    "ConnectorError",
    "ContractBroken",
    "DatasetChanged",
    "DuplicateIdentifiers",
    "EmptyIdentifiers",
    "EmptyTable",
    "HostNotAllowed",
    "InvalidFilter",
    "InvalidSource",
    "InvalidValues",
    "LimitExceeded",
    "MissingColumn",
    "MissingTable",
    "MissingValues",
    "SourceOutsideRoots",
    "SourceUnreachable",
    "StreamChanged",
    "UnknownMaintainers",
    "UnknownRule",
    "UnsupportedColumn",
    "WrongColumnType",
]

_LISTED = 50


class ConnectorError(Exception):
    """Root of the errors of this package."""

    code: ClassVar[str] = "connectors.error"
    blame: ClassVar[Blame] = "caller"
    retryable: ClassVar[bool] = False


class InvalidSource(ConnectorError):
    """A source description that no connector can open."""

    code = "connectors.invalid-source"

    def __init__(self, field: str, expected: str, actual: str) -> None:
        super().__init__(f"source {field}: expected {expected}, found {actual}")
        self.field, self.expected, self.actual = field, expected, actual


class InvalidFilter(ConnectorError):
    """A filter that no table, or not this one, can answer."""

    code = "connectors.invalid-filter"

    def __init__(self, field: str, expected: str, actual: str) -> None:
        super().__init__(f"{field}: expected {expected}, found {actual}")
        self.field, self.expected, self.actual = field, expected, actual


class SourceOutsideRoots(ConnectorError):
    """A file lies outside the folders this node may read. ``roots`` names them."""

    code = "connectors.source-outside-roots"

    def __init__(self, path: str, roots: Sequence[str]) -> None:
        allowed = ", ".join(roots) if roots else "none are configured"
        super().__init__(f"{path} is outside the folders this node may read ({allowed})")
        self.path, self.roots = path, tuple(roots)


class HostNotAllowed(ConnectorError):
    """An API's host is not one the operator lets this node talk to."""

    code = "connectors.host-not-allowed"

    def __init__(self, place: str, expected: str) -> None:
        super().__init__(f"{place}: expected {expected}")
        self.place, self.expected = place, expected


class SourceUnreachable(ConnectorError):
    """The database or file cannot be opened now. ``source`` is safe to show."""

    code = "connectors.source-unreachable"
    blame = "operator"
    retryable = True

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"cannot open {source}: {reason}")
        self.source, self.reason = source, reason


class MissingTable(ConnectorError):
    """The database has no such table or view."""

    code = "connectors.missing-table"

    def __init__(self, expected: str, found: Sequence[str]) -> None:
        super().__init__(f"expected the table {expected}, found {_list(found)}")
        self.expected, self.found = expected, tuple(found)


class MissingColumn(ConnectorError):
    """The table has no such column."""

    code = "connectors.missing-column"

    def __init__(self, expected: Sequence[str], found: Sequence[str]) -> None:
        super().__init__(f"expected the column {_list(expected)}, found {_list(found)}")
        self.expected, self.found = tuple(expected), tuple(found)


class EmptyTable(ConnectorError):
    """The table has no rows."""

    code = "connectors.empty-table"

    def __init__(self) -> None:
        super().__init__("expected at least one row, found none")


class UnsupportedColumn(ConnectorError):
    """A column's type has no exact form here."""

    code = "connectors.unsupported-column"

    def __init__(self, column: str, actual: str) -> None:
        super().__init__(
            f"column {column} has the type {actual}: expected an integer, decimal, float, text, binary, "
            "truth value, date or time; a view that casts or omits the column can be published instead"
        )
        self.column, self.actual = column, actual


class WrongColumnType(ConnectorError):
    """A column cannot be used in this role because of its type."""

    code = "connectors.wrong-column-type"

    def __init__(self, column: str, expected: str, actual: str) -> None:
        super().__init__(f"column {column}: expected {expected}, found {actual}")
        self.column, self.expected, self.actual = column, expected, actual


class InvalidValues(ConnectorError):
    """A source holds values that are not of the type it declares."""

    code = "connectors.invalid-values"

    def __init__(self, place: str, expected: str, actual: str = "something else") -> None:
        super().__init__(f"{place}: expected {expected}, found {actual}")
        self.place, self.expected, self.actual = place, expected, actual


class LimitExceeded(ConnectorError):
    """A source gives more, or takes longer, than its description allows."""

    code = "connectors.limit-exceeded"
    blame = "operator"

    def __init__(self, place: str, expected: str) -> None:
        super().__init__(f"{place}: expected {expected}, found more")
        self.place, self.expected = place, expected


class MissingValues(ConnectorError):
    """A column that must be complete is not."""

    code = "connectors.missing-values"

    def __init__(self, column: str, count: int) -> None:
        super().__init__(f"column {column}: expected a value in every row, found {count} without one")
        self.column, self.count = column, count


class EmptyIdentifiers(ConnectorError):
    """Identifiers are missing or empty after normalising."""

    code = "connectors.empty-identifiers"

    def __init__(self, column: str, count: int) -> None:
        super().__init__(f"column {column}: expected an identifier in every row, found {count} empty")
        self.column, self.count = column, count


class DuplicateIdentifiers(ConnectorError):
    """Identifiers occur more than once after normalising."""

    code = "connectors.duplicate-identifiers"

    def __init__(self, column: str, count: int) -> None:
        super().__init__(f"column {column}: expected distinct identifiers, found {count} surplus rows")
        self.column, self.count = column, count


class InvalidIdentifiers(ConnectorError):
    """Values of a column are not of the kind of identifier that a rule is for."""

    code = "connectors.invalid-identifiers"

    def __init__(self, column: str, rule: str, count: int) -> None:
        super().__init__(f"column {column}: expected values that {rule} accepts, found {count} others")
        self.column, self.rule, self.count = column, rule, count


class UnknownMaintainers(ConnectorError):
    """A list has rows that none of its maintainers stands for."""

    code = "connectors.unknown-maintainers"

    def __init__(self, column: str, count: int) -> None:
        super().__init__(
            f"column {column}: expected one of the list's maintainers in every row, found {count} without"
        )
        self.column, self.count = column, count


class UnknownRule(ConnectorError):
    """A normalising rule that does not exist."""

    code = "connectors.unknown-rule"

    def __init__(self, rule: str, known: Sequence[str]) -> None:
        super().__init__(f"expected rules among {', '.join(known)}, found {rule[:64]!r}")
        self.rule, self.known = rule, tuple(known)


class ContractBroken(ConnectorError):
    """A connector that was installed does not do what a connector must."""

    code = "connectors.contract-broken"
    blame = "operator"

    def __init__(self, kind: str, expected: str, actual: str) -> None:
        super().__init__(f"the connector {kind}: expected {expected}, found {actual}")
        self.kind, self.expected, self.actual = kind, expected, actual


class DatasetChanged(ConnectorError):
    """The data no longer are the version that was published."""

    code = "connectors.dataset-changed"
    blame = "operator"

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"expected the dataset version {expected}, found {actual}")
        self.expected, self.actual = expected, actual


class StreamChanged(ConnectorError):
    """What was appended to a stream is no longer as it was."""

    code = "connectors.stream-changed"
    blame = "operator"

    def __init__(self, place: str, expected: str, actual: str) -> None:
        super().__init__(f"{place}: expected {expected}, found {actual}")
        self.place, self.expected, self.actual = place, expected, actual


def _list(names: Sequence[str]) -> str:
    if not names:
        return "none"
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"
