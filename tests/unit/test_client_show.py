"""How figures look: never without their uncertainty, never able to drive a terminal or a page."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.client import answer as answers
from sandbox.client import errors, show
from sandbox.client.answer import Answer
from sandbox.client.budget import Budget
from sandbox.client.query import Preview
from sandbox.client.receipt import Receipt
from sandbox.client.transport import Wire
from sandbox.say import speaking
from sandbox.wire import AnswerOut, BudgetOut, PreviewOut

EVIL = "<script>alert(1)</script>\x1b[31m[red]x[/red]\n"


def loss(rho: int = 10**9, epsilon: float | None = 1.0) -> dict[str, Any]:
    return {"rho_units": rho, "delta_units": 0, "epsilon": epsilon, "delta": 1e-6}


def account(left: int = 25, project: str | None = "flu", epsilon: float | None = 1.23456) -> BudgetOut:
    parts = {"limit": loss(100, 4.0), "spent": loss(100 - left), "reserved": loss(0), "remaining": loss(left, epsilon)}
    return BudgetOut.model_validate({"id": "a", "dataset": "health/visits", "project": project, **parts})


def told(**more: Any) -> AnswerOut:
    facts: dict[str, Any] = {
        "question": "select city, count(*) as n, avg(fee) as fee from visits group by city",
        "dataset": "health/visits",
        "project": "flu",
        "version": "ab" * 32,
        "plan": "cd" * 32,
        "columns": [
            {"name": "city", "kind": "text", "role": "key"},
            {"name": "n", "kind": "integer", "role": "value", "noise": {"kind": "discrete_gaussian", "scale": 7.65}},
            {"name": "fee", "kind": "number", "role": "value"},
        ],
        "rows": [["云海", 12345, 41.2345], ["青州", -3, None], [None, 70000, 0.5]],
        "intervals": [
            [None, [12330.0, 12360.0], [40.9, 41.9]],
            [None, [-18.0, 12.0], None],
            [None, [69985.0, 70015.0], [0.4, 0.6]],
        ],
        "mechanism": "zcdp/discrete_gaussian",
        "cost": loss(),
        "charged": loss(),
        "receipt": "r-1",
    }
    return AnswerOut.model_validate(facts | more)


def an_answer(**more: Any) -> Answer:
    return Answer(Wire("http://sandbox.test"), told(**more), accounts=(account(),))


class Page(HTMLParser):
    """Collects the tags and attributes a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.open += 1

    def handle_endtag(self, tag: str) -> None:
        self.open -= 1


def html_of(thing: Any) -> str:
    text: str = thing._repr_html_()
    page = Page(text)
    assert page.open == 0
    assert not {"script", "img", "link", "iframe", "a"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in {"href", "src"}]
    assert "url(" not in text
    assert "http" not in text.replace("http://sandbox.test", "")
    return text


@pytest.mark.parametrize(
    ("value", "interval", "wanted"),
    [
        (12345, (12330.0, 12360.0), ("12,345", "± 15")),
        (12345, (11145.0, 13545.0), ("12,300", "± 1,200")),
        (-3, (-18.0, 12.0), ("-3", "± 15")),
        (0.123456, (0.1134, 0.1335), ("0.123", "± 0.010")),
        (41.2345, (40.9, 41.9), ("41.23", "[40.90 … 41.90]")),
        (7, (7.0, 7.0), ("7", "± 0")),
        (7.5, None, ("7.5", "± ?")),
        (None, None, ("NULL", "± ?")),
        (None, (0.0, 1.0), ("NULL", "[0 … 1]")),
        (5.0, (-math.inf, math.inf), ("5", "[-∞ … ∞]")),
        ("text", None, ("text", "± ?")),
        (True, None, ("True", "± ?")),
        ("2024-03-01", ("2024-02-28", "2024-03-04"), ("2024-03-01", "[2024-02-28 … 2024-03-04]")),
        (1e12, (1e12 - 4e9, 1e12 + 4e9), ("1,000,000,000,000", "± 4,000,000,000")),
        (2.5e-7, (2.4e-7, 2.6e-7), ("0.000000250", "± 0.000000010")),
    ],
)
def test_a_value_wears_its_uncertainty(value: object, interval: show.Ends | None, wanted: tuple[str, str]) -> None:
    assert show.figure(value, interval) == wanted


@given(st.floats(-1e12, 1e12), st.floats(0, 1e9))
def test_rounding_for_people_moves_a_value_by_less_than_a_tenth_of_its_interval(value: float, half: float) -> None:
    text, beside = show.figure(value, (value - half, value + half))
    assert beside.startswith("± ") or "…" in beside
    width = ((value + half) - (value - half)) / 2
    assert abs(float(text.replace(",", "")) - value) <= width / 10 + abs(value) * 1e-5 + 1e-9


@given(
    st.one_of(st.none(), st.integers(), st.floats(), st.text()),
    st.one_of(st.none(), st.tuples(st.floats(), st.floats()), st.tuples(st.text(), st.text())),
)
def test_drawing_a_cell_never_fails_and_never_forgets_the_interval(value: object, interval: show.Ends | None) -> None:
    text, beside = show.figure(value, interval)
    assert text
    assert "±" in beside or "…" in beside
    show.band(value, interval, -1.0, 1.0)


def test_the_terminal_shows_every_value_with_its_interval_the_cost_and_the_gauge() -> None:
    with speaking("en"):
        text = repr(an_answer())
    lines = text.splitlines()
    assert lines[1].split() == ["云海", "12,345", "±", "15", "41.23", "[40.90", "…", "41.90]"]
    assert lines[2].split() == ["青州", "-3", "±", "15", "NULL", "±", "?"]
    assert lines[3].split()[0] == "NULL"
    assert "cost epsilon 1 at delta 1.0e-06" in text
    assert "± is the 95 % interval; noise n: discrete_gaussian σ=7.65" in text
    assert "█" * 6 + "░" * 18 + " 25% left: epsilon 1.23 of 4 at delta 1.0e-06" in text
    assert "receipt r-1" in text


def test_the_same_in_chinese() -> None:
    with speaking("zh"):
        text = repr(an_answer(repeated=True))
        assert "已存结果：本次不收取" in text
        assert "剩余 25%" in text
        assert "±（95%）" in repr(a_preview())
        assert "隐私预算" in html_of(Budget((account(),)))


def test_html_holds_the_same_figures_and_loads_nothing() -> None:
    text = html_of(an_answer())
    for part in ("云海", "12,345", "± 15", "[40.90 … 41.90]", "NULL", "± ?", "health/visits", "<svg", "r-1"):
        assert part in text


def test_long_answers_are_counted_not_drawn() -> None:
    rows = [["x", k, None] for k in range(500)]
    long = an_answer(rows=rows, intervals=[[None, [k - 1.0, k + 1.0], None] for k in range(500)])
    assert len(repr(long).splitlines()) < 80
    with speaking("en"):
        assert "440 more rows" in repr(long)
        assert "440 more rows" in html_of(long)
    assert len(long) == len(long.rows) == len(list(long)) == 500


def test_nothing_a_server_sends_can_drive_a_page_or_a_terminal() -> None:
    columns = [{"name": EVIL, "kind": "text", "role": "key"}]
    answer = an_answer(columns=columns, rows=[[EVIL]], intervals=[[None]], question=EVIL, dataset=EVIL, notes=[EVIL])
    budget = Budget((account(project=EVIL),))
    for page in (html_of(answer), html_of(budget), html_of(a_preview(notes=[EVIL]))):
        assert "\x1b" not in page
        assert "&lt;script&gt;" in page
    for text in (repr(answer), repr(budget), repr(a_preview(notes=[EVIL]))):
        assert "\x1b" not in text
        assert "[red]" in text


def test_rows_are_python_values() -> None:
    columns = [{"name": n, "kind": k, "role": "key"} for n, k in (("d", "date"), ("t", "timestamp"), ("s", "text"))]
    rows = [["2024-02-29", "2024-02-29T12:00:00", "2024-02-29"], [None, None, None]]
    answer = an_answer(columns=columns, rows=rows, intervals=[[None] * 3] * 2)
    assert answer.rows[0] == (date(2024, 2, 29), datetime(2024, 2, 29, 12), "2024-02-29")  # noqa: DTZ001
    assert answer.rows[1] == (None, None, None)
    table = answer.to_arrow()
    assert [str(t) for t in table.schema.types] == ["date32[day]", "timestamp[us]", "string"]
    assert answer.to_polars().height == answer.to_pandas().shape[0] == 2


def test_dataframes_carry_the_interval_beside_every_value() -> None:
    answer = an_answer()
    wanted = ["city", "n", "n_low", "n_high", "fee", "fee_low", "fee_high"]
    assert answer.to_arrow().column_names == list(answer.to_pandas().columns) == answer.to_polars().columns == wanted
    assert list(answer.to_dict(intervals=False)) == ["city", "n", "fee"]
    assert answer.to_arrow().schema.field("n").type == pa.int64()
    assert answer.to_arrow()["n_low"].to_pylist() == [12330.0, -18.0, 69985.0]
    assert answer.to_polars()["fee_high"].to_list() == [41.9, None, 0.6]


def test_days_and_moments_carry_intervals_of_days_and_moments() -> None:
    columns = [
        {"name": "last", "kind": "date", "role": "value"},
        {"name": "at", "kind": "timestamp", "role": "value"},
    ]
    days, moments = ["2024-02-28", "2024-03-04"], ["2024-03-01T00:00:00", "2024-03-01T23:59:59"]
    rows: list[list[object]] = [["2024-03-01", "2024-03-01T10:00:00"], [None, None]]
    answer = an_answer(columns=columns, rows=rows, intervals=[[days, moments], [None, None]])
    assert answer.intervals[0][0] == (date(2024, 2, 28), date(2024, 3, 4))
    assert answer.to_dict()["at_high"] == [datetime.fromisoformat(moments[1]), None]
    arrow = answer.to_arrow()
    assert [str(t) for t in arrow.schema.types] == ["date32[day]"] * 3 + ["timestamp[us]"] * 3
    assert answer.to_polars()["last_low"].to_list() == [date(2024, 2, 28), None]
    assert answer.to_pandas()["last_high"].tolist()[0] == date(2024, 3, 4)
    assert "[2024-02-28 … 2024-03-04]" in repr(answer)
    assert "[2024-02-28 … 2024-03-04]" in answer._repr_html_()


def test_names_that_clash_with_an_interval_are_kept_apart() -> None:
    columns = [
        {"name": "n", "kind": "number", "role": "value"},
        {"name": "n_low", "kind": "number", "role": "value"},
        {"name": "n", "kind": "number", "role": "value"},
    ]
    answer = an_answer(columns=columns, rows=[[1.5, 2, 3]], intervals=[[[1.0, 2.0], None, [2.5, 3.5]]])
    assert list(answer.to_dict()) == [
        "n",
        "n_low_",
        "n_high",
        "n_low",
        "n_low_low",
        "n_low_high",
        "n_",
        "n_low__",
        "n_high_",
    ]
    assert answer.to_polars().width == 9


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(answers, "import_module", absent)
    for method in ("to_arrow", "to_pandas", "to_polars"):
        with pytest.raises(errors.MissingLibrary, match=rf"Answer.{method}\(\) needs(.|\n)*pip install"):
            getattr(an_answer(), method)()


def test_facts_of_an_answer_are_at_hand() -> None:
    answer = an_answer()
    assert answer.columns == ("city", "n", "fee")
    assert answer.intervals[0] == (None, (12330.0, 12360.0), (40.9, 41.9))
    assert (answer.dataset, answer.version, answer.repeated) == ("health/visits", "ab" * 32, False)
    assert (answer.cost.epsilon, answer.charged.rho_units) == (1.0, 10**9)
    assert answer.mechanism == "zcdp/discrete_gaussian"
    assert answer.question.startswith("select")
    with pytest.raises(errors.NotFound, match="no receipt yet"):
        _ = an_answer(receipt=None).receipt


def a_preview(**more: Any) -> Preview:
    facts: dict[str, Any] = {
        "dataset": "d",
        "project": "p",
        "question": "select 1",
        "version": "v",
        "plan": "x",
        "mechanism": "m",
        "cost": loss(),
        "columns": [
            {"name": "city", "kind": "text", "role": "key"},
            {"name": "n", "kind": "integer", "role": "value", "plus_minus": 15.0, "noise": {"kind": "g", "scale": 7.6}},
            {"name": "fee", "kind": "number", "role": "value", "plus_minus": 1.25, "rows": 1000},
            {"name": "odd", "kind": "number", "role": "value"},
        ],
        "cells": 12,
        "selects_keys": False,
        "repeated": False,
        "affordable": True,
        "more_like_it": 14,
        "remaining": loss(epsilon=3.5),
    }
    return Preview(PreviewOut.model_validate(facts | more))


def test_a_preview_says_price_precision_and_how_many_more() -> None:
    with speaking("en"):
        text = repr(a_preview())
        assert "± 15" in text
        assert "± 1.2 in a group of 1,000 rows" in text
        assert "depends on the values" in text
        assert "would cost epsilon 1 at delta 1.0e-06; nothing is spent by looking" in text
        assert "with the epsilon 3.5 that is left you could ask 14 like it" in text
        assert "12 cells" in text
        assert "± 15" in html_of(a_preview())
        assert "more than the epsilon 3.5 that is left" in repr(a_preview(affordable=False, more_like_it=0))
        assert "asking it again costs nothing" in repr(a_preview(repeated=True))
        assert "about 40 units" in repr(a_preview(key_selection="about 40 units", cells=None))
    assert a_preview().affordable
    assert a_preview().more_like_it == 14


@pytest.mark.parametrize(("left", "full"), [(100, 24), (99, 24), (50, 12), (1, 1), (0, 0)])
def test_a_gauge_is_full_only_when_nothing_is_spent_and_empty_only_when_all_is(left: int, full: int) -> None:
    drawn = show.gauge(account(left)).plain
    assert drawn.count("█") == full
    assert drawn.count("█") + drawn.count("░") == 24
    html_of(Budget((account(left),)))


def test_a_gauge_tells_when_selecting_private_keys_used_most() -> None:
    parts = {"limit": loss(100, 4.0) | {"delta_units": 10}, "remaining": loss(90, 3.9) | {"delta_units": 1}}
    tight = BudgetOut.model_validate({**account().model_dump(), **parts})
    with speaking("en"):
        assert show.gauge(tight).plain.startswith("███░")
        assert (
            "10% left: epsilon 3.9 of 4 at delta 1.0e-06; selecting private keys used the rest"
            in show.gauge(tight).plain
        )


def test_budgets() -> None:
    both = Budget((account(25), account(80, project=None, epsilon=None)))
    assert both.share_left == 0.25
    assert len(both) == len(list(both)) == 2
    with speaking("en"):
        assert "all projects" in repr(both)
        assert "epsilon ∞ of 4" in repr(both)
        assert repr(Budget(())) == "No account: nothing may be spent yet."
        assert "No account" in html_of(Budget(()))
    assert show.plain(Budget(()).__rich__())
    assert show.share_left(BudgetOut.model_validate({**account().model_dump(), "limit": loss(0)})) == 0.0


def test_a_receipt_that_cannot_be_read_claims_nothing() -> None:
    for content in (b"", b"{", b"[]", b'{"envelope": {"payload": "e30="}}', b'{"envelope": {"payload": "W10="}}'):
        receipt = Receipt(content)
        assert receipt.predicate == {}
        with speaking("en"):
            assert "not verified here" in repr(receipt)
        html_of(receipt)


def test_moments_are_utc() -> None:
    assert told(answered_at="2026-01-01T00:00:00Z").answered_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_what_a_numerical_accountant_would_say_stands_beside_what_was_spent_and_says_it_is_no_promise() -> None:
    spent = account(25).model_copy(update={"spent_gaussian_epsilon": 0.876})
    budget = Budget((spent, account(80, project=None)))
    with speaking("en"):
        for text in (repr(budget), html_of(budget), show.plain(budget.__rich__(), width=200)):
            assert text.count("information only") == 1
            assert "a numerical accountant would say 0.876 of Gaussian noise" in text
    with speaking("zh-CN"):
        assert "仅供参考" in repr(budget)
    untouched = spent.model_copy(update={"spent": spent.spent.model_copy(update={"rho_units": 0})})
    assert show.spent_words(untouched) == ""
