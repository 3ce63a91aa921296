"""From the text of a query to typed values: names resolved, types checked, errors with their place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from sqlglot import exp

from exchange.sql.errors import InvalidQuery
from exchange.sql.expressions import (
    Aggregate,
    Column,
    Expression,
    Function,
    Kind,
    Literal,
    SqlType,
    aggregates_in,
    children,
)
from exchange.sql.query import Catalog, Item, Join, Order, Part, Query, Table
from exchange.sql.scalars import Scalars
from exchange.sql.syntax import Text, asset_of, parse, shown

__all__ = ["MAX_ITEMS", "MAX_LIMIT", "MAX_TABLES", "bind"]

MAX_TABLES: Final = 30
MAX_ITEMS: Final = 64
MAX_LIMIT: Final = 1_000_000

_JOIN_FUNCTIONS: Final[Mapping[type, str]] = {exp.Upper: "upper", exp.Lower: "lower", exp.Trim: "trim"}
_KEY_KINDS: Final = (Kind.TEXT, Kind.NUMBER)


def bind(text: str, catalog: Catalog) -> Query:
    """Read a query against the columns of its assets.

    Args:
        text: one SELECT statement of the documented subset.
        catalog: the columns of each asset, with their types.

    Raises:
        InvalidQuery: where it is outside the subset, or names or types do not fit; with place, expected and
            actual.
    """
    select, source = parse(text)
    return _Binder(select, source, catalog).query()


class _Binder:
    """One statement: its tables first, then each clause."""

    def __init__(self, select: exp.Select, source: Text, catalog: Catalog) -> None:
        self._select, self._source, self._catalog = select, source, catalog
        self._tables: dict[str, Table] = {}
        self._types: dict[str, dict[str, SqlType]] = {}
        self._named: dict[str, Item] = {}

    def query(self) -> Query:
        """Bind the whole."""
        self._require_known_clauses()
        joins = self._from()
        places: dict[Expression, tuple[int, int]] = {}
        rows = Scalars(self._source, self._column, places, aggregates=False)
        where = self._condition("where", rows)
        items = self._items(Scalars(self._source, self._column, places, aggregates=True))
        self._named = {item.name: item for item in items}
        keys = self._keys(items, rows)
        grouped = bool(keys) or bool(aggregates_in(*(item.value for item in items)))
        wide = Scalars(self._source, self._column_or_item, places, aggregates=True)
        having = self._condition("having", wide)
        if having is not None and not grouped:
            raise self._source.error(self._select.args["having"], "GROUP BY or an aggregate", "HAVING alone")
        ordered = [self._order(node, items, wide) for node in self._ordered()]
        # A constant orders nothing, and would read as the number of a column.
        order = tuple(one for one in ordered if not isinstance(one.value, Literal))
        made = Query(
            tuple(self._tables.values()), joins, where, keys, items, having, order, self._limit(), places
        )
        if grouped:
            self._require_grouped(made, ordered)
        elif aggregates_in(*(one.value for one in order)):
            raise self._source.error(self._select.args["order"], "columns", "an aggregate without groups")
        return replace(made, tables=tuple(_as_read(table, made) for table in made.tables))

    def _require_known_clauses(self) -> None:
        known = {"expressions", "from_", "joins", "where", "group", "having", "order", "limit"}
        for name, value in self._select.args.items():
            if value and name not in known and name != "kind":
                at = value if isinstance(value, exp.Expression) else self._select
                raise self._source.error(at, "a clause of the supported subset", name.strip("_").upper())

    # tables

    def _from(self) -> tuple[Join, ...]:
        clause = self._select.args.get("from_")
        if clause is None:
            raise self._source.error(0, "FROM and a table", "no FROM")
        self._add(clause.this)
        joined = self._select.args.get("joins") or []
        if len(joined) >= MAX_TABLES:
            raise self._source.error(joined[MAX_TABLES - 1], f"at most {MAX_TABLES} tables", "more")
        return tuple(self._join(node) for node in joined)

    def _add(self, node: exp.Expression) -> Table:
        if isinstance(node, exp.Subquery):
            table, types = self._union(node)
        elif isinstance(node, exp.Table):
            table, types = self._single(node)
        else:
            raise self._source.unsupported(node, "a table named owner.asset")
        # Two assets of one name are told apart by their owners where no alias is given.
        alias = node.alias or (table.name if node.name in self._tables else node.name)
        if alias in self._tables:
            raise self._source.error(node, "a table name not used before", shown(alias))
        owners = {part.asset.partition("/")[0] for other in self._tables.values() for part in other.parts}
        mine = [part.asset.partition("/")[0] for part in table.parts]
        again = next((owner for i, owner in enumerate(mine) if owner in owners or owner in mine[:i]), None)
        if again is not None:
            raise self._source.error(node, "tables of different owners", f"two of {again}")
        if self._tables and (table.is_union or next(iter(self._tables.values())).is_union):
            raise self._source.error(node, "UNION ALL as the only table", "a join with it")
        self._tables[alias], self._types[alias] = table, types
        return table

    def _single(self, node: exp.Table) -> tuple[Table, dict[str, SqlType]]:
        asset = self._asset(node)
        types = dict(self._catalog[asset])
        return Table(asset, (Part(asset, tuple((name, name) for name in types)),)), types

    def _asset(self, node: exp.Table) -> str:
        asset = asset_of(node)
        if not asset:
            raise self._source.error(node, "a table named owner.asset", shown(node.name))
        if asset not in self._catalog:
            known = ", ".join(sorted(self._catalog)) or "none that you know"
            raise self._source.error(node, f"a published asset: {known}", asset)
        return asset

    def _union(self, node: exp.Subquery) -> tuple[Table, dict[str, SqlType]]:
        if not node.alias:
            raise self._source.error(node, "a name for the union: (…) AS t", "none")
        branches = self._branches(node.this)
        if len(branches) < 2:
            raise self._source.error(node, "SELECT … UNION ALL SELECT …", "another subquery")
        parts: list[Part] = []
        names: list[str] = []
        types: list[SqlType] = []
        for select in branches:
            asset, columns = self._branch(select)
            found = [self._catalog[asset][own] for _, own in columns]
            if not parts:
                names, types = [name for name, _ in columns], found
                if len(set(names)) != len(names):
                    raise self._source.error(select, "distinct column names", "one twice")
            elif found != types:
                expected, actual = (", ".join(map(str, each)) for each in (types, found))
                raise self._source.error(select, f"columns of types {expected} as before", actual)
            parts.append(
                Part(asset, tuple((name, own) for name, (_, own) in zip(names, columns, strict=True)))
            )
        first = Column(node.alias, names[0], types[0])
        return Table(node.alias, tuple(parts), first), dict(zip(names, types, strict=True))

    def _branches(self, node: exp.Expression) -> list[exp.Select]:
        if isinstance(node, exp.Union):
            if node.args.get("distinct"):
                raise self._source.error(node, "UNION ALL", "UNION")
            return [*self._branches(node.this), *self._branches(node.expression)]
        if not isinstance(node, exp.Select):
            raise self._source.unsupported(node, "SELECT … UNION ALL SELECT …")
        return [node]

    def _branch(self, select: exp.Select) -> tuple[str, list[tuple[str, str]]]:
        extra = [
            name for name, value in select.args.items() if value and name not in ("expressions", "from_")
        ]
        table = select.args["from_"].this if select.args.get("from_") else None
        if extra or not isinstance(table, exp.Table):
            raise self._source.error(select, "SELECT columns FROM owner.asset", "another branch of UNION ALL")
        asset = self._asset(table)
        columns = []
        for node in select.expressions:
            column = node.this if isinstance(node, exp.Alias) else node
            if not isinstance(column, exp.Column):
                raise self._source.unsupported(node, "a column in a branch of UNION ALL")
            if column.name not in self._catalog[asset]:
                raise self._missing(column, asset, self._catalog[asset])
            columns.append((node.alias_or_name, column.name))
        return asset, columns

    def _join(self, node: exp.Join) -> Join:
        side, kind = str(node.args.get("side") or ""), str(node.args.get("kind") or "")
        if side not in ("", "LEFT") or kind not in ("", "INNER", "OUTER") or node.args.get("using"):
            raise self._source.error(node, "INNER JOIN or LEFT JOIN … ON …", f"{side} {kind} JOIN".strip())
        table, condition = self._add(node.this), node.args.get("on")
        if condition is None:
            raise self._source.error(node, "ON and keys that are equal", "a join without keys")
        keys = [self._key_pair(part, table) for part in _flat(condition, exp.And)]
        parents = {parent for parent, _ in keys}
        if len(parents) != 1:
            raise self._source.error(condition, "keys of two tables", f"keys of {len(parents) + 1}")
        return Join(table.name, parents.pop(), tuple(pair for _, pair in keys), side == "LEFT")

    def _key_pair(self, node: exp.Expression, table: Table) -> tuple[str, tuple[Expression, Expression]]:
        if not isinstance(node, exp.EQ):
            raise self._source.unsupported(node, "an equality of two keys in ON")
        one, other = self._key(node.this), self._key(node.expression)
        if _table_of(one) == table.name:
            one, other = other, one
        if _table_of(other) != table.name or _table_of(one) == table.name:
            raise self._source.error(node, f"a key of {table.name} and one of a table before", "other keys")
        if one.type != other.type:
            raise self._source.error(node, f"keys of one type, {one.type}", str(other.type))
        return _table_of(one), (one, other)

    def _key(self, node: exp.Expression) -> Expression:
        if isinstance(node, exp.Paren):
            return self._key(node.this)
        name = _JOIN_FUNCTIONS.get(type(node))
        if name is not None:
            part = self._key(node.this)
            if part.type.kind is not Kind.TEXT or any(
                value for arg, value in node.args.items() if arg != "this"
            ):
                raise self._source.error(node, f"{name.upper()} of a text", str(part.type))
            return Function(name, part)
        if not isinstance(node, exp.Column):
            raise self._source.unsupported(node, "a column, or UPPER, LOWER or TRIM of one, as a key")
        found = self._column(node)
        if found.type.kind not in _KEY_KINDS or found.type.scale:
            raise self._source.error(node, "a text or an integer as a key", str(found.type))
        return found

    # names

    def _column(self, node: exp.Column) -> Column:
        if node.args.get("db"):
            wanted = f"{node.args['db'].name}/{node.table}"
            aliases = [alias for alias, table in self._tables.items() if table.name == wanted]
        else:
            aliases = [
                alias
                for alias in self._types
                if node.table == alias or (not node.table and node.name in self._types[alias])
            ]
        if node.args.get("catalog") or not aliases:
            if not node.table:
                known = sorted({name for types in self._types.values() for name in types})
                raise self._missing(node, "the tables", known)
            raise self._source.error(node, f"one of the tables {', '.join(self._types)}", shown(node.table))
        if len(aliases) > 1:
            raise self._source.error(node, f"a table before it: {' or '.join(aliases)}", shown(node.name))
        types = self._types[aliases[0]]
        if node.name not in types:
            raise self._missing(node, aliases[0], types)
        return Column(self._tables[aliases[0]].name, node.name, types[node.name])

    def _column_or_item(self, node: exp.Column) -> Expression:
        item = self._named.get(node.name) if not node.table else None
        return self._column(node) if item is None else item.value

    def _missing(self, node: exp.Expression, where: str, known: Iterable[str]) -> InvalidQuery:
        return self._source.error(node, f"a column of {where}: {', '.join(sorted(known))}", shown(node.name))

    # clauses

    def _condition(self, clause: str, scalars: Scalars) -> Expression | None:
        node = self._select.args.get(clause)
        return None if node is None else scalars.condition(node.this)

    def _items(self, scalars: Scalars) -> tuple[Item, ...]:
        nodes = self._select.expressions
        if len(nodes) > MAX_ITEMS:
            raise self._source.error(nodes[MAX_ITEMS], f"at most {MAX_ITEMS} columns", str(len(nodes)))
        items, taken = [], set()
        for number, node in enumerate(nodes, start=1):
            value = scalars.value(node.this if isinstance(node, exp.Alias) else node)
            name = node.alias_or_name if isinstance(node, exp.Alias | exp.Column) else node.key
            if name in taken and not isinstance(node, exp.Alias):
                name = f"{name}_{number}"
            if name in taken:
                raise self._source.error(node, "a column name not used before", shown(name))
            if value.type.kind in (Kind.NULL, Kind.FLOAT):
                expected = "CAST(… AS DECIMAL(18, digits)) of a floating column"
                raise self._source.error(node, expected, str(value.type))
            taken.add(name)
            items.append(Item(name, value))
        return tuple(items)

    def _keys(self, items: tuple[Item, ...], scalars: Scalars) -> tuple[Expression, ...]:
        clause = self._select.args.get("group")
        if clause is None:
            return ()
        for name, value in clause.args.items():
            if value and name != "expressions":
                raise self._source.error(clause, "GROUP BY and expressions", name.upper())
        keys = []
        for node in clause.expressions:
            key = self._item_named(node, items) or scalars.value(node)
            if aggregates_in(key):
                raise self._source.error(node, "an expression over rows", "an aggregate")
            if key.type.kind in (Kind.FLOAT, Kind.NULL) or isinstance(key, Literal):
                raise self._source.error(node, "a column or expression to group by", str(key.type))
            keys.append(key)
        return tuple(dict.fromkeys(keys))

    def _item_named(self, node: exp.Expression, items: tuple[Item, ...]) -> Expression | None:
        """The item that a number, or a name that is no column, stands for."""
        if isinstance(node, exp.Literal) and not node.is_string:
            if not node.name.isdigit() or not 1 <= int(node.name) <= len(items):
                raise self._source.error(node, f"the number of a column, 1 to {len(items)}", node.name)
            return items[int(node.name) - 1].value
        if isinstance(node, exp.Column) and not node.table:
            is_column = any(node.name in types for types in self._types.values())
            item = self._named.get(node.name)
            return None if item is None or is_column else item.value
        return None

    def _ordered(self) -> Sequence[exp.Expression]:
        clause = self._select.args.get("order")
        return () if clause is None else clause.expressions

    def _order(self, node: exp.Expression, items: tuple[Item, ...], scalars: Scalars) -> Order:
        inner = node.this
        named = self._named.get(inner.name) if isinstance(inner, exp.Column) and not inner.table else None
        value = named.value if named else self._item_named(inner, items) or scalars.value(inner)
        if value.type.kind in (Kind.NULL, Kind.FLOAT):
            raise self._source.error(inner, "a value that orders", str(value.type))
        return Order(value, bool(node.args.get("desc")), bool(node.args.get("nulls_first")))

    def _limit(self) -> int | None:
        clause = self._select.args.get("limit")
        if clause is None:
            return None
        node = clause.args.get("expression")
        digits = node.name if isinstance(node, exp.Literal) and not node.is_string else ""
        if not digits.isdigit() or not 1 <= int(digits) <= MAX_LIMIT:
            raise self._source.error(clause, f"LIMIT with a number from 1 to {MAX_LIMIT}", shown(digits))
        return int(digits)

    def _require_grouped(self, query: Query, ordered: Sequence[Order]) -> None:
        """Check that rows of the answer are made from keys and aggregates alone."""
        parts: list[tuple[exp.Expression, Expression]] = [
            *zip(self._select.expressions, (item.value for item in query.items), strict=True),
            *((node, one.value) for node, one in zip(self._ordered(), ordered, strict=True)),
        ]
        if query.having is not None:
            parts.append((self._select.args["having"], query.having))
        for node, value in parts:
            loose = _loose(value, query.keys)
            if loose is not None:
                raise self._source.error(node, "a key of GROUP BY or an aggregate", f"column {loose.name}")


def _loose(node: Expression, keys: tuple[Expression, ...]) -> Column | None:
    """A column that stands neither in a key nor in an aggregate."""
    if node in keys or isinstance(node, Aggregate):
        return None
    if isinstance(node, Column):
        return node
    return next((found for part in children(node) if (found := _loose(part, keys)) is not None), None)


def _flat(node: exp.Expression, kind: type[exp.Connector]) -> list[exp.Expression]:
    """The parts of a chain of AND or OR, whatever parentheses stand around it."""
    stack, found = [node], []
    while stack:
        here = stack.pop()
        if isinstance(here, exp.Paren):
            stack.append(here.this)
        elif isinstance(here, kind):
            stack += [here.expression, here.this]
        else:
            found.append(here)
    return found


def _table_of(key: Expression) -> str:
    while isinstance(key, Function):
        key = key.part
    return key.table if isinstance(key, Column) else ""


def _as_read(table: Table, query: Query) -> Table:
    """A table without the columns that its branches list and nothing reads: an owner need not have them."""
    if not table.is_union:
        return table
    read = {column.name: column for column in query.reads(table.name)}
    parts = tuple(
        replace(part, columns=tuple(pair for pair in part.columns if pair[0] in read)) for part in table.parts
    )
    return replace(table, parts=parts, first=read[parts[0].columns[0][0]])
