"""Which value of an ordered group a text asks for: MEDIAN, QUANTILE, PERCENTILE … WITHIN GROUP, MIN and MAX, read as one thing.

Owns the spellings. The level is a constant of the text, so it shapes a plan and tells of no row (law 4); what is drawn for it
stands in `privacy.order`. It never reads the operand and never guesses: a list of levels, a computed level or an order of
something else is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from sqlglot import exp

from privacy.errors import Text
from privacy.sql.parse import refuse, require_arguments

#: The nodes that `order_of` reads.
ORDERED = (exp.Median, exp.Quantile, exp.PercentileCont, exp.PercentileDisc, exp.WithinGroup, exp.Min, exp.Max)
#: Levels are fractions of this: ranks are compared as whole numbers of 64 bits.
FINEST_LEVEL = 10**6
_ENDS: dict[type[exp.Expr], Fraction] = {exp.Median: Fraction(1, 2), exp.Min: Fraction(0), exp.Max: Fraction(1)}
_LEVEL = Text(
    "Write one number from 0 to 1 with up to six decimals: QUANTILE_CONT(x, 0.9).",
    "请写一个 0 到 1 之间、最多六位小数的数：QUANTILE_CONT(x, 0.9)。",
)
_WITHIN = Text(
    "Write PERCENTILE_CONT(0.9) WITHIN GROUP (ORDER BY x).", "请写成 PERCENTILE_CONT(0.9) WITHIN GROUP (ORDER BY x)。"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """`operand`'s value below which the part `level` of the rows lies."""

    operand: exp.Expr
    level: Fraction


def order_of(node: exp.Expr) -> Asked:
    """What a node of `ORDERED` asks for. Raises `Unsupported`."""
    if isinstance(node, exp.WithinGroup):
        return _within(node)
    if type(node) in _ENDS:
        require_arguments(node, "this")
        return Asked(operand=node.this, level=_ENDS[type(node)])
    name = "quantile" if isinstance(node, exp.Quantile) else "expression"
    require_arguments(node, "this", name)
    return Asked(operand=node.this, level=_level(node.args.get(name), node))


def _within(node: exp.WithinGroup) -> Asked:
    require_arguments(node, "this", "expression")
    inner, order = node.this, node.expression
    items = order.expressions if isinstance(order, exp.Order) else []
    if not isinstance(inner, exp.PercentileCont | exp.PercentileDisc) or len(items) != 1:
        raise refuse(Text("this WITHIN GROUP", "该 WITHIN GROUP"), node, _WITHIN)
    require_arguments(inner, "this")
    require_arguments(items[0], "this", "desc", "nulls_first")
    level = _level(inner.this, node)
    return Asked(operand=items[0].this, level=1 - level if items[0].args.get("desc") else level)


def _level(node: exp.Expr | None, whole: exp.Expr) -> Fraction:
    """A literal from 0 to 1."""
    text = node.name if isinstance(node, exp.Literal) and not node.args.get("is_string") else ""
    digits = text.replace(".", "", 1)
    if len(digits) <= 8 and digits.isdecimal() and digits.isascii():
        level = Fraction(text)
        if level <= 1 and FINEST_LEVEL % level.denominator == 0:
            return level
    raise refuse(Text("this level of a quantile", "该分位数的分位水平"), whole, _LEVEL)
