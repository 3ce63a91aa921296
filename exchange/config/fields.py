"""What one setting is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exchange.config import kinds

__all__ = ["Field"]


@dataclass(frozen=True)
class Field:
    """One setting.

    Attributes:
        name: its key in the file.
        read: the form of its value.
        default: the value where none is given, in the form of the file; ``...``: a value must be given.
        description: a sentence.
    """

    name: str
    read: kinds.Read
    default: Any
    description: str

    @property
    def variable(self) -> str:
        """The variable that wins over the file."""
        return f"PARLEY_{self.name.upper()}"
