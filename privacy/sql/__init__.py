"""The SQL gate: text and public facts in, a Plan or a refusal out.

`compile_query` is the door; `Plan` is what leaves. The rooms behind it, in the order a question walks: `parse` (text →
tree), `resolve` (tables, the tracked unit), `expressions` and `functions` (total row expressions), `aggregates` (what
is summed, and its value over noisy sums), `finish` (the asker's columns over noisy cells),
`bound` (exact integers with a bound), `compile` (the rules in order).
"""

from privacy.sql.compile import compile_query
from privacy.sql.plan import Plan

__all__ = ["Plan", "compile_query"]
