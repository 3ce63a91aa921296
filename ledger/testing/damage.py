"""Generated damage for property tests (Hypothesis): some bytes of a file, or a value in its JSON, changed."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from ledger import canonical

__all__ = ["damaged"]

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text("az09-Ü", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("az", min_size=1), inner, max_size=3),
    max_leaves=6,
)


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Other content for a file; by chance the same."""
    changed = st.tuples(st.integers(0, max(0, len(content) - 1)), st.binary(min_size=1, max_size=4)).map(
        lambda change: content[: change[0]] + change[1] + content[change[0] + len(change[1]) :]
    )
    try:
        value = json.loads(content)
    except ValueError:
        return changed | st.binary(max_size=64)
    return changed | _altered(value).map(canonical.encode)


def _altered(value: Any) -> st.SearchStrategy[Any]:  # noqa: ANN401 - JSON
    """The value with another one somewhere in it."""
    if isinstance(value, dict) and value:
        keys = st.sampled_from(sorted(value))
        inner = keys.flatmap(lambda key: _altered(value[key]).map(lambda new: {**value, key: new}))
        gone = keys.map(lambda key: {name: item for name, item in value.items() if name != key})
        return inner | gone | _JSON
    if isinstance(value, list) and value:
        return st.integers(0, len(value) - 1).flatmap(
            lambda at: _altered(value[at]).map(lambda new: [*value[:at], new, *value[at + 1 :]])
        )
    return _JSON
