"""A MIN or MAX says what it is before it is paid for, and with the answer, in the asker's language."""

from __future__ import annotations

from datetime import date, datetime, time
from pathlib import Path

import pytest

from sandbox.api import question_shapes
from sandbox.journeys.accuracy import AccuracyUnpredictable
from sandbox.journeys.ask import preview
from sandbox.journeys.offer import Wish
from sandbox.journeys.released import Released
from sandbox.wire import AnswerOut
from tests.fakes.asking import DATASET
from tests.fakes.logs import opened

ASKED = "SELECT place, MAX(spent) AS most, MEDIAN(spent) AS middle, COUNT(DISTINCT spent) AS prices FROM logs GROUP BY place"


def test_a_maximum_is_called_a_private_quantile_with_so_many_rows_beyond(tmp_path: Path) -> None:
    rows = ((f"p{i}", "ab"[i % 2], i % 90 + 0.5) for i in range(4_000))
    scene = opened(tmp_path, rows, max_rows=3, upper=100, step="0.1")
    seen = preview(scene.house, scene.li, project="flow", dataset=DATASET, sql=ASKED, epsilon=1.0)
    told = {lang: question_shapes.preview(seen, lang) for lang in ("en", "zh-CN")}
    [note] = [n for n in told["en"].notes if "MAX(spent)" in n]
    assert "nobody's own value" in note
    assert any("MAX(spent)" in n and "极端分位数" in n for n in told["zh-CN"].notes)
    assert not any("MEDIAN" in n for n in told["en"].notes)
    assert [c.plus_minus is None for c in told["en"].columns[1:]] == [True, True, False]
    assert [c.noise is None for c in told["en"].columns[1:]] == [True, True, False]
    asked = scene.ask(ASKED, epsilon=1.0)
    scene.work()
    stored = scene.read(asked).answer
    assert stored is not None
    read = question_shapes.answer(stored, repeated=False, lang="en", names=lambda _: "flow")
    assert read.notes == [note], "the answer says what the preview said"
    found = Released.read(stored.body)
    assert found.file() == stored.body
    beyond = {b.statistic: b.beyond for b in found.bounds}["MAX(spent)"]
    assert beyond is not None
    assert f"{beyond:,} rows" in note
    for (_, most, middle, prices), intervals in zip(found.rows, found.intervals, strict=True):
        assert 89.5 - beyond * 90 / 2_000 - 20 < float(str(most)) <= 100
        assert 25 < float(str(middle)) < 65
        assert abs(int(str(prices)) - 45) < 150
        assert all(i is not None for i in intervals[1:])
    with pytest.raises(AccuracyUnpredictable) as caught:
        preview(scene.house, scene.li, project="flow", dataset=DATASET, sql=ASKED, within=Wish(half_width=10.0))
    assert caught.value.params["columns"] == "prices", "the width of a quantile is that of the values around it"
    scene.house.registry.close()  # type: ignore[attr-defined]


def test_how_many_rows_lie_beyond_is_open_while_bounds_are(tmp_path: Path) -> None:
    scene = opened(tmp_path, ((f"p{i}", "a", 1.5) for i in range(50)), max_rows=1_000, upper=100, step="0.1")
    seen = preview(scene.house, scene.li, project="flow", dataset=DATASET, sql=ASKED, epsilon=1.0)
    for lang, words in (("en", "the answer tells how many"), ("zh-CN", "行数将随结果给出")):
        assert any("MAX(spent)" in n and words in n for n in question_shapes.preview(seen, lang).notes)
    scene.house.registry.close()  # type: ignore[attr-defined]


def test_days_and_moments_leave_with_days_and_moments_around_them(tmp_path: Path) -> None:
    day = "make_date(2024, 1, 1 + CAST(floor(least(greatest(spent, 0), 27)) AS INTEGER))"
    sql = f"SELECT MEDIAN({day}) AS d, MEDIAN({day} + INTERVAL 5 HOUR) AS m, COUNT(*) AS n FROM logs"
    rows = ((f"p{i}", "ab"[i % 2], i % 28 + 0.5) for i in range(4_000))
    scene = opened(tmp_path, rows, max_rows=3, upper=100, step="0.1")
    asked = scene.ask(sql, epsilon=1.0)
    scene.work()
    stored = scene.read(asked).answer
    assert stored is not None
    found = Released.read(stored.body)
    assert found.file() == stored.body
    told = question_shapes.answer(stored, repeated=False, lang="en", names=lambda _: "flow")
    assert AnswerOut.model_validate_json(told.model_dump_json()) == told
    [(low, high), (first, last), _] = told.intervals[0]  # type: ignore[misc]
    day_shown, moment, _ = told.rows[0]
    assert date(2024, 1, 1) <= date.fromisoformat(low) <= date.fromisoformat(day_shown) <= date.fromisoformat(high)
    seen, ends = datetime.fromisoformat(moment), [datetime.fromisoformat(e) for e in (first, last)]
    assert ends[0] <= seen <= ends[1]
    assert abs((seen - datetime.combine(date(2024, 1, 15), time(5))).total_seconds()) < 3 * 86_400
    scene.house.registry.close()  # type: ignore[attr-defined]
