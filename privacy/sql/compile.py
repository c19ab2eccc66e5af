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
from privacy.sql.bound import FEWEST_BINS, MAX_CELLS, MAX_STATISTICS, Measure, most_bins, statistics
from privacy.sql.expressions import Reader
from privacy.sql.finish import AnswerScope, opened, order_text
from privacy.sql.membership import row_condition
from privacy.sql.parse import MAX_DEPTH, parse_select, refuse
from privacy.sql.plan import Aggregate, Codes, Key, Output, Plan, Statistic
from privacy.sql.problems import (
    BadPosition,
    NoAggregate,
    SqlTooDeep,
    TooManyCells,
    TooManyParts,
)
from privacy.sql.resolve import Relation
from privacy.sql.rows import coded_sql, digit, rows_sql
from privacy.sql.selects import group_nodes, place, require_no_aggregate
from privacy.sql.terms import Term
from privacy.sql.texts import MAX_JOINED_TEXTS, growth
from privacy.sql.tracked import resolve_from

MAX_KEYS = 12
MAX_OUTPUTS = 100
#: A unit of more private keys than this has no say in which keys are shown: the threshold grows with it.
MAX_KEYS_OF_A_UNIT = 256
MAX_ROWS_SHOWN = 10**9
#: Values that are held at once to draw an answer with windows again, and the fewest draws that give an interval.
MAX_REDRAWN = 16_000_000
MIN_DRAWS = 100


@dataclass(kw_only=True)
class Draft:
    """A plan in the making; each rule fills in what its name says."""

    select: exp.Select
    facts: DatasetFacts
    relation: Relation = field(init=False)
    conditions: tuple[str, ...] = ()
    key_nodes: list[exp.Expr] = field(default_factory=list)
    key_terms: list[Term] = field(default_factory=list)
    keys: tuple[Key, ...] = ()
    cells: int | None = 1
    scope: AnswerScope = field(init=False)
    outputs: list[Output] = field(default_factory=list)
    output_terms: list[Term] = field(default_factory=list)
    spread: dict[str, Term] = field(default_factory=dict)
    having: str = ""
    qualify: str = ""
    derived_windows: int = 0
    order: list[str] = field(default_factory=list)
    limit: str = ""
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
    draft = Draft(select=parse_select(sql), facts=facts)
    try:
        for rule in RULES:
            rule(draft)
        return _plan(draft)
    except RecursionError as error:
        raise SqlTooDeep(limit=MAX_DEPTH) from error


def joined_texts(draft: Draft) -> None:
    """Joining and replacing are the only operations whose result can outgrow its operands."""
    count = growth(draft.select)
    if count > MAX_JOINED_TEXTS:
        raise TooManyParts(
            count=count, part=Text("texts joined or replaced", "拼接或替换的文本"), limit=MAX_JOINED_TEXTS
        )


def tracked_relation(draft: Draft) -> None:
    """FROM and JOIN: one private table, every row of one unit."""
    draft.relation = resolve_from(draft.select, draft.facts)


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
    by_sql = {t.sql: _key_term(f"k{i}", t) for i, t in enumerate(draft.key_terms)}
    aggregates = AggregateReader(draft.relation, summed_terms(opened(draft.select), draft.relation))
    draft.scope = AnswerScope(aggregates=aggregates, keys=by_sql)
    for i, item in enumerate(items):
        if isinstance(item, exp.Star):
            raise refuse(
                Text("* (all columns)", "*（全部列）"),
                item,
                Text("Name the columns you group by.", "请写出分组所用的列。"),
            )
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
    statistics_met = {f"s{i}" for i in range(len(draft.scope.aggregates.measures))}
    return Output(
        name=name,
        kind=term.kind or Kind.TEXT,
        is_key=node.find(exp.AggFunc, exp.Window) is None,
        statistic=term.sql if term.sql in statistics_met else None,
        average=draft.scope.aggregates.averages.get(term.sql),
    )


def noisy_filter(draft: Draft) -> None:
    """HAVING: a condition on noisy cells, before windows see them. QUALIFY: another one, after that."""
    having, qualify = draft.select.args.get("having"), draft.select.args.get("qualify")
    if having is not None:
        with draft.scope.without_windows():
            draft.having = Reader(draft.scope).of_kind(having.this, "HAVING", Kind.BOOLEAN).sql
    if qualify is not None:
        draft.qualify = Reader(draft.scope).of_kind(qualify.this, "QUALIFY", Kind.BOOLEAN).sql


def noisy_order(draft: Draft) -> None:
    """ORDER BY, LIMIT and OFFSET over the noisy answer; ties and the default follow the keys."""
    order = draft.select.args.get("order")
    items = order.expressions if order is not None else []
    draft.order = [order_text(item, lambda node: _sort_text(node, draft)) for item in items]
    for name in ("limit", "offset"):
        clause = draft.select.args.get(name)
        if clause is not None:
            draft.limit += f" {name.upper()} {_row_count(clause.expression, name.upper())}"


def _sort_text(node: exp.Expr, draft: Draft) -> str:
    if isinstance(node, exp.Literal) and not node.args.get("is_string"):
        return f"o{place(node, draft.select.expressions, 'ORDER BY')}"
    if isinstance(node, exp.Column) and not node.table and node.name.casefold() in draft.scope.aliases:
        return draft.scope.aliases[node.name.casefold()].sql
    return f"TRY({Reader(draft.scope).read(node).sql})"


def _row_count(node: exp.Expr, name: str) -> int:
    text = node.name if isinstance(node, exp.Literal) and not node.args.get("is_string") else ""
    if not text.isdecimal() or len(text) > 9:
        raise BadPosition(name=name, low=0, high=MAX_ROWS_SHOWN - 1)
    return int(text)


def bounded_statistics(draft: Draft) -> None:
    """Name, bound and share: what is asked, plus what selecting keys and the minimum of units need."""
    measures = list(draft.scope.aggregates.measures)
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
    joined_texts,
    tracked_relation,
    row_filter,
    grouping_keys,
    key_domains,
    answer_columns,
    noisy_filter,
    noisy_order,
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
        finish_sql=_finish_sql(draft),
        spread_sql=_spread_sql(draft),
        max_rows=draft.relation.max_rows,
        max_keys=min(draft.relation.max_rows, MAX_KEYS_OF_A_UNIT),
        min_units=draft.facts.min_units,
        length_share=draft.length_share,
    )


def _coded(draft: Draft, keys: list[str]) -> tuple[str, tuple[Codes, ...]]:
    """The rows with numbered keys, when every key can be numbered and no row's own value is asked for."""
    if any(m.is_binned for m in draft.measures):
        return "", ()
    digits = [digit(k, t, sql) for k, t, sql in zip(draft.keys, draft.key_terms, keys, strict=True)]
    numbered = [d for d in digits if d is not None]
    if len(numbered) < len(digits):
        return "", ()
    text = coded_sql(draft.relation, draft.conditions, numbered, draft.measures)
    return text, tuple(d.codes for d in numbered)


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


def _finish_sql(draft: Draft) -> str:
    """The outputs are computed once, as o0, o1, …; HAVING and ORDER BY refer to them by these names.

    Windows (w0, w1, …) are computed over the rows that HAVING leaves; then follow the columns made of them, and QUALIFY.
    """
    outputs, plain = [f"o{i}" for i in range(len(draft.output_terms))], _plain(draft)
    having = f" WHERE TRY({draft.having})" if draft.having else ""
    source = f"(SELECT {_computed(draft, plain)} FROM noisy)"
    if draft.scope.windows:
        windows = ", ".join(f"{w.sql()} AS w{i}" for i, w in enumerate(draft.scope.windows))
        source, having = f"(SELECT *, {windows} FROM {source}{having})", ""
        source = f"(SELECT {_computed(draft, [o for o in outputs if o not in plain])} FROM {source})"
    if draft.qualify:
        having += f"{' AND' if having else ' WHERE'} TRY({draft.qualify})"
    keys = [f"{k.name} ASC NULLS LAST" for k in draft.keys]
    order = f" ORDER BY {', '.join([*draft.order, *keys])}" if draft.order or keys else ""
    distinct = f"DISTINCT ON ({', '.join(outputs)}) " if draft.select.args.get("distinct") else ""
    return f"SELECT {distinct}{', '.join(['cell', *outputs])} FROM {source}{having}{order}{draft.limit}"


def _plain(draft: Draft) -> list[str]:
    """The outputs that hold no window."""
    return [f"o{i}" for i, e in enumerate(draft.select.expressions) if e.find(exp.Window) is None]


def _computed(draft: Draft, outputs: list[str]) -> str:
    """Everything that is there, and these outputs."""
    return ", ".join(["*", *(f"TRY({draft.output_terms[int(o[1:])].sql}) AS {o}" for o in outputs)])


def _spread_sql(draft: Draft) -> str:
    """95 % of what each derived column would be if the noise were drawn again around the answer; "" when none is derived."""
    if not draft.spread:
        return ""
    keys = "".join(f", n.{k.name}" for k in draft.keys)
    redrawn = ", ".join(_redrawn(s) for s in draft.statistics)
    if draft.derived_windows:
        steps = _redrawn_windows(draft, f"n.cell, z.draw{keys}, {redrawn}")
    else:
        steps = [
            f"drawn AS (SELECT n.cell{keys}, {redrawn} FROM noisy AS n CROSS JOIN normals AS z CROSS JOIN scales AS c)"
        ]
    values = ", ".join(f"TRY(CAST({t.sql} AS DOUBLE)) AS {name}" for name, t in draft.spread.items())
    ends = ", ".join(
        f"quantile_cont({name}, {p}) FILTER (WHERE isfinite({name}))" for name in draft.spread for p in (0.025, 0.975)
    )
    steps.append(f"derived AS (SELECT cell, {values} FROM drawn)")
    return f"WITH {', '.join(steps)} SELECT cell, {ends} FROM derived GROUP BY cell"


def _redrawn(s: Statistic) -> str:
    """A statistic with its noise drawn again: of one scale in all cells, but for a QUANTILE."""
    noise = f"z.{s.name} * {f'c.{s.name}' if s.order is None else f'n.{s.order_scale}'}"
    if s.order is not None and s.order.days:
        noise = f"CAST(round({noise}) AS INTEGER)"
    return f"n.{s.name} + {noise} AS {s.name}"


def _redrawn_windows(draft: Draft, columns: str) -> list[str]:
    """A window sees one draw of the rows that HAVING left in the answer.

    Unlike other columns, all draws of all rows are held at once. Where that is too much there are fewer draws, or none.
    """
    windows = draft.scope.windows[: draft.derived_windows]
    room = MAX_REDRAWN // (len(draft.keys) + len(draft.statistics) + len(windows))
    having = f" WHERE TRY({draft.having})" if draft.having else ""
    over = ", ".join(f"{w.sql('draw')} AS w{i}" for i, w in enumerate(windows))
    return [
        f"shown AS (SELECT * FROM (SELECT {_computed(draft, _plain(draft))} FROM noisy){having})",
        "draws AS (SELECT row_number() OVER () AS draw, *, (SELECT count(*) FROM noisy) AS size FROM normals)",
        f"redrawn AS (SELECT {columns} FROM shown AS n CROSS JOIN draws AS z CROSS JOIN scales AS c "
        f"WHERE greatest(z.draw, {MIN_DRAWS}) * z.size <= {room})",
        f"drawn AS (SELECT *, {over} FROM redrawn)",
    ]
