"""Onboard: a steward's description and files become a registered dataset with an immutable version.

    register        the YAML text -> an entry of the catalogue, and its total account
    stage_upload    one raw file a table, kept in the private staging folder
    start_ingest    one transaction {job, audit}; the workers are told
    run_ingest      in a worker: validate, write the version, one fenced transaction {version, report, job, audit}
    read_report     what it found, for the steward alone

Owns the order of these steps and who may take them. It never looks into a file: `compute` does. Raw files exist only in the
staging folder and are removed when the version that was made of them is in the vault. Law 6, law 8, law 11.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path

from access.audit import Json, canonical, digest
from access.catalogue import Card, Dataset, DatasetNotFound, DatasetVersion, Provider, ReportNotFound, card
from access.ledger import opened
from access.people import Principal
from access.policy import GRADE_RULES, Grade, Method, Openness, Policy, Request, Use, require_lawful
from access.ports import Cursor, IngestRecord, Upload
from compute.jobs import Job, Kind, LeaseLost, Progress, State, StatusCode, queued
from compute.ports import IngestReport
from compute.storage import digest_of
from privacy.errors import Conflict, Fault, Malformed, NotFound, Problem, Refused, Text, TooLarge
from privacy.loss import Budget
from sandbox.describe.description import Allowance, Description, load_description, require_complete, to_facts
from sandbox.journeys import reports
from sandbox.journeys.house import House, Work, permit, situation
from sandbox.journeys.jobs import announce
from sandbox.journeys.reports import Report

_log = logging.getLogger(__name__)

FILE_NAME = "dataset.yaml"
#: Ten million rows take about a minute; nobody waits for an ingest as one waits for an answer.
LONGEST_INGEST = timedelta(hours=6)
_TELL_EVERY = 1.0


class TableUnknown(NotFound):
    """The description has no such table."""

    code = "dataset.no_such_table"
    sentence = Text("The dataset “{dataset}” has no table “{table}”.", "数据集“{dataset}”没有表“{table}”。")
    hint = Text("Its tables are: {tables}.", "其数据表为：{tables}。")


class UploadEmpty(Malformed):
    """Nothing was sent."""

    code = "dataset.empty_upload"
    sentence = Text("The file for table “{table}” is empty.", "数据表“{table}”的文件为空。")
    hint = Text(
        "Send the CSV or Parquet file as the body of the request.", "请将 CSV 或 Parquet 文件作为请求正文发送。"
    )


class UploadsMissing(Conflict):
    """Some table has no file yet."""

    code = "dataset.uploads_missing"
    sentence = Text(
        "“{dataset}” cannot be ingested: no file for {tables}.", "“{dataset}”无法入库：缺少 {tables} 的文件。"
    )
    hint = Text("Upload one file for each of these tables, then start again.", "请为这些表各上传一个文件后重新开始。")


class IngestRunning(Conflict):
    """An ingest of the dataset is under way."""

    code = "dataset.ingest_running"
    sentence = Text("An ingest of “{dataset}” is under way: job {job}.", "“{dataset}”正在入库：作业 {job}。")
    hint = Text("Wait for it to end, or cancel it.", "请等待其结束，或将其取消。")


# --- the steward ---------------------------------------------------------------------------------------------------------


def register(house: House, who: Principal, text: str) -> Card:
    """Register a dataset. Raises `DescriptionInvalid` (all problems at once), `PolicyTooLoose`, `DatasetExists`."""
    with house.registry.read() as unit:
        permit(situation(house, unit, who, Use.REGISTER_DATASET))
    described = require_complete(load_description(text, FILE_NAME), FILE_NAME)
    dataset = _entry_of(house, who, described, text)
    with house.registry.begin() as unit:
        permit(situation(house, unit, who, Use.REGISTER_DATASET))
        entry = house.event(
            "dataset.registered",
            who,
            dataset.name,
            description=dataset.description_digest,
            facts=dataset.facts.digest(),
            grade=dataset.grade.value,
        )
        unit.catalogue.add(dataset, description=text, entry=entry)
        total = opened(account=house.new_id(), dataset=dataset.name, project=None, budget=dataset.policy.total)
        unit.ledger.open(total, entry=entry)
    return card(dataset, None)


def require_upload(house: House, who: Principal, dataset: str, table: str) -> None:
    """Raise unless `who` may send the file of that table: `DatasetNotFound`, `NotAllowed`, `TableUnknown`."""
    with house.registry.read() as unit:
        _table(_changeable(house, unit, who, dataset), table)


def stage_upload(house: House, who: Principal, dataset: str, table: str, file: Path) -> Upload:
    """Take the file (it is moved away) for the next version, in place of an earlier one for the same table."""
    require_upload(house, who, dataset, table)
    if not file.stat().st_size:
        raise UploadEmpty(table=table)
    folder = house.staging / "uploads"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = folder / house.new_id()
    file.rename(kept)
    kept.chmod(0o400)
    try:
        upload, earlier = _stage(house, who, dataset, table, kept)
    except BaseException:
        kept.unlink()
        raise
    for path in earlier:
        path.unlink(missing_ok=True)
    return upload


def _stage(house: House, who: Principal, dataset: str, table: str, kept: Path) -> tuple[Upload, list[Path]]:
    sha256, size = digest_of(kept), kept.stat().st_size
    with house.registry.begin() as unit:
        name = _table(_changeable(house, unit, who, dataset), table)
        upload = Upload(
            dataset=dataset,
            table=name,
            path=str(kept),
            digest=sha256,
            size=size,
            uploaded_by=who.id,
            uploaded_at=house.clock(),
        )
        busy = _running(unit, dataset)
        earlier = [Path(u.path) for u in unit.catalogue.uploads(dataset) if u.table == name]
        if busy is not None:
            raise IngestRunning(dataset=dataset, job=busy.id)
        entry = house.event("dataset.uploaded", who, dataset, table=name, sha256=sha256, bytes=size)
        unit.catalogue.stage(upload, entry=entry)
    return upload, earlier


def start_ingest(house: House, who: Principal, dataset: str) -> Job:
    """Make a job of what is staged. Raises `UploadsMissing`, `IngestRunning`."""
    with house.registry.begin() as unit:
        found = _changeable(house, unit, who, dataset)
        uploads = {u.table: u for u in unit.catalogue.uploads(dataset)}
        missing = [t.name for t in found.facts.tables if t.name not in uploads]
        busy = _running(unit, dataset)
        if busy is not None:
            raise IngestRunning(dataset=dataset, job=busy.id)
        if missing:
            raise UploadsMissing(dataset=dataset, tables=", ".join(missing))
        job = _new_job(house, who, found, uploads)
        files: Json = {name: u.digest for name, u in uploads.items()}
        unit.jobs.add(job, entry=house.event("ingest.asked", who, dataset, job=job.id, files=files))
    announce(house, job)
    return job


def read_report(house: House, who: Principal, dataset: str) -> Report:
    """The report of the newest ingest, for the dataset's steward. Raises `ReportNotFound`."""
    with house.registry.read() as unit:
        permit(situation(house, unit, who, Use.READ_REPORT, dataset=dataset), dataset=DatasetNotFound(dataset=dataset))
        record = unit.catalogue.latest_report(dataset)
    if record is None:
        raise ReportNotFound(dataset=dataset)
    return reports.read(record)


def _changeable(house: House, unit: Work, who: Principal, dataset: str) -> Dataset:
    asked: Request = situation(house, unit, who, Use.CHANGE_DATASET, dataset=dataset)
    permit(asked, dataset=DatasetNotFound(dataset=dataset))
    assert asked.dataset is not None
    return asked.dataset


def _table(dataset: Dataset, table: str) -> str:
    found = dataset.facts.table(table)
    if found is None:
        raise TableUnknown(dataset=dataset.name, table=table, tables=", ".join(t.name for t in dataset.facts.tables))
    return found.name


def _running(unit: Work, dataset: str) -> Job | None:
    newest = unit.jobs.list(Cursor(limit=1, newest_first=True), dataset=dataset, kind=Kind.INGEST).items
    return next((job for job in newest if not job.state.final), None)


def _new_job(house: House, who: Principal, dataset: Dataset, uploads: Mapping[str, Upload]) -> Job:
    now = house.clock()
    files: Json = {name: {"path": u.path, "sha256": u.digest} for name, u in uploads.items()}
    payload = canonical({"description": dataset.description_digest, "files": files}).decode()
    job = Job(
        id=house.new_id(),
        kind=Kind.INGEST,
        dataset=dataset.name,
        asked_by=who.id,
        payload=payload,
        created_at=now,
        changed_at=now,
    )
    return queued(job, now)


def _entry_of(house: House, who: Principal, described: Description, text: str) -> Dataset:
    """The catalogue's entry of a complete description."""
    assert described.title is not None
    assert described.summary is not None
    assert described.provider is not None
    assert described.grade is not None
    grade = Grade(described.grade)
    facts = to_facts(described)
    return Dataset(
        name=described.dataset,
        title=described.title.text(),
        summary=described.summary.text(),
        provider=Provider(name=described.provider.text(), contact=described.provider.contact),
        grade=grade,
        openness=Openness(described.openness),
        facts=facts,
        policy=require_lawful(_policy(described, grade, facts.min_units), grade),
        steward=who.id,
        description_digest=digest(text.encode()),
        created_at=house.clock(),
    )


def _policy(described: Description, grade: Grade, min_units: int) -> Policy:
    terms = described.policy
    return Policy(
        methods=tuple(Method(m) for m in terms.methods),
        min_units=min_units,
        per_project=_budget(terms.budget.per_project),
        total=_budget(terms.budget.total),
        reviewers=GRADE_RULES[grade].reviewers if terms.reviewers is None else terms.reviewers,
        expires_at=None if terms.expires is None else _end_of(datetime.combine(terms.expires, time_of_day(), UTC)),
        purposes=tuple(terms.purposes),
    )


def _budget(allowance: Allowance) -> Budget:
    return Budget(allowance.epsilon, allowance.delta)


def _end_of(day: datetime) -> datetime:
    return day + timedelta(days=1)


# --- in a worker ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Task:
    """What a job remembers: which files, under which description."""

    description: str
    files: Mapping[str, tuple[Path, str]]

    @classmethod
    def read(cls, job: Job) -> _Task:
        payload = json.loads(job.payload)
        files = {name: (Path(f["path"]), f["sha256"]) for name, f in payload["files"].items()}
        return cls(description=payload["description"], files=files)


def run_ingest(house: House, job: Job) -> None:
    """Make the version of a job whose attempt the caller holds (`jobs.attempt`).

    What an attempt leaves behind when it is killed is cleared away by the next; only one attempt can finish.
    """
    task = _Task.read(job)
    for left in house.staging.glob(f"ingest-{job.id}-*"):
        shutil.rmtree(left, ignore_errors=True)
    # One folder an attempt: a worker that lost its lease but lives must not clear away its successor's work.
    folder = house.staging / f"ingest-{job.id}-{job.attempt}"
    folder.mkdir(mode=0o700, parents=True)
    try:
        dataset = _still_allowed(house, job, task)
        made, version = _ingest(house, job, dataset, task, folder)
    except LeaseLost:
        _log.info("attempt %d of job %s lost its lease", job.attempt, job.id)
    except Exception as problem:  # noqa: BLE001 - every failure ends the job
        _give_up(house, job, problem)
    else:
        _publish(house, job, dataset, task, made, version)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _still_allowed(house: House, job: Job, task: _Task) -> Dataset:
    """The dataset as it is now; the steward may have lost the right since, and the description may have changed."""
    with house.registry.read() as unit:
        who = unit.people.principal(job.asked_by)
        if who is None:
            raise Fault(private="the steward who asked for the ingest is gone")
        dataset = _changeable(house, unit, who, job.dataset)
    if dataset.description_digest != task.description:
        raise Fault(private="the description changed after the ingest was asked for")
    for name, (path, sha256) in task.files.items():
        if not path.exists() or digest_of(path) != sha256:
            raise Fault(private=f"the staged file of table {name} is gone or changed")
    return dataset


def _ingest(house: House, job: Job, dataset: Dataset, task: _Task, folder: Path) -> tuple[IngestReport, str]:
    """Write the version file and put it into the vault; returns what was found and the digest."""
    told = [0.0]

    def tell(stage: str, done: int, total: int) -> None:
        if time.monotonic() - told[0] < _TELL_EVERY:
            return
        told[0] = time.monotonic()
        with house.registry.begin() as unit:
            progress = Progress(stage=stage, done=done, total=total)
            unit.jobs.renew(job.id, job.attempt, now=house.clock(), progress=progress)

    target = folder / "version.duckdb"
    made = house.ingest(
        dataset.facts,
        {name: path for name, (path, _) in task.files.items()},
        target,
        limits=replace(house.limits, seconds=LONGEST_INGEST.total_seconds()),
        progress=tell,
    )
    tell("vault", 0, 1)
    return made, house.vault.put(target)


def _publish(house: House, job: Job, dataset: Dataset, task: _Task, made: IngestReport, version: str) -> None:
    """One fenced transaction: the job ends, the version is current, the report is kept. Then the raw files go."""
    now = house.clock()
    entry = house.event(
        "dataset.version-made",
        None,
        dataset.name,
        job=job.id,
        version=version,
        facts=made.facts.digest(),
        description=dataset.description_digest,
    )
    result = canonical({"version": version}).decode()
    noun = DatasetVersion(
        digest=version,
        dataset=dataset.name,
        facts=made.facts,
        description_digest=dataset.description_digest,
        created_at=now,
        created_by=job.asked_by,
    )
    record = IngestRecord(
        dataset=dataset.name, job=job.id, version=version, report=reports.written(made.tables), at=now
    )
    try:
        with house.registry.begin() as unit:
            unit.jobs.finish(
                job.id, job.attempt, State.SUCCEEDED, StatusCode.INGESTED, now=now, result=result, entry=entry
            )
            unit.catalogue.add_version(noun, entry=entry)
            unit.catalogue.add_report(record, entry=entry)
            unit.catalogue.drop_uploads(dataset.name, entry=entry)
    except LeaseLost:
        _log.info("attempt %d of job %s came too late; its version is not used", job.attempt, job.id)
        return
    for path, _ in task.files.values():
        path.unlink(missing_ok=True)


def _give_up(house: House, job: Job, problem: Exception) -> None:
    """End the job without a version. What the files' owner can mend is told to the steward; the files stay staged."""
    to, status, shown = State.FAILED, StatusCode.FAULT, None
    if isinstance(problem, Malformed | TooLarge):
        status, shown = StatusCode.BAD_INPUT, problem
    elif isinstance(problem, Refused | NotFound):
        to, status = State.CANCELLED, StatusCode.NO_LONGER_ALLOWED
    private = "".join(traceback.format_exception(problem))
    if isinstance(problem, Problem) and problem.private:
        private = f"{problem.private}\n{private}"
    now = house.clock()
    try:
        with house.registry.begin() as unit:
            entry = house.event("ingest.ended", None, job.dataset, job=job.id, attempt=job.attempt, state=to.value)
            unit.jobs.finish(job.id, job.attempt, to, status, now=now, private=private[:20_000], entry=entry)
            if shown is not None:
                report = reports.written((), shown)
                record = IngestRecord(dataset=job.dataset, job=job.id, version=None, report=report, at=now)
                unit.catalogue.add_report(record, entry=entry)
    except LeaseLost:
        _log.info("attempt %d of job %s came too late to fail", job.attempt, job.id)
