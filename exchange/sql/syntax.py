"""The text of a query, read by sqlglot and held to the documented subset before anything looks at it.

Words outside the subset are found by token, so the error points at the word itself. Length, number of tokens
and depth are bounded before the parser runs: its recursion is what hostile text would exhaust.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from exchange.sql.errors import InvalidQuery

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "MAX_TOKENS", "Text", "asset_of", "assets_named", "parse", "shown"]

MAX_LENGTH: Final = 20_000
MAX_TOKENS: Final = 3_000
MAX_DEPTH: Final = 24
_MAX_SHOWN: Final = 40

_ALLOWED: Final = frozenset(
    getattr(TokenType, name)
    for name in (
        *("SELECT", "FROM", "WHERE", "GROUP_BY", "HAVING", "ORDER_BY", "LIMIT", "ASC", "DESC", "FIRST"),
        *("JOIN", "INNER", "LEFT", "OUTER", "ON", "ALIAS", "UNION", "ALL"),
        *("AND", "OR", "NOT", "IN", "BETWEEN", "IS", "NULL", "TRUE", "FALSE"),
        *("CASE", "WHEN", "THEN", "ELSE", "END", "DATE", "DECIMAL"),
        *("VAR", "IDENTIFIER", "NUMBER", "STRING", "COMMA", "DOT", "L_PAREN", "R_PAREN"),
        *("STAR", "PLUS", "DASH", "SLASH", "EQ", "NEQ", "LT", "LTE", "GT", "GTE"),
    )
)


class Text:
    """A query's text, which can say where in it something stands."""

    def __init__(self, text: str) -> None:
        self._text = text

    def error(self, at: exp.Expression | int, expected: str, actual: str) -> InvalidQuery:
        """The error at a node or at an offset."""
        return InvalidQuery(*self.place(at), expected, actual)

    def place(self, at: exp.Expression | int) -> tuple[int, int]:
        """Line and column of a node or an offset, from 1."""
        offset = at if isinstance(at, int) else _offset(at)
        before = self._text[:offset]
        return before.count("\n") + 1, offset - before.rfind("\n")

    def unsupported(self, node: exp.Expression, expected: str) -> InvalidQuery:
        """The error of a construct that is not in the subset, named as SQL names it."""
        return self.error(node, expected, node.key.replace("_", " ").upper())


def parse(text: str) -> tuple[exp.Select, Text]:
    """Read one SELECT statement.

    Raises:
        InvalidQuery: too long or too deep, a word outside the subset, or no SELECT statement.
    """
    source = Text(text)
    if len(text) > MAX_LENGTH:
        raise source.error(0, f"at most {MAX_LENGTH} characters", str(len(text)))
    try:
        tokens = DuckDB().tokenize(text)
        _check(tokens, source)
        statements = DuckDB().parse(text)
    except TokenError as exc:
        raise source.error(len(text), "the end of a text or name", "the end of the query") from exc
    except ParseError as exc:
        raise _parse_error(exc, source) from exc
    except RecursionError as exc:
        raise source.error(0, f"an expression at most {MAX_DEPTH} deep", "a deeper one") from exc
    if len(statements) != 1 or not isinstance(statements[0], exp.Select):
        raise source.error(0, "one SELECT statement", "something else")
    return statements[0], source


def asset_of(node: exp.Table) -> str:
    """The asset that ``owner.asset`` names; ``""`` where the name has another form."""
    return f"{node.db}/{node.name}" if node.db and node.name and not node.catalog else ""


def assets_named(text: str) -> tuple[str, ...]:
    """The assets that a query names, each once, in order; for looking their columns up.

    Raises:
        InvalidQuery: as ``parse``, or a table is not named ``owner.asset``.
    """
    select, source = parse(text)
    found = []
    for node in select.find_all(exp.Table):
        asset = asset_of(node)
        if not asset:
            raise source.error(node, "a table named owner.asset", shown(node.name))
        found.append((_offset(node), asset))
    return tuple(dict.fromkeys(asset for _, asset in sorted(found)))


def shown(text: str) -> str:
    """Words of the query as an error shows them."""
    return repr(text[:_MAX_SHOWN])


def _check(tokens: list[Token], source: Text) -> None:
    if len(tokens) > MAX_TOKENS:
        raise source.error(tokens[MAX_TOKENS].start, f"at most {MAX_TOKENS} words", str(len(tokens)))
    depth, prefixes = 0, 0
    for token in tokens:
        if token.token_type not in _ALLOWED:
            raise source.error(
                token.start, "a word of the supported subset (a name in quotation marks)", shown(token.text)
            )
        opens = token.token_type in (TokenType.L_PAREN, TokenType.CASE)
        closes = token.token_type in (TokenType.R_PAREN, TokenType.END)
        depth += opens - closes
        is_prefix = token.token_type in (TokenType.NOT, TokenType.DASH, TokenType.PLUS)
        prefixes = prefixes + 1 if is_prefix else 0
        if depth > MAX_DEPTH or prefixes > MAX_DEPTH:
            raise source.error(token.start, f"an expression at most {MAX_DEPTH} deep", "a deeper one")


def _parse_error(exc: ParseError, source: Text) -> InvalidQuery:
    first = exc.errors[0] if exc.errors else {}
    start = len(str(first.get("start_context") or ""))
    word = str(first.get("highlight") or "")
    # The context holds at most 100 characters before the word, so the place is found from line and column.
    found = InvalidQuery(
        int(first.get("line") or 1),
        max(int(first.get("col") or start) - len(word) + 1, 1),
        "a SELECT statement of the supported subset",
        shown(word) if word else "its end",
    )
    found.__cause__ = exc
    return found


def _offset(node: exp.Expression) -> int:
    """Where a node begins: the least place that it or anything in it was read from."""
    return min((int(part.meta["start"]) for part in node.walk() if "start" in part.meta), default=0)
