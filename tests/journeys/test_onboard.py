"""Onboard, at the level of the journey: who may, what is kept and for how long, and every way an ingest can end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from access.audit import canonical
from access.catalogue import DatasetExists, DatasetNotFound, ReportNotFound
from access.policy import NotAllowed, PolicyTooLoose
from access.ports import Cursor, IngestRecord
from compute.engines.problems import FileUnreadable
from compute.jobs import Job, State, StatusCode
from privacy.errors import Text
from sandbox.describe.description import DescriptionInvalid
from sandbox.journeys import jobs, onboard, people, reports
from sandbox.journeys.onboard import IngestRunning, TableUnknown, UploadEmpty, UploadsMissing
from tests.journeys.world import DESCRIPTION, World, open_world, visits, work

NAME = "health/visits"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = open_world(tmp_path)
    yield made
    made.house.registry.close()  # type: ignore[attr-defined]


def stage(world: World, content: bytes | None = None, *, who: str = "shen", dataset: str = NAME, table: str = "visits"):
    file = world.house.staging / f"upload-{world.house.new_id()}"
    file.write_bytes(visits() if content is None else content)
    try:
        return onboard.stage_upload(world.house, world.who[who], dataset, table, file)
    finally:
        file.unlink(missing_ok=True)


def registered(world: World) -> World:
    onboard.register(world.house, world.who["shen"], DESCRIPTION)
    return world


def started(world: World, content: bytes | None = None) -> Job:
    stage(registered(world), content)
    return onboard.start_ingest(world.house, world.who["shen"], NAME)


def job_now(world: World, job: Job) -> Job:
    with world.house.registry.read() as unit:
        found = unit.jobs.get(job.id)
    assert found is not None
    return found


def staged_files(world: World) -> list[Path]:
    return [p for p in world.house.staging.rglob("*") if p.is_file()]


def log(world: World) -> list[str]:
    with world.house.registry.read() as unit:
        return [entry.kind for _, entry in unit.log.entries(Cursor(limit=500)).items]


# --- registering ---------------------------------------------------------------------------------------------------------


def test_a_description_becomes_an_entry_and_its_total_account(world):
    card = onboard.register(world.house, world.who["shen"], DESCRIPTION)
    assert (card.name, card.title, card.grade.value) == (NAME, Text("Hospital visits", "就诊记录"), "L2")
    assert card.provider.name == Text("Health Commission", "卫生健康委员会")
    assert (card.reviewers, card.min_units, card.version) == (1, 0, None)
    assert card.expires_at == datetime(2100, 1, 1, tzinfo=UTC), "the last day of use is used to its end"
    with world.house.registry.read() as unit:
        total = unit.ledger.find(NAME, None)
        assert unit.catalogue.description(NAME) == DESCRIPTION
    assert total is not None
    assert (total.budget.epsilon, total.budget.delta) == (12, 1e-6)
    assert log(world)[-1] == "dataset.registered"


def test_defaults_are_those_of_the_grade(world):
    text = DESCRIPTION.replace("grade: L2", "grade: L3").partition("policy:")[0]
    card = onboard.register(world.house, world.who["shen"], text)
    assert (card.reviewers, card.min_units, card.expires_at, card.purposes) == (2, 5, None, ())
    assert (card.per_project.epsilon, card.total.epsilon) == (1, 3)


def test_what_cannot_be_registered(world):
    registered(world)
    for text, problem in (
        (DESCRIPTION, DatasetExists),
        (DESCRIPTION.replace("grade: L2", "grade: L4"), PolicyTooLoose),
        (DESCRIPTION.replace("grade: L2\n", ""), DescriptionInvalid),
        ("", DescriptionInvalid),
    ):
        with pytest.raises(problem):
            onboard.register(world.house, world.who["shen"], text)
    with pytest.raises(NotAllowed):
        onboard.register(world.house, world.who["li"], DESCRIPTION)
    assert log(world).count("dataset.registered") == 1


# --- uploads -------------------------------------------------------------------------------------------------------------


def test_a_newer_file_takes_the_place_of_the_older(world):
    first = stage(registered(world))
    second = stage(world, b"person,city,code,amount\n", table="VISITS")
    assert second.table == "visits"
    assert not Path(first.path).exists()
    assert [str(p) for p in staged_files(world)] == [second.path]
    assert Path(second.path).stat().st_mode & 0o777 == 0o400
    with world.house.registry.read() as unit:
        assert unit.catalogue.uploads(NAME) == (second,)


def test_what_cannot_be_staged_leaves_nothing_behind(world):
    registered(world)
    for who, dataset, table, content, problem in (
        ("shen", NAME, "visits", b"", UploadEmpty),
        ("shen", NAME, "other", b"x", TableUnknown),
        ("shen", "no/such", "visits", b"x", DatasetNotFound),
        ("li", NAME, "visits", b"x", NotAllowed),
    ):
        with pytest.raises(problem):
            stage(world, content, who=who, dataset=dataset, table=table)
    assert staged_files(world) == []


def test_another_steward_is_not_this_one(world):
    registered(world)
    house, operator = world.house, world.who["olga"]
    other = people.create_principal(
        house,
        operator,
        login="zhang",
        name="Zhang",
        organisation=world.who["shen"].organisation,
        roles=set(world.who["shen"].roles),
        password=None,
    )
    with pytest.raises(NotAllowed):
        onboard.require_upload(house, other, NAME, "visits")
    with pytest.raises(NotAllowed):
        onboard.start_ingest(house, other, NAME)
    with pytest.raises(NotAllowed):
        onboard.read_report(house, other, NAME)


# --- ingest --------------------------------------------------------------------------------------------------------------


def test_an_ingest_makes_the_version_current_and_removes_the_raw_file(world):
    job = started(world)
    assert (job.state, job.project) == (State.QUEUED, None)
    assert work(world) == [job.id]
    done = job_now(world, job)
    assert (done.state, done.status, done.private) == (State.SUCCEEDED, StatusCode.INGESTED, "")
    report = onboard.read_report(world.house, world.who["shen"], NAME)
    with world.house.registry.read() as unit:
        dataset = unit.catalogue.get(NAME)
        assert dataset is not None
        version = unit.catalogue.version(NAME, dataset.version or "")
        assert unit.catalogue.uploads(NAME) == ()
    assert version is not None
    assert (report.version, report.job, report.trouble) == (version.digest, job.id, None)
    assert report.tables[0].rows_kept == 799
    assert version.created_by == world.who["shen"].id
    assert world.house.vault.has(version.digest)
    assert staged_files(world) == []
    assert log(world)[-3:] == ["ingest.asked", "job.claimed", "dataset.version-made"]


def test_a_file_that_does_not_fit_fails_with_a_report_and_can_be_replaced(world):
    job = started(world, b"wrong,header\n1,2\n")
    work(world)
    failed = job_now(world, job)
    assert (failed.state, failed.status) == (State.FAILED, StatusCode.BAD_INPUT)
    report = onboard.read_report(world.house, world.who["shen"], NAME)
    assert (report.version, report.tables) == (None, ())
    assert report.trouble is not None
    assert report.trouble.code == "ingest.columns_missing"
    assert "wrong, header" in report.trouble.sentence.en
    assert "wrong, header" in report.trouble.sentence.zh
    assert report.trouble.hint.zh
    assert len(staged_files(world)) == 1, "the file stays until it is replaced"
    stage(world)
    again = onboard.start_ingest(world.house, world.who["shen"], NAME)
    work(world)
    assert job_now(world, again).state is State.SUCCEEDED
    assert onboard.read_report(world.house, world.who["shen"], NAME).trouble is None
    assert staged_files(world) == []


def test_every_table_needs_a_file(world):
    registered(world)
    with pytest.raises(UploadsMissing, match="no file for visits"):
        onboard.start_ingest(world.house, world.who["shen"], NAME)
    with pytest.raises(ReportNotFound):
        onboard.read_report(world.house, world.who["shen"], NAME)


def test_one_ingest_at_a_time(world):
    job = started(world)
    with pytest.raises(IngestRunning, match=job.id):
        onboard.start_ingest(world.house, world.who["shen"], NAME)
    with pytest.raises(IngestRunning):
        stage(world)
    assert len(staged_files(world)) == 1
    jobs.cancel(world.house, world.who["shen"], job.id)
    work(world)
    stage(world)
    onboard.start_ingest(world.house, world.who["shen"], NAME)


def test_a_queue_that_is_away_loses_no_job(world):
    @dataclass
    class Away:
        def send(self, job_id: str) -> None:
            raise ConnectionError

    stage(registered(world))
    house = replace(world.house, queue=Away())
    job = onboard.start_ingest(house, world.who["shen"], NAME)
    assert job_now(world, job).state is State.QUEUED


# --- endings -------------------------------------------------------------------------------------------------------------


def with_ingest(world: World, ingest) -> World:
    """The same world with another ingest: what happens while it runs is the test's."""
    world.house = replace(world.house, ingest=ingest)
    return world


def test_a_cancelled_job_stops_within_and_publishes_nothing(world):
    real = world.house.ingest

    def cancelled_meanwhile(*args, **named):
        jobs.cancel(world.house, world.who["shen"], job.id)
        return real(*args, **named)

    job = started(world)
    work(with_ingest(world, cancelled_meanwhile))
    assert job_now(world, job).state is State.CANCELLED
    with world.house.registry.read() as unit:
        dataset = unit.catalogue.get(NAME)
    assert dataset is not None
    assert dataset.version is None
    assert len(staged_files(world)) == 1


def test_an_attempt_that_comes_too_late_publishes_nothing(world):
    """Cancelled after the last look at the lease: the fence of the final transaction holds."""
    put = world.house.vault.put

    class Slow:
        def put(self, source: Path) -> str:
            jobs.cancel(world.house, world.who["shen"], job.id)
            return put(source)

    job = started(world)
    world.house = replace(world.house, vault=Slow())
    work(world)
    assert job_now(world, job).state is State.CANCELLED
    with pytest.raises(ReportNotFound):
        onboard.read_report(world.house, world.who["shen"], NAME)
    assert len(staged_files(world)) == 1


@pytest.mark.parametrize("problem", [RuntimeError("row 17 says 110101"), MemoryError()])
def test_whatever_else_fails_is_one_constant_sentence(world, problem):
    def broken(*args, **named):
        raise problem

    job = started(world)
    work(with_ingest(world, broken))
    failed = job_now(world, job)
    assert (failed.state, failed.status) == (State.FAILED, StatusCode.FAULT)
    assert type(problem).__name__ in failed.private
    with pytest.raises(ReportNotFound):
        onboard.read_report(world.house, world.who["shen"], NAME)


def test_a_failure_that_comes_too_late_changes_nothing(world):
    def cancelled_then_broken(*args, **named):
        jobs.cancel(world.house, world.who["shen"], job.id)
        raise FileUnreadable(table="t", why=Text("x", "x"), private="details")

    job = started(world)
    work(with_ingest(world, cancelled_then_broken))
    assert job_now(world, job).state is State.CANCELLED


def test_private_details_of_a_problem_are_kept_for_the_operator(world):
    def broken(*args, **named):
        raise FileUnreadable(table="t", why=Text("x", "x"), private="page 3 is damaged")

    job = started(world)
    work(with_ingest(world, broken))
    assert job_now(world, job).private.startswith("page 3 is damaged\n")
    report = onboard.read_report(world.house, world.who["shen"], NAME)
    assert report.trouble is not None
    assert "page 3" not in report.trouble.sentence.en + report.trouble.hint.en


def test_a_staged_file_that_was_changed_or_lost_is_never_used(world):
    job = started(world)
    [file] = staged_files(world)
    file.chmod(0o600)
    file.write_bytes(visits(10))
    work(world)
    assert job_now(world, job).status is StatusCode.FAULT
    assert "gone or changed" in job_now(world, job).private


def test_a_steward_who_lost_the_right_meanwhile(world):
    job = started(world)
    with world.house.registry.begin() as unit:
        entry = world.house.event("principal.disabled", None, world.who["shen"].id)
        unit.people.disable(world.who["shen"].id, world.house.clock(), entry=entry)
    work(world)
    ended = job_now(world, job)
    assert (ended.state, ended.status) == (State.CANCELLED, StatusCode.NO_LONGER_ALLOWED)


def test_a_description_that_changed_meanwhile_is_not_used(world):
    job = started(world)
    with world.house.registry.begin() as unit:
        dataset = unit.catalogue.get(NAME)
        assert dataset is not None
        changed = replace(dataset, description_digest="0" * 64)
        unit.catalogue.replace(changed, description=None, entry=world.house.event("dataset.changed", None, NAME))
    work(world)
    assert "description changed" in job_now(world, job).private


def test_what_a_killed_attempt_left_is_cleared_away(world):
    job = started(world)
    left = world.house.staging / f"ingest-{job.id}-0" / ".ingest-x"
    left.mkdir(parents=True)
    (left / "version.duckdb").write_text("half")
    work(world)
    assert job_now(world, job).state is State.SUCCEEDED
    assert staged_files(world) == []


def test_progress_is_written_down_for_watchers(world, monkeypatch):
    monkeypatch.setattr(onboard, "_TELL_EVERY", 0.0)
    seen: list[tuple[str, int, int]] = []
    real = world.house.ingest

    def watched(*args, progress, **named):
        def tell(stage: str, done: int, total: int) -> None:
            progress(stage, done, total)
            seen.append((job_now(world, job).progress.stage, done, total))

        return real(*args, progress=tell, **named)

    job = started(world)
    work(with_ingest(world, watched))
    assert ("write visits", 0, 1) in seen
    assert job_now(world, job).progress.stage == "vault"


def test_a_report_survives_its_journey_through_json():

    record = IngestRecord(
        dataset="d", job="j", version="v", report=reports.written(()), at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert canonical({"tables": [], "trouble": None}).decode() == record.report
    assert reports.read(record).tables == ()


@pytest.mark.parametrize(
    ("lang", "words"), [("en", "amount: not of the described type"), ("zh-CN", "amount：与描述的类型不符")]
)
def test_reasons_reach_the_steward_in_words(world, lang, words):
    started(world, visits() + "p9,云海,c1,abc\n".encode())
    work(world)
    answer = world.client("shen", **{"Accept-Language": lang}).get(f"/v1/datasets/{NAME}/report").json()
    assert answer["tables"][0]["rejected"] == [
        {"reason": "type:amount", "message": words, "count": 1, "rows": [800]},
    ]
