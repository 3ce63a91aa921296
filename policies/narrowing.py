"""Whether terms allow no more than others: a partial order, clause by clause.

A clause that is not stated limits nothing, so stating one only narrows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from policies import purposes
from policies.clauses import column_level, write_instant
from policies.column_control import Level
from policies.errors import TermsExceedOffer

if TYPE_CHECKING:
    from policies.terms import Terms

__all__ = ["exceeding", "narrower"]

_SUBSETS: Final = ("operations", "columns", "output_types")
_OPTIONAL_SUBSETS: Final = ("recipients", "code_digests", "threat_models")


def narrower(agreement: Terms, offer: Terms) -> Terms:
    """Check that an agreement allows no more than its offer, and return it.

    Raises:
        TermsExceedOffer: listing every clause that allows more.
    """
    clauses = tuple(exceeding(agreement, offer))
    if clauses:
        raise TermsExceedOffer(clauses)
    return agreement


def exceeding(agreement: Terms, offer: Terms) -> Iterator[str]:
    """Say each clause in which an agreement allows more than its offer."""
    unmet = [
        narrow
        for narrow in agreement.purposes
        if not any(purposes.is_a(narrow, broad) for broad in offer.purposes)
    ]
    if unmet:
        yield f"purposes: {', '.join(unmet)} is not within {', '.join(offer.purposes)}"
    for field in _SUBSETS:
        yield from _beyond(field, getattr(agreement, field), getattr(offer, field))
    yield from _more("uses", agreement.uses, offer.uses)
    if agreement.expires > offer.expires:
        yield f"expires: {write_instant(agreement.expires)} is after {write_instant(offer.expires)}"
    yield from _less("min_cohort", agreement.min_cohort, offer.min_cohort)
    for field, compare in _STATED.items():
        asked, offered = getattr(agreement, field), getattr(offer, field)
        if not offered:
            continue
        if not asked:
            yield f"{field}: not stated, the offer states {_shown(offered)}"
        else:
            yield from compare(field, asked, offered)
    if offer.approval == "per-job" and agreement.approval != "per-job":
        yield f"approval: {agreement.approval} is less than {offer.approval}"
    missing = sorted(set(offer.organisations) - set(agreement.organisations))
    if missing:
        yield f"organisations: {', '.join(missing)} must approve each job"


def _beyond(field: str, asked: tuple[str, ...], offered: tuple[str, ...]) -> Iterator[str]:
    extra = sorted(set(asked) - set(offered))
    if extra:
        yield f"{field}: {', '.join(extra)} not among {', '.join(offered)}"


def _more(field: str, asked: int, offered: int) -> Iterator[str]:
    if asked > offered:
        yield f"{field}: {asked} is more than {offered}"


def _less(field: str, asked: int, offered: int) -> Iterator[str]:
    if asked < offered:
        yield f"{field}: {asked} is less than {offered}"


def _levels(field: str, asked: tuple[str, ...], offered: tuple[str, ...]) -> Iterator[str]:
    allowed = dict(filter(None, map(column_level, offered)))
    for text in asked:
        split = column_level(text)
        if split is None or split[0] not in allowed or not _within(split[1], allowed[split[0]]):
            yield f"{field}: {text} is beyond {', '.join(offered)}"


def _within(asked: Level, offered: Level) -> bool:
    return asked in {offered, Level.ENCRYPTED_ONLY} or offered is Level.PLAINTEXT


def _rate(field: str, asked: tuple[int, int], offered: tuple[int, int]) -> Iterator[str]:
    if asked[0] > offered[0] or asked[1] < offered[1]:
        yield f"{field}: {_shown(asked)} is not within {_shown(offered)}"


def _fewer(field: str, asked: tuple[str, ...], offered: tuple[str, ...]) -> Iterator[str]:
    missing = sorted(set(offered) - set(asked))
    if missing:
        yield f"{field}: {', '.join(missing)} must be held"


_STATED: Final[Mapping[str, Callable[[str, Any, Any], Iterator[str]]]] = MappingProxyType(
    dict.fromkeys(_OPTIONAL_SUBSETS, _beyond)
    | dict.fromkeys(("epsilon_micro", "points"), _more)
    | dict.fromkeys(("min_parties", "delta_exponent", "price"), _less)
    | {"column_control": _levels, "credentials": _fewer, "rate": _rate}
)


def _shown(value: object) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], int):
        return f"{value[0]} jobs in {value[1]} seconds"
    return ", ".join(value) if isinstance(value, tuple) else str(value)
