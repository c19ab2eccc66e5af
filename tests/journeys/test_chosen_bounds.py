"""A question over a dataset whose facts allow many rows a unit, from preview to answer, on the real house and engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.api import question_shapes
from sandbox.journeys.accuracy import AccuracyUnpredictable
from sandbox.journeys.ask import preview
from sandbox.journeys.offer import Wish
from sandbox.journeys.released import Released
from tests.fakes.asking import DATASET
from tests.fakes.logs import opened

CHOSEN = "SELECT place, COUNT(*) AS n, SUM(spent) AS total FROM logs GROUP BY place"


def test_a_question_chooses_its_bounds_where_facts_say_little(tmp_path: Path) -> None:
    """5,000 rows are allowed and five are usual: the preview says why ± is open, and the answer which bounds were used."""
    rows = ((f"p{i}", "ab"[i % 2], (i * 7 + k) % 90 + 0.5) for i in range(2_000) for k in range(5))
    scene = opened(tmp_path, rows, max_rows=5_000, upper=10_000, step="0.01")
    seen = preview(scene.house, scene.li, project="flow", dataset=DATASET, sql=CHOSEN, epsilon=1.0)
    told = {lang: question_shapes.preview(seen, lang) for lang in ("en", "zh-CN")}
    assert all(c.plus_minus is None and c.noise is None for t in told.values() for c in t.columns)
    assert "up to 5,000 rows" in told["en"].notes[0]
    assert "5,000 行" in told["zh-CN"].notes[0]
    asked = scene.ask(CHOSEN, epsilon=1.0)
    scene.work()
    answer = scene.read(asked).answer
    assert answer is not None
    found = Released.read(answer.body)
    bounds = {b.statistic: b.bound for b in found.bounds}
    assert bounds["COUNT(*)"] < 100
    assert bounds["SUM(spent)"] < 100 * 1_000
    counts = {row[0]: row[1] for row in found.rows}
    assert all(abs(int(str(n)) - 5_000) < 1_500 for n in counts.values()), (
        "bounds of 5,000 rows would be noise of 30,000"
    )
    with pytest.raises(AccuracyUnpredictable) as caught:
        preview(scene.house, scene.li, project="flow", dataset=DATASET, sql=CHOSEN, within=Wish(half_width=10.0))
    assert caught.value.params["columns"] == "—", "no width is known beforehand, so no column is advised"
    scene.house.registry.close()  # type: ignore[attr-defined]
