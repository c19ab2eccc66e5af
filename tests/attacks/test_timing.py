"""Attacks with a watch: what the moment of an outcome tells of the data (Haeberlen, Pierce & Narayan 2011)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import monotonic

import pytest

from access.ports import Cursor
from compute.jobs import State
from compute.pace import Pace, bucket
from compute.ports import Limits
from privacy.errors import Fault
from privacy.facts import ColumnFacts, DatasetFacts, Kind, PrivacyUnit, TableFacts
from privacy.sql import compile_query
from privacy.sql.plan import Opened
from sandbox.journeys.ask import answer_job
from sandbox.journeys.booking import Asked
from sandbox.journeys.jobs import attempt
from sandbox.journeys.released import Released
from tests.fakes.asking import DATASET, Holding, Scene, open_scene

FACTS = DatasetFacts(
    name=DATASET,
    tables=(
        TableFacts(
            name="visits",
            unit=PrivacyUnit(column="person", stands_for="person", space="resident-id"),
            max_rows=3,
            columns=(ColumnFacts(name="person", kind=Kind.TEXT), ColumnFacts(name="code", kind=Kind.TEXT)),
        ),
        TableFacts(
            name="codes",
            columns=(ColumnFacts(name="code", kind=Kind.TEXT), ColumnFacts(name="label", kind=Kind.TEXT)),
        ),
    ),
)
#: Next to no work without anybody of the code `rare`, and a million joined rows with one person who has it.
PROBE = (
    "SELECT COUNT(*) AS n FROM visits JOIN codes ON visits.code = codes.code "
    "WHERE contains(lower(concat(visits.code, codes.label)), 'zz') OR length(concat(codes.label, visits.code)) > 9"
)
REPEATS = 300_000


def _town(folder: Path, victim: str) -> Scene:
    folder.mkdir()
    visits, codes = folder / "visits.csv", folder / "codes.csv"
    visits.write_text("person,code\n" + "".join(f"p{i},c1\n" for i in range(300)) + victim, encoding="utf-8")
    labels = "".join(f"rare,{'ab' * 20}{i}\n" for i in range(REPEATS))
    codes.write_text(f"code,label\nc1,x\n{labels}", encoding="utf-8")
    return open_scene(folder, holding=Holding(FACTS, {"visits": visits, "codes": codes}))


def _seconds(work: Callable[[], object]) -> float:
    began = monotonic()
    work()
    return monotonic() - began


def _work(scene: Scene) -> float:
    """The seconds that the engine needs for the probe, at best."""
    with scene.house.registry.read() as unit:
        version = unit.catalogue.version(DATASET, scene.dataset.version or "")
    assert version is not None
    plan, file = compile_query(PROBE, version.facts), scene.house.vault.fetch(version.digest)

    def totals() -> None:
        with scene.house.engine.units(file, scene.house.limits) as units:
            units(plan).totals(plan.measured, plan.grid())

    totals()  # the first pass may have to make machine code
    return min(_seconds(totals) for _ in range(5))


def _waited(scene: Scene, first: float) -> float:
    """The seconds from a worker's claim to the moment at which the asker sees the answer to the probe."""
    asked = scene.ask(PROBE)
    with attempt(scene.house, asked.job.id) as job:
        assert job is not None
        answer_job(replace(scene.house, pace=Pace(first=first)), job)
    done = scene.read(asked).job
    assert done.state is State.SUCCEEDED
    return (done.changed_at - job.changed_at).total_seconds()


def test_one_person_who_makes_many_times_the_work_changes_no_moment(tmp_path: Path) -> None:
    """The asker joins the person looked for with a large public table, and takes the time."""
    scenes = _town(tmp_path / "without", ""), _town(tmp_path / "with", "victim,rare\n" * 3)
    bare, busy = (_work(scene) for scene in scenes)
    assert busy > 3 * bare, "the attack would work: the work tells"
    first = max(2.0, 20 * busy)  # far from the edge, however busy the machine is
    waited = [_waited(scene, first) for scene in scenes]
    assert [seconds // first for seconds in waited] == [1.0, 1.0], "both are seen when the first bucket has ended"
    for scene in scenes:
        scene.house.registry.close()  # type: ignore[attr-defined]


class Watch:
    """A watch that moves by what the engine does and by waiting."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


class Slow:
    """The real engine after so many seconds of the watch; or a failure of the given kind."""

    def __init__(self, scene: Scene, watch: Watch, seconds: float, error: Exception | None) -> None:
        self.engine, self.watch, self.seconds, self.error = scene.house.engine, watch, seconds, error
        self.finishing, self.beside = scene.house.engine.finishing, scene.house.engine.beside

    def units(self, version: Path, limits: Limits) -> AbstractContextManager[Opened]:
        self.watch.pass_by(self.seconds)
        if self.error is not None:
            raise self.error
        return self.engine.units(version, limits)


def _answered(scene: Scene, n: int, seconds: float, error: Exception | None) -> tuple[Asked, float]:
    """The outcome of one more question, and when it was written by the watch."""
    watch = Watch()
    moment = scene.clock()

    def clock() -> object:
        return moment + timedelta(seconds=watch.now)

    house = replace(
        scene.house, engine=Slow(scene, watch, seconds, error), pace=Pace(steady=watch, sleep=watch.pass_by)
    )  # type: ignore[arg-type]
    asked = scene.ask(f"SELECT COUNT(*) AS n{n} FROM visits", epsilon=0.2)
    with attempt(scene.house, asked.job.id) as job:
        assert job is not None
        answer_job(replace(house, clock=clock), job)  # type: ignore[arg-type]
    done = scene.read(asked)
    assert (done.job.changed_at - moment).total_seconds() == pytest.approx(watch.now)
    return done, watch.now


@pytest.mark.parametrize("error", [None, Fault(private="row 17"), MemoryError()])
def test_answers_and_failures_are_seen_at_the_same_few_moments(tmp_path: Path, error: Exception | None) -> None:
    """An attacker makes a question fail, or take longer, for one person: neither moves the outcome within its bucket."""
    scene = open_scene(tmp_path)
    seen = [_answered(scene, n, s, error) for n, s in enumerate((0.0, 0.03, 0.2, 0.26, 0.49, 3.9))]
    assert [at for _, at in seen] == [0.25, 0.25, 0.25, 0.5, 0.5, 4.0]
    assert {done.job.state for done, _ in seen} == {State.FAILED if error else State.SUCCEEDED}
    for done, at in seen:
        assert (done.answer is None) == (error is not None)
        if done.answer is not None:
            told = Released.read(done.answer.body).moment
            assert told == done.job.changed_at, "the file and the job tell the same moment"
            assert bucket(at, 0.25) in range(5)
    with scene.house.registry.read() as unit:
        ends = [
            e for _, e in unit.log.entries(Cursor(limit=500)).items if e.kind in ("answer.released", "question.ended")
        ]
    assert [e.at for e in ends] == [done.job.changed_at for done, _ in seen], "so does the log"
    scene.house.registry.close()  # type: ignore[attr-defined]
