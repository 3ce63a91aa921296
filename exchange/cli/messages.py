"""The one catalogue of sentences a person reads on the command line, in English and Chinese.

The sentences are data, in ``messages.json``: key to language to text with ``{named}`` places. A key that
lacks a language is a broken package and a test says so. Error details that come from a node or from the
ledger are shown as they were sent; only their titles and hints are translated here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

__all__ = ["LANGUAGES", "catalogue", "has", "spoken", "text"]

LANGUAGES = ("en", "zh")


@cache
def catalogue() -> Mapping[str, Mapping[str, str]]:
    """Read the catalogue that ships with the package."""
    loaded: dict[str, dict[str, str]] = json.loads(
        files(__package__).joinpath("messages.json").read_text(encoding="utf-8")
    )
    return loaded


def text(language: str, key: str, **values: object) -> str:
    """Fill the sentence ``key`` in ``language``.

    Raises:
        KeyError: the catalogue has no such sentence, which is a mistake in this package.
    """
    return catalogue()[key][language].format(**values)


def has(key: str) -> bool:
    """Whether the catalogue holds ``key``."""
    return key in catalogue()


def spoken(requested: str | None, environment: Mapping[str, str]) -> str:
    """Choose the language: the option, then ``PARLEY_LANG``, then English."""
    candidates: Sequence[str | None] = (requested, environment.get("PARLEY_LANG"))
    for candidate in candidates:
        if candidate is not None and candidate[:2].lower() in LANGUAGES:
            return candidate[:2].lower()
    return LANGUAGES[0]
