"""The SQL gate: text and public facts in, a Plan or a refusal out.

`compile_query` is the door; `Plan` is what leaves. The rooms behind it, in the order a question walks:

- `parse` (text → tree);
- `tracked` (FROM, WITH and subqueries, where every row keeps its unit), with `resolve` (names and what is known of them),
  `joins`, `membership` (IN, EXISTS), `selects`, `layers` and `within` (what is grouped or windowed inside a unit);
- `expressions`, `functions`, `calendar`, `texts`, `patterns`, `formats` (total row expressions), and `terms` (what is public
  of them);
- `aggregates` (what is summed, and its value over noisy sums), `finish` (the asker's columns over noisy cells);
- `bound` (what a unit may add, and why), `rows` (the rows as text), `reference` (bounding as text), `plan` (what leaves);
- `shape` (HAVING to LIMIT, as text);
- `around` (questions around answers), with `sets` (GROUPING SETS, and subqueries beside aggregates, as such questions), `small`
  (noisy cells and public rows as tables), `outer` and `plain` (what stands around them);
- `compile` (the rules in order);
- `words` (the dialect in words) and `dialect` (its tables, made by asking the gate).
"""

from privacy.sql.compile import compile_query
from privacy.sql.plan import Plan

__all__ = ["Plan", "compile_query"]
