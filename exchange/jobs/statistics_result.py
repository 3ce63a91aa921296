"""How the owners' releases of joint statistics become the table that the reader sees.

Sums are exact; what is divided is rounded to six places. Variance and covariance are those of a sample (n -
1); quantiles are the least value that the stated part of the rows do not exceed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, Final

from exchange.errors import JobFailed
from exchange.jobs.privacy import noise_as_json
from exchange.jobs.results import Cell, ResultTable
from exchange.jobs.spec import Step
from exchange.jobs.statistics_question import Question
from ledger import canonical
from mpc.stats.joint_shares import JointShares, combine

__all__ = ["decode_release", "encode_release", "exact", "open_result", "rounded"]

_DIGITS: Final = 6
_HEAD_BYTES: Final = 4
_CONTEXT: Final = Context(prec=60)
"""Holds every figure of 120 bits with its decimals."""


def encode_release(shares: JointShares, bases: Mapping[str, str]) -> bytes:
    """One owner's release: the units that it rounded values to, by column, and its shares."""
    head = canonical.encode({"rounded_to": dict(bases)})
    return len(head).to_bytes(_HEAD_BYTES, "big") + head + shares.encode()


def decode_release(release: bytes) -> tuple[dict[str, str], JointShares]:
    """Read what ``encode_release`` made; anything else raises a domain error."""
    end = _HEAD_BYTES + int.from_bytes(release[:_HEAD_BYTES], "big")
    head: Any = canonical.decode(release[_HEAD_BYTES:end])
    if not isinstance(head, dict) or set(head) != {"rounded_to"} or not isinstance(head["rounded_to"], dict):
        raise JobFailed("expected a release of joint statistics, got another form")
    return head["rounded_to"], JointShares.decode(release[end:])


def open_result(step: Step, releases: Mapping[str, bytes]) -> ResultTable:
    """Put the owners' releases together.

    Raises:
        JobFailed, MpcError: they do not belong to one run of this step.
    """
    opened = [decode_release(release) for release in releases.values()]
    question, found = Question.of(step), combine([shares for _, shares in opened])
    names = _cell_names(question)
    rows = [
        (*names[cell], count, *_figures(question, count, figures, picks))
        for cell, count, figures, picks in zip(
            found.opened, found.counts, found.figures, found.picks, strict=True
        )
    ]
    columns = (*(key.column for key in question.keys), "count", *_columns(question))
    rounded = {name: base for bases, _ in opened for name, base in bases.items()}
    facts: dict[str, object] = {"owners": len(opened), "closed_cells": question.cells - len(rows)}
    facts |= {"rounded_to": rounded} if rounded else {}
    facts |= _noise(question, len(opened))
    return ResultTable(columns, tuple(rows), facts)


def _cell_names(question: Question) -> list[tuple[str, ...]]:
    names: list[tuple[str, ...]] = [()]
    for key in question.keys:
        names = [(*before, name) for before in names for name in key.names()]
    return names


def _columns(question: Question) -> Iterator[str]:
    for measure in question.measures:
        yield from (f"{statistic} {measure.column}" for statistic in measure.statistics)
        yield from (f"quantile {text} {measure.column}" for text in measure.quantiles)
    for one, other in _pairs(question):
        both = f"{question.measures[one].column} {question.measures[other].column}"
        yield from (f"covariance {both}", f"correlation {both}")


def _pairs(question: Question) -> list[tuple[int, int]]:
    return [pair for pair in question.products() if pair[0] != pair[1]] if question.together else []


def _figures(
    question: Question, count: int, figures: tuple[int, ...], picks: tuple[int, ...]
) -> Iterator[Cell]:
    """One cell's figures in the order of ``_columns``."""
    scales = [10 ** question.decimals[measure.column] for measure in question.measures]
    sums = [Fraction(total, scale) for total, scale in zip(figures, scales, strict=False)]
    products = {
        (one, other): Fraction(total, scales[one] * scales[other])
        for (one, other), total in zip(question.products(), figures[len(sums) :], strict=True)
    }

    def spread(one: int, other: int) -> Fraction | None:
        """The covariance of the sample, the variance where it is one measure; None below two rows."""
        return (products[one, other] - sums[one] * sums[other] / count) / (count - 1) if count > 1 else None

    picked = iter(picks)
    for place, measure in enumerate(question.measures):
        decimals = question.decimals[measure.column]
        named = {name: exact(Fraction(next(picked), scales[place]), decimals) for name, _ in measure.picks()}
        for statistic in measure.statistics:
            match statistic:
                case "sum":
                    yield exact(sums[place], decimals)
                case "mean":
                    yield rounded(sums[place] / count if count > 0 else None)
                case "variance":
                    yield rounded(spread(place, place))
                case "deviation":
                    yield _root(spread(place, place))
                case _:
                    yield named[statistic]
        yield from (named[f"quantile {text}"] for text in measure.quantiles)
    for one, other in _pairs(question):
        covariance = spread(one, other)
        yield rounded(covariance)
        yield _correlation(covariance, spread(one, one), spread(other, other))


def exact(value: Fraction, decimals: int) -> str:
    """Write a multiple of 10^-decimals."""
    whole = value * 10**decimals
    return f"{Decimal(whole.numerator).scaleb(-decimals, _CONTEXT):f}"


def rounded(value: Fraction | None) -> str | None:
    """Write a quotient with six places; None stays."""
    if value is None:
        return None
    return exact(Fraction(round(value * 10**_DIGITS), 10**_DIGITS), _DIGITS)


def _root(value: Fraction | None) -> str | None:
    """The square root, rounded down in the last place that is shown."""
    if value is None:
        return None
    return exact(Fraction(math.isqrt(math.floor(value * 10 ** (2 * _DIGITS))), 10**_DIGITS), _DIGITS)


def _correlation(covariance: Fraction | None, first: Fraction | None, second: Fraction | None) -> str | None:
    if covariance is None or not first or not second:
        return None
    size = math.isqrt(math.floor(covariance * covariance / (first * second) * 10 ** (2 * _DIGITS)))
    return exact(Fraction(size if covariance > 0 else -size, 10**_DIGITS), _DIGITS)


def _noise(question: Question, owners: int) -> dict[str, object]:
    """Every owner adds the whole noise, so its deviation is that of one times the root of their number."""
    if question.privacy is None:
        return {}
    names = ("count", *(measure.column for measure in question.measures))
    units = (1, *(10 ** question.decimals[measure.column] for measure in question.measures))
    scales = question.privacy.scales(question.sensitivities())
    deviations = {
        name: math.sqrt(owners) * question.privacy.deviation(scale) / unit
        for name, scale, unit in zip(names, scales, units, strict=True)
    }
    return {"noise": noise_as_json(question.privacy.mechanism, deviations)}
