"""Jobs as people and workers meet them: read, list, watch and cancel; hold one attempt; find what was left behind.

Owns what every kind of job has in common; what a job *does* is its own journey's (`ask`, `onboard`). It never opens a
dataset. Law 11: an attempt is claimed with a lease that a heartbeat renews, and whoever loses the lease writes nothing.
Law 1: a job that ends without a result gives its reservation back only when nobody can have read data for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from access.audit import Entry, digest
from access.ledger import ReservationState
from access.people import Principal
from access.policy import Use
from access.ports import Cursor, Slice
from compute.jobs import HEARTBEAT, Job, JobNotFound, Kind, LeaseLost, StatusCode, claimable, may_have_read
from sandbox.journeys.house import House, Work, permit, situation

_log = logging.getLogger(__name__)


def announce(house: House, job: Job) -> None:
    """Tell the workers. A lost message delays the job until the next sweep and harms nothing (law 11)."""
    try:
        house.queue.send(job.id)
    except Exception:  # noqa: BLE001 - whatever the queue's client raises, the job is written down already
        _log.warning("job %s could not be announced; the next sweep will", job.id, exc_info=True)


def read_job(house: House, who: Principal, job_id: str) -> Job:
    """One job of a project of yours, or of a dataset you are the steward of. Raises `JobNotFound`."""
    with house.registry.read() as unit:
        return visible(house, unit, who, job_id)


def list_jobs(
    house: House, who: Principal, cursor: Cursor, *, project: str | None = None, kind: Kind | None = None
) -> Slice[Job]:
    """What you asked for yourself; with a project (id or name), everything asked in it, if you are a member."""
    with house.registry.read() as unit:
        if project is None:
            return unit.jobs.list(cursor, asked_by=who.id, kind=kind)
        found = unit.people.project(project)
        if found is None:
            return Slice(items=())
        return unit.jobs.list(cursor, project=found.id, member=who.id, kind=kind)


def cancel(house: House, who: Principal, job_id: str) -> Job:
    """Stop a job of your own, waiting or running. Raises `JobNotFound`, `NotAllowed`, `JobOver`.

    What it had set aside comes back only if no worker has claimed it yet: afterwards data may have been read.
    """
    with house.registry.begin() as unit:
        job = visible(house, unit, who, job_id, Use.CANCEL_JOB)
        now = house.clock()
        entry = house.event("job.cancelled", who, job.id, attempt=job.attempt)
        cancelled = unit.jobs.cancel(job.id, now=now, entry=entry)
        close_money(unit, job, read=may_have_read(job), at=now, entry=entry)
        return cancelled


def look(job: Job) -> str:
    """A short digest of everything a person sees change in a job: equal looks have equal names, so a watcher can resume."""
    step = job.progress
    return digest([job.state, job.status, job.attempt, step.stage, step.done, step.total])[:16]


def visible(house: House, unit: Work, who: Principal, job_id: str, use: Use = Use.READ_JOB) -> Job:
    """The job, if `who` may see (or cancel) it; hidden and missing are the same `JobNotFound`."""
    hidden = JobNotFound(job=job_id[:64])
    job = unit.jobs.get(job_id)
    if job is None:
        raise hidden
    asked = situation(house, unit, who, use, dataset=job.dataset, project=job.project, asked_by=job.asked_by)
    permit(asked, job=hidden)
    return job


def close_money(unit: Work, job: Job, *, read: bool, at: datetime, entry: Entry) -> None:
    """Settle what the job has set aside if data may have been read for it, void it otherwise (law 1)."""
    reservation = unit.ledger.reservation_of(job.id)
    if reservation is None or reservation.state is not ReservationState.RESERVED:
        return
    close = unit.ledger.settle if read else unit.ledger.void
    close(reservation.id, at=at, entry=entry)


@contextmanager
def attempt(house: House, job_id: str, *, beat: timedelta = HEARTBEAT) -> Iterator[Job | None]:
    """Hold one attempt of a job while the block runs: claim it, renew its lease. None when it is not to be had.

    A message may come twice, late, or for nothing at all, so None is nothing unusual.
    """
    job = _claim(house, job_id)
    if job is None:
        yield None
        return
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(house, job, beat, stop), name=f"lease-{job.id[:8]}", daemon=True)
    heart.start()
    try:
        yield job
    finally:
        stop.set()
        heart.join()


def _claim(house: House, job_id: str) -> Job | None:
    with house.registry.read() as unit:
        job = unit.jobs.get(job_id)
    if job is None or not claimable(job, house.clock()):
        return None
    with house.registry.begin() as unit:
        now = house.clock()  # read here: waiting for the transaction must not eat the lease
        entry = house.event("job.claimed", None, job_id, attempt=job.attempt + 1, job=job.kind.value)
        return unit.jobs.claim(job_id, now=now, entry=entry)


def _beat(house: House, job: Job, beat: timedelta, stop: threading.Event) -> None:
    """Renew until told to stop. A lost lease ends it quietly: the fence keeps the attempt from writing anything."""
    while not stop.wait(beat.total_seconds()):
        try:
            with house.registry.begin() as unit:
                unit.jobs.renew(job.id, job.attempt, now=house.clock())
        except LeaseLost:
            return
        except Exception:  # noqa: BLE001 - a busy registry must not end the heartbeat; the lease outlasts three beats
            _log.warning("the lease of job %s could not be renewed", job.id, exc_info=True)


def sweep(house: House) -> tuple[str, ...]:
    """Kill the jobs that have no tries left, and return the ids that should be announced again, the oldest first."""
    now = house.clock()
    with house.registry.read() as unit:
        hopeless, waiting = unit.jobs.exhausted(now), unit.jobs.stale(now)
    for job_id in hopeless:
        with house.registry.begin() as unit:
            job = unit.jobs.get(job_id)
            if job is None or job_id not in unit.jobs.exhausted(now):
                continue
            entry = house.event("job.killed", None, job_id, attempt=job.attempt)
            unit.jobs.kill(job_id, StatusCode.LOST_TOO_OFTEN, now=now, entry=entry)
            close_money(unit, job, read=True, at=now, entry=entry)
    return waiting
