"""What the gate makes of a question, word for word: one file an area in `sql/`, one block a question.

A block is the question behind `>>>` (as a JSON string when it holds what a line cannot) and then either the plan or the
refusal with its code, sentence and hint. Run with `GOLDEN_UPDATE=1` to write what the gate says now, then read the difference.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from privacy.errors import Problem, problem_codes
from privacy.facts import PrivacyUnit
from privacy.sql import Plan, compile_query, problems
from privacy.sql.plan import Grouping, place_name
from tests.fakes import city

#: The city, private rows about something else than persons, and a public table whose rows nobody has counted.
FACTS = replace(
    city.FACTS,
    tables=(
        *city.FACTS.tables,
        replace(city.WAGES, name="firms", unit=PrivacyUnit(column="person_id", stands_for="firm", space="firm-id")),
        replace(city.HINTS, name="uncounted", rows=None),
        replace(city.PLACES, name="unsized", rows=None),
    ),
)
FOLDER = Path(__file__).parent / "sql"
MARK = ">>> "


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """(question as written, what is expected) of a golden file; comment lines begin with `#`."""
    for block in ("\n" + text).split("\n" + MARK)[1:]:
        question, _, expected = block.partition("\n")
        lines = (line for line in expected.splitlines() if not line.startswith("# "))
        yield question, "\n".join(lines).strip()


def said(question: str) -> str:
    """The plan or the refusal of a question, as it stands in a golden file."""
    sql = json.loads(question) if question.startswith('"') else question
    try:
        return described(compile_query(sql, FACTS))
    except Problem as problem:
        return f"refused {problem.code}\n{problem.say('en')}\n{problem.advise('en')}".strip()


def described(plan: Plan) -> str:
    """Everything of a plan that decides a number, a price or a shape."""
    lines = [f"plan: {', '.join(plan.tables)}; {plan.max_rows} rows a unit; cells {plan.cells or 'private'}"]
    lines += counted(plan)
    for i, grouping in enumerate(plan.also, start=1):
        lines += [f"noisy{i}: {grouping.max_rows} rows a unit; cells {grouping.cells or 'private'}", *counted(grouping)]
    lines += [f"delta: {', '.join(str(g.delta_share) for g in plan.groupings)}"] if plan.selections > 1 else []
    lines += [f"nested: {family}" for family in plan.nested]
    for o in plan.outputs:
        own = " ".join(
            f"{place_name('noisy', at)}.{o.statistic or 'average'}" for at in o.groupings if not o.is_redrawn
        )
        origin = "key" if o.is_key else own or "derived"
        lines.append(f"column {o.name} {o.kind}: {origin}")
    lines += [f"finish: {plan.finish_sql}", *(f"public {p.name}: {p.sql}" for p in plan.public)]
    lines += [f"spread: {plan.spread_sql}"] if plan.spread_sql else []
    return "\n".join(lines + ([f"redraw ({plan.around_rows} rows): {plan.redraw_sql}"] if plan.redraw_sql else []))


def counted(grouping: Grouping) -> list[str]:
    """The keys, the statistics and the rows of a grouping."""
    lines = []
    for key in grouping.keys:
        values = "private" if key.domain is None else ", ".join(str(v) for v in key.domain[:8])
        more = f", … {len(key.domain)} in all" if key.domain and len(key.domain) > 8 else ""
        lines.append(f"{key.name} {key.kind}: {values}{more}")
    for s in grouping.statistics:
        size = f"reach {s.reach}, bound² {s.bound_squared}, step {s.step}, rounds to {s.round_to}, share {s.share}"
        chosen = f", {s.ratio_share} for its proportion" if s.ratio_share else ""
        lines.append(f"{s.name} {s.aggregate} [{s.label}]: {s.value or 'rows'}, {size}{chosen}")
        if s.order:
            o, first = s.order, s.order.first * s.order.step
            lines.append(f"{s.name} at {o.level}: {o.bins} bins of {o.width * o.step} from {first}, {o.size} values")
    lines += [f"bounds: chosen by the question, {grouping.length_share}"] if grouping.length_share else []
    return [*lines, f"rows: {grouping.rows_sql}", f"coded: {grouping.coded_sql or 'no'}"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda p: p.stem)
def test_golden(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if os.environ.get("GOLDEN_UPDATE"):
        path.write_text(rewritten(text), encoding="utf-8")
        return
    for question, expected in blocks(text):
        assert said(question) == expected, question


def rewritten(text: str) -> str:
    """The file with what the gate says now; its opening comment stays."""
    head = text.split(MARK)[0].strip()
    body = "\n\n".join(f"{MARK}{question}\n{said(question)}" for question, _ in blocks(text))
    return f"{head}\n\n{body}\n"


def test_every_refusal_of_the_gate_has_a_golden_block() -> None:
    """No rule stands without an example of what it refuses (a text beyond the limit is too long for a file)."""
    codes = {c for c, kind in problem_codes().items() if kind.__module__ == problems.__name__} - {"sql.too_long"}
    shown = {
        line.split()[1]
        for p in FOLDER.glob("*.txt")
        for line in p.read_text().splitlines()
        if line.startswith("refused ")
    }
    assert codes == shown


def test_at_least_eighty_questions_are_refused_by_name() -> None:
    texts = [p.read_text(encoding="utf-8") for p in FOLDER.glob("*.txt")]
    assert sum(expected.startswith("refused ") for text in texts for _, expected in blocks(text)) >= 80
