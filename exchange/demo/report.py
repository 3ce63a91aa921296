"""What the demonstration found: one JSON document, and the same as a page for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from exchange.demo.errors import CheckFailed

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Finding", "Report", "Speak", "view"]

Speak = Callable[..., str]
"""Fills a sentence of the message catalogue: ``speak(key, **values)``."""


@dataclass(frozen=True)
class Finding:
    """One sentence of the account: which step it belongs to, a key of the catalogue, and its values."""

    step: int
    key: str
    values: Mapping[str, object]


@dataclass
class Report:
    """The demonstration's account, filled step by step.

    ``failures`` holds every check that did not hold, in words; an empty list is the only success.
    """

    result: dict[str, Any] = field(default_factory=dict)
    expected_plaintext: dict[str, Any] = field(default_factory=dict)
    max_error: Decimal = Decimal(0)
    matched: int = 0
    questions: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    agreements: list[dict[str, Any]] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    ledger: dict[str, Any] = field(default_factory=dict)
    verification: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    places: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether every check held."""
        return not self.failures

    def say(self, step: int, key: str, **values: object) -> None:
        """Add a sentence to the account."""
        self.findings.append(Finding(step, key, values))

    def check(self, holds: bool, claim: str) -> None:
        """Record a claim that must hold; the demonstration goes on either way."""
        if not holds:
            self.failures.append(claim)

    def require(self, holds: bool, claim: str) -> None:
        """Record a claim without which nothing that follows makes sense.

        Raises:
            CheckFailed: it does not hold.
        """
        if not holds:
            self.failures.append(claim)
            raise CheckFailed(claim)

    def as_json(self) -> dict[str, Any]:
        """Return the document that ``--format json`` prints and ``report.json`` holds."""
        return {
            "result": self.result,
            "expected_plaintext": self.expected_plaintext,
            "max_error": str(self.max_error),
            "matched": self.matched,
            "questions": self.questions,
            "refusals": self.refusals,
            "agreements": self.agreements,
            "receipts": self.receipts,
            "ledger": self.ledger,
            "verification": self.verification,
            "evidence": self.evidence,
            "timings": self.timings,
            "files": self.files,
            "places": self.places,
            "seconds": round(self.seconds, 2),
            "failures": self.failures,
            "sound": self.is_sound,
        }

    def encode(self) -> bytes:
        """Encode the document for a file."""
        return (json.dumps(self.as_json(), ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def view(report: Report, speak: Speak) -> RenderableType:
    """Lay the account out for people: what happened, the answer, and whether every check held."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for step in sorted({finding.step for finding in report.findings}):
        seconds = report.timings.get(f"step_{step}")
        heading = f"{step}. {speak(f'demo.step.{step}')}"
        parts.append(Text(heading + (f"  ({seconds:.1f} s)" if seconds is not None else ""), style="bold"))
        parts += [
            Text(f"   {speak(finding.key, **finding.values)}")
            for finding in report.findings
            if finding.step == step
        ]
        if step == 5 and report.result:
            parts.append(_answer(report, Table()))
    parts.append(Text(""))
    if report.is_sound:
        parts.append(Text(speak("demo.sound", seconds=f"{report.seconds:.1f}"), style="bold green"))
    else:
        parts.append(Text(speak("demo.unsound", count=len(report.failures)), style="bold red"))
        parts += [Text(f" - {failure}", style="red") for failure in report.failures]
    parts += [Text(f"{name}: {path}") for name, path in report.files.items()]
    parts += [Text(f"{name}: {place}") for name, place in report.places.items()]
    parts.append(Text(speak("demo.next")))
    return Group(*parts)


def _answer(report: Report, table: RenderableType) -> RenderableType:
    from rich.table import Table

    shown = table if isinstance(table, Table) else Table()
    measures = list(report.result["measures"])
    for heading in (
        str(report.result["group"]),
        "count",
        *(f"mean {name}" for name in measures),
        "plaintext",
    ):
        shown.add_column(heading, justify="right")
    wanted = {row["group"]: row for row in report.expected_plaintext["groups"]}
    for row in report.result["groups"]:
        same = wanted.get(row["group"], {}).get("sums") is not None and all(
            Decimal(wanted[row["group"]]["sums"][name]) == Decimal(row["sums"][name]) for name in measures
        )
        shown.add_row(
            row["group"], str(row["count"]), *(row["means"][name] for name in measures), "=" if same else "≠"
        )
    return shown
