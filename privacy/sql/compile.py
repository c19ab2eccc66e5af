"""Question → Plan: the gate, as a tuple of small named rules.

Owns the order of the work. Each rule reads the draft and adds one thing to it or refuses; none touches data, a clock or a
source of randomness (law 4), so the same text and the same facts always give the same plan or the same refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import DatasetFacts, Kind, Value
from privacy.sql.aggregates import AggregateReader, summed_terms
from privacy.sql.around import Around, Core
from privacy.sql.bound import FEWEST_BINS, MAX_CELLS, MAX_STATISTICS, Measure, most_bins, statistics
from privacy.sql.expressions import Reader
from privacy.sql.finish import AnswerScope, opened
from privacy.sql.membership import row_condition
from privacy.sql.parse import MAX_DEPTH, parse_query, require_clauses, require_select
from privacy.sql.plan import Aggregate, Codes, Key, Output, Plan, Statistic
from privacy.sql.problems import (
    NoAggregate,
    SqlTooDeep,
    TooManyCells,
    TooManyParts,
)
from privacy.sql.resolve import Relation
from privacy.sql.rows import coded_sql, counted, digit, rows_sql
from privacy.sql.selects import group_nodes, require_no_aggregate, require_no_star
from privacy.sql.shape import MAX_OUTPUTS, Shape, redrawn_cell, shaped, tried_condition
from privacy.sql.terms import Term
from privacy.sql.texts import MAX_JOINED_TEXTS, growth
from privacy.sql.tracked import Names, resolve_from

MAX_KEYS = 12
#: A unit of more private keys than this has no say in which keys are shown: the threshold grows with it.
MAX_KEYS_OF_A_UNIT = 256
#: Values that are held at once to draw an answer with windows again, and the fewest draws that give an interval.
MAX_REDRAWN = 16_000_000
MIN_DRAWS = 100


@dataclass(kw_only=True)
class Draft:
    """A plan in the making; each rule fills in what its name says."""

    select: exp.Select
    facts: DatasetFacts
    names: Names
    relation: Relation = field(init=False)
    conditions: tuple[str, ...] = ()
    key_nodes: list[exp.Expr] = field(default_factory=list)
    key_terms: list[Term] = field(default_factory=list)
    keys: tuple[Key, ...] = ()
    cells: int | None = 1
    aggregates: AggregateReader = field(init=False)
    scope: AnswerScope = field(init=False)
    outputs: list[Output] = field(default_factory=list)
    output_terms: list[Term] = field(default_factory=list)
    spread: dict[str, Term] = field(default_factory=dict)
    derived_windows: int = 0
    shape: Shape = field(init=False)
    measures: tuple[Measure, ...] = ()
    statistics: tuple[Statistic, ...] = ()
    length_share: Fraction = Fraction(0)


def compile_query(sql: str, facts: DatasetFacts) -> Plan:
    """Accept a question as a Plan, or raise a `Malformed`, `TooLarge` or `SqlRefused` that says why.

    A thread of its own has a stack of its own: how deep a text may be nested does not depend on who calls.
    """
    with ThreadPoolExecutor(max_workers=1) as own_stack:
        return own_stack.submit(_compile, sql, facts).result()


def _compile(sql: str, facts: DatasetFacts) -> Plan:
    query = parse_query(sql)
    try:
        names = Names(facts=facts)
        around = Around(names, lambda select, known: _core(Draft(select=select, facts=facts, names=known)))
        if around.encloses(query):
            joined_texts(query)
            return around.plan(query)
        return _plan(_ruled(Draft(select=require_select(query), facts=facts, names=names)))
    except RecursionError as error:
        raise SqlTooDeep(limit=MAX_DEPTH) from error


def _ruled(draft: Draft) -> Draft:
    joined_texts(draft.select)
    for rule in RULES:
        rule(draft)
    return draft


def _core(draft: Draft) -> Core:
    """An answer that a question is asked around, and its columns as the rows of a table."""
    require_clauses(draft.select)
    plan = _plan(_ruled(draft))
    unit = draft.relation.unit
    assert unit is not None, "an answer is about units"
    return Core(
        plan=plan,
        unit=unit,
        shape=draft.shape,
        terms=tuple(draft.output_terms),
        keys=tuple(t.sql for t in draft.key_terms),
        rows=min(draft.shape.most, MAX_CELLS if draft.cells is None else draft.cells),
    )


def joined_texts(query: exp.Expr) -> None:
    """Joining and replacing are the only operations whose result can outgrow its operands."""
    count = growth(query)
    if count > MAX_JOINED_TEXTS:
        raise TooManyParts(
            count=count, part=Text("texts joined or replaced", "拼接或替换的文本"), limit=MAX_JOINED_TEXTS
        )


def tracked_relation(draft: Draft) -> None:
    """FROM and JOIN: one private table, every row of one unit."""
    draft.relation = resolve_from(draft.select, draft.facts, draft.names)


def row_filter(draft: Draft) -> None:
    """WHERE: conditions on rows."""
    where = draft.select.args.get("where")
    if where is None:
        return
    require_no_aggregate(where)
    draft.conditions = (row_condition(where.this, draft.relation.scope),)


def grouping_keys(draft: Draft) -> None:
    """GROUP BY: columns, expressions, positions, aliases or ALL."""
    nodes = group_nodes(draft.select, draft.relation.scope)
    if len(nodes) > MAX_KEYS:
        raise TooManyParts(count=len(nodes), part=Text("grouping keys", "分组键"), limit=MAX_KEYS)
    reader = Reader(draft.relation.scope)
    for node in nodes:
        term = reader.read(node)
        if term.sql not in [t.sql for t in draft.key_terms]:
            draft.key_nodes.append(node)
            draft.key_terms.append(term)


def key_domains(draft: Draft) -> None:
    """Which keys are public: a declared domain, a boolean, or an expression of few possible values."""
    pairs = zip(draft.key_nodes, draft.key_terms, strict=True)
    domains = [_public_values(node, term) for node, term in pairs]
    if any(d is None for d in domains):
        domains = [None] * len(domains)
    keys = []
    for i, (term, domain) in enumerate(zip(draft.key_terms, domains, strict=True)):
        values: tuple[Value | None, ...] | None = None
        if domain is not None:
            values = (*domain, None) if term.nullable else domain
        keys.append(Key(name=f"k{i}", kind=term.kind or Kind.TEXT, domain=values))
    draft.keys = tuple(keys)
    draft.cells = _cells(draft.keys)


def _public_values(node: exp.Expr, term: Term) -> tuple[Value, ...] | None:
    """A bare column is public only if the steward said so; an expression may be public by its form."""
    return term.domain if isinstance(node, exp.Column) else term.key_domain


def _cells(keys: tuple[Key, ...]) -> int | None:
    count = 1
    for key in keys:
        if key.domain is None:
            return None
        count *= len(key.domain)
    if count > MAX_CELLS:
        raise TooManyCells(count=count, limit=MAX_CELLS)
    return count


def answer_columns(draft: Draft) -> None:
    """SELECT: keys, aggregates and arithmetic on them; meeting an aggregate asks for its statistics."""
    items = draft.select.expressions
    if len(items) > MAX_OUTPUTS:
        raise TooManyParts(count=len(items), part=Text("columns", "列"), limit=MAX_OUTPUTS)
    require_no_star(items)
    by_sql = {t.sql: _key_term(f"k{i}", t) for i, t in enumerate(draft.key_terms)}
    draft.aggregates = AggregateReader(draft.relation, summed_terms(opened(draft.select), draft.relation))
    draft.scope = AnswerScope(aggregates=draft.aggregates, keys=by_sql)
    for i, item in enumerate(items):
        term = Reader(draft.scope).read(item.unalias())
        draft.outputs.append(_output(item, term, draft))
        draft.output_terms.append(term)
        if draft.outputs[-1].is_redrawn:
            draft.spread[f"o{i}"] = term
    draft.scope.aliases = {
        item.alias.casefold(): replace(draft.output_terms[i], sql=f"o{i}") for i, item in enumerate(items) if item.alias
    }
    draft.scope.windowed = frozenset(e.alias.casefold() for e in items if e.alias and e.find(exp.Window) is not None)
    draft.derived_windows = len(draft.scope.windows)


def _key_term(name: str, term: Term) -> Term:
    return Term(sql=name, kind=term.kind, nullable=term.nullable, domain=term.domain)


def _output(item: exp.Expr, term: Term, draft: Draft) -> Output:
    node = item.unalias()
    name = item.alias or (node.name if isinstance(node, exp.Column) else node.sql(dialect="duckdb", comments=False))
    statistics_met = {f"s{i}" for i in range(len(draft.aggregates.measures))}
    return Output(
        name=name,
        kind=term.kind or Kind.TEXT,
        is_key=node.find(exp.AggFunc, exp.Window) is None,
        statistic=term.sql if term.sql in statistics_met else None,
        average=draft.aggregates.averages.get(term.sql),
    )


def answer_shape(draft: Draft) -> None:
    """HAVING, QUALIFY, ORDER BY, LIMIT and OFFSET over the noisy answer; ties and the default order follow the keys."""
    draft.shape = shaped(draft.select, draft.select.expressions, draft.output_terms, draft.scope, tried_condition)


def bounded_statistics(draft: Draft) -> None:
    """Name, bound and share: what is asked, plus what selecting keys and the minimum of units need."""
    measures = list(draft.aggregates.measures)
    if not measures:
        unit = draft.relation.unit
        raise NoAggregate(column=unit.column if unit else "")
    if draft.facts.min_units > 0 and all(m.aggregate is not Aggregate.UNITS for m in measures):
        measures.append(Measure(aggregate=Aggregate.UNITS, row="", label="units"))
    if draft.cells is None:
        measures.append(Measure(aggregate=Aggregate.WEIGHT, row="", label="keys"))
    if len(measures) > MAX_STATISTICS:
        raise TooManyParts(count=len(measures), part=Text("aggregates", "聚合"), limit=MAX_STATISTICS)
    _require_room(sum(m.order is not None for m in measures), draft.cells)
    draft.measures = tuple(measures)
    draft.statistics, draft.length_share = statistics(measures, max_rows=draft.relation.max_rows, cells=draft.cells)


def _require_room(quantiles: int, cells: int | None) -> None:
    """Refuse more cells than there are bins for."""
    if quantiles and cells is not None and most_bins(quantiles, cells) < FEWEST_BINS:
        raise TooManyCells(count=cells, limit=most_bins(quantiles, FEWEST_BINS))


#: The gate. Order matters: each rule may use what those before it added.
RULES: tuple[Callable[[Draft], None], ...] = (
    tracked_relation,
    row_filter,
    grouping_keys,
    key_domains,
    answer_columns,
    answer_shape,
    bounded_statistics,
)


def _plan(draft: Draft) -> Plan:
    unit = draft.relation.unit
    keys = [_key_sql(n, t) for n, t in zip(draft.key_nodes, draft.key_terms, strict=True)]
    coded, codes = _coded(draft, keys)
    return Plan(
        question=draft.select.sql(dialect="duckdb", comments=False),
        facts_digest=draft.facts.digest(),
        unit=unit.stands_for if unit else "",
        tables=draft.relation.tables,
        keys=draft.keys,
        statistics=draft.statistics,
        outputs=tuple(draft.outputs),
        rows_sql=rows_sql(draft.relation, draft.conditions, keys, draft.measures),
        coded_sql=coded,
        codes=codes,
        finish_sql=finish_sql(draft),
        spread_sql=_spread_sql(draft),
        max_rows=draft.relation.max_rows,
        max_keys=min(draft.relation.max_rows, MAX_KEYS_OF_A_UNIT),
        min_units=draft.facts.min_units,
        length_share=draft.length_share,
    )


def _coded(draft: Draft, keys: list[str]) -> tuple[str, tuple[Codes, ...]]:
    """The rows with numbers in place of keys and of values that are counted, when all of these can be numbered."""
    origins = [_origin(draft, node) for node in draft.key_nodes]
    digits = [digit(k, t, sql, o) for k, t, sql, o in zip(draft.keys, draft.key_terms, keys, origins, strict=True)]
    numbered = [d for d in digits if d is not None]
    values = [counted(m) for m in draft.measures if m.aggregate is Aggregate.DISTINCT]
    if len(numbered) < len(digits) or None in values:
        return "", ()
    text = coded_sql(draft.relation, draft.conditions, numbered, draft.measures)
    return text, tuple(d.codes for d in (*numbered, *values) if d is not None)


def _origin(draft: Draft, key: exp.Expr) -> Term | None:
    """The stored column that a key is made of, when it is made of one."""
    found = [draft.relation.scope.column(c) for c in key.find_all(exp.Column)]
    first = found[0] if found else None
    return first if first is not None and first.stored is not None and all(t == first for t in found) else None


def _key_sql(node: exp.Expr, term: Term) -> str:
    """A key that can be carried and shown: not-a-number, infinities and days beyond the calendar of Python are NULL.

    Equal keys look alike: -0.0 equals 0.0, and which of the two a group would show depends on the row that comes first.
    """
    if term.kind in (Kind.DATE, Kind.TIMESTAMP) and (term.since is None or term.until is None):
        return f"TRY(CASE WHEN {term.sql} >= DATE '0001-01-01' AND {term.sql} < DATE '9999-12-31' THEN {term.sql} END)"
    if isinstance(node, exp.Column):
        return term.sql
    return (
        f"TRY(CASE WHEN isfinite({term.sql}) THEN {term.sql} + 0.0::DOUBLE END)"
        if term.kind is Kind.NUMBER
        else f"TRY({term.sql})"
    )


def finish_sql(draft: Draft) -> str:
    """The answer as text over the noisy cells (`Shape.sql`)."""
    return draft.shape.sql("noisy", "cell", [k.name for k in draft.keys])


def _spread_sql(draft: Draft) -> str:
    """95 % of what each derived column would be if the noise were drawn again around the answer; "" when none is derived."""
    if not draft.spread:
        return ""
    keys = "".join(f", n.{k.name}" for k in draft.keys)
    if draft.derived_windows:
        steps = _redrawn_windows(draft, f"n.cell, z.draw{keys}")
    else:
        redrawn = ", ".join(s.redrawn(f"z.{s.name}") for s in draft.statistics)
        steps = [
            f"drawn AS (SELECT n.cell{keys}, {redrawn} FROM noisy AS n CROSS JOIN normals AS z CROSS JOIN scales AS c)"
        ]
    values = ", ".join(f"TRY(CAST({t.sql} AS DOUBLE)) AS {name}" for name, t in draft.spread.items())
    ends = ", ".join(
        f"quantile_cont({name}, {p}) FILTER (WHERE isfinite({name}))" for name in draft.spread for p in (0.025, 0.975)
    )
    steps.append(f"derived AS (SELECT cell, {values} FROM drawn)")
    return f"WITH {', '.join(steps)} SELECT cell, {ends} FROM derived GROUP BY cell"


def _redrawn_windows(draft: Draft, columns: str) -> list[str]:
    """A window sees one draw of the rows that HAVING left in the answer, each with noise of its own.

    Unlike other columns, all draws of all rows are held at once. Where that is too much there are fewer draws, or none.
    """
    windows = draft.scope.windows[: draft.derived_windows]
    room = MAX_REDRAWN // (len(draft.keys) + len(draft.statistics) + len(windows))
    having = f" WHERE {draft.shape.having}" if draft.shape.having else ""
    redrawn = ", ".join(redrawn_cell(i, s) for i, s in enumerate(draft.statistics))
    over = ", ".join(f"{w.sql('draw')} AS w{i}" for i, w in enumerate(windows))
    return [
        f"shown AS (SELECT * FROM (SELECT {draft.shape.computed(draft.shape.plain)} FROM noisy){having})",
        "draws AS (SELECT row_number() OVER () AS draw, (SELECT count(*) FROM noisy) AS size FROM normals)",
        f"redrawn AS (SELECT {columns}, {redrawn} FROM shown AS n CROSS JOIN draws AS z CROSS JOIN scales AS c "
        f"WHERE greatest(z.draw, {MIN_DRAWS}) * z.size <= {room})",
        f"drawn AS (SELECT *, {over} FROM redrawn)",
    ]
