"""What can go wrong in the demonstration itself."""

from __future__ import annotations

from exchange.errors import ExchangeError

__all__ = ["CheckFailed", "DatabaseUnusable", "DatasetMissing"]


class DatasetMissing(ExchangeError):
    """The package that ships the data set is not installed."""

    code = "demo.dataset-missing"
    blame = "operator"


class DatabaseUnusable(ExchangeError):
    """The database that was named cannot take the lender's table."""

    code = "demo.database-unusable"
    blame = "operator"


class CheckFailed(ExchangeError):
    """A claim of the demonstration does not hold; the message names it."""

    code = "demo.check-failed"
    blame = "nobody"
