"""The expression language over columns of several owners: text to syntax tree.

    expression := or ;  or := and ("or" and)* ;  and := not ("and" not)* ;  not := "not" not | comparison
    comparison := sum [("=" | "!=" | "<>" | "<" | "<=" | ">" | ">=") sum
                      | ["not"] "between" sum "and" sum | ["not"] "in" "(" sum ("," sum)* ")"]
    sum := product (("+" | "-") product)* ;  product := unary (("*" | "/") unary)*
    unary := "-" unary | atom
    atom := number | 'text' | true | false | column | function "(" expression ("," expression)* ")"
            | case ("when" expression "then" expression)+ "else" expression "end" | "(" expression ")"
    column := [owner "."] name | [owner "."] "quoted name"

Words are case-insensitive; names are not. Nothing is evaluated here, and nothing but this grammar is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from exchange.errors import InvalidRequest

__all__ = ["FUNCTIONS", "MAX_LENGTH", "Call", "Column", "Literal", "Tree", "parse"]

MAX_LENGTH: Final = 4_000
_MAX_DEPTH: Final = 40
FUNCTIONS: Final = {"abs": (1, 1), "if": (3, 3), "max": (2, 16), "min": (2, 16), "round": (2, 2)}
"""Functions, with the least and the largest number of arguments."""

_WORDS: Final = frozenset(
    {"and", "between", "case", "else", "end", "false", "in", "not", "or", "then", "true", "when"}
)
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<text>'(?:[^']|'')*')|(?P<quoted>"(?:[^"]|"")+")"""
    r"""|(?P<name>[^\W\d]\w*)|(?P<sign><=|>=|<>|!=|[-+*/=<>(),.]))"""
)
_NEGATED: Final = {"!=": "=", "<>": "="}


@dataclass(frozen=True)
class Literal:
    """A constant: a number, a text or a truth value."""

    value: Decimal | str | bool
    at: int = field(compare=False)


@dataclass(frozen=True)
class Column:
    """A column, of a named owner or of the only one that has it."""

    owner: str | None
    name: str
    at: int = field(compare=False)


@dataclass(frozen=True)
class Call:
    """An operator or function on operands; ``case`` has condition and value in turn, then the last value."""

    name: str
    operands: tuple[Tree, ...]
    at: int = field(compare=False)


Tree = Literal | Column | Call


def parse(text: str, field_name: str) -> Tree:
    """Parse one expression.

    Args:
        text: at most `MAX_LENGTH` characters.
        field_name: of the specification, for errors.

    Raises:
        InvalidRequest: the field, what was expected and what stands at which character.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidRequest(field_name, f"at most {MAX_LENGTH} characters", str(len(text)))
    parser = _Parser(text, field_name)
    tree = parser.expression()
    parser.finish()
    return tree


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int

    @property
    def word(self) -> str:
        """The keyword or sign that this is; empty where it is none."""
        if self.kind == "name" and self.text.lower() in _WORDS | FUNCTIONS.keys():
            return self.text.lower()
        return self.text if self.kind == "sign" else ""


class _Parser:
    def __init__(self, text: str, field_name: str) -> None:
        self._field, self._depth, self._next = field_name, 0, 0
        self._tokens = self._split(text)

    def _split(self, text: str) -> list[_Token]:
        tokens, at, end = [], 0, len(text.rstrip())
        while at < end:
            found = _TOKEN.match(text, at)
            if found is None or found.lastgroup is None:
                start = at + len(text[at:]) - len(text[at:].lstrip())
                raise self._error("a number, text, name or operator", repr(text[start]), start)
            tokens.append(_Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)))
            at = found.end()
        return [*tokens, _Token("end", "the end", end)]

    def _error(self, expected: str, actual: str, at: int) -> InvalidRequest:
        return InvalidRequest(self._field, expected, f"{actual} at character {at + 1}")

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *words: str) -> _Token | None:
        """The next token if it is one of some words or signs."""
        token = self._token
        if token.word not in words or not token.word:
            return None
        self._next += 1
        return token

    def _require(self, word: str) -> _Token:
        token = self._take(word)
        if token is None:
            raise self._error(repr(word), repr(self._token.text), self._token.at)
        return token

    def finish(self) -> None:
        if self._token.kind != "end":
            raise self._error("the end or an operator", repr(self._token.text), self._token.at)

    def expression(self) -> Tree:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error(f"at most {_MAX_DEPTH} levels", "more", self._token.at)
        tree = self._chain(self._conjunction, "or")
        self._depth -= 1
        return tree

    def _chain(self, operand: Callable[[], Tree], *signs: str) -> Tree:
        """Operands joined by left-associative signs."""
        tree = operand()
        while (token := self._take(*signs)) is not None:
            tree = Call(token.word, (tree, operand()), token.at)
        return tree

    def _conjunction(self) -> Tree:
        return self._chain(self._negation, "and")

    def _negation(self) -> Tree:
        negations = []
        while (token := self._take("not")) is not None:
            negations.append(token)
        tree = self._comparison()
        for token in reversed(negations):
            tree = Call("not", (tree,), token.at)
        return tree

    def _comparison(self) -> Tree:
        left = self._sum()
        if (token := self._take("=", "!=", "<>", "<", "<=", ">", ">=")) is not None:
            plain = Call(_NEGATED.get(token.word, token.word), (left, self._sum()), token.at)
            return Call("not", (plain,), token.at) if token.word in _NEGATED else plain
        negation = self._take("not")
        if (token := self._take("between")) is not None:
            low = self._sum()
            self._require("and")
            sides = (Call(">=", (left, low), token.at), Call("<=", (left, self._sum()), token.at))
            tree: Tree = Call("and", sides, token.at)
        elif (token := self._take("in")) is not None:
            self._require("(")
            tree = Call("=", (left, self._sum()), token.at)
            while self._take(","):
                tree = Call("or", (tree, Call("=", (left, self._sum()), token.at)), token.at)
            self._require(")")
        elif negation is None:
            return left
        else:
            raise self._error("'between' or 'in' after 'not'", repr(self._token.text), self._token.at)
        return tree if negation is None else Call("not", (tree,), negation.at)

    def _sum(self) -> Tree:
        return self._chain(self._product, "+", "-")

    def _product(self) -> Tree:
        return self._chain(self._unary, "*", "/")

    def _unary(self) -> Tree:
        signs = []
        while (token := self._take("-")) is not None:
            signs.append(token)
        tree = self._atom()
        for token in reversed(signs):
            tree = Call("negate", (tree,), token.at)
        return tree

    def _atom(self) -> Tree:
        token = self._token
        if token.kind == "number":
            self._next += 1
            return Literal(Decimal(token.text), token.at)
        if token.kind == "text":
            self._next += 1
            return Literal(token.text[1:-1].replace("''", "'"), token.at)
        if self._take("true", "false"):
            return Literal(token.word == "true", token.at)
        if self._take("("):
            tree = self.expression()
            self._require(")")
            return tree
        if self._take("case"):
            return self._case(token)
        if token.word in FUNCTIONS and self._tokens[self._next + 1].text == "(":
            return self._function(token)
        if token.kind in ("name", "quoted") and token.word not in _WORDS:
            return self._column(token)
        raise self._error("a value", repr(token.text), token.at)

    def _column(self, token: _Token) -> Column:
        first = self._name()
        if self._take(".") is None:
            return Column(None, first, token.at)
        if self._token.kind not in ("name", "quoted"):
            raise self._error("a column name", repr(self._token.text), self._token.at)
        return Column(first, self._name(), token.at)

    def _name(self) -> str:
        token = self._token
        self._next += 1
        return token.text if token.kind == "name" else token.text[1:-1].replace('""', '"')

    def _case(self, token: _Token) -> Call:
        operands: list[Tree] = []
        self._require("when")
        while True:
            operands.append(self.expression())
            self._require("then")
            operands.append(self.expression())
            if self._take("when") is None:
                break
        self._require("else")
        operands.append(self.expression())
        self._require("end")
        return Call("case", tuple(operands), token.at)

    def _function(self, token: _Token) -> Call:
        self._next += 1
        self._require("(")
        operands = [self.expression()]
        while self._take(","):
            operands.append(self.expression())
        self._require(")")
        least, most = FUNCTIONS[token.word]
        if not least <= len(operands) <= most:
            count = str(least) if least == most else f"{least} to {most}"
            raise self._error(f"{count} arguments of {token.word}", str(len(operands)), token.at)
        name = "case" if token.word == "if" else token.word
        return Call(name, tuple(operands), token.at)
