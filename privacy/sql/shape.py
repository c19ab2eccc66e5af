"""The shape of an answer: its columns, HAVING, windows, QUALIFY, DISTINCT, ORDER BY and LIMIT, as DuckDB text over rows.

Owns the order in which these clauses work and the text that they become together, for the noisy cells of an answer as for
selects around it. It never reads FROM, WHERE or GROUP BY and sees no table: the rows it shapes are named by its caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlglot import exp

from privacy.facts import Kind
from privacy.sql.expressions import Reader
from privacy.sql.finish import AnswerScope, AnswerWindow, order_text
from privacy.sql.plan import Aggregate, Statistic
from privacy.sql.problems import BadPosition
from privacy.sql.selects import place
from privacy.sql.terms import Term

MAX_OUTPUTS = 100
MAX_ROWS_SHOWN = 10**9

Condition = Callable[[exp.Expr, str, AnswerScope], str]
"""Reads a condition (the node, and the clause it stands in) as total text."""


def redrawn_cell(place: int, statistic: Statistic) -> str:
    """The statistic at this place with the noise of draw `z.draw`, each cell's by itself, in the type that the answer has it in.

    Normal numbers are made of hashes (Box & Muller 1958): nothing secret is drawn, and the same answer has the same intervals.
    A draw of odd number is the one before it, mirrored, which makes the spread of few draws as good as that of more.
    """
    if statistic.aggregate is Aggregate.WEIGHT:
        return f"n.{statistic.name}"
    even = [f"(hash(hash(n.cell, z.draw // 2, {2 * place + i}))::DOUBLE + 1) / 18446744073709551616" for i in (0, 1)]
    return statistic.redrawn(f"((1 - 2 * (z.draw % 2)) * sqrt(-2 * ln({even[0]})) * cos(2 * pi() * {even[1]}))")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What becomes of rows. `outputs` are computed once, as o0, o1, …; HAVING and ORDER BY refer to them by these names.

    `plain` are the outputs that hold no window. `limit` is OFFSET and LIMIT as written, `most` what LIMIT says.
    """

    outputs: tuple[Term, ...]
    plain: tuple[str, ...]
    windows: tuple[AnswerWindow, ...]
    having: str
    qualify: str
    order: tuple[str, ...]
    limit: str
    most: int
    distinct: bool

    def sql(self, source: str, row: str, ties: Sequence[str], *, choosing: bool = True) -> str:
        """`row`, then the outputs, of the rows of `source`, in order; `ties` put those in order that are alike otherwise.

        Windows (w0, w1, …) are computed over the rows that HAVING leaves; then follow the columns made of them, and QUALIFY.
        Without `choosing` no row is left out that only the end of the text would leave out, and rows come in any order.
        """
        outputs = [f"o{i}" for i in range(len(self.outputs))]
        having = self.having if choosing or self.windows else ""
        where = f" WHERE {having}" if having else ""
        source = f"(SELECT {self.computed(self.plain)} FROM {source})"
        if self.windows:
            windows = ", ".join(f"{w.sql()} AS w{i}" for i, w in enumerate(self.windows))
            source, where = f"(SELECT *, {windows} FROM {source}{where})", ""
            source = f"(SELECT {self.computed([o for o in outputs if o not in self.plain])} FROM {source})"
        if self.qualify and choosing:
            where += f"{' AND' if where else ' WHERE'} {self.qualify}"
        keys = [f"{tie} ASC NULLS LAST" for tie in ties]
        order = f" ORDER BY {', '.join([*self.order, *keys])}" if self.order or keys else ""
        order = order if choosing or self.distinct else ""
        distinct = f"DISTINCT ON ({', '.join(outputs)}) " if self.distinct else ""
        limit = self.limit if choosing else ""
        return f"SELECT {distinct}{', '.join([row, *outputs])} FROM {source}{where}{order}{limit}"

    def computed(self, outputs: Sequence[str]) -> str:
        """Everything that is there, and these outputs."""
        return ", ".join(["*", *(f"TRY({self.outputs[int(o[1:])].sql}) AS {o}" for o in outputs)])


def shaped(
    select: exp.Select, items: list[exp.Expr], outputs: list[Term], scope: AnswerScope, condition: Condition
) -> Shape:
    """Read what stands behind GROUP BY. `items` is the SELECT list, whose columns are `outputs` and whose names `scope` knows.

    HAVING is a condition on rows before windows see them, QUALIFY another one after that; ORDER BY, LIMIT and OFFSET come last.
    """
    having, qualify = select.args.get("having"), select.args.get("qualify")
    left = kept = ""
    if having is not None:
        with scope.without_windows():
            left = condition(having.this, "HAVING", scope)
    if qualify is not None:
        kept = condition(qualify.this, "QUALIFY", scope)
    ordered = select.args.get("order")
    order = [order_text(i, lambda n: _sort_text(n, items, scope)) for i in (ordered.expressions if ordered else ())]
    limit, most = "", MAX_ROWS_SHOWN
    for name in ("limit", "offset"):
        clause = select.args.get(name)
        if clause is not None:
            count = _row_count(clause.expression, name.upper())
            limit += f" {name.upper()} {count}"
            most = count if name == "limit" else most
    return Shape(
        outputs=tuple(outputs),
        plain=tuple(f"o{i}" for i, e in enumerate(items) if e.find(exp.Window) is None),
        windows=tuple(scope.windows),
        having=left,
        qualify=kept,
        order=tuple(order),
        limit=limit,
        most=most,
        distinct=bool(select.args.get("distinct")),
    )


def tried_condition(node: exp.Expr, name: str, scope: AnswerScope) -> str:
    """A condition without subqueries."""
    return f"TRY({Reader(scope).of_kind(node, name, Kind.BOOLEAN).sql})"


def _sort_text(node: exp.Expr, items: list[exp.Expr], scope: AnswerScope) -> str:
    if isinstance(node, exp.Literal) and not node.args.get("is_string"):
        return f"o{place(node, items, 'ORDER BY')}"
    if isinstance(node, exp.Column) and not node.table and node.name.casefold() in scope.aliases:
        return scope.aliases[node.name.casefold()].sql
    return f"TRY({Reader(scope).read(node).sql})"


def _row_count(node: exp.Expr, name: str) -> int:
    text = node.name if isinstance(node, exp.Literal) and not node.args.get("is_string") else ""
    if not text.isdecimal() or len(text) > 9:
        raise BadPosition(name=name, low=0, high=MAX_ROWS_SHOWN - 1)
    return int(text)
