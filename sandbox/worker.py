"""The worker: a job's id comes in, a journey is called, nothing else.

Owns the Celery worker process and the sweep that finds what was left behind. It knows no rule and opens no dataset itself.
Law 11: a message is a hint. It may be lost, repeated or late; the claim decides who works, and every child process sweeps
the jobs table for jobs that wait too long or whose worker was lost. SIGTERM lets running jobs end; SIGKILL loses nothing but
time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType

from celery import Celery
from celery.signals import worker_process_init

from compute.engines.kernel import prepare
from compute.jobs import STALE, Job, Kind
from sandbox.journeys.ask import answer_job
from sandbox.journeys.grants import expire_due
from sandbox.journeys.house import House
from sandbox.journeys.jobs import attempt, sweep
from sandbox.journeys.onboard import run_ingest
from sandbox.settings import Settings
from sandbox.wiring import TASK, build, celery_app

SWEEP_EVERY = 2.0
"""Seconds between two looks at the jobs table."""
LONGEST_SILENCE = timedelta(minutes=5)

JOURNEYS: Mapping[Kind, Callable[[House, Job], None]] = MappingProxyType(
    {Kind.ASK: answer_job, Kind.INGEST: run_ingest}
)

_log = logging.getLogger(__name__)


def perform(house: House, job_id: str) -> bool:
    """Claim the job and do it; False when there was nothing to do (claimed already, or over)."""
    with attempt(house, job_id) as job:
        if job is None:
            return False
        _log.info("job %s (%s), attempt %d", job.id, job.kind, job.attempt)
        JOURNEYS[job.kind](house, job)
        return True


class Sweeper:
    """Announces again what waits too long: each job at once, then ever more rarely, so that a long line stays short."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._due: dict[str, tuple[float, float]] = {}

    def sweep(self, now: float) -> int:
        """One look at the jobs table; `now` in seconds of a steady clock. Returns how many jobs were announced."""
        waiting = sweep(self._house)
        self._due = {job_id: due for job_id, due in self._due.items() if job_id in waiting}
        ready = [job_id for job_id in waiting if self._due.get(job_id, (0.0, 0.0))[0] <= now]
        for job_id in ready:
            wait = min(2 * self._due.get(job_id, (0.0, STALE.total_seconds() / 2))[1], LONGEST_SILENCE.total_seconds())
            self._due[job_id] = (now + wait, wait)
            self._house.queue.send(job_id)
        return len(ready)

    def run(self, stop: threading.Event, every: float = SWEEP_EVERY) -> None:
        """Sweep until told to stop. A failed sweep is one that the next makes good."""
        while not stop.wait(every):
            try:
                self.sweep(time.monotonic())
                expire_due(self._house)
            except Exception:  # noqa: BLE001 - the registry or the queue may be away for a while
                _log.warning("the sweep failed", exc_info=True)


def serve(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT; then end what runs and return the exit code."""
    prepare()  # before the fork: every child has it
    app = celery_app(settings)
    _register(app, settings)
    worker = app.Worker(
        hostname="sandbox@localhost",
        loglevel=settings.log_level.upper(),
        pool="prefork",
        concurrency=settings.workers,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _register(app: Celery, settings: Settings) -> None:
    """Give the application its one task. Every child builds its own house after the fork, so nothing is shared."""
    houses: list[House] = []

    def begin(**_: object) -> None:
        house = build(settings)
        houses[:] = [house]
        threading.Thread(target=Sweeper(house).run, args=(threading.Event(),), name="sweep", daemon=True).start()

    worker_process_init.connect(begin, weak=False)

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def job(job_id: str) -> None:
        perform(houses[0], job_id)
